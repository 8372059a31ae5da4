use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;

use acquisition::{DriverCounters, LinkState, MachineSink, Reading, TagIndex};
use alarm_engine::AlarmEngine;
use alarm_output::{AlarmKey, Level};
use edge_config::{AgentConfig, Connection};
use edge_store::{EdgeStore, Recorder, Settings};
use plant_model::{AlarmId, AlarmPriority, AlarmState, TagId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::alarms::{MachineAlarms, Outlets};
use crate::board::tests::{board, machine, sample};

/// How long a test waits for what must come. It only matters to a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A controller with coil 3 (the horn) and holding register 7 (the heartbeat).
#[derive(Default)]
struct Controller {
    horn: bool,
    /// Writes to the horn that are taken and forgotten.
    deaf: u32,
    horn_writes: Vec<bool>,
    beats: Vec<u16>,
}

impl Controller {
    fn answer(&mut self, pdu: &[u8]) -> Vec<u8> {
        let word = |at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
        match (pdu[0], word(1)) {
            (1, 3) => vec![1, 1, u8::from(self.horn)],
            (3, 7) => [&[3, 2][..], &self.beats.last().copied().unwrap_or_default().to_be_bytes()].concat(),
            (5, 3) => {
                self.horn_writes.push(word(3) != 0);
                if self.deaf > 0 {
                    self.deaf -= 1;
                } else {
                    self.horn = word(3) != 0;
                }
                pdu.to_vec()
            }
            (6, 7) => {
                self.beats.push(word(3));
                pdu.to_vec()
            }
            (function, _) => vec![function | 0x80, 2],
        }
    }
}

async fn serve(controller: Arc<Mutex<Controller>>, mut stream: TcpStream) {
    let mut header = [0; 7];
    while stream.read_exact(&mut header).await.is_ok() {
        let mut pdu = vec![0; usize::from(u16::from_be_bytes([header[4], header[5]])) - 1];
        stream.read_exact(&mut pdu).await.expect("a whole request");
        let answer = controller.lock().expect("unpoisoned").answer(&pdu);
        let length = u16::try_from(answer.len() + 1).expect("short").to_be_bytes();
        let frame = [&header[..4], &length, &header[6..], &answer].concat();
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn controller() -> (Arc<Mutex<Controller>>, SocketAddr) {
    let controller = Arc::new(Mutex::new(Controller::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let served = Arc::clone(&controller);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(Arc::clone(&served), stream));
        }
    });
    (controller, address)
}

/// The configuration of a press on that controller, with these outputs.
fn config(folder: &Path, address: SocketAddr, outputs: &str) -> AgentConfig {
    let agent =
        format!("version = 1\ntenant = \"acme\"\ngateway = \"gw\"\n[buffer]\npath = \"b.db\"\n{outputs}");
    let machine = format!(
        "version = 1\nid = \"press-1\"\n[modbus_tcp]\nhost = \"{}\"\nport = {}\n\
         [[tags]]\nid = \"horn\"\ndata_type = \"bool\"\ncoil = 3\nformat = \"bool\"\n\
         [[tags]]\nid = \"alive\"\ndata_type = \"int\"\nholding_register = 7\nformat = \"u16\"\n",
        address.ip(),
        address.port()
    );
    std::fs::create_dir(folder.join("machines.d")).expect("creates");
    std::fs::write(folder.join("agent.toml"), agent).expect("writes");
    std::fs::write(folder.join("machines.d/press.toml"), machine).expect("writes");
    edge_config::load(folder).unwrap_or_else(|errors| panic!("{errors}"))
}

const HORN: &str = r#"
[[outputs]]
id = "horn"
when = "unacknowledged"
min_interval_ms = 100
tag = { machine = "press-1", tag = "horn", heartbeat_tag = "alive", heartbeat_s = 1 }
"#;

struct Ignored;

impl MachineSink for Ignored {
    fn accept(&mut self, _: &[Reading]) {}
    fn link(&mut self, _: LinkState) {}
}

/// A driver of the press that can be written to; `writers` know it.
fn driver(
    config: &AgentConfig,
    clock: Clock,
    (writers, stop): (&Writers, &CancellationToken),
) -> JoinHandle<()> {
    let machine = &config.machines[0];
    let Connection::Modbus(connection) = machine.connection.clone() else { panic!("Modbus") };
    let (writer, queue) = driver_modbus::write_queue();
    writers.replace(std::iter::once((machine.id.clone(), Writer::Modbus(writer))).collect());
    let (name, counters) = (machine.id.clone(), Arc::new(DriverCounters::default()));
    let unit = driver_modbus::Unit { connection, name, sink: Box::new(Ignored), counters };
    tokio::spawn(driver_modbus::run_with_writes(vec![unit], queue, clock, stop.clone()))
}

/// The outputs of a configuration, running.
fn started(config: &AgentConfig, writers: &Arc<Writers>, clock: Clock) -> Outputs {
    let mut outputs = Outputs::new(Handle::current(), clock);
    outputs.start(config, writers, || {}).expect("starts");
    outputs
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "not seen: {what}");
}

#[tokio::test]
async fn d7_an_alarm_drives_a_coil_until_it_reads_back_and_a_stop_makes_it_safe() {
    let (controller, address) = controller().await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), address, HORN);
    let (clock, stop_driver, writers) = (Clock::start(), CancellationToken::new(), Arc::default());
    let driving = driver(&config, clock, (&writers, &stop_driver));
    let mut outputs = started(&config, &writers, clock);
    let (feed, board) = (outputs.feed(), Arc::clone(&outputs.shown(&config.machines)[0].board));
    let seen = |look: fn(&Controller) -> bool| look(&controller.lock().expect("unpoisoned"));

    until("off at the start", || board.view().actual == Some(Level::Off)).await;
    controller.lock().expect("unpoisoned").deaf = 1;
    feed.stands(&hot(), AlarmState::Unacknowledged, AlarmPriority::High);
    until("a read-back that differs", || board.view().fault.is_some()).await;
    until("the horn", || board.view().actual == Some(Level::On)).await;
    assert!(seen(|c| c.horn && c.horn_writes == [false, true, true]));
    until("two beats", || seen(|c| c.beats.len() >= 2)).await;
    assert_eq!(controller.lock().expect("unpoisoned").beats[..2], [1, 2]);

    outputs.stop().await;
    assert!(seen(|c| !c.horn), "the safe level is off");
    let beats = controller.lock().expect("unpoisoned").beats.len();
    stop_driver.cancel();
    driving.await.expect("the driver ends");
    assert_eq!(controller.lock().expect("unpoisoned").beats.len(), beats, "no beat after the stop");
}

/// The alarm that is configured by nobody and named by the tests.
fn hot() -> AlarmKey {
    let machine = MachineId::new("press-1").expect("valid");
    AlarmKey { machine, alarm: AlarmId::new("hot").expect("valid") }
}

#[tokio::test]
async fn f3_an_output_goes_on_over_a_new_connection_and_is_made_safe_only_where_it_changes() {
    let (controller, address) = controller().await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), address, HORN);
    let (clock, first, second, writers) =
        (Clock::start(), CancellationToken::new(), CancellationToken::new(), Arc::default());
    let driving = driver(&config, clock, (&writers, &first));
    let mut outputs = started(&config, &writers, clock);
    let board = Arc::clone(&outputs.shown(&config.machines)[0].board);
    until("off at the start", || board.view().actual == Some(Level::Off)).await;
    outputs.feed().stands(&hot(), AlarmState::Unacknowledged, AlarmPriority::High);
    until("the horn", || board.view().actual == Some(Level::On)).await;

    outputs.stop_changed(&config, |_| false).await;
    first.cancel();
    driving.await.expect("the driver ends");
    let driving = driver(&config, clock, (&writers, &second));
    outputs.start(&config, &writers, || {}).expect("nothing to start");
    let beats = || controller.lock().expect("unpoisoned").beats.len();
    let before = beats();
    until("beats over the new connection", || beats() > before + 1).await;
    assert_eq!(controller.lock().expect("unpoisoned").horn_writes, [false, true], "never silent meanwhile");

    outputs.stop_changed(&config, |id| id.as_str() == "press-1").await;
    assert!(
        !controller.lock().expect("unpoisoned").horn,
        "what lies elsewhere now is made safe by the old way"
    );
    assert!(outputs.shown(&config.machines).is_empty());
    second.cancel();
    driving.await.expect("the driver ends");
}

#[tokio::test]
async fn an_output_without_a_writer_is_a_mistake_of_ours_and_is_not_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), "127.0.0.1:502".parse().expect("valid"), HORN);
    let mut outputs = Outputs::new(Handle::current(), Clock::start());
    assert!(outputs.start(&config, &Arc::default(), || {}).is_err());
}

const LAMP: &str = r#"
[[allowed_commands]]
id = "switch"
run = ["/bin/true"]
[[outputs]]
id = "lamp"
when = "active"
min_interval_ms = 100
command = { on = "switch", off = "switch" }
"#;

#[tokio::test]
async fn a_decision_reaches_its_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), "127.0.0.1:502".parse().expect("valid"), LAMP);
    let clock = Clock::start();
    let mut outputs = started(&config, &Arc::default(), clock);
    let store = EdgeStore::open(Settings::new(folder.path().join("buffer.db")), clock.wall()).expect("opens");
    let recorder = Recorder::start(store.store, move || clock.wall(), Box::new(|_, _| {})).expect("starts");
    let outlets = Outlets {
        board: Arc::clone(&board().shown().machines[0]),
        outputs: outputs.feed(),
        lane: Arc::default(),
        recorder: recorder.inbox(),
        latency: Arc::default(),
        clock,
    };
    let machine = machine();
    let tags: Vec<TagId> = machine.tags.iter().map(|t| t.definition.id.clone()).collect();
    let engine = AlarmEngine::new(machine.id, &tags, machine.alarms).expect("sound");
    let alarms = MachineAlarms::new(engine, crate::promise::Promise::default(), outlets);
    let lamp = Arc::clone(&outputs.shown(&config.machines)[0].board);

    for (speed, level) in [(90, Level::On), (70, Level::Off)] {
        alarms.samples(&[Reading { tag: TagIndex(0), sample: sample(speed), received_at: clock.now() }]);
        until(level.name(), || lamp.view().actual == Some(level) && lamp.view().desired == level).await;
    }
    outputs.stop().await;
    recorder.stop();
}
