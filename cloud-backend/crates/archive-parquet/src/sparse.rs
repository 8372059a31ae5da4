//! An object of which some ranges are here.

use std::ops::Range;
use std::sync::Arc;

use bytes::buf::Reader;
use bytes::{Buf as _, Bytes};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// Ranges that lie closer than this are fetched as one: a request takes as long as a megabyte of an object store.
const GAP_BYTES: u64 = 1 << 20;

/// Some ranges of an object, in order.
#[derive(Debug, Clone)]
pub(crate) struct Sparse {
    length: u64,
    parts: Arc<[(u64, Bytes)]>,
}

impl Sparse {
    pub(crate) fn new(length: u64, mut parts: Vec<(u64, Bytes)>) -> Self {
        parts.sort_by_key(|(start, _)| *start);
        Self { length, parts: parts.into() }
    }

    /// A range that is here.
    pub(crate) fn part(&self, range: Range<u64>) -> Result<Bytes> {
        let length = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        self.get_bytes(range.start, length)
    }

    /// What is here from an offset on.
    fn from(&self, start: u64) -> Result<Bytes> {
        let after = self.parts.partition_point(|(first, _)| *first <= start);
        let part = after.checked_sub(1).map(|index| &self.parts[index]);
        let found = part.and_then(|(first, bytes)| {
            let skip = usize::try_from(start - first).ok().filter(|skip| *skip <= bytes.len())?;
            Some(bytes.slice(skip..))
        });
        found.ok_or_else(|| ParquetError::EOF(format!("byte {start} is in no page of the index")))
    }
}

impl Length for Sparse {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Sparse {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(self.from(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut bytes = self.from(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} leave the pages of the index")));
        }
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// The ranges in order, those that lie close together as one.
pub(crate) fn coalesce(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.retain(|range| range.start < range.end);
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                last.end = last.end.max(range.end)
            }
            Some(_) | None => out.push(range),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn st10_what_lies_close_is_one_request() {
        let far = 10 * GAP_BYTES;
        let ranges = vec![far..far + 5, 0..10, 5..20, 30..30, 20 + GAP_BYTES..GAP_BYTES + 30];
        assert_eq!(coalesce(ranges), [0..GAP_BYTES + 30, far..far + 5]);
    }

    #[test]
    fn only_what_was_fetched_can_be_read() {
        let parts = vec![(100, Bytes::from_static(b"later")), (10, Bytes::from_static(b"early"))];
        let sparse = Sparse::new(200, parts);
        assert_eq!(sparse.get_bytes(101, 3).expect("there"), "ate");
        assert_eq!(sparse.get_bytes(10, 5).expect("there"), "early");
        for (start, length) in [(0, 1), (9, 2), (12, 4), (16, 0), (99, 1), (199, 1), (u64::MAX, 1)] {
            assert!(sparse.get_bytes(start, length).is_err(), "{length} at {start}");
        }
    }
}
