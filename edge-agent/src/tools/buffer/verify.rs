//! `edge-agent buffer verify`.

use std::io::Write;

use anyhow::Result;
use edge_store::{BufferReader, StoreError, StoredBatch};
use indicatif::ProgressBar;
use protocol::{Batch, BatchBody, DiagnosticRecord, Sequence, StreamId};
use serde::Serialize;

use super::ranges::{Range, Ranges};
use super::{Found, Source, batches, progress};
use crate::cli::BufferVerifyArguments;
use crate::tools::table::{Cell, Paint, Table, Tone};
use crate::tools::{Output, print};

/// Most damaged batches of a stream that are told one by one.
const TOLD_MAX: usize = 100;

/// Most gaps of a stream that are told one by one.
const GAPS_MAX: usize = 1_000;

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    path: String,
    epoch: Option<String>,
    sound: bool,
    /// What is wrong, a sentence each.
    problems: Vec<String>,
    streams: Vec<StreamReport>,
    /// Batches kept aside, which can be read or not.
    set_aside: u64,
}

impl Report {
    #[cfg(test)]
    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }
}

/// One stream.
#[derive(Debug, Default, Serialize)]
struct StreamReport {
    stream: String,
    acknowledged_through: u64,
    next: u64,
    /// Batches whose header, checksum, place and content are right.
    sound_batches: u64,
    entries: u64,
    damaged: u64,
    /// Places that SQLite cannot read; each hides one batch or several.
    unreadable_places: u32,
    /// Numbers that are not held, the first thousand ranges.
    gaps: Vec<GapReport>,
}

/// Numbers that are not held.
#[derive(Debug, Serialize)]
struct GapReport {
    first: u64,
    last: u64,
    /// Why, as recorded; `record_delivered` where its record may have been delivered and freed; `not_recorded`.
    reason: &'static str,
}

pub(super) fn run(arguments: &BufferVerifyArguments) -> Result<Found> {
    let source = Source::of(&arguments.target)?;
    let reader = source.open()?;
    let bar = progress(batches(&reader, &StreamId::ALL));
    let report = look(&reader, source.path.display().to_string(), &bar)?;
    bar.finish_and_clear();
    print(Output::json(arguments.json), &report, write)?;
    Ok(if report.sound { Found::Something } else { Found::Nothing })
}

pub(super) fn look(reader: &BufferReader, path: String, bar: &ProgressBar) -> Result<Report, StoreError> {
    let mut look = Look { reader, bar, recorded: Default::default(), problems: Vec::new() };
    look.problems.extend(reader.integrity().into_iter().map(|finding| format!("SQLite: {finding}")));
    if reader.epoch().is_none() {
        look.problems.push("the epoch cannot be read".to_owned());
    }
    // Records first: they explain what the other streams miss.
    let order = [StreamId::Diagnostic, StreamId::Alarm, StreamId::Telemetry];
    let mut streams = order.into_iter().map(|stream| look.stream(stream)).collect::<Result<Vec<_>, _>>()?;
    let has_all_records = streams[0].1.first().is_none_or(|first| first == 1);
    for (report, held, stream) in &mut streams {
        look.gaps(report, held, *stream, has_all_records);
    }
    let set_aside = reader.facts().map_or(0, |facts| facts.set_aside);
    reader.check_unchanged()?;
    Ok(Report {
        path,
        epoch: reader.epoch().map(|epoch| epoch.to_string()),
        sound: look.problems.is_empty(),
        problems: look.problems,
        streams: streams.into_iter().map(|(report, ..)| report).collect(),
        set_aside,
    })
}

struct Look<'a> {
    reader: &'a BufferReader,
    bar: &'a ProgressBar,
    /// What records say is gone, with the reason, in the order of [`StreamId::ALL`].
    recorded: [Vec<(Range, &'static str)>; StreamId::ALL.len()],
    problems: Vec<String>,
}

impl Look<'_> {
    /// Reads every batch of a stream.
    fn stream(&mut self, stream: StreamId) -> Result<(StreamReport, Ranges, StreamId), StoreError> {
        let (next, acked) = self.reader.head(stream).unwrap_or_default();
        let (acknowledged_through, next) = (acked.as_u64(), next.as_u64());
        let name = stream.to_string();
        let mut report = StreamReport { stream: name, acknowledged_through, next, ..StreamReport::default() };
        let mut held = Ranges::default();
        let reader = self.reader;
        let unread = reader.each(stream, Sequence::ZERO, |stored| {
            self.bar.inc(1);
            held.push(stored.sequence.as_u64());
            self.batch(&stored, &mut report);
            Ok::<_, StoreError>(())
        })?;
        if let Some(reason) = unread.reason {
            report.unreadable_places = unread.places;
            self.problems.push(format!("{stream}: {} places cannot be read: {reason}", unread.places));
        }
        if report.damaged > TOLD_MAX as u64 {
            self.problems.push(format!("{stream}: {} damaged batches in all", report.damaged));
        }
        if reader.head(stream).is_none() {
            self.problems.push(format!("{stream}: its watermark and next number cannot be read"));
        }
        Ok((report, held, stream))
    }

    fn batch(&mut self, stored: &StoredBatch, report: &mut StreamReport) {
        match self.decode(stored) {
            Ok(batch) => {
                report.sound_batches += 1;
                report.entries += u64::from(batch.header.count);
                if let BatchBody::Records(records) = &batch.body {
                    self.note(records);
                }
            }
            Err(reason) => {
                report.damaged += 1;
                if report.damaged <= TOLD_MAX as u64 {
                    self.problems.push(format!("{} batch {}: {reason}", report.stream, stored.sequence));
                }
            }
        }
    }

    /// The batch, if all of it is as it should be.
    fn decode(&self, stored: &StoredBatch) -> Result<Batch, String> {
        let batch = Batch::decode(&stored.message).map_err(|error| error.to_string())?;
        let header = &batch.header;
        if (header.stream, header.sequence) != (stored.stream, stored.sequence) {
            return Err(format!("says that it is {} batch {}", header.stream, header.sequence));
        }
        match self.reader.epoch() {
            Some(epoch) if epoch != header.epoch => Err(format!("is of epoch {}", header.epoch)),
            _ => Ok(batch),
        }
    }

    fn note(&mut self, records: &[DiagnosticRecord]) {
        for record in records {
            if let DiagnosticRecord::Gap(gap) = record {
                let range = Range { first: gap.first.as_u64(), last: gap.last.as_u64() };
                self.recorded[position(gap.stream)].push((range, gap.reason.name()));
            }
        }
    }

    /// Holds the numbers that are not there against what is recorded.
    fn gaps(&mut self, report: &mut StreamReport, held: &Ranges, stream: StreamId, has_all_records: bool) {
        let from = held.first().unwrap_or(report.next).min(report.acknowledged_through + 1);
        let Some(last) = report.next.checked_sub(1).filter(|last| *last >= from) else { return };
        let recorded = &self.recorded[position(stream)];
        for hole in held.holes(Range { first: from, last }) {
            let mut explained = Ranges::default();
            for (range, reason) in recorded {
                let Some(part) = hole.overlap(*range) else { continue };
                explained.add(part);
                push(&mut report.gaps, part, reason);
            }
            for rest in explained.holes(hole) {
                let is_delivered = rest.last <= report.acknowledged_through;
                let reason =
                    if has_all_records && !is_delivered { "not_recorded" } else { "record_delivered" };
                push(&mut report.gaps, rest, reason);
                if reason == "not_recorded" {
                    let Range { first, last } = rest;
                    self.problems
                        .push(format!("{stream}: {first} to {last} are not held, and no record says why"));
                }
            }
        }
    }
}

fn push(gaps: &mut Vec<GapReport>, range: Range, reason: &'static str) {
    if gaps.len() < GAPS_MAX {
        gaps.push(GapReport { first: range.first, last: range.last, reason });
    }
}

fn position(stream: StreamId) -> usize {
    StreamId::ALL.iter().position(|s| *s == stream).unwrap_or(0)
}

fn write(out: &mut dyn Write, paint: Paint, report: &Report) -> std::io::Result<()> {
    let epoch = report.epoch.as_deref().unwrap_or("unreadable");
    writeln!(out, "{}, epoch {epoch}", report.path)?;
    let mut table = Table::new(&["stream", ">sound batches", ">entries", ">damaged", ">unreadable", ">gaps"]);
    for stream in &report.streams {
        let bad = |count: u64| Cell::toned(if count == 0 { Tone::Plain } else { Tone::Bad }, count);
        table.row([
            Cell::from(&stream.stream),
            stream.sound_batches.into(),
            stream.entries.into(),
            bad(stream.damaged),
            bad(stream.unreadable_places.into()),
            stream.gaps.len().into(),
        ]);
    }
    table.write(out, paint)?;
    for (stream, gap) in report.streams.iter().flat_map(|s| s.gaps.iter().map(move |gap| (s, gap))) {
        writeln!(out, "{} {} to {} are not held: {}", stream.stream, gap.first, gap.last, gap.reason)?;
    }
    for problem in &report.problems {
        writeln!(out, "{} {problem}", paint.text(Tone::Bad, "wrong:"))?;
    }
    match report.sound {
        true => writeln!(out, "{}", paint.text(Tone::Good, "the buffer is sound")),
        false => writeln!(
            out,
            "the agent salvages what can be read when it starts on this file; `buffer export` writes it out"
        ),
    }
}
