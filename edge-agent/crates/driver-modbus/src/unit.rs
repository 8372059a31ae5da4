//! One machine on a connection: its sink, its counters, and what is known of its tags.

use std::io::ErrorKind;
use std::sync::Arc;

use acquisition::{
    DriverCounters, Instants, MachineSink, ModbusConnection, PollBlock, Refusal, Report, TagIndex,
};
use plant_model::{MachineId, Quality};
use tracing::{info, warn};

use crate::error::ModbusError;
use crate::readings::LastValues;

/// A machine to be read, and who is told of it.
pub struct Unit {
    /// How it is reached. All units of one driver have the same address.
    pub connection: ModbusConnection,
    /// Its name.
    pub name: MachineId,
    /// Takes its readings.
    pub sink: Box<dyn MachineSink>,
    /// Counts what happens to it.
    pub counters: Arc<DriverCounters>,
}

/// A machine that is being read.
pub(crate) struct Station {
    pub(crate) connection: ModbusConnection,
    pub(crate) name: MachineId,
    pub(crate) counters: Arc<DriverCounters>,
    report: Report,
    last: LastValues,
    /// The exception with which each tag was refused last, to log a change once.
    refused: Vec<Option<u8>>,
}

impl Station {
    pub(crate) fn new(unit: Unit) -> Self {
        let tags = unit.connection.tags().len();
        Self {
            report: Report::new(unit.sink, tags),
            last: LastValues::new(tags),
            refused: vec![None; tags],
            connection: unit.connection,
            name: unit.name,
            counters: unit.counters,
        }
    }

    /// Counts an answer or the lack of one; `samples` is what a usable answer was scheduled to bring.
    pub(crate) fn count(&self, answer: &Result<Vec<u16>, ModbusError>, samples: usize) {
        let failed = &self.counters.polls_failed;
        match answer {
            Ok(_) => {
                self.counters.polls_ok.increment();
                self.counters.acquired_samples.add(samples as u64);
            }
            Err(ModbusError::Timeout { .. }) => failed.timeout.increment(),
            Err(ModbusError::Exception { .. }) => failed.exception.increment(),
            Err(ModbusError::Answer { .. }) => failed.decode.increment(),
            Err(ModbusError::Transport { cause }) if cause.kind() == ErrorKind::InvalidData => {
                failed.decode.increment();
            }
            Err(
                ModbusError::Transport { .. }
                | ModbusError::Connect { .. }
                | ModbusError::ConnectDeadline { .. }
                | ModbusError::Open { .. },
            ) => failed.transport.increment(),
        }
    }

    pub(crate) fn gain_link(&mut self) {
        if self.report.link_up() {
            let address = self.connection.address();
            info!(machine.id = %self.name, %address, unit = self.connection.unit_id(), "the machine answers");
        }
    }

    pub(crate) fn lose_link(&mut self, error: &ModbusError, at: Instants) {
        let reason = error.to_string();
        self.counters.set_last_error(&reason);
        if self.report.link_down(&reason, error.quality(), at) {
            warn!(machine.id = %self.name, reason, "the machine cannot be read; trying again");
        }
    }

    /// The registers of a block came.
    pub(crate) fn take_words(&mut self, block: &PollBlock, words: &[u16], at: Instants) {
        if self.note_refusal(block, None) {
            let PollBlock { table, start, quantity, .. } = block;
            info!(machine.id = %self.name, table = table.name(), start, quantity, "a request is answered again");
        }
        self.last.report_words(&mut self.report, &self.connection, block, words, at);
    }

    /// The answer to a block is overdue, and awaited all the same.
    pub(crate) fn doubt(&mut self, block: &PollBlock, at: Instants) {
        self.last.report_doubt(&mut self.report, block, at);
    }

    /// The tags of a block could not be read, though the machine is given another chance.
    pub(crate) fn lose_block(&mut self, block: &PollBlock, error: &ModbusError, at: Instants) {
        self.counters.set_last_error(&error.to_string());
        self.lose_tags(&block.tags, error.quality(), at);
    }

    fn lose_tags(&mut self, tags: &[TagIndex], quality: Quality, at: Instants) {
        for tag in tags {
            self.report.add_loss(*tag, quality, at);
        }
        self.report.hand_over();
    }

    /// A block was refused, until it is asked again.
    pub(crate) fn take_refusal(&mut self, block: &PollBlock, code: u8, error: &ModbusError, at: Instants) {
        self.remember_refusal(block, error);
        if self.note_refusal(block, Some(code)) {
            let (PollBlock { table, start, quantity, .. }, reason) = (block, error.to_string());
            warn!(machine.id = %self.name, table = table.name(), start, quantity, reason, "a request is refused");
        }
        self.last.report_refusal(&mut self.report, block, Refusal::from_code(code).quality(), at);
    }

    /// Tags were found at fault and are not asked for a while.
    pub(crate) fn set_aside(&mut self, tags: &[TagIndex], code: u8, at: Instants) {
        let quality = Refusal::from_code(code).quality();
        let mut is_news = false;
        for tag in tags {
            is_news |= self.report.add_loss(*tag, quality, at);
            self.refused[tag.as_usize()] = Some(code);
        }
        self.report.hand_over();
        if is_news {
            let first = self.connection.tags()[tags[0].as_usize()].parameters();
            let (table, address) = (first.table.name(), first.pdu_address);
            warn!(machine.id = %self.name, table, address, exception = code,
                "the machine does not have this address; its tag is set aside and tried again later");
        }
    }

    pub(crate) fn remember_refusal(&self, block: &PollBlock, error: &ModbusError) {
        let PollBlock { table, start, quantity, .. } = block;
        let table = table.name();
        self.counters.set_last_error(&format!("{error}: {table} {start}, quantity {quantity}"));
    }

    /// Says whether that is news.
    fn note_refusal(&mut self, block: &PollBlock, code: Option<u8>) -> bool {
        let mut is_news = false;
        for tag in &block.tags {
            is_news |= std::mem::replace(&mut self.refused[tag.as_usize()], code) != code;
        }
        is_news
    }
}
