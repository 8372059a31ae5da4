//! Why a session could not be made or ended, and what that makes of a tag's quality.

use std::path::PathBuf;
use std::time::Duration;

use opcua::types::{Error, StatusCode};
use plant_model::Quality;
use thiserror::Error as ThisError;

use crate::certificate::CertificateError;

/// A failure on the way to values.
#[derive(Debug, ThisError)]
pub(crate) enum OpcUaError {
    #[error("cannot connect to {endpoint}: {cause}")]
    Connect { endpoint: String, cause: Error },
    #[error("{endpoint} did not finish {step} within {limit:?}")]
    Deadline { endpoint: String, step: &'static str, limit: Duration },
    #[error(
        "{endpoint} offers no endpoint with {wanted}; it offers {offered}. Configure one of these, or have \
         the server's settings changed"
    )]
    NoEndpoint { endpoint: String, wanted: String, offered: String },
    #[error(
        "the certificate that {endpoint} shows is not trusted: {certificate}. If the machine shows the same \
         thumbprint, {fix}"
    )]
    Untrusted { endpoint: String, certificate: String, fix: String },
    #[error("the certificate of {endpoint} {cause}")]
    ServerCertificate { endpoint: String, cause: CertificateError },
    #[error(
        "an authority in the trusted folder vouches for the certificate of {endpoint}, but it {cause}. Or {fix}"
    )]
    ForeignHost { endpoint: String, cause: CertificateError, fix: String },
    #[error("the trusted certificates in {} cannot be used: {problem}", file.display())]
    TrustFile { file: PathBuf, problem: String },
    #[error(
        "this gateway's certificate cannot be used: {}: {problem}. Restore the file; or delete \
         certificate.der and key.pem there, so that new ones are made, and have every server trust them", file.display()
    )]
    OwnCertificate { file: PathBuf, problem: String },
    #[error(
        "the agent's certificate cannot be used: {}: {problem}. Name the folder of a running agent (opcua/ beside \
         its buffer), and be its user or root", file.display()
    )]
    AgentCertificate { file: PathBuf, problem: String },
    #[error("the password file {} cannot be used: {problem}", file.display())]
    Password { file: PathBuf, problem: String },
    #[error("{endpoint} refuses the session: {status}. {fix}")]
    Refused { endpoint: String, status: StatusCode, fix: String },
    #[error("the server failed to {step}: {cause}")]
    Request { step: &'static str, cause: Error },
    #[error("the connection ended: {status}")]
    Lost { status: StatusCode },
    #[error("the server ended the subscription: {status}")]
    Subscription { status: StatusCode },
    #[error("the server has more changes than fit its messages ({status}); it is asked for fewer at a time")]
    TooMany { status: StatusCode },
    #[error("the server has published nothing for {limit:?}")]
    Silent { limit: Duration },
    #[error("{sign}; the session is made anew")]
    Stalled { sign: &'static str },
}

impl OpcUaError {
    /// The quality of a tag that could not be read for this reason.
    pub(crate) const fn quality(&self) -> Quality {
        match self {
            Self::Connect { .. }
            | Self::Deadline { .. }
            | Self::NoEndpoint { .. }
            | Self::Untrusted { .. }
            | Self::ServerCertificate { .. }
            | Self::ForeignHost { .. }
            | Self::TrustFile { .. }
            | Self::OwnCertificate { .. }
            | Self::AgentCertificate { .. }
            | Self::Password { .. }
            | Self::Refused { .. } => Quality::BAD_NOT_CONNECTED,
            Self::Request { .. } | Self::Lost { .. } | Self::Subscription { .. } | Self::TooMany { .. } => {
                Quality::BAD_COMMUNICATION_ERROR
            }
            Self::Silent { .. } | Self::Stalled { .. } => Quality::BAD_TIMEOUT,
        }
    }

    /// Whether trying again is of no use until a person has changed something. A wrong password tried
    /// every few seconds locks the account.
    pub(crate) const fn needs_a_person(&self) -> bool {
        match self {
            Self::NoEndpoint { .. }
            | Self::Untrusted { .. }
            | Self::ServerCertificate { .. }
            | Self::ForeignHost { .. }
            | Self::TrustFile { .. }
            | Self::OwnCertificate { .. }
            | Self::AgentCertificate { .. }
            | Self::Password { .. }
            | Self::Refused { .. } => true,
            Self::Connect { .. }
            | Self::Deadline { .. }
            | Self::Request { .. }
            | Self::Lost { .. }
            | Self::Subscription { .. }
            | Self::TooMany { .. }
            | Self::Silent { .. }
            | Self::Stalled { .. } => false,
        }
    }

    /// What it means that no session came about. `own_certificate` is the file a server must trust;
    /// `shows_chain` says that the server showed more than its own certificate.
    pub(crate) fn no_session(
        endpoint: &str,
        status: StatusCode,
        own_certificate: &std::path::Path,
        shows_chain: bool,
    ) -> Self {
        let own = own_certificate.display();
        let fix = match status {
            StatusCode::BadCertificateInvalid if shows_chain => {
                "It sends its certificate together with those of its issuers, which cannot be read here when a \
                 channel is opened. Have the server send its own certificate alone (no issuers in its own \
                 certificate file), and pin that"
                    .to_owned()
            }
            StatusCode::BadCertificateInvalid => format!(
                "Have the server trust this gateway's certificate {own}; if it does, have it send its own \
                 certificate alone, without those of its issuers"
            ),
            StatusCode::BadUserAccessDenied
            | StatusCode::BadIdentityTokenInvalid
            | StatusCode::BadIdentityTokenRejected => {
                "Check user and password_file, and that the server lets this user in".to_owned()
            }
            StatusCode::BadSecurityChecksFailed
            | StatusCode::BadCertificateUntrusted
            | StatusCode::BadCertificateUseNotAllowed
            | StatusCode::BadCertificateIssuerUseNotAllowed => {
                format!("Have the server trust this gateway's certificate {own}")
            }
            StatusCode::BadCertificateTimeInvalid => {
                format!("Check the server's clock, and the dates of this gateway's certificate {own}")
            }
            StatusCode::BadCertificateUriInvalid => {
                format!("The server does not find this application's URI in {own}")
            }
            StatusCode::BadSecurityPolicyRejected | StatusCode::BadSecurityModeRejected => {
                "Choose another security_policy or security_mode".to_owned()
            }
            _ => {
                let cause = Error::new(status, "no session");
                return Self::Connect { endpoint: endpoint.to_owned(), cause };
            }
        };
        Self::Refused { endpoint: endpoint.to_owned(), status, fix }
    }
}
