//! Servers that take little at a time, watch little, or nothing, or slowly.

use std::time::Duration;

use acquisition::{AcquisitionMode, Deadband, OpcUaItem};
use opcua::server::ServerBuilder;
use opcua::types::{DataValue, Variant};
use plant_model::{DataType, Value};

use crate::support::{Running, Server, Told, connection, items};

fn many(count: usize) -> (Vec<String>, Vec<Variant>) {
    (0..count).map(|n| (format!("n{n}"), Variant::from(i64::try_from(n).expect("small")))).unzip()
}

/// A server with nodes n0, n1, ... that hold their numbers, and items for all of them.
pub(crate) fn crowd(
    count: usize,
    change: impl FnOnce(ServerBuilder) -> ServerBuilder,
) -> (Server, Vec<OpcUaItem>) {
    let (names, values) = many(count);
    let nodes: Vec<_> = names.iter().map(String::as_str).zip(values).collect();
    let server = Server::start_with("127.0.0.1:0".parse().expect("an address"), &nodes, change);
    let declared: Vec<_> = names.iter().map(|name| (name.as_str(), DataType::Int)).collect();
    (server, items(&declared))
}

pub(crate) fn has_all(told: &Told, count: u16) -> bool {
    let seen: std::collections::HashSet<u16> =
        told.readings.iter().filter(|r| r.sample.quality.is_good()).map(|r| r.tag.0).collect();
    seen.len() == usize::from(count)
}

fn start(server: &Server, items: Vec<OpcUaItem>, mode: AcquisitionMode) -> Running {
    let connection = connection(server.address, items).with_mode(mode);
    Running::start_connection(connection, std::path::Path::new("/nonexistent"))
}

#[tokio::test]
async fn c6_a_server_that_takes_seven_items_and_five_nodes_at_a_time_is_read_whole() {
    for mode in [AcquisitionMode::Subscribe, AcquisitionMode::Poll] {
        let (server, items) = crowd(40, |mut builder| {
            builder.limits_mut().operational.max_monitored_items_per_call = 7;
            builder.limits_mut().operational.max_nodes_per_read = 5;
            builder
        });
        let mut driver = start(&server, items, mode);
        let told = driver.until("all values", |told| has_all(told, 40)).await;
        assert!(told.bad().is_empty(), "{:?}", told.bad());
        assert_eq!(told.links.len(), 1);
        driver.stop().await;
    }
}

#[tokio::test]
async fn c6_what_a_server_has_no_room_to_watch_is_read_cyclically() {
    let full = |mut builder: ServerBuilder| {
        builder.limits_mut().subscriptions.max_monitored_items_per_sub = 10;
        builder
    };
    let (server, nodes) = crowd(25, full);
    let mut driver = start(&server, nodes, AcquisitionMode::Auto);
    let told = driver.until("all values", |told| has_all(told, 25)).await;
    assert!(told.bad().is_empty(), "{:?}", told.bad());
    server.set("n0", DataValue::new_now(1000_i64));
    server.set("n24", DataValue::new_now(2000_i64));
    driver
        .until("both changes", |told| told.has(0, &Value::Int(1000)) && told.has(24, &Value::Int(2000)))
        .await;
    assert!(driver.counters.notifications.get() > 0 && driver.counters.polls_ok.get() > 0);
    driver.stop().await;

    let (server, nodes) = crowd(25, full);
    let mut driver = start(&server, nodes, AcquisitionMode::Subscribe);
    let told = driver.until("ten values", |told| has_all(told, 10) && told.bad().len() == 15).await;
    assert!(told.is_up());
    assert_eq!(driver.counters.polls_ok.get(), 0, "the configuration forbids it");
    driver.stop().await;
}

#[tokio::test]
async fn c6_a_polled_server_is_never_subscribed_and_a_missing_node_costs_only_itself() {
    let (server, mut nodes) = crowd(3, |builder| builder);
    nodes.extend(items(&[("no such node", DataType::Int)]));
    let mut driver = start(&server, nodes, AcquisitionMode::Poll);
    driver.until("all values", |told| has_all(told, 3) && told.bad().len() == 1).await;
    server.set("n1", DataValue::new_now(77_i64));
    let told = driver.until("the change", |told| told.has(1, &Value::Int(77))).await;
    assert_eq!((driver.counters.notifications.get(), told.bad().len()), (0, 1));
    driver.stop().await;
}

#[tokio::test]
async fn c6_tags_with_alarms_are_polled_where_the_server_reports_too_slowly() {
    let (server, mut items) = crowd(2, |mut builder| {
        builder.limits_mut().subscriptions.min_publishing_interval_ms = 2_000.0;
        builder
    });
    items[1].has_alarm = true;
    let mut driver = start(&server, items, AcquisitionMode::Auto);
    driver.until("all values", |told| has_all(told, 2)).await;
    let begun = std::time::Instant::now();
    server.set("n1", DataValue::new_now(77_i64));
    driver.until("the change", |told| told.has(1, &Value::Int(77))).await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let told = driver.stop().await.0;
    assert!(told.of(1).count() > told.of(0).count(), "only the one with the alarm is polled");
}

#[tokio::test]
async fn a_deadband_is_left_to_the_server_and_left_out_where_it_is_refused() {
    let server = Server::start(&[("level", Variant::from(1.0_f64)), ("flow", Variant::from(1.0_f64))]);
    let mut nodes = items(&[("level", DataType::Float), ("flow", DataType::Float)]);
    nodes[0].deadband = Some(Deadband::Absolute(0.5));
    // Without a range there is no percentage of it.
    nodes[1].deadband = Some(Deadband::Percent(10.0));
    let mut driver = start(&server, nodes, AcquisitionMode::Subscribe);
    driver.until("first values", |told| told.is_up() && has_all(told, 2)).await;
    server.set("level", DataValue::new_now(1.2_f64));
    server.set("flow", DataValue::new_now(1.2_f64));
    driver.until("the small change of the flow", |told| told.has(1, &Value::Float(1.2))).await;
    server.set("level", DataValue::new_now(2.0_f64));
    let told = driver.until("the large change", |told| told.has(0, &Value::Float(2.0))).await;
    let levels: Vec<_> = told.of(0).filter_map(|r| r.sample.value.clone()).collect();
    assert_eq!(levels, [Value::Float(1.0), Value::Float(2.0)]);
    assert!(told.bad().is_empty());
    driver.stop().await;
}
