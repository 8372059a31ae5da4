//! The parts of the table of bodies: one for each week.

use std::collections::BTreeSet;

use deadpool_postgres::Transaction;
use plant_model::TenantId;

use crate::codec::{Columns, execute, row};
use crate::error::Fault;

const WEEK_MINUTES: i64 = 7 * 24 * 60;

/// The weeks of minutes.
pub(super) fn weeks(minutes: impl IntoIterator<Item = i64>) -> BTreeSet<i64> {
    minutes.into_iter().map(|minute| minute.div_euclid(WEEK_MINUTES)).collect()
}

/// Makes the parts of weeks that have none. No part is dropped until the transaction has ended.
pub(super) async fn make(t: &Transaction<'_>, weeks: &BTreeSet<i64>) -> Result<(), Fault> {
    execute(t, "LOCK TABLE ONLY segment_body IN ROW EXCLUSIVE MODE", &[]).await?;
    let weeks: Vec<i64> = weeks.iter().copied().collect();
    let sql = "SELECT make_segment_body_part(week) FROM unnest($1::bigint[]) AS week";
    execute(t, sql, &[&weeks]).await?;
    Ok(())
}

/// Drops the part of a week if no tenant has anything in it.
pub(super) async fn drop_if_empty(t: &Transaction<'_>, tenant: &TenantId, week: i64) -> Result<(), Fault> {
    // What this tenant has left is found without keeping anybody waiting.
    let sql = "SELECT EXISTS (SELECT 1 FROM segment_body WHERE tenant = $1 AND minute >= $2 AND minute < $3)";
    let (first, end) = (week.saturating_mul(WEEK_MINUTES), (week + 1).saturating_mul(WEEK_MINUTES));
    if row(t, sql, &[&tenant.as_str(), &first, &end], |r| r.flag(0)).await?.unwrap_or(true) {
        return Ok(());
    }
    execute(t, "SELECT drop_segment_body_part_if_empty($1)", &[&week]).await?;
    Ok(())
}
