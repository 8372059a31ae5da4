//! What an hour of a plant costs the flash of a gateway: bytes written to the disk, log and checkpoints included,
//! bytes held, and time, a sample. 15 machines with 20 tags at 1 Hz, a commit every 5 s (1,500 samples), acknowledged
//! ten batches later.
//!
//! A second buffer also has the worst that timers of alarms can do: all 150 alarms of the plant chatter, so that in
//! every commit the delay of each starts, has passed further, or is forgotten.
//!
//! The bytes are the kernel's (`write_bytes` of `/proc/self/io`), so the buffer must lie on a disk, not in memory:
//! it is made in the folder that `EDGE_STORE_BENCH_FOLDER` names, else in the working directory. The bench fails
//! if a bound of `BOUNDS` is exceeded. For comparison the same samples are also written as JSON lines with a flush
//! every second, which is what a log-file buffer does.

#[path = "../../../../protocol/benches/support/signals.rs"]
mod signals;

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edge_store::{BufferKey, EdgeStore, Settings, StoredAlarm};
use plant_model::{AlarmFlags, AlarmId, AlarmTimers, MachineId, Timestamp};
use protocol::{Batch, BatchBody, Epoch, Sequence, SeriesId, StreamId};
use signals::{COMMIT_SECONDS, MACHINES, Plant, TAGS};

const ALARMS: u32 = 10;
const HOUR: u32 = 3_600;
const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// Bytes a sample: written to the disk, held in the file, in the message.
const BOUNDS: [f64; 3] = [12.0, 3.0, 2.5];

/// Bytes a sample: written to the disk where every alarm chatters.
const CHATTER_BOUND: f64 = 20.0;

/// Bytes that this process made the kernel write.
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux counts them");
    let line = io.lines().find_map(|l| l.strip_prefix("write_bytes: ")).expect("a count");
    line.parse().expect("a number")
}

struct Outcome {
    /// Bytes written for each byte of the file that was made, and time for each MiB.
    growth: (f64, Duration),
    written: f64,
    held: f64,
    sent: f64,
    commit: Duration,
}

/// All alarms of the plant in the `n`th commit.
fn chatter(n: u64) -> Vec<StoredAlarm> {
    let alarm = |machine: u32, alarm: u32| StoredAlarm {
        machine: MachineId::new(&format!("machine-{machine}")).expect("valid"),
        alarm: AlarmId::new(&format!("temperature-high-{alarm}")).expect("valid"),
        occurrence: 0,
        flags: AlarmFlags::NORMAL,
        timers: AlarmTimers {
            delay_passed: (!n.is_multiple_of(3)).then(|| Duration::from_millis(n % 3 * 700)),
            ..AlarmTimers::NONE
        },
    };
    (0..MACHINES).flat_map(|machine| (0..ALARMS).map(move |n| alarm(machine, n))).collect()
}

fn buffer(
    path: PathBuf,
    groups: &[BatchBody],
    key: Option<BufferKey>,
    timers: impl Fn(u64) -> Vec<StoredAlarm>,
) -> Outcome {
    let settings = Settings { bytes_max: 64 << 20, key, ..Settings::new(path) };
    let mut store = EdgeStore::open(settings, START).expect("opens").store;
    let (before, small, began) = (written(), store.usage().expect("measures").disk_bytes, Instant::now());
    while store.grow().expect("grows") {}
    let made = store.usage().expect("measures").disk_bytes - small;
    let growth =
        ((written() - before) as f64 / made as f64, began.elapsed() / u32::try_from(made >> 20).unwrap_or(1));
    let samples: usize = groups.iter().map(BatchBody::count).sum();
    let (before, empty) = (written(), store.usage().expect("measures").held_bytes);
    let began = Instant::now();
    let mut last = Sequence::ZERO;
    for (n, body) in (0_u64..).zip(groups) {
        let now = START.plus(Duration::from_secs(n * u64::from(COMMIT_SECONDS)));
        last = store.commit_noting(body, &timers(n), now).expect("commits").sequence;
        store.acknowledge(StreamId::Telemetry, Sequence::from_u64(last.as_u64().saturating_sub(10)));
    }
    let commit = began.elapsed() / u32::try_from(groups.len()).unwrap_or(1);
    let (after, full) = (written(), store.usage().expect("measures").held_bytes);
    let mut sent = 0;
    for n in 1..=last.as_u64() {
        let batch =
            store.read(StreamId::Telemetry, Sequence::from_u64(n), START).expect("reads").expect("held");
        sent += batch.message.len();
    }
    let per_sample = |bytes: u64| bytes as f64 / samples as f64;
    Outcome {
        growth,
        written: per_sample(after - before),
        held: per_sample(full - empty),
        sent: per_sample(u64::try_from(sent).unwrap_or(0)),
        commit,
    }
}

/// A line a sample, flushed every second.
fn lines(folder: &Path, groups: &[BatchBody]) -> f64 {
    let mut file = File::create(folder.join("lines.json")).expect("creates");
    let before = written();
    let mut samples = 0;
    for body in groups.iter().take(60) {
        let BatchBody::Samples(blocks) = body else { continue };
        for second in 0..COMMIT_SECONDS as usize {
            let mut text = String::new();
            for block in blocks {
                let sample = &block.samples[second];
                samples += 1;
                let value = sample.value.as_ref().map(ToString::to_string).unwrap_or_default();
                let at = sample.gateway_timestamp.millis();
                writeln!(text, "{{\"id\":{},\"ts\":{at},\"v\":{value},\"q\":0}}", block.series.0)
                    .expect("text");
            }
            file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).expect("writes");
        }
    }
    (written() - before) as f64 / f64::from(samples)
}

/// What the cipher takes for each sample of a message of the hour, in nanoseconds: ChaCha20-Poly1305 as the buffer
/// uses it, without the disk.
fn sealing(groups: &[BatchBody]) -> f64 {
    use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    let message =
        Batch::encode(Epoch::from_u64(1), Sequence::from_u64(1), START, &groups[0]).expect("a batch");
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).expect("a key"));
    let rounds = 2_000_u32;
    let began = Instant::now();
    for n in 0..rounds {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&n.to_be_bytes());
        let mut bytes = message.clone();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from([0; 8]), &mut bytes).expect("seals");
        std::hint::black_box(&bytes);
    }
    let samples = f64::from(rounds) * groups[0].count() as f64;
    began.elapsed().as_secs_f64() * 1e9 / samples
}

#[expect(clippy::print_stdout, reason = "a bench reports")]
fn main() {
    let folder = std::env::var_os("EDGE_STORE_BENCH_FOLDER").map_or_else(|| ".".into(), PathBuf::from);
    let folder = tempfile::tempdir_in(folder).expect("a folder on a disk");
    let mut plant = Plant::new();
    let series: Vec<SeriesId> = (1..=MACHINES * TAGS).map(SeriesId).collect();
    let seconds = (0..HOUR).step_by(COMMIT_SECONDS as usize);
    let groups: Vec<BatchBody> = seconds.map(|second| plant.group(&series, START, second)).collect();
    let file = |name: &str| folder.path().join(name);
    let quiet = |_| Vec::new();
    let ours = buffer(file("buffer.db"), &groups, None, quiet);
    let chattering = buffer(file("chattering.db"), &groups, None, chatter);
    let sealed = buffer(file("sealed.db"), &groups, BufferKey::parse(&[b'7'; 64]), quiet);
    let lines = lines(folder.path(), &groups);
    println!(
        "bytes a sample: {:.2} written, {:.2} held, {:.2} in the message",
        ours.written, ours.held, ours.sent
    );
    println!("bytes a sample written as JSON lines: {lines:.1}, {:.1} times as many", lines / ours.written);
    println!("bytes a sample where 150 alarms chatter: {:.2} written", chattering.written);
    println!("a commit of 1,500 samples: {:.2} ms", ours.commit.as_secs_f64() * 1_000.0);
    println!(
        "encrypted: {:.2} bytes a sample written, {:.2} held; a commit {:.2} ms; {:.1} ns more a sample, measured alone",
        sealed.written,
        sealed.held,
        sealed.commit.as_secs_f64() * 1_000.0,
        sealing(&groups)
    );
    println!(
        "making the file: {:.2} bytes written for each of its bytes, {:.1} ms a MiB",
        ours.growth.0,
        ours.growth.1.as_secs_f64() * 1_000.0
    );
    assert!(ours.written > 0.0, "the folder is in memory; set EDGE_STORE_BENCH_FOLDER to one on a disk");
    assert!(
        chattering.written <= CHATTER_BOUND,
        "{:.2} bytes a sample where alarms chatter",
        chattering.written
    );
    for (value, bound) in [ours.written, ours.held, ours.sent].into_iter().zip(BOUNDS) {
        assert!(value <= bound, "{value:.2} bytes a sample; at most {bound} are allowed");
    }
}
