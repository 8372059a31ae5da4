//! Row-level security: the second net, held against the tables that there are.

use fleet::FleetStore as _;
use protocol::{StreamId, TagRole};

use crate::conformance::Laboratory as _;
use crate::conformance::fixture::*;
use crate::conformance::tiers::seal_through;
use crate::{Database, Server, runtime};

/// A server with a database of one tenant with one batch, and the database's name.
fn filled() -> (Server, Database, String) {
    let server = Server::start();
    let database = Database::new(&server);
    let name = database.name.clone();
    runtime().block_on(async {
        let store = database.open();
        add_tenant(&*store).await;
        tenancy::TenancyStore::add_gateway(&*store, tenant(), gateway()).await.expect("new");
        save_catalogue(&*store, catalogue(EPOCH, &[(1, "pressure", TagRole::Plain)]), 0).await;
        send(&*store, StreamId::Telemetry, [telemetry(1), telemetry(2)]).await;
        seal_through(&*store, EPOCH, 1, Some(vec![1])).await.expect("sealed");
        assert_eq!(store.ledger(&tenant()).await.expect("works").len(), 1);
    });
    (server, database, name)
}

#[test]
fn a_role_of_the_store_sees_the_tenant_that_the_transaction_names_and_nothing_without_one() {
    let (server, _database, name) = filled();
    let seen = |role: &str, tenant: &str, table: &str| {
        let sql = format!(
            "BEGIN; SET LOCAL ROLE {role}; SET LOCAL app.tenant = '{tenant}'; SELECT count(*) FROM {table}; COMMIT"
        );
        server.sql(&name, &sql)
    };
    let resting = ["tag", "tier", "sealed", "segment", "segment_body", "hour_due"];
    for table in ["tenant", "gateway", "batch", "stream", "coverage"].into_iter().chain(resting) {
        assert_eq!(seen("cloud_backend_tenant", "acme", table), "1", "{table}");
        assert_eq!(seen("cloud_backend_tenant", "other", table), "0", "{table}");
        assert_eq!(seen("cloud_backend_tenant", "", table), "0", "{table}");
        let unset = format!("SET ROLE cloud_backend_tenant; SELECT count(*) FROM {table}");
        assert_eq!(server.sql(&name, &unset), "0", "{table}: who owns the tables sees nothing either");
    }
    assert_eq!(seen("cloud_backend_platform", "", "tenant"), "1");
    let owner = "SET ROLE backend; SELECT count(*) FROM batch";
    assert_eq!(server.sql(&name, owner), "0", "who owns the tables sees nothing either");
}

#[test]
fn every_table_forces_its_policies_and_no_role_of_the_store_may_empty_one() {
    let (server, _database, name) = filled();
    let tables =
        "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace";
    assert_ne!(server.sql(&name, tables), "0");
    let open =
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
                AND NOT (relrowsecurity AND relforcerowsecurity) AND relname <> 'refinery_schema_history'";
    assert_eq!(server.sql(&name, open), "", "tables without forced row-level security");
    let granted = "SELECT grantee, table_name, privilege_type FROM information_schema.role_table_grants
                   WHERE grantee LIKE 'cloud_backend_%' AND privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES')";
    assert_eq!(server.sql(&name, granted), "");
    let platform = "SELECT table_name FROM information_schema.role_table_grants
                    WHERE grantee = 'cloud_backend_platform' AND table_name IN ('batch', 'journal', 'series')";
    assert_eq!(server.sql(&name, platform), "", "the platform does not read what gateways sent");
}

#[test]
fn a_row_of_another_tenant_is_refused_even_to_a_statement_that_names_it() {
    let (server, _database, name) = filled();
    let moved = "DO $$ BEGIN
        PERFORM set_config('role', 'cloud_backend_tenant', true), set_config('app.tenant', 'acme', true);
        INSERT INTO coverage (tenant, gateway, epoch, stream, first, last) VALUES ('other', 'g', 1, 1, 1, 1);
        RAISE 'it was let in';
      EXCEPTION WHEN insufficient_privilege THEN NULL; END $$";
    server.sql(&name, moved);
}

#[test]
fn a_part_of_a_table_cannot_be_reached_past_the_policies_of_the_whole() {
    let (server, _database, name) = filled();
    let part = server.sql(&name, "SELECT tableoid::regclass FROM segment_body");
    let around = format!(
        "DO $$ BEGIN
           PERFORM set_config('role', 'cloud_backend_tenant', true), set_config('app.tenant', 'acme', true);
           PERFORM 1 FROM {part};
           RAISE 'it was let in';
         EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"
    );
    server.sql(&name, &around);
    let owner = format!("SET ROLE backend; SELECT count(*) FROM {part}");
    assert_eq!(server.sql(&name, &owner), "0", "who owns it sees nothing either");
}
