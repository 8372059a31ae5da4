//! Samples, by decoding the segments and the batches that overlap a range.
//!
//! Batches are found by the time of their latest sample. A batch that overlaps `[start, end)` ends at
//! `start` or later, and, no batch being longer than `longest_span`, before `end + longest_span`.

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use fleet::{Collector, SampleQuery, SampleSet, TagInfo};
use plant_model::{DataType, GatewayId, TenantId};
use protocol::{Batch, BatchBody, SeriesId, SeriesSamples, StreamId, TagRole};
use tokio_postgres::{Portal, Row};

use super::sealed::Sealed;
use crate::codec::{Columns, Params, row, rows, stream_code};
use crate::error::Fault;

/// Batches that one query decodes at most, 8 days of one gateway at one batch in 5 s: bounds how long it
/// takes, a few seconds. Beyond it the answer is cut off and says so.
const BATCHES_PER_QUERY_MAX: usize = 140_000;

/// Batches that are fetched, and decoded without a pause, at a time: some megabytes, and some milliseconds.
const PAGE: i32 = 64;

const TELEMETRY: StreamId = StreamId::Telemetry;

/// Which entry of the answer a series of an epoch belongs to.
type Places = HashMap<(i64, SeriesId), usize>;

/// The rows of a query, a page at a time.
struct Pages<'a> {
    t: &'a Transaction<'a>,
    portal: Portal,
}

impl<'a> Pages<'a> {
    async fn open(t: &'a Transaction<'a>, sql: &str, params: Params<'_>) -> Result<Self, Fault> {
        let statement = t.prepare_cached(sql).await?;
        Ok(Self { t, portal: t.bind(&statement, params).await? })
    }

    /// The next rows; none when there are no more.
    async fn next(&self) -> Result<Vec<Row>, Fault> {
        Ok(self.t.query_portal(&self.portal, PAGE).await?)
    }
}

pub(super) async fn samples(
    t: &Transaction<'_>,
    tenant: &TenantId,
    query: &SampleQuery,
) -> Result<SampleSet, Fault> {
    let (tags, places) = resolve(t, tenant, query).await?;
    let sealed = Sealed::of(t, tenant, query, &tags).await?;
    let mut collector = Collector::new(query, tags);
    if query.start >= query.end || places.is_empty() {
        return Ok(collector.finish());
    }
    sealed.collect(query, &mut collector).await?;
    let sql = "SELECT epoch, sequence, body FROM batch WHERE tenant = $1 AND gateway = $2 AND stream = $3
               AND last_at >= $4 AND last_at < $5 AND first_at < $6 ORDER BY last_at, epoch, sequence";
    let (start, end) = (query.start.micros(), query.end.micros());
    let horizon = end.saturating_add(longest_span(t, tenant, &query.gateway).await?);
    let key = (tenant.as_str(), query.gateway.as_str(), stream_code(TELEMETRY));
    let pages = Pages::open(t, sql, &[&key.0, &key.1, &key.2, &start, &horizon, &end]).await?;
    let mut decoded = 0;
    loop {
        let page = pages.next().await?;
        for batch in &page {
            if decoded == BATCHES_PER_QUERY_MAX {
                collector.cut_off();
            }
            if collector.is_full() {
                return Ok(collector.finish());
            }
            decoded += 1;
            collect(&mut collector, &places, &query.gateway, batch)?;
        }
        if page.is_empty() {
            return Ok(collector.finish());
        }
    }
}

fn collect(
    collector: &mut Collector,
    places: &Places,
    gateway: &GatewayId,
    batch: &Row,
) -> Result<(), Fault> {
    let epoch = batch.number(0)?;
    for block in read_batch(gateway, batch)? {
        let Some(place) = places.get(&(epoch, block.series)) else { continue };
        block.samples.into_iter().for_each(|sample| collector.add(*place, sample));
    }
    Ok(())
}

/// The tags of the query that the machine has or had, each as it was last defined, and their series in
/// every epoch.
async fn resolve(
    t: &Transaction<'_>,
    tenant: &TenantId,
    query: &SampleQuery,
) -> Result<(Vec<TagInfo>, Places), Fault> {
    let sql = "SELECT epoch, series, tag, unit, data_type, role FROM series
               WHERE tenant = $1 AND gateway = $2 AND machine = $3 ORDER BY updated_at";
    let key = (tenant.as_str(), query.gateway.as_str(), query.machine.as_str());
    let known = rows(t, sql, &[&key.0, &key.1, &key.2], |r| {
        let info = TagInfo {
            tag: r.parsed(2)?,
            unit: r.free_text(3)?,
            data_type: r.word(4, DataType::from_name)?,
            role: r.word(5, TagRole::from_name)?,
        };
        Ok(((r.number(0)?, SeriesId(r.position(1)?)), info))
    })
    .await?;
    let mut tags: Vec<TagInfo> = Vec::new();
    let mut places = Places::new();
    for wanted in &query.tags {
        let place = tags.len();
        let mine = || known.iter().filter(|(_, info)| info.tag == *wanted);
        let Some((_, newest)) = mine().next_back() else { continue };
        if tags.iter().any(|t| t.tag == *wanted) {
            continue;
        }
        tags.push(newest.clone());
        places.extend(mine().map(|(series, _)| (*series, place)));
    }
    Ok((tags, places))
}

async fn longest_span(t: &Transaction<'_>, tenant: &TenantId, gateway: &GatewayId) -> Result<i64, Fault> {
    let sql = "SELECT coalesce(max(longest_span), 0) FROM stream
               WHERE tenant = $1 AND gateway = $2 AND stream = $3";
    let key = (tenant.as_str(), gateway.as_str(), stream_code(TELEMETRY));
    let longest = row(t, sql, &[&key.0, &key.1, &key.2], |r| r.number(0)).await?;
    // One more, because the bound in the query excludes its end.
    Ok(longest.unwrap_or(0).saturating_add(1))
}

/// Decodes a row `epoch, sequence, body`.
fn read_batch(gateway: &GatewayId, r: &Row) -> Result<Vec<SeriesSamples>, Fault> {
    let name = || -> Result<String, Fault> {
        Ok(format!("telemetry batch {} of gateway {gateway}, epoch {}", r.sequence(1)?, r.epoch(0)?))
    };
    match Batch::decode(r.bytes(2)?) {
        Ok(Batch { body: BatchBody::Samples(block), .. }) => Ok(block),
        Ok(_) => Err(Fault::Unreadable(format!("{}: it holds no samples", name()?))),
        Err(error) => Err(Fault::unreadable(&name()?, &error)),
    }
}
