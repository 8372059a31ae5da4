//! The outputs of alarms: what each is connected to, and their tasks. Without `[[outputs]]` there is none.
//!
//! Outputs that write tags run on the drivers' scheduler, beside the polls of the same connection; those
//! that talk to web servers or run programs run on the uplink's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use acquisition::{ModbusAddress, TagIndex};
use alarm_output::{Level, Order, Outcome, Output, OutputPort, PortFuture};
use alarm_output_driver::{Commands, OutputBoard, OutputFeed, OutputTask, STOP_MAX, Webhook};
use anyhow::{Context, Result};
use driver_modbus::{WriteOutcome, WriteRequest, Writer};
use edge_config::{AgentConfig, Connection, MachineConfig, OutputConfig, OutputTarget, TagTarget};
use plant_model::{DataType, Value};
use service_kit::Clock;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// The writers of the connections that outputs write to.
pub(crate) type Writers = HashMap<ModbusAddress, Writer>;

/// The outputs of a gateway, before their tasks run.
pub(crate) struct Outputs {
    /// Where decisions are left for them.
    pub feed: Arc<OutputFeed>,
    /// How each stands.
    pub boards: Vec<Arc<OutputBoard>>,
    ready: Vec<Ready>,
}

struct Ready {
    target: OutputTarget,
    output: Output,
    inbox: Arc<alarm_output_driver::Inbox>,
    board: Arc<OutputBoard>,
}

impl Outputs {
    pub(crate) fn new(configured: &[OutputConfig]) -> Self {
        let mut feed = OutputFeed::default();
        let mut ready = |config: &OutputConfig| {
            let inbox = feed.open(&config.rule);
            let output = Output::new(config.rule.clone());
            let board = Arc::new(OutputBoard::new(&output));
            Ready { target: config.target.clone(), output, inbox, board }
        };
        let ready: Vec<Ready> = configured.iter().map(&mut ready).collect();
        let boards = ready.iter().map(|r| Arc::clone(&r.board)).collect();
        Self { feed: Arc::new(feed), boards, ready }
    }

    /// Spawns a task for each. They end on `stop`, within [`STOP_MAX`]; the drivers must live until then.
    pub(crate) fn spawn(
        self,
        machines: &[MachineConfig],
        writers: &Writers,
        (sense, clock, stop): (&Handle, Clock, &CancellationToken),
    ) -> Result<JoinSet<()>> {
        let mut tasks = JoinSet::new();
        for Ready { target, output, inbox, board } in self.ready {
            let id = output.rule().id.clone();
            let is_tag = matches!(target, OutputTarget::Tag(_));
            let port: Box<dyn OutputPort> = match target {
                OutputTarget::Tag(target) => Box::new(TagPort::new(target, machines, writers)?),
                OutputTarget::Webhook(target) => {
                    Box::new(Webhook::new(id.clone(), target, clock).with_context(|| format!("output {id}"))?)
                }
                OutputTarget::Command { on, off, timeout } => Box::new(Commands::new(on, off, timeout)),
            };
            let task = OutputTask { output, port, inbox, board, clock, stop: stop.clone() };
            let task = alarm_output_driver::run(task);
            if is_tag {
                tasks.spawn_on(task, sense)
            } else {
                tasks.spawn(task)
            };
        }
        Ok(tasks)
    }
}

/// Waits until all outputs are safe, or their time is over.
pub(crate) async fn join(mut outputs: JoinSet<()>) {
    let all = async {
        while let Some(ended) = outputs.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error = %error, "an output panicked");
            }
        }
    };
    if tokio::time::timeout(STOP_MAX + Duration::from_secs(1), all).await.is_err() {
        tracing::error!("some outputs did not end in time and may not be safe");
    }
}

/// The addresses that outputs write to.
pub(crate) fn written(config: &AgentConfig) -> impl Iterator<Item = &ModbusAddress> {
    let machines = config.outputs.iter().filter_map(|output| match &output.target {
        OutputTarget::Tag(target) => config.machines.iter().find(|m| m.id == target.machine),
        OutputTarget::Webhook(_) | OutputTarget::Command { .. } => None,
    });
    machines.filter_map(address)
}

fn address(machine: &MachineConfig) -> Option<&ModbusAddress> {
    match &machine.connection {
        Connection::Modbus(connection) => Some(connection.address()),
        Connection::OpcUa(_) => None,
    }
}

/// A tag of a Modbus machine, written between two polls and read back.
struct TagPort {
    target: TagTarget,
    writer: Writer,
}

impl TagPort {
    fn new(target: TagTarget, machines: &[MachineConfig], writers: &Writers) -> Result<Self> {
        let machine = machines.iter().find(|m| m.id == target.machine);
        let writer = machine.and_then(address).and_then(|address| writers.get(address));
        let writer = writer.with_context(|| format!("nothing writes to the machine {}", target.machine))?;
        Ok(Self { writer: writer.clone(), target })
    }

    /// The tag and the value of an order.
    fn what(&self, order: &Order) -> Option<(TagIndex, Value)> {
        let target = &self.target;
        match order {
            Order::Drive(drive) if drive.level == Level::On => Some((target.tag, target.on.clone())),
            Order::Drive(_) => Some((target.tag, target.off.clone())),
            Order::Beat(number) => {
                let (tag, data_type) = target.heartbeat?;
                let value = match data_type {
                    DataType::Bool => Value::Bool(number % 2 == 1),
                    DataType::Int | DataType::Float | DataType::Text => Value::Int(i64::from(*number)),
                };
                Some((tag, value))
            }
        }
    }

    async fn write(&self, order: &Order) -> Outcome {
        let Some((tag, value)) = self.what(order) else {
            return Outcome::Refused { reason: "no tag is configured for it".to_owned() };
        };
        let request = WriteRequest { machine: self.target.machine.clone(), tag, value };
        match self.writer.write(request).await {
            WriteOutcome::Written => Outcome::Confirmed,
            WriteOutcome::Differs { read_back } => {
                let read_back = read_back.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
                Outcome::Differs { read_back }
            }
            WriteOutcome::Refused { reason } => Outcome::Refused { reason },
            WriteOutcome::Unknown { reason } => Outcome::Unknown { reason },
        }
    }
}

impl OutputPort for TagPort {
    fn carry_out<'a>(&'a self, order: &'a Order) -> PortFuture<'a> {
        Box::pin(self.write(order))
    }
}

#[cfg(test)]
mod tests;
