//! Programs that switch an output. Each runs without a shell, without an environment and without input;
//! what it prints is dropped. Its end with success within the time is the confirmation.

use std::process::Stdio;
use std::time::Duration;

use alarm_output::{CommandLine, Level, Order, Outcome, OutputPort, PortFuture};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::webhook::no_heartbeat;

/// Runs programs.
pub struct Commands {
    on: CommandLine,
    off: CommandLine,
    limit: Duration,
}

impl Commands {
    /// A program for each level, and what it may take.
    #[must_use]
    pub const fn new(on: CommandLine, off: CommandLine, limit: Duration) -> Self {
        Self { on, off, limit }
    }

    async fn run(&self, line: &CommandLine) -> Outcome {
        let program = line.program().display();
        let mut child = match spawn(line) {
            Ok(child) => child,
            Err(error) => {
                return Outcome::Refused { reason: format!("{program} cannot be started: {error}") };
            }
        };
        match timeout(self.limit, child.wait()).await {
            Ok(Ok(status)) if status.success() => Outcome::Confirmed,
            Ok(Ok(status)) => Outcome::Refused { reason: format!("{program} ended with {status}") },
            Ok(Err(error)) => Outcome::Unknown { reason: format!("{program} cannot be waited for: {error}") },
            Err(_) => {
                kill(&mut child).await;
                Outcome::Unknown {
                    reason: format!("{program} took longer than {:?} and was killed", self.limit),
                }
            }
        }
    }
}

fn spawn(line: &CommandLine) -> std::io::Result<Child> {
    Command::new(line.program())
        .args(line.arguments())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Kills the program and what it has started.
async fn kill(child: &mut Child) {
    if let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) {
        // It may just have ended.
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
    let _ = child.wait().await;
}

impl OutputPort for Commands {
    fn carry_out<'a>(&'a self, order: &'a Order) -> PortFuture<'a> {
        Box::pin(async move {
            match order {
                Order::Drive(drive) if drive.level == Level::On => self.run(&self.on).await,
                Order::Drive(_) => self.run(&self.off).await,
                Order::Beat(_) => no_heartbeat(),
            }
        })
    }
}
