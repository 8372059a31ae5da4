//! `tiers run|verify|restore`: what reads or writes the archive.

use std::ops::Range;
use std::sync::Arc;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use plant_model::{GatewayId, TenantId, Timestamp};
use serde_json::{Value, json};
use service_kit::Clock;
use tenancy::TenancyStore;
use tiering::{
    Archive, Compared, HoldAct, HoldScope, Move, MoveError, Moved, Mover, ObjectRow, ObjectState, Plan,
    PolicyStore, Restored, TierStore,
};

use super::arguments::{PeriodArgs, RestoreArgs, TiersArgs};
use super::lifecycle::holder;
use super::run::{Runner, Watch, chain};
use crate::admin::answer;
use crate::data::DataDir;
use crate::journal::instant;
use crate::store::Store;

/// What a command works on.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    pub(super) tenant: TenantId,
    data: DataDir,
}

impl Opened {
    pub(super) async fn open(args: &TiersArgs) -> anyhow::Result<Self> {
        let data = DataDir::open(&args.data)?;
        let store = data.store().await?;
        let tenancy: &dyn TenancyStore = &*store;
        if tenancy.tenant(&args.tenant).await?.is_none() {
            let tenant = &args.tenant;
            bail!("there is no tenant {tenant}; add it with `cloud-backend tenant add {tenant} --name NAME`");
        }
        Ok(Self { store, tenant: args.tenant.clone(), data })
    }

    fn mover<'a>(&'a self, archive: &'a dyn Archive) -> Mover<'a> {
        Mover { tenant: &self.tenant, tiers: &*self.store, policies: &*self.store, archive }
    }

    async fn verified(&self, args: &TiersArgs, range: Range<Timestamp>) -> anyhow::Result<Vec<ObjectRow>> {
        let tiers: &dyn TierStore = &*self.store;
        let mut objects = tiers.objects(&self.tenant, args.gateway.as_ref(), range).await?;
        objects.retain(|object| object.state == ObjectState::Verified);
        Ok(objects)
    }
}

pub(super) fn whole(from: Option<Timestamp>, to: Option<Timestamp>) -> Range<Timestamp> {
    from.unwrap_or(Timestamp::from_micros(i64::MIN))..to.unwrap_or(Timestamp::from_micros(i64::MAX))
}

/// Days of a range, the last one inclusive.
pub(super) fn days(range: &Range<Timestamp>) -> String {
    let date = |at: Timestamp| instant(at).chars().take(10).collect::<String>();
    let (first, last) = (date(range.start), date(Timestamp::from_micros(range.end.micros() - 1)));
    if first == last { first } else { format!("{first} to {last}") }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A bar on a terminal; nothing elsewhere.
fn bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Shows moves as they are made, and keeps them for the answer.
struct Shown {
    bar: ProgressBar,
    lines: Vec<String>,
    moves: Vec<Value>,
}

impl Watch for Shown {
    fn planned(&mut self, gateway: &GatewayId, plan: &Plan) {
        self.bar.inc_length(plan.moves.len() as u64);
        self.bar.set_message(gateway.to_string());
    }

    fn made(&mut self, m: &Move, outcome: &Result<Moved, MoveError>) {
        self.bar.inc(1);
        self.bar.set_message(format!("{} {} {}", m.gateway, m.action.name(), days(&m.range)));
        let name = format!("{:<13} {}  {}", m.action.name(), m.gateway, days(&m.range));
        let (line, told) = match outcome {
            Ok(moved) => {
                let hash = moved.object.as_ref().map(|object| hex(&object.sha256));
                let object = moved.object.as_ref().map(|object| object.path.clone());
                let more = hash.as_ref().map_or_else(String::new, |hash| format!(", SHA-256 {hash}"));
                let line = format!("{name}: {} rows, {} bytes{more}", moved.rows, moved.bytes);
                (line, json!({ "rows": moved.rows, "bytes": moved.bytes, "object": object, "sha256": hash }))
            }
            Err(error) => (format!("{name}: NOT MADE, {}", chain(error)), json!({ "error": chain(error) })),
        };
        self.lines.push(line);
        let planned = json!({ "rows": m.rows, "bytes": m.bytes });
        self.moves.push(json!({
            "gateway": m.gateway.as_str(), "action": m.action.name(), "from": instant(m.range.start),
            "to": instant(m.range.end), "planned": planned, "done": told,
        }));
    }
}

/// `tiers run`
pub(super) async fn run(args: TiersArgs) -> anyhow::Result<()> {
    let opened = Opened::open(&args).await?;
    let archive = opened.data.archive()?;
    let clock = Clock::start();
    let (holder, now) = (holder(), move || clock.wall());
    let runner = Runner { store: &*opened.store, archive: &*archive, holder: &holder, now: &now };
    let mut shown = Shown { bar: bar(0), lines: Vec::new(), moves: Vec::new() };
    let ran = runner.run(&opened.tenant, args.gateway.as_ref(), &mut shown).await?;
    shown.bar.finish_and_clear();
    let outcome = match ran {
        Ok(outcome) => outcome,
        Err(busy) => bail!(
            "{} moves the tiers of tenant {} now; wait for it, or for two minutes if it was killed",
            busy.holder,
            opened.tenant
        ),
    };
    let mut text = shown.lines;
    text.push(outcome.text());
    if outcome.is_cut {
        text.push("there is more to do: run it again".to_owned());
    }
    if let Some(next) = outcome.next_at {
        text.push(format!("next due: {}", instant(next)));
    }
    let body = json!({
        "tenant": opened.tenant.as_str(), "moves": shown.moves, "failures": outcome.failures,
        "more": outcome.is_cut, "next_at": outcome.next_at.map(instant),
    });
    answer(args.json, &body, &text.join("\n"))?;
    if outcome.failures.is_empty() { Ok(()) } else { bail!("not everything was moved; nothing was lost") }
}

/// `tiers verify`
pub(super) async fn verify(args: PeriodArgs) -> anyhow::Result<()> {
    let PeriodArgs { tiers: args, from, to } = args;
    let opened = Opened::open(&args).await?;
    let archive = opened.data.archive()?;
    let mover = opened.mover(&*archive);
    let objects = opened.verified(&args, whole(from, to)).await?;
    let bar = bar(objects.len() as u64);
    let (mut lines, mut told, mut wrong) = (Vec::new(), Vec::new(), 0);
    for object in &objects {
        bar.set_message(object.path.clone());
        let (line, body) = match check(&mover, object).await {
            Ok(compared) => sound(object, &compared),
            Err(error) => {
                wrong += 1;
                let body = json!({ "object": object.path, "sound": false, "error": chain(&error) });
                (format!("{}: NOT SOUND, {}", object.path, chain(&error)), body)
            }
        };
        lines.push(line);
        told.push(body);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let strays = mover.strays().await?;
    lines.push(format!(
        "{} objects, {wrong} not sound, {} that the manifest does not name",
        objects.len(),
        strays.len()
    ));
    let body =
        json!({ "tenant": opened.tenant.as_str(), "objects": told, "not_sound": wrong, "strays": strays });
    answer(args.json, &body, &lines.join("\n"))?;
    if wrong == 0 { Ok(()) } else { bail!("{wrong} objects of the archive are not sound") }
}

/// Reads it back, and compares it with the store where that has the samples.
async fn check(mover: &Mover<'_>, object: &ObjectRow) -> Result<Compared, MoveError> {
    mover.verify(object).await?;
    let compared = mover.compare(object, &(object.start..object.end)).await?;
    if compared.different == 0 {
        return Ok(compared);
    }
    let (expected, what) = ("the store holds", "samples");
    Err(MoveError::Differs { path: object.path.clone(), expected, what })
}

fn sound(object: &ObjectRow, compared: &Compared) -> (String, Value) {
    let hash = hex(&object.sha256);
    let line = format!(
        "{}: sound, {} samples, {} bytes, SHA-256 {hash}, {} tags equal to the store, {} only here or changed since",
        object.path, object.samples, object.bytes, compared.same, compared.unknown
    );
    let body = json!({
        "object": object.path, "sound": true, "samples": object.samples, "bytes": object.bytes, "sha256": hash,
        "tags_equal_to_the_store": compared.same, "tags_not_compared": compared.unknown,
    });
    (line, body)
}

/// `tiers restore`
pub(super) async fn restore(args: RestoreArgs) -> anyhow::Result<()> {
    let RestoreArgs { tiers: args, from, to, act } = args;
    let Some(gateway) = &args.gateway else { bail!("give --gateway the gateway whose samples are wanted") };
    if from >= to {
        bail!("--from {} is not before --to {}", instant(from), instant(to));
    }
    let opened = Opened::open(&args).await?;
    let archive = opened.data.archive()?;
    let mover = opened.mover(&*archive);
    // First the hold: the next run would drop again what is back.
    let scope = HoldScope { gateway: Some(gateway.clone()), machine: None, start: from, end: to };
    let placed = HoldAct { by: act.by, at: Clock::start().wall(), reason: act.reason };
    let policies: &dyn PolicyStore = &*opened.store;
    let hold = policies.place_hold(&opened.tenant, scope, placed).await?;
    let bar = bar(0);
    let shown = bar.clone();
    let progress = move |so_far: &Restored| shown.set_message(format!("{} minutes", so_far.segments));
    let restored = mover.restore(gateway, &(from..to), &progress).await?;
    bar.finish_and_clear();
    let mut compared = Compared::default();
    for object in opened.verified(&args, from..to).await? {
        let of_object = mover.compare(&object, &(from..to)).await?;
        compared.same += of_object.same;
        compared.different += of_object.different;
        compared.unknown += of_object.unknown;
    }
    tell(&args, hold.0, &restored, &compared)
}

fn tell(args: &TiersArgs, hold: u64, restored: &Restored, compared: &Compared) -> anyhow::Result<()> {
    let text = format!(
        "{} minutes with {} samples are back, from {} objects; {} were there, {} are not whole in the archive\n\
         compared with the archive: {} tags equal, {} different, {} not compared\n\
         hold {hold} keeps them; end it with `cloud-backend tiers hold release {hold}`",
        restored.segments,
        restored.samples,
        restored.objects,
        restored.present,
        restored.incomplete,
        compared.same,
        compared.different,
        compared.unknown
    );
    let body = json!({
        "objects": restored.objects, "minutes": restored.segments, "samples": restored.samples,
        "present": restored.present, "incomplete": restored.incomplete, "hold": hold,
        "tags_equal": compared.same, "tags_different": compared.different, "tags_not_compared": compared.unknown,
    });
    answer(args.json, &body, &text)?;
    if compared.different == 0 {
        return Ok(());
    }
    bail!("{} tags are back with other samples than the archive has", compared.different)
}
