//! Whatever lies where: every query says what the same query says on the flat list of all samples.

use std::ops::Range;

use futures_util::FutureExt as _;
use history::{Budget, CurveData, Function, Reader, Subject, Tiers};
use plant_model::{Sample, Timestamp};
use proptest::prelude::*;
use protocol::{Batch, BatchBody};
use segments::{Course, Hold, Minute, Rollup, TagKind};
use tiering::Hour;

use crate::memory::Memory;
use crate::scene::{KINDS, at, batch, gateway, machine, tag, tenant, tiers};

const EPOCHS: u64 = 2;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Sealed before the archive was written.
    Sealed,
    /// Sealed, and a reader sees it as a batch too, because it looked before.
    Moving,
    /// Sealed after bodies were dropped.
    Late,
    /// Not sealed.
    Waiting,
}

#[derive(Debug, Clone)]
struct Case {
    batches: Vec<(Batch, Fate)>,
    /// Bodies of minutes whose number leaves this remainder by 3 are dropped; of none if it is 3.
    dropped: i64,
    /// Segments of hours of this remainder by 4 are dropped whole.
    forgotten: i64,
    /// Whether rollups were made after the late ones, or are due.
    is_rolled_up: bool,
}

fn any_batch() -> impl Strategy<Value = (Vec<(u32, usize, i64, i64)>, Fate)> {
    // Most in order, some late, some of another day, some at the very end of a minute or an hour.
    let offset = prop_oneof![12 => 0_i64..170, 3 => -900_i64..0, 1 => Just(-90_000_i64), 1 => Just(59_i64)];
    let one = (prop_oneof![5 => Just(0_u32), 1 => Just(1_u32)], 0..KINDS.len(), offset, -40_i64..40);
    let fate = prop_oneof![
        5 => Just(Fate::Sealed), 1 => Just(Fate::Moving), 2 => Just(Fate::Late), 2 => Just(Fate::Waiting)
    ];
    (proptest::collection::vec(one, 1..14), fate)
}

fn any_case() -> impl Strategy<Value = Case> {
    let batches = proptest::collection::vec(any_batch(), 1..40);
    (batches, 0_i64..4, 0_i64..8, any::<bool>()).prop_map(|(batches, dropped, forgotten, is_rolled_up)| {
        let numbered = (0_u64..).zip(batches).map(|(n, (samples, fate))| {
            let second = i64::try_from(n).expect("small") * 331 + 85_000;
            let placed: Vec<_> = samples.into_iter().map(|(m, t, s, v)| (m, t, second + s, v)).collect();
            (batch(n % EPOCHS, n / EPOCHS + 1, &placed), fate)
        });
        Case { batches: numbered.collect(), dropped, forgotten, is_rolled_up }
    })
}

fn build(case: &Case) -> Memory {
    let of = |fates: &[Fate]| -> Vec<&Batch> {
        case.batches.iter().filter(|(_, fate)| fates.contains(fate)).map(|(batch, _)| batch).collect()
    };
    let mut memory = tiers(EPOCHS);
    of(&[Fate::Waiting, Fate::Moving]).into_iter().for_each(|batch| memory.receive(batch));
    memory.seal(&of(&[Fate::Sealed, Fate::Moving]));
    memory.roll_up();
    memory.archive();
    let number = |minute: Minute| minute.start().micros() / Minute::MICROS;
    memory.drop_bodies(|minute| case.dropped < 3 && number(minute).rem_euclid(3) == case.dropped);
    let hour_number = |hour: Hour| hour.start().micros() / Hour::MICROS;
    // Of hours that late data come for, segments are not dropped here: whoever drops them archives those data before.
    let late: Vec<Hour> = hours_of(&of(&[Fate::Late]));
    memory.drop_segments(|hour| hour_number(hour).rem_euclid(8) == case.forgotten && !late.contains(&hour));
    memory.seal(&of(&[Fate::Late]));
    if case.is_rolled_up {
        memory.roll_up();
    }
    memory
}

fn hours_of(batches: &[&Batch]) -> Vec<Hour> {
    let samples = batches.iter().flat_map(|batch| match &batch.body {
        BatchBody::Samples(block) => block.iter().flat_map(|entry| entry.samples.clone()).collect::<Vec<_>>(),
        BatchBody::Transitions(_) | BatchBody::Records(_) => Vec::new(),
    });
    samples.map(|sample| Hour::of(sample.timestamp())).collect()
}

/// All samples of a tag of machine 0 in a range, in order of time, epoch, sequence and batch.
fn flat(case: &Case, number: usize, range: &Range<Timestamp>) -> Vec<Sample> {
    let mut ordered: Vec<&Batch> = case.batches.iter().map(|(batch, _)| batch).collect();
    ordered.sort_by_key(|batch| (batch.header.epoch, batch.header.sequence));
    let mut out = Vec::new();
    for batch in ordered {
        let BatchBody::Samples(block) = &batch.body else { unreachable!() };
        let series = u32::try_from(batch.header.epoch.as_u64()).expect("small") * 100
            + u32::try_from(number).expect("small");
        out.extend(block.iter().filter(|e| e.series.0 == series).flat_map(|e| e.samples.clone()));
    }
    out.retain(|sample| range.contains(&sample.timestamp()));
    out.sort_by_key(Sample::timestamp);
    out
}

fn reader<'a>(memory: &'a Memory, range: &Range<Timestamp>) -> Reader<'a> {
    let tags = (0..KINDS.len()).map(tag).collect();
    let subject = Subject { tenant: tenant(), gateway: gateway(), machine: machine(0), tags };
    let open =
        Reader::open(Tiers { store: memory, archive: memory }, subject, range.clone(), Budget::INTERACTIVE);
    open.now_or_never().expect("ready").expect("a reader")
}

fn assert_close(a: f64, b: f64, what: &str) {
    assert!((a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs())), "{what}: {a} and {b}");
}

fn assert_same_course(a: &Course, b: &Course) {
    match (a, b) {
        (
            Course::Analog { sum: s1, integral: i1, known_us: k1 },
            Course::Analog { sum: s2, integral: i2, known_us: k2 },
        ) => {
            assert_close(*s1, *s2, "sum");
            assert_close(*i1, *i2, "integral");
            assert_eq!(k1, k2);
        }
        (Course::Counter { increase: i1, resets: r1 }, Course::Counter { increase: i2, resets: r2 }) => {
            assert_close(*i1, *i2, "increase");
            assert_eq!(r1, r2);
        }
        (Course::State(a), Course::State(b)) => {
            assert_eq!((a.known_us(), a.other_us()), (b.known_us(), b.other_us()));
            a.iter().for_each(|(state, time)| assert_eq!(time, b.time_in(state), "{state}"));
        }
        (a, b) => panic!("{a:?} and {b:?}"),
    }
}

fn assert_same_rollup(a: Option<&Rollup>, b: Option<&Rollup>, is_approximate: bool) {
    let (Some(a), Some(b)) = (a, b) else {
        assert_eq!(a, b);
        return;
    };
    assert_eq!(
        (a.count, a.good_count, a.first_at, a.last_at),
        (b.count, b.good_count, b.first_at, b.last_at)
    );
    let ends = |r: &Rollup| [&r.first, &r.last, &r.min, &r.max].map(|r| r.as_ref().map(|r| r.at));
    assert_eq!(ends(a), ends(b), "{a:?} {b:?}");
    if !is_approximate {
        assert_same_course(&a.course, &b.course);
    }
}

/// The place of each boundary in seconds, rising.
fn any_boundaries() -> impl Strategy<Value = Vec<Timestamp>> {
    let second = prop_oneof![2 => 0_i64..100_000, 1 => (0_i64..28).prop_map(|hour| hour * 3_600)];
    proptest::collection::btree_set(second, 2..9).prop_map(|seconds| seconds.into_iter().map(at).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn st4_samples_of_all_tiers_are_those_of_the_flat_list_page_by_page(
        case in any_case(), from in -10_000_i64..100_000, length in 1_i64..110_000, limit in 1_usize..60,
    ) {
        let memory = build(&case);
        let range = at(from)..at(from + length);
        let mut all: Vec<Vec<Sample>> = vec![Vec::new(); KINDS.len()];
        let mut next = Some(range.start);
        while let Some(start) = next {
            let reader = reader(&memory, &(start..range.end));
            let (page, _) = reader.page(limit).now_or_never().expect("ready").expect("a page");
            next = page.next;
            prop_assert!(next.is_none_or(|next| next > start), "pages go forward");
            all.iter_mut().zip(page.samples).for_each(|(all, more)| all.extend(more));
        }
        for (number, found) in all.into_iter().enumerate() {
            prop_assert_eq!(found, flat(&case, number, &range), "tag {}", number);
        }
    }

    #[test]
    fn st5_figures_from_all_tiers_are_those_of_the_flat_list(case in any_case(), boundaries in any_boundaries()) {
        let memory = build(&case);
        let range = boundaries[0]..boundaries[boundaries.len() - 1];
        let found = reader(&memory, &range).figures(&boundaries, &[Function::Count]);
        let found = found.now_or_never().expect("ready").expect("figures");
        let lookback = Timestamp::from_micros(range.start.micros() - Hold::DEFAULT.micros());
        for (number, (tag, stretches)) in found.tags.iter().enumerate() {
            let of = |range: Range<Timestamp>| Rollup::of_any(tag.kind, &flat(&case, number, &range), Hold::DEFAULT);
            let mut before = of(lookback..range.start);
            for stretch in stretches {
                let own = of(stretch.start..stretch.end);
                assert_same_rollup(stretch.rollup.as_ref(), own.as_ref(), found.report.is_approximate);
                let window = (stretch.start, stretch.end);
                let course = Course::in_window(window, before.as_ref(), own.as_ref(), Hold::DEFAULT);
                match (&stretch.course, &course) {
                    (Some(a), Some(b)) if !found.report.is_approximate => assert_same_course(a, b),
                    (a, b) => prop_assert_eq!(a.is_some(), b.is_some()),
                }
                before = own.or(before);
            }
        }
    }

    #[test]
    fn da1_a_curve_has_the_extremes_and_ends_of_the_flat_list(
        case in any_case(), from in 80_000_i64..90_000, length in 1_i64..60_000, points in 1_usize..40,
    ) {
        let memory = build(&case);
        let range = at(from)..at(from + length);
        let curve = reader(&memory, &range).curve(points).now_or_never().expect("ready").expect("a curve");
        for (number, (tag, data)) in curve.tags.iter().enumerate() {
            let all = flat(&case, number, &range);
            match data {
                CurveData::Line(stretches) => {
                    prop_assert!(tag.kind != TagKind::State && stretches.len() <= points);
                    let whole = Rollup::over(stretches, Hold::DEFAULT);
                    let expected = Rollup::of_any(tag.kind, &all, Hold::DEFAULT);
                    assert_same_rollup(whole.as_ref(), expected.as_ref(), true);
                }
                CurveData::State(states) => {
                    prop_assert!(tag.kind == TagKind::State && states.len() <= 3 * points + 1);
                    prop_assert_eq!(states.last().map(|p| p.at), all.last().map(Sample::timestamp));
                    prop_assert!(states.is_sorted_by_key(|point| point.at));
                }
            }
        }
    }

    #[test]
    fn in6_the_newest_samples_are_those_of_the_flat_list(case in any_case(), end in 80_000_i64..100_000) {
        let memory = build(&case);
        let range = at(-200_000)..at(end);
        let (found, _) = reader(&memory, &range).latest().now_or_never().expect("ready").expect("an answer");
        for (number, found) in found.into_iter().enumerate() {
            prop_assert_eq!(found, flat(&case, number, &range).pop(), "tag {}", number);
        }
    }
}
