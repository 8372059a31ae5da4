//! Listening: HTTP/1.1 over TCP, a bounded number of connections, an ordered end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::state::ApiState;

/// Connections at the same time; more wait in the system's backlog. A browser opens six at most.
const CONNECTIONS_MAX: usize = 1_024;
/// Time for the head of a request: a client that dawdles must not hold a connection.
const HEADER_DEADLINE: Duration = Duration::from_secs(15);
/// Largest head of a request.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Time for answers under way when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// The API could not begin to listen.
#[derive(Debug, Error)]
#[error("cannot listen for HTTP on {address}; is the port free and the address one of this host?")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// The system's answer.
    #[source]
    pub source: std::io::Error,
}

/// The API, listening. It answers while [`HttpServer::run`] runs.
#[derive(Debug)]
pub struct HttpServer {
    tcp: TcpListener,
    local_addr: SocketAddr,
}

impl HttpServer {
    /// Begins to listen; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let failed = |source| BindError { address, source };
        let tcp = TcpListener::bind(address).await.map_err(failed)?;
        let local_addr = tcp.local_addr().map_err(failed)?;
        Ok(Self { tcp, local_addr })
    }

    /// The address listened on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Answers requests until `shutdown` is cancelled, then lets answers under way end, within five
    /// seconds. Live streams end at once.
    pub async fn run(self, state: ApiState, shutdown: CancellationToken) {
        let router = crate::routes::router(state, shutdown.clone());
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = connections.join_next() => report(ended),
                (stream, permit) = self.accept(&permits) => {
                    connections.spawn(serve(stream, permit, router.clone(), shutdown.clone()));
                }
            }
        }
        drop(self);
        let drained = tokio::time::timeout(FAREWELL, async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        });
        if drained.await.is_err() {
            warn!(connections = connections.len(), "answers did not end in time and are cut");
        }
    }

    async fn accept(&self, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
        let permit = Arc::clone(permits).acquire_owned().await.expect("never closed");
        let (stream, _) = service_kit::accept(&self.tcp).await;
        (stream, permit)
    }
}

async fn serve(stream: TcpStream, permit: OwnedSemaphorePermit, router: Router, shutdown: CancellationToken) {
    let _permit = permit;
    // Live events are small and awaited: Nagle's algorithm would hold them back.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_DEADLINE).max_buf_size(HEADER_BYTES_MAX);
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(cause) = ended {
        debug!(error = %cause, "a connection ended badly");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(cause) = ended {
        error!(error = %cause, "the task of an HTTP connection failed");
    }
}
