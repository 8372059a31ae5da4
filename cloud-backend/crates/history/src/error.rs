//! Why there is no answer.

use plant_model::{MachineId, TagId, Timestamp};
use segments::{SegmentError, TagKind};
use thiserror::Error;
use tiering::{ArchiveError, StoreError};

use crate::Function;

/// Why a query was not answered.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The store did not answer.
    #[error("the store did not answer")]
    Store(#[from] StoreError),
    /// The archive did not answer, or would have cost more than the budget allows.
    #[error("the archive did not answer")]
    Archive(#[from] ArchiveError),
    /// Something stored cannot be read.
    #[error("what is stored of machine {machine} at {at} cannot be read")]
    Unreadable {
        /// The machine.
        machine: MachineId,
        /// From when it is.
        at: Timestamp,
        /// Why.
        #[source]
        source: SegmentError,
    },
    /// It would take more than the budget of the query allows.
    #[error("the query takes {needed} {what}; at most {allowed} are allowed: {hint}")]
    OverBudget {
        /// Of what.
        what: &'static str,
        /// How much, at least.
        needed: u64,
        /// How much is allowed.
        allowed: u64,
        /// What would fit.
        hint: &'static str,
    },
    /// The query makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// The tag has no such figure.
    #[error("tag {tag} is {}, which has no {}; ask for {}", kind_name(*.kind), .function.name(), names(*.kind))]
    NoSuchFigure {
        /// The tag.
        tag: TagId,
        /// Its kind.
        kind: TagKind,
        /// What was asked for.
        function: Function,
    },
    /// So much waits to be sealed that a minute of it does not fit into memory.
    #[error("more than {limit} batches of a single minute wait to be sealed; try again when they are")]
    Unsealed {
        /// The limit.
        limit: usize,
    },
}

impl HistoryError {
    /// Whether the budget did not suffice.
    #[must_use]
    pub const fn is_over_budget(&self) -> bool {
        matches!(self, Self::OverBudget { .. } | Self::Archive(ArchiveError::Budget { .. }))
    }
}

const fn kind_name(kind: TagKind) -> &'static str {
    match kind {
        TagKind::Analog => "a measured number",
        TagKind::Counter => "a counter",
        TagKind::State => "a state",
    }
}

fn names(kind: TagKind) -> String {
    let names: Vec<&str> = Function::ALL.into_iter().filter(|f| f.suits(kind)).map(Function::name).collect();
    names.join(", ")
}
