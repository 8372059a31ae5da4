//! The conformance suite on real SQLite files, and what only files can do wrong.

#![allow(unused_crate_dependencies, reason = "the crate under test has dependencies of its own")]

mod conformance;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use conformance::fixture::*;
use conformance::{
    Laboratory, alarms, configuration, conformance_suite, enrolment, identity, ingest, lifecycle, moves,
    reads, rollout, tenants, tiers,
};
use fleet::FleetStore;
use ingestion::{Fate, IngestStore};
use proptest::prelude::*;
use protocol::StreamId;
use segments::TagKind;
use store_sqlite::{SqliteError, SqliteStore};
use tempfile::TempDir;
use tenancy::{TenancyStore, Tenant};
use tiering::{Revision, SealSet, TierStore};

/// Stores in a scratch directory.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(TempDir::new().expect("a scratch directory"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Laboratory for Scratch {
    type Store = SqliteStore;

    fn open(&self) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(self.path()).expect("the store opens"))
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime")
}

macro_rules! conforms {
    ($($module:ident :: { $($name:ident),* $(,)? })*) => {
        $($(
            #[test]
            fn $name() {
                runtime().block_on($module::$name(&Scratch::new()));
            }
        )*)*
    };
}

conformance_suite!(conforms);

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_balances_whatever_arrives(groups in identity::steps()) {
        runtime().block_on(identity::the_ledger_balances_whatever_arrives(&Scratch::new(), &groups));
    }
}

/// As many policies as the field case asks for: some seconds.
#[test]
fn st2_no_policy_of_one_tenant_changes_what_another_has() {
    runtime().block_on(moves::st2_no_policy_of_one_tenant_changes_what_another_has(&Scratch::new(), 1_000));
}

/// A directory with one tenant and one stored batch, closed.
fn filled() -> Scratch {
    let scratch = Scratch::new();
    runtime().block_on(async {
        let store = scratch.open();
        add_tenant(&*store).await;
        send(&*store, StreamId::Telemetry, [telemetry(1)]).await;
    });
    scratch
}

fn refusal(scratch: &Scratch) -> (SqliteError, String) {
    let error = SqliteStore::open(scratch.path()).expect_err("it must not open");
    let message = error.to_string();
    (error, message)
}

#[test]
fn a_truncated_file_refuses_to_open_names_itself_and_stays_as_it_is() {
    for (name, sizes) in [("control.db", [0, 50, 4096]), ("tenants/acme.db", [0, 50, 8192])] {
        for size in sizes {
            let scratch = filled();
            let file = scratch.file(name);
            fs::File::options().write(true).open(&file).and_then(|f| f.set_len(size)).expect("cut");
            let (error, message) = refusal(&scratch);
            assert!(
                matches!(&error, SqliteError::Damaged { path, .. } if *path == file),
                "{size}: {error:?}"
            );
            assert!(message.contains(name) && message.contains("backup"), "{message}");
            assert_eq!(fs::metadata(&file).expect("still there").len(), size, "nothing was written");
        }
    }
}

#[test]
fn a_file_with_a_damaged_page_refuses_to_open() {
    let scratch = filled();
    let file = scratch.file("tenants/acme.db");
    let mut bytes = fs::read(&file).expect("readable");
    // The last page: nothing reads it on the way to an open store, except on purpose.
    let last = bytes.len() - 4096;
    bytes[last..].fill(0xA5);
    fs::write(&file, bytes).expect("writable");
    let (error, _) = refusal(&scratch);
    assert!(matches!(error, SqliteError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_foreign_file_in_the_place_of_a_store_refuses_to_open() {
    let scratch = filled();
    fs::copy(scratch.file("control.db"), scratch.file("tenants/acme.db")).expect("copied");
    let (error, message) = refusal(&scratch);
    assert!(matches!(error, SqliteError::Damaged { .. }) && message.contains("application id"), "{message}");
    fs::write(scratch.file("tenants/acme.db"), [b'x'; 5000]).expect("written");
    assert!(refusal(&scratch).1.contains("no SQLite file"));
}

#[test]
fn a_missing_file_of_a_tenant_or_of_the_tenants_refuses_to_open() {
    for name in ["tenants/acme.db", "control.db"] {
        let scratch = filled();
        fs::remove_file(scratch.file(name)).expect("removed");
        let (error, message) = refusal(&scratch);
        assert!(matches!(error, SqliteError::Missing { .. }) && message.contains(name), "{error:?}");
        assert!(!scratch.file(name).exists(), "it was not made anew");
    }
}

#[test]
fn a_file_of_a_newer_program_refuses_to_open() {
    let scratch = filled();
    let connection = rusqlite::Connection::open(scratch.file("tenants/acme.db")).expect("opens");
    connection.execute("INSERT INTO schema_version (version) VALUES (99)", []).expect("written");
    drop(connection);
    let (error, message) = refusal(&scratch);
    assert!(matches!(error, SqliteError::Newer { found: 99, .. }), "{error:?}");
    assert!(message.contains("newer program"), "{message}");
}

#[test]
fn commands_that_wait_together_are_all_answered_and_a_refused_one_disturbs_no_other() {
    let scratch = Scratch::new();
    runtime().block_on(async {
        let store = scratch.open();
        let mut tasks = Vec::new();
        for n in 0..40 {
            let store = Arc::clone(&store);
            // Every id twice: one of the two is refused, in the same transactions as the others.
            let id = plant_model::TenantId::new(&format!("t-{}", n / 2)).expect("valid");
            tasks.push(tokio::spawn(
                async move { store.add_tenant(Tenant { id, name: String::new() }).await },
            ));
        }
        let mut added = 0;
        for task in tasks {
            added += usize::from(task.await.expect("no panic").is_ok());
        }
        assert_eq!(added, 20);
        assert_eq!(store.tenants().await.expect("works").len(), 20);
    });
}

#[test]
fn what_another_process_adds_can_be_used_at_once() {
    let scratch = Scratch::new();
    runtime().block_on(async {
        let (server, command) = (scratch.open(), scratch.open());
        add_tenant(&*command).await;
        assert_eq!(server.tenants().await.expect("works").len(), 1);
        assert_eq!(send(&*server, StreamId::Telemetry, [telemetry(1)]).await.fates, [Fate::Stored]);
        assert_eq!(send(&*command, StreamId::Telemetry, [telemetry(1)]).await.fates, [Fate::Duplicate]);
        assert_eq!(ledger_of(&*server, StreamId::Telemetry).await.received, 2);
    });
}

#[test]
fn a_stream_in_good_order_needs_one_row_however_it_arrived() {
    let scratch = filled();
    runtime().block_on(async {
        let store = scratch.open();
        send(&*store, StreamId::Telemetry, [telemetry(5), telemetry(3), telemetry(7)]).await;
        send(&*store, StreamId::Telemetry, [telemetry(2), telemetry(4), telemetry(6)]).await;
    });
    let connection = rusqlite::Connection::open(scratch.file("tenants/acme.db")).expect("opens");
    let ranges = connection.query_row("SELECT count(*), max(last) FROM coverage", [], |r| {
        Ok((r.get::<_, i64>(0)?, r.get::<_, i64>(1)?))
    });
    assert_eq!(ranges.expect("readable"), (1, 7));
}

#[test]
fn a_leftover_of_a_crash_while_a_file_was_made_does_no_harm() {
    let scratch = Scratch::new();
    let draft = scratch.file(&format!("control.draft-{}", std::process::id()));
    fs::write(&draft, b"half a file").expect("written");
    drop(scratch.open());
    assert!(!draft.exists());
}

/// Where the killed process works; only set by the test that starts it.
const VICTIM: &str = "STORE_SQLITE_TEST_VICTIM";

/// Applies batch after batch and says which were acknowledged. Does nothing in an ordinary run.
#[test]
fn victim_of_the_kill_test() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    runtime().block_on(async {
        let store = SqliteStore::open(Path::new(&directory)).expect("the store opens");
        for n in 1.. {
            let applied = send(&store, StreamId::Telemetry, [telemetry(n)]).await;
            println!("acknowledged {}", acked(&applied, StreamId::Telemetry));
        }
    });
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged_and_leaves_a_sound_store() {
    let scratch = Scratch::new();
    runtime().block_on(async { add_tenant(&*scratch.open()).await });
    let mut acknowledged = 0;
    for _ in 0..3 {
        let mut victim = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "victim_of_the_kill_test", "--nocapture"])
            .env(VICTIM, scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let output = BufReader::new(victim.stdout.take().expect("piped"));
        let target = acknowledged + 25;
        for line in output.lines().map_while(Result::ok) {
            let Some((_, number)) = line.rsplit_once("acknowledged ") else { continue };
            acknowledged = number.trim().parse().expect("a number");
            if acknowledged >= target {
                break;
            }
        }
        victim.kill().expect("killed");
        victim.wait().expect("gone");
        assert!(acknowledged >= target, "the victim ended by itself after {acknowledged}");
        let row = runtime().block_on(async { ledger_of(&*scratch.open(), StreamId::Telemetry).await });
        assert!(row.committed_through.as_u64() >= acknowledged, "{row:?} after {acknowledged}");
        assert_eq!(row.stored, row.committed_through.as_u64());
    }
}

#[test]
fn the_writer_answers_a_ping_and_a_store_that_was_closed_is_whole_without_its_log() {
    let scratch = filled();
    runtime().block_on(async { scratch.open().ping().await.expect("alive") });
    assert!(!scratch.file("tenants/acme.db-wal").exists(), "the log was moved into the file");
    let rows = runtime().block_on(async { scratch.open().ledger(&tenant()).await.expect("works") });
    assert_eq!(rows.len(), 1);
}

/// Tables of version 3 of a tenant's file.
const OF_VERSION_3: [&str; 15] = [
    "batch",
    "catalogue",
    "clock_change",
    "coverage",
    "dropped",
    "gap",
    "gateway",
    "journal",
    "occurrence",
    "quarantine",
    "rejection",
    "schema_version",
    "series",
    "stream",
    "unreadable",
];

#[test]
fn a_file_of_before_the_tiers_is_sealed_after_it_was_migrated() {
    let scratch = Scratch::new();
    let file = scratch.file("tenants/acme.db");
    let before = runtime().block_on(async {
        let store = tiers::plant(&scratch).await;
        let batches = (1..=3_i64).map(|n| tiers::batch_at(EPOCH, n.cast_unsigned(), &[n * 60_000_000, n]));
        send(&*store, StreamId::Telemetry, batches).await;
        tiers::shown(&*store).await
    });
    let connection = rusqlite::Connection::open(&file).expect("opens");
    connection.execute_batch("PRAGMA foreign_keys = OFF").expect("set");
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").expect("sql");
    let names: Vec<String> =
        statement.query_map([], |r| r.get(0)).expect("rows").collect::<Result<_, _>>().expect("texts");
    drop(statement);
    for name in
        names.iter().filter(|name| !name.starts_with("sqlite_") && !OF_VERSION_3.contains(&name.as_str()))
    {
        connection.execute_batch(&format!("DROP TABLE {name}")).expect("dropped");
    }
    connection.execute_batch("DELETE FROM schema_version WHERE version > 3").expect("as it was");
    drop(connection);
    runtime().block_on(async {
        let store = scratch.open();
        let tags = TierStore::tags(&*store, &tenant(), &gateway(), None).await.expect("works");
        let told: Vec<_> = tags.iter().map(|t| (t.number.0, t.tag.as_str(), t.kind)).collect();
        assert_eq!(told, [(0, "pressure", TagKind::Analog), (1, "state", TagKind::State)]);
        assert_eq!(tiers::seal_all(&*store, at(3_600_000_000)).await, 3);
        assert_eq!(tiers::shown(&*store).await, before);
    });
}

#[test]
fn st3_space_comes_back_to_the_system_without_anybodys_help() {
    const BATCHES: u64 = 200;
    let scratch = Scratch::new();
    let file = scratch.file("tenants/acme.db");
    let free = || -> i64 {
        let connection = rusqlite::Connection::open(&file).expect("opens");
        connection.busy_timeout(std::time::Duration::from_secs(30)).expect("set");
        connection.query_row("PRAGMA freelist_count", [], |row| row.get(0)).expect("a number")
    };
    runtime().block_on(async {
        let store = tiers::plant(&scratch).await;
        // Noise, 8 bytes a sample and more: 16 MB.
        let noise = |n: u64| {
            let value = |k: i64| {
                // SplitMix64: nothing that a codec could foresee.
                let x = (n * 100_000 + k.cast_unsigned()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                f64::from_bits((x ^ (x >> 31)) >> 2)
            };
            let list: Vec<_> = (0..10_000).map(|k| (k, value(k))).collect();
            encode(EPOCH, n, &samples(1, &list))
        };
        for n in 1..=BATCHES {
            assert_eq!(send(&*store, StreamId::Telemetry, [noise(n)]).await.fates, [Fate::Stored]);
        }
        let full = fs::metadata(&file).expect("there").len();
        assert!(full > 8 << 20, "{full} bytes");
        let (base, through, segments) = (Revision(0), seq(BATCHES), Vec::new());
        let set = SealSet { gateway: gateway(), base, epoch: EPOCH, through, segments, latest: None };
        store.seal(&tenant(), set).await.expect("sealed");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while free() > 1_024 {
            assert!(std::time::Instant::now() < deadline, "{} pages are still free", free());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        drop(store);
        let left = fs::metadata(&file).expect("there").len();
        assert!(left < full / 2, "{left} of {full} bytes");
    });
}

/// Sends batch after batch, two to a minute, seals what can be sealed, and says which were acknowledged. Does nothing in
/// an ordinary run.
#[test]
fn victim_of_the_kill_while_sealing() {
    let Some(directory) = std::env::var_os(VICTIM) else { return };
    runtime().block_on(async {
        let store = SqliteStore::open(Path::new(&directory)).expect("the store opens");
        let from = ledger_of(&store, StreamId::Telemetry).await.committed_through.as_u64();
        for n in from + 1.. {
            let at_micros = i64::try_from(n).expect("small") * 30_000_000;
            let applied =
                send(&store, StreamId::Telemetry, [tiers::batch_at(EPOCH, n, &[at_micros, at_micros + 1])])
                    .await;
            println!("acknowledged {}", acked(&applied, StreamId::Telemetry));
            tiers::seal_all(&store, at(3_600_000_000)).await;
        }
    });
}

#[test]
fn a_kill_while_sealing_loses_and_doubles_no_sample() {
    let scratch = Scratch::new();
    runtime().block_on(async {
        let store = tiers::plant(&scratch).await;
        send(&*store, StreamId::Telemetry, [tiers::batch_at(EPOCH, 1, &[30_000_000, 30_000_001])]).await;
    });
    for round in 1..=4 {
        let mut victim = Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", "victim_of_the_kill_while_sealing", "--nocapture"])
            .env(VICTIM, scratch.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let output = BufReader::new(victim.stdout.take().expect("piped"));
        let number = |line: String| line.rsplit_once("acknowledged ")?.1.trim().parse::<u64>().ok();
        let acknowledged = output.lines().map_while(Result::ok).filter_map(number).find(|n| *n >= 15 * round);
        victim.kill().expect("killed");
        victim.wait().expect("gone");
        assert!(acknowledged.is_some(), "the victim ended by itself");
        runtime().block_on(async {
            let store = scratch.open();
            let through = ledger_of(&*store, StreamId::Telemetry).await.committed_through.as_u64();
            assert!(acknowledged.is_some_and(|n| through >= n), "{through} after {acknowledged:?}");
            let expected: Vec<_> = (1..=through)
                .flat_map(|n| {
                    let at = i64::try_from(n).expect("small") * 30_000_000;
                    let value = f64::from(u32::try_from(n).expect("small"));
                    [(at, value), (at + 1, value)]
                })
                .collect();
            assert_eq!(tiers::shown(&*store).await, expected, "each sample once");
            let streams = store.sealing_streams(&tenant(), &gateway()).await.expect("works");
            assert!(streams[0].sealed_through > seq(0), "{streams:?}");
        });
    }
}

#[test]
fn f11_all_files_of_the_store_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let scratch = filled();
    let _store = scratch.open();
    let (mut folders, mut seen) = (vec![scratch.path().to_owned()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("readable");
            if entry.path().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let mode = entry.metadata().expect("there").permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
            seen += 1;
        }
    }
    assert!(seen >= 2, "of the control plane and of a tenant");
}
