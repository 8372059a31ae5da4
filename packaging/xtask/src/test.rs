//! `cargo xtask test`: everything that must pass.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::dashboard::{self, Missing, npm};
use crate::debian;
use crate::interop;
use crate::step::{self, cargo, root, say};

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Leave out the dashboard and the browser.
    #[arg(long)]
    rust_only: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup()?;
    if !arguments.rust_only {
        debian::install_missing(debian::FOR_BROWSER)?;
        dashboard::build(Missing::Fail)?;
    }
    step::run("checking the formatting", cargo().args(["fmt", "--all", "--check"]))?;
    // One set of flags for all: each program and test is compiled once.
    step::run("building everything", cargo().args(["build", "--workspace", "--all-targets", "--locked"]))?;
    rust_tests()?;
    step::run(
        "testing the examples in the documentation",
        cargo().args(["test", "--workspace", "--doc", "--locked"]),
    )?;
    step::run(
        "linting (clippy)",
        cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    )?;
    if !arguments.rust_only {
        dashboard_tests()?;
    }
    say("all tests passed");
    Ok(())
}

/// What the Rust tests need beside Rust.
pub(crate) fn setup() -> Result<()> {
    debian::install_missing(debian::FOR_RUST)?;
    interop::install()
}

/// nextest where it is installed, else cargo's own runner.
fn rust_tests() -> Result<()> {
    let has_nextest = cargo().args(["nextest", "--version"]).output().is_ok_and(|out| out.status.success());
    if has_nextest {
        let profile = if std::env::var_os("CI").is_some() { "ci" } else { "default" };
        step::run(
            "running the Rust tests (nextest)",
            cargo().args(["nextest", "run", "--workspace", "--locked", "--profile", profile]),
        )
    } else {
        say("cargo-nextest is not installed; using cargo test, which is slower");
        step::run(
            "running the Rust tests",
            cargo().args(["test", "--workspace", "--all-targets", "--locked"]),
        )
    }
}

fn dashboard_tests() -> Result<()> {
    dashboard::install()?;
    let folder = dashboard::folder();
    step::run("running the dashboard's unit tests (vitest)", npm(&folder).args(["test"]))?;
    say("starting two plants for the browser tests");
    let data = root().join("target/browser-tests");
    let _ = std::fs::remove_dir_all(&data);
    let mut demo = Demo::start(&data)?;
    let (url, user, password) = demo.address()?;
    let mut e2e = npm(&folder);
    e2e.args(["run", "e2e"])
        .env("DASHBOARD_URL", url)
        .env("DASHBOARD_USER", user)
        .env("DASHBOARD_PASSWORD", password);
    step::run("running the browser tests (Chromium)", &mut e2e)
}

/// A running demo of two plants; it stops when dropped.
struct Demo {
    child: Child,
}

impl Demo {
    fn start(data: &std::path::Path) -> Result<Self> {
        let child = Command::new(root().join("target/debug/factory-demo"))
            .args(["--plants", "2", "--data"])
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start factory-demo")?;
        Ok(Self { child })
    }

    /// Reads address and sign-in from what the demo prints.
    fn address(&mut self) -> Result<(String, String, String)> {
        let out = self.child.stdout.take().context("the output is piped")?;
        let mut url = None;
        let mut lines = BufReader::new(out).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some(found) = line.strip_prefix("dashboard: ") {
                url = Some(found.trim_end_matches('/').to_owned());
            }
            if let (Some(url), Some(rest)) = (&url, line.strip_prefix("sign in as ")) {
                let mut words = rest.split_whitespace();
                let (user, password) = (words.next(), words.nth(1));
                let account = user.zip(password).context("the demo names user and password")?;
                let found = (url.clone(), account.0.to_owned(), account.1.to_owned());
                // The pipe must be read on, or the demo would stop at a full one.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(found);
            }
        }
        anyhow::bail!("the demo ended before it named its address")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // SIGTERM: the demo stops its own children in order.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// Line coverage of the Rust code, the programs that the end-to-end tests start included.
pub(crate) fn coverage() -> Result<()> {
    setup()?;
    dashboard::build(Missing::Tolerate)?;
    let environment = coverage_environment()?;
    let instrumented = || {
        let mut command = cargo();
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command
    };
    step::run("forgetting earlier measurements", instrumented().args(["llvm-cov", "clean", "--workspace"]))?;
    step::run("building everything, instrumented", instrumented().args(["build", "--workspace", "--bins"]))?;
    step::run(
        "running the Rust tests, instrumented",
        instrumented().args(["nextest", "run", "--workspace"]),
    )?;
    let report = ["llvm-cov", "report", "--summary-only", "--fail-under-lines", COVERAGE_MIN];
    step::run("adding up the coverage", instrumented().args(report))
}

/// Least share of lines that the tests run, in percent.
const COVERAGE_MIN: &str = "85";

/// What cargo-llvm-cov wants set, in a target directory of its own: other flags would build everything anew.
fn coverage_environment() -> Result<Vec<(String, String)>> {
    let target = root().join("target/coverage").display().to_string();
    let out = cargo()
        .env("CARGO_TARGET_DIR", &target)
        .args(["llvm-cov", "show-env"])
        .output()
        .context("cannot start cargo llvm-cov; install it with `cargo install cargo-llvm-cov`")?;
    anyhow::ensure!(
        out.status.success(),
        "cargo llvm-cov show-env: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let unquoted = |value: &str| value.trim_matches(['\'', '"']).to_owned();
    let mut environment: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), unquoted(value))).collect();
    environment.push(("CARGO_TARGET_DIR".to_owned(), target));
    Ok(environment)
}
