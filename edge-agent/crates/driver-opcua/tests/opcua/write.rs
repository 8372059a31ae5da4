//! Writes into a running session.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acquisition::TagIndex;
use driver_opcua::{WriteOutcome, WriteRequest, Writer, write_queue};
use opcua::types::{StatusCode, Variant};
use plant_model::{DataType, Value};

use crate::support::{Line, Running, Server, connection, items};

const NODES: [(&str, DataType); 5] = [
    ("speed", DataType::Float),
    ("parts", DataType::Int),
    ("program", DataType::Text),
    ("serial", DataType::Int),
    ("stubborn", DataType::Int),
];

/// Everything but `serial` can be written; `stubborn` takes what is written and keeps what it has.
fn machine() -> Server {
    let server = Server::start(&[("serial", Variant::from(4711_u32))]);
    server.add_writable(&[
        ("speed", Variant::from(1.0_f32)),
        ("parts", Variant::from(1_u16)),
        ("program", Variant::from("P-1")),
        ("stubborn", Variant::from(5_i64)),
    ]);
    server.on_write("stubborn", |_| StatusCode::Good);
    server
}

fn start(address: std::net::SocketAddr) -> (Running, Writer) {
    let (writer, queue) = write_queue();
    let connection = connection(address, items(&NODES));
    (Running::start_with_writes(connection, Path::new("/nonexistent"), queue), writer)
}

async fn write(writer: &Writer, tag: u16, value: impl Into<Value>) -> WriteOutcome {
    writer.write(WriteRequest { tag: TagIndex(tag), value: value.into() }).await
}

fn reason(outcome: WriteOutcome) -> String {
    let WriteOutcome::Refused { reason } = outcome else { panic!("{outcome:?}") };
    reason
}

#[tokio::test]
async fn a_write_takes_the_type_of_the_node_is_read_back_and_reported() {
    let server = machine();
    let (mut driver, writer) = start(server.address);
    driver.until("all values", |told| (0..5).all(|tag| told.last(tag).is_some())).await;
    let text: Arc<str> = "0042".into();
    assert_eq!(write(&writer, 0, Value::Float(0.1)).await, WriteOutcome::Written, "to the nearest single");
    assert_eq!(write(&writer, 1, Value::Int(65_535)).await, WriteOutcome::Written);
    assert_eq!(write(&writer, 2, Value::Text(Arc::clone(&text))).await, WriteOutcome::Written);
    let told = driver
        .until("the changes", |told| {
            told.has(1, &Value::Int(65_535)) && told.has(2, &Value::Text(text.clone()))
        })
        .await;
    assert!(told.has(0, &Value::Float(f64::from(0.1_f32))) && told.links.len() == 1);
    driver.stop().await;
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_with_the_reason_and_what_differs_is_told() {
    let server = machine();
    let (mut driver, writer) = start(server.address);
    driver.until("all values", |told| (0..5).all(|tag| told.last(tag).is_some())).await;
    let told = reason(write(&writer, 1, Value::Int(65_536)).await);
    assert!(told.contains("65536 is no UInt16"), "{told}");
    let told = reason(write(&writer, 3, Value::Int(1)).await);
    assert!(told.contains("the server refuses it"), "{told}");
    let told = reason(write(&writer, 99, Value::Int(1)).await);
    assert!(told.contains("no such tag"), "{told}");
    let differs = WriteOutcome::Differs { read_back: Some(Value::Int(5)) };
    assert_eq!(write(&writer, 4, Value::Int(6)).await, differs);
    let (told, _) = driver.stop().await;
    assert_eq!(told.links.len(), 1, "a refusal costs no session");
    assert!(reason(write(&writer, 4, Value::Int(6)).await).contains("the driver has ended"));
}

#[tokio::test]
async fn a_write_to_a_server_that_is_gone_is_refused_and_not_made_later() {
    let server = machine();
    let line = Line::to(server.address).await;
    let (mut driver, writer) = start(line.address);
    driver.until("all values", |told| (0..5).all(|tag| told.last(tag).is_some())).await;
    line.freeze();
    let begun = Instant::now();
    let told = reason(write(&writer, 1, Value::Int(7)).await);
    assert!(begun.elapsed() < Duration::from_secs(5), "{told} after {:?}", begun.elapsed());
    line.thaw();
    // Once the session is made anew, what was meant before must not happen.
    let told = driver.until("the session", |told| told.links.len() == 3 && told.has(1, &Value::Int(1))).await;
    assert_eq!(told.of(1).filter(|r| r.sample.value == Some(Value::Int(7))).count(), 0);
    driver.stop().await;
}
