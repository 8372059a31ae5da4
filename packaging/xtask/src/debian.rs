//! Debian packages that the tests need.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::step::{run, say};

/// Packages and the file whose presence shows that they are installed.
const PACKAGES: [(&str, &str); 1] = [("chromium", "/usr/bin/chromium")];

/// Installs what is missing; says which.
pub(crate) fn install_missing() -> Result<()> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("these Debian packages are missing and will be installed: {}", missing.join(", ")));
    run("refreshing the list of packages", apt_get()?.arg("update").arg("-qq"))?;
    let mut install = apt_get()?;
    install
        .args(["install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"])
        .args(missing);
    run("installing packages", &mut install)
}

/// `apt-get`, through sudo when this is not root.
fn apt_get() -> Result<Command> {
    let user = Command::new("id").arg("-u").output().context("cannot find out who runs this")?;
    let is_root = String::from_utf8_lossy(&user.stdout).trim() == "0";
    let mut command = Command::new(if is_root { "apt-get" } else { "sudo" });
    if !is_root {
        command.arg("apt-get");
    }
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Ok(command)
}
