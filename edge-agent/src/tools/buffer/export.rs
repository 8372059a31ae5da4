//! `edge-agent buffer export`.

use std::fs::OpenOptions;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use edge_store::{BufferReader, StoredBatch};
use indicatif::ProgressBar;
use protocol::{Batch, BatchHeader, Sequence, StreamId};
use serde::Serialize;

use super::rows::{Filter, Named, columns, named, rows};
use super::table_file::TableFile;
use super::{Found, Source, batches, progress};
use crate::cli::{BufferExportArguments, ExportFormat, ExportStream};
use crate::tools::{Output, print};

/// What was written.
#[derive(Debug, Default, Serialize)]
struct Report {
    out: String,
    rows: u64,
    batches: u64,
    /// Batches and damaged places that could not be read; `buffer verify` tells more.
    unreadable: u64,
}

pub(super) fn run(arguments: &BufferExportArguments) -> Result<Found> {
    let format = format(arguments)?;
    let source = Source::of(&arguments.target)?;
    let reader = source.open()?;
    let stream = stream_id(arguments.stream);
    let names = named(reader.series().unwrap_or_default(), source.config.as_ref());
    let known = |id: &String| names.values().any(|name| name.is_of(id));
    if arguments.stream == ExportStream::Telemetry
        && let Some(unknown) = arguments.machine.iter().find(|id| !known(id))
    {
        bail!("there is no machine {unknown} in the buffer; it has {}", machines(names.values()));
    }
    let file = OpenOptions::new().write(true).create_new(true).open(&arguments.out);
    let file = file.with_context(|| format!("cannot make {}; it must not exist", arguments.out.display()))?;
    let columns = columns(arguments.stream);
    let table = match format {
        ExportFormat::Csv => TableFile::csv(file, columns)?,
        ExportFormat::Parquet => TableFile::parquet(file, columns)?,
    };
    let bar = progress(batches(&reader, &[stream]));
    let filter = Filter {
        from: arguments.from,
        to: arguments.to,
        machines: arguments.machine.iter().cloned().collect(),
    };
    let out = arguments.out.display().to_string();
    let mut export = Export { table, filter, names, report: Report { out, ..Report::default() }, bar };
    export.all(&reader, stream, from(&reader, arguments))?;
    reader.check_unchanged()?;
    let report = export.finish()?;
    tell(arguments, &report)
}

fn tell(arguments: &BufferExportArguments, report: &Report) -> Result<Found> {
    print(Output::json(arguments.json), report, |out, _, report| {
        let Report { out: file, rows, batches, unreadable } = report;
        writeln!(out, "{rows} rows of {batches} batches are in {file}")?;
        if *unreadable > 0 {
            writeln!(out, "{unreadable} batches or places could not be read; `buffer verify` tells which")?;
        }
        Ok(())
    })?;
    Ok(if report.rows == 0 { Found::Nothing } else { Found::Something })
}

fn format(arguments: &BufferExportArguments) -> Result<ExportFormat> {
    let extension = arguments.out.extension().and_then(|extension| extension.to_str());
    match (arguments.format, extension) {
        (Some(format), _) => Ok(format),
        (None, Some("csv")) => Ok(ExportFormat::Csv),
        (None, Some("parquet")) => Ok(ExportFormat::Parquet),
        (None, _) => bail!("{}: name it .csv or .parquet, or give --format", arguments.out.display()),
    }
}

const fn stream_id(stream: ExportStream) -> StreamId {
    match stream {
        ExportStream::Telemetry => StreamId::Telemetry,
        ExportStream::Alarm => StreamId::Alarm,
    }
}

fn machines<'a>(names: impl Iterator<Item = &'a Named>) -> String {
    let all: std::collections::BTreeSet<&str> = names.map(Named::machine).collect();
    if all.is_empty() { "none".to_owned() } else { Vec::from_iter(all).join(", ") }
}

/// The first number that is asked for.
fn from(reader: &BufferReader, arguments: &BufferExportArguments) -> Sequence {
    let acked = reader.head(stream_id(arguments.stream)).map(|(_, acked)| acked);
    acked.filter(|_| arguments.undelivered).map_or(Sequence::ZERO, Sequence::next)
}

struct Export {
    table: TableFile,
    filter: Filter,
    names: std::collections::HashMap<protocol::SeriesId, Named>,
    report: Report,
    bar: ProgressBar,
}

impl Export {
    /// The batches of a stream, and those that were set aside and can be read.
    fn all(&mut self, reader: &BufferReader, stream: StreamId, from: Sequence) -> Result<()> {
        let unread = reader.each(stream, from, |batch| self.batch(&batch))?;
        self.report.unreadable += u64::from(unread.places);
        for aside in reader.aside(stream).unwrap_or_default() {
            if aside.batch.sequence >= from {
                self.batch(&aside.batch)?;
            }
        }
        Ok(())
    }

    fn batch(&mut self, stored: &StoredBatch) -> Result<()> {
        self.bar.inc(1);
        let Ok(header) = BatchHeader::read(&stored.message) else {
            self.report.unreadable += 1;
            return Ok(());
        };
        if !self.filter.may_take(header.first_at, header.last_at) {
            return Ok(());
        }
        let Ok(batch) = Batch::decode(&stored.message) else {
            self.report.unreadable += 1;
            return Ok(());
        };
        let before = self.report.rows;
        let (table, count) = (&mut self.table, &mut self.report.rows);
        rows(&batch, &self.names, &self.filter, |cells| {
            *count += 1;
            table.row(cells)
        })?;
        self.report.batches += u64::from(self.report.rows > before);
        Ok(())
    }

    fn finish(self) -> Result<Report> {
        self.bar.finish_and_clear();
        let path = Path::new(&self.report.out);
        self.table.finish().with_context(|| format!("cannot write {}", path.display()))?;
        ensure!(path.exists(), "{} is gone", path.display());
        Ok(self.report)
    }
}
