use super::*;

const AGENT: &str = "version = 1\ntenant = \"acme\"\ngateway = \"hall-3\"\n[buffer]\npath = \"b\"\n";
const HORN: &str =
    "[[outputs]]\nid = \"horn\"\nwhen = \"active\"\ntag = { machine = \"press\", tag = \"horn\" }\n";

fn press(register: u32) -> String {
    format!(
        "version = 1\nid = \"press\"\n[modbus_tcp]\nhost = \"h\"\n[[tags]]\nid = \"horn\"\ndata_type = \"bool\"\n\
         coil = {register}\nformat = \"bool\"\n"
    )
}

fn lathe(endpoint: &str, password: &str) -> String {
    format!(
        "version = 1\nid = \"lathe\"\n[opcua]\nendpoint = \"opc.tcp://{endpoint}:4840\"\nsecurity_policy = \"none\"\nuser = \"u\"\n\
         password_file = \"{password}\"\n[[tags]]\nid = \"speed\"\ndata_type = \"float\"\nnode_id = \"ns=2;s=Speed\"\n"
    )
}

/// A configuration folder.
fn folder(agent: &str, machines: &[(&str, String)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(root.path().join("machines.d")).expect("made");
    std::fs::write(root.path().join("agent.toml"), agent).expect("written");
    for (name, text) in machines {
        std::fs::write(root.path().join("machines.d").join(name), text).expect("written");
    }
    root
}

fn files(machines: &[(&str, String)]) -> Files {
    machines.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect()
}

#[test]
fn what_an_output_writes_to_is_changed_from_afar_only_where_that_is_allowed() {
    let own = [("press.toml", press(1))];
    let closed = folder(&format!("{AGENT}{HORN}"), &own);
    check(closed.path(), &files(&own)).expect("as it was");
    let moved = files(&[("press.toml", press(2))]);
    let told = check(closed.path(), &moved).expect_err("the horn would be another coil");
    assert!(told.contains("machine press") && told.contains("remote.outputs"), "{told}");
    let open = folder(&format!("{AGENT}[remote]\noutputs = true\n{HORN}"), &own);
    assert!(check(open.path(), &moved).is_ok());
    let silent = folder(AGENT, &own);
    assert!(check(silent.path(), &moved).is_ok(), "nothing is written there");
}

#[test]
fn f11_a_file_of_the_gateway_is_not_sent_to_a_server_that_the_backend_names() {
    let root = folder(AGENT, &[("lathe.toml", lathe("own", "/secret/lathe"))]);
    let allowed = |machine: String| check(root.path(), &files(&[("lathe.toml", machine)]));
    assert!(allowed(lathe("own", "/secret/lathe")).is_ok());
    let inside = root.path().join("passwords/lathe").display().to_string();
    assert!(allowed(lathe("other", &inside)).is_ok());
    let outside = root.path().join("../identity/gateway.pem").display().to_string();
    for (endpoint, path) in [("other", "/secret/lathe"), ("own", "/var/lib/key"), ("own", &outside)] {
        let told = allowed(lathe(endpoint, path)).expect_err(path);
        assert!(told.contains("password_file") && told.contains("lathe"), "{told}");
    }
}

#[test]
fn f2_all_problems_of_all_files_are_told_with_their_lines() {
    let root = folder(AGENT, &[("press.toml", press(1))]);
    let bad = [("a.toml", press(1).replace("coil", "coyl")), ("b.toml", "version = 1\nid = 7\n".to_owned())];
    let told = check(root.path(), &files(&bad)).expect_err("both are wrong");
    assert!(told.contains("machines.d/a.toml:8: ") && told.contains("machines.d/b.toml:2: "), "{told}");
}
