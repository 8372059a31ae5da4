//! Writes: one at a time, between two other requests of the session, and read back.
//!
//! A value is written in the type that the node has, without timestamps, which many servers refuse.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use acquisition::{TagIndex, WriteOutcome};
use opcua::types::{
    AttributeId, DataValue, Identifier, NodeId, NumericRange, ReadValueId, StatusCode, TimestampsToReturn,
    UAString, Variant, WriteValue,
};
use plant_model::{DataType, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::info;

use crate::driver::Driver;
use crate::error::OpcUaError;
use crate::link::Link;
use crate::{subscription, value};

/// So many writes may wait: people press buttons, programs that write all the time are not foreseen.
const WAITING_MAX: usize = 16;

/// A write that was not begun by then is not made at all: what was meant now must not happen later.
const BEGIN_LIMIT: Duration = Duration::from_secs(5);

/// What three requests may take, each of 2 s.
const DONE_LIMIT: Duration = Duration::from_secs(7);

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteRequest {
    /// The tag.
    pub tag: TagIndex,
    /// What it is to read afterwards.
    pub value: Value,
}

/// Hands writes to a driver.
#[derive(Debug, Clone)]
pub struct Writer(mpsc::Sender<Order>);

/// The driver's end of a [`Writer`].
#[derive(Debug, Default)]
pub struct WriteQueue(Option<mpsc::Receiver<Order>>);

/// A writer and the queue to start a driver with.
#[must_use]
pub fn write_queue() -> (Writer, WriteQueue) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Writer(sender), WriteQueue(Some(receiver)))
}

#[derive(Debug)]
pub(crate) struct Order {
    request: WriteRequest,
    outcome: oneshot::Sender<WriteOutcome>,
    /// Set by whoever comes first: the driver that begins, or the writer that gives up.
    is_decided: Arc<AtomicBool>,
}

impl Order {
    fn decide(&self) -> bool {
        !self.is_decided.swap(true, Ordering::AcqRel)
    }

    /// Whether it may still be made; then nobody gives it up any more.
    fn begin(&self) -> bool {
        !self.outcome.is_closed() && self.decide()
    }

    pub(crate) fn refuse(self, reason: &str) {
        if self.begin() {
            self.tell(WriteOutcome::refused(reason));
        }
    }

    fn tell(self, outcome: WriteOutcome) {
        // Who asked may have stopped waiting.
        let _ = self.outcome.send(outcome);
    }
}

impl Writer {
    /// Has a value written and read back; answers within 12 seconds.
    pub async fn write(&self, request: WriteRequest) -> WriteOutcome {
        self.write_begun_within(BEGIN_LIMIT, request).await
    }

    async fn write_begun_within(&self, limit: Duration, request: WriteRequest) -> WriteOutcome {
        let (outcome, mut answer) = oneshot::channel();
        let is_decided = Arc::new(AtomicBool::new(false));
        let order = Order { request, outcome, is_decided: Arc::clone(&is_decided) };
        if let Err(error) = self.0.try_send(order) {
            return match error {
                mpsc::error::TrySendError::Full(_) => {
                    WriteOutcome::refused("too many writes are waiting; try again later")
                }
                mpsc::error::TrySendError::Closed(_) => WriteOutcome::refused("the driver has ended"),
            };
        }
        let mut told = timeout(limit, &mut answer).await;
        if told.is_err() {
            if !is_decided.swap(true, Ordering::AcqRel) {
                return WriteOutcome::refused("the server could not be reached in time");
            }
            told = timeout(DONE_LIMIT, &mut answer).await;
        }
        match told {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) if is_decided.load(Ordering::Acquire) => {
                WriteOutcome::unknown("the driver ended while it was made")
            }
            Ok(Err(_)) => WriteOutcome::refused("the driver ended before it was sent"),
            Err(_) => WriteOutcome::unknown("the server did not answer; read the value before writing again"),
        }
    }
}

impl WriteQueue {
    /// The next write; none ever if nobody can send one.
    pub(crate) async fn next(&mut self) -> Order {
        if let Some(receiver) = &mut self.0 {
            if let Some(order) = receiver.recv().await {
                return order;
            }
            self.0 = None;
        }
        pending().await
    }
}

impl Driver {
    /// Makes a write, unless it was given up. An error is one of the session.
    pub(crate) async fn make_write(&mut self, link: &mut Link, order: Order) -> Result<(), OpcUaError> {
        if !order.begin() {
            return Ok(());
        }
        let request = order.request.clone();
        let (outcome, ended) = match self.write(link, &request).await {
            Ok(outcome) => (outcome, Ok(())),
            Err(Interrupted { was_sent: false, error }) => {
                (WriteOutcome::refused(error.to_string()), Err(error))
            }
            Err(Interrupted { was_sent: true, error }) => {
                (WriteOutcome::unknown(error.to_string()), Err(error))
            }
        };
        info!(machine.id = %self.name, tag = request.tag.0, value = %request.value, ?outcome, "write");
        order.tell(outcome);
        ended
    }

    async fn write(&mut self, link: &mut Link, request: &WriteRequest) -> Result<WriteOutcome, Interrupted> {
        let connection = Arc::clone(&self.connection);
        let Some(item) = connection.items().get(request.tag.as_usize()) else {
            return Ok(WriteOutcome::refused("there is no such tag"));
        };
        let Some(node) = subscription::resolve(&item.node, &self.namespaces) else {
            return Ok(WriteOutcome::refused("the server has no such namespace"));
        };
        let before = |error| Interrupted { was_sent: false, error };
        let after = |error| Interrupted { was_sent: true, error };
        let held = self.read_typed(link, &node).await.map_err(before)?;
        let written = match encode(&request.value, &held) {
            Ok(written) => written,
            Err(reason) => return Ok(WriteOutcome::refused(&reason)),
        };
        if let Some(reason) = self.send_write(link, &node, written.clone()).await.map_err(after)? {
            return Ok(WriteOutcome::refused(&reason));
        }
        let read = self.read_values(link, vec![node.into()]).await.map_err(after)?;
        Ok(judge(&written, read.into_iter().next().unwrap_or_default(), item.data_type, self.now()))
    }

    /// The value of a node, or any of its type if it has none now.
    async fn read_typed(&mut self, link: &mut Link, node: &NodeId) -> Result<Variant, OpcUaError> {
        let data_type = ReadValueId {
            node_id: node.clone(),
            attribute_id: AttributeId::DataType as u32,
            ..ReadValueId::default()
        };
        let mut read = self.read_values(link, vec![node.clone().into(), data_type]).await?.into_iter();
        let value = read.next().and_then(|value| value.value);
        let data_type = read.next().and_then(|value| value.value);
        match value {
            Some(value) if !matches!(value, Variant::Empty) => Ok(value),
            Some(_) | None => Ok(data_type.map_or(Variant::Empty, |data_type| example(&data_type))),
        }
    }

    async fn read_values(
        &mut self,
        link: &mut Link,
        nodes: Vec<ReadValueId>,
    ) -> Result<Vec<DataValue>, OpcUaError> {
        let session = Arc::clone(&link.session);
        self.request(link, "read what is written", session.read(&nodes, TimestampsToReturn::Source, 0.0))
            .await
    }

    /// Why the server does not take it, if it says so.
    async fn send_write(
        &mut self,
        link: &mut Link,
        node: &NodeId,
        written: Variant,
    ) -> Result<Option<String>, OpcUaError> {
        let values = [WriteValue {
            node_id: node.clone(),
            attribute_id: AttributeId::Value as u32,
            index_range: NumericRange::None,
            value: DataValue::value_only(written),
        }];
        let session = Arc::clone(&link.session);
        let status = match self.request(link, "write a value", session.write(&values)).await {
            Ok(answer) => answer.first().copied().unwrap_or(StatusCode::BadUnexpectedError),
            Err(OpcUaError::Request { cause, .. }) if is_refused_whole(cause.status()) => cause.status(),
            Err(error) => return Err(error),
        };
        Ok(status.is_bad().then(|| format!("the server refuses it: {status}{}", fix(status))))
    }
}

/// The session failed in the middle of a write.
struct Interrupted {
    was_sent: bool,
    error: OpcUaError,
}

fn judge(written: &Variant, read: DataValue, data_type: DataType, at: acquisition::Instants) -> WriteOutcome {
    if read.value.as_ref() == Some(written) {
        return WriteOutcome::Written;
    }
    WriteOutcome::Differs { read_back: value::sample(read, data_type, at).value }
}

/// The server answered that it does not make such a request at all.
fn is_refused_whole(status: StatusCode) -> bool {
    [
        StatusCode::BadServiceUnsupported,
        StatusCode::BadNotSupported,
        StatusCode::BadNotImplemented,
        StatusCode::BadUserAccessDenied,
    ]
    .contains(&status)
}

const fn fix(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BadNotWritable => "; the node is read-only",
        StatusCode::BadUserAccessDenied => "; let the configured user write it, in the server",
        StatusCode::BadTypeMismatch => "; the node wants another type",
        StatusCode::BadOutOfRange => "; the node allows other values",
        _ => "",
    }
}

/// A value of a built-in type (OPC UA Part 6, 5.1.2) that can be written.
fn example(data_type: &Variant) -> Variant {
    let Variant::NodeId(id) = data_type else { return Variant::Empty };
    match (id.namespace, &id.identifier) {
        (0, Identifier::Numeric(1)) => Variant::Boolean(false),
        (0, Identifier::Numeric(2)) => Variant::SByte(0),
        (0, Identifier::Numeric(3)) => Variant::Byte(0),
        (0, Identifier::Numeric(4)) => Variant::Int16(0),
        (0, Identifier::Numeric(5)) => Variant::UInt16(0),
        (0, Identifier::Numeric(6)) => Variant::Int32(0),
        (0, Identifier::Numeric(7)) => Variant::UInt32(0),
        (0, Identifier::Numeric(8)) => Variant::Int64(0),
        (0, Identifier::Numeric(9)) => Variant::UInt64(0),
        (0, Identifier::Numeric(10)) => Variant::Float(0.0),
        (0, Identifier::Numeric(11)) => Variant::Double(0.0),
        (0, Identifier::Numeric(12)) => Variant::String(UAString::null()),
        _ => Variant::Empty,
    }
}

/// The value in the type of what the node holds.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; nothing else is written")]
fn encode(value: &Value, held: &Variant) -> Result<Variant, String> {
    let range = |kind: &str| format!("{value} is no {kind}, which the node holds");
    match held {
        Variant::Boolean(_) => match value {
            Value::Bool(truth) => Ok(Variant::Boolean(*truth)),
            Value::Int(n @ 0..=1) => Ok(Variant::Boolean(*n == 1)),
            Value::Int(_) | Value::Float(_) | Value::Text(_) => Err(range("Boolean")),
        },
        Variant::SByte(_) => integer(value).map(Variant::SByte).ok_or_else(|| range("SByte")),
        Variant::Byte(_) => integer(value).map(Variant::Byte).ok_or_else(|| range("Byte")),
        Variant::Int16(_) => integer(value).map(Variant::Int16).ok_or_else(|| range("Int16")),
        Variant::UInt16(_) => integer(value).map(Variant::UInt16).ok_or_else(|| range("UInt16")),
        Variant::Int32(_) => integer(value).map(Variant::Int32).ok_or_else(|| range("Int32")),
        Variant::UInt32(_) => integer(value).map(Variant::UInt32).ok_or_else(|| range("UInt32")),
        Variant::Int64(_) => integer(value).map(Variant::Int64).ok_or_else(|| range("Int64")),
        Variant::UInt64(_) => unsigned(value).map(Variant::UInt64).ok_or_else(|| range("UInt64")),
        Variant::Float(_) => single(value).map(Variant::Float).ok_or_else(|| range("Float")),
        Variant::Double(_) => double(value).map(Variant::Double).ok_or_else(|| range("Double")),
        Variant::String(_) => match value {
            Value::Text(text) => Ok(Variant::String(UAString::from(text.as_ref()))),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => Err(range("String")),
        },
        Variant::Empty => Err("the type of the node is not known".to_owned()),
        other => Err(format!("the node holds {:?}, which cannot be written", other.type_id())),
    }
}

fn integer<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    let number = match value {
        Value::Bool(truth) => i64::from(*truth),
        Value::Int(number) => *number,
        Value::Float(number) => value::whole(*number)?,
        Value::Text(_) => return None,
    };
    T::try_from(number).ok()
}

/// Beyond the range of signed integers a number travels as text.
fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Text(text) => text.parse().ok(),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => integer(value),
    }
}

fn double(value: &Value) -> Option<f64> {
    let is_number = !matches!(value, Value::Bool(_));
    value.as_f64().filter(|number| is_number && number.is_finite())
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest number of that type is meant")]
fn single(value: &Value) -> Option<f32> {
    double(value).map(|number| number as f32).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_in_the_type_of_the_node_or_not_at_all() {
        let text = |t: &str| Value::Text(t.into());
        for (value, held, written) in [
            (Value::Int(1), Variant::Boolean(false), Some(Variant::Boolean(true))),
            (Value::Int(2), Variant::Boolean(false), None),
            (Value::Int(-129), Variant::SByte(0), None),
            (Value::Int(255), Variant::Byte(0), Some(Variant::Byte(255))),
            (Value::Int(65_536), Variant::UInt16(0), None),
            (Value::Float(4.0), Variant::Int32(0), Some(Variant::Int32(4))),
            (Value::Float(4.5), Variant::Int32(0), None),
            (Value::Int(i64::MIN), Variant::Int64(0), Some(Variant::Int64(i64::MIN))),
            (Value::Int(-1), Variant::UInt64(0), None),
            (text("18446744073709551615"), Variant::UInt64(0), Some(Variant::UInt64(u64::MAX))),
            (Value::Float(0.1), Variant::Float(0.0), Some(Variant::Float(0.1))),
            (Value::Float(1e300), Variant::Float(0.0), None),
            (Value::Float(f64::NAN), Variant::Double(0.0), None),
            (Value::Int(7), Variant::Double(0.0), Some(Variant::Double(7.0))),
            (Value::Bool(true), Variant::Double(0.0), None),
            (text("P-1"), Variant::String(UAString::null()), Some(Variant::from("P-1"))),
            (Value::Int(7), Variant::String(UAString::null()), None),
            (Value::Int(7), Variant::Empty, None),
            (Value::Int(7), Variant::from(vec![1_i32]), None),
        ] {
            assert_eq!(encode(&value, &held).ok(), written, "{value:?} into {held:?}");
        }
    }

    #[tokio::test]
    async fn a_write_that_its_asker_gave_up_is_not_made() {
        let (writer, mut queue) = write_queue();
        let request = WriteRequest { tag: TagIndex(0), value: Value::Int(1) };
        let asking = writer.write(request);
        assert!(timeout(Duration::from_millis(1), asking).await.is_err(), "dropped while it waits");
        assert!(!queue.next().await.begin());
    }

    #[tokio::test]
    async fn a_write_is_given_up_by_its_writer_or_begun_by_the_driver_never_both() {
        let (writer, mut queue) = write_queue();
        let request = WriteRequest { tag: TagIndex(0), value: Value::Int(1) };
        let late = writer.write_begun_within(Duration::from_millis(1), request.clone()).await;
        assert!(matches!(late, WriteOutcome::Refused { .. }), "{late:?}");
        assert!(!queue.next().await.begin(), "too late");

        let driver = async {
            let order = queue.next().await;
            assert!(order.begin());
            tokio::time::sleep(Duration::from_millis(300)).await;
            order.tell(WriteOutcome::Written);
        };
        let (outcome, ()) =
            tokio::join!(writer.write_begun_within(Duration::from_millis(200), request), driver);
        assert_eq!(outcome, WriteOutcome::Written, "what was begun is waited for");
    }
}
