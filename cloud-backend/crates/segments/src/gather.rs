//! From batches to the contents of minutes.

use std::collections::{BTreeMap, HashMap};

use plant_model::{MachineId, Sample};
use protocol::{Batch, BatchBody, BatchHeader, Epoch, SeriesId, SeriesSamples};

use crate::{Content, Minute, SegmentError, Source, TagKind, TagNumber};

/// Where the samples of a series belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The machine, within its gateway.
    pub machine: MachineId,
    /// The tag.
    pub tag: TagNumber,
    /// How its values are summed up.
    pub kind: TagKind,
}

/// Sorts the samples of a wave of one stream by machine and minute.
#[derive(Debug, Default)]
pub struct Gatherer {
    contents: BTreeMap<(MachineId, Minute), Content>,
}

impl Gatherer {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a batch. Batches of one epoch are added in their order; one of another stream brings nothing.
    ///
    /// # Errors
    /// [`SegmentError::UnknownSeries`]: the batch has to wait for its catalogue, and those after it with it; nothing of
    /// it was added. Any other: the wave is to be given up.
    pub fn add(
        &mut self,
        batch: &Batch,
        place: impl Fn(Epoch, SeriesId) -> Option<Place>,
    ) -> Result<(), SegmentError> {
        let BatchBody::Samples(block) = &batch.body else { return Ok(()) };
        let epoch = batch.header.epoch;
        let mut places = HashMap::new();
        for entry in block {
            let series = entry.series;
            let place = place(epoch, series).ok_or(SegmentError::UnknownSeries { epoch, series })?;
            places.insert(series, place);
        }
        block.iter().try_for_each(|entry| self.add_series(&batch.header, &places[&entry.series], entry))
    }

    fn add_series(
        &mut self,
        header: &BatchHeader,
        place: &Place,
        entry: &SeriesSamples,
    ) -> Result<(), SegmentError> {
        let source = Source { epoch: header.epoch, sequence: header.sequence };
        let same_minute = |a: &Sample, b: &Sample| Minute::of_sample(a) == Minute::of_sample(b);
        for samples in entry.samples.chunk_by(same_minute) {
            let minute = Minute::of_sample(&samples[0]);
            let key = (place.machine.clone(), minute);
            let content = self.contents.entry(key).or_insert_with(|| Content::new(minute));
            content.add((place.tag, place.kind), (source, header.detail), samples)?;
        }
        Ok(())
    }

    /// What came together.
    #[must_use]
    pub fn finish(self) -> BTreeMap<(MachineId, Minute), Content> {
        self.contents
    }
}
