//! `[[alarms]]`, one kind after the other.

use plant_model::{
    AcknowledgeClass, AlarmCondition, AlarmDefinition, LimitKind, NormalState, Setpoint, TagId, Value,
};

use crate::tests::{BARE_AGENT, Folder};
use crate::{Problem, load};

const MACHINE: &str = r#"
version = 1
id = "press-1"
[opcua]
endpoint = "opc.tcp://127.0.0.1:4840"
[[tags]]
id = "flow"
data_type = "float"
node_id = "ns=1;s=flow"
[[tags]]
id = "wanted"
data_type = "float"
node_id = "ns=1;s=wanted"
[[tags]]
id = "state"
data_type = "int"
node_id = "ns=1;s=state"
[[tags]]
id = "pump"
data_type = "bool"
node_id = "ns=1;s=pump"
[[tags]]
id = "recipe"
data_type = "text"
node_id = "ns=1;s=recipe"
"#;

fn folder(alarm: &str) -> Folder {
    let text = format!("{MACHINE}[[alarms]]\nid = \"a\"\nmessage = \"Look\"\n{alarm}\n");
    Folder::new(BARE_AGENT, &[("press.toml", &text)])
}

fn good(alarm: &str) -> AlarmDefinition {
    let config = load(folder(alarm).path()).unwrap_or_else(|errors| panic!("{alarm}\n{errors}"));
    config.machines[0].alarms[0].clone()
}

fn problems(alarm: &str) -> Vec<String> {
    let shown = |p: Problem| format!("{}: {}", p.key.trim_start_matches("alarms[0]."), p.message);
    folder(alarm).errors().into_iter().map(shown).collect()
}

fn tag(id: &str) -> TagId {
    TagId::new(id).expect("valid")
}

#[test]
fn every_kind_of_alarm_is_read() {
    let (flow, deadband) = (|| tag("flow"), 0.5);
    let off_normal = |name, normal| AlarmCondition::OffNormal { tag: tag(name), normal };
    let values = |values: &[i64]| NormalState::Values(values.iter().copied().map(Value::Int).collect());
    for (text, condition) in [
        (
            "kind = \"low_low\"\ntag = \"flow\"\nlimit = 5\ndeadband = 0.5",
            AlarmCondition::Limit { tag: flow(), kind: LimitKind::LowLow, limit: 5.0, deadband },
        ),
        (
            "kind = \"deviation\"\ntag = \"flow\"\nlimit = 5\nsetpoint = -3\ndeadband = 0.5",
            AlarmCondition::Deviation { tag: flow(), from: Setpoint::Fixed(-3.0), limit: 5.0, deadband },
        ),
        (
            "kind = \"deviation\"\ntag = \"flow\"\nlimit = 5\nsetpoint_tag = \"wanted\"\ndeadband = 0.5",
            AlarmCondition::Deviation {
                tag: flow(),
                from: Setpoint::Tag(tag("wanted")),
                limit: 5.0,
                deadband,
            },
        ),
        (
            "kind = \"rate_of_change\"\ntag = \"flow\"\nlimit = 2\nover_ms = 3000\ndeadband = 0.5",
            AlarmCondition::RateOfChange {
                tag: flow(),
                limit_per_second: 2.0,
                over: std::time::Duration::from_secs(3),
                deadband,
            },
        ),
        ("kind = \"off_normal\"\ntag = \"state\"\nnormal = [0, 0x3]", off_normal("state", values(&[0, 3]))),
        ("kind = \"off_normal\"\ntag = \"pump\"\nnormal = 1", off_normal("pump", values(&[1]))),
        (
            "kind = \"off_normal\"\ntag = \"recipe\"\nnormal = \"idle\"",
            off_normal("recipe", NormalState::Values(vec![Value::Text("idle".into())])),
        ),
        (
            "kind = \"off_normal\"\ntag = \"state\"\nbit = 15\nnormal = false",
            off_normal("state", NormalState::Bit { number: 15, set: false }),
        ),
        (
            "kind = \"stale\"\ntag = \"recipe\"\nafter_ms = 60000",
            AlarmCondition::Stale { tag: tag("recipe"), after: std::time::Duration::from_secs(60) },
        ),
        ("kind = \"bad_quality\"\ntag = \"flow\"", AlarmCondition::BadQuality { tag: flow() }),
        ("kind = \"communication\"", AlarmCondition::Communication),
        (
            "kind = \"expression\"\nexpression = \"pump and flow < 5\"",
            AlarmCondition::Expression { text: "pump and flow < 5".into() },
        ),
    ] {
        assert_eq!(good(text).condition, condition, "{text}");
    }
}

#[test]
fn an_alarm_that_says_no_more_waits_for_its_acknowledgement_and_one_that_does_has_what_it_says() {
    let plain = good("kind = \"communication\"");
    assert_eq!((plain.acknowledge, plain.latching), (AcknowledgeClass::Required, false));
    assert_eq!((plain.re_alarm, plain.group.as_deref(), plain.suppress_while.as_deref()), (None, None, None));
    assert_eq!(plain.shelve_max.as_secs(), 8 * 3600);
    let full = good(
        "kind = \"communication\"\nacknowledge = \"required\"\nlatching = true\nre_alarm_minutes = 15\n\
         shelve_max_minutes = 60\ngroup = \"line\"\nsuppress_while = \"state != 0\"",
    );
    assert_eq!((full.acknowledge, full.latching), (AcknowledgeClass::Required, true));
    assert_eq!((full.re_alarm.map(|d| d.as_secs()), full.shelve_max.as_secs()), (Some(900), 3600));
    assert_eq!((full.group.as_deref(), full.suppress_while.as_deref()), (Some("line"), Some("state != 0")));
}

#[test]
fn six_mistakes_are_all_told_with_what_is_allowed() {
    let text = "kind = \"rate_of_change\"\ntag = \"flaw\"\nlimit = 0\nover_ms = 0\nacknowledge = \"never\"\n\
                suppress_while = \"state = 0\"\nre_alarm_minute = 15";
    assert_eq!(
        problems(text),
        [
            "tag: this machine has no such tag; did you mean \"flow\"?",
            "limit: a change a second of more than zero is needed",
            "over_ms: is out of range; 1 to 86400000 are allowed",
            "acknowledge: is not known; allowed are on_return, required",
            "suppress_while: at character 7: '=' where a comparison with two signs, ==, is needed",
            "re_alarm_minute: this key is not known; did you mean \"re_alarm_minutes\"?",
        ]
    );
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (text, problem) in [
        ("tag = \"flow\"", "kind: is missing; one of high_high, high"),
        ("kind = \"stale\"\ntag = \"flow\"", "after_ms: is missing"),
        ("kind = \"deviation\"\ntag = \"flow\"\nlimit = 5", "setpoint: is missing"),
        ("kind = \"deviation\"\ntag = \"flow\"\nlimit = -1\nsetpoint = 1", "limit: is negative"),
        (
            "kind = \"deviation\"\ntag = \"flow\"\nlimit = 1\nsetpoint = 1\nsetpoint_tag = \"wanted\"",
            "setpoint_tag: there is a setpoint already",
        ),
        (
            "kind = \"deviation\"\ntag = \"flow\"\nlimit = 1\nsetpoint = 1\ndeadband = 2",
            "deadband: is larger than the limit",
        ),
        ("kind = \"off_normal\"\ntag = \"state\"", "normal: is missing"),
        ("kind = \"off_normal\"\ntag = \"state\"\nnormal = []", "normal: at least one"),
        ("kind = \"off_normal\"\ntag = \"state\"\nnormal = \"idle\"", "normal: idle is no value of state"),
        ("kind = \"off_normal\"\ntag = \"pump\"\nnormal = 2", "normal: 2 is no value of pump"),
        ("kind = \"off_normal\"\ntag = \"flow\"\nnormal = 1", "tag: is a float"),
        ("kind = \"off_normal\"\ntag = \"state\"\nbit = 64\nnormal = true", "bit: is out of range"),
        ("kind = \"off_normal\"\ntag = \"state\"\nbit = 6\nnormal = 1", "normal: a bit is true or false"),
        ("kind = \"off_normal\"\ntag = \"pump\"\nbit = 6\nnormal = true", "bit: pump is a bool"),
        ("kind = \"expression\"", "expression: is missing"),
        ("kind = \"expression\"\nexpression = \"flow < and\"", "expression: at character 8: \"and\""),
        ("kind = \"expression\"\nexpression = \"flaw < 5\"", "expression: this machine has no tag flaw"),
        ("kind = \"expression\"\nexpression = \"recipe == 1\"", "expression: recipe is a text"),
        ("kind = \"communication\"\nlimit = 5", "limit: this key is not known"),
        ("kind = \"communication\"\ngroup = \"\"", "group: 1 to 64 characters"),
        ("kind = \"communication\"\nshelve_max_minutes = 0", "shelve_max_minutes: is out of range"),
    ] {
        let found = problems(text);
        assert!(found.len() == 1 && found[0].starts_with(problem), "{text}\n{found:#?}");
    }
}

const PRESS: &str = r#"version = 1
id = "press-1"
[modbus_tcp]
host = "10.0.0.5"

[[tags]]
id = "pressure"
unit = "bar"
data_type = "float"
holding_register = 0
format = "f32"

[[tags]]
id = "pump_on"
data_type = "bool"
coil = 3
format = "bool"

[[alarms]]
id = "pressure_high"
kind = "hi_high"
tag = "pressure"
limit = 180
message = "Hydraulic pressure too high"

[[alarms]]
id = "pressure_low"
kind = "low"
tag = "presure"
limit = "20"
message = "Hydraulic pressure too low"

[[alarms]]
id = "pump_dry"
kind = "expression"
expression = "pump_on and pressure << 5"
priorty = "high"
message = "The pump runs dry"

[[alarms]]
id = "pressure_jumps"
kind = "rate_of_change"
tag = "pressure"
limit = 30
over_ms = 0
message = "Hydraulic pressure jumps"
"#;

const PRESS_REFUSED: &str = r#"press.toml:21: alarms[0].kind = "hi_high": is not known; allowed are high_high, high, low, low_low, deviation, rate_of_change, off_normal, stale, bad_quality, communication, expression; did you mean "high_high"?
press.toml:29: alarms[1].tag = "presure": this machine has no such tag; did you mean "pressure"?
press.toml:30: alarms[1].limit = "20": a number is needed, this is a string
press.toml:36: alarms[2].expression = "pump_on and pressure << 5": at character 23: "<" where a tag or a number is needed
press.toml:37: alarms[2].priorty = "high": this key is not known; did you mean "priority"?
press.toml:45: alarms[3].over_ms = 0: is out of range; 1 to 86400000 are allowed
6 problems found"#;

#[test]
fn a_rule_file_with_six_mistakes_gets_the_message_that_the_documentation_shows() {
    let errors = crate::read_machine("press.toml".as_ref(), PRESS).expect_err("refused");
    assert_eq!(errors.to_string(), PRESS_REFUSED);
    let documentation = include_str!("../../../../docs/configuration.md");
    let mistakes = &PRESS[PRESS.find("[[alarms]]").expect("it has alarms")..];
    for shown in [mistakes, PRESS_REFUSED] {
        assert!(documentation.contains(shown.trim_end()), "docs/configuration.md shows this:\n{shown}");
    }
}

#[test]
fn every_machine_has_an_alarm_of_its_connection_unless_its_file_says_otherwise() {
    let ids = |text: &str| -> Vec<String> {
        let machine = crate::read_machine("press.toml".as_ref(), &format!("{text}{MACHINE}")).expect("good");
        machine.alarms.iter().map(|alarm| alarm.id.to_string()).collect()
    };
    let (default, own) = (good("kind = \"bad_quality\"\ntag = \"flow\""), ids(""));
    assert_eq!((default.id.as_str(), own), ("a", vec!["communication".to_owned()]));
    assert_eq!(ids("communication_alarm = false"), Vec::<String>::new());
    let config = load(folder("kind = \"communication\"").path()).expect("good");
    assert_eq!(config.machines[0].alarms.len(), 1, "the file has its own");
    let own =
        "[[alarms]]\nid = \"communication\"\nkind = \"bad_quality\"\ntag = \"flow\"\nmessage = \"Look\"\n";
    let error = crate::read_machine("press.toml".as_ref(), &format!("{MACHINE}{own}"));
    let error = error.expect_err("refused").to_string();
    assert!(error.contains("communication_alarm = false"), "{error}");
}

#[test]
fn an_alarm_may_have_a_budget_of_its_own_and_a_machine_with_none_is_sampled_as_configured() {
    let alarm = "kind = \"high\"\ntag = \"flow\"\nlimit = 5\nbudget_ms = 2000";
    let config = load(folder(alarm).path()).expect("good");
    let (machine, usual) = (&config.machines[0], config.alarm_latency_budget);
    let budget = |id: &str| machine.budget(&plant_model::AlarmId::new(id).expect("valid"), usual).as_millis();
    assert_eq!((budget("a"), budget("communication")), (2_000, 500));
    assert_eq!(
        problems(&alarm.replace("2000", "5")),
        ["budget_ms: is out of range; 20 to 60000 are allowed"]
    );
    let slow = |alarm: &str| {
        let endpoint = "endpoint = \"opc.tcp://127.0.0.1:4840\"";
        let slow = MACHINE.replace(endpoint, &format!("{endpoint}\nsampling_interval_ms = 3000"));
        let text = format!("{slow}[[alarms]]\nid = \"a\"\nmessage = \"Look\"\n{alarm}\n");
        let config = load(Folder::new(BARE_AGENT, &[("press.toml", &text)]).path()).expect("good");
        config.raised.first().map(|raised| raised.interval.as_millis())
    };
    assert_eq!(slow(alarm), Some(2_000 - 100 - 10));
    assert_eq!(slow("kind = \"communication\""), None, "no value decides it");
}

#[test]
fn every_tag_that_decides_an_alarm_is_marked() {
    let text = "kind = \"expression\"\nexpression = \"pump and flow < 5\"\nsuppress_while = \"state != 0\"";
    let config = load(folder(text).path()).expect("good");
    let crate::Connection::OpcUa(connection) = &config.machines[0].connection else { panic!("OPC UA") };
    let marked: Vec<bool> = connection.items().iter().map(|item| item.has_alarm).collect();
    assert_eq!(marked, [true, false, true, true, false], "flow, wanted, state, pump, recipe");
}
