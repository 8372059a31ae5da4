//! Listening: TLS under a deadline, HTTP/1.1, a bounded number of connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tls_kit::ServerTls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::GatewayApi;
use crate::routes::{PeerCertificate, router};

/// Connections at the same time; more wait in the system's backlog. Each gateway comes once in five minutes for a
/// moment.
pub const CONNECTIONS_MAX: usize = 256;
/// Time for TLS, and for the head of a request. Generous for a cellular link.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// The longest life of a connection: a request or two. The largest configuration takes as long over 200 kbit/s.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(120);
/// Largest head of a request.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Time for answers under way when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// The API could not begin to listen.
#[derive(Debug, Error)]
#[error("cannot listen for gateways on {address}; is the port free and the address one of this host?")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The system's answer.
    #[source]
    pub source: std::io::Error,
}

/// The API for gateways, listening. It answers while [`GatewayServer::run`] runs.
pub struct GatewayServer {
    tcp: TcpListener,
    tls: ServerTls,
    local_addr: SocketAddr,
}

impl GatewayServer {
    /// Begins to listen; port 0 takes a free one. `tls` verifies client certificates and does not demand
    /// them.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(address: SocketAddr, tls: ServerTls) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let local_addr = tcp.local_addr().map_err(failed)?;
        Ok(Self { tcp, tls, local_addr })
    }

    /// The address listened on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers requests until `shutdown` is cancelled, then lets answers under way end.
    pub async fn run(self, api: GatewayApi, shutdown: CancellationToken) {
        let (router, permits) = (router(api), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => report(ended),
                (stream, peer, permit) = self.accept(&permits) => {
                    let (tls, router) = (TlsAcceptor::from(self.tls.current()), router.clone());
                    connections.spawn(serve(stream, peer, tls, router, permit));
                }
            }
        }
        drop(self);
        let drained = timeout(FAREWELL, async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        });
        if drained.await.is_err() {
            warn!(connections = connections.len(), "answers to gateways did not end in time and are cut");
        }
    }

    async fn accept(&self, permits: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let permit = Arc::clone(permits).acquire_owned().await.expect("never closed");
        let (stream, peer) = service_kit::accept(&self.tcp).await;
        (stream, peer, permit)
    }
}

async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    router: Router,
    permit: OwnedSemaphorePermit,
) {
    let _permit = permit;
    let stream = match timeout(HANDSHAKE_DEADLINE, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(cause)) => return debug!(peer = %peer, error = %cause, "a TLS handshake failed"),
        Err(_) => return debug!(peer = %peer, "a TLS handshake took too long"),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = PeerCertificate(certificate.map(|der| Arc::from(der.as_ref())));
    let router = router.layer(Extension(certificate));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_DEADLINE).max_buf_size(HEADER_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(cause)) = timeout(CONNECTION_DEADLINE, connection).await {
        debug!(peer = %peer, error = %cause, "a connection ended badly");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(cause) = ended {
        error!(error = %cause, "the task of a gateway's connection failed");
    }
}
