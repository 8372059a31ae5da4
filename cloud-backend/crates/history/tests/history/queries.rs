//! Named cases: what is refused, what is counted, how much is read.

use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use history::{Budget, Function, HistoryError, Layer, Prices, Reader, Subject, Tiers};
use plant_model::Timestamp;
use segments::{Course, TagKind};
use tiering::Hour;

use crate::memory::Memory;
use crate::scene::{KINDS, at, batch, gateway, machine, tag, tenant, tiers};

const HOUR: i64 = 3_600;

fn reader<'a>(memory: &'a Memory, tags: &[usize], seconds: (i64, i64), budget: Budget) -> Reader<'a> {
    let tags = tags.iter().map(|number| tag(*number)).collect();
    let subject = Subject { tenant: tenant(), gateway: gateway(), machine: machine(0), tags };
    let open =
        Reader::open(Tiers { store: memory, archive: memory }, subject, at(seconds.0)..at(seconds.1), budget);
    open.now_or_never().expect("ready").expect("a reader")
}

/// A sample of each tag every 10 s, in batches of five minutes, sealed and rolled up.
fn hours(count: i64) -> Memory {
    let mut memory = tiers(1);
    let batches: Vec<_> = (0..count * 12)
        .map(|n| {
            let each =
                (0..30).flat_map(|k| (0..KINDS.len()).map(move |tag| (0, tag, n * 300 + k * 10, n % 4)));
            batch(0, n.cast_unsigned() + 1, &each.collect::<Vec<_>>())
        })
        .collect();
    memory.seal(&batches.iter().collect::<Vec<_>>());
    memory.roll_up();
    memory
}

#[test]
fn in5_two_samples_of_one_instant_come_back_in_the_order_of_their_batches_from_whatever_tier() {
    let mut memory = tiers(1);
    let first = batch(0, 1, &[(0, 0, 30, 8), (0, 0, 30, 12)]);
    let second = batch(0, 2, &[(0, 0, 30, 16)]);
    memory.seal(&[&first]);
    memory.receive(&second);
    memory.archive();
    for dropped in [false, true] {
        memory.drop_bodies(|_| dropped);
        let (page, reader) = reader(&memory, &[0], (0, 60), Budget::INTERACTIVE)
            .page(2)
            .now_or_never()
            .expect("ready")
            .expect("read");
        let values: Vec<_> =
            page.samples[0].iter().map(|s| s.value.as_ref().and_then(plant_model::Value::as_f64)).collect();
        assert_eq!(values, [Some(2.0), Some(3.0), Some(4.0)], "an instant is never cut, whatever the limit");
        assert_eq!(page.next, None);
        assert_eq!(reader.report().layers.contains(&Layer::Archive), dropped);
    }
}

#[test]
fn da3_a_mean_of_a_state_or_a_counter_is_refused_with_what_to_ask_for_instead() {
    let memory = hours(1);
    let boundaries = [at(0), at(HOUR)];
    let ask = |tag, function| {
        reader(&memory, &[tag], (0, HOUR), Budget::INTERACTIVE)
            .figures(&boundaries, &[function])
            .now_or_never()
            .expect("ready")
    };
    for (number, kind) in KINDS.into_iter().enumerate() {
        for function in Function::ALL {
            let answer = ask(number, function);
            assert_eq!(answer.is_ok(), function.suits(kind), "{kind:?} {function:?}");
        }
    }
    let refused = ask(2, Function::Mean).expect_err("a state").to_string();
    assert_eq!(refused, "tag tag-2 is a state, which has no mean; ask for count, first, last, time_in_state");
    let refused = ask(1, Function::Sum).expect_err("a counter").to_string();
    assert!(refused.ends_with("ask for count, min, max, first, last, increase"), "{refused}");
}

#[test]
fn da1_months_are_answered_by_rollups_without_a_body_being_touched() {
    let memory = hours(48);
    let curve = reader(&memory, &[0, 1, 2], (0, 48 * HOUR), Budget::INTERACTIVE).curve(24);
    let curve = curve.now_or_never().expect("ready").expect("a curve");
    assert_eq!(memory.body_calls.load(Ordering::Relaxed), 0);
    assert_eq!(curve.report.layers.into_iter().collect::<Vec<_>>(), [Layer::Hours]);
    assert_eq!(curve.report.rows, 48 * 3);
    assert_eq!(curve.report.covered.as_slice(), [at(0)..at(48 * HOUR)]);
    assert!(!curve.report.is_approximate);
}

#[test]
fn da2_days_of_23_and_25_hours_add_up_to_the_whole() {
    let memory = hours(48);
    // A day of 23 hours, then one of 25, as summer time begins and ends.
    let days = [at(0), at(23 * HOUR), at(48 * HOUR)];
    let of = |boundaries: &[Timestamp]| {
        let figures = reader(&memory, &[2], (0, 48 * HOUR), Budget::INTERACTIVE)
            .figures(boundaries, &[Function::TimeInState]);
        let figures = figures.now_or_never().expect("ready").expect("figures");
        let known = |course: &Option<Course>| match course {
            Some(Course::State(times)) => times.known_us(),
            Some(Course::Analog { .. } | Course::Counter { .. }) | None => panic!("a state"),
        };
        figures.tags[0].1.iter().map(|stretch| known(&stretch.course)).collect::<Vec<_>>()
    };
    let (each, whole) = (of(&days), of(&[days[0], days[2]]));
    assert_eq!(each.iter().sum::<u64>(), whole[0]);
    assert_eq!(each[0], 23 * 3_600_000_000);
    assert_eq!(memory.body_calls.load(Ordering::Relaxed), 0, "a day of whole hours needs no samples");
}

#[test]
fn st8_late_data_make_no_more_than_their_own_hour_slower() {
    let mut memory = hours(24);
    let late = batch(0, 1_000, &[(0, 0, 5 * HOUR + 61, 3)]);
    memory.receive(&late);
    let boundaries = [at(0), at(24 * HOUR)];
    let count = |memory: &Memory| {
        let figures = reader(memory, &[0], (0, 24 * HOUR), Budget::INTERACTIVE).figures(&boundaries, &[]);
        figures.now_or_never().expect("ready").expect("figures")
    };
    let waiting = count(&memory);
    assert_eq!(waiting.tags[0].1[0].rollup.as_ref().map(|r| r.count), Some(24 * 360 + 1));
    assert_eq!(waiting.report.rows, 23 + 59 + 7, "23 hours, 59 minutes, and 7 samples of one minute");
    memory.batches.clear();
    memory.seal(&[&late]);
    let due = count(&memory);
    assert_eq!(due.report.rows, 23 + 60, "23 hours and 60 minutes");
    memory.roll_up();
    let merged = count(&memory);
    assert_eq!(merged.report.rows, 24);
    for later in [due, merged] {
        assert_eq!(later.tags[0].1[0].rollup, waiting.tags[0].1[0].rollup);
    }
}

#[test]
fn st9_each_object_is_read_once_or_twice_and_a_budget_of_requests_is_kept() {
    let mut memory = hours(72);
    memory.archive();
    memory.drop_bodies(|_| true);
    let ask = |requests| {
        let budget = Budget { requests, ..Budget::INTERACTIVE };
        reader(&memory, &[0], (0, 72 * HOUR), budget).page(1_000_000).now_or_never().expect("ready")
    };
    let (page, reader) = ask(400).expect("a page");
    assert_eq!(page.samples[0].len(), 72 * 360);
    assert!((3..=4).contains(&reader.report().requests), "three days: {}", reader.report().requests);
    assert_eq!(reader.report().cost(&Prices::STANDARD).0, reader.report().requests * 400);
    let (page, reader) = ask(2).expect("what fits");
    assert!(page.next.is_some_and(|next| next < at(72 * HOUR)) && !page.samples[0].is_empty());
    assert_eq!(reader.report().requests, 2);
    assert!(ask(0).expect_err("nothing fits").is_over_budget());
}

#[test]
fn what_would_take_too_much_is_refused_before_it_is_read() {
    let memory = hours(2);
    let small = Budget { minutes: 60, hours: 1, figures: 10, samples: 100, ..Budget::INTERACTIVE };
    let told = |error: HistoryError| {
        let HistoryError::OverBudget { what, needed, allowed, .. } = error else { panic!("{error}") };
        (what, needed, allowed)
    };
    let figures = |boundaries: &[Timestamp]| {
        let figures = reader(&memory, &[0], (0, 2 * HOUR), small)
            .figures(boundaries, &[])
            .now_or_never()
            .expect("ready");
        told(figures.expect_err("too much"))
    };
    let each_minute: Vec<_> = (0..=120).map(|n| at(n * 60)).collect();
    assert_eq!(figures(&each_minute), ("figures", 120, 10));
    assert_eq!(figures(&[at(0), at(2 * HOUR)]), ("hours", 2, 1));
    assert_eq!(figures(&[at(60), at(1_800), at(2 * HOUR - 60)]).0, "minutes");
    let shape = reader(&memory, &[0], (0, 2 * HOUR), small).shape(50).now_or_never().expect("ready");
    assert_eq!(told(shape.expect_err("too much")), ("samples", 101, 100));
}

#[test]
fn samples_that_no_tier_gives_any_more_are_told() {
    let mut memory = hours(1);
    memory.archive();
    memory.drop_bodies(|minute| minute.start() < at(120));
    memory.objects.clear();
    let page =
        reader(&memory, &[0], (0, HOUR), Budget::INTERACTIVE).page(1_000).now_or_never().expect("ready");
    let (page, reader) = page.expect("a page");
    assert_eq!(page.samples[0].len(), 360 - 12);
    assert_eq!(reader.report().incomplete.as_slice(), [at(0)..at(120)]);
    assert_eq!(reader.report().covered.as_slice(), [at(120)..at(HOUR)]);
}

#[test]
fn segments_whose_retention_is_over_are_found_in_the_archive_by_their_rollups() {
    let mut memory = hours(3);
    memory.archive();
    memory.drop_segments(|hour| hour < Hour::of(at(2 * HOUR)));
    let page = reader(&memory, &[1], (1_800, 3 * HOUR), Budget::INTERACTIVE)
        .page(10_000)
        .now_or_never()
        .expect("ready");
    assert_eq!(page.expect("a page").0.samples[0].len(), 5 * 180);
    let boundaries = [at(1_800), at(3 * HOUR)];
    let figures = reader(&memory, &[0], (0, 3 * HOUR), Budget::INTERACTIVE).figures(&boundaries, &[]);
    let figures = figures.now_or_never().expect("ready").expect("figures");
    assert_eq!(figures.tags[0].1[0].rollup.as_ref().map(|r| r.count), Some(5 * 180));
    assert_eq!(figures.tags[0].0.kind, TagKind::Analog);
}
