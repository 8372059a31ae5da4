//! Carries batches to the backend over MQTT 5 with mutual TLS (SPEC sections 2 and 3).
//!
//! The MQTT client is a dumb pipe. Its event loop serves exactly one connection: on any error, on
//! silence, or when delivery makes no progress, it is dropped with everything in it and a new one is
//! made after a back-off with jitter. What is safe is decided by `delivery` from the backend's
//! cumulative acknowledgements; PUBACK frees nothing.
//!
//! Whoever finds that another program has its identity stays away for minutes, longer each time: two gateways that throw
//! each other out would deliver nothing. What they hold cannot be told apart by the backend; the one whose buffer is
//! behind what the backend has sends nothing.
//!
//! Beside the batches goes what is [`Urgent`], on a path of its own that never waits for the buffer.
//!
//! A backend that hangs is noticed after 10 s without progress: the batches go again, and the connection stays, so that
//! all goes on where it stopped. It is given up when a ping of the keep-alive (15 s) stays unanswered. What is urgent
//! meanwhile waits in the transport and then in the short queue behind [`Urgent::next`], which drops its oldest; the
//! batches have all of it.

mod connection;
mod counters;
mod urgent;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use delivery::Outbox;
use plant_model::{GatewayId, TenantId, Timestamp};
use service_kit::{Backoff, Clock};
use tokio_util::sync::CancellationToken;

pub use counters::UplinkCounters;
pub use urgent::{Urgent, UrgentFuture, UrgentMessage};

use connection::{Connection, End};

/// Where to send, and as whom.
#[derive(Debug, Clone)]
pub struct UplinkSettings {
    /// The customer.
    pub tenant: TenantId,
    /// This gateway.
    pub gateway: GatewayId,
    /// Name or address of the endpoint.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The authority that signed the endpoint's certificate, PEM.
    pub ca_file: PathBuf,
    /// This gateway's certificate chain, PEM.
    pub certificate_file: PathBuf,
    /// This gateway's private key, PEM.
    pub key_file: PathBuf,
    /// Version of the agent, told in hello.
    pub agent_version: String,
    /// It is not earlier than this, whatever the clock says: certificates are judged accordingly.
    pub time_floor: Timestamp,
    /// How many bytes of telemetry are sent a second at most; `None` for no limit.
    pub telemetry_bytes_per_second: Option<NonZeroU64>,
    /// How long a stop may take to deliver what is committed.
    pub drain_max: Duration,
}

/// What travels beside the batches.
pub trait Sidecar: Send {
    /// The encoded catalogue, sent after each hello.
    fn catalogue(&mut self) -> Vec<u8>;

    /// The encoded catalogue if it is another one than was sent last: it goes before any batch that was committed since
    /// it changed.
    fn new_catalogue(&mut self) -> Option<Vec<u8>>;

    /// The encoded live message of this second; `None` when there is nothing new.
    fn live(&mut self) -> Option<Vec<u8>>;
}

/// What an uplink carries.
pub struct Cargo {
    /// The batches.
    pub outbox: Box<dyn Outbox>,
    /// Catalogue and live values.
    pub sidecar: Box<dyn Sidecar>,
    /// The fast lane of alarms, and commands.
    pub urgent: std::sync::Arc<dyn Urgent>,
}

/// How long to stay away from an identity that somebody else uses, the first time and at most.
const CONTENDED: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(600));

/// Delivers until `stop` is cancelled, then for at most [`UplinkSettings::drain_max`] until nothing
/// committed is left unacknowledged.
pub async fn run(
    settings: UplinkSettings,
    mut cargo: Cargo,
    clock: Clock,
    counters: std::sync::Arc<UplinkCounters>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
    let mut contended = Backoff::new(CONTENDED.0, CONTENDED.1);
    let mut complaint = String::new();
    while !stop.is_cancelled() {
        let connection = Connection::new(&settings, clock, &counters, &stop);
        let end = connection.serve(&mut cargo, &mut backoff).await;
        counters.set_connected(false);
        let mut wait = backoff.next_wait();
        match end {
            End::Drained => break,
            End::Failed(error) => {
                match error.is_contended() {
                    true => wait = contended.next_wait(),
                    false => contended.reset(),
                }
                // The same failure again and again is one event, not one every few seconds.
                let text = error.to_string();
                if text != complaint {
                    tracing::warn!(error = %text, "the uplink is down; trying again");
                    complaint = text;
                }
                counters.set_last_error(&complaint);
            }
        }
        if counters.take_served() {
            complaint.clear();
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
