//! What a sample costs in a batch: nanoseconds to encode and to decode it, and bytes on the wire. A commit of a
//! plant of 15 machines with 20 tags (5 s at 1 Hz, 1,500 samples), and a batch of 1,000 of one machine.
//!
//! `cargo bench -p protocol`. The time of a sample is the reciprocal of criterion's throughput. For comparison the
//! same values go through zstd as plain numbers (time, series, value), at the same level.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plant_model::{Quality, Sample, Timestamp, Value};
use protocol::{Batch, BatchBody, Epoch, Sequence, SeriesId, SeriesSamples};

const START: i64 = 1_790_000_000_000_000;
const TAGS: u32 = 20;

/// Values that move as those of the demo do: scaled registers with noise, floats, counters, states.
struct Signals(u64);

impl Signals {
    fn noise(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        f64::from(u32::try_from(self.0 >> 32).unwrap_or(0)) / f64::from(u32::MAX) - 0.5
    }

    fn value(&mut self, level: &mut f64, tag: u32, second: u32) -> Value {
        let noise = self.noise();
        *level += noise;
        let (level, wave) = (*level, (f64::from(second) / 60.0).sin());
        match tag {
            0..=4 => Value::Float((level * 10.0).round() / 10.0),
            5..=8 => Value::Float((level * 100.0 + wave * 50.0 + noise * 300.0).round() / 100.0),
            9 | 10 => Value::Float(f64::from((level + wave + noise) as f32)),
            11 | 12 => Value::Float(level + wave * noise),
            13 => Value::Float(f64::from(second / 7) / 100.0),
            14 => Value::Int(second.into()),
            15 | 16 => Value::Int((second / 240 % 4).into()),
            17 | 18 => Value::Bool((second / 90).is_multiple_of(3)),
            _ => Value::Float(65.0),
        }
    }

    /// All tags of some machines over some seconds; the tags of a machine are read together.
    fn body(&mut self, machines: u32, seconds: u32) -> BatchBody {
        let mut blocks = Vec::new();
        for machine in 0..machines {
            for tag in 0..TAGS {
                let mut level = 20.0 + f64::from((machine * TAGS + tag) % 37);
                let sample = |second: u32| {
                    let millis = second * 1_000 + (machine * 61 + second * 3 % 5) % 1_000;
                    Sample {
                        value: Some(self.value(&mut level, tag, second)),
                        quality: Quality::GOOD,
                        source_timestamp: None,
                        gateway_timestamp: Timestamp::from_micros(START + i64::from(millis) * 1_000),
                    }
                };
                let samples = (0..seconds).map(sample).collect();
                blocks.push(SeriesSamples { series: SeriesId(machine * TAGS + tag + 1), samples });
            }
        }
        BatchBody::Samples(blocks)
    }
}

fn encode(body: &BatchBody) -> Vec<u8> {
    let at = Timestamp::from_micros(START);
    Batch::encode(Epoch::from_u64(1), Sequence::from_u64(1), at, body).expect("a batch")
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
        let body = Signals(0x9E37_79B9_7F4A_7C15).body(machines, seconds);
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
