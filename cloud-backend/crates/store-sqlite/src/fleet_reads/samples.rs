//! Samples, by decoding the segments and the batches that overlap a range.
//!
//! Batches are found by the time of their latest sample. A batch that overlaps `[start, end)` ends at
//! `start` or later, and, no batch being longer than `longest_span`, before `end + longest_span`.

use std::collections::HashMap;

use fleet::{Collector, SampleQuery, SampleSet, TagInfo};
use plant_model::{DataType, GatewayId, TagId};
use protocol::{Batch, BatchBody, SeriesId, SeriesSamples, StreamId, TagRole};
use rusqlite::{Connection, Row, params};
use segments::{Head, Minute, SegmentError, TagNumber};
use tiering::{Parts, SegmentRow};

use crate::codec::{Columns, row, rows};
use crate::error::Fault;
use crate::tiers;

/// Batches that one query decodes at most, 8 days of one gateway at one batch in 5 s: bounds how long it
/// keeps a reader busy, a few seconds. Beyond it the answer is cut off and says so.
const BATCHES_PER_QUERY_MAX: usize = 140_000;

/// The same of segments: three weeks of a machine.
const SEGMENTS_PER_QUERY_MAX: usize = 30_000;

/// Segments in memory at a time: some ten megabytes where they are large.
const SEGMENTS_AT_A_TIME: usize = 100;

const TELEMETRY: i64 = StreamId::Telemetry.code() as i64;

/// Which entry of the answer a series of an epoch belongs to.
type Places = HashMap<(i64, SeriesId), usize>;

pub(super) fn samples(c: &Connection, query: &SampleQuery) -> Result<SampleSet, Fault> {
    let (tags, places) = resolve(c, query)?;
    let numbers = numbers(c, query, &tags)?;
    let mut collector = Collector::new(query, tags);
    if query.start >= query.end || places.is_empty() {
        return Ok(collector.finish());
    }
    sealed(c, query, &numbers, &mut collector)?;
    let sql = "SELECT epoch, sequence, body FROM batch WHERE gateway = ?1 AND stream = ?2
               AND last_at >= ?3 AND last_at < ?4 AND first_at < ?5 ORDER BY last_at, epoch, sequence";
    let start = query.start.micros();
    let end = query.end.micros();
    let horizon = end.saturating_add(longest_span(c, &query.gateway)?);
    let mut statement = c.prepare_cached(sql)?;
    let mut batches = statement.query(params![query.gateway.as_str(), TELEMETRY, start, horizon, end])?;
    let mut decoded = 0;
    while let Some(batch) = batches.next()? {
        if decoded == BATCHES_PER_QUERY_MAX {
            collector.cut_off();
        }
        if collector.is_full() {
            break;
        }
        decoded += 1;
        let epoch = batch.number(0)?;
        for block in read_batch(&query.gateway, batch)? {
            let Some(place) = places.get(&(epoch, block.series)) else { continue };
            block.samples.into_iter().for_each(|sample| collector.add(*place, sample));
        }
    }
    Ok(collector.finish())
}

/// Which entry of the answer a tag of segments belongs to.
fn numbers(c: &Connection, query: &SampleQuery, tags: &[TagInfo]) -> Result<Vec<(usize, TagNumber)>, Fault> {
    let known = tiers::tags(c, &query.gateway, Some(&query.machine))?;
    let place = |id: &TagId| tags.iter().position(|info| info.tag == *id);
    Ok(known.iter().filter_map(|record| Some((place(&record.tag)?, record.number))).collect())
}

/// The samples of segments that have their body, or something late.
fn sealed(
    c: &Connection,
    query: &SampleQuery,
    wanted: &[(usize, TagNumber)],
    collector: &mut Collector,
) -> Result<(), Fault> {
    let mut minutes = Minute::of(query.start)..Minute::from_number(Minute::of(query.end).number() + 1);
    for _ in 0..SEGMENTS_PER_QUERY_MAX / SEGMENTS_AT_A_TIME {
        let of_machine = (&query.gateway, &query.machine);
        let found = tiers::segments(c, of_machine, &minutes, Parts::All, SEGMENTS_AT_A_TIME)?;
        let Some(last) = found.last().map(|row| row.key.minute) else { return Ok(()) };
        for row in &found {
            collect(row, wanted, collector)
                .map_err(|e| Fault::unreadable(&format!("a segment of {}", query.machine), &e))?;
        }
        if collector.is_full() {
            return Ok(());
        }
        minutes.start = Minute::from_number(last.number() + 1);
    }
    collector.cut_off();
    Ok(())
}

fn collect(
    row: &SegmentRow,
    wanted: &[(usize, TagNumber)],
    collector: &mut Collector,
) -> Result<(), SegmentError> {
    let whole = row.body.as_ref().map(|body| (&row.head, body));
    let late = row.late.as_ref().map(|late| (&late.head, &late.body));
    for (head, body) in whole.into_iter().chain(late) {
        let head = Head::read(head)?;
        let segment = head.open(body)?;
        for (place, number) in wanted {
            let samples = segment.samples(*number)?.unwrap_or_default();
            samples.into_iter().for_each(|sample| collector.add(*place, sample));
        }
    }
    Ok(())
}

/// The tags of the query that the machine has or had, each as it was last defined, and their series in
/// every epoch.
fn resolve(c: &Connection, query: &SampleQuery) -> Result<(Vec<TagInfo>, Places), Fault> {
    let sql =
        "SELECT epoch, series, tag, unit, data_type, role FROM series WHERE gateway = ?1 AND machine = ?2
               ORDER BY updated_at";
    let known = rows(c, sql, [query.gateway.as_str(), query.machine.as_str()], |r| {
        let number = u32::try_from(r.number(1)?).map_err(|e| Fault::unreadable("a series", &e))?;
        let info = TagInfo {
            tag: r.parsed(2)?,
            unit: r.text(3)?,
            data_type: r.word(4, DataType::from_name)?,
            role: r.word(5, TagRole::from_name)?,
        };
        Ok(((r.number(0)?, SeriesId(number)), info))
    })?;
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

fn longest_span(c: &Connection, gateway: &GatewayId) -> Result<i64, Fault> {
    let sql = "SELECT coalesce(max(longest_span), 0) FROM stream WHERE gateway = ?1 AND stream = ?2";
    // One more, because the bound in the query excludes its end.
    Ok(row(c, sql, params![gateway.as_str(), TELEMETRY], |r| r.number(0))?.unwrap_or(0).saturating_add(1))
}

/// Decodes a row `epoch, sequence, body`.
fn read_batch(gateway: &GatewayId, r: &Row<'_>) -> Result<Vec<SeriesSamples>, Fault> {
    let name = |r: &Row<'_>| -> Result<String, Fault> {
        Ok(format!("telemetry batch {} of gateway {gateway}, epoch {}", r.sequence(1)?, r.epoch(0)?))
    };
    let body = r.get_ref(2)?.as_blob().map_err(|e| Fault::unreadable("a batch", &e))?;
    match Batch::decode(body) {
        Ok(Batch { body: BatchBody::Samples(block), .. }) => Ok(block),
        Ok(_) => Err(Fault::Unreadable(format!("{}: it holds no samples", name(r)?))),
        Err(error) => Err(Fault::unreadable(&name(r)?, &error)),
    }
}
