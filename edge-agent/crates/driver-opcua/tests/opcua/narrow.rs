//! Servers that refuse what others take: filters, large messages, one more session.

use std::path::Path;
use std::time::Duration;

use acquisition::{AcquisitionMode, Deadband, OpcUaItem};
use async_trait::async_trait;
use opcua::nodes::DefaultTypeTree;
use opcua::server::diagnostics::{DiagnosticsNodeManagerBuilder, NamespaceMetadata};
use opcua::server::node_manager::memory::{CoreNodeManagerBuilder, InMemoryNodeManagerBuilder};
use opcua::server::node_manager::{NodeManager, RequestContext, ServerContext};
use opcua::server::{CreateMonitoredItem, ServerBuilder};
use opcua::types::{DataValue, NodeId, StatusCode, Variant};
use plant_model::{DataType, Value};

use crate::limits::{crowd, has_all};
use crate::support::{Line, Running, Server, Told, connection, items};

/// Owns a node whose changes are reported without a filter or not at all.
struct NoFilters;

fn node() -> NodeId {
    NodeId::new(0, 990_001_u32)
}

#[async_trait]
impl NodeManager for NoFilters {
    fn owns_node(&self, id: &NodeId) -> bool {
        *id == node()
    }

    fn name(&self) -> &'static str {
        "no filters"
    }

    fn namespaces_for_user(&self, _: &RequestContext) -> Vec<NamespaceMetadata> {
        Vec::new()
    }

    async fn init(&self, _: &mut DefaultTypeTree, _: ServerContext) {}

    async fn create_monitored_items(
        &self,
        _: &RequestContext,
        items: &mut [&mut CreateMonitoredItem],
    ) -> Result<(), StatusCode> {
        for item in items {
            // The type of the filter has no public name.
            if format!("{:?}", item.filter()) == "None" {
                item.set_initial_value(DataValue::new_now(1.0_f64));
                item.set_status(StatusCode::Good);
            } else {
                item.set_status(StatusCode::BadFilterNotAllowed);
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn c6_a_server_without_data_change_filters_reports_every_change() {
    let without_filters = |builder: ServerBuilder| {
        builder
            .without_node_managers()
            .with_node_manager(|_: ServerContext| NoFilters)
            .with_node_manager(InMemoryNodeManagerBuilder::new(CoreNodeManagerBuilder))
            .with_node_manager(DiagnosticsNodeManagerBuilder)
    };
    let any = "127.0.0.1:0".parse().expect("an address");
    let server = Server::start_with(any, &[("level", Variant::from(1.0_f64))], without_filters);
    let mut nodes = vec![OpcUaItem::new("i=990001".parse().expect("valid"), DataType::Float)];
    nodes.extend(items(&[("level", DataType::Float)]));
    for node in &mut nodes {
        node.deadband = Some(Deadband::Absolute(0.5));
    }
    let connection = connection(server.address, nodes).with_mode(AcquisitionMode::Subscribe);
    let mut driver = Running::start_connection(connection, Path::new("/nonexistent"));
    driver.until("first values", |told| told.is_up() && has_all(told, 2)).await;
    server.report(&node(), DataValue::new_now(1.2_f64));
    server.set("level", DataValue::new_now(1.2_f64));
    driver.until("the small change", |told| told.has(0, &Value::Float(1.2))).await;
    server.set("level", DataValue::new_now(2.0_f64));
    let told = driver.until("the large change", |told| told.has(1, &Value::Float(2.0))).await;
    assert_eq!(told.of(1).count(), 2, "the other node keeps its deadband: {:?}", told.readings);
    assert!(told.bad().is_empty());
    driver.stop().await;
}

#[tokio::test]
async fn c6_a_server_that_takes_small_messages_is_read_whole() {
    for mode in [AcquisitionMode::Subscribe, AcquisitionMode::Poll] {
        let (server, items) = crowd(400, |builder| builder.max_message_size(9_000).max_chunk_count(1));
        let connection = connection(server.address, items).with_mode(mode);
        let mut driver = Running::start_connection(connection, Path::new("/nonexistent"));
        let told = driver.until("all values", |told| has_all(told, 400)).await;
        assert!(told.is_up(), "{:?}", told.links);
        server.set("n7", DataValue::new_now(1_000_i64));
        driver.until("a change", |told| told.has(7, &Value::Int(1_000))).await;
        driver.stop().await;
    }
}

/// The server watches a thousand nodes and no more; the others are read.
#[tokio::test]
async fn c6_a_server_that_reads_fifty_nodes_and_watches_a_thousand_at_a_time_is_read_whole() {
    for mode in [AcquisitionMode::Auto, AcquisitionMode::Poll] {
        let (server, items) = crowd(1_200, |mut builder| {
            builder.limits_mut().operational.max_monitored_items_per_call = 1_000;
            builder.limits_mut().operational.max_nodes_per_read = 50;
            builder
        });
        let connection = connection(server.address, items).with_mode(mode);
        let mut driver = Running::start_connection(connection, Path::new("/nonexistent"));
        let told = driver.until("all values", |told| has_all(told, 1_200)).await;
        assert!(told.bad().is_empty() && told.links.len() == 1, "{:?}", told.bad());
        driver.stop().await;
    }
}

fn speed(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Server {
    let any = "127.0.0.1:0".parse().expect("an address");
    Server::start_with(any, &[("speed", Variant::from(1.0_f64))], change)
}

#[tokio::test]
async fn c4_a_full_server_is_asked_once_for_each_step_of_the_back_off_and_never_given_a_second_session() {
    let server = speed(|builder| builder.max_sessions(1));
    let nodes = [("speed", DataType::Float)];
    let mut first = Running::start(server.address, &nodes);
    first.until("a value", |told| told.has(0, &Value::Float(1.0))).await;
    let line = Line::to(server.address).await;
    let mut second = Running::start(line.address, &nodes);
    second.until("the refusal", Told::is_down).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(server.sessions(), (1, 1), "sessions now, and ever");
    // At once and at the earliest after 125, 250, 500, 1000 and 2000 ms; each time one connection asks for
    // the endpoints and one for the session.
    let attempts = line.connections() / 2;
    assert!((2..=6).contains(&attempts), "{attempts} attempts in 3 s");
    first.stop().await;
    second.until("its turn", |told| told.has(0, &Value::Float(1.0))).await;
    assert_eq!(server.sessions(), (1, 2), "sessions now, and ever");
    second.stop().await;
    assert_eq!(server.sessions().0, 0, "closed");
}

/// Three seconds are what the server gives a session whose client is gone; the agent asks for 20.
#[tokio::test]
async fn c5_after_a_kill_the_successor_reads_at_once_and_one_session_is_left() {
    let server = speed(|builder| builder.max_session_timeout_ms(3_000).max_sessions(2));
    let nodes = [("speed", DataType::Float)];
    let mut killed = Running::start(server.address, &nodes);
    killed.until("a value", |told| told.has(0, &Value::Float(1.0))).await;
    killed.kill().await;
    let mut driver = Running::start(server.address, &nodes);
    let told = driver.until("a value", |told| told.has(0, &Value::Float(1.0))).await;
    assert_eq!(told.links.len(), 1, "at the first attempt");
    assert!(server.sessions().0 <= 2);
    let left = async {
        while server.sessions().0 != 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), left).await.expect("the abandoned session ends");
    let (told, _) = driver.stop().await;
    assert_eq!((told.links.len(), server.sessions().0), (1, 0));
}
