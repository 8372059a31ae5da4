//! `[[outputs]]` and `[[allowed_commands]]`.

use acquisition::WritePath;
use alarm_output::{Level, Safe, When};
use plant_model::{AlarmPriority, DataType, Value};

use crate::tests::{BARE_AGENT, Folder};
use crate::{OutputTarget, Problem, load};

const PRESS: &str = r#"
version = 1
id = "press-1"
[modbus_tcp]
host = "127.0.0.1"
[[tags]]
id = "oil"
data_type = "int"
input_register = 0
format = "u16"
[[tags]]
id = "horn"
data_type = "bool"
coil = 3
format = "bool"
[[tags]]
id = "alive"
data_type = "int"
holding_register = 7
format = "u16"
[[alarms]]
id = "hot"
kind = "high"
tag = "oil"
limit = 80
message = "Hot"
"#;

const LATHE: &str = r#"
version = 1
id = "lathe-1"
[opcua]
endpoint = "opc.tcp://127.0.0.1:4840"
[[tags]]
id = "lamp"
data_type = "bool"
node_id = "ns=1;s=lamp"
[[tags]]
id = "speed"
data_type = "float"
node_id = "ns=1;s=speed"
[[tags]]
id = "alive"
data_type = "int"
node_id = "ns=1;s=alive"
"#;

fn folder(outputs: &str) -> Folder {
    Folder::new(&format!("{BARE_AGENT}{outputs}"), &[("a.toml", LATHE), ("b.toml", PRESS)])
}

fn problems(outputs: &str) -> Vec<String> {
    let shown = |p: Problem| format!("{} {}: {}", p.line.unwrap_or(0), p.key, p.message);
    folder(outputs).errors().into_iter().map(shown).collect()
}

#[test]
fn without_outputs_there_are_none() {
    assert_eq!(load(folder("").path()).expect("good").outputs, []);
}

#[test]
fn a_horn_a_notice_and_a_program_are_read() {
    let text = r#"
[[allowed_commands]]
id = "lamp-on"
run = ["/usr/local/bin/lamp", "on"]
[[allowed_commands]]
id = "lamp-off"
run = "/usr/local/bin/lamp"
[[outputs]]
id = "horn"
when = "unacknowledged"
priority = "high"
machines = ["press-1"]
alarms = ["hot"]
safe = "on"
refresh_s = 60
tag = { machine = "press-1", tag = "horn", heartbeat_tag = "alive", heartbeat_s = 5 }
[[outputs]]
id = "notice"
when = "annunciated"
webhook = { url = "http://192.168.0.20:8080/alarm", timeout_ms = 500 }
[[outputs]]
id = "lamp"
when = "active"
min_interval_ms = 5000
max_per_minute = 3
command = { on = "lamp-on", off = "lamp-off" }
"#;
    let outputs = load(folder(text).path()).unwrap_or_else(|errors| panic!("{errors}")).outputs;
    let [horn, notice, lamp] = outputs.as_slice() else { panic!("three: {outputs:?}") };
    assert_eq!((horn.rule.when, horn.rule.safe), (When::Unacknowledged, Safe::Driven(Level::On)));
    assert_eq!(
        (horn.rule.filter.priority, horn.rule.filter.machines.as_ref().map(|m| m.len())),
        (AlarmPriority::High, Some(1))
    );
    assert_eq!(
        (horn.rule.refresh.map(|r| r.as_secs()), horn.rule.heartbeat.map(|h| h.as_secs())),
        (Some(60), Some(5))
    );
    let OutputTarget::Tag(tag) = &horn.target else { panic!("a tag") };
    assert_eq!((tag.tag.0, &tag.on, &tag.off), (1, &Value::Bool(true), &Value::Bool(false)));
    assert_eq!(tag.heartbeat.map(|beat| (beat.tag.0, beat.data_type)), Some((2, DataType::Int)));
    let OutputTarget::Webhook(webhook) = &notice.target else { panic!("a webhook") };
    assert_eq!((webhook.url().port(), webhook.timeout().as_millis()), (8080, 500));
    assert_eq!(
        (notice.rule.safe, notice.rule.filter.priority),
        (Safe::Driven(Level::Off), AlarmPriority::Low)
    );
    let OutputTarget::Command { on, off, timeout } = &lamp.target else { panic!("a command") };
    assert_eq!((on.arguments().len(), off.arguments().len(), timeout.as_secs()), (1, 0, 3));
}

#[test]
fn every_mistake_is_named_with_its_line_at_once() {
    let text = r#"
[[allowed_commands]]
id = "lamp"
run = ["lamp", "on"]
[[outputs]]
id = "Horn"
when = "acknowledged"
machines = ["press-9"]
alarms = ["cold"]
max_per_minute = 0
tag = { machine = "press-1", tag = "oil", heartbeat_s = 5 }
[[outputs]]
id = "notice"
when = "active"
webhook = { url = "http://8.8.8.8/" }
[[outputs]]
id = "two"
when = "active"
webhook = { url = "https://a/" }
command = { on = "x", off = "x" }
[[outputs]]
id = "lamp"
when = "active"
method = { machine = "press-1", object_id = "ns=1;s=Lamp", on = "ns=1;s=On", off = "Off" }
"#;
    let problems = problems(text);
    for expected in [
        "9 allowed_commands[0].run: \"lamp\" is no absolute path",
        "11 outputs[0].id: output id \"Horn\" is not valid",
        "12 outputs[0].when: is not known; allowed are active, unacknowledged, annunciated",
        "13 outputs[0].machines: there is no machine press-9; known are lathe-1, press-1",
        "14 outputs[0].alarms: no machine that is watched has an alarm cold; their alarms are ",
        "15 outputs[0].max_per_minute: is out of range; 1 to 60 are allowed",
        "16 outputs[0].tag.heartbeat_tag: is missing",
        "16 outputs[0].tag.tag: is of table input_register, which can only be read; a coil or a holding_register",
        "20 outputs[1].webhook.url: 8.8.8.8 lies outside the local network",
        "22 outputs[2].id: an output switches one thing; keep one of webhook, command",
        "outputs[3].method.machine: speaks modbus-tcp; only OPC UA machines have methods",
        "outputs[3].method.off: ",
    ] {
        assert!(problems.iter().any(|p| p.contains(expected)), "{expected}\n{problems:#?}");
    }
}

#[test]
fn two_outputs_do_not_fight_for_a_tag_and_a_value_must_fit() {
    let output = |id: &str, tag: &str| {
        format!("[[outputs]]\nid = \"{id}\"\nwhen = \"active\"\ntag = {{ machine = \"press-1\", {tag} }}\n")
    };
    let fight = format!("{}{}", output("a", "tag = \"horn\""), output("b", "tag = \"horn\""));
    assert!(problems(&fight)[0].contains("tag horn of press-1 is written by another output"));
    assert!(problems(&output("a", "tag = \"horn\", on = 1"))[0].contains("true or false is needed"));
    assert!(problems(&output("a", "tag = \"alive\", on = 70000"))[0].contains("does not fit"));
    assert!(problems(&output("a", "tag = \"alive\", on = 0"))[0].contains("is the same as off"));
    let beat = "tag = \"alive\", heartbeat_tag = \"alive\", heartbeat_s = 5";
    assert!(problems(&output("a", beat))[0].contains("is the tag that is switched"));
}

#[test]
fn a_command_that_cannot_be_run_is_one_mistake_and_not_one_more_for_each_output() {
    let text = "[[allowed_commands]]\nid = \"lamp\"\nrun = \"lamp\"\n[[outputs]]\nid = \"a\"\nwhen = \"active\"\n\
        command = { on = \"lamp\", off = \"lamp-off\" }\n";
    let problems = problems(text);
    let [program, unknown] = problems.as_slice() else { panic!("two: {problems:#?}") };
    assert!(program.contains("write where it lies, such as"), "{program}");
    assert!(
        unknown.contains("off: is not among the [[allowed_commands]], which are lamp; add it"),
        "{unknown}"
    );
}

#[test]
fn nodes_and_methods_of_opc_ua_machines_are_read() {
    let text = r#"
[[outputs]]
id = "speed"
when = "active"
safe = "keep"
tag = { machine = "lathe-1", tag = "speed", on = 0.5, off = 1, heartbeat_tag = "alive", heartbeat_s = 2 }
[[outputs]]
id = "light"
when = "active"
method = { machine = "lathe-1", object_id = "ns=1;s=Light", on = "ns=1;s=Set", on_arguments = [true, 40.5], off = "ns=1;s=Set", off_arguments = [false, 0], state_tag = "lamp" }
[[outputs]]
id = "stop"
when = "active"
method = { machine = "lathe-1", object_id = "i=85", on = "ns=1;s=Stop", off = "ns=1;s=Go" }
"#;
    let outputs = load(folder(text).path()).unwrap_or_else(|errors| panic!("{errors}")).outputs;
    let [speed, light, stop] = outputs.as_slice() else { panic!("three: {outputs:?}") };
    let OutputTarget::Tag(tag) = &speed.target else { panic!("a tag") };
    assert_eq!((&tag.on, &tag.off, speed.rule.safe), (&Value::Float(0.5), &Value::Int(1), Safe::Kept));
    assert_eq!(speed.rule.heartbeat.map(|h| h.as_secs()), Some(2));
    let OutputTarget::Method(method) = &light.target else { panic!("a method") };
    assert_eq!(method.on.arguments, [Value::Bool(true), Value::Float(40.5)]);
    let state = method.state.as_ref().expect("a state");
    assert_eq!((state.tag.0, &state.on, &state.off), (0, &Value::Bool(true), &Value::Bool(false)));
    let OutputTarget::Method(method) = &stop.target else { panic!("a method") };
    assert_eq!((&method.state, method.heartbeat, method.off.arguments.len()), (&None, None, 0));
}

#[test]
fn mistakes_in_nodes_and_methods_are_named_in_the_words_of_the_file() {
    let output = |target: &str| format!("[[outputs]]\nid = \"a\"\nwhen = \"active\"\n{target}\n");
    let tag = |rest: &str| output(&format!("tag = {{ machine = \"lathe-1\", {rest} }}"));
    let method = |rest: &str| {
        output(&format!(
            "method = {{ machine = \"lathe-1\", object_id = \"i=85\", on = \"ns=1;s=A\", {rest} }}"
        ))
    };
    for (text, expected) in [
        (tag("tag = \"lamp\", on = 2"), "on: true or false is needed, as the tag is a bool"),
        (tag("tag = \"lamps\""), "has no such tag; known are lamp, speed, alive"),
        (
            tag("tag = \"lamp\", heartbeat_tag = \"speed\", heartbeat_s = 5"),
            "heartbeat_tag: holds a float; a bool",
        ),
        (tag("tag = \"lamp\", on = [true, false]"), "on: one value is needed, without brackets"),
        (method("off = \"ns=1;s=A\""), "off: is the same call as on"),
        (method("off = \"ns=1;s=B\", state_on = 1"), "state_tag: is missing"),
        (
            method("off = \"ns=1;s=B\", state_tag = \"lamp\", state_on = false"),
            "state_on: is the same as state_off",
        ),
        (method(""), "off: is missing; the node of the method to call, such as ns=2;s=Horn.On"),
        (
            output("command = { on = \"x\", off = \"y\" }"),
            "on: is not allowed: there is no [[allowed_commands]]",
        ),
        (
            output("tag = \"horn\""),
            "tag: a table is needed, such as { machine = \"press-1\", tag = \"horn\" }",
        ),
        (output(""), "one of the tables tag, method, webhook and command says what is switched"),
    ] {
        let problems = problems(&text);
        assert!(problems.iter().any(|p| p.contains(expected)), "{expected}\n{problems:#?}");
    }
}

#[test]
fn d7_the_connection_of_outputs_is_chosen_and_a_line_has_only_one() {
    let press = PRESS.replace("host = \"127.0.0.1\"", "host = \"127.0.0.1\"\noutput_connection = \"own\"");
    let read = |text: &str| crate::read_machine("press.toml".as_ref(), text);
    let Ok(crate::MachineConfig { connection: crate::Connection::Modbus(connection), .. }) = read(&press)
    else {
        panic!("a Modbus machine")
    };
    assert_eq!(connection.write_path(1), WritePath::Own);
    let errors =
        read(&press.replace("[modbus_tcp]", "[modbus_rtu_over_tcp]")).expect_err("one line").to_string();
    assert!(errors.contains("two connections to one serial line"), "{errors}");
}

#[test]
fn a_machine_file_that_cannot_be_read_is_the_only_mistake_that_is_told() {
    let text = "[[outputs]]\nid = \"a\"\nwhen = \"active\"\nalarms = [\"hot\"]\ntag = { machine = \"press-1\", tag = \"horn\" }\n";
    let broken = PRESS.replace("kind = \"high\"", "kind = \"hi\"");
    let errors = Folder::new(&format!("{BARE_AGENT}{text}"), &[("b.toml", &broken)]).errors();
    assert!(errors.iter().all(|p| p.file.ends_with("b.toml")), "{errors:#?}");
}
