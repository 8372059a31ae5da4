//! The conformance suite on a real PostgreSQL, and what only a server can do wrong.

#![allow(unused_crate_dependencies, reason = "the crate under test has dependencies of its own")]

#[path = "../../../store-sqlite/tests/conformance/mod.rs"]
mod conformance;
mod isolation;
mod migrations;
mod outage;
mod parts;
mod server;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use conformance::{
    Laboratory, alarms, configuration, conformance_suite, enrolment, identity, ingest, lifecycle, moves,
    reads, rollout, tenants, tiers,
};
use proptest::test_runner::{Config, TestRunner};
use server::Server;
use store_postgres::PostgresStore;

/// A database of its own for each behaviour, in one server.
struct Database {
    name: String,
    uri: String,
}

impl Database {
    fn new(server: &Server) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("lab{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self { uri: server.database(&name), name }
    }
}

impl Laboratory for Database {
    type Store = PostgresStore;

    fn open(&self) -> Arc<PostgresStore> {
        let opening = PostgresStore::open(&self.uri);
        let opened = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(opening));
        Arc::new(opened.expect("the store opens"))
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

// One test a module: a server of its own for each behaviour would cost a minute.
macro_rules! conforms {
    ($($module:ident :: { $($name:ident),* $(,)? })*) => {
        mod conforms_in {
            $(
                #[test]
                fn $module() {
                    let server = crate::Server::start();
                    $(
                        println!("{}", stringify!($name));
                        let database = crate::Database::new(&server);
                        crate::runtime().block_on(crate::$module::$name(&database));
                    )*
                }
            )*
        }
    };
}

conformance_suite!(conforms);

/// Fewer than in SQLite: the decision is the same, the isolation is the server's.
#[test]
fn st2_no_policy_of_one_tenant_changes_what_another_has() {
    let server = Server::start();
    let database = Database::new(&server);
    runtime().block_on(moves::st2_no_policy_of_one_tenant_changes_what_another_has(&database, 40));
}

#[test]
fn the_ledger_balances_whatever_arrives() {
    let server = Server::start();
    let mut runner = TestRunner::new(Config { cases: 8, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&identity::steps(), |groups| {
        let database = Database::new(&server);
        runtime().block_on(identity::the_ledger_balances_whatever_arrives(&database, &groups));
        Ok(())
    });
    outcome.expect("the store agrees with the model");
}
