use std::collections::HashMap;
use std::sync::Mutex as Shared;
use std::time::Duration;

use edge_store::{EdgeStore, Recorder, Settings};
use plant_model::AlarmState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;

use super::*;
use crate::board::Board;
use crate::commands::CommandDesk;
use crate::floor::FloorParts;

/// How long a test waits for what must come. It only matters to a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a gateway of Modbus units has seen; every register of a unit holds the same.
#[derive(Default)]
struct Seen {
    connections: u64,
    /// By unit id.
    reads: HashMap<u8, u64>,
    value: u16,
}

/// A Modbus TCP server with as many units as are asked.
struct Server {
    port: u16,
    seen: Arc<Shared<Seen>>,
}

impl Server {
    async fn start(value: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Arc::new(Shared::new(Seen { value, ..Seen::default() }));
        let inside = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                inside.lock().expect("whole").connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&inside)));
            }
        });
        Self { port, seen }
    }

    fn connections(&self) -> u64 {
        self.seen.lock().expect("whole").connections
    }

    fn reads(&self, unit: u8) -> u64 {
        self.seen.lock().expect("whole").reads.get(&unit).copied().unwrap_or(0)
    }

    async fn read_again(&self, unit: u8) {
        let before = self.reads(unit);
        until("another read", || self.reads(unit) > before + 1).await;
    }

    /// A machine file with the tag `speed` in `register` and the alarm `fast` above `limit`.
    fn machine(&self, id: &str, unit: u8, register: u16, limit: u16) -> String {
        format!(
            "version = 1\nid = \"{id}\"\n[modbus_tcp]\nhost = \"127.0.0.1\"\nport = {}\nunit_id = {unit}\n[[tags]]\n\
             id = \"speed\"\ndata_type = \"int\"\nholding_register = {register}\nformat = \"u16\"\npoll_interval_ms = 50\n\
             [[alarms]]\nid = \"fast\"\ntag = \"speed\"\nkind = \"high\"\nlimit = {limit}\nmessage = \"Too fast\"\n",
            self.port
        )
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Shared<Seen>>) {
    let mut frame = [0; 12];
    while stream.read_exact(&mut frame).await.is_ok() {
        let (unit, quantity) = (frame[6], frame[11]);
        let value = {
            let mut seen = seen.lock().expect("whole");
            *seen.reads.entry(unit).or_default() += 1;
            seen.value.to_be_bytes()
        };
        let words = value.repeat(usize::from(quantity));
        let head = [&frame[..4], &[0, 3 + 2 * quantity, unit, 3, 2 * quantity]].concat();
        if stream.write_all(&[head, words].concat()).await.is_err() {
            return;
        }
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, reached).await.is_ok(), "not seen: {what}");
}

/// A floor that runs by the files of a folder.
struct Scene {
    folder: tempfile::TempDir,
    reloader: Arc<Reloader>,
    desk: Arc<ConfigurationDesk>,
    board: Board,
    recorder: Recorder,
}

impl Scene {
    async fn start(machines: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("machines.d")).expect("created");
        write(folder.path(), "agent.toml", &agent(folder.path(), ""));
        machines
            .iter()
            .for_each(|(name, text)| write(folder.path(), &format!("machines.d/{name}.toml"), text));
        Self::start_in(folder).await
    }

    /// Runs what the files of a folder say.
    async fn start_in(folder: tempfile::TempDir) -> Self {
        let clock = Clock::start();
        let sources = Sources::read(folder.path());
        let config = sources.config().unwrap_or_else(|errors| panic!("{errors}"));
        let store = EdgeStore::open(Settings::new(&config.buffer.path), clock.wall()).expect("opens").store;
        let epoch = store.epoch();
        let recorder = Recorder::start(store, move || clock.wall(), Box::new(|_, _| {})).expect("starts");
        let board = Board::default();
        let parts = FloorParts {
            sense: Handle::current(),
            board: board.clone(),
            inbox: recorder.inbox(),
            store: recorder.client(),
            counters: recorder.counters(),
            lane: Arc::default(),
            latency: Arc::default(),
            certificate: Arc::default(),
            punctuality: Arc::default(),
            desk: Arc::new(CommandDesk::new(clock)),
            epoch,
            clock,
        };
        let mut floor = Floor::new(parts, &config);
        floor.apply(config).await.expect("applies");
        recorder.note_timers(floor.running_timers());
        let desk = Arc::new(ConfigurationDesk::new(sources, Origin::Files, clock.wall()));
        let files = folder.path().to_owned();
        let reloader = Arc::new(Reloader::new(files, floor, Arc::clone(&desk), clock));
        Self { folder, reloader, desk, board, recorder }
    }

    fn write(&self, name: &str, text: &str) {
        write(self.folder.path(), &format!("machines.d/{name}.toml"), text);
    }

    fn standing(&self, machine: &str) -> Vec<(AlarmState, u64)> {
        let board = self.board.machine(machine).expect("there");
        board.standing_alarms().iter().map(|(_, s)| (s.state, s.occurrence)).collect()
    }

    async fn stop(self) -> u64 {
        self.stop_and_leave().await.1
    }

    /// Stops, and leaves the files, and says how many transitions were committed.
    async fn stop_and_leave(self) -> (tempfile::TempDir, u64) {
        let mut floor = self.reloader.close().await.expect("the first to close it");
        floor.stop_outputs().await;
        floor.stop_drivers().await;
        assert!(matches!(self.reloader.reload().await, Err(ReloadError::Stopping)));
        let counters = self.recorder.counters();
        self.recorder.stop();
        (self.folder, counters.transitions_committed.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// How the buffer in a folder remembers all alarms: machine, state and occurrence.
fn remembered(folder: &std::path::Path) -> Vec<(String, &'static str, u64)> {
    let now = Clock::start().wall();
    let store = EdgeStore::open(Settings::new(folder.join("buffer.db")), now).expect("opens").store;
    let alarms = store.alarms().expect("readable").into_iter();
    let mut rows: Vec<_> =
        alarms.map(|a| (a.machine.to_string(), a.flags.state().mnemonic(), a.occurrence)).collect();
    rows.sort();
    rows
}

fn agent(folder: &std::path::Path, more: &str) -> String {
    let buffer = folder.join("buffer.db");
    format!("version = 1\ntenant = \"t\"\ngateway = \"g\"\n{more}\n[buffer]\npath = {buffer:?}\n")
}

fn write(folder: &std::path::Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("written");
}

fn names(machines: &[MachineId]) -> Vec<&str> {
    machines.iter().map(MachineId::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_machines_come_and_go_and_another_is_read_on_over_the_same_connection() {
    let (one, other) = (Server::start(7).await, Server::start(7).await);
    let scene = Scene::start(&[("a", one.machine("a", 1, 0, 80)), ("b", other.machine("b", 1, 0, 80))]).await;
    one.read_again(1).await;
    other.read_again(1).await;

    let third = Server::start(7).await;
    scene.write("c", &third.machine("c", 1, 0, 80));
    std::fs::remove_file(scene.folder.path().join("machines.d/b.toml")).expect("there");
    let changes = scene.reloader.reload().await.expect("good");
    assert_eq!((names(&changes.added), names(&changes.removed)), (vec!["c"], vec!["b"]));
    assert!(changes.changed.is_empty());
    third.read_again(1).await;
    one.read_again(1).await;
    let reads = other.reads(1);
    one.read_again(1).await;
    assert_eq!(other.reads(1), reads, "nobody reads what is configured no more");
    let shown: Vec<String> = scene.board.shown().machines.iter().map(|m| m.id.to_string()).collect();
    assert_eq!(shown, ["a", "c", "gateway"]);
    assert_eq!(one.connections(), 1);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_an_alarm_changes_without_a_pause_of_its_bus_and_is_judged_by_what_is_known() {
    let server = Server::start(90).await;
    let files = [("a", server.machine("a", 1, 0, 80)), ("b", server.machine("b", 2, 0, 80))];
    let scene = Scene::start(&files).await;
    let both = || scene.standing("a").len() + scene.standing("b").len() == 2;
    until("both alarms", both).await;

    scene.write("a", &server.machine("a", 1, 0, 85).replace("Too fast", "Far too fast"));
    scene.write("b", &server.machine("b", 2, 0, 95));
    let changes = scene.reloader.reload().await.expect("good");
    assert_eq!(names(&changes.changed), ["a", "b"]);
    assert_eq!(scene.standing("a"), [(AlarmState::Unacknowledged, 1)], "what stood stands");
    let returned = [(AlarmState::ReturnedUnacknowledged, 1)];
    assert_eq!(scene.standing("b"), returned, "90 is below the new limit, and nobody need read it again");
    server.read_again(1).await;
    assert_eq!(server.connections(), 1, "no request has changed");
    assert_eq!(scene.stop().await, 3, "two raised, one returned, and no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_an_alarm_that_goes_or_whose_machine_goes_while_it_is_active_is_closed_and_comes_back_as_a_new_one()
 {
    let server = Server::start(90).await;
    let files = ["a", "b", "c"].map(|id| (id, server.machine(id, 1, 0, 80)));
    let scene = Scene::start(&files).await;
    until("all alarms", || ["a", "b", "c"].iter().all(|m| scene.standing(m).len() == 1)).await;

    scene.write("a", files[0].1.split("[[alarms]]").next().expect("a part"));
    std::fs::remove_file(scene.folder.path().join("machines.d/b.toml")).expect("there");
    scene.reloader.reload().await.expect("good");
    assert_eq!(scene.standing("a"), []);

    scene.write("b", &files[1].1);
    scene.reloader.reload().await.expect("good");
    until("raised anew", || scene.standing("b") == [(AlarmState::Unacknowledged, 2)]).await;
    let (folder, transitions) = scene.stop_and_leave().await;
    assert_eq!(transitions, 3 + 2 + 1, "raised, removed, raised");
    let rows = [("a", "NORM", 1), ("b", "UNACK", 2), ("c", "UNACK", 1)];
    assert_eq!(remembered(folder.path()), rows.map(|(m, state, n)| (m.to_owned(), state, n)));
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_an_alarm_that_went_while_nobody_ran_is_closed_at_the_next_start_and_once() {
    let server = Server::start(90).await;
    let files = ["a", "b", "c"].map(|id| (id, server.machine(id, 1, 0, 80)));
    let scene = Scene::start(&files).await;
    until("all alarms", || ["a", "b", "c"].iter().all(|m| scene.standing(m).len() == 1)).await;
    let (folder, _) = scene.stop_and_leave().await;

    write(folder.path(), "machines.d/a.toml", files[0].1.split("[[alarms]]").next().expect("a part"));
    std::fs::remove_file(folder.path().join("machines.d/b.toml")).expect("there");
    let (folder, transitions) = Scene::start_in(folder).await.stop_and_leave().await;
    assert_eq!(transitions, 2, "of the one, and of the machine that is not there");
    let rows = [("a", "NORM", 1), ("b", "NORM", 1), ("c", "UNACK", 1)];
    assert_eq!(remembered(folder.path()), rows.map(|(m, state, n)| (m.to_owned(), state, n)));
    let (_, transitions) = Scene::start_in(folder).await.stop_and_leave().await;
    assert_eq!(transitions, 0, "it is closed once");
}

#[tokio::test(flavor = "multi_thread")]
async fn f3_a_unit_with_other_tags_restarts_its_bus_and_no_other() {
    let (server, other) = (Server::start(90).await, Server::start(90).await);
    let files = [
        ("a", server.machine("a", 1, 0, 80)),
        ("b", server.machine("b", 2, 0, 80)),
        ("c", other.machine("c", 1, 0, 80)),
    ];
    let scene = Scene::start(&files).await;
    until("all alarms", || ["a", "b", "c"].iter().all(|m| scene.standing(m).len() == 1)).await;

    scene.write("a", &server.machine("a", 1, 40, 80));
    let changes = scene.reloader.reload().await.expect("good");
    assert_eq!(names(&changes.changed), ["a"]);
    until("a new connection", || server.connections() == 2).await;
    server.read_again(1).await;
    server.read_again(2).await;
    assert_eq!((server.connections(), other.connections()), (2, 1));
    for machine in ["a", "b", "c"] {
        assert_eq!(scene.standing(machine), [(AlarmState::Unacknowledged, 1)], "{machine}");
        let (is_up, reason) = scene.board.machine(machine).expect("there").link();
        assert!(is_up, "{machine}: {reason}");
    }
    assert_eq!(scene.stop().await, 3, "nothing was raised twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_a_wrong_configuration_changes_nothing_and_is_shown_until_it_is_mended() {
    let server = Server::start(7).await;
    let scene = Scene::start(&[("a", server.machine("a", 1, 0, 80))]).await;
    server.read_again(1).await;
    let before = scene.desk.status();

    scene.write("a", &server.machine("a", 1, 0, 80).replace("u16", "u17"));
    scene.write("b", "version = 1\n");
    let Err(ReloadError::Config(errors)) = scene.reloader.reload().await else { panic!("refused") };
    assert!(errors.0.len() > 1, "all that is wrong: {errors}");
    server.read_again(1).await;
    assert_eq!(server.connections(), 1);
    let status = scene.desk.status();
    assert_eq!((&status.digest, status.refused.len()), (&before.digest, errors.0.len()));
    assert!(status.refused.iter().any(|p| p.contains("a.toml:11") && p.contains("u17")), "{status:?}");

    scene.write("a", &server.machine("a", 1, 0, 81));
    std::fs::remove_file(scene.folder.path().join("machines.d/b.toml")).expect("there");
    scene.reloader.reload().await.expect("good");
    let status = scene.desk.status();
    assert!(status.refused.is_empty() && status.digest != before.digest, "{status:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_what_is_settled_at_the_start_needs_a_restart_and_nothing_else_is_applied_meanwhile() {
    let server = Server::start(7).await;
    let scene = Scene::start(&[("a", server.machine("a", 1, 0, 80))]).await;
    let more = "[status]\nlisten = \"127.0.0.1:9\"\n";
    write(scene.folder.path(), "agent.toml", &agent(scene.folder.path(), more).replace("\"g\"", "\"h\""));
    scene.write("b", &server.machine("b", 2, 0, 80));
    let Err(ReloadError::NeedsRestart(keys)) = scene.reloader.reload().await else { panic!("refused") };
    assert_eq!(keys, ["gateway", "[status]"]);
    assert!(scene.board.machine("b").is_none());
    assert_eq!(scene.desk.status().refused, ["needs a restart: gateway, [status]"]);
    scene.stop().await;
}

#[test]
fn f3_lines_that_move_in_a_file_are_no_change() {
    let text = "version = 1\nid = \"m\"\n[modbus_tcp]\nhost = \"h\"\n[[tags]]\nid = \"t\"\ndata_type = \"int\"\n\
        holding_register = 0\nformat = \"u16\"\n";
    let read = |text: &str| edge_config::read_machine("m.toml".as_ref(), text).expect("good");
    let before = [read(&format!("# a note\n\n{text}"))];
    assert_eq!(Changes::between(&before, &[read(text)]), Changes::default());
    let changed = Changes::between(&before, &[read(&text.replace("= 0", "= 1"))]).changed;
    assert_eq!(names(&changed), ["m"]);
}
