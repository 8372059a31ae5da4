use plant_model::{Quality, Sample};
use protocol::{Epoch, Sequence};
use segments::Source;

use super::*;

fn one(value: Option<Value>) -> Sourced {
    Sourced {
        sample: Sample {
            value,
            quality: Quality::GOOD,
            source_timestamp: Some(Timestamp::from_micros(1_790_000_000_000_000)),
            gateway_timestamp: Timestamp::from_micros(1_790_000_000_000_500),
        },
        source: Source { epoch: Epoch::from_u64(9), sequence: Sequence::from_u64(4) },
        detail: Detail::Full,
    }
}

fn hash(samples: &[Sourced]) -> [u8; 32] {
    TagDigest::of(samples).expect("some").sha256
}

#[test]
fn st4_whatever_differs_in_a_sample_changes_the_digest() {
    let base = one(Some(Value::Int(1)));
    let mut others: Vec<Sourced> = [
        None,
        Some(Value::Bool(true)),
        Some(Value::Int(2)),
        Some(Value::Float(f64::from_bits(1))),
        Some(Value::Float(f64::NAN)),
        Some(Value::Float(-f64::NAN)),
        Some(Value::Text("1".into())),
    ]
    .map(one)
    .into();
    let mut change = |change: fn(&mut Sourced)| {
        let mut other = base.clone();
        change(&mut other);
        others.push(other);
    };
    change(|s| s.sample.quality = Quality::UNCERTAIN);
    change(|s| s.sample.source_timestamp = None);
    change(|s| s.sample.source_timestamp = Some(Timestamp::from_micros(0)));
    change(|s| s.sample.gateway_timestamp = Timestamp::from_micros(0));
    change(|s| s.source.epoch = Epoch::from_u64(8));
    change(|s| s.source.sequence = Sequence::from_u64(5));
    change(|s| s.detail = Detail::Thinned);
    others.push(base);
    let hashes: std::collections::BTreeSet<_> =
        others.iter().map(|other| hash(std::slice::from_ref(other))).collect();
    assert_eq!(hashes.len(), others.len());
}

#[test]
fn st4_the_digest_of_known_samples_is_known() {
    let samples = [one(Some(Value::Int(1))), one(None), one(Some(Value::Text("jammed".into())))];
    let hex: String = hash(&samples).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "665ce53e96dd3994ddb532901945eb5568bcdaefdc5aae0a500316111227d827");
    assert_eq!(TagDigest::of(&[]), None);
}
