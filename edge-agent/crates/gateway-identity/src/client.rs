//! Requests to the API for gateways: HTTPS, each on a connection of its own.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, IF_NONE_MATCH};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::IdentityError;

/// Time for a request, connection and TLS included. Generous for a cellular link.
const DEADLINE: Duration = Duration::from_secs(30);
/// The port, where the address names none.
const PORT: u16 = 8884;
/// Bytes of an answer: a certificate, its issuer's and roots.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A backend, as its API for gateways sees it.
pub(crate) struct Backend {
    /// Without brackets.
    host: String,
    port: u16,
    tls: Arc<ClientConfig>,
}

/// What is asked, and how much of an answer is waited for and taken.
pub(crate) struct Question<'a> {
    pub method: Method,
    pub path: &'a str,
    pub body: Vec<u8>,
    /// What is known already, as the backend named it.
    pub if_none_match: Option<String>,
    pub deadline: Duration,
    pub answer_bytes_max: usize,
}

impl<'a> Question<'a> {
    /// One with a small answer.
    pub(crate) const fn new(method: Method, path: &'a str, body: Vec<u8>) -> Self {
        let (deadline, answer_bytes_max) = (DEADLINE, ANSWER_BYTES_MAX);
        Self { method, path, body, if_none_match: None, deadline, answer_bytes_max }
    }
}

/// What of a problem (RFC 9457) is for a person.
#[derive(Deserialize)]
struct ProblemBody {
    detail: String,
}

impl Backend {
    pub(crate) fn new(cloud: &str, tls: Arc<ClientConfig>) -> Result<Self, IdentityError> {
        let (host, port) = address(cloud).ok_or_else(|| IdentityError::Address { url: cloud.to_owned() })?;
        Ok(Self { host, port, tls })
    }

    /// The name by which the backend is reached.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.authority())
    }

    fn authority(&self) -> String {
        let is_v6 = self.host.parse::<Ipv6Addr>().is_ok();
        let (open, close) = if is_v6 { ("[", "]") } else { ("", "") };
        format!("{open}{}{close}:{}", self.host, self.port)
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, IdentityError> {
        let body = serde_json::to_vec(body).map_err(|error| self.strange(error))?;
        self.ask(Method::POST, path, body).await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, IdentityError> {
        self.ask(Method::GET, path, Vec::new()).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, IdentityError> {
        let (status, body) = self.answer(Question::new(method, path, body)).await?;
        self.read(status, &body)
    }

    /// The status, and the body whatever the status.
    pub(crate) async fn answer(&self, question: Question<'_>) -> Result<(StatusCode, Bytes), IdentityError> {
        let deadline = question.deadline;
        let late = |_| self.unreachable(format!("there was no answer within {} s", deadline.as_secs()));
        timeout(deadline, self.exchange(question)).await.map_err(late)?
    }

    /// What a successful answer says, or what is wrong.
    pub(crate) fn read<T: DeserializeOwned>(
        &self,
        status: StatusCode,
        body: &[u8],
    ) -> Result<T, IdentityError> {
        if status.is_success() {
            return serde_json::from_slice(body).map_err(|error| self.strange(error));
        }
        Err(self.problem(status, body))
    }

    /// What an answer that is no success says.
    pub(crate) fn problem(&self, status: StatusCode, body: &[u8]) -> IdentityError {
        match serde_json::from_slice::<ProblemBody>(body) {
            Ok(problem) => IdentityError::Refused { status: status.as_u16(), detail: problem.detail },
            Err(_) => self.strange(format!("status {status}")),
        }
    }

    async fn exchange(&self, question: Question<'_>) -> Result<(StatusCode, Bytes), IdentityError> {
        let Question { method, path, body, if_none_match, deadline: _, answer_bytes_max } = question;
        let stream = self.connect().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.authority())
            .header(CONTENT_TYPE, "application/json");
        if let Some(known) = if_none_match {
            request = request.header(IF_NONE_MATCH, known);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|error| self.strange(error))?;
        // In TLS 1.3 a certificate is refused only when the answer is waited for.
        let broken = |error: hyper::Error| self.failed(&error);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), answer_bytes_max).collect().await;
            Ok((status, body.map_err(|error| self.strange(error))?.to_bytes()))
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            ended = connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(broken(error)),
            },
        }
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, IdentityError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        let name = ServerName::try_from(self.host.clone()).map_err(|error| self.strange(error))?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        connector.connect(name, stream).await.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) -> IdentityError {
        let detail = chain(error);
        if is_out_of_time(error) {
            IdentityError::Clock { url: self.url(), detail }
        } else {
            self.unreachable(detail)
        }
    }

    fn unreachable(&self, detail: impl ToString) -> IdentityError {
        IdentityError::Unreachable { url: self.url(), detail: detail.to_string() }
    }

    pub(crate) fn strange(&self, detail: impl ToString) -> IdentityError {
        IdentityError::Answer { url: self.url(), detail: detail.to_string() }
    }
}

/// Host and port.
fn address(cloud: &str) -> Option<(String, u16)> {
    let uri: Uri = cloud.parse().ok()?;
    let authority = uri.authority()?;
    let is_plain = uri.path().trim_matches('/').is_empty() && uri.query().is_none();
    let host = authority.host().trim_matches(['[', ']']);
    if uri.scheme_str() != Some("https") || host.is_empty() || !is_plain || authority.as_str().contains('@') {
        return None;
    }
    Some((host.to_owned(), authority.port_u16().unwrap_or(PORT)))
}

/// Whether the handshake failed because a certificate is not good now.
fn is_out_of_time(error: &(dyn std::error::Error + 'static)) -> bool {
    let tls = causes(error).find_map(|cause| {
        let inner = || cause.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref::<rustls::Error>();
        cause.downcast_ref::<rustls::Error>().or_else(inner)
    });
    let Some(rustls::Error::InvalidCertificate(reason)) = tls else { return false };
    matches!(
        reason,
        CertificateError::Expired
            | CertificateError::NotValidYet
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYetContext { .. }
    )
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// An error with its causes, each once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut parts: Vec<String> = Vec::new();
    for text in causes(error).map(ToString::to_string) {
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_gets_the_usual_port() {
        let good = |cloud: &str| address(cloud).expect(cloud);
        assert_eq!(good("https://cloud.example"), ("cloud.example".to_owned(), 8884));
        assert_eq!(good("https://cloud.example:443/"), ("cloud.example".to_owned(), 443));
        assert_eq!(good("https://[::1]:9000"), ("::1".to_owned(), 9000));
        for wrong in ["cloud.example", "http://cloud.example", "https://", "https://a/b", "https://u@a", ""] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
