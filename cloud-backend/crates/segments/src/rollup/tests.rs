use std::sync::Arc;

use plant_model::Quality;
use proptest::prelude::*;

use super::*;

const DAY: i64 = 1_790_035_200_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(DAY + second * 1_000_000)
}

fn sample(second: i64, value: impl Into<Option<Value>>, quality: Quality) -> Sample {
    Sample { value: value.into(), quality, source_timestamp: None, gateway_timestamp: at(second) }
}

fn good(second: i64, value: f64) -> Sample {
    sample(second, Value::Float(value), Quality::GOOD)
}

fn state(second: i64, value: i64) -> Sample {
    sample(second, Value::Int(value), Quality::GOOD)
}

fn bad(second: i64) -> Sample {
    sample(second, None, Quality::BAD_NOT_CONNECTED)
}

fn of(kind: TagKind, samples: &[Sample]) -> Rollup {
    Rollup::of_any(kind, samples, Hold::DEFAULT).expect("samples")
}

/// The rules in their plainest form: second by second. Values are whole numbers and times whole seconds, so that the
/// sums of floats are exact.
struct Naive<'a>(TagKind, &'a [Sample]);

impl Naive<'_> {
    /// What is in force in the second that begins at `second`, with its hold.
    fn in_force(&self, second: i64) -> Option<&Value> {
        let last = self.1.iter().rfind(|s| s.timestamp() <= at(second))?;
        let age = at(second).since(last.timestamp());
        self.0.good_value(last).filter(|_| age < Duration::from_micros(Hold::DEFAULT.0.cast_unsigned()))
    }

    fn time_in(&self, window: std::ops::Range<i64>, state: i64) -> u64 {
        let is = |second: &i64| self.in_force(*second) == Some(&Value::Int(state));
        1_000_000 * u64::try_from(window.filter(is).count()).expect("small")
    }

    fn integral(&self, window: std::ops::Range<i64>) -> (f64, u64) {
        let values: Vec<f64> = window.filter_map(|s| self.in_force(s)).map(number).collect();
        (values.iter().sum(), values.len() as u64 * 1_000_000)
    }

    fn increase(&self) -> f64 {
        let values: Vec<f64> = self.1.iter().filter_map(|s| self.0.good_value(s)).map(number).collect();
        values.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] }).sum()
    }
}

/// Samples at whole seconds, in order of time, at most one a second, with gaps longer than the hold.
fn any_samples() -> impl Strategy<Value = Vec<Sample>> {
    let step = prop_oneof![8 => 1_i64..5, 3 => 30_i64..90, 1 => 500_i64..800];
    let value = prop_oneof![6 => (-5_i64..5).prop_map(Some), 1 => Just(None)];
    proptest::collection::vec((step, value), 1..40).prop_map(|steps| {
        let mut second = 0;
        let each = steps.into_iter().map(|(step, value)| {
            second += step;
            value.map_or_else(|| bad(second), |value| state(second, value))
        });
        each.collect()
    })
}

fn cut(samples: &[Sample], marks: &[prop::sample::Index]) -> Vec<Vec<Sample>> {
    let mut cuts: Vec<usize> = marks.iter().map(|mark| mark.index(samples.len())).collect();
    cuts.extend([0, samples.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| samples[pair[0]..pair[1]].to_vec()).filter(|p| !p.is_empty()).collect()
}

proptest! {
    #[test]
    fn stretches_joined_in_any_grouping_say_what_all_their_samples_say(
        samples in any_samples(), marks in proptest::collection::vec(any::<prop::sample::Index>(), 0..6), kind in 0_usize..3,
    ) {
        let kind = TagKind::ALL[kind];
        let whole = of(kind, &samples);
        let parts: Vec<Rollup> = cut(&samples, &marks).iter().map(|part| of(kind, part)).collect();
        prop_assert_eq!(&Rollup::over(parts.iter().rev(), Hold::DEFAULT), &Some(whole.clone()));
        let from_behind = parts.into_iter().rev().reduce(|later, earlier| earlier.followed_by(&later, Hold::DEFAULT));
        prop_assert_eq!(from_behind, Some(whole));
    }

    #[test]
    fn what_a_rollup_says_is_what_counting_second_by_second_says(samples in any_samples()) {
        let (first, last) = (samples[0].timestamp(), samples[samples.len() - 1].timestamp());
        let second = |at: Timestamp| (at.micros() - DAY) / 1_000_000;
        let window = second(first)..second(last);
        let analog = of(TagKind::Analog, &samples);
        let numbers: Vec<f64> = samples.iter().filter_map(|s| TagKind::Analog.good_value(s)).map(number).collect();
        prop_assert_eq!(analog.count, samples.len() as u64);
        prop_assert_eq!(analog.good_count, numbers.len() as u64);
        prop_assert_eq!((analog.first_at, analog.last_at), (first, last));
        let value = |reading: &Option<Reading>| reading.as_ref().map(|reading| number(&reading.value));
        prop_assert_eq!(value(&analog.first), numbers.first().copied());
        prop_assert_eq!(value(&analog.last), numbers.last().copied());
        prop_assert_eq!(value(&analog.min), numbers.iter().copied().min_by(f64::total_cmp));
        prop_assert_eq!(value(&analog.max), numbers.iter().copied().max_by(f64::total_cmp));
        let (integral, known_us) = Naive(TagKind::Analog, &samples).integral(window.clone());
        prop_assert_eq!(&analog.course, &Course::Analog { sum: numbers.iter().sum(), integral, known_us });
        let Course::Counter { increase, .. } = of(TagKind::Counter, &samples).course else { unreachable!() };
        prop_assert_eq!(increase, Naive(TagKind::Counter, &samples).increase());
        let Course::State(times) = of(TagKind::State, &samples).course else { unreachable!() };
        for state in -5..5 {
            let naive = Naive(TagKind::State, &samples).time_in(window.clone(), state);
            prop_assert_eq!(times.time_in(&Value::Int(state)), naive, "state {}", state);
        }
    }

    #[test]
    fn windows_that_follow_one_another_add_up_to_the_whole_and_are_right_each(
        samples in any_samples(), length in 20_i64..400,
    ) {
        let model = Naive(TagKind::Analog, &samples);
        let end = (samples[samples.len() - 1].timestamp().micros() - DAY) / 1_000_000 + 900;
        let mut before: Option<Rollup> = None;
        let mut start = 0;
        while start < end {
            let inside: Vec<Sample> =
                samples.iter().filter(|s| (at(start)..at(start + length)).contains(&s.timestamp())).cloned().collect();
            let own = Rollup::of_any(TagKind::Analog, &inside, Hold::DEFAULT);
            let course = Course::in_window((at(start), at(start + length)), before.as_ref(), own.as_ref(), Hold::DEFAULT);
            let (area, known) = model.integral(start..start + length);
            let found = match course {
                Some(Course::Analog { integral, known_us, .. }) => (integral, known_us),
                None => (0.0, 0),
                other => panic!("{other:?}"),
            };
            prop_assert_eq!(found, (area, known), "window from {}", start);
            before = [before, own].into_iter().flatten().reduce(|a, b| a.followed_by(&b, Hold::DEFAULT));
            start += length;
        }
    }

    #[test]
    fn st5_late_data_between_others_leave_counts_extremes_and_ends_exact_and_say_what_is_not(
        early in any_samples(), late in any_samples(),
    ) {
        let (a, b) = (of(TagKind::Analog, &early), of(TagKind::Analog, &late));
        let mut all: Vec<Sample> = early.iter().chain(&late).cloned().collect();
        all.sort_by_key(Sample::timestamp);
        let (exact, joined) = (of(TagKind::Analog, &all), a.combined_with(&b, Hold::DEFAULT));
        prop_assert_eq!((joined.count, joined.good_count), (exact.count, exact.good_count));
        prop_assert_eq!((joined.first_at, joined.last_at), (exact.first_at, exact.last_at));
        let key = |reading: &Option<Reading>| reading.as_ref().map(|r| (r.at, number(&r.value)));
        prop_assert_eq!(key(&joined.min), key(&exact.min));
        prop_assert_eq!(key(&joined.max), key(&exact.max));
        prop_assert_eq!(joined.first.as_ref().map(|r| r.at), exact.first.as_ref().map(|r| r.at));
        prop_assert_eq!(joined.last.as_ref().map(|r| r.at), exact.last.as_ref().map(|r| r.at));
        let sum = |rollup: &Rollup| match rollup.course {
            Course::Analog { sum, .. } => sum,
            Course::Counter { .. } | Course::State(_) => f64::NAN,
        };
        prop_assert_eq!(sum(&joined), sum(&exact));
        let overlap = a.first_at < b.last_at && b.first_at < a.last_at;
        prop_assert_eq!(joined.exactness == Exactness::Approximate, overlap);
    }
}

#[test]
fn st5_minutes_that_come_late_after_an_outage_make_the_hour_what_it_would_have_been() {
    let minute =
        |n: i64| of(TagKind::Analog, &(0..60).map(|s| good(n * 60 + s, (n * s) as f64)).collect::<Vec<_>>());
    let minutes: Vec<Rollup> = (0..60).map(minute).collect();
    let hour = Rollup::over(&minutes, Hold::DEFAULT).expect("an hour");
    let with_outage =
        Rollup::over(minutes[..20].iter().chain(&minutes[40..]), Hold::DEFAULT).expect("an hour");
    assert_ne!(with_outage, hour);
    let late = minutes[20..40].iter().rev();
    let healed = Rollup::over(minutes[..20].iter().chain(&minutes[40..]).chain(late), Hold::DEFAULT);
    assert_eq!(healed, Some(hour.clone()));
    assert_eq!(hour.count, 3_600);
    let Course::Analog { known_us, .. } = hour.course else { panic!("{hour:?}") };
    assert_eq!(known_us, 3_599_000_000);
}

#[test]
fn da2_the_days_of_a_month_add_up_to_the_month_and_are_made_of_their_hours() {
    let counter: Vec<Sample> = (0..96).map(|n| good(n * 1_800, (n % 37) as f64)).collect();
    let hours: Vec<Rollup> = counter.chunks(2).map(|hour| of(TagKind::Counter, hour)).collect();
    let days: Vec<Rollup> = hours.chunks(24).filter_map(|day| Rollup::over(day, Hold::DEFAULT)).collect();
    assert_eq!(days.len(), 2);
    let month = Rollup::over(&days, Hold::DEFAULT).expect("days");
    // Two resets: 36 -> 0. What was counted is 36 + 36 + 21.
    assert_eq!(month.course, Course::Counter { increase: 93.0, resets: 2 });
    let mut before: Option<&Rollup> = None;
    let mut total = 0.0;
    for (day, start) in days.iter().zip([0, 86_400]) {
        let window = (at(start), at(start + 86_400));
        let course = Course::in_window(window, before, Some(day), Hold::DEFAULT);
        let Some(Course::Counter { increase, .. }) = course else { panic!("{course:?}") };
        total += increase;
        before = Some(day);
    }
    assert_eq!(total, 93.0, "what was counted over midnight belongs to the second day");
}

#[test]
fn da3_states_and_counters_have_no_mean() {
    let samples = [state(0, 1), state(10, 3)];
    assert_eq!(of(TagKind::State, &samples).course.time_weighted_mean(), None);
    assert_eq!(of(TagKind::Counter, &samples).course.time_weighted_mean(), None);
    assert_eq!(of(TagKind::Analog, &samples).course.time_weighted_mean(), Some(1.0));
}

#[test]
fn a_mean_is_weighted_by_time_and_not_by_samples() {
    // 8 s at 10, then 2 s at 20 in three samples.
    let samples = [good(0, 10.0), good(8, 20.0), good(9, 20.0), good(10, 20.0)];
    let rollup = of(TagKind::Analog, &samples);
    assert_eq!(rollup.course.time_weighted_mean(), Some(12.0));
    assert_eq!(of(TagKind::Analog, &samples[..1]).course.time_weighted_mean(), None, "no time passed");
}

#[test]
fn a_value_is_in_force_neither_after_a_bad_sample_nor_longer_than_its_hold() {
    let samples = [good(0, 10.0), bad(4), good(20, 30.0), good(22, 30.0)];
    assert_eq!(
        of(TagKind::Analog, &samples).course.time_weighted_mean(),
        Some((4.0 * 10.0 + 2.0 * 30.0) / 6.0)
    );
    let outage = [good(0, 10.0), good(3_600, 0.0)];
    let Course::Analog { known_us, .. } = of(TagKind::Analog, &outage).course else { unreachable!() };
    assert_eq!(known_us, 600_000_000);
    let hold = Hold::new(Duration::from_secs(7_200));
    let Some(rollup) = Rollup::of_any(TagKind::Analog, &outage, hold) else { panic!("samples") };
    let Course::Analog { known_us, .. } = rollup.course else { unreachable!() };
    assert_eq!(known_us, 3_600_000_000);
}

#[test]
fn what_is_no_number_or_not_good_never_moves_a_statistic() {
    let strange = [
        good(1, f64::NAN),
        good(2, f64::INFINITY),
        sample(3, Value::Float(99.0), Quality::UNCERTAIN),
        sample(4, Value::Float(-99.0), Quality::BAD_SENSOR_FAILURE),
        sample(5, Value::Text(Arc::from("12")), Quality::GOOD),
    ];
    let rollup = of(TagKind::Analog, &strange);
    assert_eq!((rollup.count, rollup.good_count), (5, 0));
    assert_eq!((rollup.min, rollup.max, rollup.first, rollup.last), (None, None, None, None));
    assert_eq!(of(TagKind::State, &strange).good_count, 3, "a state may be anything");
}

#[test]
fn more_states_than_have_names_are_summed_up() {
    let many: Vec<Sample> = (0..100).map(|n| state(n, n)).collect();
    let Course::State(times) = of(TagKind::State, &many).course else { unreachable!() };
    assert_eq!((times.iter().len(), times.other_us(), times.known_us()), (64, 35_000_000, 99_000_000));
}
