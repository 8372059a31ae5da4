//! A server that is locked, stopped, or cuts its connections: nothing is acknowledged that is not stored.

use fleet::FleetStore as _;
use ingestion::{Fate, IngestStore as _, StoreError};
use protocol::StreamId;
use store_postgres::{PostgresError, PostgresStore};
use tiering::TierStore as _;

use crate::conformance::Laboratory as _;
use crate::conformance::fixture::*;
use crate::conformance::tiers;
use crate::{Database, Server, runtime};

const TELEMETRY: StreamId = StreamId::Telemetry;

#[test]
fn in9_a_table_that_somebody_locks_fails_the_write_whole_and_the_next_one_works() {
    let server = Server::start();
    let database = Database::new(&server);
    let name = database.name.as_str();
    runtime().block_on(async {
        let store = database.open();
        add_tenant(&*store).await;
        send(&*store, TELEMETRY, [telemetry(1)]).await;
        // The counters are written last: everything before them is undone with them.
        let held = server.hold(name, "LOCK TABLE stream IN ACCESS EXCLUSIVE MODE");
        let set = set_of([(TELEMETRY, telemetry(2))]);
        let error = store.apply(&tenant(), set).await.expect_err("it is locked");
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        drop(held);
        assert_eq!(send(&*store, TELEMETRY, [telemetry(2)]).await.fates, [Fate::Stored]);
        let row = ledger_of(&*store, TELEMETRY).await;
        assert_eq!((row.received, row.stored), (2, 2));
    });
}

#[test]
fn in9_a_server_that_stops_and_starts_loses_nothing_that_was_acknowledged() {
    let mut server = Server::start();
    let database = Database::new(&server);
    runtime().block_on(async {
        let store = database.open();
        add_tenant(&*store).await;
        send(&*store, TELEMETRY, [telemetry(1)]).await;
        store.ledger(&tenant()).await.expect("works");
        server.stop();
        let set = set_of([(TELEMETRY, telemetry(2))]);
        let error = store.apply(&tenant(), set).await.expect_err("nobody answers");
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        store.ping().await.expect_err("nobody answers");
        store.ledger(&tenant()).await.expect_err("nobody answers");
        server.start_again();
        assert_eq!(
            send(&*store, TELEMETRY, [telemetry(1), telemetry(2)]).await.fates,
            [Fate::Duplicate, Fate::Stored]
        );
        store.ping().await.expect("it answers");
    });
}

#[test]
fn in9_connections_that_are_cut_over_and_over_lose_nothing() {
    const BATCHES: u64 = 40;
    let server = Server::start();
    let database = Database::new(&server);
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'backend'";
    let failures = runtime().block_on(async {
        let store = database.open();
        add_tenant(&*store).await;
        let mut failures = 0;
        for n in 1..=BATCHES {
            server.sql("postgres", cut);
            // The one that fails has found out; the next one gets another connection.
            while store.apply(&tenant(), set_of([(TELEMETRY, telemetry(n))])).await.is_err() {
                failures += 1;
                assert!(failures <= 2 * BATCHES, "it does not recover");
            }
        }
        let row = ledger_of(&*store, TELEMETRY).await;
        assert_eq!((row.stored, row.committed_through.as_u64()), (BATCHES, BATCHES));
        failures
    });
    println!("{failures} of {} attempts failed", BATCHES + failures);
}

#[test]
fn st1_a_sealing_whose_connection_is_cut_wrote_nothing_and_the_next_one_writes_it_all() {
    let server = Server::start();
    let database = Database::new(&server);
    let name = database.name.as_str();
    runtime().block_on(async {
        let store = tiers::plant(&database).await;
        send(&*store, TELEMETRY, [tiers::batch_at(EPOCH, 1, &[0]), tiers::batch_at(EPOCH, 2, &[9])]).await;
        let before = tiers::shown(&*store).await;
        let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE usename = 'backend' AND wait_event = 'relation'";
        // In the order in which a sealing comes to them: the last is written when all else is.
        for table in ["batch", "segment_body", "segment", "hour_due"] {
            let held = server.hold(name, &format!("LOCK TABLE ONLY {table} IN SHARE MODE"));
            let sealing = tiers::seal_through(&*store, EPOCH, 2, Some(vec![1]));
            let cutting = async {
                waiting(&server, name).await;
                tokio::task::block_in_place(|| server.sql("postgres", cut))
            };
            let (sealed, cut) = tokio::join!(sealing, cutting);
            assert_eq!(cut, "1", "{table}");
            let error = sealed.expect_err(table);
            assert!(matches!(error, tiering::StoreError::Unavailable(_)), "{table}: {error:?}");
            drop(held);
            assert_eq!(tiers::shown(&*store).await, before, "{table}");
            let revision = store.revision(&tenant(), &gateway()).await.expect("works");
            assert_eq!(revision, tiering::Revision(0), "{table}");
            let count = "SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM segment),
                           (SELECT count(*) FROM segment_body), (SELECT count(*) FROM hour_due)";
            let rows = tokio::task::block_in_place(|| server.sql(name, count));
            assert_eq!(rows, "2|0|0|0", "{table}");
        }
        tiers::seal_through(&*store, EPOCH, 2, Some(vec![1])).await.expect("nobody is in its way");
        assert_eq!(tiers::shown(&*store).await, before);
        let rows = "SELECT (SELECT count(*) FROM batch), (SELECT count(*) FROM segment)";
        assert_eq!(tokio::task::block_in_place(|| server.sql(name, rows)), "0|1");
    });
}

#[test]
fn what_nobody_waits_for_any_more_leaves_no_lock_behind() {
    let server = Server::start();
    let database = Database::new(&server);
    let name = database.name.as_str();
    runtime().block_on(async {
        let store = database.open();
        add_tenant(&*store).await;
        let held = server.hold(name, "LOCK TABLE batch IN ACCESS EXCLUSIVE MODE");
        let tenant = tenant();
        let apply = store.apply(&tenant, set_of([(TELEMETRY, telemetry(1))]));
        // Its turn is taken and it waits for the table; then whoever asked goes away.
        tokio::select! {
            done = apply => panic!("the table is locked: {done:?}"),
            () = waiting(&server, name) => {}
        }
        drop(held);
        assert_eq!(send(&*store, TELEMETRY, [telemetry(1)]).await.fates, [Fate::Stored]);
    });
}

/// Ends when a statement of the store waits for a lock.
async fn waiting(server: &Server, database: &str) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'backend' AND wait_event = 'relation'";
    while tokio::task::block_in_place(|| server.sql(database, sql)) == "0" {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_server_that_does_not_flush_or_does_not_answer_is_refused_by_name_and_without_the_password() {
    let mut server = Server::start();
    let uri = server.database("careless").replace("backend@", "backend:hunter2@");
    let open = || runtime().block_on(PostgresStore::open(&uri)).expect_err("it must not open");
    server.sql("postgres", "ALTER SYSTEM SET fsync = off");
    server.sql("postgres", "SELECT pg_reload_conf()");
    while server.sql("postgres", "SHOW fsync") != "off" {
        std::thread::yield_now();
    }
    let error = open();
    assert!(matches!(error, PostgresError::NotDurable { setting: "fsync", .. }), "{error:?}");
    server.stop();
    let error = open();
    assert!(matches!(error, PostgresError::Unreachable { .. }), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("careless") && !text.contains("hunter2"), "{text}");
    let wrong = runtime().block_on(PostgresStore::open("postgres://anna:hunter2@[")).expect_err("no URI");
    assert!(matches!(wrong, PostgresError::Uri(_)) && !wrong.to_string().contains("hunter2"), "{wrong}");
}

#[test]
fn a_server_elsewhere_is_not_spoken_to_in_the_clear_unless_somebody_says_so() {
    let open = |uri: &str| runtime().block_on(PostgresStore::open(uri)).expect_err("nobody is there");
    for elsewhere in
        ["postgres://backend@db.example.invalid/x", "postgres://backend@192.0.2.1/x?sslmode=prefer"]
    {
        let error = open(elsewhere);
        assert!(matches!(error, PostgresError::Clear { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("sslmode=verify-full") && text.contains("sslmode=disable"), "{text}");
    }
    let told = open("postgres://backend@db.example.invalid/x?sslmode=disable");
    assert!(matches!(told, PostgresError::Unreachable { .. }), "{told:?}");
}
