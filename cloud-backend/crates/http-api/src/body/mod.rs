//! The bodies of the API: what travels, and how it is made of the vocabulary. Every name here is part of
//! the contract with callers; the OpenAPI document is generated from these types.

mod alarm;
mod command;
mod configuration;
mod event;
mod figures;
mod gateway_command;
mod ledger;
mod lost;
mod machine;
mod provenance;
mod rollout;
mod sample;
mod session;
mod value;

pub(crate) use alarm::{Alarm, AlarmDefinition, Priority, Transition};
pub(crate) use command::{AlarmCommandRequest, CommandStatus};
pub(crate) use configuration::{
    ConfigurationContents, ConfigurationDiff, ConfigurationOutcome, ConfigurationRequest,
    ConfigurationStatus, ConfigurationVersion, Difference, GatewayConfiguration, RollbackRequest,
    machine_files,
};
pub(crate) use event::{GatewayEvent, ResyncEvent, ValuesEvent};
pub(crate) use figures::{FigureSeries, Figures};
pub(crate) use gateway_command::{GatewayCommandRequest, GatewayCommandStatus};
pub(crate) use ledger::Ledger;
pub(crate) use lost::{Lost, lost};
pub(crate) use machine::{Certificate, Gateway, Link, Machine, MachineDetail};
pub(crate) use provenance::Provenance;
pub(crate) use rollout::{Rollout, RolloutDetail, RolloutOperationRequest, RolloutRequest, UpdateStatus};
pub(crate) use sample::{SampleSeries, Samples};
pub(crate) use session::{Credentials, Permission, Role, Session, Tenant, TenantName};
pub(crate) use value::{DataType, TagValue};

use serde::Serialize;
use utoipa::ToSchema;

/// All of a list that is short by nature.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// The entries.
    pub(crate) items: Vec<T>,
}

/// One page of a long list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    /// The entries, newest first.
    pub(crate) items: Vec<T>,
    /// Fetches the next page as `cursor`; null at the end.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}
