//! The newest sample of every series, found by walking back from the newest batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use plant_model::{GatewayId, Sample, Timestamp};
use protocol::{Catalogue, SeriesId, SeriesSamples, TagRole};

/// How far a gateway's clock may be ahead of the backend's before its samples no longer count as the newest: stored
/// they are, and shown at their time. Otherwise one sample of next year would stand as the latest for a year.
pub const FUTURE_MAX: Duration = Duration::from_secs(300);

/// The newest sample of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct LatestSample {
    /// The series.
    pub series: SeriesId,
    /// The sample.
    pub sample: Sample,
    /// The earliest time since when, as far as was looked back, the value has been the same. Looked back
    /// for on purpose only for the state of a machine.
    pub unchanged_since: Timestamp,
}

/// The newest samples of a gateway in its current epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayLatest {
    /// The gateway.
    pub gateway: GatewayId,
    /// Its current catalogue: says what the series are.
    pub catalogue: Arc<Catalogue>,
    /// At most one sample a series.
    pub samples: Vec<LatestSample>,
}

#[derive(Debug)]
struct Found {
    sample: Sample,
    unchanged_since: Timestamp,
    /// An older sample with another value was seen.
    changed: bool,
}

/// Looks for the newest samples of the series of a catalogue; give it the newest batches first.
#[derive(Debug)]
pub struct LatestScan {
    /// Series, and whether its last change matters.
    wanted: HashMap<SeriesId, bool>,
    /// What is later is not believed.
    until: Timestamp,
    found: HashMap<SeriesId, Found>,
}

impl LatestScan {
    /// Nothing found yet. Samples of later than `now` and [`FUTURE_MAX`] are passed over.
    #[must_use]
    pub fn new(catalogue: &Catalogue, now: Timestamp) -> Self {
        let tags = catalogue.machines.iter().flat_map(|m| &m.tags);
        let wanted = tags.map(|t| (t.series, t.role == TagRole::State)).collect();
        Self { wanted, until: now.plus(FUTURE_MAX), found: HashMap::new() }
    }

    /// Looks at one batch.
    pub fn look_at(&mut self, block: &[SeriesSamples]) {
        for entry in block.iter().rev() {
            if !self.wanted.contains_key(&entry.series) {
                continue;
            }
            for sample in entry.samples.iter().rev() {
                self.offer(entry.series, sample);
            }
        }
    }

    /// Whether older batches have nothing more to tell.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.wanted.iter().all(|(series, since)| self.found.get(series).is_some_and(|f| f.changed || !since))
    }

    /// What was found, by series.
    #[must_use]
    pub fn finish(self) -> Vec<LatestSample> {
        let latest = |(series, f): (SeriesId, Found)| LatestSample {
            series,
            sample: f.sample,
            unchanged_since: f.unchanged_since,
        };
        let mut out: Vec<_> = self.found.into_iter().map(latest).collect();
        out.sort_by_key(|l| l.series);
        out
    }

    fn offer(&mut self, series: SeriesId, sample: &Sample) {
        let at = sample.timestamp();
        if at > self.until {
            return;
        }
        match self.found.get_mut(&series) {
            Some(found) if at > found.sample.timestamp() => {
                // A batch overlapped with a newer one: what was known is now the older sample.
                let same = found.sample.value == sample.value;
                found.unchanged_since = if same { found.unchanged_since } else { at };
                found.changed |= !same;
                found.sample = sample.clone();
            }
            Some(found) if !found.changed && found.sample.value == sample.value => {
                found.unchanged_since = found.unchanged_since.min(at);
            }
            Some(found) => found.changed = true,
            None => {
                let found = Found { sample: sample.clone(), unchanged_since: at, changed: false };
                self.found.insert(series, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use plant_model::{DataType, Enumeration, MachineId, Quality, TagDefinition, TagId, Value};
    use protocol::{CatalogueMachine, CatalogueTag, Epoch};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    #[test]
    fn e2_a_sample_from_the_future_does_not_become_the_latest() {
        let limit = NOW.plus(FUTURE_MAX).micros();
        let mut scan = LatestScan::new(&catalogue(), NOW);
        scan.look_at(&[block(2, &[(limit, 1), (limit + 1, 2)])]);
        assert_eq!(found(scan), [(2, limit, Some(Value::Int(1)), limit)]);
    }

    fn catalogue() -> Catalogue {
        let tag = |series, role| CatalogueTag {
            series: SeriesId(series),
            definition: TagDefinition {
                id: TagId::new(&format!("tag-{series}")).expect("valid"),
                name: String::new(),
                unit: String::new(),
                data_type: DataType::Int,
                enumeration: Enumeration::default(),
            },
            role,
        };
        let machine = CatalogueMachine {
            id: MachineId::new("press-1").expect("valid"),
            name: String::new(),
            kind: String::new(),
            protocol: String::new(),
            tags: vec![tag(1, TagRole::State), tag(2, TagRole::Plain)],
            alarms: Vec::new(),
        };
        Catalogue { epoch: Epoch::from_u64(1), machines: vec![machine] }
    }

    fn block(series: u32, samples: &[(i64, i64)]) -> SeriesSamples {
        let sample = |(at, value): &(i64, i64)| Sample {
            value: Some(Value::Int(*value)),
            quality: Quality::GOOD,
            source_timestamp: None,
            gateway_timestamp: Timestamp::from_micros(*at),
        };
        SeriesSamples { series: SeriesId(series), samples: samples.iter().map(sample).collect() }
    }

    /// Series, time and value of the newest sample, and since when the value has been the same.
    fn found(scan: LatestScan) -> Vec<(u32, i64, Option<Value>, i64)> {
        let row = |l: LatestSample| {
            (l.series.0, l.sample.timestamp().micros(), l.sample.value, l.unchanged_since.micros())
        };
        scan.finish().into_iter().map(row).collect()
    }

    #[test]
    fn the_newest_sample_wins_whichever_batch_it_is_in() {
        let mut scan = LatestScan::new(&catalogue(), NOW);
        scan.look_at(&[block(2, &[(10, 1), (20, 2)])]);
        scan.look_at(&[block(2, &[(5, 7), (25, 3)]), block(99, &[(1, 1)])]);
        assert_eq!(found(scan), [(2, 25, Some(Value::Int(3)), 25)]);
    }

    #[test]
    fn the_last_of_two_samples_of_one_instant_is_the_latest() {
        let mut scan = LatestScan::new(&catalogue(), NOW);
        scan.look_at(&[block(2, &[(10, 1), (10, 2)])]);
        assert_eq!(found(scan), [(2, 10, Some(Value::Int(2)), 10)]);
    }

    #[test]
    fn the_search_goes_on_until_the_state_was_another_and_every_tag_is_known() {
        let mut scan = LatestScan::new(&catalogue(), NOW);
        scan.look_at(&[block(1, &[(30, 0), (40, 0)])]);
        assert!(!scan.is_complete(), "tag 2 is not known");
        scan.look_at(&[block(2, &[(25, 9)]), block(1, &[(10, 2), (20, 0)])]);
        assert!(scan.is_complete());
        scan.look_at(&[block(1, &[(1, 0)])]);
        assert_eq!(found(scan), [(1, 40, Some(Value::Int(0)), 20), (2, 25, Some(Value::Int(9)), 25)]);
    }
}
