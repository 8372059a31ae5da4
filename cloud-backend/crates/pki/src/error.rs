//! Why the authority could not be opened or could not issue.

use std::path::PathBuf;

use thiserror::Error;

/// What failed, with the file or the name it failed on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried, for example `read`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// One half of the pair is there, the other is not.
    #[error(
        "the certificate authority is incomplete: {} exists but {} does not; restore the missing file from a \
         backup (if no gateway was ever enrolled, remove the first file and start again)",
        present.display(), missing.display()
    )]
    Incomplete {
        /// The file that exists.
        present: PathBuf,
        /// The file that does not.
        missing: PathBuf,
    },
    /// A file of the pair is not what its name says.
    #[error("{} is not {expected}; restore it from a backup", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// Certificate and key belong to different authorities.
    #[error(
        "{} was not made for the key in {}; restore both files from the same backup",
        certificate.display(), key.display()
    )]
    Mismatch {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// A server name is neither a DNS name nor an IP address.
    #[error("server name {name:?} is neither a DNS name nor an IP address")]
    ServerName {
        /// The name as given.
        name: String,
    },
    /// A key or certificate could not be made.
    #[error("cannot issue {what}")]
    Issue {
        /// What was to be issued.
        what: String,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// The TLS configuration was refused by the TLS library.
    #[error("cannot build the TLS configuration of the server")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
}
