//! `edge-agent buffer` beside a running agent, and after it was stopped.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::program::{command, ended, run};
use crate::server::TestServer;

/// A gateway with one machine whose samples are committed ten times a second, and an encrypted buffer.
fn configuration(folder: &Path, port: u16) {
    use std::os::unix::fs::PermissionsExt as _;

    std::fs::create_dir_all(folder.join("machines.d")).expect("created");
    let place = folder.display();
    let agent = format!(
        "version = 1\ntenant = \"acme\"\ngateway = \"gw-1\"\n[buffer]\npath = \"{place}/buffer.db\"\nmax_mib = 8\n\
         commit_interval_ms = 100\nkey_file = \"{place}/key\"\n[status]\nlisten = \"127.0.0.1:0\"\n"
    );
    std::fs::write(folder.join("agent.toml"), agent).expect("written");
    std::fs::write(folder.join("key"), "0f".repeat(32)).expect("written");
    std::fs::set_permissions(folder.join("key"), std::fs::Permissions::from_mode(0o600)).expect("set");
    let machine = format!(
        "version = 1\nid = \"press\"\n[modbus_tcp]\nhost = \"127.0.0.1\"\nport = {port}\n[[tags]]\n\
         id = \"setpoint\"\nunit = \"bar\"\ndata_type = \"int\"\nholding_register = 10\nformat = \"i16\"\n\
         poll_interval_ms = 50\n"
    );
    std::fs::write(folder.join("machines.d/press.toml"), machine).expect("written");
}

/// What a file says, once it is there.
async fn state(path: &Path) -> serde_json::Value {
    let began = Instant::now();
    loop {
        let read = std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        match read {
            Some(state) => return state,
            None => assert!(began.elapsed() < Duration::from_secs(30), "the agent does not start"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_buffer_is_looked_at_beside_its_agent_and_written_out_when_it_has_stopped() {
    let (server, _) = TestServer::memory([(10, 225)]).await;
    let folder = tempfile::tempdir().expect("a folder");
    configuration(folder.path(), server.port);
    let place = folder.path().display();
    let agent =
        command(&format!("run --config {place} --state-file {place}/state.json")).spawn().expect("starts");
    let pid = Pid::from_raw(i32::try_from(agent.id().expect("runs")).expect("a process id"));
    let address =
        state(&folder.path().join("state.json")).await["status"].as_str().expect("listens").to_owned();

    let began = Instant::now();
    let beside = loop {
        let status = run(&format!("buffer status --config {place} --status {address} --json")).await;
        assert_eq!(status.code, 0, "{status:?}");
        let view = status.json();
        if view["streams"][2]["not_delivered"]["entries"].as_u64() >= Some(20) {
            break view;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{view:#}");
    };
    assert_eq!((&beside["health"], &beside["encrypted"]), (&"writable".into(), &true.into()));
    let gaps = run(&format!("buffer gaps --config {place} --status {address}")).await;
    assert_eq!(gaps.code, 0, "{gaps:?}");
    let verify = run(&format!("buffer verify --config {place}")).await;
    assert!(verify.code == 1 && verify.err.contains("systemctl stop edge-agent"), "{verify:?}");
    let unknown = run(&format!("buffer status --config {place}")).await;
    assert!(unknown.code == 1 && unknown.err.contains("--status"), "{unknown:?}");

    kill(pid, Signal::SIGTERM).expect("told to stop");
    assert_eq!(ended(agent).await.code, 0);
    let verify = run(&format!("buffer verify --config {place} --json")).await;
    assert_eq!((verify.code, &verify.json()["sound"]), (0, &true.into()), "{verify:?}");
    let view = run(&format!("buffer status --config {place} --json")).await.json();
    assert_eq!(view["epoch"], beside["epoch"]);
    let export = run(&format!("buffer export --config {place} --out {place}/all.csv --json")).await;
    assert_eq!(export.code, 0, "{export:?}");
    assert_eq!(export.json()["rows"], view["streams"][2]["held"]["entries"], "all that is held");
    let text = std::fs::read_to_string(folder.path().join("all.csv")).expect("written");
    assert!(text.contains("press,setpoint,bar,20") && text.contains(",225,int,Good,0,"), "{text}");
}
