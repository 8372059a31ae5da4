//! Samples of the segments that have their body, or something late.

use deadpool_postgres::Transaction;
use fleet::{Collector, SampleQuery, TagInfo};
use plant_model::TenantId;
use segments::{Head, Minute, SegmentError, TagNumber};
use tiering::{Parts, SegmentRow};

use crate::error::Fault;
use crate::tiers::Of;

/// Segments that one query decodes at most, three weeks of a machine: bounds how long it takes. Beyond it the answer is
/// cut off and says so.
const SEGMENTS_PER_QUERY_MAX: usize = 30_000;

/// Segments in memory at a time: some ten megabytes where they are large.
const SEGMENTS_AT_A_TIME: usize = 100;

/// What of a gateway is sealed.
pub(super) struct Sealed<'t> {
    of: Of<'t>,
    /// Which entry of the answer a tag belongs to.
    places: Vec<(usize, TagNumber)>,
}

impl<'t> Sealed<'t> {
    pub(super) async fn of(
        t: &'t Transaction<'t>,
        tenant: &TenantId,
        query: &SampleQuery,
        tags: &[TagInfo],
    ) -> Result<Self, Fault> {
        let of = Of::new(t, tenant, &query.gateway);
        let known = of.tags(Some(&query.machine)).await?;
        let place = |wanted| tags.iter().position(|info| info.tag == wanted);
        let places = known.into_iter().filter_map(|record| Some((place(record.tag)?, record.number)));
        let places = places.collect();
        Ok(Self { of, places })
    }

    pub(super) async fn collect(&self, query: &SampleQuery, collector: &mut Collector) -> Result<(), Fault> {
        let mut minutes = Minute::of(query.start)..Minute::from_number(Minute::of(query.end).number() + 1);
        for _ in 0..SEGMENTS_PER_QUERY_MAX / SEGMENTS_AT_A_TIME {
            let range = minutes.clone();
            let found = self.of.segments(&query.machine, range, Parts::All, SEGMENTS_AT_A_TIME).await?;
            let Some(last) = found.last() else { return Ok(()) };
            minutes.start = Minute::from_number(last.key.minute.number() + 1);
            for row in &found {
                self.take(row, collector)
                    .map_err(|e| Fault::unreadable(&format!("a segment of machine {}", query.machine), &e))?;
            }
            if collector.is_full() {
                return Ok(());
            }
        }
        collector.cut_off();
        Ok(())
    }

    fn take(&self, row: &SegmentRow, collector: &mut Collector) -> Result<(), SegmentError> {
        let whole = row.body.as_ref().map(|body| (&row.head, body));
        let late = row.late.as_ref().map(|late| (&late.head, &late.body));
        for (head, body) in whole.into_iter().chain(late) {
            let head = Head::read(head)?;
            let segment = head.open(body)?;
            for (place, number) in &self.places {
                let samples = segment.samples(*number)?.unwrap_or_default();
                samples.into_iter().for_each(|sample| collector.add(*place, sample));
            }
        }
        Ok(())
    }
}
