//! What every store of the backend must do, written against the ports alone: one function a behaviour.
//! A store runs the suite by a [`Laboratory`] that opens it, again and again, on the same data.

#![allow(dead_code, reason = "a test file of one store may leave out what it cannot do")]

pub(crate) mod alarms;
pub(crate) mod configuration;
pub(crate) mod enrolment;
pub(crate) mod fixture;
pub(crate) mod identity;
pub(crate) mod ingest;
pub(crate) mod reads;
pub(crate) mod tenants;

use std::sync::Arc;

use fleet::FleetStore;
use ingestion::IngestStore;
use tenancy::TenancyStore;

/// Opens a store. Each call opens the same data anew; a store that was opened before may be gone.
pub(crate) trait Laboratory {
    type Store: IngestStore + FleetStore + TenancyStore + 'static;

    fn open(&self) -> Arc<Self::Store>;
}
