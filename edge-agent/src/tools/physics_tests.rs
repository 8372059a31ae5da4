use edge_config::ConfigErrors;

use super::*;

const AGENT: &str = r#"
version = 1
tenant = "acme"
gateway = "gw-1"
[buffer]
path = "buffer.db"
max_mib = 100
"#;

const PRESS: &str = r#"version = 1
id = "press"
[modbus_tcp]
host = "10.0.0.1"
timeout_ms = 200
[[tags]]
id = "oil"
data_type = "float"
holding_register = 0
format = "f32"
poll_interval_ms = 200
[[tags]]
id = "parts"
data_type = "int"
holding_register = 10
format = "u32"
[[alarms]]
id = "oil_hot"
tag = "oil"
kind = "high"
limit = 80
message = "Oil too hot"
"#;

const LATHE: &str = r#"version = 1
id = "lathe"
[opcua]
endpoint = "opc.tcp://10.0.0.2:4840"
sampling_interval_ms = 400
publishing_interval_ms = 500
[[tags]]
id = "speed"
data_type = "float"
node_id = "ns=2;s=speed"
[[alarms]]
id = "fast"
tag = "speed"
kind = "high"
limit = 80
on_delay_ms = 3000
message = "Too fast"
"#;

fn load(machines: &[&str]) -> Result<Physics, ConfigErrors> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("machines.d")).expect("created");
    std::fs::write(folder.path().join("agent.toml"), AGENT).expect("written");
    for (number, machine) in machines.iter().enumerate() {
        std::fs::write(folder.path().join(format!("machines.d/{number}.toml")), machine).expect("written");
    }
    edge_config::load(folder.path()).map(|config| compute(&config))
}

fn computed(machines: &[&str]) -> Physics {
    load(machines).expect("a good configuration")
}

fn refused(machine: &str) -> String {
    load(&[machine]).expect_err("refused").to_string()
}

fn tag(id: &str, register: u16, format: &str) -> String {
    format!(
        "[[tags]]\nid = \"{id}\"\ndata_type = \"int\"\nholding_register = {register}\nformat = \"{format}\"\n"
    )
}

#[test]
fn the_plan_names_each_request_and_how_long_the_line_is_busy() {
    let physics = computed(&[PRESS]);
    let plan = &physics.connections[0];
    let requests: Vec<_> = plan.requests.iter().map(|r| (r.start, r.quantity, r.poll_interval_ms)).collect();
    assert_eq!(requests, [(0, 2, 200), (10, 2, 1_000)]);
    assert_eq!(plan.requests[0].tags, ["oil"]);
    assert!((plan.utilisation - (0.005 / 0.2 + 0.005)).abs() < 1e-9, "{}", plan.utilisation);
    assert!((plan.cycle_ms - 10.0).abs() < 1e-9, "{}", plan.cycle_ms);
}

#[test]
fn the_worst_case_of_an_alarm_is_poll_waiting_request_and_decision() {
    let physics = computed(&[PRESS]);
    // 200 poll, 5 for the other request, 5 for its own, 10 decision.
    assert_eq!(physics.alarms[0].latency_ms_max, Some(220));
    assert!(physics.alarms[0].is_within_budget);
    assert!(physics.findings.is_empty(), "{:?}", physics.findings);
}

#[test]
fn a_rate_that_alarms_need_is_raised_and_said_and_the_alarm_is_in_time() {
    let physics = computed(&[&PRESS.replace("poll_interval_ms = 200", "poll_interval_ms = 2000")]);
    assert_eq!(physics.connections[0].requests[0].poll_interval_ms, 480);
    assert_eq!(physics.alarms[0].latency_ms_max, Some(500));
    let said = crate::tools::check::text(&physics);
    assert!(said.contains("raised: press: oil acquired every 480 ms, not every 2000 ms"), "{said}");
    assert!(computed(&[PRESS]).raised.is_empty());
}

#[test]
fn an_alarm_that_cannot_be_in_time_is_refused_at_its_line_and_its_on_delay_does_not_count() {
    let physics = computed(&[LATHE]);
    assert_eq!((physics.alarms[0].latency_ms_max, physics.alarms[0].on_delay_ms), (Some(910), 3_000));
    let error = physics.problems(Severity::Error).remove(0).to_string();
    let told = "0.toml:11: alarm fast can take 910 ms, and its budget is 500 ms: shorten sampling_interval_ms or \
                publishing_interval_ms, or allow it a longer budget_ms";
    assert!(error.ends_with(told), "{error}");
    let relaxed = LATHE.replace("on_delay_ms = 3000", "on_delay_ms = 3000\nbudget_ms = 910");
    assert!(computed(&[&relaxed]).findings.is_empty());
}

#[test]
fn a_unit_that_may_fall_silent_costs_the_alarms_of_its_neighbours_its_time_out() {
    let unit = |id: &str, unit: u8, timeout: u32| {
        PRESS
            .replace("id = \"press\"", &format!("id = \"{id}\""))
            .replace("timeout_ms = 200", &format!("unit_id = {unit}\ntimeout_ms = {timeout}"))
    };
    let physics = computed(&[&unit("a", 1, 200), &unit("b", 2, 150)]);
    let latency =
        |machine: &str| physics.alarms.iter().find(|a| a.machine == machine).and_then(|a| a.latency_ms_max);
    // 200 poll, four requests of 5, the time-out of the other, 10 decision.
    assert_eq!((latency("a"), latency("b")), (Some(380), Some(430)));
    let physics = computed(&[&unit("a", 1, 1_000), &unit("b", 2, 150)]);
    let errors: Vec<String> = physics.problems(Severity::Error).iter().map(ToString::to_string).collect();
    let told = "1.toml:18: alarm oil_hot can take 1230 ms, and its budget is 500 ms: shorten timeout_ms of the other \
                machines on 10.0.0.1 port 502 (now up to 1000) or poll_interval_ms, give the machine a connection of \
                its own, or allow it a longer budget_ms";
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].ends_with(told), "{errors:?}");
}

#[test]
fn the_connection_and_the_gateway_have_alarms_that_no_plan_makes_late() {
    let physics = computed(&[PRESS]);
    let plans: Vec<_> = physics.alarms.iter().map(|a| (a.machine.as_str(), a.alarm.as_str())).collect();
    let (lost, own) = (&physics.alarms[1], &physics.alarms[2..]);
    assert_eq!(plans[1], ("press", "communication"));
    assert_eq!((lost.latency_ms_max, lost.on_delay_ms, lost.is_within_budget), (None, 10_000, true));
    assert!(!own.is_empty() && own.iter().all(|a| a.machine == "gateway" && a.is_within_budget), "{plans:?}");
    let text = crate::tools::check::text(&physics);
    assert!(text.contains("communication") && text.contains("no value decides"), "{text}");
}

#[test]
fn samples_become_bytes_and_days() {
    let volume = computed(&[PRESS]).volume;
    // One tag five times and one once a second, and seven of the gateway every 10 s.
    assert!((volume.samples_per_second - 6.7).abs() < 1e-9);
    assert!((volume.disk_bytes_per_day - 6.7 * 86_400.0 * 2.5).abs() < 1e-3);
    assert!((volume.buffer_days - f64::from(100 << 20) / (6.7 * 86_400.0 * 2.5)).abs() < 1e-6);
}

#[test]
fn with_tags_recorded_on_change_the_volume_is_called_an_upper_bound() {
    let text = PRESS.replace("format = \"u32\"", "format = \"u32\"\nreport = { heartbeat_s = 30 }");
    let physics = computed(&[&text]);
    assert_eq!(physics.volume.tags_recorded_on_change, 1);
    assert!((physics.volume.samples_per_second - 6.7).abs() < 1e-9, "what is read stays the same");
    let said = crate::tools::check::text(&physics);
    assert!(said.contains("upper bounds: 1 tags are recorded on change"), "{said}");
    assert!(!crate::tools::check::text(&computed(&[PRESS])).contains("upper bounds"));
}

#[test]
fn f1_an_impossible_cycle_time_is_an_error_for_all_machines_of_a_line_together() {
    let scattered = |id: &str| {
        let tags: String =
            (0..3).map(|n| tag(&format!("t{n}"), n * 1_000, "u16") + "poll_interval_ms = 20\n").collect();
        format!("version = 1\nid = \"{id}\"\n[modbus_tcp]\nhost = \"10.0.0.9\"\n{tags}")
    };
    assert!(computed(&[&scattered("a")]).problems(Severity::Error).is_empty(), "75 % of the time");
    let error = computed(&[&scattered("a"), &scattered("b")]).problems(Severity::Error).remove(0).to_string();
    assert!(error.contains("0.toml:1: 10.0.0.9 port 502: 6 requests need 150 % of the time"), "{error}");
}

#[test]
fn the_baud_rate_decides_how_long_a_serial_request_takes() {
    let serial = PRESS.replace(
        "[modbus_tcp]\nhost = \"10.0.0.1\"",
        "[modbus_rtu]\ndevice = \"/dev/ttyUSB0\"\nbaud_rate = 9600\nparity = \"even\"",
    );
    let physics = computed(&[&serial]);
    let request = &physics.connections[0].requests[0];
    // 17 characters of 11 bits and two silences of 3.5 characters at 9,600 bits per second, and 5 ms.
    let expected = (17.0 + 7.0) * 11.0 / 9.6 + 5.0;
    assert!((request.time_ms - expected).abs() < 0.01, "{} is not {expected}", request.time_ms);
}

#[test]
fn f1_overlapping_registers_are_a_warning_at_the_second_tag() {
    let text = PRESS.replace("holding_register = 10", "holding_register = 1");
    let warning = computed(&[&text]).problems(Severity::Warning).remove(0).to_string();
    assert!(warning.contains("0.toml:12: tag parts (u32, holding_register 1 to 2)"), "{warning}");
    assert!(warning.contains("tag oil (f32, holding_register 0 to 1)"), "{warning}");
}

#[test]
fn bits_of_a_register_and_the_same_register_twice_overlap_on_purpose() {
    let bit = "[[tags]]\nid = \"b\"\ndata_type = \"bool\"\nholding_register = 5\nformat = \"bit\"\nbit = 3\n";
    let text = format!(
        "version = 1\nid = \"m\"\n[modbus_tcp]\nhost = \"h\"\n{}{}{bit}",
        tag("a", 5, "u16"),
        tag("c", 5, "i16")
    );
    assert!(computed(&[&text]).findings.is_empty());
}

#[test]
fn f1_what_cannot_be_meant_is_refused_with_file_and_line() {
    let wrong_bit = PRESS.replace("format = \"u32\"", "format = \"bit\"\nbit = 16");
    let narrow = PRESS.replace("format = \"f32\"", "format = \"f32\"\nregisters = 1");
    let twice = PRESS.replace("id = \"parts\"", "id = \"oil\"");
    let unknown = PRESS.replace("timeout_ms", "time_out_ms");
    let word = PRESS.replace("kind = \"high\"", "kind = \"hight\"");
    for (text, expected) in [
        (wrong_bit, "0.toml:17: tags[1].bit = 16: is out of range; 0 to 15 are allowed"),
        (narrow, "0.toml:11: tags[0].registers = 1: this key is not known"),
        (twice, "the id \"oil\" is used twice"),
        (
            unknown,
            "0.toml:5: modbus_tcp.time_out_ms = 200: this key is not known; did you mean \"timeout_ms\"?",
        ),
        (
            word,
            "is not known; allowed are high_high, high, low, low_low, deviation, rate_of_change, off_normal, stale, bad_quality, communication, expression; did you mean \"high\"?",
        ),
    ] {
        let message = refused(&text);
        assert!(message.contains(expected), "{expected}\nis not in\n{message}");
        assert!(message.contains("0.toml:"), "{message}");
    }
}
