//! Running a program as one step, with a line that says what it is for.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap_or_else(|_| PathBuf::from("."))
}

/// The cargo that runs this, as if it was called from the shell.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    // A machine that builds once has no use for what would make the next build quicker.
    if std::env::var_os("CI").is_some() && std::env::var_os("CARGO_INCREMENTAL").is_none() {
        command.env("CARGO_INCREMENTAL", "0");
    }
    // What cargo says about this package would be seen by the build scripts of others, and they would be
    // built again each time that cargo is called with and without us.
    for (name, _) in std::env::vars_os() {
        let about_us =
            name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"));
        if about_us {
            command.env_remove(name);
        }
    }
    command
}

/// Says something to the person who waits.
#[expect(clippy::print_stderr, reason = "a command line program; standard output belongs to what it runs")]
pub(crate) fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// Runs a step; its output goes where ours goes.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    say(what);
    let began = Instant::now();
    let status = command.status().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !status.success() {
        bail!("{what}: {:?} ended with {status}", command.get_program());
    }
    let seconds = began.elapsed().as_secs();
    if seconds >= 5 {
        say(&format!("{what}: done in {seconds} s"));
    }
    Ok(())
}
