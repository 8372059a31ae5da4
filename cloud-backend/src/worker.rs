//! The worker of one tenant: groups of messages into the store, answers out after the commit.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_api::{Commands, LiveFeed};
use ingestion::{
    Applied, Arrival, Contents, Fate, IngestStore, Judged, PortFuture, StoreError, Verdict, WriteSet,
};
use mqtt_endpoint::{Endpoint, GatewayIdentity, Receipt, Rejection};
use plant_model::{GatewayId, TenantId};
use protocol::{Catalogue, Channel, CumulativeAck, Hello, StreamId};
use service_kit::Backoff;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::health::Health;
use crate::inbox::{Kind, Message, Outlet};

/// Waits between attempts to reach a store that fails: soon enough after a hiccup, and no storm.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn IngestStore>,
    pub(crate) endpoint: Endpoint,
    pub(crate) feed: LiveFeed,
    pub(crate) commands: Commands,
    pub(crate) health: Arc<Health>,
    /// The program is stopping: a store that fails is not tried again.
    pub(crate) stopping: CancellationToken,
}

/// The worker of one tenant.
pub(crate) struct Worker {
    pub(crate) tenant: TenantId,
    pub(crate) shared: Arc<Shared>,
}

/// Why the store did not do it, and will not.
enum Never {
    /// It refuses this.
    Refused,
    /// There is no more time.
    Stopping,
}

impl Worker {
    /// Works until the inbox is closed and empty.
    pub(crate) async fn run(self, mut outlet: Outlet<Message>) {
        while let Some(group) = outlet.group().await {
            self.shared.health.messages.add(group.len() as u64);
            self.process(group).await;
        }
    }

    async fn process(&self, group: Vec<Message>) {
        let mut batches = Vec::new();
        for message in group {
            match message.kind {
                Kind::Stream(stream) => batches.push((stream, message)),
                Kind::Hello => self.hello(message).await,
                Kind::Catalogue => self.catalogue(message).await,
            }
        }
        if !batches.is_empty() {
            self.store(batches).await;
        }
    }

    async fn store(&self, batches: Vec<(StreamId, Message)>) {
        let Some((set, receipts)) = self.judge(batches).await else { return };
        let set = Arc::new(set);
        self.shared.health.groups.add(1);
        let applied =
            self.insist("storing batches", || self.shared.store.apply(&self.tenant, Arc::clone(&set))).await;
        match applied {
            Ok(applied) => self.answer(&set, &applied, receipts),
            Err(Never::Refused) => receipts.into_iter().for_each(|r| r.reject(Rejection::NotAuthorized)),
            Err(Never::Stopping) => {}
        }
    }

    /// Decoding takes time that the threads of the connections do not have.
    async fn judge(&self, batches: Vec<(StreamId, Message)>) -> Option<(WriteSet, Vec<Receipt>)> {
        let tenant = self.tenant.clone();
        let judged = tokio::task::spawn_blocking(move || {
            let judge = |(stream, message): (StreamId, Message)| {
                let Message { identity, payload, receipt, received_at, .. } = message;
                let gateway = identity.gateway;
                let arrival = Arrival { tenant: tenant.clone(), gateway, stream, payload, received_at };
                (ingestion::decide(arrival), receipt)
            };
            let (entries, receipts) = batches.into_iter().map(judge).unzip();
            (WriteSet { entries }, receipts)
        });
        match judged.await {
            Ok(judged) => Some(judged),
            Err(cause) => {
                error!(tenant.id = %self.tenant, error = %cause, "judging a group failed; its messages are not answered");
                None
            }
        }
    }

    fn answer(&self, set: &WriteSet, applied: &Applied, receipts: Vec<Receipt>) {
        for ((judged, fate), receipt) in set.entries.iter().zip(&applied.fates).zip(receipts) {
            self.report(judged, *fate);
            match fate {
                Fate::Stored => {
                    self.show_transitions(judged, applied);
                    receipt.accept();
                }
                Fate::Duplicate | Fate::Quarantined { .. } => receipt.accept(),
                Fate::Refused { .. } => receipt.reject(Rejection::PayloadFormatInvalid),
            }
        }
        for (gateway, ack) in &applied.acks {
            self.acknowledge(gateway, ack);
        }
    }

    fn report(&self, judged: &Judged, fate: Fate) {
        let (Fate::Quarantined { reason } | Fate::Refused { reason }) = fate else { return };
        let detail = match &judged.verdict {
            Verdict::Quarantine(batch) => batch.detail.as_str(),
            Verdict::Refuse { detail, .. } => detail,
            Verdict::Store(_) => "",
        };
        warn!(
            tenant.id = %self.tenant, gateway.id = %judged.gateway, stream.id = %judged.stream,
            size_bytes = judged.size_bytes, reason, detail, "a message is rejected"
        );
    }

    fn show_transitions(&self, judged: &Judged, applied: &Applied) {
        if let Verdict::Store(batch) = &judged.verdict
            && let Contents::Transitions(list) = &batch.contents
        {
            self.shared.feed.stored_transitions(&self.tenant, &judged.gateway, list, applied.stored_at);
        }
    }

    async fn hello(&self, message: Message) {
        let Message { identity, payload, receipt, received_at, .. } = message;
        let hello = match Hello::decode(&payload) {
            Ok(hello) => hello,
            Err(error) => return self.unreadable(&identity, receipt, "hello", &error),
        };
        let noted = self
            .insist("noting a hello", || {
                self.shared.store.record_hello(&self.tenant, &identity.gateway, &hello, received_at)
            })
            .await;
        match noted {
            Ok(acks) => {
                info!(
                    tenant.id = %self.tenant, gateway.id = %identity.gateway, epoch = %hello.epoch,
                    agent.version = hello.agent_version, "a gateway says hello"
                );
                receipt.accept();
                acks.iter().for_each(|ack| self.acknowledge(&identity.gateway, ack));
            }
            Err(Never::Refused) => receipt.reject(Rejection::NotAuthorized),
            Err(Never::Stopping) => {}
        }
    }

    async fn catalogue(&self, message: Message) {
        let Message { identity, payload, receipt, received_at, .. } = message;
        let catalogue = match Catalogue::decode(&payload) {
            Ok(catalogue) => Arc::new(catalogue),
            Err(error) => return self.unreadable(&identity, receipt, "catalogue", &error),
        };
        let saved = self
            .insist("saving a catalogue", || {
                let (catalogue, bytes) = (Arc::clone(&catalogue), payload.clone());
                self.shared.store.save_catalogue(
                    &self.tenant,
                    &identity.gateway,
                    catalogue,
                    bytes,
                    received_at,
                )
            })
            .await;
        match saved {
            Ok(()) => {
                self.shared.feed.catalogue(&self.tenant, &identity.gateway, catalogue);
                receipt.accept();
            }
            Err(Never::Refused) => receipt.reject(Rejection::ImplementationSpecific),
            Err(Never::Stopping) => {}
        }
    }

    fn unreadable(
        &self,
        identity: &GatewayIdentity,
        receipt: Receipt,
        what: &str,
        error: &protocol::DecodeError,
    ) {
        self.shared.health.unreadable.add(1);
        warn!(tenant.id = %identity.tenant, gateway.id = %identity.gateway, what, %error, "a message cannot be read");
        receipt.reject(Rejection::PayloadFormatInvalid);
    }

    fn acknowledge(&self, gateway: &GatewayId, ack: &CumulativeAck) {
        let identity = GatewayIdentity { tenant: self.tenant.clone(), gateway: gateway.clone() };
        if let Err(error) = self.shared.endpoint.publish(&identity, Channel::Ack, Bytes::from(ack.encode())) {
            self.shared.health.acks_unsent.add(1);
            debug!(tenant.id = %self.tenant, gateway.id = %gateway, %error, "an acknowledgement is not sent");
        }
    }

    /// Asks the store until it does it, or refuses it for good, or the program stops.
    async fn insist<'a, T>(
        &self,
        what: &str,
        attempt: impl Fn() -> PortFuture<'a, Result<T, StoreError>>,
    ) -> Result<T, Never> {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            let error = match attempt().await {
                Ok(done) => {
                    self.shared.health.recovered(&self.tenant);
                    return Ok(done);
                }
                Err(error) => error,
            };
            let chain = chain(&error);
            if matches!(error, StoreError::UnknownTenant(_) | StoreError::Contradiction(_)) {
                warn!(tenant.id = %self.tenant, what, error = chain, "the store refuses");
                return Err(Never::Refused);
            }
            self.shared.health.retries.add(1);
            self.shared.health.failing(&self.tenant, chain.clone());
            let wait = backoff.next_wait();
            error!(tenant.id = %self.tenant, what, error = chain, wait_ms = wait.as_millis(), "the store fails; nothing is acknowledged");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.shared.stopping.cancelled() => return Err(Never::Stopping),
            }
        }
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
