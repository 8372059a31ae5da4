//! The technician's tools: each answers one question at the machine, offline, and says what to do next.
//!
//! A tool computes a report first and prints it last, as an aligned table or as JSON; what a report
//! says is decided in pure functions, so that it can be tested without a terminal.

pub(crate) mod alarm_test;
pub(crate) mod buffer;
pub(crate) mod check;
pub(crate) mod config;
pub(crate) mod diag;
pub(crate) mod enrol;
mod expect;
pub(crate) mod generate;
pub(crate) mod import;
mod interpret;
pub(crate) mod journal;
pub(crate) mod local;
pub(crate) mod opcua;
mod output_plan;
pub(crate) mod physics;
pub(crate) mod read;
mod recording;
mod redact;
pub(crate) mod reload;
pub(crate) mod scan;
pub(crate) mod serial;
mod serial_devices;
mod table;
mod tag_list;
#[cfg(test)]
#[path = "../../tests/tools/line.rs"]
#[expect(dead_code, reason = "the tests of the whole program use the rest")]
mod test_line;
#[cfg(test)]
#[path = "../../tests/tools/server.rs"]
mod test_server;
pub(crate) mod update;
pub(crate) mod watch;
pub(crate) mod write;

use std::io::{IsTerminal, Write};

use anyhow::Context as _;
use serde::Serialize;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// Whether a tool found what it looked for, or achieved what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Something,
    Nothing,
}

/// A configuration that is wrong, as somebody else has found: one line for each mistake.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct WrongConfiguration(pub String);

/// A scheduler for a tool: one thread is enough to ask one machine.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.context("cannot start a scheduler")
}

/// Cancelled when somebody presses Ctrl-C, so that what is known can be printed.
fn until_ctrl_c() -> CancellationToken {
    let stop = CancellationToken::new();
    let pressed = stop.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            pressed.cancel();
        }
    });
    stop
}

/// How a tool prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Aligned tables, in colour on a terminal.
    Table,
    /// One JSON document.
    Json,
}

impl Output {
    pub(crate) const fn json(json: bool) -> Self {
        if json { Self::Json } else { Self::Table }
    }
}

/// Says something beside the report, which may be read by a program.
fn note(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr().lock(), "{text}")
}

/// Prints a report in the way that was asked for.
fn print<R: Serialize>(
    output: Output,
    report: &R,
    table: impl FnOnce(&mut dyn Write, table::Paint, &R) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let printed = match output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut out, report).map_err(Into::into).and_then(|()| writeln!(out))
        }
        Output::Table => {
            let paint = table::Paint::for_terminal(out.is_terminal());
            table(&mut out, paint, report)
        }
    };
    // Whoever closed the pipe has read enough.
    match printed {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
