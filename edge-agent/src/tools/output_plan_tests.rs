//! What `check` says of outputs.

use super::super::physics::{self, Physics};
use super::*;

const AGENT: &str = "version = 1\ntenant = \"acme\"\ngateway = \"gw-1\"\n[buffer]\npath = \"buffer.db\"\n";

fn press(number: u8, modbus: &str) -> String {
    format!(
        "version = 1\nid = \"press-{number}\"\n[modbus_tcp]\nhost = \"10.0.0.1\"\nunit_id = {number}\n{modbus}\n\
         [[tags]]\nid = \"oil\"\ndata_type = \"int\"\nholding_register = 0\nformat = \"u16\"\n\
         [[tags]]\nid = \"horn\"\ndata_type = \"bool\"\ncoil = 3\nformat = \"bool\"\n\
         [[alarms]]\nid = \"hot\"\nkind = \"high\"\ntag = \"oil\"\nlimit = 80\nmessage = \"Hot\"\n\
         [[alarms]]\nid = \"lost\"\nkind = \"communication\"\nmessage = \"Lost\"\n"
    )
}

fn checked(outputs: &str, machines: &[String]) -> Physics {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("machines.d")).expect("created");
    std::fs::write(folder.path().join("agent.toml"), format!("{AGENT}{outputs}")).expect("written");
    for (number, machine) in machines.iter().enumerate() {
        std::fs::write(folder.path().join(format!("machines.d/{number}.toml")), machine).expect("written");
    }
    let config = edge_config::load(folder.path()).unwrap_or_else(|errors| panic!("{errors}"));
    physics::compute(&config)
}

/// What is said of outputs, with their lines.
fn said(physics: &Physics) -> Vec<String> {
    let of_outputs = physics.findings.iter().filter(|f| f.file == FILE);
    of_outputs.map(|f| format!("{}: {}", f.line.unwrap_or(0), f.message)).collect()
}

const HORN: &str = "[[outputs]]\nid = \"horn\"\nwhen = \"unacknowledged\"\nmachines = [\"press-1\"]\n\
    tag = { machine = \"press-1\", tag = \"horn\" }\n";

#[test]
fn d7_check_shows_what_switches_an_output_and_what_becomes_of_it() {
    let physics = checked(HORN, &[press(1, "")]);
    let [plan] = physics.outputs.as_slice() else { panic!("one: {:?}", physics.outputs) };
    assert_eq!((plan.alarms, plan.machines, plan.safe, plan.heartbeat_s), (2, 1, "off", None));
    assert_eq!((plan.target.as_str(), plan.connection), ("press-1 horn = true / false", Some("shared")));
    assert_eq!((plan.wait_ms_max, plan.min_interval_ms, plan.max_per_minute), (Some(0), 1_000, 12));
    let text = super::super::check::text(&physics);
    for part in
        ["unacknowledged", "2 of 1 machines", "1000 ms, 12/min", "stays as it is when the gateway fails"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(said(&physics).is_empty(), "{:?}", said(&physics));
}

#[test]
fn d7_check_says_how_long_a_write_waits_beside_a_silent_unit_and_what_helps() {
    let shared = "output_connection = \"shared\"";
    let physics = checked(HORN, &[press(1, shared), press(2, "timeout_ms = 900")]);
    assert_eq!(physics.outputs[0].wait_ms_max, Some(900));
    let said_of = said(&physics).join("\n");
    assert!(
        said_of.contains("waits up to 900 ms") && said_of.contains("output_connection = \"own\""),
        "{said_of}"
    );
    let physics = checked(HORN, &[press(1, ""), press(2, "timeout_ms = 900")]);
    assert_eq!((physics.outputs[0].connection, physics.outputs[0].wait_ms_max), (Some("own"), Some(0)));
}

#[test]
fn d7_check_names_outputs_that_could_not_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let plain = folder.path().join("plain");
    std::fs::write(&plain, "").expect("written");
    let output = |id: &str, rest: &str| format!("[[outputs]]\nid = \"{id}\"\nwhen = \"active\"\n{rest}\n");
    let text = [
        format!("[[allowed_commands]]\nid = \"plain\"\nrun = {plain:?}\n"),
        "[[allowed_commands]]\nid = \"gone\"\nrun = \"/nonexistent/horn\"\n".to_owned(),
        output(
            "a",
            "machines = [\"press-1\"]\npriority = \"critical\"\ncommand = { on = \"plain\", off = \"gone\" }",
        ),
        output("b", "alarms = [\"lost\"]\ntag = { machine = \"press-1\", tag = \"horn\" }"),
        output("c", "webhook = { url = \"https://10.0.0.9/\", ca_file = \"/nonexistent/ca.crt\" }"),
    ]
    .concat();
    let said = said(&checked(&text, &[press(1, "")]));
    for expected in [
        "12: output a: no alarm ever switches it",
        "cannot be run here: Permission denied",
        "output a: /nonexistent/horn cannot be run here: No such file",
        "18: output b: its only alarm says that press-1 is lost",
        "output c: /nonexistent/ca.crt holds no usable certificate",
    ] {
        assert!(said.iter().any(|s| s.contains(expected)), "{expected}\n{said:#?}");
    }
}
