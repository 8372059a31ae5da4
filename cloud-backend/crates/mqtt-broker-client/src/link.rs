//! The link: one connection after the other, each from dial to end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use ingestion::{BrokerEvent, GatewayIdentity, Inbound, Receipt};
use protocol::limits::MESSAGE_BYTES_MAX;
use protocol::{Channel, Topic};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter, Packet, Publish, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ClientError, ConnectionError, Event, EventLoop, StateError};
use service_kit::Backoff;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::presence::Arrival;
use crate::{Dial, Outbound, Shared, Unusable};

/// All that gateways publish.
const FILTERS: [&str; 2] = ["mfp/v1/+/+/up/#", "mfp/v1/+/+/res"];

/// Messages that the broker may have unacknowledged with us: one transaction of the store and the next. What comes
/// beyond it waits at the broker.
const RECEIVE_MAXIMUM: u16 = 512;

/// Messages to gateways that the broker may not have acknowledged yet.
const IN_FLIGHT_MAX: u16 = 100;

/// Something is heard at least this often on a connection that lives; a client whose peer takes nothing hangs.
const QUIET_MAX: Duration = Duration::from_secs(25);

/// Pause between two looks for gateways that are gone.
const SWEEP: Duration = Duration::from_secs(5);

/// Waits between attempts: soon after a restart of the broker, and no storm.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// Why a connection ended.
#[derive(Debug, Error)]
enum LinkError {
    #[error("the connection failed: {0}")]
    Connection(String),
    #[error("the broker closed the connection: {0}")]
    Closed(String),
    #[error("nothing was heard for {} s", QUIET_MAX.as_secs())]
    Quiet,
    #[error(
        "the broker does not grant the subscriptions ({0}): let the backend's identity read {first} and {second}, \
         see `cloud-backend broker configure`",
        first = FILTERS[0], second = FILTERS[1]
    )]
    NotGranted(String),
    #[error("the MQTT client refused a request: {0}")]
    Client(#[from] Box<ClientError>),
}

/// The link to a broker.
#[derive(Debug)]
pub struct Link {
    dial: Dial,
    shared: Arc<Shared>,
    events: mpsc::Sender<BrokerEvent>,
    outbound: mpsc::Receiver<Outbound>,
}

impl Link {
    pub(crate) fn new(
        dial: Dial,
        shared: Arc<Shared>,
        events: mpsc::Sender<BrokerEvent>,
        outbound: mpsc::Receiver<Outbound>,
    ) -> Self {
        Self { dial, shared, events, outbound }
    }

    /// Keeps the link up until `shutdown` is cancelled; then says goodbye to the broker. The consumer should go on
    /// receiving until its receiver ends.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let presence = (Arc::clone(&self.shared), self.events.clone());
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.keep_up() => {}
            () = sweep(presence.0, presence.1) => {}
        }
        self.shared.metrics.disconnected("the backend is stopping".to_owned());
    }

    async fn keep_up(&mut self) {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut complaint = String::new();
        loop {
            let connects = self.shared.metrics.connects_total();
            let error = self.serve().await.to_string();
            if self.shared.metrics.connects_total() > connects {
                backoff.reset();
                complaint.clear();
            }
            // The same failure again and again is one event, not one every few seconds.
            if error != complaint {
                warn!(broker = %self.dial.address, error, "the link to the broker is down; trying again");
                complaint.clone_from(&error);
            }
            self.shared.metrics.disconnected(error);
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Serves one connection to its end.
    async fn serve(&mut self) -> LinkError {
        let mut options = self.dial.options();
        options
            .set_manual_acks(true)
            .set_receive_maximum(Some(RECEIVE_MAXIMUM))
            .set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX);
        // Capacity 0: nothing waits inside the client.
        let (client, event_loop) = AsyncClient::new(options, 0);
        // A place for every message that may be unacknowledged: a verdict never waits.
        let (verdicts, decided) = mpsc::channel(usize::from(RECEIVE_MAXIMUM));
        let reader = Reader {
            shared: &self.shared,
            events: &self.events,
            verdicts,
            heard_at: Mutex::new(Instant::now()),
        };
        tokio::select! {
            error = reader.listen(event_loop) => error,
            () = reader.quiet() => LinkError::Quiet,
            error = feed(&client, decided, &mut self.outbound, &self.shared) => error,
        }
    }
}

/// Subscribes, then sends verdicts and messages.
async fn feed(
    client: &AsyncClient,
    mut decided: mpsc::Receiver<u16>,
    outbound: &mut mpsc::Receiver<Outbound>,
    shared: &Shared,
) -> LinkError {
    let filters = FILTERS.map(|filter| Filter::new(filter, QoS::AtLeastOnce));
    if let Err(error) = client.subscribe_many(filters).await {
        return Box::new(error).into();
    }
    loop {
        let sent = tokio::select! {
            biased;
            Some(packet_id) = decided.recv() => client.ack(&acknowledged(packet_id)).await,
            Some(Outbound { topic, payload }) = outbound.recv() => {
                shared.metrics.message_sent();
                client.publish(topic, QoS::AtLeastOnce, false, payload).await
            }
        };
        if let Err(error) = sent {
            return Box::new(error).into();
        }
    }
}

/// All that the client needs of a message to acknowledge it.
fn acknowledged(packet_id: u16) -> Publish {
    let mut publish = Publish::new("", QoS::AtLeastOnce, Bytes::new(), None);
    publish.pkid = packet_id;
    publish
}

async fn sweep(shared: Arc<Shared>, events: mpsc::Sender<BrokerEvent>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let gone = shared.presence(|presence| presence.take_silent(std::time::Instant::now()));
        for (identity, connection) in gone {
            if events.send(BrokerEvent::Disconnected { identity, connection }).await.is_err() {
                return;
            }
        }
    }
}

/// The receiving half of one connection.
struct Reader<'a> {
    shared: &'a Arc<Shared>,
    events: &'a mpsc::Sender<BrokerEvent>,
    verdicts: mpsc::Sender<u16>,
    heard_at: Mutex<Instant>,
}

impl Reader<'_> {
    async fn listen(&self, mut events: EventLoop) -> LinkError {
        loop {
            let packet = match events.poll().await {
                Err(error) => return explain(&error),
                Ok(Event::Outgoing(_)) => continue,
                Ok(Event::Incoming(packet)) => packet,
            };
            *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            if let Packet::Publish(publish) = packet {
                self.receive(publish).await;
            } else if let Packet::SubAck(answer) = packet {
                if let Err(error) = self.granted(&answer) {
                    return error;
                }
            } else if let Packet::Disconnect(packet) = packet {
                return LinkError::Closed(format!("{:?}", packet.reason_code));
            }
        }
    }

    /// Ends when nothing was heard for too long.
    async fn quiet(&self) {
        loop {
            let due = *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner) + QUIET_MAX;
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    fn granted(&self, answer: &SubAck) -> Result<(), LinkError> {
        let is_granted = |code: &SubscribeReasonCode| matches!(code, SubscribeReasonCode::Success(_));
        if !answer.return_codes.iter().all(is_granted) {
            return Err(LinkError::NotGranted(format!("{:?}", answer.return_codes)));
        }
        info!("the broker is connected and hands over what gateways publish");
        self.shared.metrics.connected();
        Ok(())
    }

    /// Waits while the consumer does not take it: then nothing is read, and the broker keeps what comes.
    async fn receive(&self, publish: Publish) {
        let receipt = self.receipt(&publish);
        let (identity, channel) = match address_of(&publish) {
            Ok(address) => address,
            Err(reason) => {
                self.shared.metrics.dropped(reason);
                warn!(
                    reason = reason.label(),
                    size_bytes = publish.payload.len(),
                    "a message of the broker is dropped"
                );
                return receipt.accept();
            }
        };
        self.shared.metrics.received();
        let arrival = self.shared.presence(|p| p.hear(&identity, std::time::Instant::now()));
        let connection = match arrival {
            Arrival::Known(connection) => connection,
            Arrival::New(connection) => {
                let identity = identity.clone();
                self.hand_over(BrokerEvent::Connected { identity, connection }).await;
                connection
            }
        };
        let payload = publish.payload;
        self.hand_over(BrokerEvent::Publish(Inbound { identity, connection, channel, payload, receipt }))
            .await;
    }

    async fn hand_over(&self, event: BrokerEvent) {
        // Closed means that the consumer has ended: so will this, and what is unacknowledged comes again.
        let _ = self.events.send(event).await;
    }

    fn receipt(&self, publish: &Publish) -> Receipt {
        if publish.qos == QoS::AtMostOnce {
            return Receipt::none();
        }
        let (packet_id, verdicts, shared) = (publish.pkid, self.verdicts.clone(), Arc::clone(self.shared));
        Receipt::new(move |outcome| {
            shared.metrics.decided(outcome);
            // Never full: see where it is made. Closed means that the connection is gone, and with it the packet id.
            let _ = verdicts.try_send(packet_id);
        })
    }
}

/// Whose message it is, and what kind.
fn address_of(publish: &Publish) -> Result<(GatewayIdentity, Channel), Unusable> {
    if publish.payload.len() > MESSAGE_BYTES_MAX {
        return Err(Unusable::TooLarge);
    }
    let topic = std::str::from_utf8(&publish.topic).map_err(|_| Unusable::Topic)?;
    let Topic { tenant, gateway, channel } = Topic::parse(topic).map_err(|_| Unusable::Topic)?;
    if !channel.is_from_gateway() {
        return Err(Unusable::Channel);
    }
    Ok((GatewayIdentity { tenant, gateway }, channel))
}

fn explain(error: &ConnectionError) -> LinkError {
    if let ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) = error {
        return LinkError::Closed(format!("{reason_code:?}"));
    }
    LinkError::Connection(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(topic: &str, size_bytes: usize) -> Publish {
        Publish::new(topic, QoS::AtLeastOnce, vec![0; size_bytes], None)
    }

    #[test]
    fn the_topic_says_whose_message_it_is_and_what_is_no_gateways_is_dropped() {
        let (identity, channel) = address_of(&publish("mfp/v1/acme/hall-2/up/hello", 1)).expect("usable");
        assert_eq!((identity.to_string().as_str(), channel), ("acme/hall-2", Channel::Hello));
        for topic in
            ["mfp/v1/acme/hall-2/up/else", "mfp/v1/ACME/hall-2/up/hello", "else", "$SYS/broker/uptime"]
        {
            assert_eq!(address_of(&publish(topic, 1)).expect_err(topic), Unusable::Topic);
        }
        assert_eq!(address_of(&publish("mfp/v1/acme/hall-2/cmd", 1)).expect_err("ours"), Unusable::Channel);
        let large = publish("mfp/v1/acme/hall-2/up/telemetry", MESSAGE_BYTES_MAX + 1);
        assert_eq!(address_of(&large).expect_err("large"), Unusable::TooLarge);
    }
}
