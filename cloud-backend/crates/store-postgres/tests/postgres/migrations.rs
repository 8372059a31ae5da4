//! The tables come to the same from every earlier version, and two programs may bring them there at a time.

use protocol::BatchHeader;
use refinery::Target;
use store_postgres::{PostgresError, PostgresStore};
use tokio_postgres::NoTls;

use crate::conformance::Laboratory as _;
use crate::conformance::fixture::*;
use crate::conformance::tiers::{seal_through, shown};
use crate::{Database, Server, runtime};

mod embedded {
    refinery::embed_migrations!("src/migrations");
}

/// Columns, constraints, indexes, policies and grants, as text.
const SHAPE: &str = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
    SELECT format('%s.%s %s %s %s', table_name, column_name, data_type, is_nullable, collation_name) AS line
      FROM information_schema.columns WHERE table_schema = 'public'
    UNION ALL SELECT format('%s %s', conrelid::regclass, pg_get_constraintdef(oid)) FROM pg_constraint
      WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT format('%s %s %s %s %s', tablename, policyname, roles, qual, with_check) FROM pg_policies
    UNION ALL SELECT format('%s %s %s', table_name, grantee, privilege_type)
      FROM information_schema.role_table_grants WHERE grantee LIKE 'cloud_backend_%') AS lines";

async fn migrate(uri: &str, to: Target) {
    let (mut client, connection) = tokio_postgres::connect(uri, NoTls).await.expect("connects");
    let driver = tokio::spawn(connection);
    embedded::migrations::runner().set_target(to).run_async(&mut client).await.expect("it migrates");
    drop(client);
    driver.await.expect("no panic").expect("closed in order");
}

#[test]
fn every_earlier_version_becomes_the_newest_and_keeps_its_rows() {
    let server = Server::start();
    let fresh = server.database("fresh");
    runtime().block_on(PostgresStore::open(&fresh)).expect("opens");
    let newest = server.sql("fresh", SHAPE);
    assert!(newest.contains("batch.body bytea"), "{newest}");
    let migrations = embedded::migrations::runner();
    for version in migrations.get_migrations().iter().map(|m| usize::try_from(m.version()).expect("small")) {
        let name = format!("version{version}");
        let uri = server.database(&name);
        runtime().block_on(migrate(&uri, Target::Version(i32::try_from(version).expect("small"))));
        server.sql(&name, "INSERT INTO tenant (id, name, created_at) VALUES ('acme', 'Acme', 7)");
        let has_series = server.sql(&name, "SELECT to_regclass('series') IS NOT NULL") == "t";
        if has_series {
            server.sql(&name, SERIES);
        }
        runtime().block_on(PostgresStore::open(&uri)).expect("opens");
        assert_eq!(server.sql(&name, SHAPE), newest, "from version {version}");
        assert_eq!(server.sql(&name, "SELECT * FROM tenant"), "acme|Acme|7", "from version {version}");
        if has_series && version < TIERS {
            let tags = "SELECT machine, number, tag, kind, unit FROM tag ORDER BY machine, number";
            let expected = "m1|0|pressure|0|Pa\nm1|1|state|2|\nm1|2|door|2|\nm2|0|pressure|0|bar";
            assert_eq!(server.sql(&name, tags), expected, "from version {version}");
            let forced = "SELECT relforcerowsecurity FROM pg_class WHERE relname = 'series'";
            assert_eq!(server.sql(&name, forced), "t", "from version {version}");
        }
    }
}

/// The version from which on catalogues give numbers to tags.
const TIERS: usize = 5;

/// Series of two machines and two epochs: in the later one a unit changed and the numbers are others.
const SERIES: &str = "INSERT INTO series
      (tenant, gateway, epoch, series, machine, tag, unit, data_type, role, updated_at) VALUES
    ('acme', 'gw-1', 1, 1, 'm1', 'pressure', 'bar', 'float', '', 10),
    ('acme', 'gw-1', 1, 2, 'm1', 'state', '', 'int', 'state', 10),
    ('acme', 'gw-1', 1, 3, 'm2', 'pressure', 'bar', 'float', 'headline', 10),
    ('acme', 'gw-1', 2, 7, 'm1', 'door', '', 'bool', '', 20),
    ('acme', 'gw-1', 2, 8, 'm1', 'pressure', 'Pa', 'float', '', 20)";

/// Batches of a version that knew no tiers are sealed as those are that come now.
#[test]
fn batches_of_an_earlier_version_are_sealed_and_come_back_the_same() {
    let server = Server::start();
    let (database, other) = (Database::new(&server), Database::new(&server));
    runtime().block_on(async {
        // The roles are there from then on.
        other.open();
        migrate(&database.uri, Target::Version(3)).await;
        let columns = "tenant, gateway, epoch, series, machine, tag, unit, data_type, role, updated_at";
        let fill = format!(
            "INSERT INTO tenant VALUES ('acme', 'Acme', 7);
             INSERT INTO series ({columns}) VALUES
               ('acme', 'gw-1', {0}, 1, 'press-1', 'pressure', 'bar', 'float', '', 1);
             INSERT INTO stream VALUES ('acme', 'gw-1', {0}, 2, 2, 2, 0, 2, 99, 0, 1);
             INSERT INTO coverage VALUES ('acme', 'gw-1', {0}, 2, 1, 2);
             INSERT INTO batch VALUES {1}, {2};",
            EPOCH.as_u64().cast_signed(),
            old_batch(1),
            old_batch(2),
        );
        tokio::task::block_in_place(|| server.sql(&database.name, &fill));
        let store = database.open();
        let before = shown(&*store).await;
        assert_eq!(before.len(), 2);
        seal_through(&*store, EPOCH, 2, None).await.expect("sealed");
        assert_eq!(shown(&*store).await, before);
        let left = "SELECT count(*) FROM batch";
        assert_eq!(tokio::task::block_in_place(|| server.sql(&database.name, left)), "0");
    });
}

/// A row of the table of batches.
fn old_batch(sequence: u64) -> String {
    let bytes = telemetry(sequence);
    let at = BatchHeader::read(&bytes).expect("a header").first_at.micros();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let epoch = EPOCH.as_u64().cast_signed();
    format!("('acme', 'gw-1', {epoch}, 2, {sequence}, {at}, {at}, 1, 1, '\\x{hex}')")
}

#[test]
fn programs_that_start_together_make_the_tables_once() {
    let server = Server::start();
    let uri = server.database("together");
    runtime().block_on(async {
        let starts: Vec<_> = (0..4)
            .map(|_| {
                let uri = uri.clone();
                tokio::spawn(async move { PostgresStore::open(&uri).await.map(drop) })
            })
            .collect();
        for start in starts {
            start.await.expect("no panic").expect("opens");
        }
    });
}

#[test]
fn tables_of_a_newer_or_another_program_refuse_to_open() {
    let server = Server::start();
    for (name, change) in [
        ("newer", "INSERT INTO refinery_schema_history VALUES (99, 'later', '2026-01-01T00:00:00Z', '1')"),
        ("another", "UPDATE refinery_schema_history SET checksum = '1' WHERE version = 2"),
    ] {
        let uri = server.database(name);
        runtime().block_on(PostgresStore::open(&uri)).expect("opens");
        server.sql(name, change);
        let error = runtime().block_on(PostgresStore::open(&uri)).expect_err("it must not open");
        assert!(matches!(error, PostgresError::Newer { .. }), "{error:?}");
        assert!(error.to_string().contains("newest program"), "{error}");
    }
}
