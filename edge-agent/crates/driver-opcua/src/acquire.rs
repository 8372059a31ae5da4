//! One session from its activation to its end: which tags the server watches, which are read
//! cyclically, and which it does not know.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use acquisition::{AcquisitionMode, Schedule, TagIndex, stagger};
use opcua::types::{
    Error, MonitoredItemCreateResult, NodeId, ReadValueId, StatusCode, TimestampsToReturn, VariableId,
};
use plant_model::Quality;
use service_kit::Backoff;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::{info, warn};

use crate::driver::Driver;
use crate::error::OpcUaError;
use crate::limits::{Limits, is_too_large};
use crate::link::Link;
use crate::subscription::{self, Counts, Filter};

/// The waits before nodes that the server refused are asked for again: they can appear while it
/// starts, and with the next program of the machine.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// What watching may take from a change to its report, for a tag with an alarm: half of the time an
/// alarm has from the change to the decision.
const WATCH_DELAY_MAX: Duration = Duration::from_millis(250);

/// Longer than any session lasts without an event.
const NEVER: Duration = Duration::from_secs(86_400);

/// A subscription on the server.
struct Subscription {
    id: u32,
    publishing: Duration,
    silence_limit: Duration,
}

/// A tag and its node on this server.
type Node = (TagIndex, NodeId);

/// What became of tags.
#[derive(Default)]
struct Places {
    /// With the ids of their monitored items.
    watched: HashMap<TagIndex, u32>,
    polled: Vec<Node>,
    missing: Vec<TagIndex>,
}

/// What a server said to an item it was asked to watch.
struct Answer {
    node: Node,
    result: MonitoredItemCreateResult,
}

impl Driver {
    /// Hands over what the server reports and what is read, until that fails.
    pub(crate) async fn receive(&mut self, link: &mut Link) -> Result<Infallible, OpcUaError> {
        self.vanished.clear();
        self.liveness.begin_session();
        self.is_doubtful = false;
        let mut limits = self.read_limits(link).await?;
        let subscription = self.subscribe(link).await?;
        let all = (0..self.connection.items().len()).filter_map(|index| u16::try_from(index).ok());
        let mut places =
            self.place(link, subscription.as_ref(), &limits, all.map(TagIndex).collect()).await?;
        if let Some(subscription) = &subscription {
            self.watch_clock(link, subscription).await?;
        }
        let mut looks = interval(self.connection.clock_interval());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retries = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        let mut retry_at = Instant::now() + retries.next_wait();
        let period = self.connection.poll_interval();
        let first = self.clock.now().plus(stagger(self.name.as_str(), period.min(Duration::from_secs(1))));
        let mut schedule = Schedule::new(first, period);
        loop {
            let until_poll = schedule.next_due().since(self.clock.now());
            let silence_limit = subscription.as_ref().map_or(NEVER, |s| s.silence_limit);
            if let Some(subscription) = &subscription
                && !self.vanished.is_empty()
            {
                if places.missing.is_empty() {
                    retry_at = Instant::now() + retries.next_wait();
                }
                self.forget_vanished(link, subscription, &mut places).await?;
            }
            tokio::select! {
                biased;
                activity = link.next() => self.take(activity?),
                order = self.writes.0.next() => self.make_write(link, order).await?,
                () = sleep_until(retry_at), if !places.missing.is_empty() => {
                    let missing = std::mem::take(&mut places.missing);
                    let again = self.place(link, subscription.as_ref(), &limits, missing).await?;
                    if places.polled.is_empty() {
                        // What nobody was to read was not missed.
                        schedule = Schedule::new(self.clock.now(), period);
                    }
                    places.polled.extend(again.polled);
                    places.watched.extend(again.watched);
                    places.missing = again.missing;
                    retry_at = Instant::now() + retries.next_wait();
                }
                () = sleep(until_poll), if !places.polled.is_empty() => {
                    let missed = schedule.take_due(self.clock.now()).saturating_sub(1);
                    self.counters.missed_ticks.add(missed);
                    self.poll(link, &mut limits, &places.polled).await?;
                }
                _ = looks.tick() => self.look_at_clock(link).await?,
                () = sleep_until(self.published_at + silence_limit), if subscription.is_some() => {
                    return Err(OpcUaError::Silent { limit: silence_limit });
                }
            }
        }
    }

    async fn read_limits(&mut self, link: &mut Link) -> Result<Limits, OpcUaError> {
        let (session, nodes) = (Arc::clone(&link.session), Limits::nodes());
        let read = session.read(&nodes, TimestampsToReturn::Neither, 0.0);
        match self.request(link, "tell its limits", read).await {
            Ok(values) => Ok(Limits::of(&values)),
            // A server need not have any.
            Err(OpcUaError::Request { cause, .. }) if cause.status() != StatusCode::BadTimeout => {
                Ok(Limits::default())
            }
            Err(error) => Err(error),
        }
    }

    /// `None` if everything is to be read cyclically.
    async fn subscribe(&mut self, link: &mut Link) -> Result<Option<Subscription>, OpcUaError> {
        let mode = self.connection.mode();
        if mode == AcquisitionMode::Poll {
            return Ok(None);
        }
        match self.create_subscription(link).await {
            Ok(subscription) => Ok(Some(subscription)),
            Err(OpcUaError::Request { cause, .. })
                if mode == AcquisitionMode::Auto && is_no_watching(cause.status()) =>
            {
                self.remark(format!(
                    "the server has no subscription for us ({}); values are read cyclically",
                    cause.status()
                ));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn create_subscription(&mut self, link: &mut Link) -> Result<Subscription, OpcUaError> {
        let asked = self.connection.publishing_interval();
        let counts = Counts::of(asked);
        let (session, inbox) = (Arc::clone(&link.session), link.inbox());
        let create = session.create_subscription(
            asked,
            counts.lifetime,
            counts.keep_alive,
            self.changes_max,
            0,
            true,
            inbox,
        );
        let id = self.request(link, "create a subscription", create).await?;
        self.published_at = Instant::now();
        let state = session.subscription_state().lock();
        let (publishing, keep_alive) = state
            .get(id)
            .map_or((asked, counts.keep_alive), |s| (s.publishing_interval(), s.max_keep_alive_count()));
        let silence_limit = subscription::silence_limit(publishing, keep_alive);
        Ok(Subscription { id, publishing, silence_limit })
    }

    /// Decides for each of these tags how it is acquired, and has the server watch those it will.
    async fn place(
        &mut self,
        link: &mut Link,
        subscription: Option<&Subscription>,
        limits: &Limits,
        tags: Vec<TagIndex>,
    ) -> Result<Places, OpcUaError> {
        let (found, missing) = self.find_nodes(link, tags).await?;
        let mut places = Places { missing, ..Places::default() };
        match subscription {
            None => places.polled = found,
            Some(subscription) => self.watch(link, subscription, limits, found, &mut places).await?,
        }
        self.report.hand_over();
        Ok(places)
    }

    /// The nodes of these tags, and the tags whose namespace the server does not have. Those turn bad.
    async fn find_nodes(
        &mut self,
        link: &mut Link,
        tags: Vec<TagIndex>,
    ) -> Result<(Vec<Node>, Vec<TagIndex>), OpcUaError> {
        let connection = Arc::clone(&self.connection);
        self.namespaces = self.read_namespaces(link).await?;
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for tag in tags {
            match subscription::resolve(&connection.items()[tag.as_usize()].node, &self.namespaces) {
                Some(node) => found.push((tag, node)),
                None => {
                    let problem = "the server has no such namespace";
                    self.refuse_item(tag, StatusCode::BadNodeIdUnknown, problem);
                    missing.push(tag);
                }
            }
        }
        Ok((found, missing))
    }

    /// The namespaces are read anew each time; the library's memory of them would outlive a change.
    async fn read_namespaces(&mut self, link: &mut Link) -> Result<Vec<String>, OpcUaError> {
        let step = "tell its namespaces";
        let nodes = [ReadValueId::from(NodeId::from(VariableId::Server_NamespaceArray))];
        let session = Arc::clone(&link.session);
        let read = session.read(&nodes, TimestampsToReturn::Neither, 0.0);
        let values = self.request(link, step, read).await?;
        subscription::namespaces(values.into_iter().next()).ok_or_else(|| {
            let cause = Error::new(StatusCode::BadDecodingError, "it is not an array of texts");
            OpcUaError::Request { step, cause }
        })
    }

    async fn watch(
        &mut self,
        link: &mut Link,
        subscription: &Subscription,
        limits: &Limits,
        nodes: Vec<Node>,
        places: &mut Places,
    ) -> Result<(), OpcUaError> {
        let answers = self.create_items(link, subscription, limits, nodes, Filter::Configured).await?;
        let connection = Arc::clone(&self.connection);
        let lost_its_filter = |answer: &Answer| {
            connection.items()[answer.node.0.as_usize()].deadband.is_some()
                && is_filter_refused(answer.result.status_code)
        };
        let (unfiltered, mut answers): (Vec<_>, Vec<_>) = answers.into_iter().partition(lost_its_filter);
        if !unfiltered.is_empty() {
            self.remark(format!(
                "the server refuses {} deadbands; all changes are reported",
                unfiltered.len()
            ));
            let nodes = unfiltered.into_iter().map(|answer| answer.node).collect();
            answers.extend(self.create_items(link, subscription, limits, nodes, Filter::None).await?);
        }
        self.sort(link, subscription, answers, places).await
    }

    /// Has the server watch nodes, in requests of a size that it takes. Answers what it said to each.
    async fn create_items(
        &mut self,
        link: &mut Link,
        subscription: &Subscription,
        limits: &Limits,
        nodes: Vec<Node>,
        filter: Filter,
    ) -> Result<Vec<Answer>, OpcUaError> {
        let connection = Arc::clone(&self.connection);
        let (mut answers, mut size) = (Vec::new(), limits.items_per_call);
        let mut rest = nodes.as_slice();
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(size.min(rest.len()));
            let items =
                chunk.iter().map(|node| subscription::create_request(node, &connection, filter)).collect();
            let session = Arc::clone(&link.session);
            let create = session.create_monitored_items(subscription.id, TimestampsToReturn::Both, items);
            match self.request(link, "create monitored items", create).await {
                Ok(created) => {
                    let mut results = created.into_iter().map(|item| item.result);
                    answers.extend(chunk.iter().map(|node| Answer {
                        node: node.clone(),
                        result: results.next().unwrap_or_else(|| refusal(StatusCode::BadUnexpectedError)),
                    }));
                    rest = behind;
                }
                Err(OpcUaError::Request { cause, .. }) if is_too_large(cause.status()) => {
                    if chunk.len() > 1 {
                        size = chunk.len() / 2;
                        continue;
                    }
                    let refused =
                        |node: &Node| Answer { node: node.clone(), result: refusal(cause.status()) };
                    answers.extend(rest.iter().map(refused));
                    rest = &[];
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }

    /// What is not watched is polled or missing; so is what is watched too slowly for its alarm.
    async fn sort(
        &mut self,
        link: &mut Link,
        subscription: &Subscription,
        answers: Vec<Answer>,
        places: &mut Places,
    ) -> Result<(), OpcUaError> {
        let mode = self.connection.mode();
        let (mut slowest, mut too_slow, mut refused) = (Duration::ZERO, Vec::new(), 0);
        for Answer { node, result } in answers {
            let status = result.status_code;
            if status.is_good() {
                let sampling = milliseconds(result.revised_sampling_interval);
                if mode == AcquisitionMode::Auto
                    && self.is_too_slow(node.0, subscription.publishing + sampling)
                {
                    too_slow.push(result.monitored_item_id);
                    places.polled.push(node);
                } else {
                    slowest = slowest.max(sampling);
                    places.watched.insert(node.0, result.monitored_item_id);
                }
            } else if mode == AcquisitionMode::Auto && is_no_watching(status) {
                refused += 1;
                places.polled.push(node);
            } else {
                self.refuse_item(node.0, status, "the server refuses to watch it");
                places.missing.push(node.0);
            }
        }
        if refused > 0 {
            self.remark(format!("the server will not watch {refused} nodes; they are read cyclically"));
        }
        if !too_slow.is_empty() {
            let (count, session) = (too_slow.len(), Arc::clone(&link.session));
            let delete = session.delete_monitored_items(subscription.id, &too_slow);
            self.request(link, "delete monitored items", delete).await?;
            self.remark(format!(
                "the server watches {count} nodes too slowly for their alarms; they are read cyclically"
            ));
        }
        self.check_granted(subscription.publishing, slowest);
        Ok(())
    }

    /// Some servers go on watching a node that they do not know, and say nothing when it appears. It is
    /// asked for anew instead.
    async fn forget_vanished(
        &mut self,
        link: &mut Link,
        subscription: &Subscription,
        places: &mut Places,
    ) -> Result<(), OpcUaError> {
        let mut items = Vec::new();
        for tag in std::mem::take(&mut self.vanished) {
            if let Some(item) = places.watched.remove(&tag) {
                self.refuse_item(tag, StatusCode::BadNodeIdUnknown, "the server does not know it");
                places.missing.push(tag);
                items.push(item);
            }
        }
        self.report.hand_over();
        if items.is_empty() {
            return Ok(());
        }
        let session = Arc::clone(&link.session);
        let delete = session.delete_monitored_items(subscription.id, &items);
        self.request(link, "delete monitored items", delete).await.map(drop)
    }

    /// Whether reading the tag cyclically is faster, and it matters.
    fn is_too_slow(&self, tag: TagIndex, granted: Duration) -> bool {
        let connection = &self.connection;
        let asked = connection.publishing_interval() + connection.sampling_interval();
        connection.items()[tag.as_usize()].has_alarm
            && granted > WATCH_DELAY_MAX.max(asked)
            && connection.poll_interval() < granted
    }

    /// A server may grant slower intervals than it was asked for, which costs reaction time.
    fn check_granted(&mut self, publishing: Duration, sampling: Duration) {
        let asked = self.connection.publishing_interval();
        if publishing > asked || sampling > self.connection.sampling_interval().max(asked) {
            self.remark(format!(
                "the server grants slower intervals than configured: publishing {publishing:?}, sampling {sampling:?}"
            ));
        }
    }

    /// Has the server report its clock, if it will. It comes last: a tag matters more.
    async fn watch_clock(&mut self, link: &mut Link, subscription: &Subscription) -> Result<(), OpcUaError> {
        let every = self.connection.clock_interval();
        let (session, items) = (Arc::clone(&link.session), vec![subscription::clock_request(every / 2)]);
        let create = session.create_monitored_items(subscription.id, TimestampsToReturn::Neither, items);
        let answers = match self.request(link, "create a monitored item", create).await {
            Ok(answers) => answers,
            Err(OpcUaError::Request { cause, .. }) if cause.status() != StatusCode::BadTimeout => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if let Some(answer) = answers.first().filter(|answer| answer.result.status_code.is_good()) {
            let sampling = milliseconds(answer.result.revised_sampling_interval);
            self.liveness.watch(sampling.saturating_add(subscription.publishing), every);
        }
        Ok(())
    }

    /// Reads nodes once, in requests of a size that the server takes.
    async fn poll(&mut self, link: &mut Link, limits: &mut Limits, nodes: &[Node]) -> Result<(), OpcUaError> {
        let mut rest = nodes;
        self.counters.scheduled_samples.add(nodes.len() as u64);
        while !rest.is_empty() {
            let (chunk, behind) = rest.split_at(limits.nodes_per_read.min(rest.len()));
            let ids: Vec<_> = chunk.iter().map(|(_, node)| ReadValueId::from(node.clone())).collect();
            let session = Arc::clone(&link.session);
            let read = session.read(&ids, TimestampsToReturn::Both, 0.0);
            match self.request(link, "read values", read).await {
                Ok(values) => {
                    self.counters.polls_ok.increment();
                    self.gain_link();
                    let at = self.now();
                    for ((tag, _), value) in chunk.iter().zip(values) {
                        match value.status {
                            Some(status) if status.is_bad() => self.lose(*tag, status),
                            Some(_) | None => self.add(*tag, value, at),
                        }
                    }
                    rest = behind;
                }
                Err(OpcUaError::Request { cause, .. }) if is_too_large(cause.status()) && chunk.len() > 1 => {
                    limits.nodes_per_read = chunk.len() / 2;
                }
                Err(error) => {
                    self.counters.polls_failed.transport.increment();
                    return Err(error);
                }
            }
        }
        self.hand_over();
        Ok(())
    }

    /// A polled tag that stays bad is reported once.
    fn lose(&mut self, tag: TagIndex, status: StatusCode) {
        let at = self.now();
        self.counters.acquired_samples.increment();
        if self.report.add_loss(tag, Quality::from_status_code(status.bits()), at) {
            let node = self.connection.items()[tag.as_usize()].node.to_string();
            info!(machine.id = %self.name, node, %status, "a node has no value");
        }
    }

    /// Says once how this server departs from what was asked of it.
    fn remark(&mut self, remark: String) {
        if self.remark != remark {
            warn!(machine.id = %self.name, "{remark}");
            self.remark = remark;
        }
    }
}

fn refusal(status_code: StatusCode) -> MonitoredItemCreateResult {
    MonitoredItemCreateResult { status_code, ..Default::default() }
}

/// The server knows the node but will not watch it, or has no room to.
fn is_no_watching(status: StatusCode) -> bool {
    [
        StatusCode::BadTooManyMonitoredItems,
        StatusCode::BadTooManySubscriptions,
        StatusCode::BadServiceUnsupported,
        StatusCode::BadNotSupported,
        StatusCode::BadNotImplemented,
        StatusCode::BadMonitoringModeInvalid,
        StatusCode::BadMonitoredItemFilterUnsupported,
    ]
    .contains(&status)
}

fn is_filter_refused(status: StatusCode) -> bool {
    [
        StatusCode::BadFilterNotAllowed,
        StatusCode::BadMonitoredItemFilterUnsupported,
        StatusCode::BadMonitoredItemFilterInvalid,
        StatusCode::BadDeadbandFilterInvalid,
    ]
    .contains(&status)
}

/// A server may answer with any number.
fn milliseconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number / 1000.0).unwrap_or(Duration::MAX)
}
