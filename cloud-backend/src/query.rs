//! `query`: samples of a machine from all tiers, as a file.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use history::{Budget, Prices, Reader, Subject, Tiers};
use http_api::{FileFormat, SampleFile};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plant_model::{GatewayId, MachineId, TagId, TenantId, Timestamp};

use crate::cli::DataArgs;
use crate::data::DataDir;

/// What a file may cost: years of a machine from the archive.
const BUDGET: Budget = Budget { requests: 10_000, bytes: 64 << 30, ..Budget::INTERACTIVE };

/// Arguments of `query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// The tenant.
    #[arg(long)]
    pub tenant: TenantId,
    /// The gateway.
    #[arg(long)]
    pub gateway: GatewayId,
    /// The machine.
    #[arg(long)]
    pub machine: MachineId,
    /// A tag; repeat for more. All tags that the machine ever had when not given.
    #[arg(long)]
    pub tag: Vec<TagId>,
    /// From this instant on, RFC 3339, for example 2026-11-22T15:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub from: Timestamp,
    /// Up to and without this instant.
    #[arg(long, value_name = "TIME", value_parser = instant)]
    pub to: Timestamp,
    /// csv, parquet, or json: one object a line.
    #[arg(long, default_value = "csv", value_parser = format)]
    pub format: FileFormat,
    /// The file to write, which must not exist; standard output when not given.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
}

fn instant(text: &str) -> Result<Timestamp, String> {
    let wrong = |_| format!("{text:?} is no instant; write for example 2026-11-22T15:00:00Z");
    text.parse::<jiff::Timestamp>().map(|at| Timestamp::from_micros(at.as_microsecond())).map_err(wrong)
}

fn format(text: &str) -> Result<FileFormat, String> {
    let known = FileFormat::ALL.into_iter().find(|format| format.extension() == text);
    known.ok_or_else(|| format!("{text:?} is no format; csv, parquet and json are"))
}

/// `query`
pub(crate) async fn query(args: QueryArgs) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data)?;
    let (store, archive) = (data.store().await?, data.archive()?);
    let tags = if args.tag.is_empty() {
        let all = store.tags(&args.tenant, &args.gateway, Some(&args.machine)).await?;
        all.into_iter().map(|tag| tag.tag).collect()
    } else {
        args.tag.clone()
    };
    let subject = Subject { tenant: args.tenant, gateway: args.gateway, machine: args.machine, tags };
    let tiers = Tiers { store: &*store, archive: &*archive };
    let reader = Reader::open(tiers, subject, args.from..args.to, BUDGET).await?;
    if reader.tags().is_empty() {
        bail!("the machine never had such a tag; is it the right gateway and machine?");
    }
    match &args.out {
        Some(path) => write(reader, args.format, &mut create(path)?).await,
        None => write(reader, args.format, &mut std::io::stdout().lock()).await,
    }
}

fn create(path: &Path) -> anyhow::Result<impl Write + use<>> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.with_context(|| format!("cannot make {}; it must not exist", path.display()))
}

async fn write(mut reader: Reader<'_>, format: FileFormat, out: &mut impl Write) -> anyhow::Result<()> {
    let range = reader.range();
    let bar = progress(range.end.since(range.start).as_secs());
    let tags = reader.tags().iter().map(|tag| tag.tag.clone()).collect();
    let mut file = SampleFile::new(format, tags)?;
    let mut samples = 0;
    while let Some(block) = reader.next_block().await? {
        out.write_all(&file.block(&block.samples)?).context("cannot write")?;
        samples += block.count();
        bar.set_position(block.end.since(range.start).as_secs());
        bar.set_message(format!("{samples} samples"));
    }
    out.write_all(&file.finish()?).and_then(|()| out.flush()).context("cannot write")?;
    bar.finish_and_clear();
    let report = reader.report();
    let layers: Vec<&str> = report.layers.iter().map(|layer| layer.name()).collect();
    let cost = report.cost(&Prices::STANDARD);
    let (layers, requests, bytes) = (layers.join(" "), report.requests, report.bytes);
    tracing::info!(samples, layers, requests, bytes, cost_usd = %cost, "written");
    if let Some(first) = report.incomplete.as_slice().first() {
        tracing::warn!(
            minutes = report.incomplete.as_slice().len(),
            first_us = first.start.micros(),
            "samples of some minutes are in no tier any more"
        );
    }
    Ok(())
}

/// By the seconds of the range; on a terminal alone.
fn progress(seconds: u64) -> ProgressBar {
    let shown = std::io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(seconds), target);
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} % {msg} ({eta} left)");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
