//! A running endpoint, an authority, gateways, and waiting that ends.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mqtt_endpoint::{
    Credential, Endpoint, EndpointConfig, EndpointEvent, GatewayIdentity, Inbound, Limits, bind,
};
use mqtt_protocol_core::mqtt::packet::v5_0::Connect;
use plant_model::{GatewayId, TenantId};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Packet, PubAckReason, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tls_kit::ServerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Waits until a level is reached.
pub(crate) async fn eventually(what: &str, reached: impl Fn() -> bool) {
    within(what, async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

pub(crate) fn identity(tenant: &str, gateway: &str) -> GatewayIdentity {
    let (tenant, gateway) = (TenantId::new(tenant), GatewayId::new(gateway));
    GatewayIdentity { tenant: tenant.expect("valid"), gateway: gateway.expect("valid") }
}

pub(crate) fn topic(identity: &GatewayIdentity, path: &str) -> String {
    format!("mfp/v1/{identity}/{path}")
}

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

type Credentials = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn issue(&self, name: SanType) -> Credentials {
        self.issue_until(name, None)
    }

    fn issue_until(&self, name: SanType, end: Option<SystemTime>) -> Credentials {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        if let Some(end) = end {
            params.not_after = end.into();
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").der().clone();
        (vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).expect("PKCS #8"))
    }

    fn issue_uri(&self, uri: &str) -> Credentials {
        self.issue(SanType::URI(uri.try_into().expect("ASCII")))
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        roots
    }

    fn server_tls(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()), Arc::clone(&provider))
                .build()
                .expect("a root");
        let (chain, key) = self.issue(SanType::DnsName("localhost".try_into().expect("ASCII")));
        ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("supported")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .expect("they fit")
    }

    /// TLS of a gateway whose certificate ends then; and the certificate's serial number.
    pub(crate) fn gateway_tls(
        &self,
        identity: &GatewayIdentity,
        end: SystemTime,
    ) -> (Arc<ClientConfig>, String) {
        let uri = format!("urn:mfp:{}:{}", identity.tenant, identity.gateway);
        let (chain, key) = self.issue_until(SanType::URI(uri.try_into().expect("ASCII")), Some(end));
        let serial = Credential::from_certificate_der(&chain[0]).expect("one identity").serial;
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("supported")
            .with_root_certificates(self.roots());
        (Arc::new(builder.with_client_auth_cert(chain, key).expect("they fit")), serial)
    }

    /// TLS of a client that trusts this authority and presents a certificate of `issuer` with `uri`.
    pub(crate) fn client_tls(&self, issuer: &Self, uri: Option<&str>) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("supported")
            .with_root_certificates(self.roots());
        Arc::new(match uri {
            None => builder.with_no_client_auth(),
            Some(uri) => {
                let (chain, key) = issuer.issue_uri(uri);
                builder.with_client_auth_cert(chain, key).expect("they fit")
            }
        })
    }
}

/// A running endpoint whose consumer is the test.
pub(crate) struct Running {
    pub(crate) authority: Authority,
    pub(crate) endpoint: Endpoint,
    pub(crate) events: mpsc::Receiver<EndpointEvent>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) listener: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        let authority = Authority::new();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = EndpointConfig { listen, tls: ServerTls::new(authority.server_tls()), limits };
        let (listener, endpoint, events) = bind(config).await.expect("a free port");
        let shutdown = CancellationToken::new();
        let listener = tokio::spawn(listener.run(shutdown.clone()));
        Self { authority, endpoint, events, shutdown, listener }
    }

    pub(crate) fn tls_of(&self, identity: &GatewayIdentity) -> Arc<ClientConfig> {
        let uri = format!("urn:mfp:{}:{}", identity.tenant, identity.gateway);
        self.authority.client_tls(&self.authority, Some(&uri))
    }

    pub(crate) async fn event(&mut self) -> EndpointEvent {
        within("an event", self.events.recv()).await.expect("the endpoint runs")
    }

    /// The next event, which is a publish.
    pub(crate) async fn publish(&mut self) -> Inbound {
        let event = self.event().await;
        let EndpointEvent::Publish(inbound) = event else { panic!("not a publish: {event:?}") };
        inbound
    }

    /// A gateway of its own certificate, connected and announced.
    pub(crate) async fn gateway(&mut self, identity: &GatewayIdentity) -> Gateway {
        let mut gateway = Gateway::start(self.options(identity));
        gateway.connected().await;
        let event = self.event().await;
        assert!(
            matches!(&event, EndpointEvent::Connected { identity: announced, .. } if announced == identity),
            "{event:?}"
        );
        gateway
    }

    pub(crate) fn options(&self, identity: &GatewayIdentity) -> MqttOptions {
        self.options_with(&identity.to_string(), self.tls_of(identity))
    }

    pub(crate) fn options_with(&self, client_id: &str, tls: Arc<ClientConfig>) -> MqttOptions {
        let mut options = MqttOptions::new(client_id, "localhost", self.endpoint.local_addr().port());
        let tls = rumqttc::TlsConfiguration::Rustls(tls);
        options.set_transport(rumqttc::Transport::tls_with_config(tls));
        options.set_clean_start(true).set_max_packet_size(Some(2 << 20));
        options
    }

    /// A TLS connection without MQTT.
    pub(crate) async fn bare(&self, identity: &GatewayIdentity) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.endpoint.local_addr()).await.expect("listening");
        let name = ServerName::try_from("localhost").expect("a DNS name");
        TlsConnector::from(self.tls_of(identity)).connect(name, stream).await.expect("trusted")
    }

    /// A TLS connection after CONNECT and CONNACK, announced.
    pub(crate) async fn bare_connected(
        &mut self,
        identity: &GatewayIdentity,
        keep_alive: u16,
    ) -> TlsStream<TcpStream> {
        let mut stream = self.bare(identity).await;
        stream.write_all(&connect_packet(identity, keep_alive)).await.expect("open");
        let connack = read_packet(&mut stream).await.expect("a CONNACK");
        assert_eq!((connack[0], connack[3]), (0x20, 0));
        assert!(matches!(self.event().await, EndpointEvent::Connected { .. }));
        stream
    }
}

pub(crate) fn connect_packet(identity: &GatewayIdentity, keep_alive: u16) -> Vec<u8> {
    Connect::builder()
        .client_id(identity.to_string())
        .and_then(|builder| builder.clean_start(true).keep_alive(keep_alive).build())
        .expect("well-formed")
        .to_continuous_buffer()
}

/// One packet of fewer than 128 bytes, or `None` at the end of the stream.
pub(crate) async fn read_packet(stream: &mut TlsStream<TcpStream>) -> Option<Vec<u8>> {
    within("a packet", async {
        let mut header = [0; 2];
        stream.read_exact(&mut header).await.ok()?;
        let mut packet = header.to_vec();
        packet.resize(2 + usize::from(header[1]), 0);
        stream.read_exact(&mut packet[2..]).await.ok()?;
        Some(packet)
    })
    .await
}

/// A gateway: a `rumqttc` client for one connection.
pub(crate) struct Gateway {
    pub(crate) client: AsyncClient,
    incoming: mpsc::Receiver<Result<Packet, String>>,
}

impl Gateway {
    pub(crate) fn start(options: MqttOptions) -> Self {
        let (client, mut event_loop) = AsyncClient::new(options, 100);
        let (sender, incoming) = mpsc::channel(1_000);
        tokio::spawn(async move {
            loop {
                let packet = match event_loop.poll().await {
                    Ok(Event::Incoming(packet)) => Ok(packet),
                    Ok(Event::Outgoing(_)) => continue,
                    Err(error) => Err(format!("{error:?}")),
                };
                let ended = packet.is_err();
                if sender.send(packet).await.is_err() || ended {
                    return;
                }
            }
        });
        Self { client, incoming }
    }

    pub(crate) async fn packet(&mut self) -> Result<Packet, String> {
        within("a packet", self.incoming.recv())
            .await
            .unwrap_or_else(|| Err("the connection ended".to_owned()))
    }

    pub(crate) async fn connected(&mut self) {
        let packet = self.packet().await;
        assert!(matches!(packet, Ok(Packet::ConnAck(_))), "{packet:?}");
    }

    /// The error that ends the connection.
    pub(crate) async fn error(&mut self) -> String {
        loop {
            if let Err(error) = self.packet().await {
                return error;
            }
        }
    }

    pub(crate) async fn send(&self, topic: &str, payload: &'static str) {
        let sent = self.client.publish(topic, QoS::AtLeastOnce, false, payload).await;
        sent.expect("the client runs");
    }

    /// The next acknowledgement: packet id and reason.
    pub(crate) async fn puback(&mut self) -> (u16, PubAckReason) {
        match self.packet().await {
            Ok(Packet::PubAck(puback)) => (puback.pkid, puback.reason),
            other => panic!("not a PUBACK: {other:?}"),
        }
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) -> Vec<SubscribeReasonCode> {
        self.client.subscribe(filter, QoS::AtLeastOnce).await.expect("the client runs");
        match self.packet().await {
            Ok(Packet::SubAck(suback)) => suback.return_codes,
            other => panic!("not a SUBACK: {other:?}"),
        }
    }

    /// The next message: topic and payload.
    pub(crate) async fn message(&mut self) -> (Bytes, Bytes) {
        match self.packet().await {
            Ok(Packet::Publish(publish)) => (publish.topic, publish.payload),
            other => panic!("not a PUBLISH: {other:?}"),
        }
    }
}
