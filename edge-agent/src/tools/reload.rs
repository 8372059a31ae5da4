//! `edge-agent reload`: has the running agent read its files anew, and tells what came of it.

use std::io::Write as _;

use anyhow::{Context as _, Result, bail};

use super::{Found, local, runtime};
use crate::cli::ReloadArguments;
use crate::reload::web::ReloadAnswer;

pub(crate) fn run(arguments: &ReloadArguments) -> Result<Found> {
    let address = match arguments.status {
        Some(address) => address,
        // The machine files may be wrong: then the agent is to say so.
        None => local::configured(&edge_config::load_agent(&arguments.config)?, &arguments.config)?,
    };
    let body = runtime()?.block_on(local::post(address, "/reload"))?;
    let answer: ReloadAnswer = serde_json::from_slice(&body)
        .with_context(|| format!("{address}/reload answers {}", String::from_utf8_lossy(&body).trim_end()))?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer(&mut out, &answer)?;
        writeln!(out)?;
    }
    match answer {
        ReloadAnswer::Applied { .. } if arguments.json => Ok(Found::Something),
        ReloadAnswer::Applied { added, removed, changed } => {
            let told = [("added", added), ("removed", removed), ("changed", changed)];
            if told.iter().all(|(_, machines)| machines.is_empty()) {
                writeln!(out, "no machine has changed")?;
            }
            for (what, machines) in told.iter().filter(|(_, machines)| !machines.is_empty()) {
                writeln!(out, "{what}: {}", machines.join(", "))?;
            }
            Ok(Found::Something)
        }
        ReloadAnswer::NeedsRestart { keys } => {
            if !arguments.json {
                writeln!(
                    out,
                    "nothing is applied: {} cannot change without a restart of the agent",
                    keys.join(", ")
                )?;
            }
            Ok(Found::Nothing)
        }
        ReloadAnswer::Refused { problems } => Err(super::WrongConfiguration(problems.join("\n")).into()),
        ReloadAnswer::Failed { reason } => bail!("{reason}"),
    }
}
