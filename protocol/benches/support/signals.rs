//! Values that move as those of the demo do: scaled registers with noise, floats, counters, states. The benches
//! of the codec, of the buffer's wear and of the drain measure with them.

use plant_model::{Quality, Sample, Timestamp, Value};
use protocol::{BatchBody, SeriesId, SeriesSamples};

pub(crate) const MACHINES: u32 = 15;
pub(crate) const TAGS: u32 = 20;
/// Seconds in a commit of the plant.
pub(crate) const COMMIT_SECONDS: u32 = 5;

/// Numbers that look like chance, the same in each run.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    /// From -0.5 to 0.5.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap_or(0)) / f64::from(u32::MAX) - 0.5
    }

    /// What a tag shows in a second; `level` wanders, `phase` sets machines apart.
    pub(crate) fn value(&mut self, level: &mut f64, tag: u32, second: u32, phase: u32) -> Value {
        let noise = self.next();
        *level += noise;
        let (level, wave) = (*level, (f64::from(second + phase) / 60.0).sin());
        match tag {
            0..=4 => Value::Float((level * 10.0).round() / 10.0),
            5..=8 => Value::Float((level * 100.0 + wave * 50.0 + noise * 300.0).round() / 100.0),
            9 | 10 => Value::Float(f64::from((level + wave + noise) as f32)),
            11 | 12 => Value::Float(level + wave * noise),
            13 => Value::Float(f64::from(second / 7) / 100.0),
            14 => Value::Int(second.into()),
            15 | 16 => Value::Int((second / 240 % 4).into()),
            17 | 18 => Value::Bool((second / 90).is_multiple_of(3)),
            _ => Value::Float(65.0),
        }
    }
}

/// Where a tag begins.
pub(crate) fn level(machine: u32, tag: u32) -> f64 {
    20.0 + f64::from((machine * TAGS + tag) % 37)
}

/// A sample of a machine; all its tags are read at the same instant.
pub(crate) fn sample(from: Timestamp, machine: u32, second: u32, value: Value) -> Sample {
    let millis = i64::from(second) * 1_000 + i64::from((machine * 61 + second * 3 % 5) % 1_000);
    Sample {
        value: Some(value),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: Timestamp::from_micros(from.micros() + millis * 1_000),
    }
}

/// A plant at 1 Hz.
pub(crate) struct Plant {
    noise: Noise,
    levels: Vec<f64>,
}

impl Plant {
    pub(crate) fn new() -> Self {
        let levels = (0..MACHINES).flat_map(|machine| (0..TAGS).map(move |tag| level(machine, tag)));
        Self { noise: Noise::new(), levels: levels.collect() }
    }

    /// All samples of one commit, from second `first` after `from`.
    pub(crate) fn group(&mut self, series: &[SeriesId], from: Timestamp, first: u32) -> BatchBody {
        let block = |series: &SeriesId| SeriesSamples { series: *series, samples: Vec::new() };
        let mut blocks: Vec<SeriesSamples> = series.iter().map(block).collect();
        for second in first..first + COMMIT_SECONDS {
            for machine in 0..MACHINES {
                for tag in 0..TAGS {
                    let place = usize::try_from(machine * TAGS + tag).unwrap_or(0);
                    let value = self.noise.value(&mut self.levels[place], tag, second, machine * 7);
                    blocks[place].samples.push(sample(from, machine, second, value));
                }
            }
        }
        BatchBody::Samples(blocks)
    }
}
