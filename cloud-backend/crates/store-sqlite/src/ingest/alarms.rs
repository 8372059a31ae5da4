//! Transitions: the journal, and the occurrences folded from it.

use fleet::AlarmRow;
use plant_model::{AlarmTransition, TagId, Timestamp};
use protocol::Sequence;
use rusqlite::{Connection, params};

use super::ledger::StreamKey;
use crate::codec::{
    epoch_bits, execute, int, optional_float_column, optional_value_columns, row, sequence_number,
};
use crate::error::Fault;
use crate::fleet_reads::alarms::{OCCURRENCE_COLUMNS, read_occurrence};

/// Writes one transition of a batch that is new.
pub(super) fn record(
    c: &Connection,
    key: &StreamKey,
    at: (Sequence, u32),
    transition: &AlarmTransition,
    stored_at: Timestamp,
) -> Result<(), Fault> {
    insert_transition(c, key, at, transition, stored_at)?;
    match find(c, key, transition)? {
        Some((mut known, id)) => {
            known.apply(at, transition);
            write(c, &known, Some(id))
        }
        None => write(c, &AlarmRow::first(&key.gateway, key.epoch, at, transition), None),
    }
}

fn insert_transition(
    c: &Connection,
    key: &StreamKey,
    (sequence, position): (Sequence, u32),
    t: &AlarmTransition,
    stored_at: Timestamp,
) -> Result<(), Fault> {
    let sql = "INSERT INTO journal (gateway, epoch, sequence, position, machine, alarm, tag, occurrence,
                 from_state, to_state, cause, priority, value_type, value, limit_value, message, value_at,
                 decided_at, stored_at, flags, shelved_until, review_at, deadband, first_out, command, actor,
                 comment)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19,
                 ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)";
    let (value_type, value) = optional_value_columns(t.value.as_ref());
    let operation = t.operation.as_ref();
    execute(
        c,
        sql,
        params![
            key.gateway.as_str(),
            epoch_bits(key.epoch),
            sequence_number(sequence),
            position,
            t.machine.as_str(),
            t.alarm.as_str(),
            t.tag.as_ref().map_or("", TagId::as_str),
            int(t.occurrence),
            t.from.mnemonic(),
            t.to.mnemonic(),
            t.cause.name(),
            t.priority.name(),
            value_type,
            value,
            optional_float_column(t.limit),
            t.message,
            t.value_at.micros(),
            t.decided_at.micros(),
            stored_at.micros(),
            t.flags.bits(),
            t.flags.shelved_until.map(Timestamp::micros),
            t.flags.review_at.map(Timestamp::micros),
            t.deadband.to_string(),
            t.first_out,
            operation.map(|o| o.command.as_str()),
            operation.map(|o| o.actor.as_str()),
            operation.map(|o| o.comment.as_str())
        ],
    )?;
    Ok(())
}

fn find(c: &Connection, key: &StreamKey, t: &AlarmTransition) -> Result<Option<(AlarmRow, i64)>, Fault> {
    let sql = format!(
        "SELECT {OCCURRENCE_COLUMNS} FROM occurrence o WHERE o.gateway = ?1 AND o.epoch = ?2
         AND o.machine = ?3 AND o.alarm = ?4 AND o.occurrence = ?5"
    );
    let (gateway, epoch, _) = key.columns();
    row(
        c,
        &sql,
        params![gateway, epoch, t.machine.as_str(), t.alarm.as_str(), int(t.occurrence)],
        read_occurrence,
    )
}

/// Writes a row whole, over its old self where it has one.
fn write(c: &Connection, a: &AlarmRow, id: Option<i64>) -> Result<(), Fault> {
    let sql = "INSERT OR REPLACE INTO occurrence (id, gateway, epoch, machine, alarm, occurrence, tag, state,
                 active, priority, message, limit_value, value_type, value, raised_at, returned_at, decided_at,
                 last_sequence, last_position)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";
    let (value_type, value) = optional_value_columns(a.value.as_ref());
    execute(
        c,
        sql,
        params![
            id,
            a.key.gateway.as_str(),
            epoch_bits(a.key.epoch),
            a.key.machine.as_str(),
            a.key.alarm.as_str(),
            int(a.key.occurrence),
            a.tag.as_ref().map_or("", TagId::as_str),
            a.state.mnemonic(),
            a.active,
            a.priority.name(),
            a.message,
            optional_float_column(a.limit),
            value_type,
            value,
            a.raised_at.micros(),
            a.returned_at.map(Timestamp::micros),
            a.decided_at.micros(),
            sequence_number(a.last.0),
            a.last.1
        ],
    )?;
    Ok(())
}
