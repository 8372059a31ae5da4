//! Keys of rows of a machine and a minute or hour: see `tenant-0004.sql`.

use std::ops::Range;

use plant_model::{GatewayId, MachineId};
use rusqlite::{Connection, params};

use crate::codec::{Columns, execute, row, rows};
use crate::error::Fault;

/// Bits of the number of a minute, sign included: enough for all instants that there are.
const NUMBER_BITS: u32 = 39;
const BIAS: i64 = 1 << (NUMBER_BITS - 1);
/// What is left for the number of the machine.
const MACHINES_MAX: i64 = 1 << (63 - NUMBER_BITS);

/// The number of a machine within its tenant's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MachineNumber(pub(super) i64);

impl MachineNumber {
    /// The key of a minute or hour.
    pub(super) fn key(self, number: i64) -> i64 {
        (self.0 << NUMBER_BITS) + number.clamp(-BIAS, BIAS - 1) + BIAS
    }

    /// The keys of a range.
    pub(super) fn keys(self, numbers: Range<i64>) -> Range<i64> {
        self.key(numbers.start)..self.key(numbers.end)
    }

    /// All keys of the machine.
    pub(super) fn all_keys(self) -> Range<i64> {
        (self.0 << NUMBER_BITS)..(self.0.saturating_add(1).saturating_mul(1 << NUMBER_BITS))
    }
}

/// The number of a minute or hour.
pub(super) fn number_of(key: i64) -> i64 {
    key.rem_euclid(1 << NUMBER_BITS) - BIAS
}

/// Whose key it is.
pub(super) fn machine_of(key: i64) -> MachineNumber {
    MachineNumber(key >> NUMBER_BITS)
}

pub(super) fn machine(
    c: &Connection,
    gateway: &GatewayId,
    machine: &MachineId,
) -> Result<Option<MachineNumber>, Fault> {
    let sql = "SELECT id FROM machine WHERE gateway = ?1 AND machine = ?2";
    row(c, sql, [gateway.as_str(), machine.as_str()], |r| r.number(0).map(MachineNumber))
}

/// The number of a machine, which it gets now if it has none.
pub(super) fn machine_or_new(
    c: &Connection,
    gateway: &GatewayId,
    id: &MachineId,
) -> Result<MachineNumber, Fault> {
    if let Some(known) = machine(c, gateway, id)? {
        return Ok(known);
    }
    let sql = "INSERT INTO machine (gateway, machine) VALUES (?1, ?2)";
    execute(c, sql, [gateway.as_str(), id.as_str()])?;
    let number = c.last_insert_rowid();
    if number >= MACHINES_MAX {
        return Err(Fault::Contradiction(format!(
            "machine {id} of gateway {gateway} would be number {number} of its tenant; at most {MACHINES_MAX} can be told apart"
        )));
    }
    Ok(MachineNumber(number))
}

/// All machines that a gateway ever had, by id.
pub(super) fn machines(
    c: &Connection,
    gateway: &GatewayId,
) -> Result<Vec<(MachineId, MachineNumber)>, Fault> {
    let sql = "SELECT machine, id FROM machine WHERE gateway = ?1 ORDER BY machine";
    rows(c, sql, params![gateway.as_str()], |r| Ok((r.parsed(0)?, MachineNumber(r.number(1)?))))
}

#[cfg(test)]
mod tests {
    use plant_model::Timestamp;
    use segments::Minute;

    use super::*;

    #[test]
    fn keys_lie_in_the_order_of_machine_and_time_and_tell_both() {
        let minutes = [i64::MIN, -60_000_001, -1, 0, 1_790_000_000_000_000, i64::MAX]
            .map(|micros| Minute::of(Timestamp::from_micros(micros)).number());
        let machines = [1, 2, MACHINES_MAX - 1].map(MachineNumber);
        let mut previous = i64::MIN;
        for machine in machines {
            for number in minutes {
                let key = machine.key(number);
                assert!(key > previous, "{machine:?} {number}");
                assert_eq!((machine_of(key), number_of(key)), (machine, number));
                previous = key;
            }
        }
        let two = MachineNumber(2).all_keys();
        assert!(
            two.contains(&MachineNumber(2).key(minutes[0]))
                && two.contains(&MachineNumber(2).key(minutes[5]))
        );
        assert!(
            !two.contains(&MachineNumber(1).key(minutes[5]))
                && !two.contains(&MachineNumber(3).key(minutes[0]))
        );
    }
}
