use plant_model::{CommandId, OperatorAction};

use super::*;

/// What a file holds in all: sequences of telemetry, and ranges that are declared lost.
fn accounts(store: &mut EdgeStore) -> (Vec<u64>, Vec<(u64, u64)>) {
    let held = all(store, StreamId::Telemetry).iter().map(|b| b.header.sequence.as_u64()).collect();
    let gaps = gaps(store).into_iter().filter(|g| g.stream == StreamId::Telemetry);
    (held, gaps.map(|g| (g.first.as_u64(), g.last.as_u64())).collect())
}

#[test]
fn a10_a_log_that_is_gone_or_cut_makes_numbers_be_skipped() {
    for cut in [None, Some(1 << 20)] {
        let folder = tempfile::tempdir().expect("temporary folder");
        let settings = settings(&folder);
        let mut store = open(&settings);
        let epoch = store.epoch();
        for _ in 0..5 {
            store.commit(&samples(1), NOW).expect("commits");
        }
        drop(store);
        let log = folder.path().join("buffer.db-wal");
        match cut {
            None => std::fs::remove_file(&log).expect("removes"),
            Some(bytes) => {
                let file = std::fs::OpenOptions::new().write(true).open(&log).expect("opens");
                file.set_len(bytes).expect("cuts");
            }
        }
        let opened = EdgeStore::open(settings.clone(), NOW).expect("starts all the same");
        assert!(opened.log_was_cut);
        let mut store = opened.store;
        assert_eq!(store.epoch(), epoch);
        let next = store.commit(&samples(1), NOW).expect("commits").sequence.as_u64();
        assert!(next > 100_000, "{next} may have been used");
        let (held, lost) = accounts(&mut store);
        let known = held.iter().filter(|s| **s < next).count();
        assert_eq!(lost, [(u64::try_from(known).expect("small") + 1, next - 1)]);
        drop(store);
        assert!(!EdgeStore::open(settings, NOW).expect("opens").log_was_cut, "once is enough");
    }
}

#[test]
fn a10_a_log_that_rotted_makes_numbers_be_skipped() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let mut store = open(&settings);
    for _ in 0..10 {
        store.commit(&samples(1), NOW).expect("commits");
    }
    drop(store);
    // A page within the third commit from the end.
    let log = folder.path().join("buffer.db-wal");
    let commits = crate::log::commits(&log).expect("a log");
    let frame = commits[commits.len() - 3];
    let file = std::fs::OpenOptions::new().write(true).open(&log).expect("opens");
    let inside = 32 + (frame - 1) * (24 + 1_024) + 500;
    std::os::unix::fs::FileExt::write_all_at(&file, b"rot", inside).expect("damages");
    let opened = EdgeStore::open(settings, NOW).expect("starts all the same");
    assert!(opened.log_was_cut);
    let mut store = opened.store;
    let next = store.commit(&samples(1), NOW).expect("commits").sequence.as_u64();
    assert!(next > 100_000, "{next} may have been used");
    let (held, lost) = accounts(&mut store);
    assert_eq!(held.iter().filter(|s| **s < next).count(), 7);
    assert_eq!(lost, [(8, next - 1)]);
}

/// Five pages in the middle of the telemetry become noise.
fn damage(store: EdgeStore, settings: &Settings) {
    let connection = store.connection().expect("open");
    connection.query_row("PRAGMA wal_checkpoint", [], |_| Ok(())).expect("empties the log");
    let sql = "SELECT pageno FROM dbstat WHERE name = 'outbox' AND pagetype = 'leaf' LIMIT 5 OFFSET 10";
    let pages: Vec<u64> = connection
        .prepare(sql)
        .and_then(|mut s| s.query_map([], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>, _>>())
        .expect("pages")
        .into_iter()
        .map(i64::cast_unsigned)
        .collect();
    assert_eq!(pages.len(), 5);
    drop(store);
    let file = std::fs::OpenOptions::new().write(true).open(&settings.path).expect("opens");
    for page in pages {
        std::os::unix::fs::FileExt::write_all_at(&file, &[0xA5; 1_024], (page - 1) * 1_024).expect("damages");
    }
}

#[test]
fn a10_a_salvage_that_is_killed_begins_anew_and_loses_nothing_more() {
    use crate::file::{aside_of, log_of};
    /// How far it came.
    #[derive(Debug, Clone, Copy)]
    enum Killed {
        AfterTheNote,
        WhileItIsRenamed,
        HalfWay,
        WhileItIsTakenBack,
    }
    for killed in
        [Killed::AfterTheNote, Killed::WhileItIsRenamed, Killed::HalfWay, Killed::WhileItIsTakenBack]
    {
        let folder = tempfile::tempdir().expect("temporary folder");
        let settings = Settings { bytes_max: 16 << 20, ..settings(&folder) };
        let (path, aside) = (&settings.path, aside_of(&settings.path, 1));
        let mut store = open(&settings);
        let epoch = store.epoch();
        for n in 0..100 {
            store.commit(&plant(n), NOW).expect("commits");
        }
        damage(store, &settings);

        undone::note(path, &aside).expect("notes");
        match killed {
            Killed::AfterTheNote => {}
            Killed::WhileItIsRenamed => std::fs::rename(path, &aside).expect("renames"),
            Killed::HalfWay | Killed::WhileItIsTakenBack => {
                crate::file::set_aside(path, &aside).expect("renames");
                let mut half = EdgeStore::anew(settings.clone(), epoch).expect("a new file");
                half.commit(&samples(1), NOW).expect("commits");
            }
        }
        if let Killed::WhileItIsTakenBack = killed {
            std::fs::remove_file(log_of(path)).expect("removes");
            std::fs::rename(&aside, path).expect("renames");
        }

        let opened = EdgeStore::open(settings.clone(), NOW).expect("starts");
        let (salvaged, mut store) = (opened.salvaged.expect("something goes on"), opened.store);
        assert_eq!(store.epoch(), epoch, "{killed:?}");
        let (held, lost) = accounts(&mut store);
        assert_eq!(salvaged.batches, u64::try_from(held.len()).expect("small"), "{killed:?}");
        let next = store.commit(&samples(1), NOW).expect("commits").sequence.as_u64();
        let lost = lost.into_iter().flat_map(|(first, last)| first..=last);
        let mut accounted: Vec<u64> = held.into_iter().chain(lost).collect();
        accounted.sort_unstable();
        assert_eq!(accounted, (1..next).collect::<Vec<_>>(), "{killed:?}");
        drop(store);
        assert!(EdgeStore::open(settings, NOW).expect("opens").salvaged.is_none(), "once is enough");
    }
}

#[test]
fn a10_batches_that_can_be_read_go_on_under_their_epoch_and_the_rest_is_declared() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = Settings { bytes_max: 16 << 20, ..settings(&folder) };
    let mut store = open(&settings);
    let (epoch, machine) = (store.epoch(), MachineId::new("m").expect("valid"));
    // As many as a plant has: they do not fit into the pages that a new file has free.
    let plenty: Vec<TagId> = (0..300).map(|n| TagId::new(&format!("tag-{n}")).expect("valid")).collect();
    let numbers = store.series(&machine, &plenty, NOW).expect("numbers");
    let BatchBody::Transitions(mut shelved) = transition(4, AlarmState::Shelved) else { panic!("one") };
    shelved[0].operation = Some(OperatorAction {
        command: CommandId::new("c-1").expect("valid"),
        actor: "ada".into(),
        comment: String::new(),
    });
    store.commit(&BatchBody::Transitions(shelved), NOW).expect("commits");
    let mut kept = store.alarms().expect("reads").remove(0);
    kept.timers.shelf_left = Some(Duration::from_secs(60));
    store.note_timers(std::slice::from_ref(&kept), NOW).expect("notes");
    for n in 0..200 {
        store.commit(&plant(n), NOW).expect("commits");
    }
    store.acknowledge(StreamId::Telemetry, Sequence::from_u64(10));
    store.flush().expect("writes");
    damage(store, &settings);

    let opened = EdgeStore::open(settings.clone(), NOW).expect("starts");
    let (salvaged, mut store) = (opened.salvaged.expect("something goes on"), opened.store);
    assert!(opened.set_aside.expect("kept").exists());
    assert_eq!(store.epoch(), epoch);
    let (held, lost) = accounts(&mut store);
    assert!(held.len() > 150 && held.len() < 200, "{} of 200 batches go on", held.len());
    assert_eq!(salvaged.batches, u64::try_from(held.len()).expect("small") + 1);
    let next = store.commit(&samples(1), NOW).expect("commits").sequence.as_u64();
    assert!(next > 100_200, "{next} may have been used");
    // Above the watermark every number is held or declared, once.
    let lost = lost.into_iter().flat_map(|(first, last)| first..=last);
    let mut accounted: Vec<u64> = held.into_iter().filter(|s| *s > 10).chain(lost).collect();
    accounted.sort_unstable();
    assert_eq!(accounted, (11..next).collect::<Vec<_>>());
    assert_eq!(store.series(&machine, &plenty, NOW).expect("numbers"), numbers);
    assert_eq!(store.alarms().expect("reads"), [kept]);
    assert_eq!(store.commands().expect("reads")[0].id.as_str(), "c-1");
}

#[test]
fn a10_a_file_cut_in_half_starts_with_what_can_be_read() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let settings = settings(&folder);
    let mut store = open(&settings);
    let epoch = store.epoch();
    for n in 0..200 {
        store.commit(&plant(n), NOW).expect("commits");
    }
    drop(store);
    let size = std::fs::metadata(&settings.path).expect("exists").len();
    let file = std::fs::OpenOptions::new().write(true).open(&settings.path).expect("writable");
    file.set_len(size / 2).expect("truncates");
    let opened = EdgeStore::open(settings, NOW).expect("starts all the same");
    let aside = opened.set_aside.expect("the damaged file is kept");
    assert_eq!(std::fs::metadata(&aside).expect("kept").len(), size / 2);
    let mut store = opened.store;
    store.commit(&samples(1), NOW).expect("commits");
    let salvaged = opened.salvaged.expect("the front half has the tables that matter");
    assert_eq!(store.epoch(), epoch);
    assert!(salvaged.batches > 0 && salvaged.gaps > 0, "{salvaged:?}");
}
