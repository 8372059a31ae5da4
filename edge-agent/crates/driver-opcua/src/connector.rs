//! Opens the TCP connection of a session under a deadline, which the library lacks, and without
//! Nagle's delay.

use std::sync::Arc;
use std::time::Duration;

use opcua::client::ConnectionSource;
use opcua::client::transport::{
    Connector, RequestRecv, SecureChannelState, StreamConnection, StreamConnector, TcpTransport,
    TransportConfiguration,
};
use opcua::core::comms::tcp_codec::TcpCodec;
use opcua::core::comms::url::hostname_port_from_url;
use opcua::types::{DecodingOptions, EndpointDescription, Error, StatusCode};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::codec::FramedRead;

/// What a connection may take, name look-up and the exchange of hello included.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// The port of OPC UA (IANA).
pub(crate) const DEFAULT_PORT: u16 = 4840;

/// Makes a [`DeadlineConnector`] for the endpoint of a session.
pub(crate) struct DeadlineSource;

impl ConnectionSource for DeadlineSource {
    type Builder = DeadlineConnector;

    fn get_connector(&self, endpoint: &EndpointDescription) -> Result<DeadlineConnector, Error> {
        Ok(DeadlineConnector { url: endpoint.endpoint_url.as_ref().to_owned() })
    }
}

/// Connects to one address.
pub(crate) struct DeadlineConnector {
    pub(crate) url: String,
}

impl Connector for DeadlineConnector {
    type Transport = TcpTransport;

    async fn connect(
        &self,
        channel: Arc<SecureChannelState>,
        requests: RequestRecv,
        configuration: TransportConfiguration,
    ) -> Result<TcpTransport, Error> {
        let connector = StreamConnector::new(connect_tcp, self.url.clone());
        let late = |_| Error::new(StatusCode::BadTimeout, format!("no answer within {CONNECT_LIMIT:?}"));
        timeout(CONNECT_LIMIT, connector.connect(channel, requests, configuration)).await.map_err(late)?
    }

    fn default_endpoint(&self) -> EndpointDescription {
        EndpointDescription::from(self.url.as_str())
    }
}

async fn connect_tcp(
    url: String,
    options: DecodingOptions,
) -> Result<StreamConnection<ReadHalf<TcpStream>, WriteHalf<TcpStream>>, Error> {
    let (host, port) =
        hostname_port_from_url(&url, DEFAULT_PORT).map_err(|status| Error::new(status, "not an address"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let failed = |error| Error::new(StatusCode::BadCommunicationError, error);
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    let (reader, writer) = tokio::io::split(stream);
    Ok(StreamConnection::new(FramedRead::new(reader, TcpCodec::new(options)), writer, url))
}
