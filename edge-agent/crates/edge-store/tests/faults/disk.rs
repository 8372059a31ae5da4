use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edge_store::{BufferHealth, EdgeStore, Recorder, RecorderCounters, Settings, StoreError};
use protocol::{Sequence, StreamId};

use crate::load::{NOW, all, assert_accounted, numbers, plant, sample};
use crate::namespace::{in_namespace, mount_memory, path, run};

fn open(settings: &Settings) -> EdgeStore {
    let opened = EdgeStore::open(settings.clone(), NOW).expect("opens");
    assert_eq!((opened.set_aside, opened.log_was_cut), (None, false));
    opened.store
}

/// Another program takes every byte that is left.
fn fill(folder: &Path) {
    let mut file = File::create(folder.join("filler")).expect("creates");
    let mut chunk = 1 << 20;
    while chunk > 0 {
        if file.write_all(&vec![b'x'; chunk]).is_err() {
            chunk /= 2;
        }
    }
}

fn settings(folder: &Path, mib: u64) -> Settings {
    Settings { bytes_max: mib << 20, ..Settings::new(folder.join("buffer.db")) }
}

/// Makes a buffer, fills the disk around it, and commits many times what it holds.
fn nothing_stops_on_a_full_disk(folder: &Path) {
    let settings = settings(folder, 8);
    let mut store = open(&settings);
    while store.grow().expect("grows") {}
    let before = store.usage().expect("measures").disk_bytes;
    assert!(before <= 8 << 20, "{before} bytes are taken");
    fill(folder);
    for n in 0..1_500 {
        store.commit(&plant(n), NOW).expect("commits");
    }
    assert_eq!(store.usage().expect("measures").disk_bytes, before, "not a byte more was needed");
    assert!(assert_accounted(&mut store) > 50);
    drop(store);
    let mut store = open(&settings);
    for n in 0..100 {
        store.acknowledge(StreamId::Telemetry, Sequence::from_u64(1_500));
        store.commit(&plant(n), NOW).expect("commits after a restart on the full disk");
    }
}

#[test]
fn a9_a_disk_that_others_fill_to_the_last_byte_stops_nothing() {
    in_namespace("disk::a9_a_disk_that_others_fill_to_the_last_byte_stops_nothing", |folder| {
        mount_memory(folder, 16);
        nothing_stops_on_a_full_disk(folder);
    });
}

#[test]
fn a9_a_disk_that_is_full_before_the_file_has_its_size_bounds_it_and_stops_nothing() {
    in_namespace(
        "disk::a9_a_disk_that_is_full_before_the_file_has_its_size_bounds_it_and_stops_nothing",
        |folder| {
            mount_memory(folder, 16);
            let mut store = open(&settings(folder, 1_024));
            fill(folder);
            assert!(!store.grow().expect("there is nothing to grow into"));
            for n in 0..800 {
                store.commit(&plant(n), NOW).expect("commits");
            }
            assert!(assert_accounted(&mut store) > 50);
        },
    );
}

#[test]
fn a_first_start_on_a_full_disk_is_refused_with_a_message_and_works_when_there_is_room() {
    in_namespace(
        "disk::a_first_start_on_a_full_disk_is_refused_with_a_message_and_works_when_there_is_room",
        |folder| {
            mount_memory(folder, 12);
            fill(folder);
            let settings = settings(folder, 8);
            let error = EdgeStore::open(settings.clone(), NOW).expect_err("no room");
            assert!(matches!(error, StoreError::NoRoom { .. } | StoreError::Reach { .. }), "{error}");
            assert!(error.to_string().contains("room") || error.to_string().contains("space"), "{error}");
            std::fs::remove_file(folder.join("filler")).expect("removes");
            open(&settings).commit(&plant(0), NOW).expect("commits");
        },
    );
}

fn until(counters: &RecorderCounters, what: &str, holds: impl Fn(&RecorderCounters) -> bool) {
    let began = Instant::now();
    while !holds(counters) {
        assert!(began.elapsed() < Duration::from_secs(30), "not within 30 s: {what}; {counters:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn committed(counters: &RecorderCounters) -> u64 {
    counters.samples_committed.load(std::sync::atomic::Ordering::Relaxed)
}

/// A disk of flash in a file, with a buffer on it.
struct Flash {
    image: PathBuf,
    on: PathBuf,
}

impl Flash {
    fn new(folder: &Path) -> Self {
        mount_memory(folder, 64);
        let flash = Self { image: folder.join("image"), on: folder.join("disk") };
        std::fs::create_dir(&flash.on).expect("creates");
        File::create(&flash.image).and_then(|f| f.set_len(32 << 20)).expect("an image");
        run("mkfs.ext4", &["-q", path(&flash.image)]);
        flash.mount();
        flash
    }

    fn mount(&self) {
        run("mount", &["-o", "loop", path(&self.image), path(&self.on)]);
    }

    /// The kernel gives the file system up: from now on it is read-only, and every flush fails.
    fn fail(&self) {
        run("mount", &["-o", "remount,abort", path(&self.on)]);
    }

    /// Somebody unplugs it, under the running agent.
    fn take_away(&self) {
        run("umount", &["--lazy", path(&self.on)]);
    }
}

/// The file system of most gateways allocates blocks that it writes later; SQLite has written them all before.
#[test]
fn a9_a_flash_disk_that_others_fill_to_the_last_byte_stops_nothing() {
    in_namespace("disk::a9_a_flash_disk_that_others_fill_to_the_last_byte_stops_nothing", |folder| {
        nothing_stops_on_a_full_disk(&Flash::new(folder).on);
    });
}

fn recorder(flash: &Flash) -> (Recorder, Settings) {
    let settings = Settings { commit_interval: Duration::from_millis(20), ..settings(&flash.on, 8) };
    (Recorder::start(open(&settings), || NOW, Box::new(|_, _| {})).expect("starts"), settings)
}

/// The recorder opens the file again after 5 s, which is what makes this test long.
#[test]
fn a9_a_disk_that_fails_and_comes_back_loses_and_doubles_nothing() {
    in_namespace("disk::a9_a_disk_that_fails_and_comes_back_loses_and_doubles_nothing", |folder| {
        let flash = Flash::new(folder);
        let (recorder, settings) = recorder(&flash);
        let (inbox, counters) = (recorder.inbox(), recorder.counters());
        inbox.push_samples((0..100).map(sample));
        until(&counters, "a first commit", |c| committed(c) == 100);

        flash.fail();
        inbox.push_samples((100..5_000).map(sample));
        until(&counters, "the failure is seen", |c| c.health() != BufferHealth::Writable);
        inbox.push_samples((5_000..6_000).map(sample));
        flash.take_away();
        until(&counters, "the file is missed", |c| c.health() == BufferHealth::Gone);
        assert_eq!(committed(&counters), 100, "nothing is called committed that is not");
        flash.mount();
        until(&counters, "everything is committed", |c| committed(c) == 6_000);
        assert_eq!(counters.health(), BufferHealth::Writable);
        recorder.stop();

        let mut store = open(&settings);
        assert_eq!(numbers(&mut store), (0..6_000).collect::<Vec<_>>());
        assert_eq!(all(&mut store, StreamId::Diagnostic).len(), 0, "nothing was lost");
    });
}

/// Ten minutes of a plant fit in the ring; what is older goes and is declared. Long for the same reason.
#[test]
fn a9_a_disk_that_fails_for_too_long_keeps_the_newest_and_declares_the_rest() {
    in_namespace(
        "disk::a9_a_disk_that_fails_for_too_long_keeps_the_newest_and_declares_the_rest",
        |folder| {
            let flash = Flash::new(folder);
            let (recorder, settings) = recorder(&flash);
            let (inbox, counters) = (recorder.inbox(), recorder.counters());
            flash.fail();
            inbox.push_samples((0..200_000).map(sample));
            until(&counters, "the failure is seen", |c| c.health() != BufferHealth::Writable);
            flash.take_away();
            until(&counters, "the file is missed", |c| c.health() == BufferHealth::Gone);
            flash.mount();
            until(&counters, "what is left is committed", |c| committed(c) == 180_000);
            recorder.stop();
            let mut store = open(&settings);
            assert_eq!(numbers(&mut store), (20_000..200_000).collect::<Vec<_>>());
            let records = all(&mut store, StreamId::Diagnostic);
            assert_eq!(records.len(), 1);
            let said = format!("{:?}", records[0].body);
            assert!(said.contains("samples: 20000, reason: StoreStalled"), "{said}");
        },
    );
}
