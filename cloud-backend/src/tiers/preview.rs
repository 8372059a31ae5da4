//! `tiers preview`: the plan of the next run, and what it saves.

use anyhow::Context as _;
use serde_json::{Value, json};
use service_kit::Clock;
use tiering::{Action, Micros, Move, Plan, PolicyStore, Prices, plan};

use super::arguments::PreviewArgs;
use super::commands::{Opened, days};
use super::policy;
use super::run::{gateways, in_force, tiers_of};
use crate::admin::answer;
use crate::journal::instant;

/// The prices of storage where the store and the archive are.
fn prices(args: &PreviewArgs) -> anyhow::Result<Prices> {
    let data = &args.tiers.data;
    let in_postgres = data.store.as_deref().is_some_and(|uri| uri.starts_with("postgres"));
    let store = if in_postgres { "rds.gp3.storage" } else { "ebs.gp3" };
    let is_local = data.archive.as_deref().is_none_or(|uri| uri.starts_with("file:"));
    let archive = if is_local { "ebs.gp3" } else { "s3.std.storage.1" };
    let Some(path) = &args.price_book else { return Ok(Prices::built_in(store, archive)?) };
    let book = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Prices::from_csv(&book, store, archive).with_context(|| path.display().to_string())
}

/// What a move changes in a month: what is saved, and what an object costs, at most as much as its samples in the store.
fn money(prices: &Prices, m: &Move) -> (Micros, Micros) {
    let none = Micros::default();
    match &m.action {
        Action::DropBodies | Action::DropMinutes | Action::DropHours | Action::DropJournal => {
            (prices.store.of_bytes(m.bytes), none)
        }
        Action::Delete(_) => (prices.archive.of_object(m.bytes), none),
        Action::Archive | Action::Rewrite(_) | Action::Compact(_) => {
            (none, prices.archive.of_object(m.bytes))
        }
        Action::Retire(_) => (none, none),
    }
}

/// `tiers preview`
pub(super) async fn preview(args: PreviewArgs) -> anyhow::Result<()> {
    let prices = prices(&args)?;
    let opened = Opened::open(&args.tiers).await?;
    let policies: &dyn PolicyStore = &*opened.store;
    let (mut policy, holds) = in_force(policies, &opened.tenant).await?;
    if let Some(path) = &args.policy {
        policy = policy::read(path)?;
    }
    let now = args.at.unwrap_or_else(|| Clock::start().wall());
    let (mut lines, mut told) = (Vec::new(), Vec::new());
    let mut totals = (Micros::default(), Micros::default());
    for gateway in gateways(&*opened.store, &opened.tenant).await? {
        if args.tiers.gateway.as_ref().is_some_and(|only| *only != gateway) {
            continue;
        }
        let tiers = tiers_of(&*opened.store, &opened.tenant, &gateway, &policy, now).await?;
        let plan = plan(now, &policy, &holds, &tiers, prices.archive.min_days);
        for m in &plan.moves {
            let (saved, added) = money(&prices, m);
            totals = ([totals.0, saved].into_iter().sum(), [totals.1, added].into_iter().sum());
            lines.push(line(m, saved, added));
        }
        told.push(gateway_json(&prices, gateway.as_str(), &plan));
        if let Some(next) = plan.next_at {
            lines.push(format!("{gateway}: next due {}", instant(next)));
        }
    }
    lines.push(format!(
        "saves {} a month in what is dropped; new objects cost at most {}",
        totals.0, totals.1
    ));
    let body = json!({
        "tenant": opened.tenant.as_str(), "at": instant(now), "gateways": told,
        "saved_a_month_micro_usd": totals.0.0, "new_objects_a_month_micro_usd_at_most": totals.1.0,
        "prices": { "store": prices.store.sku, "archive": prices.archive.sku },
    });
    answer(args.tiers.json, &body, &lines.join("\n"))
}

fn line(m: &Move, saved: Micros, added: Micros) -> String {
    let money = match (saved.0, added.0) {
        (0, 0) => String::new(),
        (_, 0) => format!(", saves {saved} a month"),
        _ => format!(", costs at most {added} a month"),
    };
    let (name, days) = (m.action.name(), days(&m.range));
    format!("{name:<13} {}  {days}: {} rows, {} bytes{money}", m.gateway, m.rows, m.bytes)
}

fn gateway_json(prices: &Prices, gateway: &str, plan: &Plan) -> Value {
    let moves = plan.moves.iter().map(|m| {
        let (saved, added) = money(prices, m);
        json!({
            "action": m.action.name(), "from": instant(m.range.start), "to": instant(m.range.end), "rows": m.rows,
            "bytes": m.bytes, "saved_a_month_micro_usd": saved.0, "costs_a_month_micro_usd_at_most": added.0,
        })
    });
    json!({
        "gateway": gateway, "moves": moves.collect::<Vec<_>>(), "more": plan.is_cut,
        "next_at": plan.next_at.map(instant),
    })
}
