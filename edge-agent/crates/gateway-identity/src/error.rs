//! Why an identity could not be had.

use std::path::PathBuf;

use thiserror::Error;
use tls_kit::TlsError;

/// What failed, and what to do about it.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The address is none.
    #[error("{url:?} is no address of a backend; write https://HOST or https://HOST:PORT")]
    Address {
        /// As it was given.
        url: String,
    },
    /// The backend shows an authority that the code does not name. Nothing was sent.
    #[error(
        "{url} shows another authority than the one that made the code: another installation, a wrong address, or \
         somebody in between; nothing was sent"
    )]
    OtherAuthority {
        /// The address.
        url: String,
    },
    /// A certificate is not good at this gateway's time.
    #[error(
        "{url}: the certificate is not good at the time that this gateway's clock shows; set the clock ({detail})"
    )]
    Clock {
        /// The address.
        url: String,
        /// What the TLS library said.
        detail: String,
    },
    /// The backend cannot be reached, or the connection broke.
    #[error("{url} cannot be reached: {detail}")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The backend refused.
    #[error("the backend refused: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its words.
        detail: String,
    },
    /// The answer makes no sense.
    #[error("{url} does not answer like a backend of this version: {detail}")]
    Answer {
        /// The address.
        url: String,
        /// What is wrong.
        detail: String,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{} holds no {expected}; enrol the gateway again", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The files of the identity cannot be used for TLS.
    #[error("{0}; enrol the gateway again")]
    Tls(#[from] TlsError),
    /// Nobody is configured to ask.
    #[error("the certificate is due for renewal and uplink.renewal_url is not configured; enrol the gateway")]
    NoRenewal,
    /// No key could be made, or no request signed.
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
}
