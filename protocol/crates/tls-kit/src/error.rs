//! Why no TLS configuration can be built.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// What is wrong, and with which file.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file cannot be read, or holds nothing of the kind.
    #[error("{} holds no usable {what}: {detail}", path.display())]
    File {
        /// What was looked for.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What went wrong.
        detail: String,
    },
    /// The parts do not fit each other.
    #[error("certificate {} and key {} do not fit: {source}", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// The TLS library refuses the configuration.
    #[error("the TLS library refuses the configuration: {0}")]
    Library(#[from] rustls::Error),
}

pub(crate) fn file(what: &'static str, path: &Path, detail: &dyn std::fmt::Display) -> TlsError {
    TlsError::File { what, path: path.to_owned(), detail: detail.to_string() }
}
