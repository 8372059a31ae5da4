//! What says whether two tiers hold the same samples.
//!
//! The digest of a tag is SHA-256 over its samples in order of time (those of one instant in the order of
//! [`segments::Content::sourced`]), each as: instant, epoch, sequence (8 bytes each, little-endian), then one byte of flags
//! (1 thinned, 2 with source time, type of the value in the next three bits: 0 none, 1 bool, 2 int, 3 float, 4 text), gateway
//! time (8), source time (8, only if there is one), quality (4), and the value: 1 byte, 8 bytes, the 8 bytes of the float's
//! bits, or length (4) and UTF-8. It does not depend on how a tier encodes them.

use plant_model::{MachineId, Timestamp, Value};
use protocol::Detail;
use segments::Sourced;
use sha2::{Digest as _, Sha256};

use crate::TagRecord;

/// What an object holds. Two are equal if and only if they hold the same samples, of tags of the same numbers and names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The machines, by id.
    pub machines: Vec<MachineContents>,
}

impl Contents {
    /// How many samples.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.machines.iter().flat_map(|machine| &machine.tags).map(|tag| tag.digest.samples).sum()
    }
}

/// Of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineContents {
    /// The machine.
    pub machine: MachineId,
    /// Tags with samples, by number.
    pub tags: Vec<TagContents>,
}

/// Of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagContents {
    /// The tag.
    pub tag: TagRecord,
    /// What it holds.
    pub digest: TagDigest,
}

/// What is held of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TagDigest {
    /// How many samples.
    pub samples: u64,
    /// The instant of the first.
    pub first: Timestamp,
    /// The instant of the last.
    pub last: Timestamp,
    /// See above.
    pub sha256: [u8; 32],
}

impl TagDigest {
    /// Of samples in order; `None` if there are none.
    #[must_use]
    pub fn of(samples: &[Sourced]) -> Option<Self> {
        let mut hash = TagHash::default();
        hash.add(samples);
        hash.finish()
    }
}

/// A digest in the making, of samples that do not lie in memory at one time.
#[derive(Debug, Clone, Default)]
pub struct TagHash {
    hash: Sha256,
    samples: u64,
    ends: Option<(Timestamp, Timestamp)>,
}

impl TagHash {
    /// Adds the next samples, in order.
    pub fn add(&mut self, samples: &[Sourced]) {
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return };
        let mut line = Vec::with_capacity(64);
        for sample in samples {
            line.clear();
            append(&mut line, sample);
            self.hash.update(&line);
        }
        self.samples += samples.len() as u64;
        let first = self.ends.map_or(first.sample.timestamp(), |(first, _)| first);
        self.ends = Some((first, last.sample.timestamp()));
    }

    /// What came together; `None` if nothing did.
    #[must_use]
    pub fn finish(self) -> Option<TagDigest> {
        let (first, last) = self.ends?;
        Some(TagDigest { samples: self.samples, first, last, sha256: self.hash.finalize().into() })
    }
}

fn append(line: &mut Vec<u8>, one: &Sourced) {
    let sample = &one.sample;
    line.extend(sample.timestamp().micros().to_le_bytes());
    line.extend(one.source.epoch.as_u64().to_le_bytes());
    line.extend(one.source.sequence.as_u64().to_le_bytes());
    let kind = match &sample.value {
        None => 0,
        Some(Value::Bool(_)) => 1,
        Some(Value::Int(_)) => 2,
        Some(Value::Float(_)) => 3,
        Some(Value::Text(_)) => 4,
    };
    let thinned = u8::from(one.detail == Detail::Thinned);
    line.push(thinned | u8::from(sample.source_timestamp.is_some()) << 1 | kind << 2);
    line.extend(sample.gateway_timestamp.micros().to_le_bytes());
    line.extend(sample.source_timestamp.iter().flat_map(|at| at.micros().to_le_bytes()));
    line.extend(sample.quality.status_code().to_le_bytes());
    match &sample.value {
        None => {}
        Some(Value::Bool(value)) => line.push(u8::from(*value)),
        Some(Value::Int(value)) => line.extend(value.to_le_bytes()),
        Some(Value::Float(value)) => line.extend(value.to_bits().to_le_bytes()),
        Some(Value::Text(text)) => {
            line.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            line.extend(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
