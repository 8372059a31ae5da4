//! The loop of one connection: connect, subscribe, hand over what arrives, and after a failure wait
//! and begin anew.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use acquisition::{DriverCounters, Instants, MachineSink, OpcUaConnection, Report, TagIndex};
use opcua::client::ClientConfig;
use opcua::types::{Error, ReadValueId, StatusCode, TimestampsToReturn, VariableId};
use plant_model::{MachineId, Quality};
use service_kit::{Backoff, Clock};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::discovery::{REQUEST_LIMIT, configuration, find_endpoint};
use crate::error::OpcUaError;
use crate::link::{Activity, Arrived, Link};
use crate::subscription::{self, Counts, ITEMS_PER_REQUEST};
use crate::value;

/// What a session may take to be connected and activated.
const SESSION_LIMIT: Duration = Duration::from_secs(5);

/// Items that the server refused are asked for again this often: a node can appear with the next
/// program of the machine.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// The waits between two attempts to connect.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

pub(crate) struct Driver {
    connection: Arc<OpcUaConnection>,
    config: ClientConfig,
    name: MachineId,
    clock: Clock,
    counters: Arc<DriverCounters>,
    shutdown: CancellationToken,
    report: Report,
    backoff: Backoff,
    /// When the server published last.
    published_at: Instant,
    /// The slowest intervals the server granted, to log a change once.
    granted: Option<Granted>,
}

/// What a server made of the intervals it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Granted {
    publishing: Duration,
    sampling: Duration,
}

/// A subscription on the server.
struct Subscription {
    id: u32,
    publishing: Duration,
    silence_limit: Duration,
}

/// Why a session ended.
enum Stop {
    Shutdown,
    Failed(OpcUaError),
}

impl Driver {
    pub(crate) fn new(
        connection: OpcUaConnection,
        name: MachineId,
        sink: Box<dyn MachineSink>,
        clock: Clock,
        counters: Arc<DriverCounters>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            config: configuration(name.as_str(), connection.publishing_interval()),
            report: Report::new(sink, connection.items().len()),
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST),
            published_at: Instant::now(),
            granted: None,
            connection: Arc::new(connection),
            name,
            clock,
            counters,
            shutdown,
        }
    }

    pub(crate) async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        loop {
            let (stop, link) = self.live().await;
            if let Stop::Failed(error) = &stop {
                self.lose_link(error);
            }
            if let Some(link) = link {
                self.counters.disconnects.add(u64::from(link.was_connected()));
                link.close().await;
            }
            let Stop::Failed(_) = stop else { return };
            let wait = self.backoff.next_wait();
            if shutdown.run_until_cancelled(sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// One session, from its making to its end; it is not closed yet.
    async fn live(&mut self) -> (Stop, Option<Link>) {
        let shutdown = self.shutdown.clone();
        let find = find_endpoint(&self.config, self.connection.endpoint());
        let endpoint = match shutdown.run_until_cancelled(find).await {
            None => return (Stop::Shutdown, None),
            Some(Err(error)) => return (Stop::Failed(error), None),
            Some(Ok(endpoint)) => endpoint,
        };
        let mut link = match Link::new(&self.config, endpoint) {
            Ok(link) => link,
            Err(cause) => return (Stop::Failed(cannot_connect(self.connection.endpoint(), cause)), None),
        };
        let stop = match shutdown.run_until_cancelled(self.serve(&mut link)).await {
            None => Stop::Shutdown,
            Some(Err(error)) => Stop::Failed(error),
        };
        (stop, Some(link))
    }

    /// Connects, subscribes and hands over what arrives, until that fails.
    async fn serve(&mut self, link: &mut Link) -> Result<Infallible, OpcUaError> {
        let connection = Arc::clone(&self.connection);
        connect(link, connection.endpoint()).await?;
        self.counters.connects.increment();
        self.receive(link).await
    }

    async fn receive(&mut self, link: &mut Link) -> Result<Infallible, OpcUaError> {
        let subscription = self.subscribe(link).await?;
        let all = (0..self.connection.items().len()).filter_map(|index| u16::try_from(index).ok());
        let mut missing = self.add_items(link, &subscription, all.map(TagIndex).collect()).await?;
        let mut retry_at = Instant::now() + RETRY_INTERVAL;
        loop {
            tokio::select! {
                biased;
                activity = link.next() => self.take(activity?),
                () = sleep_until(retry_at), if !missing.is_empty() => {
                    missing = self.add_items(link, &subscription, missing).await?;
                    retry_at = Instant::now() + RETRY_INTERVAL;
                }
                () = sleep_until(self.published_at + subscription.silence_limit) => {
                    return Err(OpcUaError::Silent { limit: subscription.silence_limit });
                }
            }
        }
    }

    async fn subscribe(&mut self, link: &mut Link) -> Result<Subscription, OpcUaError> {
        let asked = self.connection.publishing_interval();
        let counts = Counts::of(asked);
        let (session, inbox) = (Arc::clone(&link.session), link.inbox());
        let create =
            session.create_subscription(asked, counts.lifetime, counts.keep_alive, 0, 0, true, inbox);
        let id = self.request(link, "create a subscription", create).await?;
        self.published_at = Instant::now();
        let state = session.subscription_state().lock();
        let (publishing, keep_alive) = state
            .get(id)
            .map_or((asked, counts.keep_alive), |s| (s.publishing_interval(), s.max_keep_alive_count()));
        let silence_limit = subscription::silence_limit(publishing, keep_alive);
        Ok(Subscription { id, publishing, silence_limit })
    }

    /// Asks the server to watch these tags; answers which of them it refused. Those turn bad.
    async fn add_items(
        &mut self,
        link: &mut Link,
        subscription: &Subscription,
        tags: Vec<TagIndex>,
    ) -> Result<Vec<TagIndex>, OpcUaError> {
        let connection = Arc::clone(&self.connection);
        let namespaces = self.read_namespaces(link).await?;
        let node =
            |tag: &TagIndex| subscription::resolve(&connection.items()[tag.as_usize()].node, &namespaces);
        let (found, mut missing): (Vec<_>, Vec<_>) = tags.into_iter().partition(|tag| node(tag).is_some());
        for tag in &missing {
            self.refuse_item(*tag, StatusCode::BadNodeIdUnknown, "the server has no such namespace");
        }
        let mut slowest = Duration::ZERO;
        for tags in found.chunks(ITEMS_PER_REQUEST) {
            let nodes = tags.iter().filter_map(|tag| Some((*tag, node(tag)?)));
            let items =
                nodes.map(|(tag, node)| subscription::create_request(tag, node, &connection)).collect();
            let session = Arc::clone(&link.session);
            let create = session.create_monitored_items(subscription.id, TimestampsToReturn::Both, items);
            let created = self.request(link, "create monitored items", create).await?;
            for (index, tag) in tags.iter().enumerate() {
                match created.get(index).map(|item| &item.result) {
                    Some(item) if item.status_code.is_good() => {
                        slowest = slowest.max(milliseconds(item.revised_sampling_interval));
                    }
                    refused => {
                        let status = refused.map_or(StatusCode::BadUnexpectedError, |item| item.status_code);
                        self.refuse_item(*tag, status, "the server refuses to watch it");
                        missing.push(*tag);
                    }
                }
            }
        }
        self.report.hand_over();
        self.check_granted(Granted { publishing: subscription.publishing, sampling: slowest });
        Ok(missing)
    }

    /// The namespaces are read anew each time; the library's memory of them would outlive a change.
    async fn read_namespaces(&mut self, link: &mut Link) -> Result<Vec<String>, OpcUaError> {
        let step = "tell its namespaces";
        let nodes = [ReadValueId::from(opcua::types::NodeId::from(VariableId::Server_NamespaceArray))];
        let session = Arc::clone(&link.session);
        let read = session.read(&nodes, TimestampsToReturn::Neither, 0.0);
        let values = self.request(link, step, read).await?;
        subscription::namespaces(values.into_iter().next()).ok_or_else(|| {
            let cause = Error::new(StatusCode::BadDecodingError, "it is not an array of texts");
            OpcUaError::Request { step, cause }
        })
    }

    /// Sends a request and goes on handing over values while the answer is awaited.
    async fn request<T>(
        &mut self,
        link: &mut Link,
        step: &'static str,
        request: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, OpcUaError> {
        let answer = timeout(REQUEST_LIMIT, request);
        tokio::pin!(answer);
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => {
                    let late = |_| Err(Error::new(StatusCode::BadTimeout, format!("no answer within {REQUEST_LIMIT:?}")));
                    return answer.unwrap_or_else(late).map_err(|cause| OpcUaError::Request { step, cause });
                }
                activity = link.next() => self.take(activity?),
            }
        }
    }

    fn take(&mut self, activity: Activity) {
        match activity {
            Activity::Published(arrived) => {
                self.published_at = Instant::now();
                self.counters.notifications.increment();
                self.gain_link();
                let at = self.now();
                arrived.into_iter().for_each(|value| self.add(value, at));
                self.report.hand_over_or_greet();
            }
            Activity::Connected | Activity::Other => {}
        }
    }

    fn add(&mut self, arrived: Arrived, at: Instants) {
        let connection = Arc::clone(&self.connection);
        let Some(tag) = subscription::tag(arrived.handle, connection.items().len()) else { return };
        if value::has_overflow(&arrived.value) {
            self.counters.overflows.increment();
        }
        let sample = value::sample(arrived.value, connection.items()[tag.as_usize()].data_type, at);
        if sample.quality.is_good() {
            self.backoff.reset();
        }
        self.counters.acquired_samples.increment();
        self.report.add(tag, sample, at.received_at);
    }

    fn refuse_item(&mut self, tag: TagIndex, status: StatusCode, problem: &'static str) {
        let at = self.now();
        if self.report.add_loss(tag, Quality::from_status_code(status.bits()), at) {
            let node = self.connection.items()[tag.as_usize()].node.to_string();
            self.counters.set_last_error(&format!("{node}: {problem} ({status})"));
            warn!(machine.id = %self.name, node, %status, problem, "a node cannot be read; asking again every 30 s");
        }
    }

    /// A server may grant slower intervals than it was asked for, which costs reaction time.
    fn check_granted(&mut self, granted: Granted) {
        let asked = Granted {
            publishing: self.connection.publishing_interval(),
            sampling: self.connection.sampling_interval().max(self.connection.publishing_interval()),
        };
        let is_slower = granted.publishing > asked.publishing || granted.sampling > asked.sampling;
        if self.granted.replace(granted) != Some(granted) && is_slower {
            warn!(
                machine.id = %self.name,
                publishing_ms = granted.publishing.as_millis(),
                sampling_ms = granted.sampling.as_millis(),
                "the server grants slower intervals than configured"
            );
        }
    }

    fn now(&self) -> Instants {
        Instants { gateway_timestamp: self.clock.wall().to_whole_millis(), received_at: self.clock.now() }
    }

    fn gain_link(&mut self) {
        if self.report.link_up() {
            info!(machine.id = %self.name, endpoint = self.connection.endpoint(), "the server publishes");
        }
    }

    fn lose_link(&mut self, error: &OpcUaError) {
        let reason = error.to_string();
        self.counters.set_last_error(&reason);
        let at = self.now();
        if self.report.link_down(&reason, error.quality(), at) {
            warn!(machine.id = %self.name, reason, "the machine cannot be read; trying again");
        }
    }
}

/// Polls the session until it is connected and activated.
async fn connect(link: &mut Link, endpoint: &str) -> Result<(), OpcUaError> {
    let connected = async {
        loop {
            match link.next().await {
                Ok(Activity::Connected) => return Ok(()),
                Ok(Activity::Published(_) | Activity::Other) => {}
                Err(OpcUaError::Lost { status }) => {
                    return Err(cannot_connect(endpoint, Error::new(status, "no session")));
                }
                Err(error) => return Err(error),
            }
        }
    };
    let late =
        OpcUaError::Deadline { endpoint: endpoint.to_owned(), step: "the session", limit: SESSION_LIMIT };
    timeout(SESSION_LIMIT, connected).await.unwrap_or(Err(late))
}

fn cannot_connect(endpoint: &str, cause: Error) -> OpcUaError {
    OpcUaError::Connect { endpoint: endpoint.to_owned(), cause }
}

/// A server may answer with any number.
fn milliseconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number / 1000.0).unwrap_or(Duration::MAX)
}
