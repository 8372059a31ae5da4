//! One connection, from dial to end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use delivery::{AckOutcome, Delivery, Outbox, OutboxError, Settings, TimeoutOutcome};
use plant_model::Monotonic;
use protocol::{BatchHeader, Channel, CumulativeAck, Hello, Sequence, StreamId, Topic};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, DisconnectReasonCode, Packet, Publish, PublishProperties};
use rumqttc::v5::{AsyncClient, ClientError, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{TlsConfiguration, Transport};
use service_kit::{Backoff, Clock};
use thiserror::Error;
use tls_kit::{Identity, Roots, TlsError, TlsTime, Trust, Versions};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Cargo, Sidecar, UplinkCounters, UplinkSettings, Urgent, UrgentMessage};

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Something is heard at least this often on a connection that lives: the client asks every [`KEEP_ALIVE`], and the
/// answer has the rest of the time. It does what a TCP user time-out would, and also ends a connection whose peer
/// takes nothing any more, on which the client would hang.
const SILENCE_MAX: Duration = Duration::from_secs(25);

/// TCP, TLS and CONNACK together.
const CONNECT_SECONDS: u64 = 10;

/// Batches of one stream under way; with three streams it stays below the endpoint's receive maximum.
const WINDOW: usize = 4;

/// Messages the MQTT client may have unacknowledged: all windows, hello, catalogue, and two results of
/// commands; what the endpoint allows.
const IN_FLIGHT_MAX: u16 = 16;

/// What a packet takes beside its message: header, topic (at most 149 bytes) and properties.
const PACKET_OVERHEAD: usize = 256;

const LIVE_INTERVAL: Duration = Duration::from_secs(1);

/// A broker keeps a live message no longer than this for a backend that is away. Batches never expire.
const LIVE_EXPIRY_SECONDS: u32 = 60;

/// How long the backend may take to acknowledge before its silence is acted upon.
const STALL: Duration = Duration::from_secs(10);

/// How a connection ended.
pub(crate) enum End {
    /// It was asked to stop, and nothing is left.
    Drained,
    /// It failed.
    Failed(UplinkError),
}

/// Why a connection ended.
#[derive(Debug, Error)]
pub(crate) enum UplinkError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the connection to {host}:{port} failed: {detail}")]
    Link { host: String, port: u16, detail: String },
    #[error("nothing was heard for {} s", SILENCE_MAX.as_secs())]
    Silent,
    #[error(
        "another program has connected as {identity} and took over (0x8E): two gateways have the same certificate, \
         perhaps a copied disk. Stop one of them, or give it an identity of its own"
    )]
    TakenOver { identity: String },
    #[error(
        "the backend holds batches of the {stream} stream up to {through}, which this buffer never committed: it is a \
         copy of an older one, and nothing is sent under its epoch. Stop the other gateway with this identity, if \
         there is one, and set the file of the buffer aside, so that a new epoch begins"
    )]
    Copied { stream: StreamId, through: Sequence },
    #[error(
        "batch {through} of the {stream} stream is another one at the backend than in this buffer: a copy of the \
         buffer was delivered, and nothing of this one counts as delivered since. Stop the other gateway with this \
         identity, save what is only here with `edge-agent buffer export`, and set the file aside, so that a new \
         epoch begins"
    )]
    Forked { stream: StreamId, through: Sequence },
    #[error("the backend does not answer hello")]
    NoAnswer,
    #[error("the endpoint closed the connection: {0}")]
    Closed(String),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("the MQTT client refused a request: {0}")]
    Client(#[from] Box<ClientError>),
}

impl UplinkError {
    /// Whether somebody else has the identity: coming back at once would throw the other one out.
    pub(crate) fn is_contended(&self) -> bool {
        matches!(self, Self::TakenOver { .. } | Self::Copied { .. } | Self::Forked { .. })
    }
}

/// Acknowledgements on their way from the reader to the sender: the newest of each stream is enough.
#[derive(Default)]
struct AckSlots {
    slots: Mutex<[Option<CumulativeAck>; StreamId::ALL.len()]>,
    arrived: Notify,
}

impl AckSlots {
    fn put(&self, ack: CumulativeAck) {
        let position = StreamId::ALL.iter().position(|s| *s == ack.stream).unwrap_or(0);
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)[position] = Some(ack);
        self.arrived.notify_one();
    }

    fn take(&self) -> [Option<CumulativeAck>; StreamId::ALL.len()] {
        std::mem::take(&mut *self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

pub(crate) struct Connection<'a> {
    settings: &'a UplinkSettings,
    clock: Clock,
    counters: &'a UplinkCounters,
    stop: &'a CancellationToken,
    acks: AckSlots,
    /// The largest batch that the other end takes, as it said when the connection was made.
    message_bytes_max: AtomicUsize,
    /// The backend knows who speaks: hello and catalogue are on their way.
    introduced: Notify,
    /// When the other end was heard last.
    heard_at: Mutex<Instant>,
    /// When hello was said, until it is answered.
    asked_at: Mutex<Option<Monotonic>>,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(
        settings: &'a UplinkSettings,
        clock: Clock,
        counters: &'a UplinkCounters,
        stop: &'a CancellationToken,
    ) -> Self {
        Self {
            settings,
            clock,
            counters,
            stop,
            acks: AckSlots::default(),
            introduced: Notify::new(),
            heard_at: Mutex::new(Instant::now()),
            asked_at: Mutex::new(None),
            message_bytes_max: AtomicUsize::new(usize::MAX),
        }
    }

    /// Serves one connection to its end.
    pub(crate) async fn serve(&self, cargo: &mut Cargo, backoff: &mut Backoff) -> End {
        let (client, events) = match self.dial() {
            Ok(pair) => pair,
            Err(error) => return End::Failed(error.into()),
        };
        let (outbox, sidecar, urgent) =
            (cargo.outbox.as_mut(), cargo.sidecar.as_mut(), cargo.urgent.as_ref());
        tokio::select! {
            error = self.listen(events, urgent) => End::Failed(error),
            () = self.silence() => End::Failed(UplinkError::Silent),
            error = self.hurry(&client, urgent) => End::Failed(error),
            end = self.feed(&client, outbox, (sidecar, urgent), backoff) => end.unwrap_or_else(End::Failed),
        }
    }

    fn dial(&self) -> Result<(AsyncClient, EventLoop), TlsError> {
        let s = self.settings;
        let time = TlsTime { clock: self.clock, floor: s.time_floor };
        // The files are read for each connection: a renewed certificate is used from the next one on.
        let trust = Trust::Roots(Roots::from_file(&s.ca_file)?);
        let identity = Identity::from_files(&s.certificate_file, &s.key_file)?;
        let tls = tls_kit::client(trust, Some(identity), time, Versions::Only13)?;
        let mut options = MqttOptions::new(format!("{}/{}", s.tenant, s.gateway), &s.host, s.port);
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_start(true)
            .set_connection_timeout(CONNECT_SECONDS)
            .set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX)
            .set_max_packet_size(u32::try_from(protocol::limits::MESSAGE_BYTES_MAX).ok())
            .set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        // Capacity 0: nothing waits inside the client, where a broken connection would lose it.
        Ok(AsyncClient::new(options, 0))
    }

    /// Drives the event loop and picks out acknowledgements and commands; ends with the connection.
    async fn listen(&self, mut events: EventLoop, urgent: &dyn Urgent) -> UplinkError {
        loop {
            let packet = match events.poll().await {
                Err(error) => return self.explain(&error),
                Ok(Event::Outgoing(_)) => continue,
                Ok(Event::Incoming(packet)) => packet,
            };
            *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            if let Packet::Publish(publish) = packet {
                self.receive(&publish, urgent);
            } else if let Packet::ConnAck(answer) = packet {
                self.note_limits(&answer);
            } else if let Packet::Disconnect(packet) = packet {
                return self.closed(packet.reason_code);
            }
        }
    }

    /// Ends when nothing was heard for too long.
    async fn silence(&self) {
        loop {
            let due = *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) + SILENCE_MAX;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    fn closed(&self, reason: DisconnectReasonCode) -> UplinkError {
        if reason == DisconnectReasonCode::SessionTakenOver {
            let UplinkSettings { tenant, gateway, .. } = self.settings;
            return UplinkError::TakenOver { identity: format!("{tenant}/{gateway}") };
        }
        UplinkError::Closed(format!("{reason:?}"))
    }

    fn note_limits(&self, answer: &ConnAck) {
        let packet_bytes_max = answer.properties.as_ref().and_then(|p| p.max_packet_size);
        let message_bytes_max = packet_bytes_max
            .and_then(|bytes| usize::try_from(bytes).ok())
            .map_or(usize::MAX, |bytes| bytes.saturating_sub(PACKET_OVERHEAD));
        self.message_bytes_max.store(message_bytes_max, Ordering::Relaxed);
    }

    fn explain(&self, error: &ConnectionError) -> UplinkError {
        let UplinkSettings { host, port, .. } = self.settings;
        if let ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) = error {
            return self.closed(*reason_code);
        }
        let detail = if let ConnectionError::ConnectionRefused(code) = error {
            format!("the endpoint refused it: {code:?}")
        } else {
            error.to_string()
        };
        UplinkError::Link { host: host.clone(), port: *port, detail }
    }

    fn receive(&self, publish: &Publish, urgent: &dyn Urgent) {
        let topic = std::str::from_utf8(&publish.topic).ok().and_then(|t| Topic::parse(t).ok());
        match topic.map(|t| t.channel) {
            Some(Channel::Ack) => match CumulativeAck::decode(&publish.payload) {
                Ok(ack) => {
                    self.tell_time(&publish.payload, urgent);
                    self.acks.put(ack);
                }
                Err(error) => tracing::warn!(error = %error, "an acknowledgement cannot be read"),
            },
            Some(Channel::Command) => urgent.command(&publish.payload),
            Some(other) => tracing::debug!(channel = other.path(), "a message without a reader"),
            None => tracing::warn!("a message under a topic that is not ours"),
        }
    }

    /// The first answer to hello says what time it is.
    fn tell_time(&self, ack: &[u8], urgent: &dyn Urgent) {
        let asked_at = self.asked_at.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(asked_at), Some(told)) = (asked_at, CumulativeAck::told_at(ack)) {
            urgent.time_told(told, self.clock.now().since(asked_at));
        }
    }

    /// Sends what is urgent. It shares nothing with [`Self::feed`] but the transport: while that one waits
    /// for the buffer, this one goes on.
    async fn hurry(&self, client: &AsyncClient, urgent: &dyn Urgent) -> UplinkError {
        self.introduced.notified().await;
        urgent.connected();
        loop {
            while let Some(message) = urgent.next() {
                let published = match message {
                    UrgentMessage::Transitions(live) => {
                        self.publish(client, Channel::Live, QoS::AtMostOnce, live).await
                    }
                    UrgentMessage::Result(result) => {
                        self.publish(client, Channel::Response, QoS::AtLeastOnce, result).await
                    }
                };
                if let Err(error) = published {
                    return error;
                }
                urgent.sent();
            }
            urgent.changed().await;
        }
    }

    /// Says hello, then sends what delivery asks for.
    async fn feed(
        &self,
        client: &AsyncClient,
        outbox: &mut dyn Outbox,
        (sidecar, urgent): (&mut dyn Sidecar, &dyn Urgent),
        backoff: &mut Backoff,
    ) -> Result<End, UplinkError> {
        let held = outbox.held();
        let telemetry_bytes_per_second = self.settings.telemetry_bytes_per_second;
        let settings =
            Settings { window: WINDOW, stall: STALL, telemetry_bytes_per_second, ..Settings::default() };
        let mut delivery = Delivery::new(settings, outbox.epoch(), held);
        for channel in [Channel::Ack, Channel::Command] {
            client.subscribe(self.topic(channel), QoS::AtLeastOnce).await.map_err(Box::new)?;
        }
        let hello = Hello {
            epoch: outbox.epoch(),
            schema_max: 1,
            agent_version: self.settings.agent_version.clone(),
            streams: held.to_vec(),
        };
        *self.asked_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.clock.now());
        self.publish(client, Channel::Hello, QoS::AtLeastOnce, hello.encode()).await?;
        self.publish(client, Channel::Catalogue, QoS::AtLeastOnce, sidecar.catalogue()).await?;
        self.introduced.notify_one();
        delivery.handle_connected(self.clock.now());
        let mut live_due = Instant::now();
        let mut drain_until: Option<Instant> = None;
        loop {
            for range in outbox.held() {
                delivery.handle_held(range);
            }
            self.handle_acks(&mut delivery, outbox, backoff).await?;
            self.counters.set_backlog(delivery.backlog());
            if delivery.is_streaming() {
                self.counters.set_connected(true);
            }
            if let Some(end) = self.drained(&delivery, &mut drain_until) {
                return Ok(end);
            }
            let is_due = delivery.is_streaming() && live_due <= Instant::now();
            let live = if is_due { sidecar.live() } else { None };
            // Asked after the live message was made, so that it knows every series in it.
            if let Some(catalogue) = sidecar.new_catalogue() {
                self.publish(client, Channel::Catalogue, QoS::AtLeastOnce, catalogue).await?;
            }
            if is_due {
                live_due = Instant::now() + LIVE_INTERVAL;
            }
            if let Some(live) = live {
                self.publish(client, Channel::Live, QoS::AtMostOnce, live).await?;
            }
            if delivery.is_streaming()
                && let Some(asked) = urgent.replay()
            {
                delivery.handle_replay(asked, self.clock.now());
            }
            if self.send_next(client, &mut delivery, outbox).await? {
                continue;
            }
            self.wait(&mut delivery, outbox, live_due, drain_until).await?;
        }
    }

    /// Whether the stop has come and everything is delivered, or takes too long.
    fn drained(&self, delivery: &Delivery, until: &mut Option<Instant>) -> Option<End> {
        if !self.stop.is_cancelled() {
            return None;
        }
        let until = *until.get_or_insert_with(|| Instant::now() + self.settings.drain_max);
        (delivery.backlog() == 0 || Instant::now() >= until).then_some(End::Drained)
    }

    async fn handle_acks(
        &self,
        delivery: &mut Delivery,
        outbox: &dyn Outbox,
        backoff: &mut Backoff,
    ) -> Result<(), UplinkError> {
        for ack in self.acks.take().into_iter().flatten() {
            if self.is_of_another_buffer(&ack, outbox).await? {
                return Err(UplinkError::Forked { stream: ack.stream, through: ack.committed_through });
            }
            match delivery.handle_ack(ack, self.clock.now()) {
                AckOutcome::Committed(through) => outbox.acknowledge(ack.stream, through),
                AckOutcome::Regressed(through) => {
                    tracing::warn!(stream.id = %ack.stream, seq.last = %through,
                        "the backend holds less than it acknowledged before; sending it again");
                    outbox.acknowledge(ack.stream, through);
                }
                AckOutcome::Known => {}
                AckOutcome::OtherEpoch => {
                    tracing::debug!(epoch = %ack.epoch, "an acknowledgement of another epoch");
                }
                AckOutcome::Ahead(through) => {
                    return Err(UplinkError::Copied { stream: ack.stream, through });
                }
            }
            if delivery.is_streaming() {
                backoff.reset();
            }
        }
        Ok(())
    }

    /// Whether the backend's last batch of the stream is another one than ours of the same number: somebody
    /// delivers from a copy of this buffer. What we hold must not count as delivered then.
    async fn is_of_another_buffer(
        &self,
        ack: &CumulativeAck,
        outbox: &dyn Outbox,
    ) -> Result<bool, UplinkError> {
        let Some(theirs) = ack.last_checksum.filter(|_| ack.epoch == outbox.epoch()) else {
            return Ok(false);
        };
        let ours = outbox.read(ack.stream, ack.committed_through).await?;
        let ours = ours.filter(|batch| batch.sequence == ack.committed_through);
        Ok(ours.and_then(|batch| BatchHeader::checksum(&batch.message)).is_some_and(|ours| ours != theirs))
    }

    /// Sends one batch, if one is due.
    async fn send_next(
        &self,
        client: &AsyncClient,
        delivery: &mut Delivery,
        outbox: &dyn Outbox,
    ) -> Result<bool, UplinkError> {
        let Some((stream, sequence)) = delivery.next_to_send(self.clock.now()) else { return Ok(false) };
        let Some(batch) = outbox.read(stream, sequence).await? else { return Ok(false) };
        let (wanted, sequence, size) = (sequence, batch.sequence, batch.message.len());
        if !delivery.handle_found(stream, wanted, sequence) {
            return Ok(true);
        }
        let size_max = self.message_bytes_max.load(Ordering::Relaxed);
        if size > size_max {
            outbox.refuse(stream, sequence, size_max);
            delivery.handle_refused(stream, sequence);
            return Ok(true);
        }
        self.counters.count_sent(size);
        self.publish(client, Channel::Stream(stream), QoS::AtLeastOnce, batch.message).await?;
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        delivery.handle_sent(stream, sequence, size, self.clock.now());
        Ok(true)
    }

    /// Waits for something to do.
    async fn wait(
        &self,
        delivery: &mut Delivery,
        outbox: &mut dyn Outbox,
        live_due: Instant,
        drain_until: Option<Instant>,
    ) -> Result<(), UplinkError> {
        let now = self.clock.now();
        let timeout = delivery.poll_timeout().map_or(STALL, |due| due.since(now));
        let stopping = async {
            match drain_until {
                None => self.stop.cancelled().await,
                Some(until) => tokio::time::sleep_until(until).await,
            }
        };
        tokio::select! {
            () = outbox.changed() => {}
            () = self.acks.arrived.notified() => {}
            () = stopping => {}
            () = tokio::time::sleep_until(live_due), if delivery.is_streaming() => {}
            () = tokio::time::sleep(timeout) => match delivery.handle_timeout(self.clock.now()) {
                TimeoutOutcome::Wait => {}
                TimeoutOutcome::Resending => {
                    self.counters.count_resend();
                    tracing::warn!("no acknowledgement made progress; sending again from the watermark");
                }
                TimeoutOutcome::Reconnect => return Err(UplinkError::NoAnswer),
            },
        }
        Ok(())
    }

    fn topic(&self, channel: Channel) -> String {
        Topic { tenant: self.settings.tenant.clone(), gateway: self.settings.gateway.clone(), channel }
            .to_string()
    }

    async fn publish(
        &self,
        client: &AsyncClient,
        channel: Channel,
        qos: QoS,
        message: Vec<u8>,
    ) -> Result<(), UplinkError> {
        let expiry = (channel == Channel::Live).then_some(LIVE_EXPIRY_SECONDS);
        let properties =
            PublishProperties { message_expiry_interval: expiry, ..PublishProperties::default() };
        let topic = self.topic(channel);
        client
            .publish_with_properties(topic, qos, false, message, properties)
            .await
            .map_err(|e| Box::new(e).into())
    }
}
