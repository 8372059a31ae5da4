//! A buffer that is encrypted on the disk.

use super::*;
use crate::BufferKey;

const FIRST: Sequence = Sequence::ZERO;

fn sealed(folder: &tempfile::TempDir, digit: u8) -> Settings {
    Settings { key: BufferKey::parse(&[digit; 64]), ..settings(folder) }
}

fn shows(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|part| part == what)
}

fn files(folder: &tempfile::TempDir) -> usize {
    std::fs::read_dir(folder.path()).expect("lists").count()
}

#[test]
fn an_encrypted_buffer_gives_back_what_was_committed_and_shows_none_of_it_on_the_disk() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&sealed(&folder, b'a'));
    store.commit(&samples(300), NOW).expect("commits");
    let plain = store.read(StreamId::Telemetry, FIRST, NOW).expect("reads").expect("held").message;
    assert_eq!(Batch::decode(&plain).expect("a batch").body, samples(300));
    drop(store);
    let read = |name: &str| std::fs::read(folder.path().join(name)).expect("reads");
    let disk = [read("buffer.db"), read("buffer.db-wal")].concat();
    assert!(!shows(&disk, &plain[plain.len() - 32..]), "no part of the message lies there");
    assert!(!shows(&disk, &[b'a'; 64]) && !shows(&disk, &[0xAA; 32]), "nor does the key");
    let mut store = open(&sealed(&folder, b'a'));
    assert_eq!(store.read(StreamId::Telemetry, FIRST, NOW).expect("reads").expect("held").message, plain);
}

#[test]
fn a_wrong_or_missing_key_is_refused_and_nothing_is_set_aside() {
    let folder = tempfile::tempdir().expect("temporary folder");
    open(&sealed(&folder, b'a')).commit(&samples(10), NOW).expect("commits");
    let wrong = EdgeStore::open(sealed(&folder, b'b'), NOW).expect_err("another key");
    assert!(matches!(wrong, StoreError::KeyWrong { .. }), "{wrong}");
    let missing = EdgeStore::open(settings(&folder), NOW).expect_err("no key");
    assert!(matches!(missing, StoreError::KeyMissing { .. }), "{missing}");
    assert_eq!(files(&folder), 2, "the file and its log");
    assert_eq!(all(&mut open(&sealed(&folder, b'a')), StreamId::Telemetry).len(), 1);
}

#[test]
fn a10_a_damaged_encrypted_buffer_stays_where_it_is_until_its_key_comes_and_then_goes_on() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let ours = sealed(&folder, b'a');
    let mut store = open(&ours);
    let epoch = store.epoch();
    for n in 0..200 {
        store.commit(&plant(n), NOW).expect("commits");
    }
    drop(store);
    let size = std::fs::metadata(&ours.path).expect("exists").len();
    let file = std::fs::OpenOptions::new().write(true).open(&ours.path).expect("writable");
    file.set_len(size / 2).expect("truncates");
    for settings in [sealed(&folder, b'b'), settings(&folder)] {
        let error = EdgeStore::open(settings, NOW).expect_err("refused");
        assert!(matches!(error, StoreError::KeyWrong { .. } | StoreError::KeyMissing { .. }), "{error}");
        assert_eq!(files(&folder), 2, "nothing was set aside");
    }
    let opened = EdgeStore::open(ours, NOW).expect("starts all the same");
    let (salvaged, mut store) = (opened.salvaged.expect("something goes on"), opened.store);
    assert_eq!(store.epoch(), epoch);
    let held = all(&mut store, StreamId::Telemetry).len();
    assert!(held > 10 && u64::try_from(held).expect("small") == salvaged.batches, "{held} of {salvaged:?}");
}

#[test]
fn a_plain_buffer_becomes_an_encrypted_one_and_keeps_what_it_holds() {
    let folder = tempfile::tempdir().expect("temporary folder");
    open(&settings(&folder)).commit(&samples(10), NOW).expect("commits");
    let mut store = open(&sealed(&folder, b'a'));
    store.commit(&samples(20), NOW).expect("commits");
    let bodies: Vec<_> = all(&mut store, StreamId::Telemetry).into_iter().map(|b| b.body).collect();
    assert_eq!(bodies, [samples(10), samples(20)]);
    drop(store);
    assert!(EdgeStore::open(settings(&folder), NOW).is_err(), "from now on the key is needed");
}

#[test]
fn a_batch_moved_to_another_place_in_an_encrypted_file_is_set_aside() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&sealed(&folder, b'a'));
    store.commit(&samples(10), NOW).expect("commits");
    store.commit(&samples(20), NOW).expect("commits");
    let sql = "UPDATE outbox SET message = (SELECT message FROM outbox WHERE key = ?1) WHERE key = ?1 + 1";
    let first = key(StreamId::Telemetry, Sequence::from_u64(1));
    store.connection().expect("open").execute(sql, [first]).expect("swaps");
    assert_eq!(all(&mut store, StreamId::Telemetry).len(), 1);
    let gaps = gaps(&mut store);
    assert_eq!((gaps.len(), gaps[0].reason), (1, LossReason::Damaged), "{gaps:?}");
}

#[test]
fn a8_a_full_encrypted_buffer_still_thins_what_it_gives_up() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut store = open(&Settings { bytes_max: 0, ..sealed(&folder, b'a') });
    overfill(&mut store, 450, plant);
    let gaps = gaps(&mut store);
    assert!(
        gaps.iter().any(|gap| gap.reason == LossReason::Thinned),
        "thinning reads what it replaces: {gaps:?}"
    );
}
