//! Writes: one at a time, between two reads, and read back.

use std::time::Duration;

use acquisition::{PollBlock, RegisterTable, TagIndex, WriteOutcome};
use plant_model::{MachineId, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_modbus::{Request, Response};

use crate::client::Client;
use crate::error::ModbusError;
use crate::unit::Station;

/// So many writes may wait on one connection: people press buttons, programs that write all the time
/// are not foreseen.
const WAITING_MAX: usize = 16;

/// A write that was not made by then is not made at all: what was meant now must not happen later.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteRequest {
    /// The machine, one of the driver's.
    pub machine: MachineId,
    /// The tag.
    pub tag: TagIndex,
    /// What it is to read afterwards.
    pub value: Value,
}

pub(crate) struct Order {
    pub(crate) request: WriteRequest,
    pub(crate) outcome: oneshot::Sender<WriteOutcome>,
}

/// Hands writes to a driver.
#[derive(Debug, Clone)]
pub struct Writer(mpsc::Sender<Order>);

/// The driver's end of a [`Writer`].
#[derive(Debug)]
pub struct WriteQueue(mpsc::Receiver<Order>);

/// A writer and the queue to start a driver with.
#[must_use]
pub fn write_queue() -> (Writer, WriteQueue) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (Writer(sender), WriteQueue(receiver))
}

impl Writer {
    /// Has a value written and read back; answers within 5 seconds.
    pub async fn write(&self, request: WriteRequest) -> WriteOutcome {
        let (outcome, mut answer) = oneshot::channel();
        if let Err(error) = self.0.try_send(Order { request, outcome }) {
            return match error {
                mpsc::error::TrySendError::Full(_) => {
                    WriteOutcome::refused("too many writes are waiting; try again later")
                }
                mpsc::error::TrySendError::Closed(_) => WriteOutcome::refused("the driver has ended"),
            };
        }
        match timeout(WRITE_LIMIT, &mut answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => WriteOutcome::refused("the driver ended before it was sent"),
            Err(_) => {
                // From here on the driver drops it, unless it has just begun.
                answer.close();
                let reason = "the machine could not be reached in time; read the value before writing again";
                answer.try_recv().unwrap_or(WriteOutcome::unknown(reason))
            }
        }
    }
}

impl WriteQueue {
    pub(crate) async fn next(&mut self) -> Option<Order> {
        self.0.recv().await
    }

    pub(crate) fn try_next(&mut self) -> Option<Order> {
        self.0.try_recv().ok()
    }
}

/// A write that passed all checks.
pub(crate) struct Prepared {
    pub(crate) block: PollBlock,
    words: Vec<u16>,
    registers: Registers,
}

/// Which function writes a single register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registers {
    /// The one for a single register (6).
    Fitting,
    /// The one for several (16).
    Several,
}

impl Prepared {
    pub(crate) fn new(station: &Station, request: &WriteRequest) -> Result<Self, String> {
        let tag = station.connection.tags().get(request.tag.as_usize()).ok_or("there is no such tag")?;
        let words = tag.encode(&request.value).map_err(|error| error.to_string())?;
        let p = tag.parameters();
        let block = PollBlock {
            table: p.table,
            start: p.pdu_address,
            quantity: tag.quantity(),
            tags: vec![request.tag],
            poll_interval: p.poll_interval,
        };
        Ok(Self { block, words, registers: Registers::Fitting })
    }

    /// Words for as many registers, or a coil.
    pub(crate) const fn of_words(block: PollBlock, words: Vec<u16>) -> Self {
        Self { block, words, registers: Registers::Fitting }
    }

    /// The same for a device that does not know the function for a single register; `None` where that
    /// makes no difference.
    pub(crate) fn into_several(self) -> Option<Self> {
        let is_single = self.block.table == RegisterTable::HoldingRegister && self.words.len() == 1;
        let changes = is_single && self.registers == Registers::Fitting;
        changes.then_some(Self { registers: Registers::Several, ..self })
    }

    fn request(&self) -> Request<'static> {
        match (self.block.table, self.words.as_slice(), self.registers) {
            (RegisterTable::Coil, [word, ..], _) => Request::WriteSingleCoil(self.block.start, *word != 0),
            (_, [word], Registers::Fitting) => Request::WriteSingleRegister(self.block.start, *word),
            (_, words, _) => Request::WriteMultipleRegisters(self.block.start, words.to_vec().into()),
        }
    }

    /// Sends it; an answer that does not confirm it is an error.
    pub(crate) async fn send(
        &self,
        client: &mut Client,
        unit_id: u8,
        limit: Duration,
    ) -> Result<(), ModbusError> {
        let response = client.call(unit_id, self.request(), limit).await?;
        let confirms = match (&response, self.words.as_slice()) {
            (Response::WriteSingleCoil(at, on), [word, ..]) => (*at, *on) == (self.block.start, *word != 0),
            (Response::WriteSingleRegister(at, word), [own]) => (at, word) == (&self.block.start, own),
            (Response::WriteMultipleRegisters(at, n), _) => {
                (*at, *n) == (self.block.start, self.block.quantity)
            }
            _ => false,
        };
        if confirms {
            return Ok(());
        }
        Err(ModbusError::Answer { problem: format!("it does not confirm the write: {response:?}") })
    }

    /// What the registers read back mean.
    pub(crate) fn judge(&self, station: &Station, read: &[u16]) -> WriteOutcome {
        if read == self.words {
            return WriteOutcome::Written;
        }
        let tag = &station.connection.tags()[self.block.tags[0].as_usize()];
        WriteOutcome::Differs { read_back: tag.decode(read).ok() }
    }
}
