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
    /// There is nothing to sign with, and what could make it is kept elsewhere.
    #[error(
        "{} is missing, and the root's key {} is not here to make a new one; bring the key back for one start, or \
         restore the missing file and its key from a backup",
        issuer.display(), root_key.display()
    )]
    NoIssuer {
        /// The certificate that signs.
        issuer: PathBuf,
        /// The key that could make it.
        root_key: PathBuf,
    },
    /// What signs was not made by this root.
    #[error(
        "{} was not issued by {}; restore both from the same backup, or remove it and its key while the root's \
         key is there, so that a new one is made",
        issuer.display(), root.display()
    )]
    ForeignIssuer {
        /// The certificate that signs.
        issuer: PathBuf,
        /// The root certificate.
        root: PathBuf,
    },
    /// What a new issuer or root is made with is kept elsewhere.
    #[error("the root's key {} is not here; bring it back for this command and take it away again", key.display())]
    NoRootKey {
        /// Where it belongs.
        key: PathBuf,
    },
    /// Two roots are trusted.
    #[error(
        "{} holds two roots: one is being replaced, and its issuer is new; retire the older one first \
         (`cloud-backend pki retire-root`)",
        root.display()
    )]
    Overlap {
        /// The root certificates.
        root: PathBuf,
    },
    /// One root is trusted.
    #[error(
        "{} holds one root: there is none to retire; make a new one first (`cloud-backend pki rotate-root`)",
        root.display()
    )]
    NothingToRetire {
        /// The root certificate.
        root: PathBuf,
    },
    /// A gateway's request for a certificate cannot be used.
    #[error("the certificate request cannot be used: {reason}")]
    Request {
        /// Why not.
        reason: String,
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
    Tls(#[from] tls_kit::TlsError),
}

impl Error {
    /// Whether what was sent to be signed is at fault, not the authority.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        matches!(self, Self::Request { .. })
    }
}
