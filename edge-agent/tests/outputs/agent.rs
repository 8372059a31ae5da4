//! The agent as a process, and what its status interface says.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::PATIENCE;

/// An agent that runs; it is killed with its test.
pub(crate) struct Agent {
    child: Child,
    status: String,
    _folder: TempDir,
}

impl Agent {
    /// Starts an agent with these outputs and machine files.
    pub(crate) fn start(outputs: &str, machines: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let agent = format!(
            "version = 1\ntenant = \"acme\"\ngateway = \"gateway-1\"\n[buffer]\npath = {:?}\nmax_mib = 16\n\
             [status]\nlisten = \"127.0.0.1:0\"\n{outputs}",
            folder.path().join("buffer.db")
        );
        std::fs::create_dir(folder.path().join("machines.d")).expect("made");
        std::fs::write(folder.path().join("agent.toml"), agent).expect("written");
        for (number, machine) in machines.iter().enumerate() {
            std::fs::write(folder.path().join(format!("machines.d/{number}.toml")), machine)
                .expect("written");
        }
        let state = folder.path().join("state.json");
        let child = Command::new(env!("CARGO_BIN_EXE_edge-agent"))
            .arg("run")
            .arg("--config")
            .arg(folder.path())
            .arg("--state-file")
            .arg(&state)
            .env_remove("EDGE_AGENT_CONFIG")
            .stdin(Stdio::null())
            .spawn()
            .expect("the agent starts");
        let mut running = Self { child, status: String::new(), _folder: folder };
        let begun = Instant::now();
        while running.status.is_empty() {
            assert!(
                begun.elapsed() < PATIENCE && running.child.try_wait().expect("a child").is_none(),
                "it runs"
            );
            let text = std::fs::read(&state).unwrap_or_default();
            let state: Value = serde_json::from_slice(&text).unwrap_or_default();
            running.status = state["status"].as_str().unwrap_or_default().to_owned();
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    /// `/status`, or nothing if it did not answer.
    pub(crate) fn status(&self) -> Value {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(&self.status)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            write!(stream, "GET /status HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.status)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().unwrap_or_default();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_default()
    }

    /// The outputs.
    pub(crate) fn outputs(&self) -> Vec<Value> {
        self.status()["alarms"]["outputs"].as_array().cloned().unwrap_or_default()
    }

    /// One output.
    pub(crate) fn output(&self, id: &str) -> Value {
        self.outputs().into_iter().find(|o| o["id"] == id).unwrap_or_default()
    }

    /// How many alarms of the press people are to see.
    pub(crate) fn active_alarms(&self) -> u64 {
        let status = self.status();
        let press = status["machines"].as_array().and_then(|m| m.iter().find(|m| m["id"] == "press-1"));
        press.and_then(|m| m["active_alarms"].as_u64()).unwrap_or_default()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(mut self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("fits");
        kill(Pid::from_raw(id), signal).expect("it runs");
        let begun = Instant::now();
        while self.child.try_wait().expect("a child").is_none() {
            assert!(begun.elapsed() < PATIENCE, "it ends");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
