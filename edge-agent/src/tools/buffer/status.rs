//! `edge-agent buffer status`.

use std::io::Write;

use anyhow::Result;
use edge_store::{BufferReader, StoreError, Usage};
use plant_model::Timestamp;
use protocol::{Sequence, StreamId};

use super::{Found, Source};
use crate::buffer_view::{BufferView, Counted, HoldingView, Parts, RATE_WINDOW};
use crate::cli::BufferStatusArguments;
use crate::tools::table::{Cell, Paint, Table, Tone};
use crate::tools::{Output, print};

pub(super) fn run(arguments: &BufferStatusArguments) -> Result<Found> {
    let source = Source::of(&arguments.target)?;
    let view = match source.locked() {
        Err(StoreError::InUse { .. }) => source.ask(arguments.status, "/buffer")?,
        opened => look(&opened?, source.bytes_max())?,
    };
    print(Output::json(arguments.json), &view, |out, paint, view| {
        writeln!(out, "{}", source.path.display())?;
        write(out, paint, view)
    })?;
    Ok(Found::Something)
}

/// Counts what a file holds. Nothing is read that is encrypted.
fn look(reader: &BufferReader, bytes_max: Option<u64>) -> Result<BufferView, StoreError> {
    let usage = reader.usage()?;
    let usage = Usage::resting(usage.held_bytes, usage.disk_bytes, bytes_max.unwrap_or(usage.bytes_max));
    let (everything, _) = count(reader, Timestamp::from_micros(0));
    let newest = everything.iter().filter_map(|c| c.held().committed).map(|(_, last)| last).max();
    let recent = newest.map_or(Timestamp::from_micros(0), |newest| newest.minus(RATE_WINDOW));
    let (streams, damage) = count(reader, recent);
    let health = match damage {
        None => "readable".to_owned(),
        Some(error) => format!("damaged: {error}; `buffer verify` tells what can be read"),
    };
    let epoch = reader.epoch().map(|epoch| epoch.to_string());
    let view = BufferView::of(&Parts { epoch, health, facts: reader.facts()?, usage, recent, streams });
    reader.check_unchanged()?;
    Ok(view)
}

/// Counts every stream as far as it can be read; what could not be is told.
fn count(reader: &BufferReader, recent: Timestamp) -> (Vec<Counted>, Option<StoreError>) {
    let mut damage = None;
    let mut one = |stream| {
        let (next, acked) = reader.head(stream).unwrap_or_default();
        let mut counted = Counted::new(stream, acked, next);
        let mut from = Some(Sequence::ZERO);
        while let Some(start) = from {
            match reader.tally(stream, start, recent) {
                Ok(tally) => {
                    counted.add(tally);
                    from = tally.next;
                }
                Err(error) => {
                    damage.get_or_insert(error);
                    from = None;
                }
            }
        }
        counted
    };
    (StreamId::ALL.map(&mut one).into(), damage)
}

fn write(out: &mut dyn Write, paint: Paint, view: &BufferView) -> std::io::Result<()> {
    let is_well = matches!(view.health.as_str(), "writable" | "readable");
    let health = paint.text(if is_well { Tone::Good } else { Tone::Bad }, &view.health);
    let encrypted = if view.encrypted { "encrypted" } else { "not encrypted" };
    let epoch = view.epoch.as_deref().unwrap_or("unreadable");
    writeln!(out, "{health}, {encrypted}, layout {}, epoch {epoch}", view.layout)?;
    writeln!(
        out,
        "{} held of at most {} ({} on the disk now), room for {}{}",
        size(view.held_bytes),
        size(view.bytes_max),
        size(view.disk_bytes),
        size(view.room_bytes),
        outlook(view)
    )?;
    let mut table =
        Table::new(&["stream", ">batches", ">entries", ">bytes", ">not delivered", "committed from", "to"]);
    for stream in &view.streams {
        let HoldingView { batches, entries, bytes, first_at, last_at, .. } = &stream.held;
        let left = stream.not_delivered.batches;
        let none = || "-".to_owned();
        table.row([
            Cell::from(&stream.stream),
            batches.into(),
            entries.into(),
            size(*bytes).into(),
            Cell::toned(if left == 0 { Tone::Plain } else { Tone::Warning }, left),
            first_at.clone().unwrap_or_else(none).into(),
            last_at.clone().unwrap_or_else(none).into(),
        ]);
    }
    table.write(out, paint)?;
    writeln!(out, "{} tags have a number; {} batches are set aside", view.series, view.set_aside)
}

fn outlook(view: &BufferView) -> String {
    match (view.bytes_per_day, view.days_left) {
        (Some(rate), Some(days)) => {
            format!("; at the rate of the last day, {} a day, it lasts {days:.1} days", size(rate))
        }
        _ => String::new(),
    }
}

/// Bytes for people.
#[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1_024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", bytes as f64 / 1_073_741_824.0),
    }
}
