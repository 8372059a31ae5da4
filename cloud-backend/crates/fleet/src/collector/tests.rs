use plant_model::Quality;
use proptest::prelude::*;

use super::*;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn sample(micros: i64, value: Value) -> Sample {
    Sample {
        value: Some(value),
        quality: Quality::GOOD,
        source_timestamp: None,
        gateway_timestamp: at(micros),
    }
}

fn float(micros: i64, value: f64) -> Sample {
    sample(micros, Value::Float(value))
}

fn bad(micros: i64, value: Option<f64>) -> Sample {
    Sample { value: value.map(Value::Float), quality: Quality::BAD_TIMEOUT, ..float(micros, 0.0) }
}

fn info(data_type: DataType, role: TagRole) -> TagInfo {
    TagInfo { tag: TagId::new("tag").expect("valid"), unit: String::new(), data_type, role }
}

fn query(shape: Shape, limit: usize) -> SampleQuery {
    SampleQuery {
        gateway: GatewayId::new("gw-1").expect("valid"),
        machine: MachineId::new("press-1").expect("valid"),
        tags: vec![TagId::new("tag").expect("valid")],
        start: at(100),
        end: at(200),
        shape,
        limit,
    }
}

fn collect(query: &SampleQuery, info: TagInfo, samples: impl IntoIterator<Item = Sample>) -> SampleSet {
    let mut collector = Collector::new(query, vec![info]);
    samples.into_iter().for_each(|s| collector.add(0, s));
    collector.finish()
}

fn raw(set: &SampleSet) -> &[Sample] {
    match &set.tags[0].data {
        SeriesData::Raw(samples) => samples,
        SeriesData::Buckets(_) => panic!("reduced"),
    }
}

fn buckets(set: &SampleSet) -> &[Bucket] {
    match &set.tags[0].data {
        SeriesData::Buckets(buckets) => buckets,
        SeriesData::Raw(_) => panic!("not reduced"),
    }
}

#[test]
fn a_range_holds_its_start_and_not_its_end() {
    let samples = [99, 100, 199, 200].map(|t| float(t, 1.0));
    let set = collect(&query(Shape::Raw, 10), info(DataType::Float, TagRole::Plain), samples.clone());
    assert_eq!(raw(&set), &samples[1..3]);
    assert!(!set.truncated);
}

#[test]
fn two_samples_of_one_instant_are_both_there_in_their_order() {
    let samples = [float(150, 2.0), float(150, 1.0), float(120, 0.0)];
    let set = collect(&query(Shape::Raw, 10), info(DataType::Float, TagRole::Plain), samples.clone());
    assert_eq!(raw(&set), [samples[2].clone(), samples[0].clone(), samples[1].clone()]);
}

#[test]
fn an_answer_says_when_it_was_cut_off_and_only_then() {
    let samples = [110, 120, 130].map(|t| float(t, 1.0));
    let of =
        |limit| collect(&query(Shape::Raw, limit), info(DataType::Float, TagRole::Plain), samples.clone());
    assert_eq!((raw(&of(3)).len(), of(3).truncated), (3, false));
    assert_eq!((raw(&of(2)).len(), of(2).truncated), (2, true));
}

#[test]
fn a_bucket_shows_its_extremes_and_its_last_value() {
    let samples = [float(101, 5.0), float(119, 3.0), float(110, 9.0), float(150, 4.0)];
    let set = collect(&query(Shape::Buckets(5), 10), info(DataType::Float, TagRole::Plain), samples.clone());
    let expected = [
        Bucket { last: samples[1].clone(), min: Some(3.0), max: Some(9.0) },
        Bucket { last: samples[3].clone(), min: Some(4.0), max: Some(4.0) },
    ];
    assert_eq!(buckets(&set), expected, "empty buckets are left out");
}

#[test]
fn a_bad_value_does_not_widen_a_bucket_but_its_last_one_shows() {
    let samples = [float(101, 5.0), bad(105, Some(1e9)), bad(110, None), bad(130, None)];
    let set = collect(&query(Shape::Buckets(5), 10), info(DataType::Float, TagRole::Plain), samples.clone());
    let expected = [
        Bucket { last: samples[2].clone(), min: Some(5.0), max: Some(5.0) },
        Bucket { last: samples[3].clone(), min: None, max: None },
    ];
    assert_eq!(buckets(&set), expected);
}

#[test]
fn states_truth_values_and_texts_are_never_reduced() {
    let cases = [
        (DataType::Int, TagRole::State, Value::Int(2)),
        (DataType::Bool, TagRole::Plain, Value::Bool(true)),
        (DataType::Text, TagRole::Plain, Value::Text("a".into())),
    ];
    for (data_type, role, value) in cases {
        let samples = [sample(110, value.clone()), sample(111, value)];
        let set = collect(&query(Shape::Buckets(1), 10), info(data_type, role), samples.clone());
        assert_eq!(raw(&set), samples);
    }
}

#[test]
fn only_raw_samples_beyond_the_limit_end_a_collection_early() {
    let q = query(Shape::Buckets(2), 1);
    let line = info(DataType::Float, TagRole::Plain);
    let mut both = Collector::new(&q, vec![line.clone(), info(DataType::Bool, TagRole::Plain)]);
    let mut alone = Collector::new(&q, vec![info(DataType::Bool, TagRole::Plain)]);
    for t in [110, 120] {
        both.add(1, sample(t, Value::Bool(true)));
        alone.add(0, sample(t, Value::Bool(true)));
    }
    assert!(!both.is_full(), "the line still takes samples");
    assert!(alone.is_full());
}

proptest! {
    #[test]
    fn reducing_keeps_the_extremes_and_never_depends_on_the_order(
        values in prop::collection::vec((100_i64..200, -1e6_f64..1e6), 1..200),
        points in 1_usize..20
    ) {
        let samples: Vec<_> = values.iter().map(|(t, v)| float(*t, *v)).collect();
        let tag = info(DataType::Float, TagRole::Plain);
        let forward = collect(&query(Shape::Buckets(points), 0), tag.clone(), samples.clone());
        let backward = collect(&query(Shape::Buckets(points), 0), tag, samples.into_iter().rev());
        let extremes = |set: &SampleSet| -> Vec<_> { buckets(set).iter().map(|b| (b.min, b.max)).collect() };
        prop_assert_eq!(extremes(&forward), extremes(&backward));
        prop_assert!(buckets(&forward).len() <= points);
        let highest = values.iter().map(|(_, v)| *v).fold(f64::MIN, f64::max);
        prop_assert_eq!(buckets(&forward).iter().filter_map(|b| b.max).fold(f64::MIN, f64::max), highest);
        let times: Vec<_> = buckets(&forward).iter().map(|b| b.last.timestamp()).collect();
        prop_assert!(times.windows(2).all(|w| w[0] < w[1]), "{:?}", times);
    }
}
