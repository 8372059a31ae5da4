//! One direction of one connection: a reader that stamps chunks with the instant at which they are due, a bounded
//! queue, and a writer that holds them back, damages, throttles or swallows them.
//!
//! The queue holds 64 chunks of at most 16 KiB; with more under way the reader waits, and the sender feels it.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::tcp::{ReadHalf, WriteHalf},
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time::{Instant, sleep_until},
};

use super::{
    faults::{Faults, Flow, Way},
    proxy::Shared,
};
use crate::noise::{mix, unit};

const CHUNK_BYTES: usize = 16 * 1024;
const QUEUE_CHUNKS: usize = 64;
/// A throttled direction writes this often in a second.
const PIECES_PER_S: u32 = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

/// How a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// The end was handed on.
    HandedOn,
    /// The end was swallowed: the other side must not learn of it.
    Swallowed,
}

struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
}

pub(super) struct Pump<'a> {
    pub(super) direction: Direction,
    pub(super) shared: &'a Shared,
    pub(super) faults: watch::Receiver<Faults>,
    /// Whether this connection has become one that nobody knows any more.
    pub(super) forgotten: watch::Receiver<u64>,
    pub(super) connection: u64,
    pub(super) dead: bool,
    /// Bytes that came to the place where bits are flipped.
    pub(super) passed: u64,
}

impl Pump<'_> {
    /// Runs until the sender ends; `slot` is given back then.
    pub(super) async fn run(
        mut self,
        from: ReadHalf<'_>,
        to: WriteHalf<'_>,
        slot: Option<OwnedSemaphorePermit>,
    ) -> io::Result<Done> {
        let (queue, chunks) = mpsc::channel(QUEUE_CHUNKS);
        let (direction, faults) = (self.direction, self.faults.clone());
        let seed = mix(self.shared.seed, self.connection * 2 + u64::from(direction == Direction::Down));
        let reading = read(from, queue, faults, direction, seed, slot);
        tokio::join!(reading, self.write(chunks, to, seed)).1
    }

    async fn write(
        &mut self,
        mut chunks: mpsc::Receiver<io::Result<Chunk>>,
        mut to: WriteHalf<'_>,
        seed: u64,
    ) -> io::Result<Done> {
        let mut free_at = Instant::now();
        while let Some(chunk) = chunks.recv().await {
            let Chunk { mut bytes, due } = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return self.broken(error).await,
            };
            sleep_until(due).await;
            let mut rest = bytes.as_mut_slice();
            while !rest.is_empty() {
                let way = self.gate().await;
                let length = piece_length(way, rest.len());
                let (piece, later) = std::mem::take(&mut rest).split_at_mut(length);
                rest = later;
                if self.dead {
                    count(&self.shared.stats.swallowed_bytes, piece.len());
                    continue;
                }
                self.flip(piece, way, seed);
                sleep_until(free_at).await;
                to.write_all(piece).await?;
                free_at = free_at.max(Instant::now()) + time_of(way, piece.len());
                count(self.forwarded(), piece.len());
            }
        }
        self.gate().await;
        if self.dead {
            return Ok(Done::Swallowed);
        }
        to.shutdown().await?;
        Ok(Done::HandedOn)
    }

    /// The sender's side broke: that is handed on unless the ends of connections are swallowed.
    async fn broken(&mut self, error: io::Error) -> io::Result<Done> {
        self.gate().await;
        if self.dead { Ok(Done::Swallowed) } else { Err(error) }
    }

    /// Waits for the end of a pause; afterwards `dead` says whether bytes are swallowed.
    async fn gate(&mut self) -> Way {
        let direction = self.direction;
        let open = |faults: &Faults| way_of(faults, direction).flow != Flow::Pause;
        // The sender lives in the proxy, which outlives its connections.
        let way = match self.faults.wait_for(open).await {
            Ok(faults) => way_of(&faults, direction),
            Err(_) => Way::default(),
        };
        self.dead |= way.flow == Flow::Hole || self.connection <= *self.forgotten.borrow();
        way
    }

    fn forwarded(&self) -> &AtomicU64 {
        match self.direction {
            Direction::Up => &self.shared.stats.up_bytes,
            Direction::Down => &self.shared.stats.down_bytes,
        }
    }

    fn flip(&mut self, bytes: &mut [u8], way: Way, seed: u64) {
        let every = u64::from(way.flip_every);
        if every == 0 {
            return;
        }
        for byte in bytes {
            self.passed += 1;
            if self.passed.is_multiple_of(every) {
                *byte ^= 1 << (mix(seed ^ FLIP_SALT, self.passed) % 8);
                count(&self.shared.stats.flipped_bits, 1);
            }
        }
    }
}

const FLIP_SALT: u64 = 0x464c_4950;

fn way_of(faults: &Faults, direction: Direction) -> Way {
    match direction {
        Direction::Up => faults.up,
        Direction::Down => faults.down,
    }
}

fn count(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}

fn piece_length(way: Way, length: usize) -> usize {
    match way.bytes_per_s {
        0 => length,
        rate => length.min((rate / PIECES_PER_S).max(1) as usize),
    }
}

fn time_of(way: Way, length: usize) -> Duration {
    match way.bytes_per_s {
        0 => Duration::ZERO,
        rate => Duration::from_secs_f64(length as f64 / f64::from(rate)),
    }
}

async fn read(
    mut from: ReadHalf<'_>,
    queue: mpsc::Sender<io::Result<Chunk>>,
    faults: watch::Receiver<Faults>,
    direction: Direction,
    seed: u64,
    slot: Option<OwnedSemaphorePermit>,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut last_due = Instant::now();
    for number in 0_u64.. {
        let length = match from.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) => {
                // Without a writer there is nobody to tell.
                let _ = queue.send(Err(error)).await;
                break;
            }
        };
        let way = way_of(&faults.borrow(), direction);
        let jitter = unit(mix(seed, number)) * f64::from(way.jitter_ms);
        let delay =
            Duration::from_millis(u64::from(way.delay_ms)) + Duration::from_secs_f64(jitter / 1_000.0);
        last_due = last_due.max(Instant::now() + delay);
        if queue.send(Ok(Chunk { bytes: buffer[..length].to_vec(), due: last_due })).await.is_err() {
            break;
        }
    }
    drop(slot);
}
