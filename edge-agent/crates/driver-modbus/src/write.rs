//! Writes: one at a time, between two reads or on a connection of their own, and read back.

use std::time::Duration;

use acquisition::{Instants, ModbusConnection, PollBlock, Refusal, RegisterTable, TagIndex, WriteOutcome};
use plant_model::{MachineId, Value};
use service_kit::{Asker, Clock, Inbox, NoAnswer, Patience, Reply, Request as Waiting, handover};
use tokio_modbus::{Request, Response};
use tracing::info;

use crate::client::Client;
use crate::driver::{middle, pause_for};
use crate::error::ModbusError;

/// So many writes may wait on one connection: people press buttons, programs that write all the time
/// are not foreseen.
pub(crate) const WAITING_MAX: usize = 16;

/// A write that was not begun by then is not made at all: what was meant now must not happen later. What
/// was begun has two requests with time-outs of up to 30 s and their pauses; the driver ends each in time.
const PATIENCE: Patience = Patience { begin: Duration::from_secs(5), done: Duration::from_secs(90) };

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

pub(crate) type Order = Waiting<WriteRequest, WriteOutcome>;
pub(crate) type Answer = Reply<WriteOutcome>;

/// Hands writes to a driver.
#[derive(Debug, Clone)]
pub struct Writer(Asker<WriteRequest, WriteOutcome>);

/// The driver's end of a [`Writer`]; the default one never brings anything.
#[derive(Debug, Default)]
pub struct WriteQueue(pub(crate) Inbox<WriteRequest, WriteOutcome>);

/// A writer and the queue to start a driver with.
#[must_use]
pub fn write_queue() -> (Writer, WriteQueue) {
    let (asker, inbox) = handover(WAITING_MAX);
    (Writer(asker), WriteQueue(inbox))
}

impl Writer {
    /// Has a value written and read back. Begun within 5 seconds or not at all; a write that was begun is
    /// over after two time-outs of its machine.
    pub async fn write(&self, request: WriteRequest) -> WriteOutcome {
        self.0.ask(request, PATIENCE).await.unwrap_or_else(|why| match why {
            NoAnswer::Full => WriteOutcome::refused("too many writes are waiting; try again later"),
            NoAnswer::Ended => WriteOutcome::refused("the driver has ended"),
            NoAnswer::GivenUp => WriteOutcome::refused("the machine could not be reached in time"),
            NoAnswer::Cut => WriteOutcome::unknown("the driver ended while it was made"),
            NoAnswer::Silent => {
                WriteOutcome::unknown("nothing was heard of it; read the value before writing again")
            }
        })
    }
}

/// A write that passed all checks.
#[derive(Clone)]
pub(crate) struct Prepared {
    block: PollBlock,
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
    fn new(connection: &ModbusConnection, request: &WriteRequest) -> Result<Self, String> {
        let tag = connection.tags().get(request.tag.as_usize()).ok_or("there is no such tag")?;
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
    pub(crate) fn as_several(&self) -> Option<Self> {
        let is_single = self.block.table == RegisterTable::HoldingRegister && self.words.len() == 1;
        let changes = is_single && self.registers == Registers::Fitting;
        changes.then(|| Self { registers: Registers::Several, ..self.clone() })
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
        let limit = limit + client.on_wire(self.block.quantity);
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
    fn judge(&self, connection: &ModbusConnection, read: &[u16]) -> WriteOutcome {
        if read == self.words {
            return WriteOutcome::Written;
        }
        let tag = &connection.tags()[self.block.tags[0].as_usize()];
        WriteOutcome::Differs { read_back: tag.decode(read).ok() }
    }

    /// Sends it, in the way the device knows.
    async fn deliver(&self, client: &mut Client, unit_id: u8, limit: Duration) -> Result<(), ModbusError> {
        let sent = self.send(client, unit_id, limit).await;
        match self.as_several() {
            Some(several) if sent.as_ref().is_err_and(ModbusError::is_unknown_function) => {
                several.send(client, unit_id, limit).await
            }
            Some(_) | None => sent,
        }
    }
}

/// What became of a write.
pub(crate) struct Made {
    pub(crate) outcome: WriteOutcome,
    /// The registers that were read back, and when.
    pub(crate) read: Option<(PollBlock, Vec<u16>, Instants)>,
    /// Why the connection has to end.
    pub(crate) broken: Option<ModbusError>,
}

impl Made {
    fn of(outcome: WriteOutcome) -> Self {
        Self { outcome, read: None, broken: None }
    }

    /// It was sent, and then this happened.
    fn lost(error: ModbusError) -> Self {
        let outcome = WriteOutcome::unknown(error.to_string());
        let broken =
            (!matches!(error, ModbusError::Timeout { .. } | ModbusError::Exception { .. })).then_some(error);
        Self { outcome, read: None, broken }
    }
}

/// Makes a write and, after a `pause`, reads it back.
pub(crate) async fn make(
    client: &mut Client,
    connection: &ModbusConnection,
    request: &WriteRequest,
    pause: Duration,
    clock: Clock,
) -> Made {
    let write = match Prepared::new(connection, request) {
        Ok(write) => write,
        Err(reason) => return Made::of(WriteOutcome::refused(reason)),
    };
    let (unit_id, limit) = (connection.unit_id(), connection.timeout());
    match write.deliver(client, unit_id, limit).await {
        Ok(()) => {}
        Err(error) if error.is_refusal() => return Made::of(WriteOutcome::refused(error.to_string())),
        Err(error) => return Made::lost(error),
    }
    pause_for(pause).await;
    let (begun_wall, begun_at) = (clock.wall(), clock.now());
    match client.read(unit_id, &write.block, limit).await {
        Ok(words) => {
            let at = middle(begun_wall, begun_at, clock.now());
            let outcome = write.judge(connection, &words);
            Made { outcome, read: Some((write.block, words, at)), broken: None }
        }
        Err(error) if error.is_refusal() => Made::of(WriteOutcome::Differs { read_back: None }),
        Err(error) => Made::lost(error),
    }
}

pub(crate) fn log(request: &WriteRequest, outcome: &WriteOutcome) {
    info!(machine.id = %request.machine, tag = request.tag.0, value = %request.value, ?outcome, "a write");
}

impl ModbusError {
    /// Whether the machine itself said that it did nothing.
    fn is_refusal(&self) -> bool {
        /// It was accepted and takes a while (exception 05).
        const ACKNOWLEDGE: u8 = 5;
        let Self::Exception { code } = self else { return false };
        let code = u8::from(*code);
        // A gateway that heard nothing does not know what the machine did.
        code != ACKNOWLEDGE && !Refusal::from_code(code).is_silence()
    }

    pub(crate) fn is_unknown_function(&self) -> bool {
        matches!(self, Self::Exception { code } if u8::from(*code) == 1)
    }
}
