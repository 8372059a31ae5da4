//! What a sample costs in a segment: nanoseconds to seal and to read it, bytes at rest, and what one tag of twenty
//! costs beside all of them. A minute of a machine of the demo: 20 tags at 1 Hz, 12 batches.
//!
//! 2.48 bytes a sample, of which 0.64 are the head.
//!
//! `cargo bench -p segments`. The time of a sample is the reciprocal of criterion's throughput.

#[path = "../../../../protocol/benches/support/signals.rs"]
#[expect(dead_code, reason = "other benches use the rest")]
mod signals;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use plant_model::{Sample, Timestamp};
use protocol::{Batch, BatchBody, Detail, Epoch, Sequence, SeriesId, SeriesSamples};
use segments::{
    Content, Gatherer, Head, Hold, Minute, Place, Rollup, SealedSegment, Source, TagKind, TagNumber,
    downsample,
};
use signals::{Noise, TAGS};

const START: i64 = 1_790_000_040_000_000;
const MINUTES: u32 = 60;
const BATCH_SECONDS: u32 = 5;

fn kind(tag: u32) -> TagKind {
    match tag {
        13 | 14 => TagKind::Counter,
        15..=18 => TagKind::State,
        _ => TagKind::Analog,
    }
}

/// An hour of one machine, minute by minute.
fn contents() -> Vec<Content> {
    let mut noise = Noise::new();
    let mut levels: Vec<f64> = (0..TAGS).map(|tag| signals::level(0, tag)).collect();
    let start = Timestamp::from_micros(START);
    let mut contents: Vec<Content> = Vec::new();
    for batch in 0..MINUTES * 60 / BATCH_SECONDS {
        let source = Source {
            epoch: Epoch::from_u64(0x9E37_79B9_7F4A_7C15),
            sequence: Sequence::from_u64(1 + u64::from(batch)),
        };
        for tag in 0..TAGS {
            for second in batch * BATCH_SECONDS..(batch + 1) * BATCH_SECONDS {
                let level = &mut levels[usize::try_from(tag).expect("small")];
                let sample = signals::sample(start, 0, second, noise.value(level, tag, second, 0));
                let minute = Minute::of_sample(&sample);
                if contents.last().is_none_or(|content| content.minute() < minute) {
                    contents.push(Content::new(minute));
                }
                let content =
                    contents.iter_mut().rfind(|content| content.minute() == minute).expect("pushed");
                content.add((TagNumber(tag), kind(tag)), (source, Detail::Full), &[sample]).expect("fits");
            }
        }
    }
    contents
}

/// A commit of the plant, 15 machines, as it comes.
fn batch() -> Batch {
    let mut noise = Noise::new();
    let mut blocks = Vec::new();
    for machine in 0..signals::MACHINES {
        for tag in 0..TAGS {
            let mut level = signals::level(machine, tag);
            let sample = |second| {
                let value = noise.value(&mut level, tag, second, 0);
                signals::sample(Timestamp::from_micros(START), machine, second, value)
            };
            let samples = (0..BATCH_SECONDS).map(sample).collect();
            blocks.push(SeriesSamples { series: SeriesId(machine * TAGS + tag), samples });
        }
    }
    let body = BatchBody::Samples(blocks);
    let (epoch, sequence) = (Epoch::from_u64(1), Sequence::from_u64(1));
    let bytes = Batch::encode(epoch, sequence, Timestamp::from_micros(START), &body).expect("a batch");
    Batch::decode(&bytes).expect("own batch")
}

fn read(sealed: &SealedSegment, tag: TagNumber) -> Vec<Sample> {
    let head = Head::read(&sealed.head).expect("own head");
    head.open(&sealed.body).and_then(|segment| segment.samples(tag)).expect("reads").expect("there")
}

#[expect(clippy::print_stdout, reason = "a bench reports")]
fn report(contents: &[Content], sealed: &[SealedSegment]) {
    let samples: usize = contents.iter().map(Content::count).sum();
    let bytes =
        |of: fn(&SealedSegment) -> usize| sealed.iter().map(of).sum::<usize>() as f64 / samples as f64;
    let (head, body) = (bytes(|s| s.head.len()), bytes(|s| s.body.len()));
    let warm = sealed.iter().map(|s| Head::read(&s.head).and_then(|h| h.without_body().to_bytes()));
    let warm: usize = warm.map(|head| head.expect("writes").len()).sum();
    println!(
        "{} segments of {} samples: {:.2} bytes a sample (head {head:.2}, body {body:.2}); without body {:.2}",
        sealed.len(),
        samples / sealed.len(),
        head + body,
        warm as f64 / samples as f64
    );
}

fn segment(c: &mut Criterion) {
    let contents = contents();
    let contents = &contents[..usize::try_from(MINUTES).expect("small") - 1];
    let sealed: Vec<SealedSegment> = contents.iter().map(|content| content.seal().expect("seals")).collect();
    report(contents, &sealed);
    let (content, one) = (&contents[7], &sealed[7]);
    let mut group = c.benchmark_group("segment_of_1200");
    group.throughput(Throughput::Elements(content.count() as u64));
    group.bench_function("seal", |b| b.iter(|| black_box(content).seal().expect("seals")));
    group.bench_function("read_head", |b| b.iter(|| Head::read(black_box(&one.head)).expect("own head")));
    group.bench_function("read_all_tags", |b| {
        b.iter(|| {
            let head = Head::read(black_box(&one.head)).expect("own head");
            let segment = head.open(&one.body).expect("own body");
            (0..TAGS)
                .map(|tag| segment.samples(TagNumber(tag)).expect("reads").map_or(0, |s| s.len()))
                .sum::<usize>()
        });
    });
    // The same number of elements, so that the two compare: what a tag costs is a share of what all cost.
    group.bench_function("read_one_tag", |b| b.iter(|| read(black_box(one), TagNumber(3))));
    group.finish();

    let batch = batch();
    let place = |_, series: SeriesId| {
        let machine = plant_model::MachineId::new(&format!("m{}", series.0 / TAGS)).ok()?;
        Some(Place { machine, tag: TagNumber(series.0 % TAGS), kind: kind(series.0 % TAGS) })
    };
    let mut group = c.benchmark_group("of_a_commit");
    group.throughput(Throughput::Elements(u64::from(batch.header.count)));
    group.bench_function("gather", |b| {
        b.iter(|| {
            let mut gatherer = Gatherer::new();
            gatherer.add(black_box(&batch), place).expect("known");
            gatherer.finish()
        });
    });
    group.finish();
    hour_of_one_tag(c, &sealed);
}

fn hour_of_one_tag(c: &mut Criterion, sealed: &[SealedSegment]) {
    let samples: Vec<Sample> = sealed.iter().flat_map(|one| read(one, TagNumber(5))).collect();
    let window = downsample::Window {
        start: samples[0].timestamp(),
        end: Timestamp::from_micros(samples[samples.len() - 1].timestamp().micros() + 1),
    };
    let mut group = c.benchmark_group("hour_of_one_tag");
    group.throughput(Throughput::Elements(samples.len() as u64));
    for (name, method) in [("min_max", downsample::Method::MinMax), ("lttb", downsample::Method::Lttb)] {
        group.bench_function(format!("{name}_500_points"), |b| {
            b.iter(|| downsample::downsample(TagKind::Analog, black_box(&samples), window, 500, method));
        });
    }
    let heads: Vec<Head> = sealed.iter().map(|one| Head::read(&one.head).expect("own head")).collect();
    let minutes: Vec<&Rollup> = heads.iter().filter_map(|head| head.rollup(TagNumber(5))).collect();
    group.bench_function("rollup_of_minutes", |b| {
        b.iter(|| Rollup::over(black_box(&minutes).iter().copied(), Hold::DEFAULT));
    });
    group.finish();
}

criterion_group!(benches, segment);
criterion_main!(benches);
