//! Where the broker is and how it is dialled.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rumqttc::v5::MqttOptions;
use rumqttc::{TlsConfiguration, Transport};
use thiserror::Error;

/// The client asks so often whether the broker is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// TCP, TLS and CONNACK together.
const CONNECT_SECONDS: u64 = 10;

/// The largest packet that is taken: a message with its topic (at most 149 bytes) and header.
const PACKET_BYTES_MAX: usize = protocol::limits::MESSAGE_BYTES_MAX + 512;

/// `mqtts://HOST:PORT`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// A text is no address of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no address of a broker; write mqtts://HOST:PORT, for example mqtts://broker.example.com:8883"
)]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parse = || {
            let (host, port) = text.strip_prefix("mqtts://")?.rsplit_once(':')?;
            let host = host.strip_prefix('[').map_or(Some(host), |inner| inner.strip_suffix(']'))?;
            let is_name = !host.is_empty() && !host.contains(['/', '@', '[', ']', ' ']);
            let port = port.parse().ok().filter(|port| *port != 0)?;
            is_name.then(|| Self { host: host.to_owned(), port })
        };
        parse().ok_or_else(|| AddressError(text.chars().take(200).collect()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "mqtts://[{host}]:{port}")
        } else {
            write!(f, "mqtts://{host}:{port}")
        }
    }
}

/// Whom a broker is to be, and as whom it is dialled. They may be replaced: the next connection is made with the new
/// ones, and one that is open stays. Copies share them.
#[derive(Debug, Clone)]
pub struct Credentials(Arc<RwLock<Arc<rustls::ClientConfig>>>);

impl Credentials {
    /// To begin with.
    #[must_use]
    pub fn new(tls: Arc<rustls::ClientConfig>) -> Self {
        Self(Arc::new(RwLock::new(tls)))
    }

    /// From the next connection on.
    pub fn replace(&self, tls: Arc<rustls::ClientConfig>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    fn current(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How a broker is dialled.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Where it is.
    pub address: Address,
    /// Whom it is to be, and as whom it is dialled.
    pub credentials: Credentials,
    /// The MQTT client id.
    pub client_id: String,
}

impl Dial {
    pub(crate) fn options(&self) -> MqttOptions {
        let mut options = MqttOptions::new(&self.client_id, &self.address.host, self.address.port);
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_start(true)
            .set_connection_timeout(CONNECT_SECONDS)
            .set_max_packet_size(u32::try_from(PACKET_BYTES_MAX).ok())
            .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(self.credentials.current())));
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_host_and_port_and_reads_back_as_it_is_written() {
        for text in ["mqtts://localhost:8883", "mqtts://10.0.0.1:1", "mqtts://[::1]:8883"] {
            assert_eq!(text.parse::<Address>().expect("an address").to_string(), text);
        }
        assert_eq!("mqtts://[::1]:8883".parse::<Address>().expect("an address").host, "::1");
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in
            ["", "localhost:8883", "mqtt://a:1", "mqtts://a", "mqtts://:1", "mqtts://a:0", "mqtts://a/b:1"]
        {
            let error = text.parse::<Address>().expect_err(text).to_string();
            assert!(error.contains("mqtts://broker.example.com:8883"), "{error}");
        }
    }
}
