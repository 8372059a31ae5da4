use std::path::PathBuf;

use super::*;

/// No more than an agent needs.
pub(crate) const BARE_AGENT: &str =
    "version = 1\ntenant = \"acme\"\ngateway = \"gw-1\"\n[buffer]\npath = \"buffer.db\"\n";

const AGENT: &str = r#"
version = 1
tenant = "acme"
gateway = "gw-1"

[uplink]
host = "127.0.0.1"
port = 8883
ca_file = "ca.crt"
certificate_file = "gateway.crt"
key_file = "gateway.key"

[buffer]
path = "buffer.db"
commit_interval_ms = 1000

[status]
listen = "127.0.0.1:0"
"#;

const MODBUS: &str = r#"
version = 1
id = "press-1"
name = "Press 1"
kind = "hydraulic-press"

[modbus_tcp]
host = "127.0.0.1"
port = 5020
unit_id = 3
timeout_ms = 500

[[tags]]
id = "oil_temperature"
unit = "Cel"
data_type = "float"
role = "headline"
holding_register = 0
format = "i16"
scale = 0.1
poll_interval_ms = 200

[[tags]]
id = "state"
data_type = "int"
role = "state"
holding_register = 1
format = "u16"

[[alarms]]
id = "oil_hot"
tag = "oil_temperature"
kind = "high"
limit = 80.0
deadband = 2
priority = "high"
message = "Oil too hot"
"#;

pub(crate) const OPCUA: &str = r#"
version = 1
id = "lathe-1"

[opcua]
endpoint = "opc.tcp://127.0.0.1:4840"

[[tags]]
id = "speed"
data_type = "float"
node_id = "nsu=urn:machine:lathe;s=speed"
"#;

pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new(agent: &str, machines: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        std::fs::write(folder.path().join("agent.toml"), agent).expect("writes");
        std::fs::create_dir(folder.path().join("machines.d")).expect("creates");
        for (name, text) in machines {
            std::fs::write(folder.path().join("machines.d").join(name), text).expect("writes");
        }
        Self(folder)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    pub(crate) fn errors(&self) -> Vec<Problem> {
        load(self.0.path()).expect_err("refused").0
    }
}

fn one_error(machine: &str) -> Problem {
    let mut errors = Folder::new(AGENT, &[("m.toml", machine)]).errors();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.remove(0)
}

#[test]
fn a_good_configuration_is_read_whole() {
    let folder = Folder::new(AGENT, &[("b.toml", OPCUA), ("a.toml", MODBUS), ("note.txt", "ignored")]);
    let config = load(folder.0.path()).expect("good");
    assert_eq!(config.tenant.as_str(), "acme");
    assert_eq!(config.buffer.commit_interval.as_millis(), 1_000);
    assert_eq!(config.buffer.replay_window.as_secs(), 24 * 3_600);
    let ids: Vec<&str> = config.machines.iter().map(|m| m.id.as_str()).collect();
    assert_eq!(ids, ["press-1", "lathe-1", "gateway"]);
    let press = &config.machines[0];
    assert_eq!(press.connection.protocol(), "modbus-tcp");
    assert_eq!((press.tags.len(), press.alarms.len()), (2, 2), "one of its file, one of its connection");
    assert_eq!(
        (press.origin.tag_lines.as_slice(), press.origin.alarm_lines.as_slice()),
        (&[13, 23][..], &[30][..])
    );
    assert!(press.origin.file.ends_with("machines.d/a.toml"));
    assert_eq!(config.alarm_latency_budget.as_millis(), 500);
    let Connection::Modbus(connection) = &press.connection else { panic!("modbus") };
    assert_eq!((connection.unit_id(), connection.tags().len()), (3, 2));
}

#[test]
fn five_mistakes_are_all_named_with_file_line_key_value_and_what_is_allowed() {
    let broken = MODBUS
        .replace("port = 5020", "port = 70000")
        .replace("unit_id = 3", "unitid = 3")
        .replace("format = \"i16\"", "format = \"int16\"")
        .replace("tag = \"oil_temperature\"", "tag = \"oil_temp\"")
        .replace("limit = 80.0", "limit = \"80\"");
    let errors = Folder::new(AGENT, &[("press.toml", &broken)]).errors();
    let text = ConfigErrors(errors.clone()).to_string();
    for (line, part) in [
        (9, "modbus_tcp.port = 70000: is out of range; 1 to 65535 are allowed"),
        (10, "modbus_tcp.unitid = 3: this key is not known; did you mean \"unit_id\"?"),
        (19, "tags[0].format = \"int16\": is not known; allowed are u16, i16"),
        (32, "alarms[0].tag = \"oil_temp\": this machine has no such tag"),
        (34, "alarms[0].limit = \"80\": a number is needed, this is a string"),
    ] {
        let expected = format!("press.toml:{line}: {part}");
        assert!(text.contains(&expected), "{expected}\nis not in\n{text}");
    }
    assert!(text.ends_with("problems found"), "{text}");
}

#[test]
fn mistakes_of_all_files_come_together() {
    let agent = AGENT.replace("gateway = \"gw-1\"", "gateway = \"GW 1\"");
    let machine = OPCUA.replace("opc.tcp://127.0.0.1:4840", "http://127.0.0.1");
    let errors = Folder::new(&agent, &[("m.toml", &machine)]).errors();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert_eq!((errors[0].key.as_str(), errors[0].line), ("gateway", Some(4)));
    assert!(errors[1].message.contains("opc.tcp://"), "{}", errors[1].message);
}

#[test]
fn text_that_is_no_toml_is_named_with_its_line() {
    let error = one_error("version = 1\nid = \"x\n");
    assert_eq!(error.line, Some(2));
    assert!(error.message.starts_with("this is not TOML"), "{}", error.message);
}

#[test]
fn a_missing_file_or_folder_is_named() {
    let error = load(&PathBuf::from("/nonexistent")).expect_err("refused").to_string();
    assert!(error.contains("/nonexistent/agent.toml: cannot be read"), "{error}");
    assert!(error.contains("/nonexistent/machines.d"), "{error}");
    assert!(!Folder::new(AGENT, &[]).errors().is_empty(), "a gateway without machines is a mistake");
}

#[test]
fn a_machine_needs_exactly_one_connection() {
    let both = OPCUA.replace("[opcua]", "[modbus_tcp]\nhost = \"a\"\n[opcua]");
    assert!(one_error(&both).message.contains("one connection"));
    let none = "version = 1\nid = \"x\"\n";
    assert!(one_error(none).message.contains("[modbus_rtu_over_tcp] or [opcua]"));
}

#[test]
fn ids_are_unique_within_a_machine_and_between_machines() {
    let twice = MODBUS.replace("id = \"state\"", "id = \"oil_temperature\"");
    assert!(one_error(&twice).message.contains("used twice"));
    let errors = Folder::new(AGENT, &[("a.toml", MODBUS), ("b.toml", MODBUS)]).errors();
    assert!(errors[0].message.contains("also used in"), "{errors:?}");
}

#[test]
fn what_cannot_be_read_from_registers_is_refused() {
    let table = MODBUS.replace("holding_register = 1", "coil = 1");
    assert!(one_error(&table).message.contains("coil"));
    let missing = MODBUS.replace("holding_register = 1\n", "");
    assert!(one_error(&missing).message.contains("zero-based address"));
    let two = MODBUS.replace("holding_register = 1\n", "holding_register = 1\ninput_register = 2\n");
    assert!(one_error(&two).message.contains("keep one address"));
    let bit = MODBUS.replace("format = \"u16\"", "format = \"bit\"\nbit = 16");
    assert!(one_error(&bit).message.contains("0 to 15"));
}

#[test]
fn an_alarm_needs_a_number_to_watch() {
    let text = OPCUA.replace("data_type = \"float\"", "data_type = \"text\"")
        + "[[alarms]]\nid = \"a\"\ntag = \"speed\"\nkind = \"high\"\nlimit = 1\nmessage = \"m\"\n";
    assert!(one_error(&text).message.contains("a limit needs a number"));
    let negative = MODBUS.replace("deadband = 2", "deadband = -2");
    assert!(one_error(&negative).message.contains("zero or more"));
}

#[test]
fn the_status_interface_stays_on_the_gateway() {
    let agent = AGENT.replace("127.0.0.1:0", "0.0.0.0:9180");
    let errors = Folder::new(&agent, &[("m.toml", MODBUS)]).errors();
    assert!(errors[0].message.contains("loopback"), "{errors:?}");
}

const RTU: &str = r#"
version = 1
id = "meter-1"

[modbus_rtu]
device = "/dev/serial/by-id/usb-adapter"
baud_rate = 9600
parity = "none"
unit_id = 5
timeout_ms = 300
pause_between_requests_ms = 20
max_registers = 60
max_gap = 0
one_request_per_tag = true
close_after_read = true

[[tags]]
id = "energy"
data_type = "int"
holding_register = 3
format = "bcd32"
range = [0, 99_999]

[[tags]]
id = "status"
data_type = "int"
holding_register = 9
format = "u8"
byte = "high"
"#;

#[test]
fn a_serial_machine_with_all_its_quirks_is_read() {
    let folder = Folder::new(AGENT, &[("m.toml", RTU)]);
    let config = load(folder.0.path()).expect("good");
    assert_eq!(config.machines[0].connection.protocol(), "modbus-rtu");
    let Connection::Modbus(connection) = &config.machines[0].connection else { panic!("modbus") };
    let acquisition::ModbusAddress::Rtu(line) = connection.address() else { panic!("serial") };
    assert_eq!((line.baud_rate, line.stop_bits, connection.unit_id()), (9_600, 2, 5));
    let quirks = connection.quirks();
    assert_eq!((quirks.limits.max_registers, quirks.limits.max_gap), (60, 0));
    assert_eq!(quirks.after_read, acquisition::AfterRead::Close);
    assert_eq!(quirks.pause_between_requests.as_millis(), 20);
    assert_eq!(connection.blocks().len(), 2, "one request for each tag");
    let outside = plant_model::Value::Int(100_000);
    assert!(!connection.tags()[0].quality_of(&outside).is_good());
}

#[test]
fn a_serial_machine_that_cannot_work_is_refused_with_what_is_allowed() {
    for (good, bad, allowed) in [
        ("baud_rate = 9600", "baud_rate = 50", "1200 to 921600"),
        ("unit_id = 5", "unit_id = 0", "broadcast"),
        ("range = [0, 99_999]", "range = [5, 1]", "the lower one first"),
        ("range = [0, 99_999]", "range = 7", "such as [0, 150]"),
        ("byte = \"high\"", "byte = \"upper\"", "allowed are high, low"),
        ("close_after_read = true", "close_after_read = 1", "true or false"),
        ("max_registers = 60", "max_registers = 126", "1 to 125"),
    ] {
        let problem = one_error(&RTU.replace(good, bad));
        assert!(problem.message.contains(allowed), "{problem}");
    }
}

#[test]
fn machines_on_one_serial_line_agree_on_its_setting() {
    let other =
        RTU.replace("meter-1", "meter-2").replace("9600", "19200").replace("unit_id = 5", "unit_id = 6");
    let errors = Folder::new(AGENT, &[("a.toml", RTU), ("b.toml", &other)]).errors();
    assert!(errors.len() == 1 && errors[0].message.contains("one line has one setting"), "{errors:?}");
}

fn opcua_with(connection: &str, tag: &str) -> Result<acquisition::OpcUaConnection, String> {
    let text = OPCUA
        .replace("[[tags]]", &format!("{connection}\n[[tags]]"))
        .replace("node_id", &format!("{tag}\nnode_id"));
    let folder = Folder::new(AGENT, &[("b.toml", &text)]);
    match load(folder.0.path()) {
        Ok(config) => match config.machines.into_iter().next().map(|machine| machine.connection) {
            Some(Connection::OpcUa(connection)) => Ok(connection),
            other => panic!("{other:?}"),
        },
        Err(errors) => Err(errors.to_string()),
    }
}

#[test]
fn a_protected_opc_ua_connection_is_read_whole() {
    use acquisition::{AcquisitionMode, OpcUaSecurity, SecurityMode, SecurityPolicy, ServerTrust};

    let plain = opcua_with("", "").expect("valid");
    assert_eq!(
        (plain.security(), plain.user(), plain.mode()),
        (&OpcUaSecurity::None, None, AcquisitionMode::Auto)
    );
    let connection = opcua_with(
        "security_policy = \"aes256_sha256_rsapss\"\nsecurity_mode = \"sign\"\nuser = \"operator\"\n\
         password_file = \"/run/password\"\nserver_certificate_file = \"/etc/lathe.der\"\nmode = \"poll\"",
        "deadband = { absolute = 0.5 }",
    )
    .expect("valid");
    let trust = ServerTrust::Certificate("/etc/lathe.der".into());
    let (policy, mode) = (SecurityPolicy::Aes256Sha256RsaPss, SecurityMode::Sign);
    assert_eq!(connection.security(), &OpcUaSecurity::Protected { policy, mode, trust });
    assert_eq!(connection.user().map(|user| user.name.as_str()), Some("operator"));
    assert_eq!(connection.mode(), AcquisitionMode::Poll);
    assert_eq!(connection.items()[0].deadband, Some(acquisition::Deadband::Absolute(0.5)));
}

#[test]
fn an_opc_ua_connection_that_only_seems_protected_is_refused() {
    let policy = "security_policy = \"basic256sha256\"";
    for (connection, tag, problem) in [
        (policy.to_owned(), "", "server_certificate_file: is missing"),
        (format!("{policy}\nsecurity_mode = \"none\"\ntrust_dir = \"x\""), "", "contradicts"),
        ("security_mode = \"sign\"".to_owned(), "", "needs a security_policy"),
        ("trust_dir = \"x\"".to_owned(), "", "no effect without a security_policy"),
        (format!("{policy}\ntrust_dir = \"x\"\nserver_certificate_file = \"y\""), "", "leave one out"),
        ("security_policy = \"basic128rsa15\"".to_owned(), "", "allowed are none, basic256sha256"),
        ("user = \"operator\"".to_owned(), "", "password_file: is missing"),
        ("password_file = \"x\"".to_owned(), "", "user: is missing"),
        (String::new(), "deadband = { absolute = 0 }", "more than zero"),
        (String::new(), "deadband = { absolute = 1, percent = 1 }", "leave one out"),
    ] {
        let errors = opcua_with(&connection, tag).expect_err(&connection);
        assert!(errors.contains(problem), "{connection} {tag}: {errors}");
    }
}

#[test]
fn a_tag_with_an_alarm_is_marked_and_has_no_deadband() {
    let alarm =
        "\n[[alarms]]\nid = \"fast\"\ntag = \"speed\"\nkind = \"high\"\nlimit = 1\nmessage = \"Slow down\"\n";
    let text = format!("{OPCUA}{alarm}");
    let folder = Folder::new(AGENT, &[("b.toml", &text)]);
    let config = load(folder.0.path()).expect("valid");
    let Connection::OpcUa(connection) = &config.machines[0].connection else { panic!("OPC UA") };
    assert!(connection.items()[0].has_alarm);

    let text = text.replace("node_id", "deadband = { absolute = 1 }\nnode_id");
    let folder = Folder::new(AGENT, &[("b.toml", &text)]);
    let errors = load(folder.0.path()).expect_err("a late alarm").to_string();
    assert!(errors.contains("speed has an alarm"), "{errors}");
}

/// The oil temperature of the press with one more key.
fn oil_with(line: &str) -> String {
    MODBUS.replace("scale = 0.1", &format!("scale = 0.1\n{line}"))
}

#[test]
fn report_by_exception_is_off_unless_asked_for() {
    let read = |line: &str| {
        read_machine(&PathBuf::from("m.toml"), &oil_with(line)).expect("good").tags.remove(0).report
    };
    let rule = |deadband, heartbeat_s| {
        acquisition::OnChange::new(deadband, std::time::Duration::from_secs(heartbeat_s)).expect("valid")
    };
    assert_eq!(read(""), None);
    assert_eq!(read("report = { absolute = 0.5, heartbeat_s = 30 }"), Some(rule(0.5, 30)));
    assert_eq!(read("report = { heartbeat_s = 600 }"), Some(rule(0.0, 600)));
    assert_eq!(read("range = [0, 150]\nreport = { percent = 2 }"), Some(rule(3.0, 60)));
}

#[test]
fn a_report_that_cannot_be_meant_is_refused() {
    for (line, key, message) in [
        ("report = { percent = 1 }", "tags[0].report.percent", "has no range"),
        ("report = { absolute = 0 }", "tags[0].report.absolute", "more than zero"),
        ("range = [0, 1]\nreport = { percent = 101 }", "tags[0].report.percent", "at most 100"),
        ("report = { absolute = 1, percent = 1 }", "tags[0].report.percent", "leave one out"),
        ("report = { heartbeat_s = 0 }", "tags[0].report.heartbeat_s", "1 to 86400"),
        ("report = { heart_beat_s = 9 }", "tags[0].report.heart_beat_s", "did you mean \"heartbeat_s\""),
    ] {
        let error = one_error(&oil_with(line));
        assert!(error.key == key && error.message.contains(message), "{error}");
    }
    let text = OPCUA.replace("data_type = \"float\"", "data_type = \"text\"\nreport = { absolute = 1 }");
    let error = one_error(&text);
    assert!(error.message.contains("a text has no deadband"), "{error}");
}

#[test]
fn numbers_can_have_names_which_the_catalogue_carries() {
    let text = MODBUS
        .replace("role = \"state\"", "enumeration = { 10 = \"held\", 0 = \"stopped\", -1 = \"fault\" }");
    let machine = read_machine(&PathBuf::from("m.toml"), &text).expect("good");
    let names: Vec<_> = machine.tags[1].definition.enumeration.iter().collect();
    assert_eq!(names, [(-1, "fault"), (0, "stopped"), (10, "held")]);
    assert_eq!(machine.tags[0].definition.enumeration.iter().count(), 0);
    let text = OPCUA.replace("\"float\"", "\"bool\"\nenumeration = { 0 = \"open\", 1 = \"shut\" }");
    let machine = read_machine(&PathBuf::from("m.toml"), &text).expect("good");
    assert_eq!(machine.tags[0].definition.enumeration.iter().count(), 2);
}

#[test]
fn names_that_cannot_be_meant_are_refused() {
    let long = "x".repeat(65);
    let many: Vec<_> = (0..65).map(|n| format!("{n} = \"n{n}\"")).collect();
    for (data_type, names, message) in [
        ("int", "{ one = \"running\" }".to_owned(), "a table of names such as"),
        ("int", "{ 1 = 2 }".to_owned(), "a table of names such as"),
        ("int", format!("{{ 1 = \"{long}\" }}"), "65 characters: use 1 to 64"),
        ("int", format!("{{ {} }}", many.join(", ")), "65 names are too many"),
        ("bool", "{ 2 = \"ajar\" }".to_owned(), "2 is no value of a bool"),
        ("float", "{ 1 = \"x\" }".to_owned(), "a float has no names"),
    ] {
        let text = OPCUA.replace("\"float\"", &format!("\"{data_type}\"\nenumeration = {names}"));
        let error = one_error(&text);
        assert!(error.key == "tags[0].enumeration" && error.message.contains(message), "{error}");
    }
}

#[test]
fn tags_with_alarms_are_read_as_often_as_the_budget_needs_and_no_others() {
    let slow = MODBUS
        .replace("timeout_ms = 500", "timeout_ms = 200")
        .replace("interval_ms = 200", "interval_ms = 900");
    let alarm = "\n[[alarms]]\nid = \"fast\"\ntag = \"speed\"\nkind = \"high\"\nlimit = 1\nmessage = \"m\"\n";
    let lathe = OPCUA.replace(":4840\"", ":4840\"\nsampling_interval_ms = 2000") + alarm;
    let folder = Folder::new(AGENT, &[("a.toml", &slow), ("b.toml", &lathe)]);
    let config = load(folder.0.path()).expect("good");
    let told: Vec<_> = config
        .raised
        .iter()
        .map(|r| (r.machine.as_str(), r.tags[0].as_str(), r.configured.as_millis(), r.interval.as_millis()))
        .collect();
    assert_eq!(told, [("press-1", "oil_temperature", 900, 480), ("lathe-1", "speed", 2_000, 390)]);
    let Connection::Modbus(press) = &config.machines[0].connection else { panic!("Modbus") };
    let intervals: Vec<_> = press.blocks().iter().map(|b| b.poll_interval.as_millis()).collect();
    assert_eq!(intervals, [480, 1_000]);
    let Connection::OpcUa(lathe) = &config.machines[1].connection else { panic!("OPC UA") };
    assert_eq!(lathe.sampling_interval().as_millis(), 390);
    let relaxed = AGENT.replace("[uplink]", "alarm_latency_budget_ms = 5000\n[uplink]");
    let config = load(Folder::new(&relaxed, &[("a.toml", &slow), ("b.toml", OPCUA)]).0.path()).expect("good");
    assert_eq!(config.raised, []);
}

#[test]
fn a_soft_deadline_comes_before_the_time_out_or_is_refused() {
    let with =
        |ms: u32| MODBUS.replace("timeout_ms = 500", &format!("timeout_ms = 500\nsoft_deadline_ms = {ms}"));
    let machine = read_machine(&PathBuf::from("m.toml"), &with(300)).expect("good");
    let Connection::Modbus(press) = &machine.connection else { panic!("Modbus") };
    assert_eq!(press.quirks().soft_deadline.map(|d| d.as_millis()), Some(300));
    let error = one_error(&with(500));
    assert!(error.key == "modbus_tcp.soft_deadline_ms" && error.message.contains("which is 500"), "{error}");
}

/// F2: what the cloud refuses is what the gateway would refuse, in the same words.
#[test]
fn f2_files_in_memory_have_the_problems_that_they_have_in_the_folder() {
    let broken = MODBUS.replace("unit_id", "unit_idd").replace("limit = 80.0", "limit = \"hot\"");
    let files =
        [("a.toml", broken.as_str()), ("b.toml", OPCUA), ("c.toml", OPCUA), ("d.toml", "version = = 1")];
    let told = |problems: Vec<Problem>| -> Vec<(String, Option<usize>, String)> {
        let name = |p: &Problem| p.file.file_name().expect("a file").to_string_lossy().into_owned();
        problems.iter().map(|p| (name(p), p.line, p.key.clone())).collect()
    };
    let in_memory = told(check_machines(files).expect_err("refused").0);
    assert_eq!(in_memory, told(Folder::new(AGENT, &files).errors()));
    let named: std::collections::BTreeSet<_> = in_memory.iter().map(|(file, ..)| file.as_str()).collect();
    assert_eq!(named.into_iter().collect::<Vec<_>>(), ["a.toml", "c.toml", "d.toml"], "{in_memory:?}");
    assert!(in_memory.iter().filter(|(file, line, _)| file == "a.toml" && line.is_some()).count() >= 2);
    assert_eq!(check_machines([("a.toml", MODBUS), ("b.toml", OPCUA)]).expect("good").len(), 2);
    assert!(check_machines([]).expect_err("no machine").to_string().contains("no .toml file"));
}
