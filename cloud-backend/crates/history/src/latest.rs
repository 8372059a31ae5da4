//! The newest samples before an instant.

use std::collections::BTreeMap;

use plant_model::{Sample, Timestamp};
use segments::Minute;
use tiering::Hour;

use crate::fold::Fold;
use crate::plan::after;
use crate::{HistoryError, Reader};

/// How far is looked back, each time as far as no sample was found.
const STEPS: [i64; 6] = [
    Hour::MICROS / 6,
    Hour::MICROS,
    12 * Hour::MICROS,
    7 * 24 * Hour::MICROS,
    90 * 24 * Hour::MICROS,
    i64::MAX,
];

impl Reader<'_> {
    /// The newest sample of each tag of [`Reader::tags`] in the range; of one instant the one that was sent last.
    ///
    /// # Errors
    /// The budget does not suffice, or something cannot be read.
    pub async fn latest(mut self) -> Result<(Vec<Option<Sample>>, Self), HistoryError> {
        let tags = std::mem::take(&mut self.tags);
        let mut found: Vec<Option<Sample>> = vec![None; tags.len()];
        let mut end = self.range.end;
        for step in STEPS {
            let start =
                Timestamp::from_micros(self.range.end.micros().saturating_sub(step)).max(self.range.start);
            let open = tags.iter().enumerate().filter(|(index, _)| found[*index].is_none());
            let open: Vec<usize> = open.map(|(index, _)| index).collect();
            if start >= end || open.is_empty() {
                continue;
            }
            self.tags = open.iter().map(|index| tags[*index].clone()).collect();
            self.numbers = self.tags.iter().enumerate().map(|(i, tag)| (tag.number, (i, tag.kind))).collect();
            self.series.clear();
            for (index, sample) in open.into_iter().zip(self.newest(start..end).await?) {
                found[index] = sample;
            }
            end = start;
        }
        self.tags = tags;
        Ok((found, self))
    }

    async fn newest(
        &mut self,
        range: std::ops::Range<Timestamp>,
    ) -> Result<Vec<Option<Sample>>, HistoryError> {
        let mut fold = Fold::new(vec![range.start, range.end], self.tags.len(), None);
        self.fold(&mut fold).await?;
        let mut out = Vec::with_capacity(self.tags.len());
        let mut known: BTreeMap<Minute, segments::Content> = BTreeMap::new();
        for (place, mut stretches) in fold.tags.into_iter().enumerate() {
            let Some(rollup) = stretches.remove(&0) else {
                out.push(None);
                continue;
            };
            let minute = Minute::of(rollup.last_at);
            if !known.contains_key(&minute) {
                let (_, mut unsealed) = self.unsealed(&(minute.start()..minute.end())).await?;
                let (_, contents) = self.contents(&(minute..after(minute)), &mut unsealed).await?;
                known.extend(contents);
            }
            let samples = known.get(&minute).and_then(|content| content.samples(self.tags[place].number));
            let newest = samples
                .and_then(|samples| samples.into_iter().rfind(|sample| range.contains(&sample.timestamp())));
            out.push(newest);
        }
        Ok(out)
    }
}
