//! `write` as a person meets it: at a terminal, which is a pseudo terminal here, and without one.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use nix::pty::openpty;

use crate::program::{command, ended, run};
use crate::server::TestServer;

struct Machine {
    server: TestServer,
    memory: crate::server::Memory,
    folder: tempfile::TempDir,
}

impl Machine {
    async fn start() -> Self {
        let (server, memory) = TestServer::memory([(10, 225)]).await;
        Self { server, memory, folder: tempfile::tempdir().expect("a folder") }
    }

    fn arguments(&self, rest: &str) -> String {
        let (port, journal) = (self.server.port, self.folder.path().join("writes.jsonl"));
        format!(
            "write modbus --host 127.0.0.1 --port {port} --register 10 --scale 0.1 --journal {} {rest}",
            journal.display()
        )
    }

    fn held(&self) -> u16 {
        self.memory.lock().expect("unpoisoned")[&10]
    }

    /// Runs it at a terminal at which somebody types; answers the exit code and what was shown.
    async fn at_a_terminal(&self, typed: &str) -> (i32, String) {
        let pty = openpty(None, None).expect("a pseudo terminal");
        let slave = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
        let mut command = command(&self.arguments("--value 23.14"));
        let child = command.stdin(slave()).stderr(slave()).spawn().expect("the program starts");
        drop((command, pty.slave));
        let mut person = std::fs::File::from(pty.master);
        person.write_all(typed.as_bytes()).expect("typed");
        let ended = ended(child).await;
        let mut shown = Vec::new();
        // The end of a pseudo terminal is an error.
        let _ = person.read_to_end(&mut shown);
        (ended.code, String::from_utf8(shown).expect("text") + &ended.out)
    }
}

#[tokio::test]
async fn somebody_at_a_terminal_sees_old_and_new_and_is_asked() {
    let machine = Machine::start().await;
    for refusal in ["n\n", "\n", "yeah\n"] {
        let (code, shown) = machine.at_a_terminal(refusal).await;
        assert_eq!((code, machine.held()), (1, 225), "{refusal:?}: {shown}");
        assert!(
            shown.contains("22.5") && shown.contains("00E7") && shown.contains("write it? [y/N]"),
            "{shown}"
        );
        assert!(shown.contains("nothing was written"), "{shown}");
    }
    let (code, shown) = machine.at_a_terminal("y\n").await;
    assert_eq!((code, machine.held()), (0, 231), "{shown}");
}

#[tokio::test]
async fn a_script_must_say_yes_and_its_write_is_in_journal_and_log() {
    let machine = Machine::start().await;
    let ended = run(&machine.arguments("--value 23.1")).await;
    assert_eq!((ended.code, machine.held()), (1, 225), "{ended:?}");
    assert!(ended.err.contains("say --yes"), "{ended:?}");
    let ended = run(&machine.arguments("--value 23.1 --yes --json")).await;
    assert_eq!((ended.code, machine.held()), (0, 231), "{ended:?}");
    assert_eq!(ended.json()["read_back"]["value"], "23.1");
    assert!(ended.err.contains("a write to a machine by hand"), "{ended:?}");
    let journal = std::fs::read_to_string(machine.folder.path().join("writes.jsonl")).expect("there");
    let outcomes: Vec<serde_json::Value> = journal
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["begun", "written"]);
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_keeps_the_machine_as_it_is() {
    let machine = Machine::start().await;
    let (port, value) = (machine.server.port, "--value 23.1 --yes");
    for journal in ["/nowhere/writes.jsonl", "/dev/full"] {
        let place = format!("--host 127.0.0.1 --port {port} --register 10 --journal {journal}");
        let ended = run(&format!("write modbus {place} {value}")).await;
        assert_eq!((ended.code, machine.held()), (1, 225), "{ended:?}");
        assert!(ended.err.contains("nothing was written") && ended.err.contains(journal), "{ended:?}");
    }
}
