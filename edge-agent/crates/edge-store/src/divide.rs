//! A batch that is larger than what the broker takes: divided, so that it blocks nothing and nothing is lost.
//!
//! It cannot be changed where it stands: a committed batch is immutable. Its parts are appended to the stream as
//! new batches, and a gap record tells that its number will never come.

use plant_model::Timestamp;
use protocol::{
    Batch, BatchBody, DiagnosticRecord, Epoch, Gap, LossReason, Sequence, SeriesSamples, StreamId,
};

use crate::file::{ROOM_FOR_ANY, failed};
use crate::schema::key;
use crate::{EdgeStore, StoreError};

/// No broker takes less than this, or it could not take a gap record either.
const MESSAGE_BYTES_MIN: usize = 4_096;

impl EdgeStore {
    /// Replaces a batch by parts of at most `bytes_max` bytes; from here on commits keep to that size, too.
    /// Transitions of alarms must not change their order: a batch of them is set aside instead.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn divide(
        &mut self,
        stream: StreamId,
        sequence: Sequence,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const ACTION: &str = "divide a batch";
        let bytes_max = bytes_max.max(MESSAGE_BYTES_MIN);
        self.limit_messages(bytes_max);
        if stream == StreamId::Alarm {
            return self.set_aside(stream, sequence, LossReason::Refused, now);
        }
        let found = self.read(stream, sequence, now)?.filter(|found| found.sequence == sequence);
        let Some(batch) = found.and_then(|found| Batch::decode(&found.message).ok()) else { return Ok(()) };
        let detail = batch.header.detail;
        let (mut parts, mut samples) = (Vec::new(), 0);
        split(batch.body, bytes_max, now, &mut parts, &mut samples);
        self.make_room(2 * ROOM_FOR_ANY, now)?;
        self.write(ACTION, |writing| {
            let sql = "DELETE FROM outbox WHERE key = ?1";
            writing.connection.execute(sql, [key(stream, sequence)]).map_err(failed(ACTION))?;
            for part in &parts {
                writing.append(detail, part, now)?;
            }
            let reason = LossReason::Refused;
            let gap = Gap { stream, first: sequence, last: sequence, samples, reason, at: now };
            writing.record(vec![DiagnosticRecord::Gap(gap)], now)
        })
    }
}

/// Halves a body until its parts fit. Entries that do not fit by themselves are counted and left out.
fn split(body: BatchBody, bytes_max: usize, now: Timestamp, parts: &mut Vec<BatchBody>, lost: &mut u64) {
    // The size depends neither on epoch nor on sequence.
    let encoded = Batch::encode(Epoch::from_u64(0), Sequence::ZERO, now, &body);
    if encoded.is_ok_and(|message| message.len() <= bytes_max) {
        parts.push(body);
        return;
    }
    if body.count() <= 1 {
        *lost += 1;
        return;
    }
    let (first, second) = halves(body);
    split(first, bytes_max, now, parts, lost);
    split(second, bytes_max, now, parts, lost);
}

fn halves(body: BatchBody) -> (BatchBody, BatchBody) {
    fn of<T>(mut list: Vec<T>) -> (Vec<T>, Vec<T>) {
        let second = list.split_off(list.len() / 2);
        (list, second)
    }
    match body {
        BatchBody::Samples(mut blocks) if blocks.len() == 1 => {
            let series = blocks[0].series;
            let (first, second) = of(blocks.pop().map(|b| b.samples).unwrap_or_default());
            let block = |samples| BatchBody::Samples(vec![SeriesSamples { series, samples }]);
            (block(first), block(second))
        }
        BatchBody::Samples(blocks) => {
            let (first, second) = of(blocks);
            (BatchBody::Samples(first), BatchBody::Samples(second))
        }
        BatchBody::Transitions(list) => {
            let (first, second) = of(list);
            (BatchBody::Transitions(first), BatchBody::Transitions(second))
        }
        BatchBody::Records(list) => {
            let (first, second) = of(list);
            (BatchBody::Records(first), BatchBody::Records(second))
        }
    }
}
