//! What a server offers, and what is wrong with the certificates it shows.

use std::time::SystemTime;

use opcua::types::EndpointDescription;

use crate::access::host;
use crate::certificate::{Certificate, CertificateError};
use crate::discovery::{configuration, describe, list_endpoints};
use crate::probe::{NAME, NO_PUBLISHING, ProbeError};

/// An endpoint as a server describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointReport {
    /// The address that the server announces.
    pub url: String,
    /// Policy, mode and kinds of users.
    pub protection: String,
    /// `None` if the server shows none.
    pub certificate: Option<ShownCertificate>,
}

/// The certificate of an endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShownCertificate {
    /// Holder and thumbprint; empty if it cannot be read.
    pub holder: String,
    /// The certificate alone, to be kept and pinned.
    pub der: Vec<u8>,
    /// How many certificates of its issuers follow it.
    pub issuers: usize,
    /// Why the agent refuses it, each with its fix.
    pub problems: Vec<String>,
    /// What the agent takes and other clients may refuse, each with its fix.
    pub hints: Vec<String>,
}

/// Asks a server, without a session, for its endpoints.
///
/// # Errors
/// The server cannot be reached or does not answer.
pub async fn endpoints(url: &str) -> Result<Vec<EndpointReport>, ProbeError> {
    let config = configuration(NAME, "urn:edge-agent", NO_PUBLISHING);
    let endpoints = list_endpoints(&config, url).await?;
    let dialled = host(url);
    let report = |endpoint: EndpointDescription| EndpointReport {
        url: endpoint.endpoint_url.to_string(),
        protection: describe(&endpoint),
        certificate: (!endpoint.server_certificate.is_null_or_empty())
            .then(|| examine(&endpoint, &dialled, SystemTime::now())),
    };
    Ok(endpoints.into_iter().map(report).collect())
}

fn examine(endpoint: &EndpointDescription, dialled: &str, now: SystemTime) -> ShownCertificate {
    let told = |error: CertificateError| format!("the certificate {error}");
    let chain = match Certificate::chain(endpoint.server_certificate.as_ref()) {
        Ok(chain) => chain,
        Err(error) => return ShownCertificate { problems: vec![told(error)], ..Default::default() },
    };
    let shown = &chain[0];
    let problems = [
        shown.check_time(now),
        shown.check_application_uri(endpoint.server.application_uri.as_ref()),
        shown.check_key(),
    ];
    let hints = [shown.check_usage(), shown.check_host(dialled)];
    let texts = |checks: &[Result<(), CertificateError>]| {
        checks.iter().filter_map(|check| check.clone().err()).map(told).collect::<Vec<_>>()
    };
    let mut hints = texts(&hints);
    if shown.is_self_signed() {
        hints.push(
            "the certificate is self-signed: no authority vouches for it, so each client must be told to trust \
             it. Compare the thumbprint with the machine's, then pin it as server_certificate_file"
                .to_owned(),
        );
    }
    if chain.len() > 1 {
        hints.push(format!(
            "the certificate is followed by {} of its issuers; if no protected session can be opened, have the \
             server send its own certificate alone",
            chain.len() - 1
        ));
    }
    ShownCertificate {
        holder: shown.describe(),
        der: shown.der().to_vec(),
        issuers: chain.len() - 1,
        problems: texts(&problems),
        hints,
    }
}
