//! The listener of a broker and what its connections share.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, info};

use super::{
    packet::Message,
    relay::relay,
    rule::{Fault, Kind, Policy, Rule, Way},
    tls::{self, Credentials},
};

/// Clients connected at a time; further ones wait.
const CONNECTIONS_MAX: usize = 256;
/// Time for both handshakes.
const HANDSHAKES: Duration = Duration::from_secs(10);

/// Where a broker stands.
#[derive(Debug, Clone)]
pub struct BrokerOptions {
    /// Where clients dial; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The server behind.
    pub to: SocketAddr,
    /// The authority of the server behind, PEM.
    pub ca: PathBuf,
    /// As whom to dial it: certificate, PEM.
    pub certificate: PathBuf,
    /// The key of that certificate, PEM.
    pub key: PathBuf,
    /// What chances follow from.
    pub seed: u64,
}

/// What a rule has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RuleReport {
    rule: String,
    seen: u64,
    fired: u64,
}

/// What connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cuts: watch::Sender<u64>,
    policy: Mutex<Policy>,
    connections_total: AtomicU64,
    connections_open: AtomicU64,
    packets_up: AtomicU64,
    packets_down: AtomicU64,
}

impl Shared {
    /// Asks what becomes of a packet.
    pub(super) fn decide(&self, way: Way, kind: Kind, message: Option<&Message>) -> (Vec<Fault>, u64) {
        let counter = if way == Way::Up { &self.packets_up } else { &self.packets_down };
        counter.fetch_add(1, Ordering::Relaxed);
        self.policy.lock().unwrap_or_else(PoisonError::into_inner).decide(way, kind, message)
    }
}

/// What passed since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Overview {
    listen: SocketAddr,
    target: SocketAddr,
    connections_total: u64,
    connections_open: u64,
    packets_up: u64,
    packets_down: u64,
    rules: Vec<RuleReport>,
}

/// A broker whose faults are asked for each packet. It ends, with its connections, when dropped.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    address: SocketAddr,
    target: SocketAddr,
    authority: String,
    _end: DropGuard,
}

impl Broker {
    /// A broker without rules.
    ///
    /// # Errors
    /// The port is taken, or a file cannot be read.
    pub async fn start(options: BrokerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let (server, authority) = tls::server(&[address.ip().to_string(), "localhost".to_owned()])?;
        let BrokerOptions { to, ca, certificate, key, seed, .. } = options;
        let credentials = Credentials { ca, certificate, key };
        tls::client(&credentials)?;
        let shared = Arc::new(Shared {
            cuts: watch::Sender::default(),
            policy: Mutex::new(Policy::new(seed)),
            connections_total: AtomicU64::new(0),
            connections_open: AtomicU64::new(0),
            packets_up: AtomicU64::new(0),
            packets_down: AtomicU64::new(0),
        });
        let end = CancellationToken::new();
        let door = Door { shared: Arc::clone(&shared), server, credentials, target: to, end: end.clone() };
        tokio::spawn(async move { door.end.clone().run_until_cancelled(door.run(listener)).await });
        Ok(Self { shared, address, target: to, authority, _end: end.drop_guard() })
    }

    /// Where to dial.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority by which clients know it, PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Other rules, in force from the next packet on; they begin to count now.
    pub fn set(&self, rules: Vec<Rule>) {
        self.shared.policy.lock().unwrap_or_else(PoisonError::into_inner).set(rules);
    }

    /// Closes every open connection without a word. Returns how many there were.
    pub fn cut(&self) -> u64 {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
        self.shared.connections_open.load(Ordering::Relaxed)
    }

    /// How often each rule has fired, in their order.
    #[must_use]
    pub fn fired(&self) -> Vec<u64> {
        let policy = self.shared.policy.lock().unwrap_or_else(PoisonError::into_inner);
        policy.active.iter().map(|active| active.fired).collect()
    }

    pub(super) fn overview(&self) -> Overview {
        let policy = self.shared.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let report =
            |a: &super::rule::Active| RuleReport { rule: a.rule.to_string(), seen: a.seen, fired: a.fired };
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Overview {
            listen: self.address,
            target: self.target,
            connections_total: value(&self.shared.connections_total),
            connections_open: value(&self.shared.connections_open),
            packets_up: value(&self.shared.packets_up),
            packets_down: value(&self.shared.packets_down),
            rules: policy.active.iter().map(report).collect(),
        }
    }
}

/// The public port.
struct Door {
    shared: Arc<Shared>,
    server: Arc<ServerConfig>,
    credentials: Credentials,
    target: SocketAddr,
    end: CancellationToken,
}

impl Door {
    async fn run(&self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let client = match listener.accept().await {
                Ok((client, _)) => client,
                Err(error) => {
                    info!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let connection = Connection {
                shared: Arc::clone(&self.shared),
                server: Arc::clone(&self.server),
                credentials: self.credentials.clone(),
                target: self.target,
            };
            let end = self.end.clone();
            tokio::spawn(async move {
                end.run_until_cancelled(connection.run(client)).await;
                drop(slot);
            });
        }
    }
}

struct Connection {
    shared: Arc<Shared>,
    server: Arc<ServerConfig>,
    credentials: Credentials,
    target: SocketAddr,
}

impl Connection {
    async fn run(self, client: TcpStream) {
        self.shared.connections_total.fetch_add(1, Ordering::Relaxed);
        self.shared.connections_open.fetch_add(1, Ordering::Relaxed);
        let both = timeout(HANDSHAKES, self.shake_hands(client)).await;
        match both.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            Ok((client, server)) => relay(&self.shared, client, server).await,
            Err(error) => debug!(%error, "a connection did not come about"),
        }
        self.shared.connections_open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn shake_hands(
        &self,
        client: TcpStream,
    ) -> io::Result<(tokio_rustls::server::TlsStream<TcpStream>, tokio_rustls::client::TlsStream<TcpStream>)>
    {
        client.set_nodelay(true)?;
        // Read anew each time, like a client does whose certificate was renewed.
        let config: Arc<ClientConfig> = tls::client(&self.credentials)?;
        let server = TcpStream::connect(self.target).await?;
        server.set_nodelay(true)?;
        let server = TlsConnector::from(config)
            .connect(ServerName::IpAddress(self.target.ip().into()), server)
            .await?;
        Ok((TlsAcceptor::from(Arc::clone(&self.server)).accept(client).await?, server))
    }
}
