//! Rollups of one machine and an hour or a day, as they rest.
//!
//! ```text
//! offset size  field
//!      0    1  format, 0x52
//!      1    1  version, 1
//!      2    2  0
//!      4    4  CRC-32 (IEEE) over bytes 8.., little-endian
//!      8    …  zstd(protobuf Rollups)
//! ```

use std::collections::BTreeMap;

use plant_model::Timestamp;
use prost::Message;

use super::packing::{Packer, decompress};
use super::{statistics, wire};
use crate::content::check_limit;
use crate::{Minute, Rollup, SegmentError, TAGS_MAX, TagKind, TagNumber};

const FIXED_BYTES: usize = 8;
const FORMAT: u8 = 0x52;
const VERSION: u8 = 1;

/// The rollups of the tags of a machine to bytes.
///
/// # Errors
/// They are more than a machine has tags.
pub fn rollups_to_bytes(rollups: &BTreeMap<TagNumber, Rollup>) -> Result<Vec<u8>, SegmentError> {
    check_limit("tags", rollups.len(), TAGS_MAX)?;
    let origin = rollups.values().map(|rollup| rollup.first_at).min().unwrap_or_default();
    let mut previous = 0;
    let message = wire::Rollups {
        origin_us: origin.micros(),
        tag: rollups.keys().map(|tag| tag.0 - std::mem::replace(&mut previous, tag.0)).collect(),
        kind: rollups.values().map(|rollup| rollup.kind().code()).collect(),
        statistics: Some(statistics::to_wire(Minute::of(origin), rollups.values())),
    };
    let plain = message.encode_to_vec();
    check_limit("bytes of rollups", plain.len(), protocol::limits::DECODED_BYTES_MAX)?;
    let memory = || SegmentError::Compression { part: "rollups", limit: plain.len() };
    let mut out = vec![FORMAT, VERSION, 0, 0, 0, 0, 0, 0];
    out.extend(Packer::new().compress(&plain).ok_or_else(memory)?);
    let checksum = crc32fast::hash(&out[FIXED_BYTES..]);
    out[4..8].copy_from_slice(&checksum.to_le_bytes());
    Ok(out)
}

/// The inverse of [`rollups_to_bytes`].
///
/// # Errors
/// The bytes are no undamaged rollups of a known version.
pub fn rollups_from_bytes(bytes: &[u8]) -> Result<BTreeMap<TagNumber, Rollup>, SegmentError> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Err(SegmentError::TooShort { actual: bytes.len(), needed: FIXED_BYTES });
    };
    let [format, version, _, _, checksum @ ..] = *fixed;
    if (format, version) != (FORMAT, VERSION) {
        return Err(SegmentError::UnknownFormat { format, version });
    }
    let (stated, computed) = (u32::from_le_bytes(checksum), crc32fast::hash(rest));
    if stated != computed {
        return Err(SegmentError::Checksum { part: "rollups", computed, stated });
    }
    let plain = decompress(rest, "rollups")?;
    let message = wire::Rollups::decode(plain.as_slice())
        .map_err(|error| SegmentError::field("rollups", error.to_string()))?;
    from_wire(&message)
}

fn from_wire(message: &wire::Rollups) -> Result<BTreeMap<TagNumber, Rollup>, SegmentError> {
    check_limit("tags", message.tag.len(), TAGS_MAX)?;
    if message.kind.len() != message.tag.len() {
        return Err(SegmentError::field("kind", "not one entry for each tag"));
    }
    let unknown = |code: &u8| SegmentError::field("kind", format!("{code} is none"));
    let kinds = message.kind.iter().map(|code| TagKind::from_code(*code).ok_or_else(|| unknown(code)));
    let kinds: Vec<TagKind> = kinds.collect::<Result<_, _>>()?;
    let origin = Minute::of(Timestamp::from_micros(message.origin_us));
    let nothing = wire::Statistics::default();
    let rollups = statistics::from_wire(origin, &kinds, message.statistics.as_ref().unwrap_or(&nothing))?;
    let mut number = 0_u32;
    let mut out = BTreeMap::new();
    for (step, rollup) in message.tag.iter().zip(rollups) {
        number = number.wrapping_add(*step);
        if out.insert(TagNumber(number), rollup).is_some() {
            return Err(SegmentError::field("tag", format!("{number} is there twice")));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plant_model::{Quality, Sample, Value};

    use super::*;
    use crate::Hold;

    fn sample(second: i64, value: Value) -> Sample {
        let gateway_timestamp = Timestamp::from_micros(1_790_000_040_000_000 + second * 1_000_000);
        Sample { value: Some(value), quality: Quality::GOOD, source_timestamp: None, gateway_timestamp }
    }

    fn hour() -> BTreeMap<TagNumber, Rollup> {
        let of = |kind, value: fn(i64) -> Value| {
            let samples: Vec<Sample> = (0..360).map(|n| sample(n * 10, value(n))).collect();
            Rollup::of_any(kind, &samples, Hold::DEFAULT).expect("samples")
        };
        let text = |n: i64| Value::Text(Arc::from(if n % 9 < 7 { "running" } else { "jammed" }));
        BTreeMap::from([
            (
                TagNumber(0),
                of(TagKind::Analog, |n| Value::Float(f64::from_bits(0x4035_0000_0000_0000) + n as f64 / 3.0)),
            ),
            (TagNumber(7), of(TagKind::Counter, |n| Value::Int(n % 300))),
            (TagNumber(u32::MAX), of(TagKind::State, text)),
        ])
    }

    #[test]
    fn an_hour_comes_back_as_it_was() {
        let hour = hour();
        let bytes = rollups_to_bytes(&hour).expect("small");
        assert_eq!(rollups_from_bytes(&bytes), Ok(hour));
        let nothing = rollups_to_bytes(&BTreeMap::new()).expect("small");
        assert_eq!(rollups_from_bytes(&nothing), Ok(BTreeMap::new()));
    }

    #[test]
    fn damaged_rollups_are_refused() {
        let sound = rollups_to_bytes(&hour()).expect("small");
        for at in (0..sound.len()).filter(|at| !(2..4).contains(at)) {
            let mut bytes = sound.clone();
            bytes[at] ^= 4;
            assert!(rollups_from_bytes(&bytes).is_err(), "byte {at}");
            assert!(rollups_from_bytes(&sound[..at]).is_err(), "{at} bytes");
        }
    }
}
