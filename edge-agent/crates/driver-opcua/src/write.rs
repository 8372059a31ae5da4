//! Writes and calls of methods: one at a time, between two other requests of the session, and read back.
//!
//! A value is written in the type that the node has, without timestamps, which many servers refuse.

use std::sync::Arc;
use std::time::Duration;

use acquisition::{NodeReference, TagIndex, WriteOutcome};
use opcua::types::{
    AttributeId, DataValue, NodeId, NumericRange, ReadValueId, StatusCode, TimestampsToReturn, Variant,
    WriteValue,
};
use plant_model::{DataType, Value};
use service_kit::{Asker, Inbox, NoAnswer, Patience, Request as Waiting, handover};
use tracing::info;

use crate::driver::Driver;
use crate::encode::{encode, example};
use crate::error::OpcUaError;
use crate::link::Link;
use crate::{subscription, value};

/// So many writes may wait: people press buttons, programs that write all the time are not foreseen.
const WAITING_MAX: usize = 16;

/// A write that was not begun by then is not made at all: what was meant now must not happen later. What was
/// begun has a few requests, each of 2 s.
const PATIENCE: Patience = Patience { begin: Duration::from_secs(5), done: Duration::from_secs(12) };

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteRequest {
    /// The tag.
    pub tag: TagIndex,
    /// What it is to read afterwards.
    pub value: Value,
}

/// A method to be called (OPC UA Part 4, 5.12).
#[derive(Debug, Clone, PartialEq)]
pub struct CallRequest {
    /// The object that has it.
    pub object: NodeReference,
    /// The method.
    pub method: NodeReference,
    /// Its input arguments, in the types that the server says the method takes.
    pub arguments: Vec<Value>,
    /// The tag that shows what the call has done, and what it is to read within [`SHOWN_WITHIN`] afterwards.
    pub shows: Option<WriteRequest>,
}

/// How long a machine may take to show what a method has done: a contactor and its auxiliary contact.
pub const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// What a driver is asked for.
#[derive(Debug)]
pub(crate) enum Task {
    Write(WriteRequest),
    Call(CallRequest),
}

pub(crate) type Order = Waiting<Task, WriteOutcome>;

/// Hands writes to a driver.
#[derive(Debug, Clone)]
pub struct Writer(Asker<Task, WriteOutcome>);

/// The driver's end of a [`Writer`]; the default one never brings anything.
#[derive(Debug, Default)]
pub struct WriteQueue(pub(crate) Inbox<Task, WriteOutcome>);

/// A writer and the queue to start a driver with.
#[must_use]
pub fn write_queue() -> (Writer, WriteQueue) {
    let (asker, inbox) = handover(WAITING_MAX);
    (Writer(asker), WriteQueue(inbox))
}

impl Writer {
    /// Has a value written and read back; answers within 17 seconds.
    pub async fn write(&self, request: WriteRequest) -> WriteOutcome {
        self.ask(Task::Write(request)).await
    }

    /// Has a method called, and looks what it has done; answers within 17 seconds. Written means that the
    /// server said it was done, and the tag that shows it, if there is one, reads as it should.
    pub async fn call(&self, request: CallRequest) -> WriteOutcome {
        self.ask(Task::Call(request)).await
    }

    async fn ask(&self, task: Task) -> WriteOutcome {
        self.0.ask(task, PATIENCE).await.unwrap_or_else(|why| match why {
            NoAnswer::Full => WriteOutcome::refused("too many writes are waiting; try again later"),
            NoAnswer::Ended => WriteOutcome::refused("the driver has ended"),
            NoAnswer::GivenUp => WriteOutcome::refused("the server could not be reached in time"),
            NoAnswer::Cut => WriteOutcome::unknown("the driver ended while it was made"),
            NoAnswer::Silent => {
                WriteOutcome::unknown("the server did not answer; read the value before writing again")
            }
        })
    }
}

impl Driver {
    /// Makes a write or a call, unless it was given up. An error is one of the session.
    pub(crate) async fn make_write(&mut self, link: &mut Link, order: Order) -> Result<(), OpcUaError> {
        let Some((task, answer)) = order.begin() else { return Ok(()) };
        let made = match &task {
            Task::Write(request) => self.write(link, request).await,
            Task::Call(request) => self.call(link, request).await,
        };
        let (outcome, ended) = match made {
            Ok(outcome) => (outcome, Ok(())),
            Err(Interrupted { was_sent: false, error }) => {
                (WriteOutcome::refused(error.to_string()), Err(error))
            }
            Err(Interrupted { was_sent: true, error }) => {
                (WriteOutcome::unknown(error.to_string()), Err(error))
            }
        };
        info!(machine.id = %self.name, ?task, ?outcome, "a write");
        answer.tell(outcome);
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
        let held = self.read_typed(link, &node).await.map_err(Interrupted::before)?;
        let written = match encode(&request.value, &held) {
            Ok(written) => written,
            Err(reason) => return Ok(WriteOutcome::refused(&reason)),
        };
        if let Some(reason) =
            self.send_write(link, &node, written.clone()).await.map_err(Interrupted::after)?
        {
            return Ok(WriteOutcome::refused(&reason));
        }
        let read = self.read_values(link, vec![node.into()]).await.map_err(Interrupted::after)?;
        Ok(judge(&written, read.into_iter().next().unwrap_or_default(), item.data_type, self.now()))
    }

    /// The value of a node, or any of its type if it has none now.
    pub(crate) async fn read_typed(&mut self, link: &mut Link, node: &NodeId) -> Result<Variant, OpcUaError> {
        let data_type = ReadValueId {
            node_id: node.clone(),
            attribute_id: AttributeId::DataType as u32,
            ..ReadValueId::default()
        };
        let mut read = self.read_values(link, vec![node.clone().into(), data_type]).await?.into_iter();
        let value = read.next().and_then(|value| value.value);
        let data_type = read.next().and_then(|value| value.value);
        match (value, data_type) {
            (Some(value), _) if !matches!(value, Variant::Empty) => Ok(value),
            (_, Some(Variant::NodeId(data_type))) => Ok(example(&data_type)),
            (_, _) => Ok(Variant::Empty),
        }
    }

    pub(crate) async fn read_values(
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
pub(crate) struct Interrupted {
    was_sent: bool,
    error: OpcUaError,
}

impl Interrupted {
    pub(crate) const fn before(error: OpcUaError) -> Self {
        Self { was_sent: false, error }
    }

    pub(crate) const fn after(error: OpcUaError) -> Self {
        Self { was_sent: true, error }
    }
}

fn judge(written: &Variant, read: DataValue, data_type: DataType, at: acquisition::Instants) -> WriteOutcome {
    if read.value.as_ref() == Some(written) {
        return WriteOutcome::Written;
    }
    WriteOutcome::Differs { read_back: value::sample(read, data_type, at).value }
}

/// The server answered that it does not make such a request at all.
pub(crate) fn is_refused_whole(status: StatusCode) -> bool {
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
