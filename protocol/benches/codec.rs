//! What a sample costs in a batch: nanoseconds to encode and to decode it, and bytes on the wire. A commit of a
//! plant of 15 machines with 20 tags (5 s at 1 Hz, 1,500 samples), and a batch of 1,000 of one machine.
//!
//! `cargo bench -p protocol`. The time of a sample is the reciprocal of criterion's throughput. For comparison the
//! same values go through zstd as plain numbers (time, series, value), at the same level.

#[path = "support/signals.rs"]
#[expect(dead_code, reason = "another bench uses the rest")]
mod signals;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plant_model::{Timestamp, Value};
use protocol::{Batch, BatchBody, Epoch, Sequence, SeriesId, SeriesSamples};
use signals::{Noise, TAGS};

const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// All tags of some machines over some seconds; the tags of a machine are read together.
fn body(noise: &mut Noise, machines: u32, seconds: u32) -> BatchBody {
    let mut blocks = Vec::new();
    for machine in 0..machines {
        for tag in 0..TAGS {
            let mut level = signals::level(machine, tag);
            let sample = |second: u32| {
                let value = noise.value(&mut level, tag, second, 0);
                signals::sample(START, machine, second, value)
            };
            let samples = (0..seconds).map(sample).collect();
            blocks.push(SeriesSamples { series: SeriesId(machine * TAGS + tag + 1), samples });
        }
    }
    BatchBody::Samples(blocks)
}

fn encode(body: &BatchBody) -> Vec<u8> {
    Batch::encode(Epoch::from_u64(1), Sequence::from_u64(1), START, body).expect("a batch")
}

/// Time, series and value of each sample as they lie in memory.
fn plain(body: &BatchBody) -> Vec<u8> {
    let BatchBody::Samples(blocks) = body else { return Vec::new() };
    let mut bytes = Vec::new();
    for block in blocks {
        for sample in &block.samples {
            bytes.extend(sample.gateway_timestamp.micros().to_le_bytes());
            bytes.extend(block.series.0.to_le_bytes());
            bytes.extend(sample.value.as_ref().and_then(Value::as_f64).unwrap_or(0.0).to_le_bytes());
        }
    }
    bytes
}

#[expect(clippy::print_stdout, reason = "a bench reports")]
fn codec(c: &mut Criterion) {
    for (name, machines, seconds) in [("commit_of_1500", 15, 5), ("machine_of_1000", 1, 50)] {
        let body = body(&mut Noise::new(), machines, seconds);
        let (samples, message, plain) = (body.count(), encode(&body), plain(&body));
        let per_sample = |bytes: usize| bytes as f64 / samples as f64;
        let packed = zstd::bulk::compress(&plain, 3).expect("compresses").len();
        println!(
            "{name}: {:.2} bytes a sample; plain numbers {:.2}, through zstd {:.2}",
            per_sample(message.len()),
            per_sample(plain.len()),
            per_sample(packed)
        );
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(samples as u64));
        group.bench_function("encode", |b| b.iter(|| encode(black_box(&body))));
        group.bench_function("decode", |b| b.iter(|| Batch::decode(black_box(&message)).expect("a batch")));
        group.bench_function("zstd_of_plain_numbers", |b| {
            b.iter(|| zstd::bulk::compress(black_box(&plain), 3).expect("compresses"));
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
