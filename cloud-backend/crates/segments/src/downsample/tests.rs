use plant_model::{Quality, Value};
use proptest::prelude::*;

use super::*;

const DAY: i64 = 1_790_035_200_000_000;

fn sample(second: i64, value: Option<f64>) -> Sample {
    Sample {
        value: value.map(Value::Float),
        quality: if value.is_some() { Quality::GOOD } else { Quality::BAD_NOT_CONNECTED },
        source_timestamp: None,
        gateway_timestamp: Timestamp::from_micros(DAY + second * 1_000_000),
    }
}

fn window(seconds: i64) -> Window {
    let at = |second: i64| Timestamp::from_micros(DAY + second * 1_000_000);
    Window { start: at(0), end: at(seconds) }
}

fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
    let value = prop_oneof![9 => (-9_i32..9).prop_map(|v| Some(f64::from(v))), 1 => Just(None)];
    proptest::collection::vec((0_i64..4, value), 0..300).prop_map(|steps| {
        let mut second = 0;
        let each = steps.into_iter().map(|(step, value)| {
            second += step;
            sample(second, value)
        });
        each.collect()
    })
}

/// Where each sample of the answer lies in the given ones; panics if one does not, or not in order.
fn places(chosen: &[Sample], of: &[Sample]) -> Vec<usize> {
    let mut rest = 0..of.len();
    let place = |sample: &Sample| {
        rest.find(|i| of[*i] == *sample).unwrap_or_else(|| panic!("{sample:?} was made up"))
    };
    chosen.iter().map(place).collect()
}

proptest! {
    #[test]
    fn da1_a_picture_has_no_more_points_than_asked_for_and_each_is_a_sample_in_its_order(
        samples in any_samples(), points in 0_usize..80, kind in 0_usize..3, lttb in any::<bool>(), end in 1_i64..700,
    ) {
        let method = if lttb { Method::Lttb } else { Method::MinMax };
        let chosen = downsample(TagKind::ALL[kind], &samples, window(end), points, method);
        prop_assert!(chosen.len() <= points, "{} of {}", chosen.len(), points);
        places(&chosen, &samples);
        prop_assert!(chosen.iter().all(|s| s.timestamp() < window(end).end));
    }

    #[test]
    fn no_extreme_is_lost_by_buckets(samples in any_samples(), points in 3_usize..80) {
        let chosen = downsample(TagKind::Analog, &samples, window(2_000), points, Method::MinMax);
        let span = |samples: &[Sample]| {
            let values: Vec<f64> = samples.iter().filter_map(|s| s.value.as_ref()?.as_f64()).collect();
            (values.iter().copied().reduce(f64::min), values.iter().copied().reduce(f64::max))
        };
        prop_assert_eq!(span(&chosen), span(&samples));
    }
}

#[test]
fn lttb_keeps_the_ends_and_the_points_that_stick_out() {
    let spike = |second| if second == 400 { 50.0 } else { f64::from(second).sin() };
    let samples: Vec<Sample> = (0..1_000).map(|s| sample(i64::from(s), Some(spike(s)))).collect();
    let chosen = downsample(TagKind::Analog, &samples, window(1_000), 50, Method::Lttb);
    let places = places(&chosen, &samples);
    assert_eq!((places.len(), places[0], places[49]), (50, 0, 999));
    assert!(places.contains(&400), "{places:?}");
}

#[test]
fn lttb_is_that_of_the_thesis() {
    // Three buckets over (1), (2), (3..5): worked out by hand from the formula of the triangle.
    let values = [0.0, 5.0, 1.0, -4.0, 0.0];
    let samples: Vec<Sample> = (0..).zip(values).map(|(s, v)| sample(s, Some(v))).collect();
    let chosen = downsample(TagKind::Analog, &samples, window(5), 4, Method::Lttb);
    assert_eq!(places(&chosen, &samples), [0, 1, 3, 4]);
}

#[test]
fn a_line_is_broken_where_the_data_were() {
    let value = |s| if (300..310).contains(&s) { None } else { Some(s as f64) };
    let samples: Vec<Sample> = (0..1_000).map(|s| sample(s, value(s))).collect();
    for method in [Method::MinMax, Method::Lttb] {
        let chosen = downsample(TagKind::Analog, &samples, window(1_000), 60, method);
        let breaks: Vec<_> = chosen.iter().filter(|s| s.value.is_none()).collect();
        assert_eq!(breaks, [&samples[300]], "{method:?}");
    }
}

#[test]
fn da3_a_state_shows_its_changes_and_nothing_between() {
    let state = |s: i64| Some(((s / 100) % 4) as f64);
    let samples: Vec<Sample> = (0..1_000).map(|s| sample(s, state(s))).collect();
    let chosen = downsample(TagKind::State, &samples, window(1_000), 50, Method::Lttb);
    assert_eq!(places(&chosen, &samples), (0..1_000).step_by(100).collect::<Vec<_>>());
    let flicker: Vec<Sample> = (0..1_000).map(|s| sample(s, Some((s % 2) as f64))).collect();
    let chosen = downsample(TagKind::State, &flicker, window(1_000), 50, Method::MinMax);
    assert_eq!(chosen.len(), 50);
    assert!(chosen.iter().all(|s| flicker.contains(s)));
}

#[test]
fn a_counter_shows_where_it_stood_before_and_after_a_reset() {
    let count = |s: i64| Some((s % 500) as f64);
    let samples: Vec<Sample> = (0..1_000).map(|s| sample(s, count(s))).collect();
    let chosen = downsample(TagKind::Counter, &samples, window(1_000), 60, Method::Lttb);
    let places = places(&chosen, &samples);
    assert!(places.contains(&499) && places.contains(&500), "{places:?}");
}
