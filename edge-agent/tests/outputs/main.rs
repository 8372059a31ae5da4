//! Outputs of alarms, end to end: the agent as a process, a simulated press over Modbus, a lathe over OPC UA, a web
//! server, and programs that are run.

mod agent;
mod lathe;
mod web;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use simulators::{Kind, MachineConfig, Mode, Plant, PlantConfig, Protocol, Value};

use agent::Agent;
use lathe::Lathe;
use web::Web;

/// How long a test waits for what must come. It only matters to a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Coils of the simulated press: the alarm follows the first, the second is the horn, the third beats.
const DOOR: &str = "gate_closed";
const HORN: &str = "heating_on";
const ALIVE: &str = "pump_on";

/// A press whose models stand still, so that only what somebody writes or sets changes.
async fn press() -> Plant {
    let config = PlantConfig {
        name: "outputs".to_owned(),
        seed: 1,
        host: [127, 0, 0, 1].into(),
        lines: Vec::new(),
        machines: vec![
            MachineConfig::new("press-1", Kind::InjectionMoulding, Protocol::ModbusTcp),
            MachineConfig::new("press-2", Kind::InjectionMoulding, Protocol::ModbusTcp),
        ],
    };
    let plant = Plant::start(config).await.expect("starts");
    plant.pause();
    for tag in [DOOR, HORN, ALIVE] {
        plant.machine("press-1").expect("there").set(tag, &Value::Bool(false), None).await.expect("a coil");
    }
    plant
}

fn coil(plant: &Plant, tag: &str) -> bool {
    let tags = plant.machine("press-1").expect("there").detail().tags;
    tags.iter().find(|t| t.id == tag).is_some_and(|t| t.value == Value::Bool(true))
}

fn writes(plant: &Plant) -> u64 {
    plant.machine("press-1").expect("there").report().produced.writes_obeyed
}

/// The alarm is raised or returns.
async fn door(plant: &Plant, is_open: bool) {
    let press = plant.machine("press-1").expect("there");
    press.set(DOOR, &Value::Bool(is_open), None).await.expect("a coil");
}

fn press_file(plant: &Plant, id: &str) -> String {
    let address = plant.machine(id).expect("there").address().expect("of its own");
    format!(
        "version = 1\nid = \"{id}\"\n[modbus_tcp]\nhost = \"{}\"\nport = {}\ntimeout_ms = 1000\n\
         [[tags]]\nid = \"door\"\ndata_type = \"bool\"\ncoil = 0\nformat = \"bool\"\npoll_interval_ms = 50\n\
         [[tags]]\nid = \"horn\"\ndata_type = \"bool\"\ncoil = 1\nformat = \"bool\"\n\
         [[tags]]\nid = \"alive\"\ndata_type = \"bool\"\ncoil = 2\nformat = \"bool\"\n\
         [[tags]]\nid = \"state\"\ndata_type = \"int\"\nholding_register = 10\nformat = \"u16\"\n\
         [[alarms]]\nid = \"door_open\"\nkind = \"off_normal\"\ntag = \"door\"\nnormal = false\nmessage = \"Open\"\n",
        address.ip(),
        address.port()
    )
}

fn output(id: &str, target: &str) -> String {
    format!(
        "[[outputs]]\nid = \"{id}\"\nwhen = \"active\"\nmachines = [\"press-1\"]\nalarms = [\"door_open\"]\n{target}\n"
    )
}

fn horn() -> String {
    output(
        "horn",
        "tag = { machine = \"press-1\", tag = \"horn\", heartbeat_tag = \"alive\", heartbeat_s = 1 }",
    )
}

/// Programs that leave the level in a file.
fn commands(file: &Path) -> String {
    let command = |id: &str, level: &str| {
        format!(
            "[[allowed_commands]]\nid = \"{id}\"\nrun = [\"/bin/sh\", \"-c\", \"printf {level} > $1\", \"lamp\", {file:?}]\n"
        )
    };
    [command("lamp-on", "on"), command("lamp-off", "off")].concat()
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "not seen: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_without_outputs_nothing_is_ever_written() {
    let plant = press().await;
    let agent = Agent::start("", &[press_file(&plant, "press-1")]);
    door(&plant, true).await;
    until("the alarm", || agent.active_alarms() == 1).await;
    agent.end(Signal::SIGTERM);
    assert_eq!(writes(&plant), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_one_alarm_switches_whatever_it_is_to_and_a_stop_makes_it_safe() {
    let (plant, lathe, web) = (press().await, Lathe::start(), Web::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let lamp = folder.path().join("lamp");
    let text = [
        commands(&lamp),
        horn(),
        output("state", "tag = { machine = \"press-1\", tag = \"state\", on = 2, off = 1 }\nsafe = \"keep\""),
        output("node", "tag = { machine = \"lathe-1\", tag = \"lamp\" }"),
        output(
            "method",
            &format!(
                "method = {{ machine = \"lathe-1\", object_id = \"i=85\", on = {0:?}, on_arguments = [true], off = {0:?}, \
                 off_arguments = [false], state_tag = \"door_lock\" }}",
                lathe::node("lock")
            ),
        ),
        output("notice", &format!("webhook = {{ url = \"http://{}/keep\" }}", web.address)),
        output("program", "command = { on = \"lamp-on\", off = \"lamp-off\" }"),
    ]
    .concat();
    let agent = Agent::start(&text, &[press_file(&plant, "press-1"), lathe.file()]);
    let all = |level: &str| agent.outputs().iter().all(|o| o["actual"] == level);
    until("all are off at the start", || all("off")).await;
    door(&plant, true).await;
    until("all are on", || all("on")).await;
    assert!(coil(&plant, HORN) && lathe.is("lamp") && lathe.is("door_lock"));
    assert_eq!(std::fs::read_to_string(&lamp).expect("the program ran"), "on");
    let told = web.last();
    assert_eq!((&told["state"], &told["alarms"][0]["alarm"]), (&"on".into(), &"door_open".into()), "{told}");

    agent.end(Signal::SIGTERM);
    assert!(!coil(&plant, HORN) && !lathe.is("lamp") && !lathe.is("door_lock"));
    assert_eq!(std::fs::read_to_string(&lamp).expect("the program ran"), "off");
    assert_eq!((&web.last()["state"], &web.last()["reason"]), (&"off".into(), &"stop".into()));
    let tags = plant.machine("press-1").expect("there").detail().tags;
    let state = tags.iter().find(|t| t.id == "state").map(|t| t.value.clone());
    assert_eq!(state, Some(Value::Int(2)), "this one is kept as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_an_alarm_that_flaps_at_10_hz_keeps_the_pace_and_the_last_state_wins() {
    let (plant, web) = (press().await, Web::start().await);
    let text = [
        output("horn", "tag = { machine = \"press-1\", tag = \"horn\" }"),
        output(
            "notice",
            &format!("webhook = {{ url = \"http://{}/keep\" }}\nmax_per_minute = 4", web.address),
        ),
    ]
    .concat();
    let agent = Agent::start(&text, &[press_file(&plant, "press-1")]);
    until("off at the start", || agent.outputs().iter().all(|o| o["actual"] == "off")).await;
    let (begun, before) = (Instant::now(), writes(&plant));
    for round in 0..41 {
        door(&plant, round % 2 == 0).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    until("the last state", || agent.output("horn")["actual"] == "on" && coil(&plant, HORN)).await;
    let (written, seconds) = (writes(&plant) - before, begun.elapsed().as_secs());
    assert!((2..=seconds + 2).contains(&written), "{written} writes in {seconds} s, one a second at most");
    assert!(web.told() <= 4, "{} of 4 in the first minute", web.told());
    assert!(agent.output("horn")["coalesced"].as_u64() > Some(5), "{}", agent.output("horn"));
    agent.end(Signal::SIGTERM);
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_an_agent_that_is_killed_stops_beating_and_drives_nothing() {
    let plant = press().await;
    let agent = Agent::start(&horn(), &[press_file(&plant, "press-1")]);
    door(&plant, true).await;
    until("the horn", || agent.output("horn")["actual"] == "on").await;
    let beats = writes(&plant);
    until("two more beats", || writes(&plant) >= beats + 2).await;
    agent.end(Signal::SIGKILL);
    let (at_the_end, is_alive) = (writes(&plant), coil(&plant, ALIVE));
    // Three beats: what a controller waits for.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((writes(&plant), coil(&plant, ALIVE)), (at_the_end, is_alive), "no beat comes any more");
    assert!(coil(&plant, HORN), "only the controller can bring it to its safe state");
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_targets_that_hang_delay_neither_the_decision_nor_another_output_nor_the_stop_for_ever() {
    let (plant, web) = (press().await, Web::start().await);
    plant.machine("press-2").expect("there").set_mode(Mode::Silent).await.expect("a mode");
    let text = [
        "[[allowed_commands]]\nid = \"hang\"\nrun = [\"/bin/sleep\", \"600\"]\n".to_owned(),
        horn(),
        output(
            "notice",
            &format!("webhook = {{ url = \"http://{}/hang\", timeout_ms = 30000 }}", web.address),
        ),
        output("program", "command = { on = \"hang\", off = \"hang\", timeout_ms = 30000 }"),
        output("dead", "tag = { machine = \"press-2\", tag = \"horn\" }"),
    ]
    .concat();
    let agent = Agent::start(&text, &[press_file(&plant, "press-1"), press_file(&plant, "press-2")]);
    until("the others hang", || {
        agent.output("horn")["actual"] == "off"
            && agent.output("dead")["fault"].is_string()
            && web.hanging() == 1
    })
    .await;
    let begun = Instant::now();
    door(&plant, true).await;
    until("the horn", || coil(&plant, HORN)).await;
    let took = begun.elapsed();
    eprintln!("from the change in the machine to its horn, beside targets that hang: {took:?}");
    // Whoever waits for one of them waits for 30 s.
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(agent.output("notice")["actual"].is_null() && agent.output("program")["actual"].is_null());
    let stopping = Instant::now();
    agent.end(Signal::SIGTERM);
    assert!(!coil(&plant, HORN) && stopping.elapsed() < Duration::from_secs(15), "{:?}", stopping.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_a_read_back_that_differs_is_told_until_the_machine_follows() {
    let (plant, lathe) = (press().await, Lathe::start());
    lathe.be_stubborn(true);
    let text = output("node", "tag = { machine = \"lathe-1\", tag = \"stubborn_lamp\" }");
    let agent = Agent::start(&text, &[press_file(&plant, "press-1"), lathe.file()]);
    until("off at the start", || agent.output("node")["actual"] == "off").await;
    door(&plant, true).await;
    let fault = || agent.output("node")["fault"].as_str().unwrap_or_default().to_owned();
    until("the fault", || fault().contains("driven on and reads false")).await;
    assert!(agent.output("node")["actual"].is_null(), "what it is at is not known");
    lathe.be_stubborn(false);
    until("it follows", || agent.output("node")["actual"] == "on" && fault().is_empty()).await;
    assert!(agent.output("node")["last_failure"].is_string(), "what failed can still be read");
    agent.end(Signal::SIGTERM);
}

#[tokio::test(flavor = "multi_thread")]
async fn d7_a_machine_that_restarted_is_driven_again_as_soon_as_it_is_back() {
    let plant = press().await;
    let agent = Agent::start(&horn(), &[press_file(&plant, "press-1")]);
    door(&plant, true).await;
    until("the horn", || agent.output("horn")["actual"] == "on").await;
    let press = plant.machine("press-1").expect("there");
    press.set_mode(Mode::Refuse).await.expect("a mode");
    until("the loss", || agent.output("horn")["actual"].is_null()).await;
    press.set(HORN, &Value::Bool(false), None).await.expect("a coil");
    press.set_mode(Mode::Healthy).await.expect("a mode");
    until("the horn again", || coil(&plant, HORN)).await;
    agent.end(Signal::SIGTERM);
}
