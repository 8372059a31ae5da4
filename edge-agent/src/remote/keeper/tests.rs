use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use protocol::ConfigurationVersion;
use remote_configuration::Version;

use super::super::{awaits_machines, kill, recover};
use super::*;

/// Where a child finds the configuration that it works on until it is killed.
const ROOT: &str = "EDGE_AGENT_TEST_KILL_ROOT";

/// Machines that say what a test wants.
struct Scene {
    health: Mutex<Health>,
    /// What is said to the next loads, the first one first.
    loads: Mutex<Vec<Result<(), LoadError>>>,
}

impl Plant for Arc<Scene> {
    async fn load(&self) -> Result<(), LoadError> {
        let mut loads = self.loads.lock().expect("not poisoned");
        if loads.is_empty() { Ok(()) } else { loads.remove(0) }
    }

    fn health(&self) -> Health {
        self.health.lock().expect("not poisoned").clone()
    }
}

fn press(is_up: bool) -> Health {
    let reason = (!is_up).then(|| "connection refused".to_owned());
    Health { machines: [("press".to_owned(), reason)].into(), uplink: None }
}

impl Scene {
    fn new(loads: Vec<Result<(), LoadError>>) -> Arc<Self> {
        Arc::new(Self { health: Mutex::new(press(true)), loads: Mutex::new(loads) })
    }

    fn becomes(&self, health: Health) {
        *self.health.lock().expect("not poisoned") = health;
    }
}

fn machine(id: &str, host: &str) -> String {
    format!(
        "version = 1\nid = \"{id}\"\n[modbus_tcp]\nhost = \"{host}\"\n[[tags]]\nid = \"speed\"\ndata_type = \"int\"\n\
         holding_register = 0\nformat = \"u16\"\n"
    )
}

fn files(host: &str) -> Files {
    ["press", "saw"].map(|id| (format!("{id}.toml"), machine(id, host))).into()
}

/// A configuration folder with these machine files.
fn gateway(machines: &Files) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let folder = root.path().join("machines.d");
    std::fs::create_dir(&folder).expect("made");
    for (name, text) in machines {
        std::fs::write(folder.join(name), text).expect("written");
    }
    let buffer = root.path().join("state/buffer.db");
    let agent = format!(
        "version = 1\ntenant = \"acme\"\ngateway = \"hall-3\"\n[buffer]\npath = {buffer:?}\n[remote]\nconfiguration = true\n\
         [uplink]\nhost = \"h\"\nca_file = \"c\"\ncertificate_file = \"k\"\nkey_file = \"k\"\nrenewal_url = \"https://h\"\n"
    );
    std::fs::write(root.path().join("agent.toml"), agent).expect("written");
    root
}

fn keeper(root: &Path, scene: &Arc<Scene>) -> Keeper<Arc<Scene>> {
    let book = Book::of(&edge_config::load_agent(root).expect("good"));
    let (told, desk) = (watch::Sender::new(None), Arc::new(RemoteDesk::default()));
    // A trial that is judged at the first look.
    let window = Duration::ZERO;
    let mut keeper = Keeper::new(book, root.into(), Arc::clone(scene), window, Clock::start(), told, desk);
    keeper.record = keeper.book.load().expect("a record");
    keeper
}

fn wanted(number: u32, files: &Files) -> Word {
    let number = ConfigurationVersion::new(number).expect("above 0");
    Word::Wanted(Box::new(Version { number, files: files.clone(), accept_drift: None }))
}

impl Keeper<Arc<Scene>> {
    fn actual(&self) -> Files {
        self.folder.read().expect("readable")
    }

    /// State, version and detail as they are reported.
    fn stands(&mut self) -> (ConfigurationState, Option<u32>, String) {
        self.tell();
        let report = self.told.borrow().clone().expect("told").report;
        (report.state, report.version.map(ConfigurationVersion::get), report.detail)
    }
}

#[tokio::test]
async fn a_version_is_applied_tried_and_kept() {
    let root = gateway(&files("one"));
    let mut keeper = keeper(root.path(), &Scene::new(Vec::new()));
    keeper.hear(wanted(1, &files("one"))).await;
    assert_eq!(keeper.stands().0, ConfigurationState::Current, "it is there already");
    let mut new = files("two");
    new.remove("saw.toml");
    keeper.hear(wanted(2, &new)).await;
    assert_eq!((keeper.actual(), keeper.stands().0), (new.clone(), ConfigurationState::Trial));
    assert!(keeper.desk.is_on_trial(), "and not yet the copy for a bad day");
    assert!(keeper.judge().await);
    assert_eq!(keeper.stands(), (ConfigurationState::Current, Some(2), String::new()));
    assert!(!keeper.desk.is_on_trial());
    assert_eq!(keeper.actual(), new);
}

#[tokio::test]
async fn f2_a_version_with_mistakes_is_refused_by_file_and_line_and_nothing_is_touched() {
    let root = gateway(&files("one"));
    let scene = Scene::new(vec![Err(LoadError::Refused("nobody asked for a reload".to_owned()))]);
    let mut keeper = keeper(root.path(), &scene);
    keeper.hear(wanted(1, &files("one"))).await;
    let mut bad = files("two");
    bad.insert("saw.toml".to_owned(), machine("saw", "two").replace("u16", "u17"));
    keeper.hear(wanted(2, &bad)).await;
    let (state, version, detail) = keeper.stands();
    assert_eq!((state, version), (ConfigurationState::Refused, Some(2)));
    assert!(detail.starts_with("machines.d/saw.toml:9: ") && detail.contains("u17"), "{detail}");
    assert_eq!(keeper.actual(), files("one"));
    assert_eq!(scene.loads.lock().expect("not poisoned").len(), 1, "nothing was loaded");
    keeper.hear(wanted(3, &files("two"))).await;
    assert_eq!(keeper.stands().1, Some(3), "the next one is taken");
}

#[tokio::test]
async fn a_machine_that_does_not_come_back_brings_the_former_files_back_by_itself() {
    let root = gateway(&files("one"));
    let scene = Scene::new(Vec::new());
    let mut keeper = keeper(root.path(), &scene);
    keeper.hear(wanted(1, &files("one"))).await;
    keeper.hear(wanted(2, &files("two"))).await;
    scene.becomes(press(false));
    assert!(keeper.judge().await);
    keeper.go_on().await;
    let (state, version, detail) = keeper.stands();
    assert_eq!((state, version, keeper.actual()), (ConfigurationState::RolledBack, Some(2), files("one")));
    assert!(detail.contains("machine press") && detail.contains("connection refused"), "{detail}");
    keeper.hear(wanted(2, &files("two"))).await;
    assert_eq!(keeper.actual(), files("one"), "it is not tried again");
}

#[tokio::test]
async fn files_that_cannot_be_brought_into_use_are_taken_back_and_a_stop_leaves_them_for_the_next_start() {
    let root = gateway(&files("one"));
    let refused = Err(LoadError::Refused("needs a restart: [uplink]".to_owned()));
    let mut keeper = keeper(root.path(), &Scene::new(vec![refused, Ok(()), Err(LoadError::Stopping)]));
    keeper.hear(wanted(1, &files("one"))).await;
    keeper.hear(wanted(2, &files("two"))).await;
    let stands = keeper.stands();
    assert_eq!(stands, (ConfigurationState::RolledBack, Some(2), "needs a restart: [uplink]".to_owned()));
    assert_eq!(keeper.actual(), files("one"));
    keeper.hear(wanted(3, &files("two"))).await;
    recover(root.path());
    let mut next = self::keeper(root.path(), &Scene::new(Vec::new()));
    assert_eq!((next.stands().0, next.actual()), (ConfigurationState::Trial, files("two")));
}

#[tokio::test]
async fn an_edited_file_is_reported_and_not_written_over_until_somebody_decides() {
    let root = gateway(&files("one"));
    let mut keeper = keeper(root.path(), &Scene::new(Vec::new()));
    keeper.hear(wanted(1, &files("one"))).await;
    let edited = machine("press", "edited");
    std::fs::write(root.path().join("machines.d/press.toml"), &edited).expect("written");
    keeper.hear(wanted(2, &files("two"))).await;
    assert_eq!((keeper.stands().0, keeper.stands().1), (ConfigurationState::Drifted, Some(2)));
    assert_eq!(keeper.actual()["press.toml"], edited);
    assert!(!keeper.obey().await, "nobody asked");
    keeper.book.ask(Request::Restore).expect("left");
    assert!(keeper.obey().await && keeper.judge().await);
    assert_eq!((keeper.actual(), keeper.stands().0), (files("two"), ConfigurationState::Current));

    std::fs::write(root.path().join("machines.d/press.toml"), &edited).expect("written");
    keeper.book.ask(Request::Adopt).expect("left");
    assert!(keeper.obey().await);
    assert_eq!(
        (keeper.stands().0, keeper.actual()["press.toml"].clone()),
        (ConfigurationState::Adopted, edited)
    );
}

#[tokio::test]
async fn files_that_cannot_be_written_are_said_and_the_version_waits() {
    let root = gateway(&files("one"));
    let mut keeper = keeper(root.path(), &Scene::new(Vec::new()));
    keeper.hear(wanted(1, &files("one"))).await;
    // A folder in the place of the file that shows whether one can be written.
    let in_the_way = root.path().join("machines.d/.probe.draft");
    std::fs::create_dir(&in_the_way).expect("made");
    keeper.hear(wanted(2, &files("two"))).await;
    let (state, version, detail) = keeper.stands();
    assert_eq!((state, version, keeper.actual()), (ConfigurationState::Refused, Some(2), files("one")));
    assert!(detail.contains("must be allowed to write there"), "{detail}");
    std::fs::remove_dir(&in_the_way).expect("removed");
    keeper.hear(Word::Nothing).await;
    assert_eq!((keeper.stands().0, keeper.actual()), (ConfigurationState::Trial, files("two")));
}

#[tokio::test]
async fn a_version_that_is_not_to_be_trusted_is_refused_by_name() {
    let root = gateway(&files("one"));
    let mut keeper = keeper(root.path(), &Scene::new(Vec::new()));
    let number = ConfigurationVersion::new(7).expect("above 0");
    keeper.hear(Word::Untrusted(number, "the signature does not fit".to_owned())).await;
    let stands = keeper.stands();
    assert_eq!(stands, (ConfigurationState::Refused, Some(7), "the signature does not fit".to_owned()));
}

/// The child: applies version 2, which does not do well, and is killed at a step.
async fn work_until_killed(root: &Path) {
    let scene = Scene::new(Vec::new());
    let mut keeper = keeper(root, &scene);
    keeper.hear(wanted(2, &files("two"))).await;
    scene.becomes(press(false));
    keeper.judge().await;
    keeper.go_on().await;
}

/// Files of one set, whichever.
fn is_one_set(files: &Files, old: &Files, new: &Files) -> bool {
    files == old || files == new
}

#[test]
fn f4_a_power_cut_at_any_step_of_a_change_leaves_one_set_of_files_and_the_next_start_ends_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a scheduler");
    if let Some(root) = std::env::var_os(ROOT) {
        runtime.block_on(work_until_killed(Path::new(&root)));
        return;
    }
    let (old, new) = (files("one"), files("two"));
    let mut kills = 0_u32;
    loop {
        let root = gateway(&old);
        runtime.block_on(keeper(root.path(), &Scene::new(Vec::new())).hear(wanted(1, &old)));
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "remote::keeper::tests::f4_a_power_cut_at_any_step_of_a_change_leaves_one_set_of_files_and_the_next_start_ends_it"])
            .env(ROOT, root.path())
            .env(kill::STEP, (kills + 1).to_string())
            .output()
            .expect("runs");
        if child.status.success() {
            break;
        }
        kills += 1;
        recover(root.path());
        let scene = Scene::new(Vec::new());
        let mut after = keeper(root.path(), &scene);
        assert!(is_one_set(&after.actual(), &old, &new), "killed at step {kills}: {:?}", after.actual());
        runtime.block_on(async {
            after.go_on().await;
            after.hear(wanted(2, &new)).await;
            scene.becomes(press(false));
            after.judge().await;
            after.go_on().await;
        });
        assert_eq!(after.stands().0, ConfigurationState::RolledBack, "killed at step {kills}");
        assert_eq!(after.actual(), old, "killed at step {kills}");
    }
    // Staged, begun, two files, tried, undone, two files, ended; each file twice.
    assert!(kills >= 13, "{kills} steps");
}

#[test]
fn a_gateway_starts_without_machines_only_while_its_first_ones_may_come_from_the_backend() {
    let empty = gateway(&Files::new());
    let (config, _) = awaits_machines(empty.path()).expect("they may come");
    assert_eq!(config.machines.len(), 1, "the gateway itself");
    assert!(awaits_machines(gateway(&files("one")).path()).is_none(), "there are some");
    let agent = empty.path().join("agent.toml");
    let text = std::fs::read_to_string(&agent).expect("readable");
    std::fs::write(&agent, text.replace("configuration = true", "configuration = false")).expect("written");
    assert!(awaits_machines(empty.path()).is_none(), "nothing comes from the backend");

    let emptied = gateway(&files("one"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a scheduler");
    runtime.block_on(keeper(emptied.path(), &Scene::new(Vec::new())).hear(wanted(1, &files("one"))));
    std::fs::remove_dir_all(emptied.path().join("machines.d")).expect("removed");
    assert!(awaits_machines(emptied.path()).is_none(), "they were lost: that is no beginning");
}
