//! Which batches of a stream may be sealed.
//!
//! Batches are sealed in the order of their stream and as a whole: a batch is either still a batch, or all its samples
//! are in segments. A stream therefore needs one number, the sequence up to which it is sealed, moved in the transaction
//! that writes the segments. Batches above a hole wait until it is filled or known to be lost.
//!
//! A minute is *closed* when a batch was sent that begins after it: gateways send in order. What comes for a closed
//! minute nevertheless is late, and merged into its segment. A batch on both sides of a boundary is sealed with the first
//! of its minutes; the other one is written again when it is closed.

use std::time::Duration;

use plant_model::Timestamp;
use protocol::Sequence;

use crate::Minute;

/// After so long without a batch the rest of a stream is sealed: longer than the longest back-off of a gateway.
pub const IDLE_AFTER: Duration = Duration::from_secs(900);

/// Most batches of one wave: bounds a transaction. An hour and a half of a gateway at one batch in 5 s.
pub const WAVE_BATCHES_MAX: usize = 1_000;

/// Most samples of one wave, but for those of its first batch: about 60 MB while they are sorted.
pub const WAVE_SAMPLES_MAX: u64 = 500_000;

/// What sealing needs to know of a batch that is stored and not sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingBatch {
    /// Its place in the stream.
    pub sequence: Sequence,
    /// The earliest time in it.
    pub first_at: Timestamp,
    /// When the backend received it.
    pub received_at: Timestamp,
    /// Samples in it.
    pub count: u32,
}

impl WaitingBatch {
    /// Where its minutes begin. A gateway whose clock is ahead would otherwise close no minute of ours, or all of them.
    fn begins_at(&self) -> Timestamp {
        self.first_at.min(self.received_at)
    }
}

/// Why batches are sealed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaveReason {
    /// Their minutes are closed.
    Closed,
    /// Nothing came for [`IDLE_AFTER`].
    Idle,
}

/// Batches that may be sealed: all that wait, up to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wave {
    /// The last one.
    pub through: Sequence,
    /// How many.
    pub batches: usize,
    /// Why.
    pub reason: WaveReason,
    /// Whether a limit cut it: another one follows at once.
    pub is_cut: bool,
}

/// Says which of the batches that wait may be sealed; `None` if none may. They are given in the order of their stream,
/// from the first that is not sealed; `committed_through` is the end of the stream's unbroken row. Numbers without a
/// batch (lost, or in quarantine) are passed over.
#[must_use]
pub fn next_wave(waiting: &[WaitingBatch], committed_through: Sequence, now: Timestamp) -> Option<Wave> {
    let row = waiting.partition_point(|batch| batch.sequence <= committed_through);
    let row = &waiting[..row];
    let open_from = Minute::of(row.iter().map(WaitingBatch::begins_at).max()?).start();
    let closed = row.iter().rposition(|batch| batch.begins_at() < open_from).map_or(0, |last| last + 1);
    let newest_at = row.iter().map(|batch| batch.received_at).max()?;
    let (length, reason) = if closed > 0 {
        (closed, WaveReason::Closed)
    } else if now.since(newest_at) >= IDLE_AFTER {
        (row.len(), WaveReason::Idle)
    } else {
        return None;
    };
    let batches = within_limits(&row[..length]);
    let through = row[batches - 1].sequence;
    Some(Wave { through, batches, reason, is_cut: batches < length })
}

/// How many of these fit one wave; at least one.
fn within_limits(row: &[WaitingBatch]) -> usize {
    let totals = row.iter().scan(0_u64, |total, batch| {
        *total += u64::from(batch.count);
        Some(*total)
    });
    totals.take(WAVE_BATCHES_MAX).take_while(|total| *total <= WAVE_SAMPLES_MAX).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 1_790_000_040_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_micros(START + second * 1_000_000)
    }

    /// A batch with samples from that second on, received a second later.
    fn batch(sequence: u64, second: i64) -> WaitingBatch {
        let received_at = at(second + 1);
        WaitingBatch {
            sequence: Sequence::from_u64(sequence),
            first_at: at(second),
            received_at,
            count: 1_500,
        }
    }

    fn every_5_s(from: i64, count: u64) -> Vec<WaitingBatch> {
        (0..count).map(|n| batch(n + 1, from + 5 * i64::try_from(n).expect("small"))).collect()
    }

    fn through(waiting: &[WaitingBatch], committed: u64, now: i64) -> Option<(u64, WaveReason)> {
        let wave = next_wave(waiting, Sequence::from_u64(committed), at(now))?;
        Some((wave.through.as_u64(), wave.reason))
    }

    #[test]
    fn a_minute_is_sealed_when_a_batch_begins_after_it_and_not_before() {
        let start = Minute::of(at(0)).start();
        assert_eq!(start, at(0), "the test begins with a minute");
        let batches = every_5_s(0, 13);
        assert_eq!(through(&batches[..12], 12, 60), None, "the last one begins at second 55");
        assert_eq!(
            through(&batches, 13, 61),
            Some((12, WaveReason::Closed)),
            "the 13th begins with the next minute"
        );
    }

    #[test]
    fn a_batch_on_both_sides_of_a_boundary_is_sealed_with_the_first_of_its_minutes() {
        let batches = every_5_s(3, 13);
        assert_eq!(through(&batches, 13, 65), Some((12, WaveReason::Closed)), "the 12th begins at second 58");
    }

    #[test]
    fn batches_above_a_hole_wait_until_it_is_accounted_for() {
        let mut batches = every_5_s(0, 14);
        batches.remove(4);
        assert_eq!(through(&batches, 4, 70), None);
        assert_eq!(through(&batches, 14, 70), Some((12, WaveReason::Closed)), "the fifth is lost for good");
    }

    #[test]
    fn a_stream_that_fell_silent_is_sealed_to_its_end() {
        let batches = every_5_s(0, 3);
        let idle = 11 + i64::try_from(IDLE_AFTER.as_secs()).expect("small");
        assert_eq!(through(&batches, 3, idle - 1), None);
        assert_eq!(through(&batches, 3, idle), Some((3, WaveReason::Idle)));
        assert_eq!(through(&[], 0, idle), None);
    }

    #[test]
    fn in6_late_batches_are_sealed_in_the_order_of_the_stream_as_soon_as_they_come() {
        let mut batches = vec![batch(7, 600), batch(8, 605)];
        batches.push(WaitingBatch { received_at: at(609), ..batch(9, 30) });
        assert_eq!(through(&batches, 9, 610), Some((9, WaveReason::Closed)));
        batches.push(batch(10, 611));
        assert_eq!(through(&batches, 10, 612), Some((9, WaveReason::Closed)), "the one after it waits");
    }

    #[test]
    fn a_clock_that_is_a_year_ahead_neither_stops_nor_hurries_sealing() {
        let year = 365 * 86_400;
        let ahead =
            |second: i64, sequence| WaitingBatch { first_at: at(second + year), ..batch(sequence, second) };
        let batches: Vec<_> = (0..14).map(|n| ahead(5 * n, n.cast_unsigned() + 1)).collect();
        // By their arrival, a second after their first sample.
        assert_eq!(through(&batches, 14, 70), Some((12, WaveReason::Closed)));
        let one = [batch(1, 0), ahead(1, 2), batch(3, 5)];
        assert_eq!(through(&one, 3, 7), None, "one sample of next year closes nothing");
    }

    #[test]
    fn st6_a_backlog_of_weeks_is_sealed_in_waves_of_bounded_size() {
        let batches = every_5_s(0, 5_000);
        let wave = next_wave(&batches, Sequence::from_u64(5_000), at(30_000)).expect("a wave");
        let limit = usize::try_from(WAVE_SAMPLES_MAX / 1_500).expect("small");
        assert_eq!((wave.batches, wave.is_cut), (limit, true));
        let large = WaitingBatch { count: 4_000_000, ..batch(1, 0) };
        let wave = next_wave(&[large, batch(2, 100)], Sequence::from_u64(2), at(102)).expect("a wave");
        assert_eq!((wave.batches, wave.is_cut), (1, false), "a large one goes alone");
    }
}
