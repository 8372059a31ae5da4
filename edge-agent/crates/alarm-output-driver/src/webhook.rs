//! A web server that is told what an output is at: one POST for each drive, on a connection of its own.
//!
//! The body is JSON: `output`, `state` (`on` or `off`), `reason` (`alarms` or `stop`), `at_ms` (milliseconds
//! since 1970), `alarms_total` and `alarms`, the most urgent first, each with `machine`, `alarm` and
//! `priority`. An answer of 200 to 299 is the confirmation. Neither redirects nor proxies are followed: the
//! address that is connected to is the one that was checked.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;

use alarm_output::{Drive, Order, Outcome, OutputId, OutputPort, PortFuture, Reach, WebhookTarget, is_local};
use futures_util::future::{Either, select};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tls_kit::TlsTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::error::WebhookError;
use crate::tls;

/// Tells a web server.
pub struct Webhook {
    output: OutputId,
    target: WebhookTarget,
    time: TlsTime,
}

impl Webhook {
    /// A webhook of `output`. The file of the certificate authority is read for each drive, so that one that
    /// is missing or replaced stops nothing else.
    #[must_use]
    pub const fn new(output: OutputId, target: WebhookTarget, time: TlsTime) -> Self {
        Self { output, target, time }
    }

    fn body(&self, drive: &Drive) -> String {
        let alarm = |s: &alarm_output::Standing| {
            serde_json::json!({
                "machine": s.alarm.machine.as_str(),
                "alarm": s.alarm.alarm.as_str(),
                "priority": s.priority.name(),
            })
        };
        let alarms: Vec<_> = drive.alarms.iter().map(alarm).collect();
        let body = serde_json::json!({
            "output": self.output.as_str(),
            "state": drive.level.name(),
            "reason": drive.reason.name(),
            "at_ms": self.time.clock.wall().millis(),
            "alarms_total": drive.alarms_total,
            "alarms": alarms,
        });
        body.to_string()
    }

    fn authority(&self) -> String {
        self.target.url().authority()
    }

    async fn tell(&self, drive: &Drive) -> Result<(), WebhookError> {
        let limit = self.target.timeout();
        let late = |_| WebhookError::Timeout { authority: self.authority(), limit };
        let status = tokio::time::timeout(limit, self.post(self.body(drive))).await.map_err(late)??;
        if status.is_success() {
            return Ok(());
        }
        Err(WebhookError::Status { authority: self.authority(), status: status.as_u16() })
    }

    async fn post(&self, body: String) -> Result<StatusCode, WebhookError> {
        let tls = self.target.ca_file().map(|ca| tls::client(ca, self.time)).transpose()?;
        let stream = self.connect().await?;
        let Some(config) = tls else { return self.exchange(stream, body).await };
        let failed = |cause| WebhookError::Tls { authority: self.authority(), cause };
        let name = ServerName::try_from(self.target.url().host().to_owned())
            .map_err(|e| failed(std::io::Error::other(e)))?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(failed)?;
        self.exchange(stream, body).await
    }

    /// To the first address that answers, of those that may be reached.
    async fn connect(&self) -> Result<TcpStream, WebhookError> {
        let failed = |cause| WebhookError::Connect { authority: self.authority(), cause };
        let mut last = failed(std::io::ErrorKind::NotFound.into());
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(cause) => last = failed(cause),
            }
        }
        Err(last)
    }

    /// A name may come to mean something else, so it is looked up and checked each time.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, WebhookError> {
        let url = self.target.url();
        let host = || url.host().to_owned();
        if let Ok(ip) = url.host().parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, url.port())]);
        }
        let found = lookup_host((url.host(), url.port())).await;
        let found = found.map_err(|cause| WebhookError::LookUp { host: host(), cause })?;
        check_reach(url.host(), found.collect(), self.target.reach())
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        body: String,
    ) -> Result<StatusCode, WebhookError> {
        let failed = |cause| WebhookError::Exchange { authority: self.authority(), cause };
        let request = Request::post(self.target.url().path())
            .header(HOST, self.authority())
            .header(USER_AGENT, concat!("edge-agent/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .expect("the address was checked when it was parsed");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        let answer = pin!(sender.send_request(request));
        let answer = match select(answer, pin!(connection)).await {
            Either::Left((answer, _)) => answer,
            // The server closed: the answer came before that, or never comes.
            Either::Right((_, answer)) => answer.await,
        };
        answer.map(|response| response.status()).map_err(failed)
    }
}

/// Only addresses that may be reached; if there are none, one of the others is named.
fn check_reach(host: &str, found: Vec<SocketAddr>, reach: Reach) -> Result<Vec<SocketAddr>, WebhookError> {
    let (near, far): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|a| reach == Reach::Anywhere || is_local(a.ip()));
    match far.first() {
        Some(address) if near.is_empty() => {
            Err(WebhookError::Public { host: host.to_owned(), address: address.ip() })
        }
        Some(_) | None => Ok(near),
    }
}

impl OutputPort for Webhook {
    fn carry_out<'a>(&'a self, order: &'a Order) -> PortFuture<'a> {
        Box::pin(async move {
            let drive = match order {
                Order::Drive(drive) => drive,
                Order::Beat(_) => return no_heartbeat(),
            };
            match self.tell(drive).await {
                Ok(()) => Outcome::Confirmed,
                Err(error) if error.is_refusal() => Outcome::Refused { reason: error.to_string() },
                Err(error) => Outcome::Unknown { reason: error.to_string() },
            }
        })
    }
}

/// A heartbeat needs something that is polled.
pub(crate) fn no_heartbeat() -> Outcome {
    Outcome::Refused { reason: "this output has no heartbeat".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_out_of_the_plant_is_not_followed() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("valid");
        let (near, far) = (address("10.0.0.1:80"), address("8.8.8.8:80"));
        let checked = |found, reach| check_reach("scada", found, reach);
        assert_eq!(checked(vec![far, near], Reach::Local).expect("one is near"), [near]);
        assert_eq!(checked(vec![far, near], Reach::Anywhere).expect("both"), [far, near]);
        let error = checked(vec![far], Reach::Local).expect_err("none is near").to_string();
        assert!(error.contains("scada is 8.8.8.8") && error.contains("allow_public"), "{error}");
    }
}
