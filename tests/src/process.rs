//! A child process with its log file, started, watched and ended.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::de::DeserializeOwned;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
pub const LOOK: Duration = Duration::from_millis(20);

/// A running program.
#[derive(Debug)]
pub struct Service {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts `program` with its output appended to `log`. It is killed when dropped.
    ///
    /// # Errors
    /// The program or the log file cannot be opened.
    pub fn spawn(name: &str, program: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        Self::spawn_with(name, program, arguments, &[], log)
    }

    /// As [`Self::spawn`], with variables added to the environment.
    ///
    /// # Errors
    /// The program or the log file cannot be opened.
    pub fn spawn_with(
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
        log: &Path,
    ) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A Ctrl-C on the terminal goes to whole process groups; the parent ends its children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// The process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits until the program has written its state file.
    ///
    /// # Errors
    /// It ended, or did not write the file in time; the end of its log is quoted.
    pub async fn wait_for_state<T: DeserializeOwned>(
        &mut self,
        file: &Path,
        patience: Duration,
    ) -> Result<T> {
        let until = Instant::now() + patience;
        loop {
            if let Some(state) = std::fs::read(file).ok().and_then(|b| serde_json::from_slice(&b).ok()) {
                return Ok(state);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it was ready:\n{}", self.name, self.log_end());
            }
            if Instant::now() > until {
                bail!("{} was not ready within {patience:?}:\n{}", self.name, self.log_end());
            }
            sleep(LOOK).await;
        }
    }

    /// Asks it to stop and waits.
    ///
    /// # Errors
    /// It does not stop in time.
    pub async fn terminate(&mut self, patience: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        tokio::time::timeout(patience, self.child.wait())
            .await
            .with_context(|| format!("{} did not stop within {patience:?}:\n{}", self.name, self.log_end()))?
            .context("cannot wait for it")
    }

    /// Stops it where it is, as a frozen machine does.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn suspend(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on after [`Self::suspend`].
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Asks it to read its configuration anew.
    ///
    /// # Errors
    /// It cannot be signalled.
    pub fn hang_up(&self) -> Result<()> {
        self.signal(Signal::SIGHUP)
    }

    /// Ends it at once, as a power cut would end the process.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.child.wait().await?;
        Ok(())
    }

    /// Waits for its own end.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn wait(&mut self, patience: Duration) -> Result<ExitStatus> {
        let ended = tokio::time::timeout(patience, self.child.wait()).await;
        ended.with_context(|| format!("{} still runs after {patience:?}", self.name))?.context("cannot wait")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let Some(pid) = self.child.id() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(pid)?), signal)
            .with_context(|| format!("cannot signal {}", self.name))
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

/// Runs a command to its end and gives its standard output.
///
/// # Errors
/// It cannot be started, or fails; its standard error is quoted.
pub async fn output(program: &Path, arguments: &[&str]) -> Result<Vec<u8>> {
    let out = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot start {}", program.display()))?;
    if !out.status.success() {
        bail!(
            "{} {} ended with {}: {}",
            program.display(),
            arguments.join(" "),
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(out.stdout)
}

/// Looks at `condition` until it gives a value.
///
/// # Errors
/// It gives none in time; `what` says what was waited for.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    patience: Duration,
    mut condition: impl FnMut() -> F,
) -> Result<T> {
    let end = Instant::now() + patience;
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        if Instant::now() > end {
            bail!("waited {patience:?} in vain: {what}");
        }
        sleep(LOOK).await;
    }
}
