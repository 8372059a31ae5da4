//! A PostgreSQL server of a test's own: in a scratch directory, reached by a Unix socket, of Debian's package
//! `postgresql`. It ends with the test, also when the test is killed.

#![allow(dead_code, reason = "a test file may leave out what it does not need")]

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

/// Longest wait for a server to begin or end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// A role that may log in and make roles, and is no superuser: what an operator would give the backend.
const OWNER: &str = "backend";

/// A server.
pub(crate) struct Server {
    directory: TempDir,
    programs: PathBuf,
    process: Option<Child>,
    /// Where it listens on TCP.
    port: Option<u16>,
    tls: bool,
}

impl Server {
    /// Makes one and starts it.
    pub(crate) fn start() -> Self {
        // Short, because the path of a socket has at most 107 bytes.
        let directory = tempfile::Builder::new().prefix("pg").tempdir().expect("a directory");
        if let Some(user) = unprivileged() {
            chown(directory.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("given away");
        }
        let mut server = Self { directory, programs: programs(), process: None, port: None, tls: false };
        let made = server
            .command("initdb")
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
                "-D",
            ])
            .arg(server.data())
            .output();
        succeeded("initdb", &made.expect("initdb starts"));
        server.start_again();
        server.sql("postgres", &format!("CREATE ROLE {OWNER} LOGIN CREATEROLE"));
        server
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// A program of PostgreSQL, not as root: it refuses that. What it starts dies with this process.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "INT"]);
        if let Some(user) = unprivileged() {
            command.args([
                "--reuid",
                &user.uid.to_string(),
                "--regid",
                &user.gid.to_string(),
                "--clear-groups",
            ]);
        }
        command.arg(self.programs.join(program)).current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// Starts the server after [`Self::stop`], and waits until it answers.
    pub(crate) fn start_again(&mut self) {
        assert!(self.try_to_start(), "{}", self.log());
    }

    /// Whether the port, if it needs one, was free.
    fn try_to_start(&mut self) -> bool {
        let log = std::fs::File::create(self.path().join("log")).expect("a log");
        let child = self
            .command("postgres")
            .args(["-c", "shared_buffers=16MB", "-c", "max_connections=60", "-k"])
            .arg(self.path())
            .args(self.listening())
            .arg("-D")
            .arg(self.data())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.process = Some(child.expect("postgres starts"));
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            let ended = self.process.as_mut().and_then(|p| p.try_wait().expect("it can be asked"));
            if ended.is_some() && self.port.is_some() && self.log().contains("could not bind") {
                return false;
            }
            assert!(ended.is_none() && Instant::now() < deadline, "{ended:?}: {}", self.log());
            std::thread::sleep(LOOK_AGAIN);
        }
        true
    }

    /// On TCP only where TLS is wanted.
    fn listening(&self) -> Vec<String> {
        let settings = match self.port {
            None => vec!["listen_addresses=".to_owned()],
            Some(port) => {
                vec![
                    "listen_addresses=127.0.0.1".to_owned(),
                    format!("port={port}"),
                    format!("ssl={}", self.tls),
                ]
            }
        };
        settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
    }

    fn is_ready(&self) -> bool {
        let mut question = self.command("pg_isready");
        question.arg("-q").arg("-h").arg(self.path()).args(self.port_option());
        question.status().is_ok_and(|s| s.success())
    }

    /// The name of the socket has the port in it.
    fn port_option(&self) -> Vec<String> {
        self.port.map(|port| vec!["-p".to_owned(), port.to_string()]).unwrap_or_default()
    }

    /// Starts it again with a certificate and its key, on TCP as well, and answers the port: one that nobody else has,
    /// found by trying.
    pub(crate) fn start_with_tls(
        &mut self,
        certificate: &str,
        key: &str,
        ports: impl Iterator<Item = u16>,
    ) -> u16 {
        self.stop();
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.data().join(name);
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("made private");
            if let Some(user) = unprivileged() {
                chown(&path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("given away");
            }
        }
        self.tls = true;
        self.start_on_one_of(ports)
    }

    /// Starts it again without TLS, on TCP as well.
    pub(crate) fn start_without_tls(&mut self, ports: impl Iterator<Item = u16>) -> u16 {
        self.stop();
        self.tls = false;
        self.start_on_one_of(ports)
    }

    fn start_on_one_of(&mut self, ports: impl Iterator<Item = u16>) -> u16 {
        for port in ports {
            self.port = Some(port);
            if self.try_to_start() {
                return port;
            }
        }
        panic!("no port is free");
    }

    /// Ends the server at once, as a crash would, and waits until it is gone.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let pid = Pid::from_raw(i32::try_from(process.id()).expect("a process id"));
            kill(pid, Signal::SIGQUIT).expect("it runs");
            process.wait().expect("it ends");
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// Makes a database that the backend's role owns, and answers its URI.
    pub(crate) fn database(&self, name: &str) -> String {
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {OWNER}"));
        format!("postgres://{OWNER}@{}/{name}", self.path().display().to_string().replace('/', "%2F"))
    }

    /// Runs statements as an administrator and answers what they print: a line a row, columns parted by |.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database).args(["-c", sql]).output().expect("psql starts");
        succeeded(sql, &output);
        String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = self.command("psql");
        command
            .args(["-U", "postgres", "-d", database, "-v", "ON_ERROR_STOP=1", "-qXAt", "-h"])
            .arg(self.path())
            .args(self.port_option());
        command
    }

    /// A session that has done the statements and keeps its transaction open until it is dropped.
    pub(crate) fn hold(&self, database: &str, sql: &str) -> Held {
        use std::io::BufRead as _;
        let mut child =
            self.psql(database).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("psql starts");
        let mut orders = child.stdin.take().expect("piped");
        writeln!(orders, "BEGIN; {sql};\n\\echo held").expect("it reads");
        let mut answers = std::io::BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        while line.trim() != "held" {
            line.clear();
            assert_ne!(answers.read_line(&mut line).expect("text"), 0, "{sql}: {}", self.log());
        }
        Held { child, orders: Some(orders) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// An open transaction of somebody else.
pub(crate) struct Held {
    child: Child,
    orders: Option<std::process::ChildStdin>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.child.wait().expect("psql ends");
    }
}

/// Whom to be instead of root.
fn unprivileged() -> Option<User> {
    geteuid().is_root().then(|| {
        let user = User::from_name("postgres").expect("the users can be read");
        user.expect("there is a user postgres; `cargo xtask test-setup` installs it with PostgreSQL")
    })
}

/// Where the newest PostgreSQL of this machine is.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let number = |path: &PathBuf| path.file_name().and_then(|n| n.to_str()?.parse::<u32>().ok());
    let newest =
        versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists()).max_by_key(number);
    newest.expect("PostgreSQL is installed; `cargo xtask test-setup` does it").join("bin")
}

fn succeeded(what: &str, output: &Output) {
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}
