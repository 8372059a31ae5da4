//! The tables come to the same from every earlier version, and two programs may bring them there at a time.

use refinery::Target;
use store_postgres::{PostgresError, PostgresStore};
use tokio_postgres::NoTls;

use crate::{Server, runtime};

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
    let versions = embedded::migrations::runner().get_migrations().len();
    for version in 1..=versions {
        let name = format!("version{version}");
        let uri = server.database(&name);
        runtime().block_on(migrate(&uri, Target::Version(i32::try_from(version).expect("small"))));
        server.sql(&name, "INSERT INTO tenant (id, name, created_at) VALUES ('acme', 'Acme', 7)");
        runtime().block_on(PostgresStore::open(&uri)).expect("opens");
        assert_eq!(server.sql(&name, SHAPE), newest, "from version {version}");
        assert_eq!(server.sql(&name, "SELECT * FROM tenant"), "acme|Acme|7", "from version {version}");
    }
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
