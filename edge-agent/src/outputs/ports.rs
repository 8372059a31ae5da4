//! What outputs that switch machines are connected to: tags that are written and methods that are called.

use std::collections::HashMap;

use acquisition::{ModbusAddress, TagIndex, WriteOutcome, WritePath};
use alarm_output::{Level, Order, Outcome, OutputPort, PortFuture};
use anyhow::{Context, Result};
use edge_config::{AgentConfig, Connection, HeartbeatTag, MethodCall, MethodTarget, TagTarget};
use plant_model::{DataType, MachineId, Value};

/// The writers of the machines that outputs write to.
#[derive(Default)]
pub(crate) struct Writers(HashMap<MachineId, Writer>);

#[derive(Clone)]
enum Writer {
    Modbus(driver_modbus::Writer),
    OpcUa(driver_opcua::Writer),
}

/// The other ends, for the drivers. What no output writes to has none and cannot be written to at all.
#[derive(Default)]
pub(crate) struct WriteQueues {
    /// For the connections of the polls.
    pub shared: HashMap<ModbusAddress, driver_modbus::WriteQueue>,
    /// For connections of their own.
    pub own: Vec<OwnConnection>,
    /// For OPC UA sessions.
    pub sessions: HashMap<MachineId, driver_opcua::WriteQueue>,
}

/// A machine that is written over a connection of its own.
pub(crate) struct OwnConnection {
    pub connection: acquisition::ModbusConnection,
    pub machine: MachineId,
    pub queue: driver_modbus::WriteQueue,
}

/// The writers for the outputs of a configuration, and what the drivers need for them.
pub(crate) fn writers(config: &AgentConfig) -> (Writers, WriteQueues) {
    let (mut writers, mut queues) = (Writers::default(), WriteQueues::default());
    let mut shared: HashMap<ModbusAddress, driver_modbus::Writer> = HashMap::new();
    for id in config.outputs.iter().filter_map(|output| output.target.machine()) {
        let Some(machine) = config.machines.iter().find(|m| m.id == *id) else { continue };
        if writers.0.contains_key(id) {
            continue;
        }
        let writer = match (&machine.connection, config.write_path(machine)) {
            (Connection::Modbus(connection), WritePath::Own) => {
                let (writer, queue) = driver_modbus::write_queue();
                let (connection, machine) = (connection.clone(), id.clone());
                queues.own.push(OwnConnection { connection, machine, queue });
                Writer::Modbus(writer)
            }
            (Connection::Modbus(connection), WritePath::Shared) => {
                let address = connection.address().clone();
                let writer = shared.entry(address.clone()).or_insert_with(|| {
                    let (writer, queue) = driver_modbus::write_queue();
                    queues.shared.insert(address, queue);
                    writer
                });
                Writer::Modbus(writer.clone())
            }
            (Connection::OpcUa(_), _) => {
                let (writer, queue) = driver_opcua::write_queue();
                queues.sessions.insert(id.clone(), queue);
                Writer::OpcUa(writer)
            }
            (Connection::Gateway, _) => continue,
        };
        writers.0.insert(id.clone(), writer);
    }
    (writers, queues)
}

impl Writers {
    fn of(&self, machine: &MachineId) -> Result<Writer> {
        self.0.get(machine).cloned().with_context(|| format!("nothing writes to the machine {machine}"))
    }
}

impl Writer {
    async fn write(&self, machine: &MachineId, tag: TagIndex, value: Value) -> WriteOutcome {
        match self {
            Self::Modbus(writer) => {
                writer.write(driver_modbus::WriteRequest { machine: machine.clone(), tag, value }).await
            }
            Self::OpcUa(writer) => writer.write(driver_opcua::WriteRequest { tag, value }).await,
        }
    }

    /// Writes the number of a beat in the way of the tag.
    async fn beat(&self, machine: &MachineId, tag: Option<HeartbeatTag>, number: u16) -> WriteOutcome {
        let Some(HeartbeatTag { tag, data_type }) = tag else {
            return WriteOutcome::refused("no heartbeat_tag is configured");
        };
        let value = match data_type {
            DataType::Bool => Value::Bool(number % 2 == 1),
            DataType::Int | DataType::Float | DataType::Text => Value::Int(i64::from(number)),
        };
        self.write(machine, tag, value).await
    }
}

/// A tag that is written and read back.
pub(super) struct TagPort {
    target: TagTarget,
    writer: Writer,
}

impl TagPort {
    pub(super) fn new(target: TagTarget, writers: &Writers) -> Result<Self> {
        Ok(Self { writer: writers.of(&target.machine)?, target })
    }

    async fn carry_out(&self, order: &Order) -> WriteOutcome {
        let TagTarget { machine, tag, on, off, heartbeat } = &self.target;
        match order {
            Order::Drive(drive) if drive.level == Level::On => {
                self.writer.write(machine, *tag, on.clone()).await
            }
            Order::Drive(_) => self.writer.write(machine, *tag, off.clone()).await,
            Order::Beat(number) => self.writer.beat(machine, *heartbeat, *number).await,
        }
    }
}

/// A method for each level, and the tag that shows what it did.
pub(super) struct MethodPort {
    target: MethodTarget,
    session: driver_opcua::Writer,
}

impl MethodPort {
    pub(super) fn new(target: MethodTarget, writers: &Writers) -> Result<Self> {
        match writers.of(&target.machine)? {
            Writer::OpcUa(session) => Ok(Self { target, session }),
            Writer::Modbus(_) => anyhow::bail!("{} has no methods", target.machine),
        }
    }

    async fn carry_out(&self, order: &Order) -> WriteOutcome {
        let MethodTarget { machine, on, off, state, heartbeat, .. } = &self.target;
        let state = state.as_ref();
        match order {
            Order::Drive(drive) if drive.level == Level::On => {
                self.call(on, state.map(|s| (s.tag, s.on.clone()))).await
            }
            Order::Drive(_) => self.call(off, state.map(|s| (s.tag, s.off.clone()))).await,
            Order::Beat(number) => {
                Writer::OpcUa(self.session.clone()).beat(machine, *heartbeat, *number).await
            }
        }
    }

    async fn call(&self, call: &MethodCall, shows: Option<(TagIndex, Value)>) -> WriteOutcome {
        let request = driver_opcua::CallRequest {
            object: self.target.object.clone(),
            method: call.method.clone(),
            arguments: call.arguments.clone(),
            shows: shows.map(|(tag, value)| driver_opcua::WriteRequest { tag, value }),
        };
        self.session.call(request).await
    }
}

impl OutputPort for TagPort {
    fn carry_out<'a>(&'a self, order: &'a Order) -> PortFuture<'a> {
        Box::pin(async move { outcome(Self::carry_out(self, order).await) })
    }
}

impl OutputPort for MethodPort {
    fn carry_out<'a>(&'a self, order: &'a Order) -> PortFuture<'a> {
        Box::pin(async move { outcome(Self::carry_out(self, order).await) })
    }
}

fn outcome(written: WriteOutcome) -> Outcome {
    match written {
        WriteOutcome::Written => Outcome::Confirmed,
        WriteOutcome::Differs { read_back } => {
            let read_back = read_back.map_or_else(|| "no value".to_owned(), |value| value.to_string());
            Outcome::Differs { read_back }
        }
        WriteOutcome::Refused { reason } => Outcome::Refused { reason },
        WriteOutcome::Unknown { reason } => Outcome::Unknown { reason },
    }
}
