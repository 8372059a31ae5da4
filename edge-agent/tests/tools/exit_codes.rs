//! Every documented exit code of every tool, and what a script may rely on.

use std::path::Path;

use crate::program::run;
use crate::server::TestServer;

/// A folder with a configuration that is good, but for the format of the tag.
fn configuration(folder: &Path, port: u16, format: &str) {
    std::fs::create_dir_all(folder.join("machines.d")).expect("created");
    let agent = "version = 1\ntenant = \"acme\"\ngateway = \"gw-1\"\n[buffer]\npath = \"buffer.sqlite\"\n";
    std::fs::write(folder.join("agent.toml"), agent).expect("written");
    let machine = format!(
        "version = 1\nid = \"press\"\n[modbus_tcp]\nhost = \"127.0.0.1\"\nport = {port}\n[[tags]]\n\
         id = \"setpoint\"\ndata_type = \"float\"\nholding_register = 10\nformat = \"{format}\"\nscale = 0.1\n"
    );
    std::fs::write(folder.join("machines.d/press.toml"), machine).expect("written");
}

/// A port on which nobody listens.
async fn closed_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound").port()
}

#[tokio::test]
async fn every_tool_ends_with_the_code_that_its_help_promises() {
    let (server, _) = TestServer::memory([(10, 225), (11, 1), (12, 2), (13, 3)]).await;
    let silent = TestServer::start(|_| None).await;
    let (port, silent, closed) = (server.port, silent.port, closed_port().await);
    let folder = tempfile::tempdir().expect("a folder");
    let (good, bad) = (folder.path().join("good"), folder.path().join("bad"));
    configuration(&good, port, "i16");
    configuration(&bad, port, "i17");
    std::fs::write(folder.path().join("tags.csv"), "id,data_type,holding_register,format\noil,int,1,u16\n")
        .expect("written");
    std::fs::write(folder.path().join("wrong.csv"), "id,data_type,holding_register,format\noil,int,x,u16\n")
        .expect("written");
    let (place, good, bad) = (folder.path().display(), good.display(), bad.display());
    let journal = format!("--yes --journal {place}/writes.jsonl");
    let read = "--register 10 --timeout-ms 200";
    for (expected, arguments) in [
        (0, format!("read modbus --host 127.0.0.1 --port {port} {read}")),
        (1, format!("read modbus --host 127.0.0.1 --port {port} --register 99")),
        (1, format!("read modbus --host 127.0.0.1 --port {closed} {read}")),
        (1, format!("read modbus --host 127.0.0.1 --port {silent} {read}")),
        (1, format!("read modbus --device /dev/ttyNONE0 {read}")),
        (2, "read modbus --register 10".to_owned()),
        (2, format!("read modbus --host h --device d {read}")),
        (3, format!("read modbus --host 127.0.0.1 --port {port} {read} --expect 987.65")),
        (0, format!("scan modbus --host 127.0.0.1 --port {port} --units 1")),
        (1, format!("scan modbus --host 127.0.0.1 --port {closed} --units 1")),
        (2, "scan modbus --units 300 --host h".to_owned()),
        (3, format!("scan modbus --host 127.0.0.1 --port {silent} --units 1 --timeout-ms 50")),
        (1, "scan serial --device /dev/ttyNONE0".to_owned()),
        (2, "scan serial --parities mark".to_owned()),
        (0, format!("write tag --config {good} --machine press --tag setpoint --value 23.1 {journal}")),
        (1, format!("write tag --config {good} --machine press --tag nothing --value 23.1 {journal}")),
        (1, format!("write modbus --host 127.0.0.1 --port {port} --register 99 --value 1 {journal}")),
        (2, format!("write modbus --host h --register 1 --format text --value a {journal}")),
        (78, format!("write tag --config {bad} --machine press --tag setpoint --value 1 {journal}")),
        (0, format!("check --config {good}")),
        (78, format!("check --config {bad}")),
        (78, format!("import {place}/wrong.csv --machine {good}/machines.d/press.toml --dry-run")),
        (0, format!("import {place}/tags.csv --machine {good}/machines.d/press.toml")),
        (1, format!("import {place}/none.xlsx --machine {good}/machines.d/press.toml")),
        (1, format!("watch --once --status 127.0.0.1:{closed}")),
        (0, format!("diag --config {good} --out {place}/diag.tar.gz")),
        (1, format!("diag --config {good} --out {place}/diag.tar.gz")),
        (1, format!("buffer status --file {place}/none.db")),
        (1, format!("buffer verify --file {place}/tags.csv")),
        (2, format!("buffer export --file {place}/none.db")),
        (2, format!("buffer export --file {place}/none.db --out {place}/x.csv --from yesterday")),
        (78, format!("buffer gaps --config {bad}")),
        (2, "nonsense".to_owned()),
        (0, "--version".to_owned()),
    ] {
        let ended = run(&arguments).await;
        assert_eq!(ended.code, expected, "{arguments}: {ended:?}");
        let told = if matches!(expected, 0 | 3) { &ended.out } else { &ended.err };
        assert!(!told.is_empty(), "reports go to one stream, errors to the other: {arguments}: {ended:?}");
    }
}

#[tokio::test]
async fn the_exit_codes_are_in_the_help() {
    let help = run("--help").await.out;
    for code in ["0 done", "1 failed", "2 wrong command line", "3 nothing found", "78 wrong configuration"] {
        assert!(help.contains(code), "{code}: {help}");
    }
    for (tool, code) in [
        ("write tag", "78 wrong"),
        ("write modbus", "3 it was sent"),
        ("scan serial", "code 3"),
        ("buffer verify", "code 3"),
        ("buffer export", "code 3"),
    ] {
        let help = run(&format!("{tool} --help")).await.out;
        assert!(help.contains(code), "{tool}: {help}");
    }
}

#[tokio::test]
async fn without_a_terminal_nothing_is_coloured_and_json_is_json() {
    let (server, _) = TestServer::memory([(10, 225), (11, 1), (12, 2), (13, 3)]).await;
    let folder = tempfile::tempdir().expect("a folder");
    configuration(folder.path(), server.port, "i16");
    let (port, place) = (server.port, folder.path().display());
    for arguments in [
        format!("read modbus --host 127.0.0.1 --port {port} --register 10 --expect 22.5"),
        format!("scan modbus --host 127.0.0.1 --port {port} --units 1-2"),
        format!("check --config {place}"),
        format!(
            "write modbus --host 127.0.0.1 --port {port} --register 10 --value 7 --yes --journal {place}/writes.jsonl"
        ),
        format!(
            "write tag --config {place} --machine press --tag setpoint --value 1 --yes --journal {place}/w.jsonl"
        ),
    ] {
        let table = run(&arguments).await;
        assert!(!table.out.contains('\x1b') && !table.err.contains('\x1b'), "{arguments}: {table:?}");
        let json = run(&format!("{arguments} --json")).await;
        assert!(json.json().is_object(), "{arguments}: {json:?}");
    }
    assert!(run("scan serial --json").await.json()["devices"].is_array());
}

#[tokio::test]
async fn manual_pages_and_completions_are_made_for_all_commands() {
    let folder = tempfile::tempdir().expect("a folder");
    let ended = run(&format!("generate --out {}", folder.path().display())).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
    for page in [
        "run",
        "check",
        "read",
        "read-modbus",
        "read-opcua",
        "write",
        "write-modbus",
        "write-tag",
        "scan",
        "scan-modbus",
        "scan-serial",
        "browse-opcua",
        "doctor-opcua",
        "watch",
        "import",
        "buffer-status",
        "buffer-verify",
        "buffer-export",
        "buffer-gaps",
        "diag",
        "generate",
    ] {
        assert!(text(&format!("edge-agent-{page}.1")).contains(".SH SYNOPSIS"), "{page}");
    }
    for (file, option) in [
        ("edge-agent.bash", "--baud-rate"),
        ("_edge-agent", "--word-order"),
        ("edge-agent.fish", "rtu-over-tcp"),
    ] {
        assert!(text(file).contains(option), "{file}");
    }
}
