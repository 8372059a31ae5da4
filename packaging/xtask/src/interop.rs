//! The Python servers and readers that the interop tests talk to, in a virtual environment of their own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::step::{root, run};

/// Where the tests look for it.
fn folder() -> PathBuf {
    root().join("target/interop-venv")
}

/// Installs what `requirements.txt` pins, unless it is installed.
pub(crate) fn install() -> Result<()> {
    let requirements = root().join("tests/tests/interop/requirements.txt");
    let pinned =
        fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let folder = folder();
    // Its copy, made last: an installation that was interrupted has none.
    let stamp = folder.join("requirements.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == pinned) {
        return Ok(());
    }
    run(
        "making a virtual environment for the interop tests",
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder),
    )?;
    run(
        "installing what the interop tests talk to into it",
        Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
            .arg(&requirements),
    )?;
    fs::write(&stamp, pinned).with_context(|| format!("cannot write {}", stamp.display()))
}
