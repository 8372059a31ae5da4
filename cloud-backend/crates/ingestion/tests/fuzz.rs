//! Everything that takes bytes from outside, fed with bytes that nobody meant: the decoders of all messages, the
//! parser of topics, and the decision about a batch.
//!
//! It runs for `FUZZ_SECONDS` (2 when not set) from `FUZZ_SEED` (1 when not set). It starts from the messages in
//! `protocol/fixtures` and changes them as a bad line and a bad program would; most of the time the change is made
//! behind the compression, and length and checksum are made to fit, so that it reaches the decoders. Inputs with an
//! outcome that was not seen before are kept to start from. A panic ends it and prints the seed and the input.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ingestion::{Arrival, Placement, Tally, Verdict, decide};
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::{
    Batch, Catalogue, Command, CommandResult, CumulativeAck, DecodeError, Epoch, HEADER_BYTES, Hello, Live,
    Sequence, StreamId, StreamRange, Topic,
};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Inputs to start from; beyond them a new one takes the place of an old one.
const CORPUS_MAX: usize = 1_000;
/// A batch as large as it may be takes a hundred times the time of a small one and finds nothing more.
const INPUT_BYTES_MAX: usize = 4_096;
const BATCH: u8 = 0x01;
const COMPRESSED: u8 = 0x03;

fn setting(name: &str, default: u64) -> u64 {
    let parse = |text: String| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number"));
    std::env::var(name).map_or(default, parse)
}

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../protocol/fixtures/v1");
    let read = |folder: &Path| -> Vec<Vec<u8>> {
        let entries = std::fs::read_dir(folder).expect("the fixtures are there").flatten();
        let mut files: Vec<_> = entries.map(|e| e.path()).filter(|p| p.is_file()).collect();
        files.sort();
        files.iter().map(|p| std::fs::read(p).expect("a fixture")).collect()
    };
    let mut corpus = read(&folder);
    corpus.append(&mut read(&folder.join("corrupt")));
    assert!(corpus.len() > 15, "{} fixtures", corpus.len());
    let (epoch, next) = (Epoch::from_u64(7), Sequence::from_u64(3));
    let streams =
        StreamId::ALL.map(|stream| StreamRange { stream, oldest: Sequence::from_u64(1), next }).to_vec();
    corpus.push(Hello { epoch, schema_max: 1, agent_version: "1".into(), streams }.encode());
    let ack = CumulativeAck {
        epoch,
        stream: StreamId::Alarm,
        committed_through: next,
        missing_through: Some(next.next()),
        last_checksum: Some(7),
    };
    corpus.push(ack.encode());
    corpus.push(
        Live { at: Timestamp::from_micros(1), latest: vec![], links: vec![], transitions: vec![] }.encode(),
    );
    corpus.push(b"mfp/v1/acme/gw-1/up/telemetry".to_vec());
    corpus
}

/// Some changes in a row of bytes.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut StdRng) {
    let changes = [1, 1, 1, 2, 3, 6][rng.random_range(0..6)];
    for _ in 0..changes {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..9) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            4 if at < bytes.len() => bytes[at] = [0, 1, 0x7F, 0x80, 0xFF][rng.random_range(0..5)],
            // A number as large as one can be written.
            5 => drop(bytes.splice(at..at, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01])),
            6 => {
                let from = rng.random_range(0..=other.len());
                let to = rng.random_range(from..=other.len().min(from + 64));
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            7 => {
                let to = rng.random_range(at..=bytes.len().min(at + 32));
                let again = bytes[at..to].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                let to = rng.random_range(at..=bytes.len().min(at + 16));
                bytes.drain(at..to);
            }
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
}

/// The message with changes behind its compression, and everything before it made to fit.
fn mutated_inside(message: &[u8], other: &[u8], rng: &mut StdRng) -> Option<Vec<u8>> {
    let (head, frame) = match *message.first()? {
        BATCH if message.len() > HEADER_BYTES => message.split_at(HEADER_BYTES),
        COMPRESSED => message.split_at(1),
        _ => return None,
    };
    let mut plain = zstd::bulk::decompress(frame, 1 << 20).ok()?;
    mutate(&mut plain, other, rng);
    let mut out = head.to_vec();
    out.extend(zstd::bulk::compress(&plain, 1).ok()?);
    Some(out)
}

/// Length and checksum of a batch are made to fit what is there.
fn repair(message: &mut [u8]) {
    if message.len() < HEADER_BYTES || message[0] != BATCH {
        return;
    }
    let length = u32::try_from(message.len() - HEADER_BYTES).expect("small");
    message[44..48].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32fast::hash(&message[8..]);
    message[4..8].copy_from_slice(&checksum.to_le_bytes());
}

/// What each reader made of it, as words.
fn outcomes(input: &[u8]) -> Vec<(&'static str, String)> {
    fn of<T>(result: Result<T, DecodeError>) -> String {
        result.map_or_else(|e| format!("{}: {e}", e.reason()), |_| "read".to_owned())
    }
    let topic = String::from_utf8_lossy(input);
    vec![
        ("batch", of(Batch::decode(input))),
        ("hello", of(Hello::decode(input))),
        ("ack", of(CumulativeAck::decode(input))),
        ("catalogue", of(Catalogue::decode(input))),
        ("live", of(Live::decode(input))),
        ("command", of(Command::decode(input))),
        ("result", of(CommandResult::decode(input))),
        (
            "topic",
            Topic::parse(&topic).map_or_else(
                |e| e.to_string(),
                |t| {
                    assert_eq!(t.to_string(), topic, "a topic that is read is the one that would be written");
                    "read".to_owned()
                },
            ),
        ),
    ]
}

/// A batch is stored, or is exactly one rejection with a reason, on the page of the gateway that sent it.
fn one_fate(input: &[u8], gateway: &GatewayId) -> &'static str {
    let arrival = Arrival {
        tenant: TenantId::new("acme").expect("valid"),
        gateway: gateway.clone(),
        stream: StreamId::Telemetry,
        payload: Bytes::copy_from_slice(input),
        received_at: Timestamp::from_micros(1),
    };
    let judged = decide(arrival);
    assert_eq!(&judged.gateway, gateway);
    assert_eq!(judged.size_bytes, input.len() as u64);
    let mut tally = Tally::default();
    tally.count(&judged, judged.verdict.fate(Placement::New));
    assert!(tally.balances(), "{tally:?}");
    let (stored, rejected) = (tally.stored, tally.rejected.values().sum::<u64>());
    let is_good = Batch::decode(input).is_ok();
    match &judged.verdict {
        Verdict::Store(_) => assert_eq!((stored, rejected, is_good), (1, 0, true)),
        Verdict::Quarantine(_) | Verdict::Refuse { .. } => assert_eq!((stored, rejected), (0, 1)),
    }
    tally.rejected.keys().next().copied().unwrap_or("stored")
}

/// Words that tell outcomes apart, without the numbers in them.
fn shape(outcomes: &[(&'static str, String)], fate: &str) -> String {
    let words = outcomes.iter().map(|(name, text)| format!("{name} {text}"));
    let text: String = words.collect::<Vec<_>>().join("|");
    let mut shape: String = text.chars().filter(|c| !c.is_ascii_digit()).take(600).collect();
    shape.push_str(fate);
    shape
}

#[test]
fn in11_no_bytes_make_a_decoder_or_the_topic_parser_panic_and_each_bad_frame_is_one_rejection() {
    let (seconds, seed) = (setting("FUZZ_SECONDS", 2), setting("FUZZ_SEED", 1));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut corpus = corpus();
    let sound = corpus.len();
    let gateway = GatewayId::new("gw-7").expect("valid");
    let (mut shapes, mut executions, mut read) = (BTreeSet::new(), 0_u64, 0_u64);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        for _ in 0..100 {
            let among = if rng.random() { sound } else { corpus.len() };
            let base = corpus[rng.random_range(0..among)].clone();
            let other = &corpus[rng.random_range(0..corpus.len())];
            let inside = rng.random_ratio(2, 3).then(|| mutated_inside(&base, other, &mut rng)).flatten();
            let mut input = inside.unwrap_or_else(|| {
                let mut input = base;
                mutate(&mut input, other, &mut rng);
                input
            });
            if rng.random_ratio(3, 4) {
                repair(&mut input);
            }
            let looked_at = catch_unwind(AssertUnwindSafe(|| (outcomes(&input), one_fate(&input, &gateway))));
            let Ok((outcomes, fate)) = looked_at else {
                panic!("FUZZ_SEED={seed}, execution {executions}: {input:02x?}");
            };
            executions += 1;
            read += u64::from(outcomes.iter().any(|(_, text)| text == "read"));
            // Bounded: the words are of programs and the numbers in them are taken out, but names remain.
            if shapes.len() < 100_000 && shapes.insert(shape(&outcomes, fate)) {
                if corpus.len() < CORPUS_MAX {
                    corpus.push(input);
                } else {
                    let place = rng.random_range(sound..CORPUS_MAX);
                    corpus[place] = input;
                }
            }
        }
    }
    println!(
        "{executions} executions, {read} of them read, {} different outcomes, seed {seed}",
        shapes.len()
    );
    assert!(executions >= 200, "{executions}");
    assert!(read > executions / 200 && read < executions, "{read} of {executions} were read");
    assert!(shapes.len() > 50, "{} different outcomes: the changes do not reach the decoders", shapes.len());
}
