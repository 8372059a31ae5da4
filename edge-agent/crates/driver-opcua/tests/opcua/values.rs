//! What becomes of the values themselves.

use opcua::types::{DataValue, DateTime, LocalizedText, StatusCode, Variant};
use plant_model::{DataType, Quality, QualityClass, Value};

use crate::support::{Running, Server, Told};

const NO_DATA: u32 = 0x809B_0000;

#[tokio::test]
async fn c7_bad_uncertain_and_empty_values_keep_their_quality_and_are_not_repeated_as_good() {
    let server = Server::start(&[("level", Variant::from(1.0_f64))]);
    let mut driver = Running::start(server.address, &[("level", DataType::Float)]);
    driver.until("the first value", |told| told.has(0, &Value::Float(1.0))).await;
    let with =
        |status: StatusCode, value: f64| DataValue { status: Some(status), ..DataValue::new_now(value) };
    server.set("level", with(StatusCode::UncertainLastUsableValue, 2.0));
    driver.until("the uncertain value", |told| told.has(0, &Value::Float(2.0))).await;
    server.set("level", with(StatusCode::BadSensorFailure, 3.0));
    driver.until("the failure", |told| told.of(0).count() == 3).await;
    server.set("level", DataValue { status: Some(StatusCode::Good), ..DataValue::new_now(Variant::Empty) });
    driver.until("the empty value", |told| told.of(0).count() == 4).await;
    server.set("level", with(StatusCode::Good, 1.0));
    let told = driver.until("the good value", |told| told.of(0).count() == 5).await;
    let seen: Vec<_> = told.of(0).map(|r| (r.sample.value.clone(), r.sample.quality.status_code())).collect();
    let uncertain = StatusCode::UncertainLastUsableValue.bits();
    assert_eq!(
        seen,
        [
            (Some(Value::Float(1.0)), 0),
            (Some(Value::Float(2.0)), uncertain),
            (None, Quality::BAD_SENSOR_FAILURE.status_code()),
            (None, NO_DATA),
            (Some(Value::Float(1.0)), 0),
        ]
    );
    driver.stop().await;
}

#[tokio::test]
async fn c8_a_clock_in_2000_is_flagged_and_its_values_stand_at_the_gateways_time() {
    let server = Server::start(&[]);
    let ticks = 116_444_736_000_000_000 + 946_684_800 * 10_000_000;
    let time = Some(DateTime::from(ticks));
    let old = DataValue { source_timestamp: time, server_timestamp: time, ..DataValue::value_only(7_i32) };
    server.add_with("parts", old);
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let mut driver = Running::start(server.address, &[("parts", DataType::Int)]);
    let told = driver.until("the value", |told| told.has(0, &Value::Int(7))).await;
    let sample = &told.of(0).next().expect("one").sample;
    assert_eq!(sample.quality.class(), QualityClass::Good, "accepted");
    assert_eq!(sample.source_timestamp.map(|t| t.micros()), Some(946_684_800_000_000), "kept");
    let placed = i128::from(sample.gateway_timestamp.micros()) / 1000;
    assert!(placed >= i128::try_from(before.as_millis()).expect("fits"), "placed by the gateway");
    assert_eq!(driver.counters.doubtful_source_times.get(), 1, "flagged");
    driver.stop().await;
}

#[tokio::test]
async fn c14_texts_large_integers_arrays_and_enumerations_survive() {
    let beyond = 9_007_199_254_740_993_i64;
    let server = Server::start(&[
        ("order", Variant::from("0042")),
        ("total", Variant::from(beyond)),
        ("negative", Variant::from(-12_i32)),
        ("axes", Variant::from(vec![1_i32, -2, 3])),
        ("names", Variant::from(vec!["a".to_owned(), "b\"c".to_owned()])),
        ("state", Variant::from(3_i32)),
        ("label", Variant::from(LocalizedText::new("en", "1.0"))),
    ]);
    let nodes = [
        ("order", DataType::Text),
        ("total", DataType::Int),
        ("negative", DataType::Int),
        ("axes", DataType::Text),
        ("names", DataType::Text),
        ("state", DataType::Int),
        ("label", DataType::Text),
    ];
    let mut driver = Running::start(server.address, &nodes);
    let told = driver.until("all values", |told: &Told| (0..7).all(|tag| told.last(tag).is_some())).await;
    let values = [
        Value::Text("0042".into()),
        Value::Int(beyond),
        Value::Int(-12),
        Value::Text("[1,-2,3]".into()),
        Value::Text(r#"["a","b\"c"]"#.into()),
        Value::Int(3),
        Value::Text("1.0".into()),
    ];
    for (tag, value) in (0..).zip(values) {
        assert_eq!(told.last(tag), Some((Some(value), Quality::GOOD)), "{}", nodes[usize::from(tag)].0);
    }
    driver.stop().await;
}
