//! `tiers status`: what lies where.

use plant_model::{GatewayId, Timestamp};
use serde_json::{Value, json};
use service_kit::Clock;
use tiering::{DAY, DayUsage, GatewayTiers, ObjectState, PolicyStore};

use super::arguments::TiersArgs;
use super::commands::{Opened, days};
use super::run::{gateways, in_force, tiers_of};
use crate::admin::answer;
use crate::journal::instant;

/// A tier of a gateway.
struct Tier {
    name: &'static str,
    rows: u64,
    samples: u64,
    bytes: u64,
    days: Option<(Timestamp, Timestamp)>,
}

impl Tier {
    fn of_days(
        name: &'static str,
        usage: &[DayUsage],
        figures: impl Fn(&DayUsage) -> (u64, u64, u64),
    ) -> Self {
        let mut tier = Self { name, rows: 0, samples: 0, bytes: 0, days: None };
        for day in usage {
            let (rows, samples, bytes) = figures(day);
            if rows > 0 {
                tier.add(rows, samples, bytes, (day.start, day.start.plus(DAY)));
            }
        }
        tier
    }

    fn add(&mut self, rows: u64, samples: u64, bytes: u64, (start, end): (Timestamp, Timestamp)) {
        self.rows += rows;
        self.samples += samples;
        self.bytes += bytes;
        let (first, last) = self.days.unwrap_or((start, end));
        self.days = Some((first.min(start), last.max(end)));
    }

    fn json(&self) -> Value {
        json!({
            "tier": self.name, "rows": self.rows, "samples": self.samples, "bytes": self.bytes,
            "from": self.days.map(|(first, _)| instant(first)), "to": self.days.map(|(_, last)| instant(last)),
        })
    }

    fn line(&self, gateway: &GatewayId) -> String {
        let days = self.days.map_or_else(|| "nothing".to_owned(), |(first, last)| days(&(first..last)));
        format!(
            "{gateway}  {:<8} {:>9} rows {:>12} samples {:>12} bytes  {days}",
            self.name, self.rows, self.samples, self.bytes
        )
    }
}

/// The tiers of a gateway: samples in the store, statistics of minutes, rollups of hours, objects.
fn tiers(gateway: &GatewayTiers) -> Vec<Tier> {
    let usage = &gateway.usage;
    let share = |day: &DayUsage| if day.bodies == day.segments { day.samples } else { 0 };
    let bodies = |day: &DayUsage| (day.bodies + day.late, share(day), day.body_bytes + day.late_bytes);
    let mut archive = Tier { name: "archive", rows: 0, samples: 0, bytes: 0, days: None };
    for object in gateway.objects.iter().filter(|object| object.state == ObjectState::Verified) {
        archive.add(1, object.samples, object.bytes, (object.start, object.end));
    }
    vec![
        Tier::of_days("samples", usage, bodies),
        Tier::of_days("minutes", usage, |day| (day.segments, day.samples, day.head_bytes)),
        Tier::of_days("hours", usage, |day| (day.hours, 0, day.hour_bytes)),
        archive,
    ]
}

/// `tiers status`
pub(super) async fn status(args: TiersArgs) -> anyhow::Result<()> {
    let opened = Opened::open(&args).await?;
    let policies: &dyn PolicyStore = &*opened.store;
    let (policy, holds) = in_force(policies, &opened.tenant).await?;
    let now = Clock::start().wall();
    let (mut lines, mut told) = (Vec::new(), Vec::new());
    for gateway in gateways(&*opened.store, &opened.tenant).await? {
        if args.gateway.as_ref().is_some_and(|only| *only != gateway) {
            continue;
        }
        let found = tiers_of(&*opened.store, &opened.tenant, &gateway, &policy, now).await?;
        let tiers = tiers(&found);
        lines.extend(tiers.iter().map(|tier| tier.line(&gateway)));
        if found.is_sealing_behind {
            lines.push(format!("{gateway}  batches wait to be sealed; nothing is archived meanwhile"));
        }
        told.push(json!({
            "gateway": gateway.as_str(), "sealing_is_behind": found.is_sealing_behind,
            "tiers": tiers.iter().map(Tier::json).collect::<Vec<_>>(),
        }));
    }
    let turn = policies.turn(&opened.tenant).await?;
    let ended = turn.as_ref().and_then(|turn| turn.ended_at).map(instant);
    let outcome = turn.as_ref().map(|turn| turn.outcome.clone());
    let in_force = holds.iter().filter(|hold| hold.released.is_none()).count();
    lines.push(format!("holds in force: {in_force}"));
    lines.push(match (&ended, &outcome) {
        (Some(ended), Some(outcome)) => format!("last run: {ended}, {outcome}"),
        _ => "last run: none".to_owned(),
    });
    let body = json!({
        "tenant": opened.tenant.as_str(), "gateways": told, "holds_in_force": in_force,
        "last_run": { "ended_at": ended, "outcome": outcome },
    });
    answer(args.json, &body, &lines.join("\n"))
}
