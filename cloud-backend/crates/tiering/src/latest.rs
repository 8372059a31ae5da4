//! The newest sample of each tag of a gateway, in order of event time: late data never move it back.
//!
//! It is kept through sealing, so that nobody has to look for it in segments, and at rest it is
//!
//! ```text
//! offset size  field
//!      0    1  format, 0x4C
//!      1    1  version, 1
//!      2    2  0
//!      4    4  CRC-32 (IEEE) over bytes 8.., little-endian
//!      8    …  protobuf Message
//! ```

use std::collections::BTreeMap;

use plant_model::{MachineId, Sample, Timestamp};
use prost::Message as _;
use protocol::{Batch, BatchBody, DecodeError, Epoch, SeriesId, SeriesSamples};
use protocol::{samples_from_bytes, samples_to_bytes};
use segments::TagNumber;
use thiserror::Error;

const FIXED_BYTES: usize = 8;
const FORMAT: u8 = 0x4C;
const VERSION: u8 = 1;

/// Why bytes are no latest samples.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LatestError {
    /// Damaged, or of a version that is not known.
    #[error("the latest samples are damaged or of an unknown version: {0}")]
    Damaged(&'static str),
    /// Their columns cannot be read.
    #[error("the columns of the latest samples cannot be read")]
    Columns(#[from] DecodeError),
}

/// The newest samples of a gateway.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Latest {
    tags: BTreeMap<MachineId, BTreeMap<TagNumber, OfTag>>,
}

/// The newest sample of a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct Newest {
    /// It.
    pub sample: Sample,
    /// The earliest time since when the value is known to have been the same.
    pub unchanged_since: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct OfTag {
    newest: Option<Newest>,
    /// The earliest of those that were too far ahead of our clock to be believed. It is believed when its time has
    /// come, so that a gateway whose clock is some minutes ahead is not without a latest sample.
    ahead: Option<Sample>,
}

impl Latest {
    /// Nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the samples of a batch; what is later than `until` is not believed yet. Batches may come in any order;
    /// of samples of one instant the one that is given last counts.
    pub fn add(
        &mut self,
        batch: &Batch,
        place: impl Fn(Epoch, SeriesId) -> Option<(MachineId, TagNumber)>,
        until: Timestamp,
    ) {
        let BatchBody::Samples(block) = &batch.body else { return };
        for entry in block {
            let Some((machine, tag)) = place(batch.header.epoch, entry.series) else { continue };
            let of_tag = self.tags.entry(machine).or_default().entry(tag).or_default();
            of_tag.settle(until);
            entry.samples.iter().for_each(|sample| of_tag.offer(sample, until));
        }
    }

    /// The newest samples that may be believed.
    pub fn iter(&self) -> impl Iterator<Item = (&MachineId, TagNumber, &Newest)> {
        let of_machine = |(machine, tags)| {
            let tags: &BTreeMap<TagNumber, OfTag> = tags;
            tags.iter().filter_map(move |(tag, held)| Some((machine, *tag, held.newest.as_ref()?)))
        };
        self.tags.iter().flat_map(of_machine)
    }

    /// That of one tag.
    #[must_use]
    pub fn get(&self, machine: &MachineId, tag: TagNumber) -> Option<&Newest> {
        self.tags.get(machine)?.get(&tag)?.newest.as_ref()
    }

    /// Believes what waited for its time.
    pub fn settle(&mut self, until: Timestamp) {
        self.tags.values_mut().flat_map(BTreeMap::values_mut).for_each(|of_tag| of_tag.settle(until));
    }

    /// To bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut message = Message::default();
        let mut block = Vec::new();
        for (machine, tags) in &self.tags {
            message.machine.push(machine.as_str().to_owned());
            message.tags.push(u32::try_from(tags.len()).unwrap_or(u32::MAX));
            for (tag, held) in tags {
                let index = u32::try_from(message.tag.len()).unwrap_or(u32::MAX);
                message.tag.push(tag.0);
                message.held.push(u8::from(held.newest.is_some()) | u8::from(held.ahead.is_some()) << 1);
                message.unchanged_since.extend(held.newest.iter().map(|n| n.unchanged_since.micros()));
                let newest = held.newest.iter().map(|newest| &newest.sample);
                let samples = newest.chain(&held.ahead).cloned().collect();
                block.push(SeriesSamples { series: SeriesId(index), samples });
            }
        }
        message.samples = samples_to_bytes(&block);
        let mut out = vec![FORMAT, VERSION, 0, 0, 0, 0, 0, 0];
        out.extend(message.encode_to_vec());
        let checksum = crc32fast::hash(&out[FIXED_BYTES..]);
        out[4..FIXED_BYTES].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    /// The inverse of [`Self::to_bytes`].
    ///
    /// # Errors
    /// The bytes are damaged or of an unknown version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LatestError> {
        let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
            return Err(LatestError::Damaged("too short"));
        };
        let [format, version, _, _, checksum @ ..] = *fixed;
        if (format, version) != (FORMAT, VERSION) {
            return Err(LatestError::Damaged("another format"));
        }
        if u32::from_le_bytes(checksum) != crc32fast::hash(rest) {
            return Err(LatestError::Damaged("its checksum is another"));
        }
        let message = Message::decode(rest).map_err(|_| LatestError::Damaged("no message"))?;
        message.read()
    }
}

impl OfTag {
    fn settle(&mut self, until: Timestamp) {
        if let Some(sample) = self.ahead.take_if(|sample| sample.timestamp() <= until) {
            self.believe(&sample);
        }
    }

    fn offer(&mut self, sample: &Sample, until: Timestamp) {
        if sample.timestamp() <= until {
            self.believe(sample);
        } else if self.ahead.as_ref().is_none_or(|ahead| sample.timestamp() < ahead.timestamp()) {
            self.ahead = Some(sample.clone());
        }
    }

    fn believe(&mut self, sample: &Sample) {
        let at = sample.timestamp();
        match &mut self.newest {
            Some(newest) if at >= newest.sample.timestamp() => {
                let is_same = newest.sample.value == sample.value;
                newest.unchanged_since = if is_same { newest.unchanged_since } else { at };
                newest.sample = sample.clone();
            }
            // It was another in between: since when it is what it is, nobody knows.
            Some(newest) if at >= newest.unchanged_since && newest.sample.value != sample.value => {
                newest.unchanged_since = newest.sample.timestamp();
            }
            Some(_) => {}
            None => self.newest = Some(Newest { sample: sample.clone(), unchanged_since: at }),
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(string, repeated, tag = "1")]
    machine: Vec<String>,
    /// How many tags of each machine.
    #[prost(uint32, repeated, tag = "2")]
    tags: Vec<u32>,
    #[prost(uint32, repeated, tag = "3")]
    tag: Vec<u32>,
    /// Of each tag: 1 for a newest sample, 2 for one ahead.
    #[prost(bytes = "vec", tag = "4")]
    held: Vec<u8>,
    /// Of tags with a newest sample.
    #[prost(sint64, repeated, tag = "5")]
    unchanged_since: Vec<i64>,
    /// Columns of the samples; the series is the index of the tag.
    #[prost(bytes = "vec", tag = "6")]
    samples: Vec<u8>,
}

impl Message {
    fn read(self) -> Result<Latest, LatestError> {
        let damaged = LatestError::Damaged;
        let block = if self.samples.is_empty() { Vec::new() } else { samples_from_bytes(&self.samples)? };
        let mut entries = self.tag.iter().zip(&self.held).zip(block);
        let mut since = self.unchanged_since.into_iter();
        let mut latest = Latest::new();
        for (machine, count) in self.machine.iter().zip(&self.tags) {
            let machine = MachineId::new(machine).map_err(|_| damaged("a machine's name"))?;
            let tags = latest.tags.entry(machine).or_default();
            for _ in 0..*count {
                let ((tag, held), entry) = entries.next().ok_or(damaged("it ends before its tags do"))?;
                let mut samples = entry.samples.into_iter();
                let mut sample = || samples.next().ok_or(damaged("a sample is missing"));
                let mut of_tag = OfTag::default();
                if held & 1 != 0 {
                    let since = since.next().ok_or(damaged("a time is missing"))?;
                    let unchanged_since = Timestamp::from_micros(since);
                    of_tag.newest = Some(Newest { sample: sample()?, unchanged_since });
                }
                if held & 2 != 0 {
                    of_tag.ahead = Some(sample()?);
                }
                tags.insert(TagNumber(*tag), of_tag);
            }
        }
        Ok(latest)
    }
}

#[cfg(test)]
mod tests;
