//! The HTTP side of the backend: the API under `/api/v1`, live values as server-sent events, the dashboard's
//! files, health and metrics.
//!
//! Invariants
//! - Deny by default: a route is made with the access it demands, there is no other way (`access`).
//! - What belongs to another tenant does not exist: 404, the same answer as for what is not there.
//! - Every error is a problem (RFC 9457) with the request's id; causes go to the log, never to the caller.
//! - A slow reader of live values loses events and is told so; it never delays the feed.
//!
//! It knows ports, not stores: who implements them is the composition root's business.

mod access;
mod body;
mod calendar;
mod commands;
mod configurations;
mod document;
mod export;
mod feed;
mod history;
mod instant;
mod metrics;
mod middleware;
mod params;
mod password;
mod problem;
mod rollouts;
mod routes;
mod server;
mod state;
mod token;
mod web;

pub use commands::{CommandLine, Commands, SendError};
pub use configurations::Configurations;
pub use export::{ExportError, FileFormat, SampleFile};
pub use feed::LiveFeed;
pub use history::History;
pub use metrics::{Exposition, Family, MetricKind};
pub use password::{PASSWORD_BYTES_MAX, PasswordError, hash_password};
pub use rollouts::{RolloutError, Rollouts, Selection};
pub use server::{BindError, HttpServer};
pub use state::{ApiParts, ApiState, Operations, PortFuture};

/// The OpenAPI 3.1 document of the API, as indented JSON.
#[must_use]
pub fn openapi_json() -> String {
    let json = routes::openapi().to_pretty_json();
    json.expect("the document is made of texts and numbers") + "\n"
}

/// The ledger of a tenant in the form of the API, as one line of JSON.
#[must_use]
pub fn ledger_json(rows: Vec<fleet::LedgerRow>) -> String {
    let items = rows.into_iter().map(body::Ledger::from).collect();
    let json =
        serde_json::to_string(&body::List { items }).expect("a ledger has text and number fields only");
    json + "\n"
}

/// Entries of the journal in the form of the API, as one line of JSON, in the order given.
#[must_use]
pub fn journal_json(rows: &[fleet::JournalRow]) -> String {
    let items = rows.iter().map(|r| body::Transition::new(&r.gateway, &r.transition, Some(r.stored_at)));
    let list = body::List { items: items.collect() };
    serde_json::to_string(&list).expect("a journal has text and number fields only") + "\n"
}
