//! `edge-agent config`: what of the configuration is the backend's, and what a technician decides about it.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use protocol::{ConfigurationReport, ConfigurationState};
use remote_configuration::{Files, Record, Standing, Work};
use serde::Serialize;
use similar::TextDiff;

use super::table::{Paint, Tone};
use super::{Found, Output, print};
use crate::cli::{ConfigArguments, ConfigCommand};
use crate::remote::{Book, Folder, Request};

/// What the agent may take to see a request: it looks each second, unless it is about to change machines.
const HEARD_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked whether it did.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) fn run(command: &ConfigCommand) -> Result<Found> {
    match command {
        ConfigCommand::Status(arguments) => status(arguments),
        ConfigCommand::Diff(arguments) => diff(arguments),
        ConfigCommand::Adopt(arguments) => ask(arguments, Request::Adopt),
        ConfigCommand::Restore(arguments) => ask(arguments, Request::Restore),
        ConfigCommand::Pull(arguments) => ask(arguments, Request::Pull),
    }
}

/// What is there.
struct Seen {
    record: Record,
    actual: Files,
    is_on: bool,
}

impl Seen {
    fn at(arguments: &ConfigArguments) -> Result<(Self, Book)> {
        let config = edge_config::load_agent(&arguments.config)?;
        let book = Book::of(&config);
        let (record, actual) = (book.load()?, Folder::of(&arguments.config).read()?);
        Ok((Self { record, actual, is_on: config.remote.configuration }, book))
    }

    fn report(&self) -> ConfigurationReport {
        Standing::of(&self.record, &self.actual).report(&self.actual, crate::version::running())
    }
}

/// How it stands.
#[derive(Debug, Serialize)]
struct StatusReport {
    /// Whether configurations are taken from the backend.
    is_on: bool,
    #[serde(flatten)]
    report: ConfigurationReport,
    /// The version that came and is not applied.
    waiting: Option<u32>,
}

fn status(arguments: &ConfigArguments) -> Result<Found> {
    let (seen, _) = Seen::at(arguments)?;
    let waiting = seen.record.waiting().map(|version| version.number.get());
    let report = StatusReport { is_on: seen.is_on, report: seen.report(), waiting };
    print(Output::json(arguments.json), &report, write)?;
    let is_well = match report.report.state {
        ConfigurationState::Local | ConfigurationState::Current | ConfigurationState::Trial => true,
        ConfigurationState::RolledBack
        | ConfigurationState::Refused
        | ConfigurationState::Drifted
        | ConfigurationState::Adopted => false,
    };
    Ok(if is_well { Found::Something } else { Found::Nothing })
}

fn write(out: &mut dyn Write, paint: Paint, status: &StatusReport) -> std::io::Result<()> {
    let report = &status.report;
    let version = report.version.map(|version| format!(", version {version}")).unwrap_or_default();
    let (tone, told) = match report.state {
        ConfigurationState::Local => (Tone::Plain, "the machine files of this gateway run"),
        ConfigurationState::Current => (Tone::Good, "what the backend wants runs"),
        ConfigurationState::Trial => (Tone::Warning, "on trial"),
        ConfigurationState::RolledBack => (Tone::Bad, "taken back; the files before it run"),
        ConfigurationState::Refused => (Tone::Bad, "refused; the files before it run"),
        ConfigurationState::Drifted => (Tone::Warning, "machine files were edited here"),
        ConfigurationState::Adopted => {
            (Tone::Warning, "the files as they are here were kept in place of the backend's")
        }
    };
    writeln!(out, "{}{version}", paint.text(tone, told))?;
    if !report.detail.is_empty() {
        writeln!(out, "{}", report.detail)?;
    }
    if let Some(applied) = report.applied {
        writeln!(out, "applied: version {applied}")?;
    }
    if let Some(waiting) = status.waiting {
        writeln!(out, "waiting: version {waiting}")?;
    }
    for drifted in &report.drift {
        let change = match drifted.change {
            protocol::DriftChange::Added => "added",
            protocol::DriftChange::Changed => "changed",
            protocol::DriftChange::Removed => "removed",
        };
        writeln!(out, "edited: {} ({change})", drifted.file)?;
    }
    writeln!(out, "files: {}", report.files_digest)?;
    if status.is_on {
        return Ok(());
    }
    writeln!(out, "nothing is taken from the backend: [remote] configuration = true in agent.toml allows it")
}

/// A file and how it differs.
#[derive(Debug, Serialize)]
struct FileDiff {
    file: String,
    /// Unified: `-` as it is here, `+` as the backend wants it.
    diff: String,
}

fn diff(arguments: &ConfigArguments) -> Result<Found> {
    let (seen, _) = Seen::at(arguments)?;
    let Some(wanted) = wanted(&seen.record) else {
        print(Output::json(arguments.json), &Vec::<FileDiff>::new(), |out, _, _| {
            writeln!(out, "nothing has come from the backend")
        })?;
        return Ok(Found::Nothing);
    };
    let diffs = diffs(&seen.actual, wanted);
    print(Output::json(arguments.json), &diffs, |out, _, diffs| {
        diffs.iter().try_for_each(|one| write!(out, "{}", one.diff))
    })?;
    Ok(Found::Something)
}

/// The files that the backend wants here, as far as is known.
fn wanted(record: &Record) -> Option<&Files> {
    let tried = match record.work() {
        Work::Applying(attempt) | Work::Trial(attempt) => Some(&attempt.to),
        Work::None | Work::Undoing(_) => None,
    };
    record.waiting().or(tried).or_else(|| record.applied()).map(|version| &version.files)
}

fn diffs(actual: &Files, wanted: &Files) -> Vec<FileDiff> {
    let drifted = remote_configuration::drift(actual, wanted);
    let text = |files: &Files, name: &str| files.get(name).cloned().unwrap_or_default();
    let one = |file: String| {
        let (here, there) = (text(actual, &file), text(wanted, &file));
        let names = (format!("machines.d/{file}"), format!("backend/{file}"));
        let diff = TextDiff::from_lines(&here, &there).unified_diff().header(&names.0, &names.1).to_string();
        FileDiff { file, diff }
    };
    drifted.into_iter().map(|drifted| one(drifted.file)).collect()
}

/// Leaves the request where the running agent looks for it; only who may write there is heard.
fn ask(arguments: &ConfigArguments, request: Request) -> Result<Found> {
    let (seen, book) = Seen::at(arguments)?;
    if !seen.is_on {
        bail!(
            "{}: nothing is taken from the backend; set configuration = true under [remote] and restart the agent",
            arguments.config.join("agent.toml").display()
        );
    }
    book.ask(request).context("cannot leave the request for the running agent; has it run with [remote]?")?;
    let asked_at = Instant::now();
    while book.is_asked() {
        if asked_at.elapsed() > HEARD_LIMIT {
            book.forget_request()?;
            bail!(
                "no agent heard it within {} s: is it running, with this configuration?",
                HEARD_LIMIT.as_secs()
            );
        }
        std::thread::sleep(LOOK);
    }
    status(arguments)?;
    Ok(Found::Something)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_what_is_here_against_what_the_backend_wants() {
        let files = |texts: &[(&str, &str)]| -> Files {
            texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        let here = files(&[("a.toml", "id = 1\nold = 2\n"), ("same.toml", "x\n")]);
        let there = files(&[("a.toml", "id = 1\nnew = 3\n"), ("b.toml", "y\n"), ("same.toml", "x\n")]);
        let all = diffs(&here, &there);
        assert_eq!(all.iter().map(|one| one.file.as_str()).collect::<Vec<_>>(), ["a.toml", "b.toml"]);
        assert!(all[0].diff.starts_with("--- machines.d/a.toml\n+++ backend/a.toml\n"), "{}", all[0].diff);
        assert!(all[0].diff.contains(" id = 1\n-old = 2\n+new = 3\n"), "{}", all[0].diff);
    }
}
