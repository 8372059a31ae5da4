//! What becomes of a value that is written into a machine.

use plant_model::Value;

/// What became of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum WriteOutcome {
    /// The machine took it and reads the same.
    Written,
    /// The machine took it and reads something else.
    Differs {
        /// What it reads; `None` if that is no value.
        read_back: Option<Value>,
    },
    /// Nothing was written.
    Refused {
        /// Why.
        reason: String,
    },
    /// It was sent, and what became of it is not known.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl WriteOutcome {
    /// Nothing was written, for this reason.
    #[must_use]
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    /// It was sent, and for this reason nobody knows what became of it.
    #[must_use]
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into() }
    }
}
