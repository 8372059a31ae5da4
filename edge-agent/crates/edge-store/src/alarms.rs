//! What is remembered of alarms (tables `alarm` and `command`): where each stood, what ran for it, and which
//! commands moved it.
//!
//! A transition and the command that caused it are remembered in the transaction that commits the
//! transition; it ends the timers of its alarm. Timers that run are noted with the group commits. A note
//! says to which state of the alarm it belongs and counts for nothing if another one is remembered: it may
//! come before the transition that made it, or after the next.

use std::time::Duration;

use plant_model::{
    AlarmFlags, AlarmId, AlarmTimers, AlarmTransition, CommandId, MachineId, Timestamp, TransitionCause,
};
use rusqlite::{Connection, Row, params};

use crate::file::{ALARM_ROW_BYTES, ROOM_FOR_RECORDS, failed};
use crate::{EdgeStore, StoreError};

/// Commands that are remembered of a machine: what its engine remembers.
const COMMANDS_MAX: u32 = 256;

pub(crate) const NOTE: &str = "note the timers of alarms";

/// Where an alarm stood when its last transition was committed, and what ran for it when that was last
/// noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAlarm {
    /// The machine.
    pub machine: MachineId,
    /// The alarm.
    pub alarm: AlarmId,
    /// Activations so far.
    pub occurrence: u64,
    /// What it remembers.
    pub flags: AlarmFlags,
    /// What ran.
    pub timers: AlarmTimers,
}

/// A command that moved an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommand {
    /// The machine.
    pub machine: MachineId,
    /// The alarm.
    pub alarm: AlarmId,
    /// Its id.
    pub id: CommandId,
    /// What it did.
    pub cause: TransitionCause,
}

impl EdgeStore {
    /// Where every alarm stood.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn alarms(&self) -> Result<Vec<StoredAlarm>, StoreError> {
        const SQL: &str = "SELECT machine, alarm, occurrence, flags, shelved_until, review_at, delay_passed,
                           re_alarm_in, shelf_left FROM alarm";
        let rows = read_all(self.connection()?, SQL, stored_alarm);
        rows.map_err(failed("read the alarms"))
    }

    /// The newest commands that moved alarms, at most 256 of each machine, the oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn commands(&self) -> Result<Vec<StoredCommand>, StoreError> {
        const SQL: &str = "SELECT machine, alarm, id, cause FROM command ORDER BY machine, number";
        let rows = read_all(self.connection()?, SQL, stored_command);
        rows.map_err(failed("read the commands"))
    }

    /// Notes what runs for alarms that still are as they are remembered.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note_timers(&mut self, timers: &[StoredAlarm], now: Timestamp) -> Result<(), StoreError> {
        self.make_room(ROOM_FOR_RECORDS + room_for(timers), now)?;
        self.write(NOTE, |writing| {
            writing.only_appends = true;
            note(writing.connection, timers).map_err(failed(NOTE))
        })
    }
}

/// What noting may take.
pub(crate) const fn room_for(timers: &[StoredAlarm]) -> u64 {
    timers.len() as u64 * ALARM_ROW_BYTES
}

/// Remembers where transitions left their alarms, and the commands that caused them.
pub(crate) fn remember(connection: &Connection, transitions: &[AlarmTransition]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO alarm (machine, alarm, occurrence, flags, shelved_until, review_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for t in transitions {
        statement.execute(params![
            t.machine.as_str(),
            t.alarm.as_str(),
            signed(t.occurrence),
            t.flags.bits(),
            t.flags.shelved_until.map(Timestamp::micros),
            t.flags.review_at.map(Timestamp::micros),
        ])?;
        if let Some(operation) = &t.operation {
            remember_command(connection, t, &operation.command)?;
        }
    }
    Ok(())
}

fn remember_command(
    connection: &Connection,
    moved: &AlarmTransition,
    id: &CommandId,
) -> rusqlite::Result<()> {
    let insert = "INSERT INTO command (machine, number, id, alarm, cause)
                  SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4 FROM command WHERE machine = ?1";
    let row = params![moved.machine.as_str(), id.as_str(), moved.alarm.as_str(), moved.cause.name()];
    connection.prepare_cached(insert)?.execute(row)?;
    let bound = "DELETE FROM command WHERE machine = ?1
                 AND number <= (SELECT max(number) FROM command WHERE machine = ?1) - ?2";
    connection.prepare_cached(bound)?.execute(params![moved.machine.as_str(), COMMANDS_MAX]).map(|_| ())
}

/// Notes timers, see [`EdgeStore::note_timers`].
pub(crate) fn note(connection: &Connection, timers: &[StoredAlarm]) -> rusqlite::Result<()> {
    if timers.is_empty() {
        return Ok(());
    }
    // An alarm that never moved has no row.
    let mut insert = connection.prepare_cached(
        "INSERT INTO alarm (machine, alarm, occurrence, flags) VALUES (?1, ?2, 0, 0) ON CONFLICT DO NOTHING",
    )?;
    let mut update = connection.prepare_cached(
        "UPDATE alarm SET delay_passed = ?1, re_alarm_in = ?2, shelf_left = ?3
         WHERE machine = ?4 AND alarm = ?5 AND occurrence = ?6 AND flags = ?7 AND shelved_until IS ?8",
    )?;
    for one in timers {
        let (machine, alarm) = (one.machine.as_str(), one.alarm.as_str());
        if (one.occurrence, one.flags) == (0, AlarmFlags::NORMAL) {
            insert.execute([machine, alarm])?;
        }
        update.execute(params![
            one.timers.delay_passed.map(micros),
            one.timers.re_alarm_in.map(micros),
            one.timers.shelf_left.map(micros),
            machine,
            alarm,
            signed(one.occurrence),
            one.flags.bits(),
            one.flags.shelved_until.map(Timestamp::micros),
        ])?;
    }
    Ok(())
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

/// All rows but those that `read` finds to belong to what no longer exists.
fn read_all<T>(
    connection: &Connection,
    sql: &str,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<Option<T>>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| read(row))?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.into_iter().flatten().collect())
}

/// A row of the alarms; `None` for an id that no longer parses, which belongs to a definition that no
/// longer exists.
fn stored_alarm(row: &Row<'_>) -> rusqlite::Result<Option<StoredAlarm>> {
    let number = |column| row.get::<_, Option<i64>>(column);
    let time = |column| Ok::<_, rusqlite::Error>(number(column)?.map(Timestamp::from_micros));
    let length = |column| {
        let micros = number(column)?.map(|micros| u64::try_from(micros).unwrap_or(0));
        Ok::<_, rusqlite::Error>(micros.map(Duration::from_micros))
    };
    let flags = AlarmFlags::from_bits(row.get(3)?, time(4)?, time(5)?);
    let timers = AlarmTimers { delay_passed: length(6)?, re_alarm_in: length(7)?, shelf_left: length(8)? };
    let (Some((machine, alarm)), Some(flags)) = (names(row)?, flags) else { return Ok(None) };
    let occurrence = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
    Ok(Some(StoredAlarm { machine, alarm, occurrence, flags, timers }))
}

fn stored_command(row: &Row<'_>) -> rusqlite::Result<Option<StoredCommand>> {
    let (id, cause): (String, String) = (row.get(2)?, row.get(3)?);
    let (Some((machine, alarm)), Ok(id), Some(cause)) =
        (names(row)?, CommandId::new(&id), TransitionCause::from_name(&cause))
    else {
        return Ok(None);
    };
    Ok(Some(StoredCommand { machine, alarm, id, cause }))
}

/// Machine and alarm, the first two columns.
fn names(row: &Row<'_>) -> rusqlite::Result<Option<(MachineId, AlarmId)>> {
    let (machine, alarm): (String, String) = (row.get(0)?, row.get(1)?);
    Ok(MachineId::new(&machine).ok().zip(AlarmId::new(&alarm).ok()))
}

#[cfg(test)]
mod tests;
