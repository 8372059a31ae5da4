//! Asks a broker whether it lets somebody in.

use std::error::Error;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, Packet};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, StateError};
use rustls::AlertDescription;

use crate::Dial;

/// The client's own limit of 10 s for a connection, and some for the answer after it.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the broker did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It let the caller in; one of the same client id who was connected is not any more.
    LetIn,
    /// It refused the certificate because it is revoked.
    CertificateRevoked,
    /// It refused otherwise, or could not be reached; the text says what happened.
    Unclear(String),
}

/// Connects once, and leaves at once.
pub async fn knock(dial: &Dial) -> Answer {
    let answer = tokio::time::timeout(PATIENCE, knock_once(dial)).await;
    answer.unwrap_or_else(|_| Answer::Unclear("it did not answer in time".to_owned()))
}

async fn knock_once(dial: &Dial) -> Answer {
    let (client, mut events) = AsyncClient::new(dial.options(), 1);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(answer))) if answer.code == ConnectReturnCode::Success => {
                // What comes of the goodbye does not matter: dropping the connection says the same.
                if client.disconnect().await.is_ok() {
                    let _ = events.poll().await;
                }
                return Answer::LetIn;
            }
            Ok(_) => {}
            Err(error) => return explain(&error),
        }
    }
}

fn explain(error: &ConnectionError) -> Answer {
    match alert(error) {
        Some(AlertDescription::CertificateRevoked) => Answer::CertificateRevoked,
        Some(_) | None => Answer::Unclear(error.to_string()),
    }
}

/// The TLS alert behind an error, somewhere in its chain. With TLS 1.3 it comes after the handshake, as an error of
/// reading.
fn alert(error: &ConnectionError) -> Option<AlertDescription> {
    // The client's error does not name what it wraps there as its source.
    let first: &(dyn Error + 'static) = match error {
        ConnectionError::MqttState(StateError::Deserialization(inner)) => inner,
        ConnectionError::MqttState(_)
        | ConnectionError::Timeout(_)
        | ConnectionError::Tls(_)
        | ConnectionError::Io(_)
        | ConnectionError::ConnectionRefused(_)
        | ConnectionError::NotConnAck(_)
        | ConnectionError::RequestsDone => error,
    };
    let mut causes = std::iter::successors(Some(first), |cause| next_cause(*cause));
    causes.find_map(|cause| match cause.downcast_ref::<rustls::Error>() {
        Some(rustls::Error::AlertReceived(alert)) => Some(*alert),
        Some(_) | None => None,
    })
}

/// An I/O error hides what it wraps from `source`.
fn next_cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
}

#[cfg(test)]
mod tests {
    use std::io;

    use rumqttc::v5::mqttbytes;

    use super::*;

    fn received(alert: AlertDescription) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, rustls::Error::AlertReceived(alert))
    }

    #[test]
    fn a_revoked_certificate_is_told_from_other_refusals_wherever_the_client_wraps_the_alert() {
        let revoked = AlertDescription::CertificateRevoked;
        let reading = StateError::Deserialization(mqttbytes::Error::Io(received(revoked)));
        for error in [ConnectionError::Io(received(revoked)), ConnectionError::MqttState(reading)] {
            assert_eq!(explain(&error), Answer::CertificateRevoked, "{error}");
        }
        let other = ConnectionError::Io(received(AlertDescription::CertificateExpired));
        assert!(matches!(explain(&other), Answer::Unclear(_)));
        let lost = ConnectionError::Io(io::ErrorKind::ConnectionReset.into());
        assert!(matches!(explain(&lost), Answer::Unclear(_)));
    }
}
