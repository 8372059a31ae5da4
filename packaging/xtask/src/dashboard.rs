//! Builds the dashboard when its sources changed. Cargo never runs npm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::step::{root, run, say};

/// The oldest Node.js that the build tools run on.
const NODE_MAJOR_MIN: u32 = 20;

/// What to do without Node.js.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Go on: the backend then serves plain pages and the whole API.
    Tolerate,
    /// Stop.
    Fail,
}

/// Where the dashboard lives.
pub(crate) fn folder() -> PathBuf {
    root().join("cloud-backend/crates/http-api/dashboard")
}

/// Builds the dashboard if its sources differ from those it was built from.
pub(crate) fn build(missing: Missing) -> Result<()> {
    let folder = folder();
    let stamp = folder.join("dist/.stamp");
    let digest = digest(&folder)?;
    if fs::read_to_string(&stamp).is_ok_and(|known| known == digest) {
        return Ok(());
    }
    if let Err(error) = check_node() {
        if missing == Missing::Fail {
            return Err(error);
        }
        say(&format!("{error:#}; going on without the dashboard"));
        return Ok(());
    }
    run(
        "installing the dashboard's packages (npm ci)",
        npm(&folder).args(["ci", "--no-audit", "--no-fund"]),
    )?;
    run("building the dashboard (npm run build)", npm(&folder).args(["run", "build"]))?;
    // Written last and anew each time: cargo compares times, and a finished build has a stamp.
    fs::write(&stamp, digest).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Installs the packages for the tests, if `build` had no need to.
pub(crate) fn install() -> Result<()> {
    let folder = folder();
    if folder.join("node_modules").is_dir() {
        return Ok(());
    }
    run("installing the dashboard's packages (npm ci)", npm(&folder).args(["ci", "--no-audit", "--no-fund"]))
}

/// npm in the dashboard's folder.
pub(crate) fn npm(folder: &Path) -> Command {
    let mut command = Command::new("npm");
    command.current_dir(folder);
    command
}

fn check_node() -> Result<()> {
    let advice = format!("the dashboard needs Node.js {NODE_MAJOR_MIN} or later with npm");
    let out = Command::new("node").arg("--version").output().context(advice.clone())?;
    let text = String::from_utf8_lossy(&out.stdout);
    let major: u32 = text.trim().trim_start_matches('v').split('.').next().unwrap_or("").parse().unwrap_or(0);
    if major < NODE_MAJOR_MIN {
        bail!("{advice}; this is {}", text.trim());
    }
    Ok(())
}

/// A digest over the names and contents of everything the build reads.
fn digest(folder: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file).to_string_lossy().into_owned();
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(fs::read(&file)?);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if matches!(name.as_str(), "dist" | "node_modules" | "e2e" | "mock") {
            continue;
        }
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
