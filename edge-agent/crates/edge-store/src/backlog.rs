//! How much of the buffer the backend does not have yet, and since when.
//!
//! Bytes are told from the count of telemetry batches: to look at each of them would take seconds with a full buffer,
//! and alarms are few.

use plant_model::Timestamp;
use protocol::{Sequence, StreamId, StreamRange};
use rusqlite::{OptionalExtension as _, params};

use crate::file::failed;
use crate::schema::{key, keys};
use crate::{EdgeStore, StoreError};

/// What waits for the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes of the buffer that are taken by what is not acknowledged.
    pub bytes: u64,
    /// Bytes that the buffer can hold before it gives something up.
    pub room_bytes: u64,
    /// When the oldest batch was committed that is not acknowledged.
    pub oldest_at: Option<Timestamp>,
}

impl EdgeStore {
    /// What waits for the backend. Costs a few pages, however much that is.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn backlog(&mut self) -> Result<Backlog, StoreError> {
        let ranges = self.ranges()?;
        let usage = self.usage()?;
        let telemetry = ranges.iter().find(|range| range.stream == StreamId::Telemetry);
        let bytes = telemetry.map_or(0, |range| share(usage.held_bytes, range, self.acked(range.stream)));
        let mut oldest_at = None;
        for stream in StreamId::ALL {
            let at = self.oldest_unacknowledged(stream)?;
            oldest_at = oldest_at.into_iter().chain(at).min();
        }
        Ok(Backlog { bytes, room_bytes: usage.room_bytes, oldest_at })
    }

    fn oldest_unacknowledged(&mut self, stream: StreamId) -> Result<Option<Timestamp>, StoreError> {
        let (acked, (_, last)) = (key(stream, self.acked(stream)), keys(stream));
        let sql = "SELECT committed_at FROM outbox WHERE key > ?1 AND key <= ?2 ORDER BY key LIMIT 1";
        let micros: Option<i64> = self
            .file()?
            .connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row(params![acked, last], |row| row.get(0)).optional())
            .map_err(failed("look at what waits"))?;
        Ok(micros.map(Timestamp::from_micros))
    }
}

/// The part of `bytes` that batches above the watermark have of all that are held.
fn share(bytes: u64, held: &StreamRange, acked: Sequence) -> u64 {
    let (oldest, next) = (held.oldest.as_u64(), held.next.as_u64());
    let waiting = next.saturating_sub(oldest.max(acked.as_u64().saturating_add(1)));
    let all = next.saturating_sub(oldest).max(1);
    u64::try_from(u128::from(bytes) * u128::from(waiting) / u128::from(all)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_follows_the_watermark() {
        let (number, stream) = (Sequence::from_u64, StreamId::Telemetry);
        let held = StreamRange { stream, oldest: number(11), next: number(31) };
        let of = |acked| share(2_000, &held, number(acked));
        assert_eq!([0, 10, 20, 30, 99].map(of), [2_000, 2_000, 1_000, 0, 0]);
        let empty = StreamRange { stream, oldest: number(31), next: number(31) };
        assert_eq!(share(0, &empty, number(30)), 0);
    }
}
