//! The worker of one tenant: groups of messages into the store, answers out after the commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fleet::FUTURE_MAX;
use http_api::{Commands, LiveFeed};
use ingestion::{
    Applied, Arrival, Broker, Contents, Fate, GatewayIdentity, IngestStore, Judged, PortFuture, Receipt,
    Rejection, StoreError, Verdict, WriteSet,
};
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{Catalogue, Channel, CumulativeAck, Hello, StreamId};
use service_kit::{Backoff, Clock};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::books::Entry;
use crate::health::Health;
use crate::inbox::{Kind, Message, Outlet};

/// Waits between attempts to reach a store that fails: soon enough after a hiccup, and no storm.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// A store that has not answered for so long is in trouble, whatever it will say: a transaction takes some
/// ten milliseconds.
const SILENCE: Duration = Duration::from_secs(2);

/// Pause between two requests for what went astray in one stream. Batches come by the hundred a second and
/// each would repeat the request while the answer is on its way.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn IngestStore>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) feed: LiveFeed,
    pub(crate) commands: Commands,
    pub(crate) health: Arc<Health>,
    /// The program is stopping: a store that fails is not tried again.
    pub(crate) stopping: CancellationToken,
}

/// The worker of one tenant.
pub(crate) struct Worker {
    tenant: TenantId,
    shared: Arc<Shared>,
    /// When a gateway was last asked for a range of a stream; as many as the tenant has, times three.
    asked: HashMap<(GatewayId, StreamId), Instant>,
}

/// What is owed for a batch.
struct Answer {
    receipt: Receipt,
    entry: Entry,
}

/// Why the store did not do it, and will not.
enum Never {
    /// It refuses this.
    Refused,
    /// There is no more time.
    Stopping,
}

impl Worker {
    pub(crate) fn new(tenant: TenantId, shared: Arc<Shared>) -> Self {
        Self { tenant, shared, asked: HashMap::new() }
    }

    /// Works until the inbox is closed and empty.
    pub(crate) async fn run(mut self, mut outlet: Outlet<Message>) {
        while let Some(group) = outlet.group().await {
            self.shared.health.messages.add(group.len() as u64);
            self.process(group).await;
        }
    }

    async fn process(&mut self, group: Vec<Message>) {
        let mut batches = Vec::new();
        for message in group {
            let Message { identity, kind, payload, receipt, received_at } = message;
            match kind {
                Kind::Stream(entry) => {
                    let (gateway, stream) = (identity.gateway, entry.stream());
                    let tenant = self.tenant.clone();
                    let arrival = Arrival { tenant, gateway, stream, payload, received_at };
                    batches.push((arrival, Answer { receipt, entry }));
                }
                Kind::Hello => self.hello(identity, &payload, receipt, received_at).await,
                Kind::Catalogue => self.catalogue(identity, payload, receipt, received_at).await,
            }
        }
        if !batches.is_empty() {
            self.store(batches).await;
        }
    }

    async fn store(&mut self, batches: Vec<(Arrival, Answer)>) {
        let Some((set, answers)) = self.judge(batches).await else { return };
        let set = Arc::new(set);
        self.shared.health.groups.add(1);
        let applied =
            self.insist("storing batches", || self.shared.store.apply(&self.tenant, Arc::clone(&set))).await;
        match applied {
            Ok(applied) => self.answer(&set, applied, answers),
            Err(Never::Refused) => {
                answers.into_iter().for_each(|a| a.receipt.reject(Rejection::NotAuthorized));
            }
            Err(Never::Stopping) => {}
        }
    }

    /// Decoding takes time that the threads of the connections do not have.
    async fn judge(&self, batches: Vec<(Arrival, Answer)>) -> Option<(WriteSet, Vec<Answer>)> {
        let judged = tokio::task::spawn_blocking(move || {
            let judge = |(arrival, answer)| (ingestion::decide(arrival), answer);
            let (entries, answers) = batches.into_iter().map(judge).unzip();
            (WriteSet { entries }, answers)
        });
        match judged.await {
            Ok(judged) => Some(judged),
            Err(cause) => {
                error!(tenant.id = %self.tenant, error = %cause, "judging a group failed; its messages are not answered");
                None
            }
        }
    }

    fn answer(&mut self, set: &WriteSet, applied: Applied, answers: Vec<Answer>) {
        for ((judged, fate), Answer { receipt, entry }) in set.entries.iter().zip(&applied.fates).zip(answers)
        {
            self.report(judged, *fate);
            entry.close(*fate);
            match fate {
                Fate::Stored => {
                    self.note_future(judged);
                    self.show_transitions(judged, &applied);
                    receipt.accept();
                }
                Fate::Duplicate | Fate::Quarantined { .. } => receipt.accept(),
                Fate::Refused { .. } => receipt.reject(Rejection::PayloadFormatInvalid),
            }
        }
        for (gateway, mut ack) in applied.acks {
            if ack.missing_through.is_some() && !self.may_ask(&gateway, ack.stream) {
                ack.missing_through = None;
            }
            self.acknowledge(&gateway, &ack);
        }
    }

    /// Whether it is time to ask for a range again; then it is asked for.
    fn may_ask(&mut self, gateway: &GatewayId, stream: StreamId) -> bool {
        let now = Instant::now();
        let key = (gateway.clone(), stream);
        if self.asked.get(&key).is_some_and(|at| now.duration_since(*at) < ASK_PAUSE) {
            return false;
        }
        self.asked.insert(key, now);
        self.shared.health.resends.add(1);
        true
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

    async fn hello(
        &self,
        identity: GatewayIdentity,
        payload: &Bytes,
        receipt: Receipt,
        received_at: Timestamp,
    ) {
        let hello = match Hello::decode(payload) {
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

    async fn catalogue(
        &self,
        identity: GatewayIdentity,
        payload: Bytes,
        receipt: Receipt,
        received_at: Timestamp,
    ) {
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
                self.shared.health.sealing.poke();
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

    fn note_future(&self, judged: &Judged) {
        let until = judged.received_at.plus(FUTURE_MAX);
        if judged.verdict.header().is_some_and(|header| header.last_at > until) {
            self.shared.health.from_the_future.add(1);
            debug!(tenant.id = %self.tenant, gateway.id = %judged.gateway, "a batch of a gateway whose clock is ahead");
        }
    }

    fn acknowledge(&self, gateway: &GatewayId, ack: &CumulativeAck) {
        let identity = GatewayIdentity { tenant: self.tenant.clone(), gateway: gateway.clone() };
        let ack = Bytes::from(ack.encode_at(Clock::system()));
        if let Err(error) = self.shared.broker.publish(&identity, Channel::Ack, ack) {
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
            let error = match self.watched(attempt()).await {
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

    /// Waits for the store, and says so when it is silent.
    async fn watched<T>(&self, attempt: PortFuture<'_, Result<T, StoreError>>) -> Result<T, StoreError> {
        let mut attempt = attempt;
        if let Ok(answered) = tokio::time::timeout(SILENCE, &mut attempt).await {
            return answered;
        }
        let why = format!("the store has not answered for {} s", SILENCE.as_secs());
        self.shared.health.failing(&self.tenant, why);
        attempt.await
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
