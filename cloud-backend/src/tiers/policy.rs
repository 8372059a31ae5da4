//! `tiers policy` and `tiers hold`.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use service_kit::Clock;
use tiering::{Hold, HoldAct, HoldId, HoldScope, Policy, PolicyStore, SavedPolicy};
use tracing::info;

use super::arguments::{ActArgs, HoldCommand, PolicyCommand, TiersArgs};
use super::commands::{Opened, days};
use crate::admin::answer;
use crate::journal::instant;

/// Versions that `--history` prints.
const HISTORY: u32 = 100;

fn act(args: ActArgs) -> anyhow::Result<HoldAct> {
    if args.by.trim().is_empty() || args.reason.trim().is_empty() {
        bail!("--by or --reason is empty; both stay on record");
    }
    Ok(HoldAct { by: args.by, at: Clock::start().wall(), reason: args.reason })
}

fn act_json(act: &HoldAct) -> Value {
    json!({ "by": act.by, "at": instant(act.at), "reason": act.reason })
}

/// Reads a policy from a file: JSON if it is named so, TOML otherwise.
pub(super) fn read(path: &Path) -> anyhow::Result<Policy> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    let policy = if is_json { Policy::from_json(&text) } else { Policy::from_toml(&text) };
    policy.with_context(|| path.display().to_string())
}

/// `tiers policy`
pub(super) async fn policy(command: PolicyCommand) -> anyhow::Result<()> {
    match command {
        PolicyCommand::Show { tiers, history } => show(&tiers, history).await,
        PolicyCommand::Set { file, tiers, act } => set(&file, &tiers, act).await,
    }
}

async fn show(args: &TiersArgs, history: bool) -> anyhow::Result<()> {
    let opened = Opened::open(args).await?;
    let policies: &dyn PolicyStore = &*opened.store;
    let saved = policies.policies(&opened.tenant, if history { HISTORY } else { 1 }).await?;
    let entry = |saved: &SavedPolicy| json!({ "version": saved.version, "saved": act_json(&saved.saved), "policy": saved.policy.to_value() });
    let mut list: Vec<Value> = saved.iter().map(entry).collect();
    if list.is_empty() {
        list.push(json!({ "version": 0, "policy": Policy::default().to_value() }));
    }
    let body = if history { Value::Array(list) } else { list.swap_remove(0) };
    answer(args.json, &body, &format!("{body:#}"))
}

async fn set(file: &Path, args: &TiersArgs, by: ActArgs) -> anyhow::Result<()> {
    let (policy, saved) = (read(file)?, act(by)?);
    let opened = Opened::open(args).await?;
    let policies: &dyn PolicyStore = &*opened.store;
    let seen = policies.policies(&opened.tenant, 1).await?.first().map_or(0, |saved| saved.version);
    let author = saved.by.clone();
    let version = match policies.save_policy(&opened.tenant, seen, policy, saved).await? {
        Ok(version) => version,
        Err(conflict) => bail!("somebody saved version {} meanwhile; look at it first", conflict.newest),
    };
    let tenant = &opened.tenant;
    info!(target: "audit", { tenant.id = %tenant, actor = author, version }, "policy of the tiers saved");
    let text = format!("version {version} of the policy of tenant {tenant} is in force");
    answer(args.json, &json!({ "tenant": tenant.as_str(), "version": version }), &text)
}

/// `tiers hold`
pub(super) async fn hold(command: HoldCommand) -> anyhow::Result<()> {
    match command {
        HoldCommand::List(tiers) => list(&tiers).await,
        HoldCommand::Place { tiers, machine, from, to, act } => {
            if from >= to {
                bail!("--from {} is not before --to {}", instant(from), instant(to));
            }
            let scope = HoldScope { gateway: tiers.gateway.clone(), machine, start: from, end: to };
            place(&tiers, scope, act).await
        }
        HoldCommand::Release { hold, tiers, act } => release(&tiers, HoldId(hold), act).await,
    }
}

async fn list(args: &TiersArgs) -> anyhow::Result<()> {
    let opened = Opened::open(args).await?;
    let policies: &dyn PolicyStore = &*opened.store;
    let holds = policies.holds(&opened.tenant).await?;
    let body: Vec<Value> = holds.iter().map(hold_json).collect();
    let mut lines: Vec<String> = holds.iter().map(hold_line).collect();
    if lines.is_empty() {
        lines.push(format!("tenant {} has no holds", opened.tenant));
    }
    answer(args.json, &Value::Array(body), &lines.join("\n"))
}

fn hold_json(hold: &Hold) -> Value {
    let scope = &hold.scope;
    json!({
        "hold": hold.id.0, "gateway": scope.gateway.as_ref().map(|id| id.as_str()),
        "machine": scope.machine.as_ref().map(|id| id.as_str()), "from": instant(scope.start),
        "to": instant(scope.end), "placed": act_json(&hold.placed),
        "released": hold.released.as_ref().map(act_json),
    })
}

fn hold_line(hold: &Hold) -> String {
    let scope = &hold.scope;
    let gateway = scope.gateway.as_ref().map_or("all gateways", |id| id.as_str());
    let machine = scope.machine.as_ref().map_or_else(String::new, |id| format!(" (for {id})"));
    let placed = &hold.placed;
    let end = hold.released.as_ref().map_or_else(
        || "in force".to_owned(),
        |act| format!("released {} by {}: {}", instant(act.at), act.by, act.reason),
    );
    let days = days(&(scope.start..scope.end));
    format!(
        "{}  {gateway}{machine}  {days}  placed {} by {}: {}; {end}",
        hold.id.0,
        instant(placed.at),
        placed.by,
        placed.reason
    )
}

async fn place(args: &TiersArgs, scope: HoldScope, by: ActArgs) -> anyhow::Result<()> {
    let placed = act(by)?;
    let opened = Opened::open(args).await?;
    let policies: &dyn PolicyStore = &*opened.store;
    let author = placed.by.clone();
    let hold = policies.place_hold(&opened.tenant, scope, placed).await?.0;
    info!(target: "audit", { tenant.id = %opened.tenant, actor = author, hold }, "hold placed");
    answer(args.json, &json!({ "hold": hold }), &format!("hold {hold} is in force"))
}

async fn release(args: &TiersArgs, hold: HoldId, by: ActArgs) -> anyhow::Result<()> {
    let released = act(by)?;
    let opened = Opened::open(args).await?;
    let policies: &dyn PolicyStore = &*opened.store;
    let author = released.by.clone();
    if !policies.release_hold(&opened.tenant, hold, released).await? {
        bail!("tenant {} has no hold {} in force; `tiers hold list` prints all", opened.tenant, hold.0);
    }
    info!(target: "audit", { tenant.id = %opened.tenant, actor = author, hold = hold.0 }, "hold released");
    answer(args.json, &json!({ "hold": hold.0 }), &format!("hold {} is released", hold.0))
}
