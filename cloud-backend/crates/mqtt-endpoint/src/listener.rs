//! Accepting connections: TCP, TLS under a deadline, identity; then one task per connection, owned here.

use std::net::SocketAddr;
use std::sync::Arc;

use tls_kit::ServerTls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::connection::{Connection, Start};
use crate::endpoint::Shared;
use crate::{ConnectionId, Credential, EndpointEvent, HandshakeFailure};

/// The listening side of the endpoint.
#[derive(Debug)]
pub struct Listener {
    tcp: TcpListener,
    tls: ServerTls,
    shared: Arc<Shared>,
    events: mpsc::Sender<EndpointEvent>,
    handshakes: Arc<Semaphore>,
}

impl Listener {
    pub(crate) fn new(
        tcp: TcpListener,
        tls: ServerTls,
        shared: Arc<Shared>,
        events: mpsc::Sender<EndpointEvent>,
    ) -> Self {
        let handshakes = Arc::new(Semaphore::new(shared.limits.handshakes_max.max(1)));
        Self { tcp, tls, shared, events, handshakes }
    }

    /// Serves connections until `shutdown` is cancelled; then says goodbye to every gateway (0x8B) and
    /// returns within [`Limits::farewell`](crate::Limits::farewell). The consumer should go on receiving
    /// until its receiver ends, to see the last events.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut next_connection = 1;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = tasks.join_next() => report_panic(ended),
                (stream, peer, permit) = self.accept() => {
                    let connection = ConnectionId::new(next_connection);
                    next_connection += 1;
                    tasks.spawn(self.arrival(connection, peer, permit, &shutdown).serve(stream));
                }
            }
        }
        let farewell = self.shared.limits.farewell;
        drop(self);
        let drained = timeout(farewell, async {
            while let Some(ended) = tasks.join_next().await {
                report_panic(ended);
            }
        });
        if drained.await.is_err() {
            warn!(connections = tasks.len(), "connections did not end in time and are cut");
        }
    }

    async fn accept(&self) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let permit = Arc::clone(&self.handshakes).acquire_owned().await.expect("never closed");
        let (stream, peer) = service_kit::accept(&self.tcp).await;
        (stream, peer, permit)
    }

    fn arrival(
        &self,
        connection: ConnectionId,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
        shutdown: &CancellationToken,
    ) -> Arrival {
        Arrival {
            connection,
            peer,
            permit,
            tls: TlsAcceptor::from(self.tls.current()),
            shared: Arc::clone(&self.shared),
            events: self.events.clone(),
            shutdown: shutdown.clone(),
        }
    }
}

/// A TCP connection that is not yet a gateway's.
struct Arrival {
    connection: ConnectionId,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    events: mpsc::Sender<EndpointEvent>,
    shutdown: CancellationToken,
}

impl Arrival {
    async fn serve(self, stream: TcpStream) {
        let shutdown = self.shutdown.clone();
        let handshake = tokio::select! {
            handshake = self.handshake(stream) => handshake,
            () = shutdown.cancelled() => return,
        };
        match handshake {
            Ok((stream, credential)) => self.connection(credential).run(stream).await,
            Err(reason) => {
                self.shared.metrics.handshake_failed(reason);
                debug!(peer = %self.peer, reason = reason.label(), "handshake failed");
            }
        }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
    ) -> Result<(TlsStream<TcpStream>, Credential), HandshakeFailure> {
        // Acknowledgements are small and awaited: Nagle's algorithm would hold them back.
        stream.set_nodelay(true).map_err(|_| HandshakeFailure::Connection)?;
        let deadline = Instant::now() + self.shared.limits.handshake_deadline;
        let stream = timeout_at(deadline, self.tls.accept(stream))
            .await
            .map_err(|_| HandshakeFailure::Deadline)?
            .map_err(|cause| failure_of(&cause))?;
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = certificates.first().ok_or(HandshakeFailure::NoCertificate)?;
        match Credential::from_certificate_der(certificate) {
            Ok(credential) if self.shared.registry.is_revoked(&credential.serial) => {
                warn!(tenant.id = %credential.identity.tenant, gateway.id = %credential.identity.gateway,
                    serial = credential.serial, "a revoked certificate");
                Err(HandshakeFailure::Revoked)
            }
            Ok(credential) => Ok((stream, credential)),
            Err(cause) => {
                warn!(peer = %self.peer, error = %cause, "certificate of our authority without identity");
                Err(HandshakeFailure::NoIdentity)
            }
        }
    }

    fn connection(self, credential: Credential) -> Connection {
        Connection::new(Start {
            credential,
            connection: self.connection,
            peer: self.peer,
            handshake: self.permit,
            shared: self.shared,
            events: self.events,
            shutdown: self.shutdown,
        })
    }
}

fn failure_of(error: &std::io::Error) -> HandshakeFailure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        None => HandshakeFailure::Connection,
        Some(rustls::Error::NoCertificatesPresented) => HandshakeFailure::NoCertificate,
        Some(rustls::Error::InvalidCertificate(_)) => HandshakeFailure::BadCertificate,
        Some(_) => HandshakeFailure::Tls,
    }
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Err(cause) = ended {
        error!(error = %cause, "the task of an MQTT connection failed");
    }
}
