//! Alarms and their journal.

use deadpool_postgres::Transaction;
use fleet::{AlarmFilter, AlarmKey, AlarmRow, Cursor, JournalRow};
use plant_model::{
    AlarmFlags, AlarmState, AlarmTransition, OperatorAction, TenantId, Timestamp, TransitionCause,
};
use tokio_postgres::Row;

use crate::codec::{Columns, rows, unescaped};
use crate::error::Fault;

/// The columns that [`read_occurrence`] reads, of the table `occurrence` under the name `o`.
pub(crate) const OCCURRENCE_COLUMNS: &str = "o.id, o.gateway, o.epoch, o.machine, o.alarm, o.occurrence, o.tag, \
     o.state, o.active, o.priority, o.message, o.limit_value, o.value_type, o.value, o.raised_at, o.returned_at, \
     o.decided_at, o.last_sequence, o.last_position";

/// A row of the table and its number.
pub(crate) fn read_occurrence(r: &Row) -> Result<(AlarmRow, i64), Fault> {
    let alarm = AlarmRow {
        key: AlarmKey {
            gateway: r.parsed(1)?,
            epoch: r.epoch(2)?,
            machine: r.parsed(3)?,
            alarm: r.parsed(4)?,
            occurrence: r.count(5)?,
        },
        tag: r.optional_parsed(6)?,
        state: r.word(7, AlarmState::from_mnemonic)?,
        active: r.flag(8)?,
        priority: r.priority(9)?,
        message: r.free_text(10)?,
        limit: r.optional_float(11)?,
        value: r.optional_value(12)?,
        raised_at: r.time(14)?,
        returned_at: r.optional_time(15)?,
        decided_at: r.time(16)?,
        last: (r.sequence(17)?, r.position(18)?),
    };
    Ok((alarm, r.number(0)?))
}

/// The place before every row.
const NEWEST: (i64, i64) = (i64::MAX, i64::MAX);

fn place(before: Option<Cursor>) -> (i64, i64) {
    before.map_or(NEWEST, |cursor| (cursor.at.micros(), cursor.id))
}

pub(super) async fn occurrences(
    t: &Transaction<'_>,
    tenant: &TenantId,
    filter: AlarmFilter,
    limit: u32,
    before: Option<Cursor>,
) -> Result<Vec<(AlarmRow, Cursor)>, Fault> {
    // An epoch that the gateway has left has no active alarms, and of each alarm only the newest
    // occurrence can be: it may follow one that nobody has acknowledged.
    let current = "(EXISTS (SELECT 1 FROM gateway_seen g WHERE g.tenant = o.tenant AND g.gateway = o.gateway
                      AND g.epoch = o.epoch)
                    OR NOT EXISTS (SELECT 1 FROM gateway_seen g WHERE g.tenant = o.tenant
                      AND g.gateway = o.gateway))
                   AND NOT EXISTS (SELECT 1 FROM occurrence n WHERE n.tenant = o.tenant
                    AND n.gateway = o.gateway AND n.epoch = o.epoch AND n.machine = o.machine
                    AND n.alarm = o.alarm AND n.occurrence > o.occurrence)";
    let wanted = match filter {
        AlarmFilter::Active => format!("o.active AND ({current})"),
        AlarmFilter::Hidden => format!("o.state IN ('SHLVD', 'DSUPR', 'OOSRV') AND ({current})"),
        // What was done to an alarm that was never raised is no occurrence.
        AlarmFilter::All => "o.occurrence > 0".to_owned(),
    };
    let sql = format!(
        "SELECT {OCCURRENCE_COLUMNS}, ({current}) FROM occurrence o
         WHERE o.tenant = $1 AND {wanted} AND (o.raised_at, o.id) < ($2, $3)
         ORDER BY o.raised_at DESC, o.id DESC LIMIT $4"
    );
    let (at, id) = place(before);
    rows(t, &sql, &[&tenant.as_str(), &at, &id, &i64::from(limit)], |r| {
        let (mut alarm, id) = read_occurrence(r)?;
        alarm.active &= r.flag(19)?;
        let cursor = Cursor { at: alarm.raised_at, id };
        Ok((alarm, cursor))
    })
    .await
}

pub(super) async fn journal(
    t: &Transaction<'_>,
    tenant: &TenantId,
    limit: u32,
    before: Option<Cursor>,
) -> Result<Vec<JournalRow>, Fault> {
    let sql = "SELECT id, gateway, epoch, sequence, position, machine, alarm, tag, occurrence, from_state, to_state,
                 cause, priority, value_type, value, limit_value, message, value_at, decided_at, stored_at,
                 flags, shelved_until, review_at, deadband, first_out, command, actor, comment
               FROM journal WHERE tenant = $1 AND (decided_at, id) < ($2, $3)
               ORDER BY decided_at DESC, id DESC LIMIT $4";
    let (at, id) = place(before);
    rows(t, sql, &[&tenant.as_str(), &at, &id, &i64::from(limit)], read_journal).await
}

fn read_journal(r: &Row) -> Result<JournalRow, Fault> {
    let decided_at: Timestamp = r.time(18)?;
    Ok(JournalRow {
        gateway: r.parsed(1)?,
        epoch: r.epoch(2)?,
        sequence: r.sequence(3)?,
        position: r.position(4)?,
        transition: AlarmTransition {
            machine: r.parsed(5)?,
            alarm: r.parsed(6)?,
            tag: r.optional_parsed(7)?,
            occurrence: r.count(8)?,
            from: r.word(9, AlarmState::from_mnemonic)?,
            to: r.word(10, AlarmState::from_mnemonic)?,
            cause: r.word(11, TransitionCause::from_name)?,
            priority: r.priority(12)?,
            value: r.optional_value(13)?,
            limit: r.optional_float(15)?,
            deadband: r.float(23)?,
            value_at: r.time(17)?,
            decided_at,
            message: r.free_text(16)?,
            first_out: r.flag(24)?,
            flags: flags(r)?,
            operation: operation(r)?,
        },
        stored_at: r.time(19)?,
        cursor: Cursor { at: decided_at, id: r.number(0)? },
    })
}

fn flags(r: &Row) -> Result<AlarmFlags, Fault> {
    let bits = r.position(20)?;
    AlarmFlags::from_bits(bits, r.optional_time(21)?, r.optional_time(22)?)
        .ok_or_else(|| Fault::Unreadable(format!("the flags {bits:#x} are not known here")))
}

fn operation(r: &Row) -> Result<Option<OperatorAction>, Fault> {
    let Some(command) = r.optional_text(25)?.map(unescaped) else { return Ok(None) };
    let command = command.parse().map_err(|e| Fault::unreadable("a command", &e))?;
    Ok(Some(OperatorAction { command, actor: r.free_text(26)?, comment: r.free_text(27)? }))
}
