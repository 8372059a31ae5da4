//! `alarm journal`: what became of alarms, as the gateways decided it, in the order of the decisions.

use anyhow::bail;
use fleet::{FleetStore, JournalRow};
use plant_model::{AlarmTransition, Timestamp};
use tenancy::TenancyStore;

use crate::admin::print;
use crate::cli::JournalArgs;
use crate::data::DataDir;

/// Rows that are read at a time.
const PAGE: u32 = 500;

/// Prints the newest entries that fit the filter, the oldest of them first.
pub(crate) async fn print_journal(args: JournalArgs) -> anyhow::Result<()> {
    let store = DataDir::open(&args.data)?.store().await?;
    let (tenancy, fleet): (&dyn TenancyStore, &dyn FleetStore) = (&*store, &*store);
    if tenancy.tenant(&args.tenant).await?.is_none() {
        bail!("there is no tenant {}", args.tenant);
    }
    let mut rows = Vec::new();
    let mut cursor = None;
    loop {
        let page = fleet.journal(&args.tenant, PAGE, cursor).await?;
        cursor = page.last().map(|row| row.cursor);
        rows.extend(page.into_iter().filter(|row| fits(&args, row)));
        if cursor.is_none() || rows.len() >= args.limit {
            break;
        }
    }
    rows.truncate(args.limit);
    rows.reverse();
    if args.json { print(&http_api::journal_json(&rows)) } else { print(&text(&rows)) }
}

fn fits(args: &JournalArgs, row: &JournalRow) -> bool {
    row.gateway == args.gateway
        && args.machine.as_ref().is_none_or(|machine| *machine == row.transition.machine)
        && args.alarm.as_ref().is_none_or(|alarm| *alarm == row.transition.alarm)
}

const HEADINGS: [&str; 10] =
    ["decided at (UTC)", "machine", "alarm", "no.", "state", "cause", "value", "limit", "stored in", "by"];

/// Columns of numbers, which stand under each other at the right.
const NUMBERS: [usize; 4] = [3, 6, 7, 8];

/// A table as wide as what is in it.
fn text(rows: &[JournalRow]) -> String {
    let lines: Vec<_> = std::iter::once(HEADINGS.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let mut out = String::new();
    for line in &lines {
        let padded = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if NUMBERS.contains(&column) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        out.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn cells(row: &JournalRow) -> [String; HEADINGS.len()] {
    let t = &row.transition;
    [
        instant(t.decided_at),
        t.machine.to_string(),
        t.alarm.to_string(),
        t.occurrence.to_string(),
        format!("{} > {}", t.from.mnemonic(), t.to.mnemonic()),
        t.cause.name().to_owned(),
        t.value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        t.limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string()),
        format!("{} ms", row.stored_at.since(t.decided_at).as_millis()),
        by(t),
    ]
}

/// Who did it and why, where a person did.
fn by(t: &AlarmTransition) -> String {
    let Some(operation) = &t.operation else { return "-".to_owned() };
    // A comment is a person's text: control characters must not reach the terminal.
    let comment: String = operation.comment.chars().filter(|c| !c.is_control()).collect();
    let actor: String = operation.actor.chars().filter(|c| !c.is_control()).collect();
    if comment.is_empty() { actor } else { format!("{actor}: {comment}") }
}

pub(crate) fn instant(at: Timestamp) -> String {
    let shown = jiff::Timestamp::from_microsecond(at.micros()).map(|at| format!("{at:.3}"));
    // Outside the years of the calendar; the number says as much.
    shown.unwrap_or_else(|_| at.micros().to_string())
}
