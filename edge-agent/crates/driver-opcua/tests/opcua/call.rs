//! Calls of methods in a running session.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acquisition::TagIndex;
use driver_opcua::{CallRequest, SHOWN_WITHIN, WriteOutcome, WriteRequest, Writer, write_queue};
use opcua::types::{DataTypeId, StatusCode, Variant};
use plant_model::{DataType, Value};

use crate::support::{NAMESPACE, Running, Server, connection, items};

const NODES: [(&str, DataType); 2] = [("lamp", DataType::Bool), ("dead_lamp", DataType::Bool)];

type Calls = Arc<Mutex<Vec<Vec<Variant>>>>;

/// `light(on: Boolean, watts: Float)` switches the lamp 300 ms later, `start()` does nothing visible, `locked()` is
/// refused.
fn machine() -> (Server, Calls) {
    let server = Server::start(&[("lamp", Variant::from(false)), ("dead_lamp", Variant::from(false))]);
    let (calls, switch) = (Calls::default(), Arc::new(server.setter("lamp")));
    let log = Arc::clone(&calls);
    server.add_method("light", &[("on", DataTypeId::Boolean), ("watts", DataTypeId::Float)], move |values| {
        let [on, _] = values else { return StatusCode::BadArgumentsMissing };
        log.lock().expect("unpoisoned").push(values.to_vec());
        let (switch, on) = (Arc::clone(&switch), on.clone());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            switch(on);
        });
        StatusCode::Good
    });
    server.add_method("start", &[], |_| StatusCode::Good);
    server.add_method("locked", &[], |_| StatusCode::BadInvalidState);
    (server, calls)
}

async fn start(server: &Server) -> (Running, Writer) {
    let (writer, queue) = write_queue();
    let connection = connection(server.address, items(&NODES));
    let mut driver = Running::start_with_writes(connection, Path::new("/nonexistent"), queue);
    driver.until("all values", |told| (0..2).all(|tag| told.last(tag).is_some())).await;
    (driver, writer)
}

fn call(method: &str, arguments: &[Value], shows: Option<(u16, bool)>) -> CallRequest {
    let shows = shows.map(|(tag, on)| WriteRequest { tag: TagIndex(tag), value: Value::Bool(on) });
    CallRequest {
        object: "i=85".parse().expect("the objects folder"),
        method: format!("nsu={NAMESPACE};s={method}").parse().expect("valid"),
        arguments: arguments.to_vec(),
        shows,
    }
}

#[tokio::test]
async fn d7_a_method_gets_its_arguments_in_its_types_and_what_it_did_is_awaited() {
    let (server, calls) = machine();
    let (driver, writer) = start(&server).await;
    let arguments = [Value::Bool(true), Value::Int(40)];
    assert_eq!(writer.call(call("light", &arguments, Some((0, true)))).await, WriteOutcome::Written);
    let expected = vec![Variant::Boolean(true), Variant::Float(40.0)];
    assert_eq!(*calls.lock().expect("unpoisoned"), [expected]);
    assert_eq!(writer.call(call("start", &[], None)).await, WriteOutcome::Written);
    let (told, _) = driver.stop().await;
    assert_eq!(told.links.len(), 1, "one session did it all");
}

#[tokio::test]
async fn d7_a_call_that_shows_nothing_differs_and_one_that_is_refused_says_why() {
    let (server, calls) = machine();
    let (driver, writer) = start(&server).await;
    let begun = Instant::now();
    let arguments = [Value::Bool(true), Value::Int(40)];
    let outcome = writer.call(call("light", &arguments, Some((1, true)))).await;
    assert_eq!(outcome, WriteOutcome::Differs { read_back: Some(Value::Bool(false)) });
    assert!(begun.elapsed() >= SHOWN_WITHIN, "it was given time: {:?}", begun.elapsed());
    for (request, said) in [
        (call("locked", &[], None), "BadInvalidState"),
        (call("nothing", &[], None), "check object_id"),
        (call("light", &[Value::Bool(true)], None), "takes 2 arguments (on, watts), 1 are configured"),
        (call("light", &[Value::Int(7), Value::Int(1)], None), "argument on: 7 is no Boolean"),
        (call("light", &[], None), "BadArgumentsMissing; configure as many"),
        (call("start", &[Value::Int(1)], None), "takes no arguments"),
    ] {
        let outcome = writer.call(request).await;
        let WriteOutcome::Refused { reason } = outcome else { panic!("{said}: {outcome:?}") };
        assert!(reason.contains(said), "{said}: {reason}");
    }
    assert_eq!(calls.lock().expect("unpoisoned").len(), 1, "what does not fit is not called");
    let (told, _) = driver.stop().await;
    assert_eq!(told.links.len(), 1, "a refusal costs no session");
}
