//! What the program tells those who run it: readiness and metrics.

use std::sync::Arc;
use std::time::Duration;

use http_api::{Exposition, MetricKind, Operations, PortFuture};
use ingestion::{GatewayIdentity, IngestStore};
use mqtt_broker_client::{BrokerClient, Unusable};
use mqtt_endpoint::{Endpoint, HandshakeFailure, Refusal};
use protocol::StreamId;

use crate::books::Page;
use crate::health::Health;
use crate::place::Source;

/// Time for the store's writer to answer. A transaction takes some ten milliseconds; a writer that is
/// silent for so long is stuck.
const WRITER_DEADLINE: Duration = Duration::from_secs(3);

/// Answers for the program.
pub(crate) struct Operator {
    pub(crate) store: Arc<dyn IngestStore>,
    pub(crate) source: Source,
    pub(crate) health: Arc<Health>,
}

impl Operations for Operator {
    fn ready(&self) -> PortFuture<'_, Result<(), String>> {
        Box::pin(async {
            if let Some(trouble) = self.health.trouble() {
                return Err(trouble);
            }
            if let Source::External(client) = &self.source
                && let Some(trouble) = client.metrics().trouble()
            {
                return Err(format!("the broker at {} hands nothing over: {trouble}", client.address()));
            }
            match tokio::time::timeout(WRITER_DEADLINE, self.store.ping()).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(format!("the store's writer fails: {error}")),
                Err(_) => {
                    Err(format!("the store's writer did not answer within {} s", WRITER_DEADLINE.as_secs()))
                }
            }
        })
    }

    fn expose(&self, out: &mut Exposition) {
        self.expose_ingest(out);
        self.expose_books(out);
        self.expose_certificates(out);
        self.health.sealing.expose(out);
        self.health.moves.expose(out);
        self.expose_updates(out);
        match &self.source {
            Source::Endpoint(endpoint) => {
                expose_endpoint(endpoint, out);
                expose_refusals(endpoint, out);
            }
            Source::External(client) => expose_broker(client, out),
        }
    }
}

impl Operator {
    fn expose_ingest(&self, out: &mut Exposition) {
        let health = &self.health;
        let counters = [
            ("cloud_backend_ingest_messages_total", "Messages taken from inboxes.", &health.messages),
            ("cloud_backend_ingest_groups_total", "Groups of batches given to the store.", &health.groups),
            ("cloud_backend_ingest_retries_total", "Attempts of the store that failed.", &health.retries),
            (
                "cloud_backend_ingest_overflows_total",
                "Messages refused for now: too much waits.",
                &health.overflows,
            ),
            (
                "cloud_backend_ingest_unreadable_total",
                "Messages that are no batch and unreadable.",
                &health.unreadable,
            ),
            (
                "cloud_backend_ingest_resends_asked_total",
                "Ranges that gateways were asked for again.",
                &health.resends,
            ),
            (
                "cloud_backend_ingest_future_total",
                "Stored batches of gateways whose clock is ahead.",
                &health.from_the_future,
            ),
            (
                "cloud_backend_ingest_acks_unsent_total",
                "Acknowledgements that found no gateway.",
                &health.acks_unsent,
            ),
        ];
        for (name, help, counter) in counters {
            out.single(name, MetricKind::Counter, help, counter.get());
        }
        let ready = u64::from(health.trouble().is_none());
        out.single(
            "cloud_backend_ingest_healthy",
            MetricKind::Gauge,
            "1 when all tenants' data can be written.",
            ready,
        );
        out.single(
            "cloud_backend_revocations_in_force",
            MetricKind::Gauge,
            "1 when all that is revoked opens nothing.",
            u64::from(health.has_revocations_in_force()),
        );
    }

    fn expose_updates(&self, out: &mut Exposition) {
        out.single(
            "cloud_backend_gateways_not_at_desired_version",
            MetricKind::Gauge,
            "Gateways that say they run another version than the desired one, or nothing.",
            self.health.gateways_behind(),
        );
    }

    fn expose_certificates(&self, out: &mut Exposition) {
        let mut family = out.family(
            "cloud_backend_gateway_certificate_expires_seconds",
            MetricKind::Gauge,
            "When the certificate of a gateway ends, in seconds since 1970.",
        );
        for (gateway, end) in self.health.certificate_ends() {
            let labels = [("tenant", gateway.tenant.as_str()), ("gateway", gateway.gateway.as_str())];
            family.sample(&labels, u64::try_from(end.micros() / 1_000_000).unwrap_or(0));
        }
    }

    /// For each gateway and stream since the start: received = stored + duplicate + rejected + unanswered +
    /// waiting, all of one moment.
    fn expose_books(&self, out: &mut Exposition) {
        let pages = self.health.books.pages();
        type Figure = fn(&Page) -> u64;
        let figures: [(&'static str, MetricKind, &'static str, Figure); 5] = [
            ("cloud_backend_batches_received_total", MetricKind::Counter, "Batches that came.", |p| {
                p.received
            }),
            ("cloud_backend_batches_stored_total", MetricKind::Counter, "Of these: stored.", |p| p.stored),
            ("cloud_backend_batches_duplicate_total", MetricKind::Counter, "Of these: already there.", |p| {
                p.duplicate
            }),
            (
                "cloud_backend_batches_unanswered_total",
                MetricKind::Counter,
                "Of these: left to come again, because they could not be stored.",
                |p| p.unanswered,
            ),
            ("cloud_backend_batches_waiting", MetricKind::Gauge, "Of these: waiting for the store.", |p| {
                p.waiting
            }),
        ];
        for (name, kind, help, figure) in figures {
            let mut family = out.family(name, kind, help);
            for ((identity, stream), page) in &pages {
                family.sample(&labels(identity, *stream), figure(page));
            }
        }
        let name = "cloud_backend_batches_rejected_total";
        let mut family = out.family(name, MetricKind::Counter, "Of these: refused or put aside, by reason.");
        for ((identity, stream), page) in &pages {
            for (reason, count) in &page.rejected {
                let [tenant, gateway, stream] = labels(identity, *stream);
                family.sample(&[tenant, gateway, stream, ("reason", *reason)], *count);
            }
        }
    }
}

fn expose_endpoint(endpoint: &Endpoint, out: &mut Exposition) {
    let metrics = endpoint.metrics();
    let open = metrics.connections_open();
    out.single("cloud_backend_mqtt_connections_open", MetricKind::Gauge, "Gateways connected now.", open);
    let counters = [
        ("cloud_backend_mqtt_connections_total", "Gateways connected so far.", metrics.connections_total()),
        ("cloud_backend_mqtt_publishes_total", "Messages received.", metrics.publishes_total()),
        ("cloud_backend_mqtt_sent_total", "Messages sent.", metrics.messages_sent_total()),
        (
            "cloud_backend_mqtt_received_bytes_total",
            "Bytes received inside TLS.",
            metrics.received_bytes_total(),
        ),
        ("cloud_backend_mqtt_sent_bytes_total", "Bytes sent inside TLS.", metrics.sent_bytes_total()),
        ("cloud_backend_mqtt_protocol_errors_total", "MQTT rules broken.", metrics.protocol_errors_total()),
    ];
    for (name, help, value) in counters {
        out.single(name, MetricKind::Counter, help, value);
    }
}

fn expose_refusals(endpoint: &Endpoint, out: &mut Exposition) {
    let metrics = endpoint.metrics();
    let name = "cloud_backend_mqtt_handshake_failures_total";
    let mut family = out.family(name, MetricKind::Counter, "Connections that failed before MQTT.");
    for reason in HandshakeFailure::ALL {
        family.sample(&[("reason", reason.label())], metrics.handshake_failures_total(reason));
    }
    let name = "cloud_backend_mqtt_refusals_total";
    let mut family = out.family(name, MetricKind::Counter, "Requests of gateways that were refused.");
    for reason in Refusal::ALL {
        family.sample(&[("reason", reason.label())], metrics.refusals_total(reason));
    }
}

/// The gateways' names as at the endpoint where the figure is the same; what refuses them is the broker.
fn expose_broker(client: &BrokerClient, out: &mut Exposition) {
    let metrics = client.metrics();
    let gauges = [
        (
            "cloud_backend_broker_connected",
            "1 when the broker hands over.",
            u64::from(metrics.is_connected()),
        ),
        (
            "cloud_backend_mqtt_connections_open",
            "Gateways heard of lately.",
            client.gateways_present() as u64,
        ),
    ];
    for (name, help, value) in gauges {
        out.single(name, MetricKind::Gauge, help, value);
    }
    let counters = [
        ("cloud_backend_broker_connects_total", "Connections to the broker.", metrics.connects_total()),
        ("cloud_backend_mqtt_publishes_total", "Messages received.", metrics.messages_total()),
        ("cloud_backend_mqtt_sent_total", "Messages sent.", metrics.sent_total()),
        (
            "cloud_backend_broker_rejected_total",
            "Messages that were refused; gateways are not told.",
            metrics.rejected_total(),
        ),
    ];
    for (name, help, value) in counters {
        out.single(name, MetricKind::Counter, help, value);
    }
    let name = "cloud_backend_broker_unusable_total";
    let mut family =
        out.family(name, MetricKind::Counter, "Messages of the broker that are none of a gateway.");
    for reason in Unusable::ALL {
        family.sample(&[("reason", reason.label())], metrics.unusable_total(reason));
    }
}

fn labels(identity: &GatewayIdentity, stream: StreamId) -> [(&'static str, &str); 3] {
    [("tenant", identity.tenant.as_str()), ("gateway", identity.gateway.as_str()), ("stream", stream.name())]
}
