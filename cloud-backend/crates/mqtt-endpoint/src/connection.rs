//! One connection: moves bytes between the network and the [`Session`], and publishes and verdicts between
//! the session and the consumer. One task; everything it waits for it waits for at once.
//!
//! Back-pressure
//! - A publish that the consumer has no room for is held here. While one is held, or while more than
//!   [`OUTPUT_BYTES_PAUSE`] wait to be sent, nothing is read: TCP slows the gateway down.
//! - The keep-alive does not run during such a pause, which is ours.
//! - A peer that takes nothing for the write timeout is closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::endpoint::Shared;
use crate::event::{Verdict, receipt};
use crate::registry::{Line, Outbound, Registration};
use crate::session::{Effect, RECEIVE_MAXIMUM, Session};
use crate::{ConnectionId, Credential, DisconnectReason, EndpointEvent, GatewayIdentity, Inbound};

/// Read at most this at once: one TLS record.
const READ_BYTES: usize = 16 * 1024;
/// Hand at most this to TLS before it is flushed: one TLS record, so that progress means network progress.
const WRITE_BYTES: usize = 16 * 1024;
/// A gateway connects anew at least this often: its certificate is looked at again.
const CONNECTION_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// With more than this waiting to be sent, neither read nor take the next message.
const OUTPUT_BYTES_PAUSE: usize = 64 * 1024;

/// What a connection begins with.
pub(crate) struct Start {
    pub(crate) credential: Credential,
    pub(crate) connection: ConnectionId,
    pub(crate) peer: SocketAddr,
    /// Held until the gateway is announced to the consumer.
    pub(crate) handshake: OwnedSemaphorePermit,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: mpsc::Sender<EndpointEvent>,
    pub(crate) shutdown: CancellationToken,
}

/// A connection after TLS.
pub(crate) struct Connection {
    identity: GatewayIdentity,
    id: ConnectionId,
    peer: SocketAddr,
    shared: Arc<Shared>,
    session: Session,
    handshake: Option<OwnedSemaphorePermit>,
    registration: Option<Registration>,
    line: Line,
    shutdown: CancellationToken,
    outbound: mpsc::Receiver<Outbound>,
    verdicts: mpsc::Receiver<Verdict>,
    verdict_sender: mpsc::Sender<Verdict>,
    events: mpsc::Sender<EndpointEvent>,
    /// The event that waits for room at the consumer.
    held: Option<EndpointEvent>,
    announced: bool,
    input: BytesMut,
    output: BytesMut,
    /// TLS holds bytes that the network has not taken.
    unflushed: bool,
    write_deadline: Option<Instant>,
    /// The end of the certificate.
    certificate_end: Instant,
    paused: bool,
    closing: Option<DisconnectReason>,
}

impl Connection {
    pub(crate) fn new(start: Start) -> Self {
        let limits = &start.shared.limits;
        let (outbound_sender, outbound) = mpsc::channel(limits.outbound_max.max(1));
        // One place for every publish that may be unacknowledged: a verdict never waits.
        let (verdict_sender, verdicts) = mpsc::channel(usize::from(RECEIVE_MAXIMUM));
        let line = Line {
            connection: start.connection,
            outbound: outbound_sender,
            subscriptions: Arc::default(),
            taken_over: CancellationToken::new(),
            serial: start.credential.serial.into(),
            revoked: CancellationToken::new(),
        };
        let identity = start.credential.identity;
        let left = start.credential.expires_at.duration_since(SystemTime::now()).unwrap_or_default();
        Self {
            session: Session::new(identity.clone(), Instant::now() + limits.handshake_deadline),
            identity,
            id: start.connection,
            peer: start.peer,
            shared: start.shared,
            handshake: Some(start.handshake),
            registration: None,
            line,
            shutdown: start.shutdown,
            outbound,
            verdicts,
            verdict_sender,
            events: start.events,
            held: None,
            announced: false,
            input: BytesMut::new(),
            output: BytesMut::new(),
            unflushed: false,
            write_deadline: None,
            certificate_end: Instant::now() + left.min(CONNECTION_MAX),
            paused: false,
            closing: None,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run<S: AsyncRead + AsyncWrite>(mut self, stream: S) {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let reason = self.exchange(&mut reader, &mut writer).await;
        if let DisconnectReason::ProtocolError(_) = reason {
            self.shared.metrics.protocol_error();
        }
        debug!(
            tenant.id = %self.identity.tenant, gateway.id = %self.identity.gateway,
            connection = %self.id, peer = %self.peer, ?reason, "gateway disconnected"
        );
        self.registration = None;
        let _ = timeout(self.shared.limits.farewell / 2, self.farewell(reader, writer)).await;
        if self.announced {
            let (identity, connection) = (self.identity, self.id);
            let event = EndpointEvent::Disconnected { identity, connection, reason };
            // A consumer that is gone needs no goodbye.
            let _ = self.events.send(event).await;
        }
    }

    async fn exchange<S: AsyncRead + AsyncWrite>(
        &mut self,
        reader: &mut ReadHalf<S>,
        writer: &mut WriteHalf<S>,
    ) -> DisconnectReason {
        loop {
            self.work_off_input(Instant::now());
            if let Some(reason) = self.closing.take() {
                return reason;
            }
            let wake = self.next_wake();
            let chunk = self.output.len().min(WRITE_BYTES);
            tokio::select! {
                biased;
                Some(verdict) = self.verdicts.recv() => self.answer(verdict),
                () = self.shutdown.cancelled() => self.close(DisconnectReason::ShuttingDown),
                () = self.line.taken_over.cancelled() => self.close(DisconnectReason::TakenOver),
                () = self.line.revoked.cancelled() => self.close(DisconnectReason::CertificateRevoked),
                handed_over = hand_over(&self.events, &mut self.held), if self.held.is_some() => {
                    self.handed_over(handed_over);
                }
                progress = send(writer, &self.output[..chunk], self.unflushed), if self.unflushed || chunk > 0 => {
                    self.sent(progress);
                }
                Some(message) = self.outbound.recv(), if self.takes_messages() => self.publish(&message),
                read = reader.read_buf(&mut self.input), if !self.paused => self.received(read),
                () = sleep_until(wake.into()) => self.time_out(Instant::now()),
            }
        }
    }

    /// Presents what was read to the session, packet by packet, until a publish has to wait.
    fn work_off_input(&mut self, now: Instant) {
        while !self.input.is_empty() && !self.must_pause() && self.closing.is_none() {
            let (taken, effects) = self.session.handle_input(&self.input, now);
            self.input.advance(taken);
            self.apply(effects, now);
        }
        let paused = self.must_pause();
        if self.paused && !paused {
            self.session.handle_resumed(now);
        }
        self.paused = paused;
        if self.input.is_empty() {
            self.input.reserve(READ_BYTES);
        }
        let sending = self.unflushed || !self.output.is_empty();
        if sending && self.write_deadline.is_none() {
            self.write_deadline = Some(now + self.shared.limits.write_timeout);
        }
    }

    fn must_pause(&self) -> bool {
        self.held.is_some() || self.output.len() > OUTPUT_BYTES_PAUSE
    }

    fn takes_messages(&self) -> bool {
        self.output.len() <= OUTPUT_BYTES_PAUSE && self.session.can_publish()
    }

    fn next_wake(&self) -> Instant {
        let session = self.session.poll_timeout().filter(|_| !self.paused);
        session.into_iter().chain(self.write_deadline).fold(self.certificate_end, Instant::min)
    }

    fn time_out(&mut self, now: Instant) {
        if self.write_deadline.is_some_and(|deadline| now >= deadline) {
            self.close(DisconnectReason::WriteTimeout);
        } else if now >= self.certificate_end {
            self.close(DisconnectReason::CertificateExpired);
        } else if !self.paused {
            let effects = self.session.handle_timeout(now);
            self.apply(effects, now);
        }
    }

    fn close(&mut self, reason: DisconnectReason) {
        let effects = self.session.close(reason);
        self.apply(effects, Instant::now());
    }

    fn answer(&mut self, verdict: Verdict) {
        let now = Instant::now();
        let effects = self.session.answer(verdict.packet_id, verdict.outcome, now);
        self.apply(effects, now);
    }

    fn publish(&mut self, message: &Outbound) {
        let now = Instant::now();
        let effects = self.session.publish(message.channel, &message.payload, now);
        if effects.iter().any(|effect| matches!(effect, Effect::Send(_))) {
            self.shared.metrics.message_sent();
        }
        self.apply(effects, now);
    }

    fn handed_over(&mut self, handed_over: Result<(), ConsumerGone>) {
        if handed_over.is_err() {
            // Without a consumer nothing can be acknowledged.
            self.close(DisconnectReason::ShuttingDown);
        } else if self.announced {
            self.shared.metrics.published();
        } else {
            self.announced = true;
            self.handshake = None;
        }
    }

    fn received(&mut self, read: std::io::Result<usize>) {
        match read {
            Ok(size_bytes) if size_bytes > 0 => self.shared.metrics.received(size_bytes),
            Ok(_) | Err(_) => self.close(DisconnectReason::ConnectionLost),
        }
    }

    fn sent(&mut self, progress: std::io::Result<Progress>) {
        match progress {
            Ok(Progress::Written(size_bytes)) if size_bytes > 0 => {
                self.output.advance(size_bytes);
                self.unflushed = true;
                self.shared.metrics.sent(size_bytes);
            }
            Ok(Progress::Flushed) => {
                self.unflushed = false;
                self.write_deadline = None;
            }
            Ok(Progress::Written(_)) | Err(_) => self.close(DisconnectReason::ConnectionLost),
        }
    }

    fn apply(&mut self, effects: Vec<Effect>, now: Instant) {
        for effect in effects {
            match effect {
                Effect::Send(bytes) => self.output.extend_from_slice(&bytes),
                Effect::Admit => self.admit(now),
                Effect::Deliver { channel, payload, packet_id } => {
                    self.held = Some(EndpointEvent::Publish(Inbound {
                        identity: self.identity.clone(),
                        connection: self.id,
                        channel,
                        payload,
                        receipt: receipt(packet_id, &self.verdict_sender),
                    }));
                }
                Effect::Subscribed(channel) => self.line.subscriptions.insert(channel),
                Effect::Unsubscribed(channel) => self.line.subscriptions.remove(channel),
                Effect::Refused(refusal) => {
                    self.shared.metrics.refused(refusal);
                    warn!(
                        tenant.id = %self.identity.tenant, gateway.id = %self.identity.gateway,
                        connection = %self.id, reason = refusal.label(), "refused"
                    );
                }
                Effect::Close(reason) => self.closing = Some(reason),
            }
        }
    }

    fn admit(&mut self, now: Instant) {
        let effects = match self.shared.registry.register(&self.identity, self.line.clone()) {
            Ok(registration) => {
                self.registration = Some(registration);
                debug!(
                    tenant.id = %self.identity.tenant, gateway.id = %self.identity.gateway,
                    connection = %self.id, peer = %self.peer, "gateway connected"
                );
                let (identity, connection, peer) = (self.identity.clone(), self.id, self.peer);
                if self.shared.registry.is_revoked(&self.line.serial) {
                    self.session.close(DisconnectReason::CertificateRevoked)
                } else {
                    self.held = Some(EndpointEvent::Connected { identity, connection, peer });
                    self.session.admit(now)
                }
            }
            Err(_) => self.session.refuse_busy(),
        };
        self.apply(effects, now);
    }

    /// Sends what is left, and then reads until the peer has closed: closing with unread data would make
    /// the system discard what was sent.
    async fn farewell<S: AsyncRead + AsyncWrite>(
        &mut self,
        mut reader: ReadHalf<S>,
        mut writer: WriteHalf<S>,
    ) -> std::io::Result<()> {
        writer.write_all(&self.output).await?;
        writer.shutdown().await?;
        loop {
            self.input.clear();
            self.input.reserve(READ_BYTES);
            if reader.read_buf(&mut self.input).await? == 0 {
                return Ok(());
            }
        }
    }
}

/// Nobody receives events any more.
struct ConsumerGone;

/// Waits for room at the consumer and only then takes the event, so that it may be cancelled.
async fn hand_over(
    events: &mpsc::Sender<EndpointEvent>,
    held: &mut Option<EndpointEvent>,
) -> Result<(), ConsumerGone> {
    let permit = events.reserve().await.map_err(|_| ConsumerGone)?;
    if let Some(event) = held.take() {
        permit.send(event);
    }
    Ok(())
}

/// A step of sending.
enum Progress {
    /// TLS took this many bytes.
    Written(usize),
    /// The network took all that TLS had.
    Flushed,
}

/// Flushes what TLS holds, or else gives it the next chunk. May be cancelled: nothing is taken then.
async fn send<W: AsyncWrite + Unpin>(
    writer: &mut W,
    chunk: &[u8],
    unflushed: bool,
) -> std::io::Result<Progress> {
    if unflushed {
        writer.flush().await.map(|()| Progress::Flushed)
    } else {
        writer.write(chunk).await.map(Progress::Written)
    }
}
