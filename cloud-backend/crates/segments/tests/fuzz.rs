//! The reader of segments, fed with bytes that nobody meant.
//!
//! It runs for `FUZZ_SECONDS` (2 when not set) from `FUZZ_SEED` (1 when not set). It starts from sound segments and
//! changes them; most of the time the change is made behind the compression of the head, and checksums and lengths are
//! made to fit, so that it reaches the decoders. Segments with an outcome that was not seen before are kept to start
//! from. A panic ends it and prints the seed and the input.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plant_model::{Quality, Sample, Timestamp, Value};
use protocol::{Detail, Epoch, Sequence};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use segments::{
    Content, HEAD_BYTES, Head, Merged, Minute, SealedSegment, SegmentError, Source, Stored, TagKind,
    TagNumber, merge, rollups_from_bytes,
};

const CORPUS_MAX: usize = 1_000;
/// A large segment takes a hundred times the time of a small one and finds nothing more.
const INPUT_BYTES_MAX: usize = 4_096;
const START: i64 = 1_790_000_040_000_000;

fn setting(name: &str, default: u64) -> u64 {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"));
    std::env::var(name).map_or(default, parse)
}

fn sample(rng: &mut StdRng, kind: u32) -> Sample {
    let value = match (kind, rng.random_range(0..8)) {
        (_, 0) => None,
        (0, _) => Some(Value::Float(f64::from(rng.random_range(0..900)) / 10.0)),
        (1, _) => Some(Value::Float(rng.random())),
        (2, _) => Some(Value::Int(rng.random_range(0..100))),
        (3, _) => Some(Value::Bool(rng.random())),
        _ => Some(Value::Text(Arc::from(["idle", "jammed"][rng.random_range(0..2)]))),
    };
    let at = Timestamp::from_micros(START + rng.random_range(0..60) * 1_000_000);
    let quality = if value.is_some() { Quality::GOOD } else { Quality::BAD_TIMEOUT };
    let source_timestamp = rng.random_ratio(1, 4).then_some(at);
    Sample { value, quality, source_timestamp, gateway_timestamp: at }
}

fn content(rng: &mut StdRng) -> Content {
    let mut content = Content::new(Minute::of(Timestamp::from_micros(START)));
    for tag in 0..rng.random_range(1..6) {
        let kind = TagKind::ALL[rng.random_range(0..3)];
        for sequence in 1..rng.random_range(2..5) {
            let source = Source { epoch: Epoch::from_u64(7), sequence: Sequence::from_u64(sequence) };
            let detail = if sequence == 3 { Detail::Thinned } else { Detail::Full };
            let samples: Vec<Sample> = (0..rng.random_range(1..20)).map(|_| sample(rng, tag)).collect();
            content.add((TagNumber(tag * 3), kind), (source, detail), &samples).expect("fits");
        }
    }
    content
}

fn corpus(rng: &mut StdRng) -> Vec<SealedSegment> {
    let mut corpus: Vec<SealedSegment> = (0..20).map(|_| content(rng).seal().expect("seals")).collect();
    let warm = Head::read(&corpus[0].head).expect("own head").without_body();
    corpus.push(SealedSegment { head: warm.to_bytes().expect("writes"), body: Vec::new() });
    corpus
}

/// Some changes in a row of bytes.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut StdRng) {
    let changes = [1, 1, 1, 2, 3, 6][rng.random_range(0..6)];
    for _ in 0..changes {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 | 4 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            5 if at < bytes.len() => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][rng.random_range(0..5)],
            // A number as large as one can be written.
            6 => drop(bytes.splice(at..at, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01])),
            _ => {
                let from = rng.random_range(0..=other.len());
                let to = rng.random_range(from..=other.len().min(from + 64));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
}

fn mutated_inside(head: &[u8], other: &[u8], rng: &mut StdRng) -> Option<Vec<u8>> {
    let (fixed, frame) = head.split_at_checked(HEAD_BYTES)?;
    let mut plain = zstd::bulk::decompress(frame, 1 << 20).ok()?;
    mutate(&mut plain, other, rng);
    let mut out = fixed.to_vec();
    out.extend(zstd::bulk::compress(&plain, 1).ok()?);
    Some(out)
}

/// Checksums are made to fit what is there, and the length of the body too.
fn repair(segment: &mut SealedSegment) {
    let SealedSegment { head, body } = segment;
    if head.len() < HEAD_BYTES {
        return;
    }
    let length = u32::try_from(body.len()).expect("small");
    head[24..28].copy_from_slice(&length.to_le_bytes());
    head[28..32].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    let checksum = crc32fast::hash(&head[8..]);
    head[4..8].copy_from_slice(&checksum.to_le_bytes());
}

/// What the readers made of it.
fn outcome(segment: &SealedSegment, more: &Content) -> Vec<String> {
    fn chain(error: &SegmentError) -> String {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        format!("{error} {}", cause.unwrap_or_default())
    }
    fn of<T>(result: Result<T, SegmentError>) -> String {
        result.map_or_else(|e| chain(&e), |_| "read".to_owned())
    }
    drop(rollups_from_bytes(&segment.head));
    let Ok(head) = Head::read(&segment.head) else { return vec![of(Head::read(&segment.head))] };
    let tags: Vec<TagNumber> = head.tags().map(|tag| tag.number).collect();
    let mut outcomes = vec!["head".to_owned(), of(head.open(&segment.body))];
    if let Ok(open) = head.open(&segment.body) {
        outcomes.push(of(open.verify()));
        outcomes.extend(tags.into_iter().take(2).map(|tag| of(open.samples(tag))));
    }
    let stored = Stored { head: &segment.head, body: Some(&segment.body) };
    outcomes.push(of(merge(Some(stored), more.clone())));
    let merged = merge(Some(Stored { body: None, ..stored }), more.clone());
    if let Ok(Merged::Beside { head, .. }) = &merged {
        assert!(Head::read(head).is_ok(), "what was written of what was read can be read");
    }
    outcomes
}

#[test]
fn no_bytes_make_the_reader_of_segments_panic() {
    let (seconds, seed) = (setting("FUZZ_SECONDS", 2), setting("FUZZ_SEED", 1));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut corpus = corpus(&mut rng);
    let sound = corpus.len();
    let more = content(&mut rng);
    let (mut shapes, mut executions, mut heads) = (BTreeSet::new(), 0_u64, 0_u64);
    let end = Instant::now() + Duration::from_secs(seconds);
    while executions < 200 || Instant::now() < end {
        let among = if rng.random() { sound } else { corpus.len() };
        let mut input = corpus[rng.random_range(0..among)].clone();
        let other = corpus[rng.random_range(0..corpus.len())].clone();
        match rng.random_range(0..4) {
            0 => mutate(&mut input.head, &other.head, &mut rng),
            1 => mutate(&mut input.body, &other.body, &mut rng),
            _ => {
                if let Some(head) = mutated_inside(&input.head, &other.body, &mut rng) {
                    input.head = head;
                }
            }
        }
        if rng.random_ratio(7, 8) {
            repair(&mut input);
        }
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| outcome(&input, &more))) else {
            panic!("FUZZ_SEED={seed}, execution {executions}: {input:02x?}");
        };
        executions += 1;
        heads += u64::from(outcome[0] == "head");
        let shape: String = outcome.join("|").chars().filter(|c| !c.is_ascii_digit()).take(600).collect();
        if shapes.len() < 100_000 && shapes.insert(shape) {
            if corpus.len() < CORPUS_MAX {
                corpus.push(input);
            } else {
                let place = rng.random_range(sound..CORPUS_MAX);
                corpus[place] = input;
            }
        }
    }
    println!("{executions} executions, {heads} heads read, {} different outcomes, seed {seed}", shapes.len());
    assert!(heads > 0 && heads < executions, "{heads} heads of {executions} were read");
    assert!(shapes.len() > 10, "{} different outcomes: the changes do not reach the decoders", shapes.len());
}
