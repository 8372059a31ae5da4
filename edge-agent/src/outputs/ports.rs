//! What outputs that switch machines are connected to: tags that are written and methods that are called.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use acquisition::{TagIndex, WriteOutcome};
use alarm_output::{Level, Order, Outcome, OutputPort, PortFuture};
use anyhow::{Context, Result};
use edge_config::{HeartbeatTag, MethodCall, MethodTarget, TagTarget};
use plant_model::{DataType, MachineId, Value};

/// The writers of the machines that are written to. A reload replaces them all, and who writes finds the new ones.
#[derive(Default)]
pub(crate) struct Writers(RwLock<HashMap<MachineId, Writer>>);

/// Writes to one machine.
#[derive(Clone)]
pub(crate) enum Writer {
    Modbus(driver_modbus::Writer),
    OpcUa(driver_opcua::Writer),
}

impl Writers {
    pub(crate) fn replace(&self, writers: HashMap<MachineId, Writer>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = writers;
    }

    /// The writer of a machine as it is connected now.
    pub(crate) fn of(&self, machine: &MachineId) -> Option<Writer> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(machine).cloned()
    }

    fn check(&self, machine: &MachineId) -> Result<Writer> {
        self.of(machine).with_context(|| format!("nothing writes to the machine {machine}"))
    }

    async fn write(&self, machine: &MachineId, tag: TagIndex, value: Value) -> WriteOutcome {
        match self.of(machine) {
            Some(writer) => writer.write(machine, tag, value).await,
            None => not_written(machine),
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

fn not_written(machine: &MachineId) -> WriteOutcome {
    WriteOutcome::refused(format!("nothing writes to the machine {machine} at present"))
}

impl Writer {
    /// Writes a value to a tag and reads it back.
    pub(crate) async fn write(&self, machine: &MachineId, tag: TagIndex, value: Value) -> WriteOutcome {
        match self {
            Self::Modbus(writer) => {
                writer.write(driver_modbus::WriteRequest { machine: machine.clone(), tag, value }).await
            }
            Self::OpcUa(writer) => writer.write(driver_opcua::WriteRequest { tag, value }).await,
        }
    }
}

/// A tag that is written and read back.
pub(super) struct TagPort {
    target: TagTarget,
    writers: Arc<Writers>,
}

impl TagPort {
    pub(super) fn new(target: TagTarget, writers: Arc<Writers>) -> Result<Self> {
        writers.check(&target.machine)?;
        Ok(Self { target, writers })
    }

    async fn carry_out(&self, order: &Order) -> WriteOutcome {
        let TagTarget { machine, tag, on, off, heartbeat } = &self.target;
        match order {
            Order::Drive(drive) if drive.level == Level::On => {
                self.writers.write(machine, *tag, on.clone()).await
            }
            Order::Drive(_) => self.writers.write(machine, *tag, off.clone()).await,
            Order::Beat(number) => self.writers.beat(machine, *heartbeat, *number).await,
        }
    }
}

/// A method for each level, and the tag that shows what it did.
pub(super) struct MethodPort {
    target: MethodTarget,
    writers: Arc<Writers>,
}

impl MethodPort {
    pub(super) fn new(target: MethodTarget, writers: Arc<Writers>) -> Result<Self> {
        match writers.check(&target.machine)? {
            Writer::OpcUa(_) => Ok(Self { target, writers }),
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
            Order::Beat(number) => self.writers.beat(machine, *heartbeat, *number).await,
        }
    }

    async fn call(&self, call: &MethodCall, shows: Option<(TagIndex, Value)>) -> WriteOutcome {
        let request = driver_opcua::CallRequest {
            object: self.target.object.clone(),
            method: call.method.clone(),
            arguments: call.arguments.clone(),
            shows: shows.map(|(tag, value)| driver_opcua::WriteRequest { tag, value }),
        };
        match self.writers.of(&self.target.machine) {
            Some(Writer::OpcUa(session)) => session.call(request).await,
            Some(Writer::Modbus(_)) | None => not_written(&self.target.machine),
        }
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
