//! What can be wrong with keys.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::{KeyId, RootId};

/// Why something was not sealed, opened or wrapped.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file of root keys cannot be read or written.
    #[error("cannot use the root keys in {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others may read the file of root keys.
    #[error("{} may be read by others (mode {mode:o}): chmod 600 it, and replace the key if others had access", .path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// A line of the file is no root key. The line is not shown.
    #[error("{}, line {line}: a root key is a name of 1 to 32 characters a-z 0-9 -, a blank, and 64 hexadecimal digits", .path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// There is no root key of this name any more.
    #[error(
        "root key {root} is not there; without it the tenant's keys cannot be unwrapped: put its line back into the file"
    )]
    UnknownRoot {
        /// Which.
        root: RootId,
    },
    /// A wrapped key is not what was wrapped, or belongs to another tenant or number.
    #[error("data key {} cannot be unwrapped with root key {root}: it is damaged, or not this tenant's", .key.0)]
    Unwrap {
        /// Which.
        key: KeyId,
        /// With which.
        root: RootId,
    },
    /// The key that sealed a block was destroyed, or never was this tenant's.
    #[error("the tenant has no data key {} (any more)", .key.0)]
    UnknownKey {
        /// Which.
        key: KeyId,
    },
    /// The tenant has no key to seal with.
    #[error("the tenant has no data key")]
    NoKey,
    /// A sealed block is not what was sealed at this place.
    #[error("a sealed block is damaged, or lies where another one belongs")]
    Damaged,
}
