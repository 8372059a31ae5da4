//! A bus on virtual time, with units that answer, refuse or keep silent by a rule of the test.

use std::collections::HashMap;

use plant_model::DataType;
use proptest::prelude::*;

use super::*;
use crate::{
    Bridging, ModbusAddress, ModbusConnectionParameters, ModbusTag, ModbusTagParameters, PlanLimits, Quirks,
    RegisterFormat, RegisterTable, WordOrder,
};

fn tag(pdu_address: u16, format: RegisterFormat, interval_ms: u64) -> ModbusTag {
    ModbusTag::new(ModbusTagParameters {
        table: RegisterTable::HoldingRegister,
        pdu_address,
        format,
        word_order: WordOrder::Abcd,
        scale: 1.0,
        offset: 0.0,
        poll_interval: Duration::from_millis(interval_ms),
        data_type: DataType::Int,
        range: None,
    })
    .expect("valid")
}

fn registers(addresses: &[u16]) -> Vec<ModbusTag> {
    addresses.iter().map(|a| tag(*a, RegisterFormat::U16, 1000)).collect()
}

fn connection(tags: Vec<ModbusTag>) -> ModbusConnection {
    bridging(Bridging::Measured, tags)
}

fn bridging(bridging: Bridging, tags: Vec<ModbusTag>) -> ModbusConnection {
    let address = ModbusAddress::Tcp { host: "gateway".into(), port: 502 };
    let limits = PlanLimits { bridging, ..PlanLimits::default() };
    let quirks = Quirks { limits, ..Quirks::default() };
    let (unit_id, timeout) = (1, Duration::from_millis(300));
    ModbusConnection::new(ModbusConnectionParameters { address, unit_id, timeout, quirks }, tags)
        .expect("valid")
}

/// What a unit does with a request: the reply and how long it takes.
type Behaviour<'a> = dyn FnMut(&Enquiry, Monotonic) -> (Reply, Duration) + 'a;

const ROUND_TRIP: Duration = Duration::from_millis(10);
const TIMEOUT: Duration = Duration::from_millis(300);

struct World {
    bus: Bus,
    now: Monotonic,
    /// Every request with its start and what it meant.
    log: Vec<(Monotonic, Enquiry, Verdict)>,
    busy: Duration,
}

impl World {
    fn new(units: Vec<Vec<ModbusTag>>) -> Self {
        Self::of(units.into_iter().map(connection).collect())
    }

    fn of(connections: Vec<ModbusConnection>) -> Self {
        let now = Monotonic::from_micros(0);
        let names: Vec<String> = (1..=connections.len()).map(|n| format!("machine-{n}")).collect();
        let mut bus = Bus::new(connections.iter().zip(names.iter().map(String::as_str)), now);
        bus.connected();
        Self { bus, now, log: Vec::new(), busy: Duration::ZERO }
    }

    /// Lets `time` pass; a lost connection is made anew after 250 ms.
    fn run(&mut self, time: Duration, behaviour: &mut Behaviour<'_>) {
        let end = self.now.plus(time);
        while self.now < end {
            match self.bus.next(self.now) {
                Turn::Wait(until) => {
                    assert!(until > self.now, "a wait leads on");
                    self.now = until;
                }
                Turn::Ask(enquiry) => self.ask(enquiry, behaviour),
            }
        }
    }

    fn ask(&mut self, enquiry: Enquiry, behaviour: &mut Behaviour<'_>) {
        let begun = self.now;
        let (reply, took) = behaviour(&enquiry, begun);
        self.now = begun.plus(took);
        self.busy += took;
        let verdict = self.bus.handle_reply(&enquiry, reply, begun, self.now);
        if matches!(verdict, Verdict::ConnectionLost | Verdict::Suspect) {
            self.now = self.now.plus(Duration::from_millis(250));
            self.bus.skip(self.now);
            self.bus.connected();
        }
        self.log.push((begun, enquiry, verdict));
    }

    fn asked(&self, from: usize) -> Vec<(u16, u16)> {
        self.log[from..].iter().map(|(_, e, _)| (e.block.start, e.block.quantity)).collect()
    }
}

/// A device that lacks these addresses.
fn lacking(missing: &[u16]) -> impl FnMut(&Enquiry, Monotonic) -> (Reply, Duration) + '_ {
    move |enquiry, _| {
        let (start, end) = (enquiry.block.start, enquiry.block.start + enquiry.block.quantity);
        let lacks = missing.iter().any(|a| (start..end).contains(a));
        let reply = if lacks { Reply::Refused(Refusal::IllegalAddress) } else { Reply::Words };
        (reply, ROUND_TRIP)
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn b5_one_illegal_address_costs_only_its_own_tag() {
    let mut world = World::new(vec![registers(&(0..40).collect::<Vec<_>>())]);
    world.run(seconds(10), &mut lacking(&[17]));
    let set_aside: Vec<_> = world.log.iter().filter_map(|(_, _, v)| quarantined(v)).collect();
    assert_eq!(set_aside, [vec![TagIndex(17)]]);
    let first_round = world.log.iter().take_while(|(at, ..)| *at < Monotonic::from_micros(1_000_000)).count();
    assert!(first_round <= 14, "{first_round} requests to find one address among 40");
    assert_eq!(world.asked(world.log.len() - 2), [(0, 17), (18, 22)], "two requests read the rest");
}

fn quarantined(verdict: &Verdict) -> Option<Vec<TagIndex>> {
    if let Verdict::Quarantined(tags) = verdict { Some(tags.clone()) } else { None }
}

#[test]
fn b5_a_tag_set_aside_is_asked_again_after_a_minute_then_two_and_returns() {
    let mut world = World::new(vec![registers(&[0, 1, 2])]);
    world.run(seconds(500), &mut lacking(&[1]));
    let rechecks: Vec<u64> = world
        .log
        .iter()
        .filter(|(_, e, _)| e.purpose == Purpose::Recheck)
        .map(|(at, ..)| at.micros() / 1_000_000)
        .collect();
    assert_eq!(rechecks.len(), 3, "{rechecks:?}");
    assert!((60..=68).contains(&rechecks[0]), "{rechecks:?}");
    assert!((120..=133).contains(&(rechecks[1] - rechecks[0])), "{rechecks:?}");
    assert!((240..=265).contains(&(rechecks[2] - rechecks[1])), "{rechecks:?}");
    world.run(seconds(600), &mut lacking(&[]));
    assert_eq!(world.asked(world.log.len() - 1), [(0, 3)], "all three share one request again");
}

#[test]
fn b5_a_hole_between_tags_splits_the_request_and_costs_no_tag() {
    let mut world = World::new(vec![registers(&[0, 1, 10, 11])]);
    world.run(seconds(5), &mut lacking(&[5]));
    assert!(world.log.iter().all(|(_, _, v)| quarantined(v).is_none()));
    assert_eq!(world.asked(world.log.len() - 2), [(0, 2), (10, 2)]);
    assert_eq!(world.log.len(), 2 + 1 + 2 * 4, "the hole is found with one refusal");
}

#[test]
fn b5_bits_of_one_register_fall_together_and_a_device_without_any_address_is_left_alone() {
    let bit = |n| {
        let p = tag(3, RegisterFormat::U16, 1000).parameters().clone();
        let bit = ModbusTagParameters { format: RegisterFormat::Bit(n), data_type: DataType::Bool, ..p };
        ModbusTag::new(bit).expect("valid")
    };
    let mut world = World::new(vec![vec![bit(0), bit(7)]]);
    world.run(seconds(30), &mut lacking(&[3]));
    assert_eq!(world.log.len(), 1, "refused once, then left alone for a minute");
    assert_eq!(quarantined(&world.log[0].2), Some(vec![TagIndex(0), TagIndex(1)]));
    assert_eq!(world.bus.take_tally(0).scheduled_samples, 2, "what is set aside is not scheduled");
}

#[test]
fn b5_a_wholly_wrong_map_does_not_hold_the_line_up() {
    let wrong: Vec<u16> = (0..100).collect();
    let mut world = World::new(vec![registers(&wrong), registers(&[500])]);
    let mut behaviour = lacking(&wrong);
    world.run(seconds(30), &mut behaviour);
    let good: Vec<_> = world.log.iter().filter(|(_, e, _)| e.unit == 1).map(|(at, ..)| at.micros()).collect();
    assert!(good.len() >= 29, "{}", good.len());
    let set_aside: usize = world.log.iter().filter_map(|(_, _, v)| quarantined(v)).map(|t| t.len()).sum();
    assert_eq!(set_aside, 100);
}

#[test]
fn b7_a_busy_device_is_asked_the_same_again_after_a_pause_and_nothing_is_read_twice() {
    let mut world = World::new(vec![registers(&[0, 200, 400])]);
    let mut refusals = 3;
    world.run(Duration::from_millis(2500), &mut |enquiry, _| {
        if enquiry.block.start == 200 && refusals > 0 {
            refusals -= 1;
            return (Reply::Refused(Refusal::Busy), ROUND_TRIP);
        }
        (Reply::Words, ROUND_TRIP)
    });
    let starts: Vec<u16> = world.log.iter().map(|(_, e, _)| e.block.start).collect();
    assert_eq!(starts[..6], [0, 200, 200, 200, 200, 400]);
    let at = |i: usize| world.log[i].0;
    assert_eq!(at(2).since(at(1)), ROUND_TRIP + Duration::from_millis(100));
    assert_eq!(at(4).since(at(3)), ROUND_TRIP + Duration::from_millis(400));
}

#[test]
fn b7_a_gateway_that_speaks_for_a_silent_unit_keeps_its_connection() {
    let mut world = World::new(vec![registers(&[0]), registers(&[0])]);
    world.run(seconds(30), &mut |enquiry, _| match enquiry.unit {
        0 => (Reply::Refused(Refusal::NoAnswer), TIMEOUT),
        _ => (Reply::Words, ROUND_TRIP),
    });
    assert!(world.log.iter().all(|(_, _, v)| !matches!(v, Verdict::ConnectionLost | Verdict::Suspect)));
    let lost = world.log.iter().filter(|(_, _, v)| *v == Verdict::UnitLost).count();
    assert_eq!(lost, 1);
    let healthy = world.log.iter().filter(|(_, e, _)| e.unit == 1).count();
    assert!(healthy >= 29, "{healthy} polls of the healthy unit in 30 s");
    let mut alone = World::new(vec![registers(&[0])]);
    alone.run(seconds(30), &mut |_, _| (Reply::Refused(Refusal::NoPath), ROUND_TRIP));
    assert!(alone.log.iter().all(|(_, _, v)| *v != Verdict::ConnectionLost));
}

/// 15 units at 1 s for two minutes, of which `silent` say nothing; answers the least share of polls
/// that a healthy unit got, and the share of the time that requests without an answer took after the
/// first 10 s.
fn shares(silent: &[usize], timeout: Duration) -> (f64, f64) {
    let mut world = World::new(vec![registers(&[0, 1, 2]); 15]);
    let mut polls: HashMap<usize, u32> = HashMap::new();
    let mut wasted = Duration::ZERO;
    world.run(seconds(120), &mut |enquiry, now| {
        if silent.contains(&enquiry.unit) {
            wasted += if now.micros() > 10_000_000 { timeout } else { Duration::ZERO };
            return (Reply::Nothing, timeout);
        }
        *polls.entry(enquiry.unit).or_default() += 1;
        (Reply::Words, ROUND_TRIP)
    });
    let least = (0..15).filter(|u| !silent.contains(u)).map(|u| polls.get(&u).copied().unwrap_or(0)).min();
    (f64::from(least.unwrap_or(0)) / 120.0, wasted.as_secs_f64() / 110.0)
}

#[test]
fn b2_healthy_units_keep_nine_polls_of_ten_with_one_to_five_of_fifteen_silent() {
    for count in 1..=5 {
        for timeout in [300, 1000] {
            let silent: Vec<usize> = (0..count).map(|n| n * 3).collect();
            let (kept, wasted) = shares(&silent, Duration::from_millis(timeout));
            assert!(kept >= 0.9, "{count} silent, {timeout} ms: {kept} of the polls");
            assert!(wasted <= 0.11, "{count} silent, {timeout} ms: {wasted} of the line");
        }
    }
}

#[test]
fn b2_a_unit_that_falls_silent_costs_each_other_one_time_out_however_many_requests_it_has() {
    let many = registers(&[0, 500, 900, 1_300, 1_700]);
    let mut world = World::new(vec![many, vec![tag(0, RegisterFormat::U16, 100)]]);
    let falls_silent_at = Monotonic::from_micros(5_000_000);
    world.run(seconds(20), &mut |enquiry, now| {
        if enquiry.unit == 0 && now >= falls_silent_at {
            (Reply::Nothing, TIMEOUT)
        } else {
            (Reply::Words, ROUND_TRIP)
        }
    });
    let healthy = world.log.iter().filter(|(_, enquiry, _)| enquiry.unit == 1).map(|(at, _, _)| *at);
    let healthy: Vec<Monotonic> = healthy.collect();
    let longest = healthy.windows(2).map(|pair| pair[1].since(pair[0])).max().expect("polled");
    // The interval, the time-out, and the requests that were made before it fell silent.
    let allowed = Duration::from_millis(100) + TIMEOUT + ROUND_TRIP * 5;
    assert!(longest <= allowed, "{longest:?} is more than {allowed:?}");
}

#[test]
fn b2_a_silent_unit_is_probed_with_one_short_request_ever_more_rarely_and_found_again() {
    let mut world = World::new(vec![registers(&[0, 1, 2]), registers(&[0])]);
    world.run(seconds(200), &mut |enquiry, _| match enquiry.unit {
        0 => (Reply::Nothing, TIMEOUT),
        _ => (Reply::Words, ROUND_TRIP),
    });
    let to_silent: Vec<_> = world.log.iter().filter(|(_, e, _)| e.unit == 0).collect();
    let probes: Vec<u64> = to_silent[1..].iter().map(|(at, ..)| at.micros() / 1000).collect();
    assert!(to_silent[1..].iter().all(|(_, e, _)| e.purpose == Purpose::Probe && e.block.quantity == 1));
    assert!((9..=16).contains(&probes.len()), "{probes:?}");
    assert!(probes.windows(2).all(|w| w[1] - w[0] <= 30_400), "{probes:?}");
    let missed = world.bus.take_tally(0);
    assert!(missed.missed_ticks >= 195, "{missed:?}");
    let before = world.log.len();
    world.run(seconds(40), &mut |_, _| (Reply::Words, ROUND_TRIP));
    let polls = world.log[before..].iter().filter(|(_, e, _)| e.unit == 0 && e.purpose == Purpose::Poll);
    assert!(polls.count() >= 9, "it is polled again once a probe was answered");
}

#[test]
fn b12_a_connection_that_went_dead_is_made_anew_before_every_unit_has_waited_in_vain() {
    let mut world = World::new(vec![registers(&[0]); 15]);
    world.run(seconds(5), &mut |_, _| (Reply::Words, ROUND_TRIP));
    let before = world.log.len();
    world.run(seconds(1), &mut |_, _| (Reply::Nothing, TIMEOUT));
    assert_eq!(world.log[before..].iter().position(|(_, _, v)| *v == Verdict::Suspect), Some(2));
    let before = world.log.len();
    world.run(seconds(20), &mut |_, _| (Reply::Words, ROUND_TRIP));
    assert!(world.log[before..].iter().all(|(_, _, v)| *v == Verdict::Usable));
    assert!(world.log.len() - before >= 15 * 19, "everybody is polled again");
}

#[test]
fn alone_on_its_connection_a_unit_has_three_requests_before_the_connection_is_given_up() {
    let mut world = World::new(vec![registers(&[0])]);
    world.run(seconds(3), &mut |_, _| (Reply::Nothing, TIMEOUT));
    let verdicts: Vec<&Verdict> = world.log.iter().map(|(_, _, v)| v).take(3).collect();
    assert_eq!(verdicts, [&Verdict::Failed, &Verdict::Failed, &Verdict::ConnectionLost]);
}

#[test]
fn b8_an_hour_at_one_second_keeps_its_mean_period_and_its_phase() {
    let mut world = World::new(vec![registers(&[0, 1]); 15]);
    let mut sent: Vec<Vec<u64>> = vec![Vec::new(); 15];
    world.run(seconds(3600), &mut |enquiry, now| {
        sent[enquiry.unit].push(now.micros());
        (Reply::Words, Duration::from_millis(1 + now.micros() % 7))
    });
    for instants in &sent {
        let periods = instants.windows(2).map(|w| w[1] - w[0]);
        let mut jitter: Vec<u64> = periods.map(|p| p.abs_diff(1_000_000)).collect();
        jitter.sort_unstable();
        assert!(jitter[jitter.len() * 99 / 100] < 20_000, "p99 {} us", jitter[jitter.len() * 99 / 100]);
        let mean = (instants[instants.len() - 1] - instants[0]) as f64 / (instants.len() - 1) as f64;
        assert!((mean - 1e6).abs() < 1e3, "{mean} us");
    }
    let mut phases: Vec<u64> = sent.iter().map(|instants| instants[0]).collect();
    phases.dedup();
    assert_eq!(phases.len(), 15, "starts are staggered");
}

#[test]
fn a_class_that_cannot_keep_up_starves_neither_its_own_unit_nor_another() {
    let fast_and_slow = vec![tag(0, RegisterFormat::U16, 200), tag(1, RegisterFormat::U16, 1000)];
    let mut world = World::new(vec![fast_and_slow, registers(&[7])]);
    world.run(seconds(30), &mut |_, _| (Reply::Words, Duration::from_millis(300)));
    let count = |unit, tags: &[TagIndex]| {
        world.log.iter().filter(|(_, e, _)| e.unit == unit && e.block.tags == tags).count()
    };
    assert!(count(0, &[TagIndex(1)]) >= 25 && count(1, &[TagIndex(0)]) >= 25);
    let tally = world.bus.take_tally(0);
    let served = count(0, &[TagIndex(0)]) + count(0, &[TagIndex(1)]);
    assert_eq!(tally.scheduled_samples, tally.missed_ticks + served as u64, "every instant is accounted for");
}

proptest! {
    /// Whatever is silent, refuses or answers: the line is never held up by silent units, and every
    /// tag that exists is read.
    #[test]
    fn b2_b5_silent_units_and_missing_addresses_never_cost_what_is_healthy(
        silent in prop::collection::vec(any::<bool>(), 15),
        missing in prop::collection::hash_set(0_u16..60, 0..20),
        timeout_ms in 50_u64..1000,
    ) {
        prop_assume!(silent.iter().filter(|s| **s).count() <= 7);
        let tags = registers(&(0..60).step_by(2).collect::<Vec<u16>>());
        let mut world = World::new(vec![tags; 15]);
        let timeout = Duration::from_millis(timeout_ms);
        let mut wasted = Duration::ZERO;
        let missing: Vec<u16> = missing.into_iter().collect();
        let mut answer = lacking(&missing);
        let mut read = vec![std::collections::BTreeSet::new(); 15];
        world.run(seconds(50), &mut |enquiry, now| {
            if silent[enquiry.unit] {
                wasted += if now.micros() > 20_000_000 { timeout } else { Duration::ZERO };
                return (Reply::Nothing, timeout);
            }
            let (reply, _) = answer(enquiry, now);
            if reply == Reply::Words {
                read[enquiry.unit].extend(enquiry.block.tags.iter().map(|t| t.0 * 2));
            }
            (reply, Duration::from_millis(2))
        });
        prop_assert!(wasted <= seconds(30) / 10 + 2 * timeout, "{:?} of 30 s", wasted);
        for unit in (0..15).filter(|u| !silent[*u]) {
            let exists: std::collections::BTreeSet<u16> =
                (0..60).step_by(2).filter(|a| !missing.contains(a)).collect();
            prop_assert_eq!(&read[unit], &exists, "unit {}", unit);
        }
    }
}

/// The ranges that a unit is asked for in the last poll of a minute in which a request costs `fixed_us` and
/// `register_us` for each register, and how often the plan was changed.
fn ranges_by_cost(rule: Bridging, fixed_us: u64, register_us: u64) -> (Vec<(u16, u16)>, usize) {
    // A gap of 20, which is bridged at first, and one of 60, which is not.
    let tags = registers(&[0, 1, 2, 3, 24, 85, 86]);
    let mut world = World::of(vec![bridging(rule, tags)]);
    let mut behaviour = |e: &Enquiry, _| {
        (Reply::Words, Duration::from_micros(fixed_us + register_us * u64::from(e.block.quantity)))
    };
    let mut changes = 0;
    for _ in 0..60 {
        world.run(Duration::from_secs(1), &mut behaviour);
        changes += usize::from(world.bus.take_tally(0).bridged.is_some());
    }
    let last = world.log.last().expect("asked").0;
    let poll = world.log.iter().filter(|(at, ..)| last.since(*at) < Duration::from_millis(500));
    let mut ranges: Vec<_> = poll.map(|(_, e, _)| (e.block.start, e.block.quantity)).collect();
    ranges.sort_unstable();
    (ranges, changes)
}

#[test]
fn b6_gaps_are_bridged_where_that_is_cheaper_than_another_request_by_measured_round_trips() {
    let fast = ranges_by_cost(Bridging::Measured, 10_000, 10);
    assert_eq!(fast, (vec![(0, 87)], 1), "a request costs as much as 1,000 registers");
    let even = ranges_by_cost(Bridging::Measured, 10_000, 333);
    assert_eq!(even, (vec![(0, 25), (85, 2)], 0), "a request costs as much as 30 registers, as assumed");
    let slow = ranges_by_cost(Bridging::Measured, 10_000, 1_000);
    assert_eq!(slow, (vec![(0, 4), (24, 1), (85, 2)], 1), "a request costs as much as 10 registers");
    let fixed = ranges_by_cost(Bridging::Fixed, 10_000, 10);
    assert_eq!(fixed, (vec![(0, 25), (85, 2)], 0), "as configured");
}

#[test]
fn where_an_address_in_a_gap_was_refused_the_gap_stays_unbridged() {
    // Requests of different sizes, by which a register is seen to cost next to nothing.
    let addresses: Vec<u16> = [0, 1, 2, 3, 24].into_iter().chain(85..100).collect();
    let mut world = World::of(vec![connection(registers(&addresses))]);
    // Nothing lies at 10 to 20.
    let mut behaviour = |e: &Enquiry, _| {
        let (start, end) = (e.block.start, e.block.start + e.block.quantity);
        let took = Duration::from_micros(10_000 + u64::from(e.block.quantity));
        let lacks = start <= 20 && end > 10;
        (if lacks { Reply::Refused(Refusal::IllegalAddress) } else { Reply::Words }, took)
    };
    world.run(Duration::from_secs(120), &mut behaviour);
    let mut refused = world.log.iter().filter(|(_, _, verdict)| *verdict != Verdict::Usable);
    assert!(refused.clone().count() > 0 && refused.all(|(at, ..)| at.micros() < 2_000_000), "found out once");
}
