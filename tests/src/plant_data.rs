//! A day of a plant as it rests: machines of twenty tags at 1 Hz, minute by minute.
//!
//! Of each machine: four registers in tenths, three noisy ones in hundredths, four floats of 32 bits and two of 64 with
//! noise in the whole mantissa, a meter, two counters, two enumerations and two truth values. All tags of a machine are read
//! at the same instant, 1 s after the last, in whole milliseconds, up to 2 ms early or late; a batch has 5 s.

use plant_model::{DataType, MachineId, Quality, Sample, TagId, Timestamp, Value};
use protocol::{Detail, Epoch, Sequence, TagRole};
use segments::{Content, Minute, Source, TagKind, TagNumber};
use tiering::TagRecord;

/// Machines of a plant.
pub const MACHINES: u32 = 15;
/// Tags of a machine.
pub const TAGS: u32 = 20;
/// Seconds of a batch.
const BATCH_SECONDS: i64 = 5;
/// Microseconds of a second.
const SECOND: i64 = 1_000_000;

/// One machine, and what it does next.
#[derive(Debug, Clone)]
pub struct PlantMachine {
    number: u32,
    chance: u64,
    levels: Vec<f64>,
    second: i64,
    start: Timestamp,
}

impl PlantMachine {
    /// A machine of its number from an instant on, which begins a minute; always the same.
    #[must_use]
    pub fn new(number: u32, start: Timestamp) -> Self {
        let levels = (0..TAGS).map(|tag| 20.0 + f64::from((number * TAGS + tag) % 37)).collect();
        Self { number, chance: 0x9E37_79B9_7F4A_7C15 ^ u64::from(number) << 17, levels, second: 0, start }
    }

    /// Its id.
    ///
    /// # Panics
    /// Never: the id is possible.
    #[must_use]
    pub fn id(&self) -> MachineId {
        MachineId::new(&format!("machine-{:02}", self.number)).expect("a possible id")
    }

    /// Its tags.
    ///
    /// # Panics
    /// Never: the ids are possible.
    #[must_use]
    pub fn tags(&self) -> Vec<TagRecord> {
        let of = |number| TagRecord {
            machine: self.id(),
            number: TagNumber(number),
            tag: TagId::new(&format!("tag-{number:02}")).expect("a possible id"),
            kind: kind(number),
            data_type: data_type(number),
            role: TagRole::Plain,
            unit: String::new(),
        };
        (0..TAGS).map(of).collect()
    }

    /// The next minute.
    ///
    /// # Panics
    /// Never: the samples lie in their minutes.
    pub fn next_minute(&mut self) -> Content {
        let minute = Minute::of(Timestamp::from_micros(self.start.micros() + self.second * SECOND));
        let mut content = Content::new(minute);
        for _ in 0..60 / BATCH_SECONDS {
            let batch = self.next_batch();
            for (tag, samples) in (0..).zip(&batch.1) {
                let source = (batch.0, Detail::Full);
                content.add((TagNumber(tag), kind(tag)), source, samples).expect("a sample of this minute");
            }
        }
        content
    }

    fn next_batch(&mut self) -> (Source, Vec<Vec<Sample>>) {
        let sequence = self.second / BATCH_SECONDS + 1;
        let sequence = Sequence::from_u64(sequence.unsigned_abs());
        let source = Source { epoch: Epoch::from_u64(0x51C6_A1D2_93E8_77B4), sequence };
        let mut samples = vec![Vec::new(); self.levels.len()];
        for _ in 0..BATCH_SECONDS {
            let millis = 200 + i64::from(self.number) * 37 % 600 + (self.noise() * 4.0).round() as i64;
            let at = Timestamp::from_micros(self.start.micros() + self.second * SECOND + millis * 1_000);
            for tag in 0..TAGS {
                let value = self.value(tag);
                samples[tag as usize].push(Sample {
                    value: Some(value),
                    quality: Quality::GOOD,
                    source_timestamp: None,
                    gateway_timestamp: at,
                });
            }
            self.second += 1;
        }
        (source, samples)
    }

    /// From -0.5 to 0.5.
    fn noise(&mut self) -> f64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        (self.chance >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    }

    fn value(&mut self, tag: u32) -> Value {
        let (noise, second) = (self.noise(), self.second);
        let level = &mut self.levels[tag as usize];
        *level = (*level + noise * 0.2).clamp(5.0, 95.0);
        let (level, wave) = (*level, (second as f64 / 60.0 + f64::from(self.number)).sin());
        match tag {
            0..=3 => Value::Float((level * 10.0).round() / 10.0),
            4..=6 => Value::Float(((level + noise * 3.0) * 100.0).round() / 100.0),
            7..=10 => Value::Float(f64::from((level + wave + noise) as f32)),
            11 | 12 => Value::Float(level + wave * noise),
            13 => Value::Float((second / 7) as f64 / 100.0),
            14 => Value::Int(second / 3),
            15 => Value::Int(second),
            16 | 17 => Value::Int(second / 240 % 4),
            _ => Value::Bool(second / 90 % 3 == 0),
        }
    }
}

fn kind(tag: u32) -> TagKind {
    match tag {
        13..=15 => TagKind::Counter,
        16..=19 => TagKind::State,
        _ => TagKind::Analog,
    }
}

fn data_type(tag: u32) -> DataType {
    match tag {
        14..=17 => DataType::Int,
        18 | 19 => DataType::Bool,
        _ => DataType::Float,
    }
}
