//! `ledger`: what became of everything that the gateways of a tenant sent.

use anyhow::bail;
use fleet::LedgerRow;

use crate::admin::print;
use crate::cli::LedgerArgs;
use crate::data::DataDir;
use crate::journal::instant;

/// Prints the ledger. It fails, after printing, if the books of a stream do not balance.
pub(crate) async fn print_ledger(args: LedgerArgs) -> anyhow::Result<()> {
    let store = DataDir::open(&args.data)?.store().await?;
    let mut rows = store.ledger(&args.tenant).await?;
    if let Some(gateway) = &args.gateway {
        rows.retain(|row| row.gateway == *gateway);
    }
    let wrong: Vec<String> = rows.iter().filter(|row| !row.balances()).map(name).collect();
    if args.json {
        print(&http_api::ledger_json(rows))?
    } else {
        print(&text(&rows))?
    }
    if !wrong.is_empty() {
        bail!(
            "received is not stored + duplicate + rejected for {}: the file was changed by something else; \
             compare it with a backup",
            wrong.join(", ")
        );
    }
    Ok(())
}

fn name(row: &LedgerRow) -> String {
    format!("{}/{}", row.gateway, row.stream)
}

fn text(rows: &[LedgerRow]) -> String {
    let mut text = format!(
        "{:<20} {:<16} {:<10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>9} {:>12} {:>5}\n",
        "gateway",
        "epoch",
        "stream",
        "committed",
        "received",
        "stored",
        "duplicate",
        "rejected",
        "identity",
        "samples",
        "gaps"
    );
    for row in rows {
        let epoch = row.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
        let rejected: u64 = row.rejected.iter().map(|(_, count)| count).sum();
        text.push_str(&format!(
            "{:<20} {epoch:<16} {:<10} {:>10} {:>10} {:>10} {:>10} {rejected:>10} {:>9} {:>12} {:>5}\n",
            row.gateway.as_str(),
            row.stream.name(),
            row.committed_through.as_u64(),
            row.received,
            row.stored,
            row.duplicate,
            if row.balances() { "holds" } else { "BROKEN" },
            row.samples_stored,
            row.gaps.len()
        ));
    }
    for (title, lines) in sections(rows) {
        if !lines.is_empty() {
            text.push_str(&format!("\n{title}\n{}\n", lines.join("\n")));
        }
    }
    text
}

/// What is not as it should be, by what it is.
fn sections(rows: &[LedgerRow]) -> [(&'static str, Vec<String>); 4] {
    let list = |entries: fn(&LedgerRow) -> Vec<String>| -> Vec<String> {
        rows.iter()
            .flat_map(|row| entries(row).into_iter().map(|e| format!("  {:<28} {e}", name(row))))
            .collect()
    };
    [
        ("missing, and asked for again:", list(missing)),
        ("declared lost by the gateway:", list(lost)),
        ("in quarantine, header sound and body not:", list(quarantined)),
        ("rejected, by reason:", list(rejected)),
    ]
}

fn missing(row: &LedgerRow) -> Vec<String> {
    row.missing.iter().map(|(first, last)| format!("{first} to {last}")).collect()
}

fn lost(row: &LedgerRow) -> Vec<String> {
    let gap = |g: &fleet::GapRow| {
        format!("{} to {}: {}, {} samples, at {}", g.first, g.last, g.reason, g.samples, instant(g.at))
    };
    let dropped = |d: &fleet::DroppedRow| {
        format!(
            "{} samples before they were a batch: {}, {} to {}",
            d.samples,
            d.reason,
            instant(d.from),
            instant(d.to)
        )
    };
    row.gaps.iter().map(gap).chain(row.dropped.iter().map(dropped)).collect()
}

fn quarantined(row: &LedgerRow) -> Vec<String> {
    let batch = |b: &fleet::QuarantineRow| {
        // The detail quotes what a gateway sent: control characters must not reach the terminal.
        let detail: String = b.detail.chars().filter(|c| !c.is_control()).collect();
        format!(
            "{}: {}, {} bytes, at {}: {detail}",
            b.sequence,
            b.reason,
            b.size_bytes,
            instant(b.received_at)
        )
    };
    row.quarantined.iter().map(batch).collect()
}

fn rejected(row: &LedgerRow) -> Vec<String> {
    row.rejected.iter().map(|(reason, count)| format!("{reason}: {count}")).collect()
}
