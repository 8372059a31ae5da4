//! Transitions: the journal, and the occurrences folded from it. One batch at a time.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use fleet::AlarmRow;
use plant_model::{AlarmId, AlarmTransition, MachineId, OperatorAction, TagId, TenantId, Timestamp, Value};
use protocol::Sequence;

use super::streams::StreamKey;
use crate::codec::{epoch_bits, escaped, execute, int, rows, sequence_number, value_columns};
use crate::error::Fault;
use crate::fleet_reads::alarms::{OCCURRENCE_COLUMNS, read_occurrence};

/// Writes the transitions of a batch that is new.
pub(super) async fn record(
    t: &Transaction<'_>,
    tenant: &TenantId,
    (key, sequence): (&StreamKey, Sequence),
    list: &[AlarmTransition],
    stored_at: Timestamp,
) -> Result<(), Fault> {
    insert_journal(t, tenant, (key, sequence), list, stored_at).await?;
    let mut folded = Folded::load(t, tenant, key, list).await?;
    for (position, transition) in (0..).zip(list) {
        folded.take(key, (sequence, position), transition);
    }
    folded.save(t, tenant).await
}

/// A column of an array for each row.
fn column<'r, R, V>(rows: &'r [R], of: impl Fn(&'r R) -> V) -> Vec<V> {
    rows.iter().map(of).collect()
}

/// The kinds and the texts of values that may not be there.
fn values<'v>(
    values: impl Iterator<Item = Option<&'v Value>>,
) -> (Vec<Option<&'static str>>, Vec<Option<String>>) {
    values.map(|value| value.map(value_columns).unzip()).unzip()
}

async fn insert_journal(
    t: &Transaction<'_>,
    tenant: &TenantId,
    (key, sequence): (&StreamKey, Sequence),
    list: &[AlarmTransition],
    stored_at: Timestamp,
) -> Result<(), Fault> {
    let sql = "INSERT INTO journal (tenant, gateway, epoch, sequence, stored_at, position, machine, alarm, tag,
                 occurrence, from_state, to_state, cause, priority, value_type, value, limit_value, message,
                 value_at, decided_at, flags, shelved_until, review_at, deadband, first_out, command, actor,
                 comment)
               SELECT $1, $2, $3, $4, $5, k.* FROM unnest($6::bigint[], $7::text[], $8::text[], $9::text[],
                 $10::bigint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
                 $17::double precision[], $18::text[], $19::bigint[], $20::bigint[], $21::bigint[],
                 $22::bigint[], $23::bigint[], $24::double precision[], $25::boolean[], $26::text[], $27::text[],
                 $28::text[]) AS k";
    let (gateway, epoch, _) = key.columns();
    let positions: Vec<i64> = (0..).take(list.len()).collect();
    let (value_types, value_texts) = values(list.iter().map(|x| x.value.as_ref()));
    fn by<'x>(
        list: &'x [AlarmTransition],
        of: fn(&OperatorAction) -> &str,
    ) -> Vec<Option<std::borrow::Cow<'x, str>>> {
        list.iter().map(|x| x.operation.as_ref().map(|o| escaped(of(o)))).collect()
    }
    execute(
        t,
        sql,
        &[
            &tenant.as_str(),
            &gateway,
            &epoch,
            &sequence_number(sequence),
            &stored_at.micros(),
            &positions,
            &column(list, |x| x.machine.as_str()),
            &column(list, |x| x.alarm.as_str()),
            &column(list, |x| x.tag.as_ref().map(TagId::as_str)),
            &column(list, |x| int(x.occurrence)),
            &column(list, |x| x.from.mnemonic()),
            &column(list, |x| x.to.mnemonic()),
            &column(list, |x| x.cause.name()),
            &column(list, |x| x.priority.name()),
            &value_types,
            &value_texts,
            &column(list, |x| x.limit),
            &column(list, |x| escaped(&x.message)),
            &column(list, |x| x.value_at.micros()),
            &column(list, |x| x.decided_at.micros()),
            &column(list, |x| i64::from(x.flags.bits())),
            &column(list, |x| x.flags.shelved_until.map(Timestamp::micros)),
            &column(list, |x| x.flags.review_at.map(Timestamp::micros)),
            &column(list, |x| x.deadband),
            &column(list, |x| x.first_out),
            &by(list, |o| o.command.as_str()),
            &by(list, |o| &o.actor),
            &by(list, |o| &o.comment),
        ],
    )
    .await?;
    Ok(())
}

/// The occurrences that a batch has to do with, those that are new in the order in which they appear.
struct Folded {
    places: BTreeMap<(MachineId, AlarmId, u64), usize>,
    rows: Vec<AlarmRow>,
}

impl Folded {
    async fn load(
        t: &Transaction<'_>,
        tenant: &TenantId,
        key: &StreamKey,
        list: &[AlarmTransition],
    ) -> Result<Self, Fault> {
        let sql = format!(
            "SELECT DISTINCT {OCCURRENCE_COLUMNS} FROM occurrence o
             JOIN unnest($4::text[], $5::text[], $6::bigint[]) AS k (machine, alarm, occurrence)
               USING (machine, alarm, occurrence)
             WHERE o.tenant = $1 AND o.gateway = $2 AND o.epoch = $3"
        );
        let (gateway, epoch, _) = key.columns();
        let machines = column(list, |x| x.machine.as_str());
        let alarms = column(list, |x| x.alarm.as_str());
        let numbers = column(list, |x| int(x.occurrence));
        let tenant = tenant.as_str();
        let known = rows(t, &sql, &[&tenant, &gateway, &epoch, &machines, &alarms, &numbers], |r| {
            Ok(read_occurrence(r)?.0)
        })
        .await?;
        let mut folded = Self { places: BTreeMap::new(), rows: Vec::new() };
        known.into_iter().for_each(|row| folded.add(row));
        Ok(folded)
    }

    fn add(&mut self, row: AlarmRow) {
        let place = (row.key.machine.clone(), row.key.alarm.clone(), row.key.occurrence);
        self.places.insert(place, self.rows.len());
        self.rows.push(row);
    }

    fn take(&mut self, key: &StreamKey, at: (Sequence, u32), x: &AlarmTransition) {
        let place = (x.machine.clone(), x.alarm.clone(), x.occurrence);
        match self.places.get(&place) {
            Some(index) => self.rows[*index].apply(at, x),
            None => self.add(AlarmRow::first(&key.gateway, key.epoch, at, x)),
        }
    }

    /// Writes the rows whole, over their old selves where they have one.
    async fn save(&self, t: &Transaction<'_>, tenant: &TenantId) -> Result<(), Fault> {
        let sql =
            "INSERT INTO occurrence (tenant, gateway, epoch, machine, alarm, occurrence, tag, state, active,
                     priority, message, limit_value, value_type, value, raised_at, returned_at, decided_at,
                     last_sequence, last_position)
                   SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[], $6::bigint[],
                     $7::text[], $8::text[], $9::boolean[], $10::text[], $11::text[], $12::double precision[],
                     $13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[],
                     $19::bigint[])
                   ON CONFLICT (tenant, gateway, epoch, machine, alarm, occurrence) DO UPDATE SET
                     tag = excluded.tag, state = excluded.state, active = excluded.active,
                     priority = excluded.priority, message = excluded.message,
                     limit_value = excluded.limit_value, value_type = excluded.value_type,
                     value = excluded.value, raised_at = excluded.raised_at,
                     returned_at = excluded.returned_at, decided_at = excluded.decided_at,
                     last_sequence = excluded.last_sequence, last_position = excluded.last_position";
        let rows = self.rows.as_slice();
        let (value_types, value_texts) = values(rows.iter().map(|a| a.value.as_ref()));
        execute(
            t,
            sql,
            &[
                &tenant.as_str(),
                &column(rows, |a| a.key.gateway.as_str()),
                &column(rows, |a| epoch_bits(a.key.epoch)),
                &column(rows, |a| a.key.machine.as_str()),
                &column(rows, |a| a.key.alarm.as_str()),
                &column(rows, |a| int(a.key.occurrence)),
                &column(rows, |a| a.tag.as_ref().map(TagId::as_str)),
                &column(rows, |a| a.state.mnemonic()),
                &column(rows, |a| a.active),
                &column(rows, |a| a.priority.name()),
                &column(rows, |a| escaped(&a.message)),
                &column(rows, |a| a.limit),
                &value_types,
                &value_texts,
                &column(rows, |a| a.raised_at.micros()),
                &column(rows, |a| a.returned_at.map(Timestamp::micros)),
                &column(rows, |a| a.decided_at.micros()),
                &column(rows, |a| sequence_number(a.last.0)),
                &column(rows, |a| i64::from(a.last.1)),
            ],
        )
        .await?;
        Ok(())
    }
}
