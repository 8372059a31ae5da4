//! The host of a gateway, as far as updates of the agent need it: a package tool with a repository, a service manager
//! that starts the agent whenever it ends, and root's unit that runs the installer.
//!
//! Packages are real programs: copies of the agent under test, told apart by the version that is built into them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::process::{LOOK, Service, until};

/// Patience with an agent that is to end or to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The package tool and the restart. `kill-after` and `refuse` name calls after which the installer is killed, and calls
/// that fail.
const TOOL: &str = r#"#!/bin/sh
set -e
cd "$(dirname "$0")"
echo "$*" >> calls
if grep -qxF "$*" refuse; then echo "no room for $2" >&2; exit 100; fi
case "$1" in
    fetch) cp "repository/$2" "cache/$2.draft"; mv "cache/$2.draft" "cache/$2" ;;
    install) cp "cache/$2" bin/draft; mv bin/draft bin/edge-agent ;;
    restart) touch restart; while [ -e restart ]; do sleep 0.05; done ;;
esac
if grep -qxF "$*" kill-after; then
    grep -vxF "$*" kill-after > kill-after.draft || true
    mv kill-after.draft kill-after
    kill -9 "$PPID"
fi
"#;

/// The marks around the version in the program.
const MARKS: (&[u8], u8) = (b"\x01edge-agent version ", 2);
/// Longest version with its mark.
const VERSION_MAX: usize = 65;

/// A host.
#[derive(Debug)]
pub struct Host {
    folder: PathBuf,
    /// What the agent that is built says that it is.
    pub version: String,
    books: Arc<Mutex<Vec<Value>>>,
    manager: Option<JoinHandle<Result<()>>>,
}

impl Host {
    /// Sets a host up in `folder`, with the agent that was built installed.
    ///
    /// # Errors
    /// The program has no version, or files cannot be made.
    pub fn set(folder: &Path, program: &Path) -> Result<Self> {
        for part in ["bin", "cache", "repository", "root"] {
            fs::create_dir_all(folder.join(part))?;
        }
        for list in ["calls", "refuse", "kill-after"] {
            fs::write(folder.join(list), "")?;
        }
        executable(&folder.join("tool"), TOOL.as_bytes())?;
        let version =
            version_in(&fs::read(program)?).context("the agent has no version between its marks")?;
        let host = Self { folder: folder.to_owned(), version, books: Arc::default(), manager: None };
        let own = host.folder.join("repository").join(&host.version);
        fs::copy(program, &own)?;
        fs::copy(program, host.program())?;
        Ok(host)
    }

    fn program(&self) -> PathBuf {
        self.folder.join("bin/edge-agent")
    }

    /// Another version of the same length as the one that is built, `step` further.
    #[must_use]
    pub fn later(&self, step: u8) -> String {
        let mut version = self.version.clone().into_bytes();
        if let Some(digit) = version.iter_mut().rev().find(|byte| byte.is_ascii_digit()) {
            *digit = b'0' + (*digit - b'0' + step) % 10;
        }
        String::from_utf8_lossy(&version).into_owned()
    }

    /// Puts a version into the repository that is the agent under another name.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn publish(&self, version: &str) -> Result<()> {
        let repository = self.folder.join("repository");
        let renamed = with_version(fs::read(repository.join(&self.version))?, version)?;
        executable(&repository.join(version), &renamed)
    }

    /// Puts a program into the repository as a version.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn publish_script(&self, version: &str, script: &str) -> Result<()> {
        executable(&self.folder.join("repository").join(version), script.as_bytes())
    }

    /// Calls of the tool fail from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn refuse(&self, call: &str) -> Result<()> {
        Ok(fs::write(self.folder.join("refuse"), format!("{call}\n"))?)
    }

    /// The installer is killed once after each of these calls.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn kill_after(&self, calls: &[String]) -> Result<()> {
        let lines: String = calls.iter().map(|call| format!("{call}\n")).collect();
        Ok(fs::write(self.folder.join("kill-after"), lines)?)
    }

    /// The calls of the tool so far.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Where the agent says where it answers.
    #[must_use]
    pub fn state_file(&self) -> PathBuf {
        self.folder.join("agent.json")
    }

    /// Where the agent leaves its requests.
    #[must_use]
    pub fn request_file(&self) -> PathBuf {
        self.folder.join("requests/request.json")
    }

    /// Where the installer says what became of them.
    #[must_use]
    pub fn result_file(&self) -> PathBuf {
        self.folder.join("root/result.json")
    }

    /// What the installer says.
    #[must_use]
    pub fn result(&self) -> Value {
        fs::read(self.result_file())
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default()
    }

    /// Keeps the agent running with the configuration in `config`, whatever is installed as it.
    pub fn start(&mut self, config: &Path) {
        let manager = Manager {
            program: self.program(),
            config: config.to_owned(),
            state: self.state_file(),
            restart: self.folder.join("restart"),
            log: self.folder.join("agent.log"),
            books: Arc::clone(&self.books),
        };
        self.manager = Some(tokio::spawn(manager.run()));
    }

    /// The books of all agents that ended in order, from the first.
    #[must_use]
    pub fn books(&self) -> Vec<Value> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the agent in order.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(&mut self) -> Result<()> {
        let manager = self.manager.take().context("it was started")?;
        fs::write(self.folder.join("restart"), "stop")?;
        tokio::time::timeout(PATIENCE, manager).await.context("the agent does not end")??
    }

    /// Starts the installer as root's units do: after an interruption the copy that began, else the one of the package.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn installer(&self, config: &Path, window_s: u32) -> Result<Child> {
        let copy = self.folder.join("root/installer");
        let program = if copy.exists() { copy } else { self.program() };
        let tool = self.folder.join("tool").display().to_string();
        let log = fs::File::options().create(true).append(true).open(self.folder.join("installer.log"))?;
        let mut command = Command::new(program);
        command.args(["update", "install", "--window-s", &window_s.to_string(), "--answer-s", "20"]);
        command.arg("--config").arg(config).arg("--state-file").arg(self.state_file());
        command.arg("--request").arg(self.request_file()).arg("--result").arg(self.result_file());
        for (option, words) in [
            ("--refresh-command", "refresh"),
            ("--fetch-command", "fetch VERSION"),
            ("--repair-command", "repair"),
            ("--install-command", "install VERSION"),
            ("--restart-command", "restart VERSION"),
        ] {
            command.arg(option).arg(format!("{tool} {words}"));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        Ok(command.spawn()?)
    }

    /// Runs the installer until it ends by itself, starting it again whenever it was killed; its exit code, and how
    /// often it was killed.
    ///
    /// # Errors
    /// It does not end.
    pub async fn install(&self, config: &Path, window_s: u32) -> Result<(i32, u32)> {
        let mut kills = 0;
        loop {
            let mut installer = self.installer(config, window_s)?;
            let ended = tokio::time::timeout(PATIENCE * 2, installer.wait()).await;
            match ended.with_context(|| format!("the installer does not end: {}", self.log()))??.code() {
                Some(code) => return Ok((code, kills)),
                None => kills += 1,
            }
            ensure!(kills < 10, "the installer is killed again and again: {}", self.log());
        }
    }

    /// What installer and agent said.
    #[must_use]
    pub fn log(&self) -> String {
        ["installer.log", "agent.log"]
            .map(|name| fs::read_to_string(self.folder.join(name)).unwrap_or_default())
            .join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // The agent is killed with its manager.
        if let Some(manager) = &self.manager {
            manager.abort();
        }
    }
}

/// Starts the agent whenever it ends.
struct Manager {
    program: PathBuf,
    config: PathBuf,
    state: PathBuf,
    /// While it is there somebody waits for a restart; with `stop` in it, for the end.
    restart: PathBuf,
    log: PathBuf,
    books: Arc<Mutex<Vec<Value>>>,
}

impl Manager {
    async fn run(self) -> Result<()> {
        loop {
            let mut agent = self.start()?;
            while !self.restart.exists() && agent.wait(LOOK).await.is_err() {}
            if !self.restart.exists() {
                // A manager that starts it at once would be busy with nothing else.
                sleep(Duration::from_millis(200)).await;
                continue;
            }
            agent.terminate(PATIENCE).await?;
            self.keep_books();
            let wanted = fs::read_to_string(&self.restart)?;
            fs::remove_file(&self.restart)?;
            if wanted == "stop" {
                return Ok(());
            }
        }
    }

    fn start(&self) -> Result<Service> {
        // The one before answers no more.
        let _ = fs::remove_file(&self.state);
        let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is no text");
        let (config, state) = (text(&self.config)?, text(&self.state)?);
        let arguments = ["run", "--config", &config, "--state-file", &state];
        Service::spawn("edge-agent", &self.program, &arguments, &self.log)
    }

    fn keep_books(&self) {
        let state = fs::read(&self.state).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let stopped = state.map(|state| state["stopped"].clone()).filter(|stopped| !stopped.is_null());
        self.books.lock().unwrap_or_else(PoisonError::into_inner).extend(stopped);
    }
}

fn executable(path: &Path, content: &[u8]) -> Result<()> {
    fs::write(path, content)?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}

/// Where the version stands, each with its length.
fn places(program: &[u8]) -> Vec<(usize, usize)> {
    let (mark, end) = MARKS;
    let is_marked = |at: &usize| program[*at] == mark[0] && program[*at..].starts_with(mark);
    let place = |at: usize| {
        let from = at + mark.len();
        let rest = &program[from..program.len().min(from + VERSION_MAX)];
        Some((from, rest.iter().position(|byte| *byte == end)?))
    };
    (0..program.len()).filter(is_marked).filter_map(place).collect()
}

fn version_in(program: &[u8]) -> Option<String> {
    let (from, length) = *places(program).first()?;
    String::from_utf8(program[from..from + length].to_vec()).ok()
}

/// The same program as another version.
fn with_version(mut program: Vec<u8>, version: &str) -> Result<Vec<u8>> {
    for (from, length) in places(&program) {
        ensure!(length == version.len(), "{version} is not as long as the version that was built");
        program[from..from + length].copy_from_slice(version.as_bytes());
    }
    Ok(program)
}

/// Waits until the agent that answers has this version.
///
/// # Errors
/// None does in time.
pub async fn until_runs(host: &Host, version: &str) -> Result<Value> {
    let look = || async {
        let state: Value = serde_json::from_slice(&fs::read(host.state_file()).ok()?).ok()?;
        let address = state["status"].as_str()?.parse().ok()?;
        let status = crate::api::local(reqwest::Method::GET, address, "/status", None).await.ok()?;
        (status["version"] == version).then_some(status)
    };
    let runs = until(&format!("version {version} runs"), PATIENCE, look).await;
    runs.with_context(|| host.log())
}
