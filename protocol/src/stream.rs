//! Epochs, streams and sequences (SPEC section 3).

use std::fmt;

use crate::DecodeError;

/// One life of a gateway's store file: a random number made with the file. Sequences of different
/// epochs have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// From its number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Position of a batch in its stream: 1, 2, 3 …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Sequence(u64);

impl Sequence {
    /// Before the first batch: what a watermark says when nothing was committed.
    pub const ZERO: Self = Self(0);

    /// From its number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The one before; zero stays zero.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The streams of a gateway, in the order of their priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamId {
    /// Alarm transitions.
    Alarm,
    /// What the gateway says about itself: gaps, losses.
    Diagnostic,
    /// Samples.
    Telemetry,
}

impl StreamId {
    /// All streams, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Alarm, Self::Diagnostic, Self::Telemetry];

    /// Its code on the wire and in stores.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Alarm => 1,
            Self::Telemetry => 2,
            Self::Diagnostic => 3,
        }
    }

    /// The inverse of [`Self::code`].
    ///
    /// # Errors
    /// No stream has this code.
    pub fn from_code(code: u8) -> Result<Self, DecodeError> {
        Self::ALL
            .into_iter()
            .find(|s| s.code() == code)
            .ok_or_else(|| DecodeError::field("stream", format!("{code} is no stream; 1, 2 and 3 are")))
    }

    /// Its name in topics, logs and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Telemetry => "telemetry",
            Self::Diagnostic => "diagnostic",
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
