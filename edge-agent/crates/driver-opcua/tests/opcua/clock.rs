//! Servers that are connected and hang: their clock stands still, or their subscriptions do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use acquisition::LinkState;
use async_trait::async_trait;
use opcua::nodes::DefaultTypeTree;
use opcua::server::diagnostics::{DiagnosticsNodeManagerBuilder, NamespaceMetadata};
use opcua::server::node_manager::memory::{CoreNodeManagerBuilder, InMemoryNodeManagerBuilder};
use opcua::server::node_manager::{NodeManager, ReadNode, RequestContext, ServerContext};
use opcua::server::{CreateMonitoredItem, ServerBuilder, SubscriptionCache};
use opcua::types::{
    AttributeId, DataValue, DateTime, NodeId, StatusCode, TimestampsToReturn, VariableId, Variant,
};
use plant_model::{DataType, Value};
use tokio::sync::watch;

use crate::support::{Running, Server, Told, connection, items};

/// The pace of the clock, and of the driver's looks at it.
const TICK: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Runs,
    /// Whoever reads it always sees the same time, and no change is reported.
    StandsStill,
    /// Whoever reads it sees it run; no change is reported.
    Unreported,
    /// It cannot be read or watched.
    Missing,
}

/// The clock of a server in the hands of a test.
#[derive(Clone)]
struct Clock {
    way: watch::Sender<Way>,
    time: Arc<AtomicU32>,
    looks: watch::Sender<u32>,
}

impl Clock {
    fn new(way: Way) -> Self {
        Self { way: watch::Sender::new(way), time: Arc::default(), looks: watch::Sender::new(0) }
    }

    fn shown(&self) -> DataValue {
        let ticks = i64::from(self.time.load(Ordering::Relaxed)) * 1_000_000;
        DataValue::new_now(DateTime::from(130_000_000_000_000_000 + ticks))
    }

    async fn run(self, subscriptions: Arc<SubscriptionCache>) {
        let node = node();
        loop {
            tokio::time::sleep(TICK).await;
            let way = *self.way.borrow();
            if matches!(way, Way::Runs | Way::Unreported) {
                self.time.fetch_add(1, Ordering::Relaxed);
            }
            if way == Way::Runs {
                let change = (self.shown(), &node, AttributeId::Value);
                subscriptions.notify_data_change([change].into_iter());
            }
        }
    }

    /// Waits until the driver has looked so often.
    async fn looks(&self, count: u32) {
        let mut looks = self.looks.subscribe();
        let seen = tokio::time::timeout(Duration::from_secs(30), looks.wait_for(|n| *n >= count)).await;
        seen.expect("the driver looks").expect("the clock is there");
    }
}

fn node() -> NodeId {
    VariableId::Server_ServerStatus_CurrentTime.into()
}

#[async_trait]
impl NodeManager for Clock {
    fn owns_node(&self, id: &NodeId) -> bool {
        *id == node()
    }

    fn name(&self) -> &'static str {
        "clock"
    }

    fn namespaces_for_user(&self, _: &RequestContext) -> Vec<NamespaceMetadata> {
        Vec::new()
    }

    async fn init(&self, _: &mut DefaultTypeTree, context: ServerContext) {
        tokio::spawn(self.clone().run(context.subscriptions));
    }

    async fn read(
        &self,
        _: &RequestContext,
        _: f64,
        _: TimestampsToReturn,
        nodes: &mut [&mut ReadNode],
    ) -> Result<(), StatusCode> {
        self.looks.send_modify(|looks| *looks += 1);
        for node in nodes {
            match *self.way.borrow() {
                Way::Missing => node.set_error(StatusCode::BadNotReadable),
                Way::Runs | Way::StandsStill | Way::Unreported => node.set_result(self.shown()),
            }
        }
        Ok(())
    }

    async fn create_monitored_items(
        &self,
        _: &RequestContext,
        items: &mut [&mut CreateMonitoredItem],
    ) -> Result<(), StatusCode> {
        for item in items {
            match *self.way.borrow() {
                Way::Missing => item.set_status(StatusCode::BadAttributeIdInvalid),
                Way::Runs | Way::StandsStill | Way::Unreported => {
                    item.set_initial_value(self.shown());
                    item.set_status(StatusCode::Good);
                }
            }
        }
        Ok(())
    }
}

/// A server with one node and this clock, and a driver that looks at it.
fn start(clock: &Clock) -> (Server, Running) {
    let ours = clock.clone();
    let with_clock = |builder: ServerBuilder| {
        // Who comes first answers first.
        builder
            .without_node_managers()
            .with_node_manager(move |_: ServerContext| ours)
            .with_node_manager(InMemoryNodeManagerBuilder::new(CoreNodeManagerBuilder))
            .with_node_manager(DiagnosticsNodeManagerBuilder)
    };
    let any = "127.0.0.1:0".parse().expect("an address");
    let server = Server::start_with(any, &[("speed", Variant::from(1.0_f64))], with_clock);
    let connection =
        connection(server.address, items(&[("speed", DataType::Float)])).with_clock_interval(LOOK);
    (server, Running::start_connection(connection, std::path::Path::new("/nonexistent")))
}

/// Lets a server hang like this; answers what the driver told when it had found it out.
async fn found_out(way: Way, sign: &str) -> (Told, u64) {
    let clock = Clock::new(Way::Runs);
    let (_server, mut driver) = start(&clock);
    driver.until("the first value", |told| told.has(0, &Value::Float(1.0))).await;
    clock.looks(4).await;
    clock.way.send_replace(way);
    let found = driver.until("the server that hangs", Told::is_down).await;
    let notifications = driver.counters.notifications.get();
    let Some(LinkState::Down { reason }) = found.links.last() else { panic!("{:?}", found.links) };
    assert!(reason.contains(sign), "{reason}");
    clock.way.send_replace(Way::Runs);
    let told = driver.until("the session that was made anew", Told::is_up).await;
    assert_eq!((told.links.len(), told.has(0, &Value::Float(1.0))), (3, true), "{:?}", told.links);
    driver.stop().await;
    (found, notifications)
}

#[tokio::test]
async fn c2_a_server_whose_clock_stops_is_found_out_and_its_session_made_anew() {
    found_out(Way::StandsStill, "stands still").await;
}

#[tokio::test]
async fn c2_a_subscription_that_hangs_is_found_out_although_keep_alives_come() {
    let (told, notifications) = found_out(Way::Unreported, "not even the clock").await;
    // The first value and the loss were handed over; everything else that came was a greeting, but for
    // the keep-alives that were in doubt.
    let greetings = u64::try_from(told.greetings).expect("few");
    assert!(notifications > greetings + 1, "{notifications} notifications, {greetings} greetings");
}

#[tokio::test]
async fn c2_a_server_without_a_clock_or_whose_clock_never_ran_is_left_alone() {
    for way in [Way::Missing, Way::StandsStill] {
        let clock = Clock::new(way);
        let (_server, mut driver) = start(&clock);
        driver.until("the first value", |told| told.has(0, &Value::Float(1.0))).await;
        clock.looks(10).await;
        let (told, _) = driver.stop().await;
        assert_eq!(told.links, [LinkState::Up], "{way:?}");
    }
}
