//! How a machine behaves on the wire, and who does it: the machine itself or its line.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{MutexGuard, PoisonError},
};

use super::Machine;
use crate::{
    error::SimulatorError,
    kind::Protocol,
    mode::{Level, Mode, Subject},
};

impl Machine {
    /// How it behaves on the wire now.
    pub fn mode(&self) -> Mode {
        let line = if self.line.is_shared() { Mode::Healthy } else { self.line.mode() };
        if line == Mode::Healthy { *self.mode.borrow() } else { line }
    }

    /// Changes how the machine behaves and waits until it does so.
    ///
    /// # Errors
    /// The protocol does not know the mode, a number is out of range, it is a mode of the line that the machine
    /// shares, or the listener did not follow within 5 s.
    pub async fn set_mode(&self, mode: Mode) -> Result<(), SimulatorError> {
        let bad = |reason| SimulatorError::BadMode { subject: format!("machine {:?}", self.id), reason };
        let mode = mode.checked(self.subject()).map_err(bad)?;
        if self.line.is_shared() {
            self.mode.send_replace(mode);
            return Ok(());
        }
        let of_line = is_mode_of_line(self.protocol, mode);
        self.mode.send_replace(if of_line { Mode::Healthy } else { mode });
        self.line.apply(if of_line { mode } else { Mode::Healthy }).await
    }

    pub(crate) fn subject(&self) -> Subject {
        if self.line.is_shared() { Subject::OnLine } else { Subject::Machine(self.protocol) }
    }

    /// Lets these registers be illegal addresses (exception 2) although they are in the map.
    ///
    /// # Errors
    /// The machine speaks no Modbus.
    pub fn set_illegal_registers(&self, registers: BTreeSet<u16>) -> Result<(), SimulatorError> {
        if !self.protocol.is_modbus() {
            let reason = "only Modbus machines have registers".to_owned();
            return Err(SimulatorError::BadMode { subject: format!("machine {:?}", self.id), reason });
        }
        *self.illegal() = registers;
        Ok(())
    }

    /// Whether one of these registers is made illegal.
    pub(crate) fn has_illegal_register(&self, range: &Range<u32>) -> bool {
        self.illegal().iter().any(|register| range.contains(&u32::from(*register)))
    }

    pub(super) fn illegal(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        // The set is replaced whole.
        self.illegal_registers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a mode that a machine has is done by its line: to connections and bytes.
pub(crate) fn is_mode_of_line(protocol: Protocol, mode: Mode) -> bool {
    !protocol.is_modbus() || mode.level() == Level::Link
}
