//! `edge-agent update`: how updates of this agent stand.

use std::io::Write;
use std::net::SocketAddr;

use agent_update::{Journal, Phase};
use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::table::{Paint, Tone};
use super::{Found, Output, local, print, runtime};
use crate::cli::{UpdateCommand, UpdateStatusArguments};
use crate::update::{UpdateFiles, installer};

pub(crate) fn run(command: &UpdateCommand) -> Result<Found> {
    match command {
        UpdateCommand::Status(arguments) => status(arguments),
        UpdateCommand::Install(arguments) => installer::run(arguments),
    }
}

/// How it stands.
#[derive(Debug, Serialize)]
struct StatusReport {
    /// Whether the backend has this agent updated.
    is_enabled: bool,
    channel: String,
    /// The version that answers; `null` if none does.
    running: Option<String>,
    /// What the running agent says of it, as it reports it to the backend.
    update: Option<Stands>,
    /// The version that the installer was asked for and did not take yet.
    requested: Option<String>,
    last: Option<LastUpdate>,
}

/// What of the status interface is shown.
#[derive(Debug, Deserialize)]
struct Shown {
    version: String,
    update: Option<Stands>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stands {
    state: String,
    desired: Option<String>,
    detail: String,
    error: Option<String>,
}

/// The last update, as the installer says.
#[derive(Debug, Serialize)]
struct LastUpdate {
    revision: u32,
    version: String,
    former: String,
    phase: Phase,
    detail: String,
    at_ms: i64,
}

impl LastUpdate {
    fn of(journal: &Journal) -> Self {
        Self {
            revision: journal.request.revision.get(),
            version: journal.request.version.to_string(),
            former: journal.former.to_string(),
            phase: journal.phase(),
            detail: journal.detail().to_owned(),
            at_ms: journal.changed_at().millis(),
        }
    }
}

fn status(arguments: &UpdateStatusArguments) -> Result<Found> {
    let config = edge_config::load_agent(&arguments.config)?;
    let files = UpdateFiles::of(&config);
    let last = files.journal()?.as_ref().map(LastUpdate::of);
    let shown = arguments.status.or_else(|| local::configured(&config, &arguments.config).ok()).and_then(ask);
    let (running, update) = shown.map_or((None, None), |shown| (Some(shown.version), shown.update));
    let report = StatusReport {
        is_enabled: config.update.is_enabled,
        channel: config.update.policy.channel.to_string(),
        running,
        update,
        requested: files.request().map(|request| request.version.to_string()),
        last,
    };
    print(Output::json(arguments.json), &report, write)?;
    let went_wrong = |last: &LastUpdate| match last.phase {
        Phase::RolledBack | Phase::Failed | Phase::Stranded => true,
        Phase::Fetching
        | Phase::Installing
        | Phase::Verifying
        | Phase::RollingBack
        | Phase::VerifyingFormer
        | Phase::Done => false,
    };
    Ok(if report.last.as_ref().is_some_and(went_wrong) { Found::Nothing } else { Found::Something })
}

/// An agent that does not run shows nothing.
fn ask(address: SocketAddr) -> Option<Shown> {
    let body = runtime().ok()?.block_on(local::get(address, "/status")).ok()?;
    serde_json::from_slice(&body).ok()
}

fn write(out: &mut dyn Write, paint: Paint, report: &StatusReport) -> std::io::Result<()> {
    match &report.running {
        Some(version) => writeln!(out, "version {version} runs")?,
        None => writeln!(out, "{}", paint.text(Tone::Bad, "no agent answers"))?,
    }
    if let Some(update) = &report.update {
        let desired =
            update.desired.as_ref().map_or_else(String::new, |v| format!(", the backend wants {v}"));
        writeln!(out, "channel {}: {}{desired}", report.channel, update.state)?;
        for line in [&update.detail, update.error.as_ref().unwrap_or(&String::new())] {
            if !line.is_empty() {
                writeln!(out, "{line}")?;
            }
        }
    }
    if let Some(version) = &report.requested {
        writeln!(out, "the installer is asked for version {version} and has not begun")?;
    }
    if let Some(last) = &report.last {
        let (tone, told) = match last.phase {
            Phase::Done => (Tone::Good, "runs and does well"),
            Phase::Fetching => (Tone::Plain, "its package is fetched"),
            Phase::Installing => (Tone::Warning, "is installed"),
            Phase::Verifying => (Tone::Warning, "is watched"),
            Phase::RollingBack => (Tone::Bad, "is taken back"),
            Phase::VerifyingFormer => (Tone::Bad, "was taken back; the version before is watched"),
            Phase::RolledBack => (Tone::Bad, "was taken back; the version before runs again"),
            Phase::Failed => (Tone::Bad, "was not installed"),
            Phase::Stranded => {
                (Tone::Bad, "did not do well, and the version before could not be brought back")
            }
        };
        writeln!(out, "last update, {} to {}: {}", last.former, last.version, paint.text(tone, told))?;
        if !last.detail.is_empty() {
            writeln!(out, "{}", last.detail)?;
        }
    }
    if report.is_enabled {
        return Ok(());
    }
    writeln!(out, "the backend does not update this agent: [update] enabled = true in agent.toml allows it")
}
