//! Why bytes are not a message.

use plant_model::IdError;
use thiserror::Error;

/// Why bytes from outside could not be read. The sender is wrong or the bytes were damaged; reading
/// them again will not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The message ends before its header does.
    #[error("the message has {actual} bytes; at least {needed} are needed")]
    TooShort {
        /// Bytes given.
        actual: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// The message is larger than the protocol allows.
    #[error("{what} has {actual}; at most {allowed} are allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        actual: usize,
        /// The limit.
        allowed: usize,
    },
    /// The first byte is no container this version knows.
    #[error(
        "container 0x{found:02x} does not belong here; this version writes 0x01 (batch), 0x02 (plain) and 0x03 (compressed)"
    )]
    UnknownContainer {
        /// The first byte.
        found: u8,
    },
    /// The schema is newer than this version.
    #[error("schema {found} is not known; this version reads up to {max}")]
    UnknownSchema {
        /// The schema of the message.
        found: u32,
        /// The newest known schema.
        max: u32,
    },
    /// The checksum does not match: the bytes were damaged.
    #[error("checksum 0x{computed:08x} of the bytes differs from the stated 0x{stated:08x}")]
    Checksum {
        /// Computed over the bytes.
        computed: u32,
        /// Stated in the header.
        stated: u32,
    },
    /// The body could not be decompressed.
    #[error("the body is no zstd frame of at most {limit} bytes")]
    Compression {
        /// The limit after decompression.
        limit: usize,
    },
    /// The body is not the protobuf message that belongs here.
    #[error("the body is no {message} message: {detail}")]
    Protobuf {
        /// The message expected.
        message: &'static str,
        /// What the decoder said.
        detail: String,
    },
    /// A field holds something that no sender of this protocol writes.
    #[error("{field}: {detail}")]
    Field {
        /// The field, as named in the specification.
        field: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// An identifier breaks its rule.
    #[error(transparent)]
    Id(#[from] IdError),
}

impl DecodeError {
    pub(crate) fn field(field: &'static str, detail: impl Into<String>) -> Self {
        Self::Field { field, detail: detail.into() }
    }

    /// A short, bounded word for counters: one per variant.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too_short",
            Self::TooLarge { .. } => "too_large",
            Self::UnknownContainer { .. } => "unknown_container",
            Self::UnknownSchema { .. } => "unknown_schema",
            Self::Checksum { .. } => "checksum",
            Self::Compression { .. } => "compression",
            Self::Protobuf { .. } => "protobuf",
            Self::Field { .. } => "field",
            Self::Id(_) => "id",
        }
    }
}
