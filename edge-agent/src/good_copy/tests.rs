use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::configuration::Origin;

const MACHINE: &str = "version = 1\nid = \"m\"\n[modbus_tcp]\nhost = \"h\"\n[[tags]]\nid = \"t\"\n\
    data_type = \"int\"\nholding_register = 0\nformat = \"u16\"\n";
const AGENT: &str = "version = 1\ntenant = \"t\"\ngateway = \"g\"\n[buffer]\npath = \"b\"\n";

/// How long a test waits for what must come. It only matters to a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of files and one for the copy.
struct Scene {
    files: tempfile::TempDir,
    state: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self {
            files: tempfile::tempdir().expect("a folder"),
            state: tempfile::tempdir().expect("a folder"),
        };
        std::fs::create_dir(scene.files.path().join("machines.d")).expect("created");
        scene.write("agent.toml", AGENT);
        scene.write("machines.d/m.toml", MACHINE);
        scene
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.files.path().join(name), text).expect("written");
    }

    fn copy(&self) -> GoodCopy {
        GoodCopy::of_files(self.files.path(), Some(self.state.path())).expect("a folder is named")
    }

    fn saved() -> Self {
        let scene = Self::new();
        let sources = Sources::read(scene.files.path());
        scene.copy().save(&sources, Timestamp::from_micros(1)).expect("saved");
        scene
    }

    fn refusal(&self) -> String {
        format!("{:#}", self.copy().load(self.files.path()).expect_err("refused"))
    }
}

#[test]
fn f4_whatever_a_power_cut_left_of_the_files_the_copy_is_as_they_were() {
    let scene = Scene::saved();
    let before = edge_config::load(scene.files.path()).expect("good");
    for left in ["", "\0\0\0\0\0\0\0\0", "version = 1\ntenant = \"t"] {
        for file in ["agent.toml", "machines.d/m.toml"] {
            let (copy, sources) = (scene.copy(), Sources::read(scene.files.path()));
            scene.write(file, left);
            assert!(edge_config::load(scene.files.path()).is_err(), "{file} with {left:?}");
            let (config, kept) = copy.load(scene.files.path()).expect("good");
            assert_eq!((&config, kept.texts()), (&before, sources.texts()));
            scene.write(file, if file == "agent.toml" { AGENT } else { MACHINE });
        }
    }
    std::fs::remove_dir_all(scene.files.path().join("machines.d")).expect("there");
    assert_eq!(scene.copy().load(scene.files.path()).expect("good").0, before);
}

#[test]
fn f4_the_copy_is_for_its_owner_only_and_of_these_files_and_this_gateway() {
    let scene = Scene::saved();
    let mode = std::fs::metadata(&scene.copy().path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it may hold passwords");
    scene.write("agent.toml", &AGENT.replace("\"g\"", "\"other\""));
    assert!(scene.refusal().contains("is of the gateway t/g"), "{}", scene.refusal());
    let elsewhere = scene.copy().load(Path::new("/elsewhere")).expect_err("refused").to_string();
    assert!(elsewhere.contains("is of the files in"), "{elsewhere}");
}

#[test]
fn f4_a_copy_that_is_damaged_or_missing_is_told_and_not_used() {
    let scene = Scene::saved();
    let path = scene.copy().path;
    let whole = std::fs::read(&path).expect("there");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("written");
    assert!(scene.refusal().contains("is damaged"), "{}", scene.refusal());
    std::fs::write(&path, String::from_utf8_lossy(&whole).replace("\"version\":1", "\"version\":2"))
        .expect("written");
    assert!(scene.refusal().contains("another version"), "{}", scene.refusal());
    std::fs::remove_file(&path).expect("there");
    assert!(scene.refusal().contains("there is no"), "{}", scene.refusal());
}

#[test]
fn f4_without_a_folder_for_state_the_copy_lies_beside_the_buffer() {
    let scene = Scene::new();
    scene.write("agent.toml", &AGENT.replace("\"b\"", "\"/var/lib/gateway/buffer.db\""));
    let copy = GoodCopy::of_files(scene.files.path(), None).expect("the buffer is named");
    assert_eq!(copy.path, Path::new("/var/lib/gateway").join(NAME));
    scene.write("agent.toml", "");
    assert!(GoodCopy::of_files(scene.files.path(), None).is_none(), "nobody knows where it would be");
}

#[tokio::test]
async fn f4_only_what_has_run_well_for_long_enough_is_kept() {
    let scene = Scene::new();
    let (clock, stop) = (Clock::start(), CancellationToken::new());
    let first = Sources::read(scene.files.path());
    let desk = Arc::new(ConfigurationDesk::new(first.clone(), Origin::Files, clock.wall()));
    let is_well = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (looks, well) = (Arc::new(std::sync::atomic::AtomicU64::new(0)), Arc::clone(&is_well));
    let seen = Arc::clone(&looks);
    let ask = move || {
        seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        well.load(std::sync::atomic::Ordering::Relaxed)
    };
    let proven = Duration::from_millis(20);
    let keeping =
        tokio::spawn(keep_good(scene.copy(), Arc::clone(&desk), ask, (proven, clock), stop.clone()));
    let until = async |condition: &dyn Fn() -> bool| {
        let reached = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.expect("in time");
    };
    until(&|| looks.load(std::sync::atomic::Ordering::Relaxed) > 1).await;
    assert!(!scene.copy().path.exists(), "all is not well");
    is_well.store(true, std::sync::atomic::Ordering::Relaxed);
    let kept = || scene.copy().load(scene.files.path()).map(|(_, sources)| sources).ok();
    until(&|| kept().as_ref() == Some(&first)).await;

    scene.write("machines.d/m.toml", &MACHINE.replace("= 0", "= 1"));
    let second = Sources::read(scene.files.path());
    desk.loaded(second.clone(), Origin::Files, clock.wall());
    until(&|| kept().as_ref() == Some(&second)).await;
    stop.cancel();
    keeping.await.expect("ends");
}
