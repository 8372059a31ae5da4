//! A machine as a Modbus device: what it answers to a request, and how.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;

use super::{
    RegisterMap,
    pdu::{Exception, Request, Table, bits_answer, registers_answer, write_answer},
};
use crate::{
    machine::{Machine, Unwritable},
    mode::Mode,
    value::Value,
};

/// What a unit does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Answers it.
    Answer(Vec<u8>),
    /// Answers it later, while others are answered.
    Late(Vec<u8>, Duration),
    /// Answers with random bytes, as many as this answer has.
    Random(Vec<u8>),
    /// Answers after a few random bytes.
    Noisy(Vec<u8>),
    /// Stays silent.
    Nothing,
}

/// A machine at its unit id.
pub(crate) struct Unit {
    pub(crate) machine: Arc<Machine>,
    map: RegisterMap,
    /// Requests that came while answers were late.
    asked: AtomicU64,
}

impl Unit {
    pub(crate) fn new(machine: Arc<Machine>) -> Self {
        Self { map: RegisterMap::of(machine.kind()), machine, asked: AtomicU64::new(0) }
    }

    pub(crate) fn id(&self) -> u8 {
        self.machine.modbus().unit_id
    }

    /// Answers a request as the machine's mode asks; takes as long as the machine needs.
    pub(crate) async fn handle(&self, pdu: &[u8]) -> Reply {
        match self.machine.mode() {
            Mode::Silent => Reply::Nothing,
            Mode::Slow { delay_ms } => {
                sleep(Duration::from_millis(u64::from(delay_ms))).await;
                Reply::Answer(self.answer(pdu).await)
            }
            Mode::Late { delay_ms, every } => {
                let answer = self.answer(pdu).await;
                if self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(u64::from(every)) {
                    Reply::Late(answer, Duration::from_millis(u64::from(delay_ms)))
                } else {
                    Reply::Answer(answer)
                }
            }
            Mode::Exception { exception } => {
                self.machine.exception_answered();
                Reply::Answer(Exception(exception).answer(function(pdu)))
            }
            Mode::Garbage => Reply::Random(self.unread_answer(pdu)),
            Mode::Noise => Reply::Noisy(self.answer(pdu).await),
            // The others are done to the connection.
            Mode::Healthy
            | Mode::Refuse
            | Mode::Reset
            | Mode::Hole
            | Mode::HalfDead
            | Mode::Restart { .. } => Reply::Answer(self.answer(pdu).await),
        }
    }

    /// The right answer, counted.
    pub(crate) async fn answer(&self, pdu: &[u8]) -> Vec<u8> {
        let answered = match self.request(pdu) {
            Ok(Request::Read { table, start, quantity }) => {
                let values = self.machine.serve_read(&self.covered(table, start, quantity));
                Ok(self.shown(function(pdu), table, start, quantity, &values))
            }
            Ok(Request::WriteBits { start, bits }) => {
                let tags = self.map.covered_bits(start, bits.len() as u16);
                let values = bits.into_iter().map(Value::Bool);
                self.write(tags.into_iter().zip(values).collect(), pdu).await
            }
            Ok(Request::WriteRegisters { start, registers }) => match self.map.written(start, &registers) {
                Some(values) => self.write(values, pdu).await,
                None => Err(Exception::ILLEGAL_ADDRESS),
            },
            Err(exception) => Err(exception),
        };
        answered.unwrap_or_else(|exception| {
            self.machine.exception_answered();
            exception.answer(function(pdu))
        })
    }

    /// An answer of the right length that nobody will read, so it does not count.
    fn unread_answer(&self, pdu: &[u8]) -> Vec<u8> {
        match self.request(pdu) {
            Ok(Request::Read { table, start, quantity }) => {
                self.shown(function(pdu), table, start, quantity, &self.machine.values())
            }
            Ok(Request::WriteBits { .. } | Request::WriteRegisters { .. }) => write_answer(pdu),
            Err(exception) => exception.answer(function(pdu)),
        }
    }

    /// The request, if the machine knows its function and has its addresses.
    fn request(&self, pdu: &[u8]) -> Result<Request, Exception> {
        let request = Request::parse(pdu, self.machine.modbus().max_registers)?;
        let range = request.range();
        let (length, illegal) = match request.table() {
            Table::Bits => (self.map.bits_length(), false),
            Table::Registers => (self.map.length(), self.machine.has_illegal_register(&range)),
        };
        if illegal || range.end > u32::from(length) { Err(Exception::ILLEGAL_ADDRESS) } else { Ok(request) }
    }

    fn covered(&self, table: Table, start: u16, quantity: u16) -> Vec<usize> {
        match table {
            Table::Bits => self.map.covered_bits(start, quantity),
            Table::Registers => self.map.covered(start, quantity),
        }
    }

    fn shown(&self, function: u8, table: Table, start: u16, quantity: u16, values: &[Value]) -> Vec<u8> {
        match table {
            Table::Bits => {
                let on = |tag: usize| values[tag] == Value::Bool(true);
                let bits: Vec<_> = self.map.covered_bits(start, quantity).into_iter().map(on).collect();
                bits_answer(function, &bits)
            }
            Table::Registers => {
                let start = usize::from(start);
                registers_answer(function, &self.map.registers(values)[start..start + usize::from(quantity)])
            }
        }
    }

    async fn write(&self, values: Vec<(usize, Value)>, pdu: &[u8]) -> Result<Vec<u8>, Exception> {
        match self.machine.write(&values).await {
            Ok(()) => Ok(write_answer(pdu)),
            Err(Unwritable::ReadOnly) => Err(Exception::ILLEGAL_ADDRESS),
            Err(Unwritable::Value) => Err(Exception::ILLEGAL_VALUE),
        }
    }
}

pub(crate) fn function(pdu: &[u8]) -> u8 {
    pdu.first().copied().unwrap_or(0)
}
