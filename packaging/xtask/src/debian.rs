//! Debian packages that the tests and benches need.

use std::process::Command;

use anyhow::{Context, Result};

use crate::step::{run, say};

/// A package, and a command that succeeds where it is installed.
type Package = (&'static str, &'static [&'static str]);

/// For the Rust tests: the interop tests run servers written in Python, others an agent with a clock of its own, or a broker.
pub(crate) const FOR_RUST: &[Package] = &[
    ("python3", &["python3", "--version"]),
    ("python3-venv", &["python3", "-c", "import ensurepip, venv"]),
    ("faketime", &["faketime", "-f", "+0", "true"]),
    ("mosquitto", &["test", "-x", "/usr/sbin/mosquitto"]),
];

/// For the browser tests.
pub(crate) const FOR_BROWSER: &[Package] = &[("chromium", &["test", "-e", "/usr/bin/chromium"])];

/// For the benches: the C client that ours is measured against.
pub(crate) const FOR_BENCHES: &[Package] =
    &[("libmodbus-dev", &["test", "-e", "/usr/include/modbus/modbus.h"]), ("gcc", &["cc", "--version"])];

/// Installs what is missing; says which.
pub(crate) fn install_missing(packages: &[Package]) -> Result<()> {
    let missing: Vec<&str> =
        packages.iter().filter(|(_, probe)| !succeeds(probe)).map(|(package, _)| *package).collect();
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

fn succeeds(probe: &[&str]) -> bool {
    let [program, arguments @ ..] = probe else { return false };
    Command::new(program).args(arguments).output().is_ok_and(|out| out.status.success())
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
