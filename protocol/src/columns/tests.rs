use std::sync::Arc;

use plant_model::{Quality, Timestamp};
use proptest::prelude::*;

use super::*;

fn identical(a: &Sample, b: &Sample) -> bool {
    let value = match (&a.value, &b.value) {
        (Some(x), Some(y)) => x.is_identical(y),
        (None, None) => true,
        _ => false,
    };
    value
        && a.quality == b.quality
        && a.source_timestamp == b.source_timestamp
        && a.gateway_timestamp == b.gateway_timestamp
}

fn assert_round_trip(block: &[SeriesSamples]) {
    let back = decode(&encode(block)).expect("own encoding");
    let flat = |b: &[SeriesSamples]| -> Vec<(SeriesId, Sample)> {
        b.iter().flat_map(|s| s.samples.iter().map(|x| (s.series, x.clone()))).collect()
    };
    let (want, got) = (flat(block), flat(&back));
    assert_eq!(want.len(), got.len());
    for (w, g) in want.iter().zip(&got) {
        assert!(w.0 == g.0 && identical(&w.1, &g.1), "{w:?} came back as {g:?}");
    }
}

fn assert_each_series_is_read_alone(block: &[SeriesSamples]) {
    let apart = ApartColumns::encode(block);
    let frame = ColumnFrame::decode(&apart.frame).expect("own frame");
    let series: Vec<_> = frame.series().collect();
    assert_eq!(series, block.iter().map(|s| (s.series, s.samples.len())).collect::<Vec<_>>());
    for (index, wanted) in block.iter().enumerate().rev() {
        let got = frame.read(index, &apart.values[index]).expect("own values");
        assert!(wanted.samples.iter().zip(&got).all(|(w, g)| identical(w, g)), "{wanted:?} as {got:?}");
    }
    assert!(frame.read(block.len(), &[]).is_err());
}

fn good(value: Value, at: i64) -> Sample {
    Sample {
        value: Some(value),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: Timestamp::from_micros(at),
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(|b| Value::Float(f64::from_bits(b))),
        any::<u32>().prop_map(|b| Value::Float(f64::from(f32::from_bits(b)))),
        (-100_000_i32..100_000).prop_map(|m| Value::Float(f64::from(m) / 100.0)),
        "[a-zé]{0,12}".prop_map(|t| Value::Text(Arc::from(t))),
    ]
}

fn any_sample() -> impl Strategy<Value = Sample> {
    (
        proptest::option::weighted(0.9, any_value()),
        prop_oneof![4 => Just(0_u32), 1 => any::<u32>()],
        proptest::option::of(any::<i64>()),
        prop_oneof![any::<i64>(), (0_i64..1_000_000).prop_map(|m| m * 1000)],
    )
        .prop_map(|(value, quality, source, at)| Sample {
            value,
            quality: Quality::from_status_code(quality),
            source_timestamp: source.map(Timestamp::from_micros),
            gateway_timestamp: Timestamp::from_micros(at),
        })
}

proptest! {
    #[test]
    fn whatever_is_sampled_comes_back_bit_by_bit(
        series in proptest::collection::btree_map(any::<u32>(), proptest::collection::vec(any_sample(), 1..20), 0..8)
    ) {
        let block: Vec<SeriesSamples> = series
            .into_iter()
            .map(|(id, samples)| SeriesSamples { series: SeriesId(id), samples })
            .collect();
        assert_round_trip(&block);
        assert_each_series_is_read_alone(&block);
    }

    #[test]
    fn damaged_columns_never_panic(
        samples in proptest::collection::vec(any_sample(), 1..20), field in 0_usize..12, at in any::<usize>(), noise in any::<u32>()
    ) {
        let mut columns = encode(&[SeriesSamples { series: SeriesId(1), samples }]);
        damage(&mut columns, field, at, noise);
        let _ = decode(&columns);
    }
}

fn damage(c: &mut crate::wire::Columns, field: usize, at: usize, noise: u32) {
    fn set<T>(v: &mut [T], at: usize, value: T) {
        if let Some(slot) = at.checked_rem(v.len()) {
            v[slot] = value;
        }
    }
    match field {
        0 => set(&mut c.axis_length, at, noise),
        1 => set(&mut c.kind, at, noise.to_le_bytes()[0]),
        2 => set(&mut c.flags, at, noise.to_le_bytes()[0]),
        3 => set(&mut c.axis, at, noise.cast_signed()),
        4 => c.ints.truncate(at % 4),
        5 => c.f64_planes.truncate(at % 9),
        6 => set(&mut c.text_index, at, noise),
        7 => set(&mut c.quality_runs, at, noise),
        8 => set(&mut c.null_runs, at, noise),
        9 => c.bools.clear(),
        10 => c.time_unit_us = noise,
        _ => c.axis_time.clear(),
    }
}

#[test]
fn tags_read_together_share_one_axis() {
    let block: Vec<SeriesSamples> = (0..20)
        .map(|n| SeriesSamples {
            series: SeriesId(n),
            samples: (0..5).map(|t| good(Value::Int(i64::from(n) + t), t * 1_000_000)).collect(),
        })
        .collect();
    let columns = encode(&block);
    assert_eq!(columns.axis_length, [5]);
    assert_eq!(columns.time_unit_us, 1000);
    assert_round_trip(&block);
}

#[test]
fn a_scaled_register_travels_as_an_integer_and_its_scale() {
    let samples = (0..5).map(|n| good(Value::Float(f64::from(2310 + n) / 10.0), 0)).collect();
    let columns = encode(&[SeriesSamples { series: SeriesId(7), samples }]);
    assert_eq!(columns.kind, [kind::DECIMAL + 1]);
    assert_eq!(columns.ints, [2310, 1, 1, 1, 1]);
}

#[test]
fn floats_that_only_look_decimal_stay_floats() {
    for value in [f64::NAN, f64::INFINITY, -0.0, 0.1 + 0.2, 1e300, f64::MIN_POSITIVE] {
        let block = [SeriesSamples { series: SeriesId(1), samples: vec![good(Value::Float(value), 1)] }];
        let columns = encode(&block);
        assert!(columns.kind[0] < kind::DECIMAL, "{value} became {}", columns.kind[0]);
        assert_round_trip(&block);
    }
}

#[test]
fn an_axis_that_claims_more_than_the_limit_is_refused_before_it_is_built() {
    let samples = vec![good(Value::Int(1), 0)];
    let mut columns = encode(&[SeriesSamples { series: SeriesId(1), samples }]);
    columns.axis_length = vec![u32::MAX];
    assert_eq!(decode(&columns).expect_err("too long").reason(), "field");
}
