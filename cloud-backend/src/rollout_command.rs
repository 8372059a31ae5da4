//! `rollout start|list|show|pause|resume|abort|rollback`.

mod arguments;

use std::sync::Arc;

use anyhow::{Context as _, bail};
use http_api::{Rollouts, Selection};
use protocol::limits::TEXT_BYTES_MAX;
use rollouts::{Gate, Operation, Plan, Rollout, RolloutId, RolloutSummary, UpdateStanding, standings_of};
use serde_json::{Value as Json, json};
use service_kit::Clock;

use crate::admin::{answer, print};
use crate::cli::DataArgs;
use crate::data::DataDir;
use crate::gateways::instant;
use crate::store::Store;

pub use arguments::{RolloutArgs, RolloutCommand, RolloutListArgs, RolloutStartArgs};

/// Most rollouts in one list: as many as are kept.
const LIST_MAX: u32 = 500;

pub(crate) async fn run(command: RolloutCommand) -> anyhow::Result<()> {
    match command {
        RolloutCommand::Start(args) => start(*args).await,
        RolloutCommand::List(args) => list(args).await,
        RolloutCommand::Show(args) => show(args).await,
        RolloutCommand::Pause(args) => operate(args, Operation::Pause).await,
        RolloutCommand::Resume(args) => operate(args, Operation::Resume).await,
        RolloutCommand::Abort(args) => operate(args, Operation::Abort).await,
        RolloutCommand::Rollback(args) => operate(args, Operation::RollBack).await,
    }
}

/// The store, and rollouts in it. A running `serve` sees a change within seconds.
async fn open(data: &DataArgs) -> anyhow::Result<(Arc<dyn Store>, Rollouts)> {
    let store = DataDir::open(data)?.store().await?;
    let rollouts = Rollouts {
        store: Arc::<dyn Store>::clone(&store),
        changed: Arc::new(|| {}),
        watching_since: Clock::start().wall(),
    };
    Ok((store, rollouts))
}

async fn start(args: RolloutStartArgs) -> anyhow::Result<()> {
    let RolloutStartArgs { agent_version, channel, waves, gateways, tenants, all, comment, author, .. } =
        args;
    if comment.len() > TEXT_BYTES_MAX || author.len() > TEXT_BYTES_MAX {
        bail!("--comment and --author may have {TEXT_BYTES_MAX} bytes each");
    }
    if gateways.is_empty() && tenants.is_empty() && !all {
        bail!("which gateways? Give --gateway TENANT/GATEWAY or --tenant TENANT, once or more, or --all");
    }
    let gate = Gate::new(args.soak, args.max_failures, args.offline_wait, args.patience)?;
    let (store, rollouts) = open(&args.data).await?;
    let created_at = Clock::start().wall();
    let plan = Plan { version: agent_version, channel, waves, gate, author, comment, created_at };
    let rollout = rollouts.start(&*store, plan, Selection { gateways, tenants }).await?;
    let sizes: Vec<String> = rollout.sizes().iter().map(ToString::to_string).collect();
    let text = format!(
        "rollout {} of version {} begins: {} gateways, told by the end of each wave: {}",
        rollout.id,
        rollout.plan.version,
        rollout.members.len(),
        sizes.join(", ")
    );
    answer(args.json, &rollout_json(&summary(&rollout)), &text)
}

async fn list(args: RolloutListArgs) -> anyhow::Result<()> {
    let (_, rollouts) = open(&args.data).await?;
    let newest = rollouts.store.newest_rollouts(args.limit.min(LIST_MAX)).await?;
    if args.json {
        let rows: Vec<_> = newest.iter().map(rollout_json).collect();
        return print(&format!("{}\n", json!(rows)));
    }
    let mut text = format!(
        "{:>7} {:<20} {:<20} {:<18} {:>5} {:>9}  reason\n",
        "rollout", "begun", "version", "state", "wave", "told"
    );
    for RolloutSummary { id, plan, progress, gateways, told } in &newest {
        let told = format!("{told}/{gateways}");
        text.push_str(&format!(
            "{id:>7} {:<20} {:<20} {:<18} {:>5} {told:>9}  {}\n",
            instant(plan.created_at),
            plan.version.to_string(),
            state_words(progress),
            progress.wave + 1,
            progress.reason,
        ));
    }
    print(&text)
}

async fn show(args: RolloutArgs) -> anyhow::Result<()> {
    let (_, rollouts) = open(&args.data).await?;
    let rollout = find(&rollouts, args.id).await?;
    let standings = standings_of(&*rollouts.store, &rollout).await?;
    if args.json {
        let mut body = rollout_json(&summary(&rollout));
        body["members"] = rollout.members.iter().zip(&standings).map(member_json).collect();
        return print(&format!("{body}\n"));
    }
    let Rollout { id, plan, progress, .. } = &rollout;
    let mut text = format!(
        "rollout   {id} of version {} ({})\nbegun     {} by {}\nstate     {}, wave {} of {}\nreason    {}\n",
        plan.version,
        plan.channel,
        instant(plan.created_at),
        plan.author,
        state_words(progress),
        progress.wave + 1,
        plan.waves,
        progress.reason
    );
    text.push_str(&format!(
        "\n{:<32} {:>5} {:<16} {:<16} {:<12} detail\n",
        "gateway", "wave", "runs", "desired", "state"
    ));
    for (member, standing) in rollout.members.iter().zip(&standings) {
        let Row { running, desired, state, detail, .. } = Row::of(standing);
        let wave = member.wave.map_or("-".to_owned(), |wave| (wave + 1).to_string());
        let state = if member.excused { "passed over" } else { state };
        text.push_str(&format!(
            "{:<32} {wave:>5} {running:<16} {desired:<16} {state:<12} {detail}\n",
            member.gateway.to_string()
        ));
    }
    print(&text)
}

async fn operate(args: RolloutArgs, operation: Operation) -> anyhow::Result<()> {
    let (_, rollouts) = open(&args.data).await?;
    let now = Clock::start().wall();
    let rollout = rollouts.operate(args.id, operation, &args.author, now).await?;
    let text = format!("rollout {} is {}", rollout.id, state_words(&rollout.progress));
    answer(args.json, &rollout_json(&summary(&rollout)), &text)
}

async fn find(rollouts: &Rollouts, id: RolloutId) -> anyhow::Result<Rollout> {
    rollouts.find(id).await.context("see `cloud-backend rollout list`")
}

/// How a gateway stands to the version that is desired of it, in words.
pub(crate) struct Row {
    pub(crate) running: String,
    pub(crate) channel: String,
    pub(crate) desired: String,
    pub(crate) state: &'static str,
    pub(crate) detail: String,
}

impl Row {
    pub(crate) fn of(standing: &UpdateStanding) -> Self {
        let report = standing.received.as_ref().map(|received| &received.report);
        let text =
            |version: Option<&protocol::AgentVersion>| version.map_or("-".to_owned(), ToString::to_string);
        Self {
            running: text(standing.running()),
            channel: report.map_or("-".to_owned(), |report| report.channel.to_string()),
            desired: text(standing.desired()),
            state: report.map_or("-", |report| report.state.as_str()),
            detail: report.map(|report| report.detail.replace('\n', " ")).unwrap_or_default(),
        }
    }
}

fn state_words(progress: &rollouts::Progress) -> String {
    match progress.direction {
        rollouts::Direction::Forward => progress.state.name().to_owned(),
        rollouts::Direction::Back => format!("{}, back", progress.state.name()),
    }
}

fn summary(rollout: &Rollout) -> RolloutSummary {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    RolloutSummary {
        id: rollout.id,
        plan: rollout.plan.clone(),
        progress: rollout.progress.clone(),
        gateways: count(rollout.members.len()),
        told: count(rollout.told()),
    }
}

fn rollout_json(summary: &RolloutSummary) -> Json {
    let RolloutSummary { id, plan, progress, gateways, told } = summary;
    json!({
        "id": id,
        "version": plan.version,
        "channel": plan.channel,
        "waves": plan.waves.to_string(),
        "soak_s": plan.gate.soak().as_secs(),
        "max_failures": plan.gate.max_failures(),
        "offline_wait_s": plan.gate.offline_wait().as_secs(),
        "patience_s": plan.gate.patience().as_secs(),
        "author": plan.author,
        "comment": plan.comment,
        "created_at": instant(plan.created_at),
        "direction": progress.direction.name(),
        "state": progress.state.name(),
        "wave": progress.wave + 1,
        "reason": progress.reason,
        "changed_at": instant(progress.changed_at),
        "gateways": gateways,
        "told": told,
    })
}

fn member_json((member, standing): (&rollouts::Member, &UpdateStanding)) -> Json {
    let mut body = standing_json(standing);
    body["gateway"] = json!(member.gateway.to_string());
    body["wave"] = json!(member.wave.map(|wave| wave + 1));
    body["former"] = json!(member.former);
    body["excused"] = json!(member.excused);
    body
}

/// How a gateway stands to the version that is desired of it.
pub(crate) fn standing_json(standing: &UpdateStanding) -> Json {
    let report = standing.received.as_ref().map(|received| &received.report);
    json!({
        "running": standing.running(),
        "channel": report.map(|report| &report.channel),
        "desired": standing.desired(),
        "state": report.map(|report| report.state),
        "detail": report.map(|report| &report.detail),
        "reported_at": standing.received.as_ref().map(|received| instant(received.received_at)),
    })
}
