//! The loop of one connection: connect, subscribe, hand over what arrives, and after a failure wait
//! and begin anew.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use acquisition::{DriverCounters, Instants, MachineSink, OpcUaConnection, Report, TagIndex, WriteOutcome};
use opcua::client::ClientConfig;
use opcua::types::{DataValue, Error, StatusCode};
use plant_model::{MachineId, Quality, Timestamp};
use service_kit::{Backoff, Clock};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::access::Access;
use crate::discovery::{REQUEST_LIMIT, configuration};
use crate::error::OpcUaError;
use crate::identity::Identity;
use crate::link::{Activity, Arrived, Link};
use crate::liveness::Liveness;
use crate::write::WriteQueue;
use crate::{subscription, value};

/// What a session may take to be connected and activated.
const SESSION_LIMIT: Duration = Duration::from_secs(5);

/// The wait after a failure that a person must mend, a wrong password for example.
const PERSON_WAIT: Duration = Duration::from_secs(30);

/// A source time that is further from the gateway's is not believed. Values that waited for a
/// reconnect are minutes old, not hours.
const CLOCK_ERROR_MAX: Duration = Duration::from_secs(3600);

/// The waits between two attempts to connect.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

/// So many changes a server may send in one message: 50 KB of numbers. One that takes less is found out.
const CHANGES_MAX: u32 = 1000;

pub(crate) struct Driver {
    pub(crate) connection: Arc<OpcUaConnection>,
    access: Access,
    identity: Arc<Identity>,
    config: ClientConfig,
    pub(crate) name: MachineId,
    pub(crate) clock: Clock,
    pub(crate) counters: Arc<DriverCounters>,
    shutdown: CancellationToken,
    pub(crate) report: Report,
    backoff: Backoff,
    /// When the server published last.
    pub(crate) published_at: Instant,
    /// What was last said about the server's way of watching, to say a change once.
    pub(crate) remark: String,
    /// Watched tags whose nodes the server no longer knows.
    pub(crate) vanished: Vec<TagIndex>,
    /// Whether the clock of the machine is known to be wrong.
    clock_is_doubtful: bool,
    pub(crate) writes: WriteQueue,
    /// Of the server, in the order of their indexes.
    pub(crate) namespaces: Vec<String>,
    pub(crate) liveness: Liveness,
    /// How many changes the server may send at a time.
    pub(crate) changes_max: u32,
    /// Whether the server may hang, so that silence does not say that nothing changed.
    pub(crate) is_doubtful: bool,
}

/// Why a session ended.
enum Stop {
    Shutdown,
    Failed(OpcUaError),
}

impl Driver {
    #[expect(clippy::too_many_arguments, reason = "all that a driver is made of, as in `run_with_writes`")]
    pub(crate) fn new(
        connection: OpcUaConnection,
        name: MachineId,
        identity: Arc<Identity>,
        sink: Box<dyn MachineSink>,
        writes: WriteQueue,
        clock: Clock,
        counters: Arc<DriverCounters>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            config: configuration(
                name.as_str(),
                identity.application_uri(),
                connection.publishing_interval(),
            ),
            report: Report::new(sink, connection.items().len()),
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST),
            published_at: Instant::now(),
            remark: String::new(),
            vanished: Vec::new(),
            clock_is_doubtful: false,
            writes,
            namespaces: Vec::new(),
            liveness: Liveness::default(),
            changes_max: CHANGES_MAX,
            is_doubtful: false,
            access: Access::from(&connection),
            connection: Arc::new(connection),
            name,
            identity,
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
            let Stop::Failed(error) = stop else { return };
            let wait = if error.needs_a_person() { PERSON_WAIT } else { self.backoff.next_wait() };
            let pause = self.pause(wait, &error);
            if shutdown.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Waits before the next attempt; nobody is left waiting for a write meanwhile.
    async fn pause(&mut self, wait: Duration, error: &OpcUaError) {
        let end = sleep(wait);
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return,
                order = self.writes.0.next() => {
                    order.decline(WriteOutcome::refused(format!("there is no session: {error}")));
                }
            }
        }
    }

    /// One session, from its making to its end; it is not closed yet.
    async fn live(&mut self) -> (Stop, Option<Link>) {
        let shutdown = self.shutdown.clone();
        let enter = self.access.enter(&self.config, &self.identity, self.name.as_str());
        let entrance = match shutdown.run_until_cancelled(enter).await {
            None => return (Stop::Shutdown, None),
            Some(Err(error)) => return (Stop::Failed(error), None),
            Some(Ok(entrance)) => entrance,
        };
        let mut link = match Link::new(&self.config, entrance) {
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
        connect(link, connection.endpoint(), &self.identity).await?;
        self.counters.connects.increment();
        let ended = self.receive(link).await;
        if let Err(OpcUaError::TooMany { .. }) = ended {
            // What did not fit is lost for this session; the next one begins with all values.
            self.changes_max = (self.changes_max / 4).max(1);
        }
        ended
    }

    /// Sends a request and goes on handing over values while the answer is awaited.
    pub(crate) async fn request<T>(
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

    pub(crate) fn take(&mut self, activity: Activity) {
        match activity {
            Activity::Published(arrived) => {
                self.published_at = Instant::now();
                self.counters.notifications.increment();
                self.gain_link();
                let (at, tags) = (self.now(), self.connection.items().len());
                if !arrived.is_empty() {
                    self.liveness.handle_report(arrived.iter().any(|a| a.handle == subscription::CLOCK));
                    self.is_doubtful = false;
                }
                for Arrived { handle, value } in arrived {
                    match subscription::tag(handle, tags) {
                        Some(tag) if value.status == Some(StatusCode::BadNodeIdUnknown) => {
                            self.vanished.push(tag);
                        }
                        Some(tag) => self.add(tag, value, at),
                        None => {}
                    }
                }
                self.hand_over();
            }
            Activity::Connected | Activity::Other => {}
        }
    }

    pub(crate) fn add(&mut self, tag: TagIndex, arrived: DataValue, at: Instants) {
        if value::has_overflow(&arrived) {
            self.counters.overflows.increment();
        }
        let data_type = self.connection.items()[tag.as_usize()].data_type;
        let sample = value::sample(arrived, data_type, at);
        if sample.quality.is_good() {
            self.backoff.reset();
        }
        if let Some(source) = sample.source_timestamp {
            self.check_clock(source, at.gateway_timestamp);
        }
        self.counters.acquired_samples.increment();
        self.report.add(tag, sample, at.received_at);
    }

    /// Hands over what arrived. That nothing did says that nothing changed, unless the server may hang.
    pub(crate) fn hand_over(&mut self) {
        if self.is_doubtful {
            self.report.hand_over();
        } else {
            self.report.hand_over_or_greet();
        }
    }

    /// A machine whose clock is wrong is read all the same; its values stand at the gateway's time. A gateway that does
    /// not know the time says nothing about it.
    fn check_clock(&mut self, source: Timestamp, gateway: Timestamp) {
        if gateway.is_unplaced() {
            return;
        }
        let error = Duration::from_micros(source.micros().abs_diff(gateway.micros()));
        let is_doubtful = error > CLOCK_ERROR_MAX;
        if is_doubtful {
            self.counters.doubtful_source_times.increment();
        }
        if std::mem::replace(&mut self.clock_is_doubtful, is_doubtful) != is_doubtful && is_doubtful {
            warn!(machine.id = %self.name, error_s = error.as_secs(),
                "the clock of the machine is wrong; its values are placed by the time of the gateway");
        }
    }

    pub(crate) fn refuse_item(&mut self, tag: TagIndex, status: StatusCode, problem: &'static str) {
        let at = self.now();
        if self.report.add_loss(tag, Quality::from_status_code(status.bits()), at) {
            let node = self.connection.items()[tag.as_usize()].node.to_string();
            self.counters.set_last_error(&format!("{node}: {problem} ({status})"));
            warn!(machine.id = %self.name, node, %status, problem, "a node cannot be read; asking again");
        }
    }

    pub(crate) fn now(&self) -> Instants {
        Instants { gateway_timestamp: self.clock.wall().to_whole_millis(), received_at: self.clock.now() }
    }

    pub(crate) fn gain_link(&mut self) {
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
pub(crate) async fn connect(link: &mut Link, endpoint: &str, identity: &Identity) -> Result<(), OpcUaError> {
    let connected = async {
        loop {
            match link.next().await {
                Ok(Activity::Connected) => return Ok(()),
                Ok(Activity::Published(_) | Activity::Other) => {}
                Err(OpcUaError::Lost { status }) => {
                    let own = identity.certificate_file();
                    return Err(OpcUaError::no_session(endpoint, status, &own, link.shows_chain));
                }
                Err(error) => return Err(error),
            }
        }
    };
    let late =
        OpcUaError::Deadline { endpoint: endpoint.to_owned(), step: "the session", limit: SESSION_LIMIT };
    timeout(SESSION_LIMIT, connected).await.unwrap_or(Err(late))
}

pub(crate) fn cannot_connect(endpoint: &str, cause: Error) -> OpcUaError {
    OpcUaError::Connect { endpoint: endpoint.to_owned(), cause }
}
