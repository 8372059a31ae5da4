//! Runs the program and keeps what it said.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// How long a tool may take. It only matters to a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    /// What it printed, which is one JSON document.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The program with these arguments, without a terminal and without the settings of whoever runs this.
pub(crate) fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-agent"));
    for variable in ["EDGE_AGENT_LOG", "EDGE_AGENT_LOG_FORMAT", "EDGE_AGENT_CONFIG", "EDGE_AGENT_JOURNAL"] {
        command.env_remove(variable);
    }
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs it to its end.
pub(crate) async fn run(arguments: &str) -> Ended {
    let child = command(arguments).spawn().expect("the program starts");
    ended(child).await
}

/// What became of a run.
pub(crate) async fn ended(child: tokio::process::Child) -> Ended {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("it ends in time").expect("it can be waited for");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let code = output.status.code().expect("it ends by itself");
    Ended { code, out: text(output.stdout), err: text(output.stderr) }
}
