//! Batches that the transaction has accepted and not yet written: they go in one statement, all together.

use deadpool_postgres::Transaction;
use ingestion::{PreparedBatch, QuarantinedBatch};
use plant_model::{TenantId, Timestamp};

use super::streams::StreamKey;
use crate::codec::{escaped, execute, sequence_number};
use crate::error::Fault;

/// What waits to be written. The bodies stay where they are.
#[derive(Default)]
pub(super) struct Pending<'s> {
    batches: Vec<(StreamKey, &'s PreparedBatch, Timestamp)>,
    quarantined: Vec<(StreamKey, &'s QuarantinedBatch, Timestamp)>,
}

impl<'s> Pending<'s> {
    pub(super) fn batch(&mut self, key: StreamKey, batch: &'s PreparedBatch, received_at: Timestamp) {
        self.batches.push((key, batch, received_at));
    }

    pub(super) fn quarantined(
        &mut self,
        key: StreamKey,
        batch: &'s QuarantinedBatch,
        received_at: Timestamp,
    ) {
        self.quarantined.push((key, batch, received_at));
    }

    /// Writes what waits.
    pub(super) async fn flush(&mut self, t: &Transaction<'_>, tenant: &TenantId) -> Result<(), Fault> {
        let batches = std::mem::take(&mut self.batches);
        if !batches.is_empty() {
            insert_batches(t, tenant, &batches).await?;
        }
        let quarantined = std::mem::take(&mut self.quarantined);
        if !quarantined.is_empty() {
            insert_quarantined(t, tenant, &quarantined).await?;
        }
        Ok(())
    }
}

async fn insert_batches(
    t: &Transaction<'_>,
    tenant: &TenantId,
    batches: &[(StreamKey, &PreparedBatch, Timestamp)],
) -> Result<(), Fault> {
    let sql = "INSERT INTO batch
                 (tenant, gateway, epoch, stream, sequence, first_at, last_at, count, received_at, body)
               SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                 $7::bigint[], $8::bigint[], $9::bigint[], $10::bytea[])";
    let gateways: Vec<&str> = batches.iter().map(|(key, ..)| key.columns().0).collect();
    let bodies: Vec<&[u8]> = batches.iter().map(|(_, batch, _)| batch.payload.as_ref()).collect();
    let column = |of: fn(&(StreamKey, &PreparedBatch, Timestamp)) -> i64| -> Vec<i64> {
        batches.iter().map(of).collect()
    };
    execute(
        t,
        sql,
        &[
            &tenant.as_str(),
            &gateways,
            &column(|(key, ..)| key.columns().1),
            &column(|(key, ..)| key.columns().2),
            &column(|(_, batch, _)| sequence_number(batch.header.sequence)),
            &column(|(_, batch, _)| batch.header.first_at.micros()),
            &column(|(_, batch, _)| batch.header.last_at.micros()),
            &column(|(_, batch, _)| i64::from(batch.header.count)),
            &column(|(.., received_at)| received_at.micros()),
            &bodies,
        ],
    )
    .await?;
    Ok(())
}

async fn insert_quarantined(
    t: &Transaction<'_>,
    tenant: &TenantId,
    batches: &[(StreamKey, &QuarantinedBatch, Timestamp)],
) -> Result<(), Fault> {
    let sql =
        "INSERT INTO quarantine (tenant, gateway, epoch, stream, sequence, reason, detail, received_at, body)
               SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[],
                 $7::text[], $8::bigint[], $9::bytea[])";
    let gateways: Vec<&str> = batches.iter().map(|(key, ..)| key.columns().0).collect();
    let reasons: Vec<&str> = batches.iter().map(|(_, batch, _)| batch.reason).collect();
    let details: Vec<_> = batches.iter().map(|(_, batch, _)| escaped(&batch.detail)).collect();
    let bodies: Vec<&[u8]> = batches.iter().map(|(_, batch, _)| batch.payload.as_ref()).collect();
    let column = |of: fn(&(StreamKey, &QuarantinedBatch, Timestamp)) -> i64| -> Vec<i64> {
        batches.iter().map(of).collect()
    };
    execute(
        t,
        sql,
        &[
            &tenant.as_str(),
            &gateways,
            &column(|(key, ..)| key.columns().1),
            &column(|(key, ..)| key.columns().2),
            &column(|(_, batch, _)| sequence_number(batch.header.sequence)),
            &reasons,
            &details,
            &column(|(.., received_at)| received_at.micros()),
            &bodies,
        ],
    )
    .await?;
    Ok(())
}
