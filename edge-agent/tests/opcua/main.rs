//! The OPC UA tools as a technician runs them: the program itself against a live server.

mod server;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use server::{NAMESPACE, Protection, Server, agent_identity};

/// How long a test waits for what must come. It only matters to a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-agent"));
    command.args(arguments).env_remove("EDGE_AGENT_CONFIG").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the program starts")
}

/// What a tool printed, which must have ended with this code, and what it said beside.
fn ended(code: i32, arguments: &[&str]) -> (String, String) {
    let output = run(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let (out, said) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{out}\n{said}");
    (out, said)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn node(name: &str) -> String {
    format!("nsu={NAMESPACE};s={name}")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain name")
}

/// Writes a configuration with one machine, of which `rest` is the part behind its id.
fn configure(folder: &Path, rest: &str) {
    let machines = folder.join("machines.d");
    std::fs::create_dir_all(&machines).expect("made");
    let agent = format!(
        "version = 1\ntenant = \"acme\"\ngateway = \"gateway-1\"\n[buffer]\npath = {:?}\n[status]\nlisten = \"127.0.0.1:0\"\n",
        folder.join("buffer.db")
    );
    std::fs::write(folder.join("agent.toml"), agent).expect("written");
    let machine = format!("version = 1\nid = \"lathe-1\"\n{rest}");
    std::fs::write(machines.join("lathe-1.toml"), machine).expect("written");
}

/// A program that is ended with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn f7_what_browse_writes_is_accepted_by_check_and_read_by_the_agent() {
    let server = Server::start(Protection::None);
    let (tags, said) =
        ended(0, &["browse", "opcua", "--endpoint", &server.url(), "--under", &node("Machine"), "--tags"]);
    assert!(said.contains("not protected, and anonymous"), "{said}");
    let config = server.file("config");
    configure(&config, &format!("[opcua]\nendpoint = \"{}\"\n\n{tags}", server.url()));
    let (checked, _) = ended(0, &["check", "--config", text(&config), "--json"]);
    json(&checked);

    let state = server.file("state.json");
    let agent = command(&["run", "--config", text(&config), "--state-file", text(&state)]).spawn();
    let _agent = Running(agent.expect("the agent starts"));
    let status = wait("the status address", || {
        let state: Value = serde_json::from_slice(&std::fs::read(&state).ok()?).ok()?;
        Some(state["status"].as_str()?.to_owned())
    });
    let seen = wait("four good tags", || {
        let watch = ["watch", "--config", text(&config), "--status", &status, "--once", "--json"];
        let output = run(&watch);
        let text = String::from_utf8(output.stdout).ok()?;
        (text.matches("\"Good\"").count() >= 4).then_some(text)
    });
    for id in ["speed", "parts", "running", "order"] {
        assert!(seen.contains(&format!("\"{id}\"")), "{id} in {seen}");
    }
}

/// Looks until there is something to see.
fn wait<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < PATIENCE, "not seen: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn f7_a_limit_ends_a_browse_and_every_line_is_json() {
    let server = Server::start_with(Protection::None, 500);
    let browse = ["browse", "opcua", "--endpoint", &server.url(), "--json", "--limit", "5"];
    let (lines, said) = ended(0, &browse);
    assert_eq!(lines.lines().count(), 5, "{lines}");
    assert!(lines.lines().all(|line| json(line)["node"].is_string()), "{lines}");
    assert!(said.contains("ended before the end of the tree"), "{said}");
}

#[test]
fn c11_control_c_ends_a_browse_early_with_what_was_found() {
    const CROWD: u32 = 20_000;
    let server = Server::start_with(Protection::None, CROWD);
    let browse = ["browse", "opcua", "--endpoint", &server.url(), "--under", &node("Machine")];
    let mut command = command(&browse);
    let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts"));
    let mut out = BufReader::new(running.0.stdout.take().expect("piped"));
    let mut first = String::new();
    out.read_line(&mut first).expect("a line");
    // Nobody reads on, so that it cannot have ended when it is interrupted.
    let id = i32::try_from(running.0.id()).expect("fits");
    kill(Pid::from_raw(id), Signal::SIGINT).expect("it runs");
    let found = out.lines().count();
    assert!(found < 20_000, "{found} of {CROWD} nodes");
    let status = running.0.wait().expect("it ends");
    let mut said = String::new();
    running.0.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("ended before the end of the tree"), "{said}");
}

#[test]
fn c9_a_protected_server_lets_the_tool_in_as_the_agent_and_only_then() {
    let server = Server::start(Protection::Encrypted);
    let (url, pin, password) = (server.url(), server.file("pinned.der"), server.file("password"));
    std::fs::write(&password, "s3cret\n").expect("written");
    let open = ["doctor", "opcua", "--endpoint", &url, "--save-certificate", text(&pin), "--json"];
    let (report, _) = ended(0, &open);
    let report = json(&report);
    assert_eq!(report["session"], Value::Null, "{report:#}");
    assert!(report["endpoints"][0]["hints"].to_string().contains("self-signed"), "{report:#}");
    assert_eq!(
        std::fs::read(&pin).expect("saved"),
        std::fs::read(server.file("server.der")).expect("its own")
    );

    let way = [
        "--endpoint",
        &url,
        "--security-policy",
        "basic256sha256",
        "--server-certificate-file",
        text(&pin),
        "--user",
        "operator",
        "--password-file",
        text(&password),
    ];
    let speed = node("speed");
    let read = [&["read", "opcua", "--node", &speed, "--json"][..], &way].concat();
    let (_, said) = ended(1, &read);
    assert!(said.contains("made for it alone") && said.contains("Have the server trust"), "{said}");

    let state = server.file("agent");
    let certificate = agent_identity(&state);
    let as_agent = [&read[..], &["--identity", text(&state)]].concat();
    let (_, said) = ended(1, &as_agent);
    assert!(said.contains(&format!("trust this gateway's certificate {}", certificate.display())), "{said}");
    server.trust(&certificate);
    let (value, said) = ended(0, &as_agent);
    assert_eq!(
        (json(&value)["value"].as_str(), json(&value)["quality"].as_str()),
        (Some("1.5"), Some("Good"))
    );
    assert!(!said.contains("made for it alone"), "{said}");

    let config = server.file("config");
    let opcua = format!(
        "[opcua]\nendpoint = \"{url}\"\nsecurity_policy = \"basic256sha256\"\nserver_certificate_file = {pin:?}\n\
         user = \"operator\"\npassword_file = {password:?}\n\
         [[tags]]\nid = \"speed\"\ndata_type = \"float\"\nnode_id = \"{speed}\"\n"
    );
    configure(&config, &opcua);
    let machine = ["--config", text(&config), "--machine", "lathe-1", "--identity", text(&state)];
    ended(0, &[&["read", "opcua", "--node", &speed][..], &machine].concat());
    let (told, _) = ended(0, &[&["doctor", "opcua"][..], &machine].concat());
    assert!(
        told.contains("session: opened with basic256sha256 with sign_and_encrypt, user operator"),
        "{told}"
    );
    assert!(!told.contains('\u{1b}'), "no colours where there is no terminal");
}

#[test]
fn c9_the_doctor_names_an_expired_certificate_and_ends_with_failure() {
    let server = Server::start(Protection::Expired);
    let (url, state) = (server.url(), server.file("agent"));
    server.trust(&agent_identity(&state));
    let pin = server.file("server.der");
    let protected = ["--security-policy", "basic256sha256", "--server-certificate-file", text(&pin)];
    let doctor =
        [&["doctor", "opcua", "--endpoint", &url, "--json", "--identity", text(&state)][..], &protected];
    let user = ["--user", "operator", "--password-file", text(&pin)];
    let (report, _) = ended(1, &[&doctor.concat()[..], &user].concat());
    let report = json(&report);
    let problems = report["endpoints"][0]["problems"].to_string();
    assert!(problems.contains("expired on 2021-01-01; have a new one made"), "{report:#}");
    assert_eq!(report["session"]["opened"], Value::Bool(false));
}

#[test]
fn c10_nothing_less_than_what_was_asked_for_is_tried() {
    let server = Server::start(Protection::None);
    let (url, pin) = (server.url(), server.file("pin.der"));
    let protected = ["--security-policy", "basic256sha256", "--server-certificate-file", text(&pin)];
    let speed = node("speed");
    let read = [&["read", "opcua", "--endpoint", &url, "--node", &speed][..], &protected].concat();
    let (_, said) = ended(1, &read);
    assert!(said.contains("offers no endpoint with Basic256Sha256") && said.contains("None/None"), "{said}");
}

#[test]
fn exit_codes_tell_what_happened() {
    let server = Server::start(Protection::None);
    let url = server.url();
    let (value, _) = ended(0, &["read", "opcua", "--endpoint", &url, "--node", &node("speed"), "--json"]);
    assert_eq!(json(&value)["value"], "1.5");
    // A leaf has nothing below it.
    ended(3, &["browse", "opcua", "--endpoint", &url, "--under", &node("speed")]);
    let (_, said) = ended(1, &["browse", "opcua", "--endpoint", &url, "--under", "nsu=urn:nowhere;s=x"]);
    assert!(said.contains("urn:nowhere"), "{said}");
    let (_, said) = ended(1, &["doctor", "opcua", "--endpoint", "opc.tcp://127.0.0.1:1"]);
    assert!(said.contains("cannot connect"), "{said}");
    ended(2, &["read", "opcua", "--node", "i=1"]);
    ended(2, &["read", "opcua", "--endpoint", &url, "--node", "i=1", "--user", "operator"]);
    ended(2, &["read", "opcua", "--endpoint", &url, "--node", "i=1", "--machine", "lathe-1"]);
    let config = server.file("config");
    configure(&config, "[opcua]\nendpoint = \"http://h\"\n");
    let (_, said) = ended(78, &["doctor", "opcua", "--config", text(&config), "--machine", "lathe-1"]);
    assert!(said.contains("lathe-1.toml"), "{said}");
}
