//! Report by exception: which readings are worth recording.
//!
//! A reading is recorded if it is the first of its tag, if its quality or the type of its value is another than that
//! recorded last, if its value moved by more than the deadband since then, or if the heartbeat is due. Everything is
//! measured against what was *recorded*, so that a slow drift cannot slip away in steps smaller than the deadband.
//!
//! Unchanged is not the same as not measured: as long as a tag is measured, something is recorded within each
//! heartbeat. A reading is therefore taken already when the next one, coming at the same pace, would be too late.

use std::time::Duration;

use plant_model::{Monotonic, Quality, QualityClass, Sample, Value};

use crate::{AcquisitionError, Instants, Reading, TagIndex};

/// When a reading of a tag is recorded, unless all are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OnChange {
    deadband: f64,
    heartbeat: Duration,
}

impl OnChange {
    /// The shortest time between two records of a value that stands still.
    pub const HEARTBEAT_MIN: Duration = Duration::from_secs(1);
    /// The longest: a chart of a day has a point.
    pub const HEARTBEAT_MAX: Duration = Duration::from_secs(86_400);

    /// On moves by more than `deadband` in the unit of the tag (0: on every change), and every `heartbeat`.
    ///
    /// # Errors
    /// A deadband that is negative or no number, or a heartbeat out of range.
    pub fn new(deadband: f64, heartbeat: Duration) -> Result<Self, AcquisitionError> {
        if !deadband.is_finite() || deadband < 0.0 {
            return Err(AcquisitionError::ReportDeadband { deadband });
        }
        crate::connection::check_time("heartbeat", heartbeat, Self::HEARTBEAT_MIN, Self::HEARTBEAT_MAX)?;
        Ok(Self { deadband, heartbeat })
    }

    /// Values that are no numbers are other values or the same; there is no distance between them.
    fn moved(&self, from: Option<&Value>, to: Option<&Value>) -> bool {
        match (from, to) {
            (Some(Value::Float(a)), Some(Value::Float(b))) if a.is_nan() || b.is_nan() => {
                a.is_nan() != b.is_nan()
            }
            (Some(Value::Float(a)), Some(Value::Float(b))) => (a - b).abs() > self.deadband,
            (Some(Value::Int(a)), Some(Value::Int(b))) => a != b && distance(*a, *b) > self.deadband,
            (a, b) => a != b,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a distance beyond 2^53 is beyond any deadband in use")]
const fn distance(a: i64, b: i64) -> f64 {
    a.abs_diff(b) as f64
}

/// What it means that a machine is heard and one of its tags is not among what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It was not measured: the machine is polled.
    Unmeasured,
    /// It did not change: the machine reports changes.
    Unchanged,
}

/// Decides for the tags of one machine what is recorded.
#[derive(Debug)]
pub struct ChangeFilter {
    /// `None` for tags of which everything is recorded.
    tags: Vec<Option<Watched>>,
    absence: Absence,
}

#[derive(Debug)]
struct Watched {
    rule: OnChange,
    recorded: Option<Recorded>,
    /// What was heard last, recorded or not.
    latest: Option<Sample>,
    /// When it was thought of last; how often that happens is its pace.
    considered_at: Monotonic,
}

#[derive(Debug)]
struct Recorded {
    value: Option<Value>,
    quality: Quality,
    at: Monotonic,
}

impl ChangeFilter {
    /// A filter that has recorded nothing yet. `rules` lie in the order of the machine's tags.
    pub fn new(rules: impl IntoIterator<Item = Option<OnChange>>, absence: Absence) -> Self {
        let watched =
            |rule| Watched { rule, recorded: None, latest: None, considered_at: Monotonic::from_micros(0) };
        Self { tags: rules.into_iter().map(|rule| rule.map(watched)).collect(), absence }
    }

    /// Whether a reading is to be recorded; one that is counts as recorded from here on.
    pub fn admits(&mut self, reading: &Reading) -> bool {
        let Some(Some(tag)) = self.tags.get_mut(reading.tag.as_usize()) else { return true };
        let is_due = tag.is_due(reading.received_at);
        let is_news = tag.is_news(&reading.sample);
        if self.absence == Absence::Unchanged {
            tag.latest = Some(reading.sample.clone());
        }
        if is_news || is_due {
            tag.record(&reading.sample, reading.received_at);
        }
        is_news || is_due
    }

    /// The machine is heard at `now`: values that stand since their heartbeat are stated again, at the time of the
    /// gateway. The time at which the machine measured them is with their first record; here it would place them there
    /// a second time. Nothing for machines that are polled, and nothing for tags without a usable value.
    pub fn restate(&mut self, now: Instants, mut record: impl FnMut(TagIndex, Sample)) {
        if self.absence == Absence::Unmeasured {
            return;
        }
        let is_usable = |s: &Sample| s.quality.class() != QualityClass::Bad;
        for (index, tag) in (0..).zip(&mut self.tags) {
            let Some(tag) = tag else { continue };
            let is_due = tag.is_due(now.received_at);
            let Some(latest) = tag.latest.clone().filter(|s| is_due && is_usable(s)) else { continue };
            let gateway_timestamp = now.gateway_timestamp;
            let sample = Sample { source_timestamp: None, gateway_timestamp, ..latest };
            tag.record(&sample, now.received_at);
            record(TagIndex(index), sample);
        }
    }
}

impl Watched {
    /// Whether waiting for the next occasion would make the heartbeat late.
    fn is_due(&mut self, now: Monotonic) -> bool {
        let pace = now.since(std::mem::replace(&mut self.considered_at, now));
        self.recorded.as_ref().is_some_and(|r| now.since(r.at) + pace > self.rule.heartbeat)
    }

    fn is_news(&self, sample: &Sample) -> bool {
        let moved = |r: &Recorded| {
            r.quality != sample.quality || self.rule.moved(r.value.as_ref(), sample.value.as_ref())
        };
        self.recorded.as_ref().is_none_or(moved)
    }

    fn record(&mut self, sample: &Sample, at: Monotonic) {
        self.recorded = Some(Recorded { value: sample.value.clone(), quality: sample.quality, at });
    }
}

#[cfg(test)]
mod tests {
    use plant_model::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn rule(deadband: f64, heartbeat_s: u64) -> OnChange {
        OnChange::new(deadband, Duration::from_secs(heartbeat_s)).expect("valid")
    }

    fn filter(deadband: f64, heartbeat_s: u64, absence: Absence) -> ChangeFilter {
        ChangeFilter::new([Some(rule(deadband, heartbeat_s)), None], absence)
    }

    fn reading(ms: u64, value: Option<Value>, quality: Quality) -> Reading {
        let at = Timestamp::from_micros(i64::try_from(ms * 1_000).expect("small"));
        let sample = Sample { value, quality, source_timestamp: Some(at), gateway_timestamp: at };
        Reading { tag: TagIndex(0), sample, received_at: Monotonic::from_micros(ms * 1_000) }
    }

    fn good(ms: u64, value: Value) -> Reading {
        reading(ms, Some(value), Quality::GOOD)
    }

    /// Which of these values, a second apart, are recorded.
    fn recorded(deadband: f64, values: &[Value]) -> Vec<usize> {
        let mut filter = filter(deadband, 3_600, Absence::Unmeasured);
        let mut at = 0;
        let admits = |(index, value): (usize, &Value)| {
            at += 1_000;
            filter.admits(&good(at, value.clone())).then_some(index)
        };
        values.iter().enumerate().filter_map(admits).collect()
    }

    #[test]
    fn a_drift_in_small_steps_is_measured_against_what_was_recorded() {
        let drift: Vec<_> = (0..10).map(|n| Value::Float(f64::from(n) * 0.25)).collect();
        assert_eq!(recorded(0.5, &drift), [0, 3, 6, 9], "a move of exactly the deadband is none");
        let drift: Vec<_> = (0..10).map(Value::Int).collect();
        assert_eq!(recorded(2.0, &drift), [0, 3, 6, 9]);
    }

    #[test]
    fn without_a_deadband_every_change_counts_however_small() {
        let big = 1_i64 << 60;
        assert_eq!(recorded(0.0, &[Value::Int(big), Value::Int(big), Value::Int(big + 1)]), [0, 2]);
        let texts = ["a", "a", "b"].map(|t| Value::Text(t.into()));
        assert_eq!(recorded(0.0, &texts), [0, 2]);
        let bits = [false, false, true, true, false].map(Value::Bool);
        assert_eq!(recorded(0.0, &bits), [0, 2, 4]);
    }

    #[test]
    fn nan_and_another_type_are_changes_and_nan_again_is_none() {
        let values = [1.0, f64::NAN, f64::NAN, 1.0, f64::INFINITY, f64::INFINITY].map(Value::Float);
        assert_eq!(recorded(100.0, &values), [0, 1, 3, 4]);
        assert_eq!(recorded(100.0, &[Value::Int(1), Value::Float(1.0), Value::Bool(true)]), [0, 1, 2]);
    }

    #[test]
    fn a_lost_tag_is_recorded_at_once_and_its_first_value_afterwards_too() {
        let mut filter = filter(1.0, 60, Absence::Unmeasured);
        let seen = [
            good(0, Value::Int(5)),
            good(1_000, Value::Int(5)),
            reading(2_000, None, Quality::BAD_TIMEOUT),
            reading(3_000, None, Quality::BAD_NOT_CONNECTED),
            good(4_000, Value::Int(5)),
        ];
        assert_eq!(seen.map(|r| filter.admits(&r)), [true, false, true, true, true]);
    }

    #[test]
    fn a_value_that_stands_is_recorded_within_each_heartbeat_give_or_take_the_jitter_of_its_polls() {
        let mut filter = filter(0.0, 10, Absence::Unmeasured);
        let at = |n: u64| n * 1_000 + (n * 37) % 11;
        let kept: Vec<u64> = (0..100).map(at).filter(|ms| filter.admits(&good(*ms, Value::Int(1)))).collect();
        assert!(kept.windows(2).all(|w| (8_980..=10_020).contains(&(w[1] - w[0]))), "{kept:?}");
    }

    #[test]
    fn a_tag_without_a_rule_is_recorded_always() {
        let mut filter = filter(0.0, 10, Absence::Unmeasured);
        let other = |ms| Reading { tag: TagIndex(1), ..good(ms, Value::Int(1)) };
        assert!((0..5).all(|n| filter.admits(&other(n))));
        assert!(
            filter.admits(&Reading { tag: TagIndex(9), ..good(0, Value::Int(1)) }),
            "an unknown one, too"
        );
    }

    fn restated(filter: &mut ChangeFilter, ms: u64) -> Vec<Sample> {
        let mut out = Vec::new();
        let Reading { sample, received_at, .. } = good(ms, Value::Int(0));
        filter.restate(Instants { gateway_timestamp: sample.gateway_timestamp, received_at }, |_, s| {
            out.push(s)
        });
        out
    }

    #[test]
    fn a_machine_that_reports_changes_has_its_standing_values_stated_again() {
        let mut filter = filter(1.0, 10, Absence::Unchanged);
        assert!(filter.admits(&good(0, Value::Float(5.0))));
        assert!(!filter.admits(&good(4_000, Value::Float(5.5))));
        let times: Vec<u64> =
            (9..60).map(|n| n * 500).filter(|ms| !restated(&mut filter, *ms).is_empty()).collect();
        assert_eq!(times, [10_000, 20_000]);
        let sample = restated(&mut filter, 40_000).remove(0);
        assert_eq!(sample.value, Some(Value::Float(5.5)), "the last value heard");
        assert_eq!(sample.timestamp().millis(), 40_000, "placed where it was still true");
    }

    #[test]
    fn nothing_is_restated_of_a_lost_tag_or_of_a_polled_machine() {
        let mut subscribed = filter(1.0, 10, Absence::Unchanged);
        assert!(restated(&mut subscribed, 100_000).is_empty(), "nothing is known yet");
        assert!(subscribed.admits(&reading(0, None, Quality::BAD_TIMEOUT)));
        assert!(restated(&mut subscribed, 100_000).is_empty());
        let mut polled = filter(1.0, 10, Absence::Unmeasured);
        assert!(polled.admits(&good(0, Value::Int(1))));
        assert!(restated(&mut polled, 100_000).is_empty());
    }

    #[test]
    fn an_impossible_rule_is_refused() {
        for deadband in [-0.1, f64::NAN, f64::INFINITY] {
            assert!(OnChange::new(deadband, Duration::from_secs(60)).is_err(), "{deadband}");
        }
        let error = OnChange::new(0.0, Duration::from_millis(999)).expect_err("too short").to_string();
        assert!(error.contains("heartbeat of 999ms is out of range: use 1s to 86400s"), "{error}");
    }

    fn any_value() -> impl Strategy<Value = Option<Value>> {
        prop_oneof![
            6 => (-40_i32..40).prop_map(|n| Some(Value::Float(f64::from(n) / 8.0))),
            2 => (-5_i64..5).prop_map(|n| Some(Value::Int(n))),
            1 => Just(Some(Value::Float(f64::NAN))),
            1 => any::<bool>().prop_map(|b| Some(Value::Bool(b))),
            1 => Just(None),
        ]
    }

    /// How far apart two values are: not at all, by a number, or beyond all numbers.
    fn apart(a: Option<&Value>, b: Option<&Value>) -> f64 {
        let kind = |v: Option<&Value>| v.map(std::mem::discriminant);
        match (a.and_then(Value::as_f64), b.and_then(Value::as_f64)) {
            _ if kind(a) != kind(b) => f64::INFINITY,
            (Some(x), Some(y)) if x.is_nan() && y.is_nan() => 0.0,
            (Some(x), Some(y)) if x.is_nan() || y.is_nan() => f64::INFINITY,
            (Some(x), Some(y)) if kind(a) != kind(Some(&Value::Bool(true))) => (x - y).abs(),
            _ if a == b => 0.0,
            _ => f64::INFINITY,
        }
    }

    proptest! {
        #[test]
        fn what_is_recorded_tells_the_truth_within_the_deadband_at_all_times(
            readings in prop::collection::vec((any_value(), prop::bool::weighted(0.9), 1_u64..4_000), 1..200),
            deadband in prop::sample::select(vec![0.0, 0.5, 2.0]),
        ) {
            let mut filter = filter(deadband, 10, Absence::Unmeasured);
            let (mut now, mut told): (u64, Option<(Option<Value>, Quality, u64)>) = (0, None);
            for (value, is_good, step) in readings {
                now += step;
                let quality = if is_good { Quality::GOOD } else { Quality::BAD_TIMEOUT };
                let admitted = filter.admits(&reading(now, value.clone(), quality));
                if let Some((was, was_quality, at)) = &told {
                    let far = *was_quality != quality || apart(was.as_ref(), value.as_ref()) > deadband;
                    // The next reading, at this pace, would be too late.
                    let due = now - at + step > 10_000;
                    prop_assert_eq!(admitted, far || due);
                } else {
                    prop_assert!(admitted, "the first one");
                }
                if admitted {
                    told = Some((value, quality, now));
                }
            }
        }
    }
}
