//! The commands of the host's package tool and service manager. They are words, never a shell's.

use std::process::Stdio;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use protocol::AgentVersion;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// In a word of a command this stands for the version.
const PLACE: &str = "VERSION";
/// A package over the slowest link; whoever hangs longer is ended.
const LIMIT: Duration = Duration::from_secs(1_800);
/// What of the last words of a command is told, in bytes.
const TOLD_BYTES_MAX: usize = 1_500;
/// How long it is waited for words of a command that has ended: others may hold its error output.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The commands. `VERSION` in a word stands for the version.
#[derive(Debug, Clone, Args)]
pub(crate) struct Commands {
    /// Command that learns which versions there are; its failure is only logged. Words are separated by spaces.
    #[arg(long, value_name = "COMMAND", default_value = "apt-get update")]
    refresh_command: CommandLine,
    /// Command that brings a package to the disk and installs nothing.
    #[arg(
        long,
        value_name = "COMMAND",
        default_value = "apt-get install -y --allow-downgrades --reinstall --download-only edge-agent=VERSION"
    )]
    fetch_command: CommandLine,
    /// Command that repairs what an interrupted installation left; its failure is only logged.
    #[arg(long, value_name = "COMMAND", default_value = "dpkg --configure -a")]
    repair_command: CommandLine,
    /// Command that installs a version.
    #[arg(
        long,
        value_name = "COMMAND",
        default_value = "apt-get install -y --allow-downgrades -o DPkg::Lock::Timeout=300 \
                         -o Dpkg::Options::=--force-confold edge-agent=VERSION"
    )]
    install_command: CommandLine,
    /// Command that ends the agent in order and starts the version that is installed.
    #[arg(long, value_name = "COMMAND", default_value = "systemctl restart edge-agent.service")]
    restart_command: CommandLine,
}

impl Commands {
    pub(super) async fn refresh(&self) {
        log(self.refresh_command.run(None).await);
    }

    pub(super) async fn fetch(&self, version: &AgentVersion) -> Result<(), String> {
        self.fetch_command.run(Some(version)).await
    }

    /// Installs a version, over what an interrupted run left, and starts it.
    pub(super) async fn install(&self, version: &AgentVersion) -> Result<(), String> {
        log(self.repair_command.run(None).await);
        self.install_command.run(Some(version)).await?;
        self.restart_command.run(Some(version)).await
    }
}

fn log(outcome: Result<(), String>) {
    if let Err(why) = outcome {
        tracing::warn!(why, "a command beside the update failed");
    }
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandLine(Vec<String>);

impl FromStr for CommandLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() { Err("a program is needed".to_owned()) } else { Ok(Self(words)) }
    }
}

impl CommandLine {
    fn words(&self, version: Option<&AgentVersion>) -> Vec<String> {
        let place = |word: &String| version.map_or_else(|| word.clone(), |v| word.replace(PLACE, v.as_str()));
        self.0.iter().map(place).collect()
    }

    /// Runs it to its end; its last words, if it fails.
    async fn run(&self, version: Option<&AgentVersion>) -> Result<(), String> {
        let words = self.words(version);
        let told = words.join(" ");
        tracing::info!(command = told, "runs");
        let (program, arguments) = words.split_first().ok_or("a program is needed")?;
        let child = Command::new(program)
            .args(arguments)
            // Package tools ask nobody then.
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let child = child.map_err(|error| format!("cannot start {program}: {error}"))?;
        match tokio::time::timeout(LIMIT, ended(child)).await {
            Err(_) => Err(format!("`{told}` did not end within {} s", LIMIT.as_secs())),
            Ok(Err(error)) => Err(format!("`{told}`: {error}")),
            Ok(Ok((status, _))) if status.success() => Ok(()),
            Ok(Ok((status, words))) => Err(format!("`{told}` ended with {status}: {}", words.trim())),
        }
    }
}

/// Waits for the end; the status and the last words.
async fn ended(mut child: Child) -> std::io::Result<(std::process::ExitStatus, String)> {
    let Some(mut errors) = child.stderr.take() else { return Ok((child.wait().await?, String::new())) };
    let (mut last, mut buffer, mut is_open) = (Vec::new(), [0; 4_096], true);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            read = errors.read(&mut buffer), if is_open => match read? {
                0 => is_open = false,
                count => keep(&mut last, &buffer[..count]),
            },
        }
    };
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(LAST_WORDS, errors.read(&mut buffer)).await {
        keep(&mut last, &buffer[..count]);
    }
    Ok((status, String::from_utf8_lossy(&last).into_owned()))
}

fn keep(last: &mut Vec<u8>, more: &[u8]) {
    last.extend(more);
    let over = last.len().saturating_sub(TOLD_BYTES_MAX);
    last.drain(..over);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> CommandLine {
        text.parse().expect("a command")
    }

    #[test]
    fn a_version_is_part_of_one_argument_whatever_it_holds() {
        let version = AgentVersion::new("1.2-3~rc1").expect("valid");
        let words = line("apt-get  install -y edge-agent=VERSION").words(Some(&version));
        assert_eq!(words, ["apt-get", "install", "-y", "edge-agent=1.2-3~rc1"]);
        assert!("  ".parse::<CommandLine>().is_err());
    }

    #[tokio::test]
    async fn a_command_that_fails_is_told_with_its_last_words_and_one_that_is_not_there_by_its_name() {
        assert_eq!(line("true").run(None).await, Ok(()));
        let error = line("cat /nowhere/VERSION").run(None).await.expect_err("fails");
        assert!(
            error.contains("`cat /nowhere/VERSION` ended with exit status: 1") && error.contains("No such"),
            "{error}"
        );
        let error = line("/nowhere/apt x").run(None).await.expect_err("not there");
        assert!(error.contains("cannot start /nowhere/apt"), "{error}");
        let mut last = Vec::new();
        keep(&mut last, &[b'a'; 4_000]);
        keep(&mut last, b"the end");
        assert!(last.len() == TOLD_BYTES_MAX && last.ends_with(b"the end"));
    }
}
