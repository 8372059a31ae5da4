//! The conformance suite on real SQLite files, and what only files can do wrong.

#![allow(unused_crate_dependencies, reason = "the crate under test has dependencies of its own")]

mod conformance;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use conformance::fixture::*;
use conformance::{Laboratory, alarms, configuration, enrolment, identity, ingest, reads, tenants};
use fleet::FleetStore;
use ingestion::{Fate, IngestStore};
use proptest::prelude::*;
use protocol::StreamId;
use store_sqlite::{SqliteError, SqliteStore};
use tempfile::TempDir;
use tenancy::{TenancyStore, Tenant};

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
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime")
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

conforms! {
    configuration::{
        versions_count_up_and_stay_as_they_were,
        of_two_who_edit_at_a_time_the_second_is_told,
        each_gateway_stands_where_its_last_report_says,
    }
    enrolment::{
        an_invitation_makes_a_gateway_once,
        a_late_code_and_a_replaced_one_are_worth_nothing,
        a_new_enrolment_and_a_revocation_end_what_was_there,
    }
    ingest::{
        a_batch_is_stored_and_acknowledged_once_it_is_durable,
        a_duplicate_is_counted_and_acknowledged_again,
        a_batch_above_a_hole_is_stored_and_the_acknowledgement_waits,
        a_gap_record_lets_the_acknowledgement_pass,
        a_batch_that_was_given_up_and_comes_after_all_is_stored,
        samples_dropped_before_they_were_a_batch_are_in_the_ledger,
        an_unreadable_body_is_put_aside_and_passed,
        garbage_is_counted_under_no_epoch_and_never_acknowledged,
        epochs_and_gateways_have_sequences_of_their_own,
        hello_answers_where_every_stream_stands,
        what_a_gateway_no_longer_holds_is_a_gap_and_not_a_dead_end,
        a_declared_gap_takes_the_place_of_one_that_was_concluded,
        a_stream_full_of_holes_refuses_a_batch_without_storing_it,
        a_series_number_keeps_its_tag_within_an_epoch,
        an_unknown_tenant_is_an_error_and_no_new_place,
    }
    alarms::{
        a_transition_is_in_the_journal_exactly_as_it_was_decided,
        everything_that_a_transition_says_comes_back,
        an_alarm_that_is_hidden_is_listed_as_such_until_it_comes_out,
        an_occurrence_that_a_later_one_followed_is_not_active,
        an_alarm_is_active_until_its_return_is_stored,
        transitions_that_arrive_in_the_wrong_order_fold_to_the_same_alarm,
        pages_of_a_list_neither_overlap_nor_skip,
        alarms_of_an_epoch_that_the_gateway_left_are_not_active,
    }
    reads::{
        samples_are_found_by_machine_tag_and_time,
        late_and_long_batches_are_in_their_place_in_time,
        a_tag_keeps_its_history_over_epochs_with_other_series_numbers,
        a_tag_that_was_removed_keeps_its_history,
        a_reduced_answer_covers_more_samples_than_it_may_hold,
        the_latest_samples_are_the_newest_in_time_and_not_in_arrival,
        a_gateway_is_listed_from_its_registration_on,
    }
    tenants::{
        what_was_added_is_there_after_opening_again,
        a_second_one_of_the_same_name_is_refused,
        nothing_belongs_to_a_tenant_or_user_that_is_not_there,
        a_session_ends_by_removal_by_expiry_and_by_too_many_newer_ones,
        tenants_do_not_see_each_other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_balances_whatever_arrives(groups in identity::steps()) {
        runtime().block_on(identity::the_ledger_balances_whatever_arrives(&Scratch::new(), &groups));
    }
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
