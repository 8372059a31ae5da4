//! Rollups of a minute as columns over the tags. Readings go through the codec of samples, so that they return bit by
//! bit and a scaled register costs two bytes, not eight.

use plant_model::{Quality, Sample, Timestamp, Value};
use prost::Message;
use protocol::{SeriesId, SeriesSamples, samples_from_bytes, samples_to_bytes};

use super::wire;
use crate::{Course, Exactness, Minute, Reading, Rollup, SegmentError, StateTimes, TagKind};

/// Bits of `flags`.
mod flag {
    /// The last value is in force after the last sample.
    pub(super) const IN_FORCE: u8 = 1;
    /// First and last sample are not those of the first and last reading: see `bounds`.
    pub(super) const BOUNDS: u8 = 2;
    pub(super) const APPROXIMATE: u8 = 4;
    /// A value was in force for another time than from the first to the last reading: see `known_us`.
    pub(super) const KNOWN: u8 = 8;
    /// There are other states than the first, in force from the first to the last reading: see `state`.
    pub(super) const STATES: u8 = 16;
    /// There are a smallest and a largest reading.
    pub(super) const EXTREMES: u8 = 32;
    pub(super) const ALL: u8 = 63;
}

/// A rollup as bytes: equal rollups have equal ones, NaNs included.
pub(super) fn to_bytes(rollup: &Rollup) -> Vec<u8> {
    to_wire(Minute::of(rollup.first_at), std::iter::once(rollup)).encode_to_vec()
}

pub(super) fn to_wire<'a>(minute: Minute, rollups: impl Iterator<Item = &'a Rollup>) -> wire::Statistics {
    let mut out = wire::Statistics::default();
    let (mut ends, mut extremes, mut states) = (Vec::new(), Vec::new(), Vec::new());
    for (index, rollup) in (0_u32..).zip(rollups) {
        out.count.push(rollup.count);
        out.not_good.push(rollup.count.saturating_sub(rollup.good_count));
        let mut flags = 0;
        set(&mut flags, flag::IN_FORCE, rollup.in_force);
        set(&mut flags, flag::APPROXIMATE, rollup.exactness == Exactness::Approximate);
        let pair = rollup.first.as_ref().zip(rollup.last.as_ref());
        ends.extend(pair.map(|pair| block(index, pair)));
        if pair.map(|(first, last)| (first.at, last.at)) != Some((rollup.first_at, rollup.last_at)) {
            flags |= flag::BOUNDS;
            let offset = |at: Timestamp| at.micros().wrapping_sub(minute.start().micros());
            out.bounds.extend([offset(rollup.first_at), offset(rollup.last_at)]);
        }
        if let Some(pair) = rollup.min.as_ref().zip(rollup.max.as_ref()) {
            flags |= flag::EXTREMES;
            extremes.push(block(index, pair));
        }
        flags |= push_course(&mut out, &mut states, index, rollup);
        out.flags.push(flags);
    }
    for (field, blocks) in [(&mut out.ends, ends), (&mut out.extremes, extremes), (&mut out.state, states)] {
        if !blocks.is_empty() {
            *field = samples_to_bytes(&blocks);
        }
    }
    out
}

fn set(flags: &mut u8, bit: u8, is_set: bool) {
    *flags |= if is_set { bit } else { 0 };
}

fn push_course(
    out: &mut wire::Statistics,
    states: &mut Vec<SeriesSamples>,
    index: u32,
    rollup: &Rollup,
) -> u8 {
    match &rollup.course {
        Course::Analog { sum, integral, known_us } => {
            out.sum.push(*sum);
            out.integral.push(*integral);
            if *known_us == between(rollup) {
                return 0;
            }
            out.known_us.push(*known_us);
            flag::KNOWN
        }
        Course::Counter { increase, resets } => {
            out.increase.push(*increase);
            out.resets.push(*resets);
            0
        }
        Course::State(times) if is_one_state(times, rollup) => 0,
        Course::State(times) => {
            out.state_count.push(u32::try_from(times.iter().len()).unwrap_or(u32::MAX));
            out.state_us.extend(times.iter().map(|(_, time)| time));
            out.other_us.push(times.other_us());
            let samples = times.iter().map(|(state, _)| sample(Timestamp::default(), state)).collect();
            states.push(SeriesSamples { series: SeriesId(index), samples });
            flag::STATES
        }
    }
}

/// From the first to the last reading.
fn between(rollup: &Rollup) -> u64 {
    let pair = rollup.first.as_ref().zip(rollup.last.as_ref());
    pair.map_or(0, |(first, last)| last.at.micros().abs_diff(first.at.micros()))
}

fn is_one_state(times: &StateTimes, rollup: &Rollup) -> bool {
    let mut states = times.iter();
    let first = rollup.first.as_ref().zip(states.next());
    times.other_us() == 0
        && states.next().is_none()
        && first
            .is_some_and(|(first, (state, time))| first.value.is_identical(state) && time == between(rollup))
}

fn block(index: u32, (a, b): (&Reading, &Reading)) -> SeriesSamples {
    let samples = [a, b].map(|reading| sample(reading.at, &reading.value)).to_vec();
    SeriesSamples { series: SeriesId(index), samples }
}

fn sample(at: Timestamp, value: &Value) -> Sample {
    let value = Some(value.clone());
    Sample { value, quality: Quality::GOOD, source_timestamp: None, gateway_timestamp: at }
}

/// Reads the rollups of tags of these kinds.
pub(super) fn from_wire(
    minute: Minute,
    kinds: &[TagKind],
    statistics: &wire::Statistics,
) -> Result<Vec<Rollup>, SegmentError> {
    let mut reader = Reader {
        minute,
        counts: statistics.count.iter().zip(&statistics.not_good),
        flags: statistics.flags.iter(),
        bounds: statistics.bounds.chunks_exact(2),
        ends: Blocks::read(&statistics.ends)?,
        extremes: Blocks::read(&statistics.extremes)?,
        analog: statistics.sum.iter().zip(&statistics.integral),
        known_us: statistics.known_us.iter(),
        counter: statistics.increase.iter().zip(&statistics.resets),
        states: Blocks::read(&statistics.state)?,
        state_us: statistics.state_us.iter(),
        other: statistics.state_count.iter().zip(&statistics.other_us),
    };
    (0_u32..).zip(kinds).map(|(index, kind)| reader.rollup(index, *kind)).collect()
}

struct Reader<'a> {
    minute: Minute,
    counts: std::iter::Zip<std::slice::Iter<'a, u64>, std::slice::Iter<'a, u64>>,
    flags: std::slice::Iter<'a, u8>,
    bounds: std::slice::ChunksExact<'a, i64>,
    ends: Blocks,
    extremes: Blocks,
    analog: std::iter::Zip<std::slice::Iter<'a, f64>, std::slice::Iter<'a, f64>>,
    known_us: std::slice::Iter<'a, u64>,
    counter: std::iter::Zip<std::slice::Iter<'a, f64>, std::slice::Iter<'a, u64>>,
    states: Blocks,
    state_us: std::slice::Iter<'a, u64>,
    other: std::iter::Zip<std::slice::Iter<'a, u32>, std::slice::Iter<'a, u64>>,
}

impl Reader<'_> {
    fn rollup(&mut self, index: u32, kind: TagKind) -> Result<Rollup, SegmentError> {
        let (&count, &not_good) = next(&mut self.counts, "count")?;
        let flags = *next(&mut self.flags, "flags")?;
        if flags & !flag::ALL != 0 {
            return Err(SegmentError::field("flags", format!("unknown bits in {flags:#x}")));
        }
        let good_count = count.checked_sub(not_good);
        let good_count = good_count.ok_or_else(|| SegmentError::field("not_good", "more than there are"))?;
        let (first, last) = if good_count > 0 { self.ends.pair(index)? } else { (None, None) };
        let (min, max) = if flags & flag::EXTREMES != 0 { self.extremes.pair(index)? } else { (None, None) };
        let (first_at, last_at) = match (&first, &last) {
            (Some(first), Some(last)) if flags & flag::BOUNDS == 0 => (first.at, last.at),
            _ => self.bounds()?,
        };
        let exactness =
            if flags & flag::APPROXIMATE == 0 { Exactness::Exact } else { Exactness::Approximate };
        let in_force = flags & flag::IN_FORCE != 0;
        let course = Course::new(kind);
        let mut rollup = Rollup {
            count,
            good_count,
            first_at,
            last_at,
            first,
            last,
            min,
            max,
            in_force,
            course,
            exactness,
        };
        rollup.course = self.course(index, kind, flags, &rollup)?;
        Ok(rollup)
    }

    fn bounds(&mut self) -> Result<(Timestamp, Timestamp), SegmentError> {
        let pair = next(&mut self.bounds, "bounds")?;
        let at = |offset: i64| Timestamp::from_micros(self.minute.start().micros().wrapping_add(offset));
        Ok((at(pair[0]), at(pair[1])))
    }

    fn course(
        &mut self,
        index: u32,
        kind: TagKind,
        flags: u8,
        rollup: &Rollup,
    ) -> Result<Course, SegmentError> {
        match kind {
            TagKind::Analog => {
                let (&sum, &integral) = next(&mut self.analog, "sum")?;
                let is_stated = flags & flag::KNOWN != 0;
                let known_us =
                    if is_stated { *next(&mut self.known_us, "known_us")? } else { between(rollup) };
                Ok(Course::Analog { sum, integral, known_us })
            }
            TagKind::Counter => {
                let (&increase, &resets) = next(&mut self.counter, "increase")?;
                Ok(Course::Counter { increase, resets })
            }
            TagKind::State if flags & flag::STATES != 0 => self.states(index),
            TagKind::State => {
                let first = rollup.first.as_ref();
                let first = first.ok_or_else(|| SegmentError::field("state", "a tag without a reading"))?;
                let times = vec![(first.value.clone(), between(rollup))];
                Ok(Course::State(StateTimes::from_parts(times, 0)))
            }
        }
    }

    fn states(&mut self, index: u32) -> Result<Course, SegmentError> {
        let (&count, &other_us) = next(&mut self.other, "state_count")?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let states = if count == 0 { Vec::new() } else { self.states.samples(index, count)? };
        let times = states
            .into_iter()
            .map(|state| Ok((state.value, *next(&mut self.state_us, "state_us")?)))
            .collect::<Result<Vec<_>, SegmentError>>()?;
        Ok(Course::State(StateTimes::from_parts(times, other_us)))
    }
}

fn next<T>(list: &mut impl Iterator<Item = T>, field: &'static str) -> Result<T, SegmentError> {
    list.next().ok_or_else(|| SegmentError::field(field, "ends before the tags do"))
}

/// Readings of tags, in the order of the tags.
struct Blocks(std::iter::Peekable<std::vec::IntoIter<SeriesSamples>>);

impl Blocks {
    fn read(bytes: &[u8]) -> Result<Self, SegmentError> {
        let blocks = if bytes.is_empty() { Vec::new() } else { samples_from_bytes(bytes)? };
        Ok(Self(blocks.into_iter().peekable()))
    }

    fn samples(&mut self, index: u32, count: usize) -> Result<Vec<Reading>, SegmentError> {
        let wrong = || SegmentError::field("readings", format!("tag {index} does not have {count} of them"));
        let block = self.0.next_if(|block| block.series.0 == index && block.samples.len() == count);
        let samples = block.ok_or_else(wrong)?.samples.into_iter();
        samples
            .map(|sample| {
                let at = sample.gateway_timestamp;
                sample.value.map(|value| Reading { at, value }).ok_or_else(wrong)
            })
            .collect()
    }

    fn pair(&mut self, index: u32) -> Result<(Option<Reading>, Option<Reading>), SegmentError> {
        let mut readings = self.samples(index, 2)?.into_iter();
        Ok((readings.next(), readings.next()))
    }
}
