//! How long requests take and how late an alarm can be: the arithmetic behind `check`, by which the agent also raises
//! the rate of tags that carry alarms.
//!
//! Assumptions: a Modbus request takes [`REQUEST_ASSUMED`]; on a serial line it takes as long as its characters and
//! silences at that baud rate, and [`REQUEST_ASSUMED`] for the machine; a configured pause between requests is added.
//! What lies behind an RTU gateway is not known.
//!
//! The worst case of an alarm: the value changes just after it was read, so a whole poll interval passes; the other
//! requests of the connection go first; where units share it, some of the others fall silent at once and each takes its
//! time-out (once: a unit that did not answer lets the others go first, [`crate::Bus`]; units that are silent for longer
//! are probed one at a time and take less); the own request is made; and deciding takes [`DECISION`]. For a
//! subscription: sampling and publishing interval, and deciding. An `on_delay` is asked for and does not count.
//!
//! The time-out of the machine itself is no part of it: if its answer is lost the machine is not in time, which no plan
//! can mend. The agent measures that and says so.

use std::time::Duration;

use crate::{Bridging, ModbusAddress, ModbusConnection, ModbusTag, OpcUaConnection, PollBlock, TagIndex};

/// What a request to a Modbus TCP machine takes unless measured: a plant network's round trip of 1 ms and the scan cycle
/// of a small controller.
pub const REQUEST_ASSUMED: Duration = Duration::from_millis(5);

/// From the answer to the decision, wake-up of the task included.
pub const DECISION: Duration = Duration::from_millis(10);

/// Rates are raised to whole multiples of this: nobody configures 283 ms.
const STEP_MS: u64 = 10;

impl ModbusConnection {
    /// How long the line is taken by one request.
    #[must_use]
    pub fn request_time(&self, block: &PollBlock) -> Duration {
        let travel = match self.address() {
            ModbusAddress::Tcp { .. } | ModbusAddress::RtuOverTcp { .. } => Duration::ZERO,
            ModbusAddress::Rtu(line) => {
                let data = if block.table.is_bits() {
                    u32::from(block.quantity).div_ceil(8)
                } else {
                    u32::from(block.quantity) * 2
                };
                // A request has 8 characters, an answer 5 and its data.
                line.duration_of(8 + 5 + data) + line.frame_gap() * 2
            }
        };
        travel + REQUEST_ASSUMED + self.quirks().pause_between_requests
    }

    /// What comes on top of each request, beside the answer itself: pauses, and the silence on a line.
    pub(crate) fn pause(&self) -> Duration {
        let pause = self.quirks().pause_between_requests;
        match self.address() {
            ModbusAddress::Tcp { .. } | ModbusAddress::RtuOverTcp { .. } => pause,
            ModbusAddress::Rtu(line) => pause.max(line.frame_gap()),
        }
    }

    /// How many registers a line carries in the time of one more request, before anything was measured.
    pub(crate) fn gap_assumed(&self) -> Option<u16> {
        let (ModbusAddress::Rtu(line), Bridging::Measured) = (self.address(), self.quirks().limits.bridging)
        else {
            return None;
        };
        let request = line.duration_of(8 + 5) + line.frame_gap() + self.pause() + REQUEST_ASSUMED;
        let gap = request.as_micros() / line.duration_of(2).as_micros().max(1);
        Some(u16::try_from(gap).unwrap_or(u16::MAX).min(PollBlock::GAP_MAX))
    }

    /// How long every request of this unit takes, once each.
    #[must_use]
    pub fn cycle(&self) -> Duration {
        self.blocks().iter().map(|block| self.request_time(block)).sum()
    }

    /// The share of time that the requests of this unit take.
    #[must_use]
    pub fn utilisation(&self) -> f64 {
        let share = |b: &PollBlock| self.request_time(b).as_secs_f64() / b.poll_interval.as_secs_f64();
        self.blocks().iter().map(share).sum()
    }

    /// From a change in the machine to the decision, at worst; `bus` is what it shares with others.
    #[must_use]
    pub fn alarm_latency(&self, tag: TagIndex, bus: &SharedBus) -> Duration {
        let block = self.blocks().iter().find(|b| b.tags.contains(&tag));
        block.map_or_else(Duration::default, |b| b.poll_interval) + self.beside(bus)
    }

    /// What comes on top of the poll interval.
    fn beside(&self, bus: &SharedBus) -> Duration {
        bus.cycle + bus.silence(self.timeout()) + DECISION
    }

    /// The longest poll interval at which the alarms of a tag stay within their budget.
    fn interval_for(&self, alarmed: &AlarmedTag, bus: &SharedBus) -> Option<Duration> {
        let rest = alarmed.budget.checked_sub(self.beside(bus))?;
        let whole = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX) / STEP_MS * STEP_MS;
        Some(Duration::from_millis(whole)).filter(|interval| *interval >= ModbusTag::POLL_INTERVAL_MIN)
    }
}

impl OpcUaConnection {
    /// From a change in the machine to the decision, at worst.
    #[must_use]
    pub fn alarm_latency(&self) -> Duration {
        self.sampling_interval() + self.publishing_interval() + DECISION
    }

    /// The session with its values sampled as often as alarms within `budget` need. `None` if they are already, or if
    /// no sampling interval is short enough.
    #[must_use]
    pub fn raised_for(&self, budget: Duration) -> Option<Self> {
        let rest = budget.checked_sub(self.publishing_interval() + DECISION)?;
        let suffices = (Self::POLL_INTERVAL_MIN..self.sampling_interval()).contains(&rest);
        suffices.then(|| self.clone().with_sampling_interval(rest))
    }
}

/// What the units of one connection cost each other, at worst.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedBus {
    cycle: Duration,
    /// Of all units, the longest first.
    timeouts: Vec<Duration>,
    silent_units: usize,
}

impl SharedBus {
    /// The bus of these units, of which `silent_units` may fall silent at once.
    #[must_use]
    pub fn of<'a>(units: impl Iterator<Item = &'a ModbusConnection>, silent_units: usize) -> Self {
        let (mut cycle, mut timeouts) = (Duration::ZERO, Vec::new());
        for unit in units {
            cycle += unit.cycle();
            timeouts.push(unit.timeout());
        }
        timeouts.sort_unstable_by(|a, b| b.cmp(a));
        Self { cycle, timeouts, silent_units }
    }

    /// What silent units take, other than the one with this time-out.
    fn silence(&self, own: Duration) -> Duration {
        let position = self.timeouts.iter().position(|timeout| *timeout == own);
        let others = self.timeouts.iter().enumerate().filter(|(at, _)| Some(*at) != position);
        others.take(self.silent_units).map(|(_, timeout)| *timeout).sum()
    }
}

/// A tag that carries alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlarmedTag {
    /// The tag.
    pub tag: TagIndex,
    /// The shortest budget of its alarms.
    pub budget: Duration,
}

/// A unit on a bus, and its tags that carry alarms.
#[derive(Debug, Clone)]
pub struct AlarmedUnit {
    /// The unit.
    pub connection: ModbusConnection,
    /// Its tags with alarms.
    pub alarmed: Vec<AlarmedTag>,
}

impl AlarmedUnit {
    fn is_late(&self, alarmed: &AlarmedTag, bus: &SharedBus) -> bool {
        self.connection.alarm_latency(alarmed.tag, bus) > alarmed.budget
    }
}

/// Reads the tags with alarms of all `units` of one bus often enough for their budgets, as far as that is possible
/// without asking more of the bus than it can do. Tags that are read often enough, or cannot be, keep their poll
/// interval. Answers which tags of which unit were raised. `silent_units`: see [`SharedBus::of`].
pub fn raise_rates(units: &mut [AlarmedUnit], silent_units: usize) -> Vec<(usize, Vec<TagIndex>)> {
    let configured = units.to_vec();
    let mut raisable: Vec<Vec<AlarmedTag>> = units.iter().map(|u| u.alarmed.clone()).collect();
    loop {
        raise(units, &raisable, silent_units);
        let bus = bus_of(units, silent_units);
        let mut hopeless = false;
        for (unit, tags) in units.iter().zip(&mut raisable) {
            let before = tags.len();
            tags.retain(|alarmed| !unit.is_late(alarmed, &bus));
            hopeless |= tags.len() < before;
        }
        let is_worse = is_overloaded(units)
            || alarms_in_time(units, silent_units) < alarms_in_time(&configured, silent_units);
        if is_worse || hopeless {
            units.clone_from_slice(&configured);
        }
        if is_worse || !hopeless {
            return changes(&configured, units);
        }
    }
}

/// Raises what is too slow until nothing is, or nothing helps. Each round can add requests and with them waiting.
fn raise(units: &mut [AlarmedUnit], raisable: &[Vec<AlarmedTag>], silent_units: usize) {
    const ROUNDS_MAX: usize = 8;
    for _ in 0..ROUNDS_MAX {
        let bus = bus_of(units, silent_units);
        let mut is_settled = true;
        for (unit, raisable) in units.iter_mut().zip(raisable) {
            let late = raisable.iter().filter(|a| unit.is_late(a, &bus));
            let helped = late.filter_map(|a| Some((a.tag, unit.connection.interval_for(a, &bus)?)));
            let (tags, intervals): (Vec<TagIndex>, Vec<Duration>) = helped.unzip();
            let Some(interval) = intervals.into_iter().min() else { continue };
            unit.connection = unit.connection.with_poll_interval(&tags, interval);
            is_settled = false;
        }
        if is_settled {
            return;
        }
    }
}

fn is_overloaded(units: &[AlarmedUnit]) -> bool {
    units.iter().map(|u| u.connection.utilisation()).sum::<f64>() > 1.0
}

/// A request more can make an alarm late that was in time.
fn alarms_in_time(units: &[AlarmedUnit], silent_units: usize) -> usize {
    let bus = bus_of(units, silent_units);
    units.iter().map(|u| u.alarmed.iter().filter(|a| !u.is_late(a, &bus)).count()).sum()
}

fn bus_of(units: &[AlarmedUnit], silent_units: usize) -> SharedBus {
    SharedBus::of(units.iter().map(|u| &u.connection), silent_units)
}

fn changes(before: &[AlarmedUnit], after: &[AlarmedUnit]) -> Vec<(usize, Vec<TagIndex>)> {
    let interval =
        |unit: &AlarmedUnit, tag: TagIndex| unit.connection.tags()[tag.as_usize()].parameters().poll_interval;
    let raised = |(before, after): (&AlarmedUnit, &AlarmedUnit)| -> Vec<TagIndex> {
        let is_raised = |tag: &TagIndex| interval(before, *tag) != interval(after, *tag);
        after.alarmed.iter().map(|a| a.tag).filter(is_raised).collect()
    };
    before.iter().zip(after).map(raised).enumerate().filter(|(_, tags)| !tags.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use plant_model::DataType;
    use proptest::prelude::*;

    use super::*;
    use crate::modbus::tests::parameters;
    use crate::{
        ModbusConnectionParameters, ModbusTagParameters, OpcUaItem, Parity, Quirks, RegisterFormat,
        SerialLine,
    };

    const BUDGET: Duration = Duration::from_millis(500);

    fn unit(address: ModbusAddress, timeout_ms: u64, tags: &[(u16, u64)], alarmed: &[u16]) -> AlarmedUnit {
        let tag = |(pdu_address, ms): &(u16, u64)| {
            let poll_interval = Duration::from_millis(*ms);
            ModbusTag::new(ModbusTagParameters {
                pdu_address: *pdu_address,
                poll_interval,
                ..parameters(RegisterFormat::U16)
            })
            .expect("valid")
        };
        let timeout = Duration::from_millis(timeout_ms);
        let parameters =
            ModbusConnectionParameters { address, unit_id: 1, timeout, quirks: Quirks::default() };
        let connection = ModbusConnection::new(parameters, tags.iter().map(tag).collect()).expect("valid");
        let alarmed = alarmed.iter().map(|n| AlarmedTag { tag: TagIndex(*n), budget: BUDGET }).collect();
        AlarmedUnit { connection, alarmed }
    }

    fn tcp() -> ModbusAddress {
        ModbusAddress::Tcp { host: "plc".to_owned(), port: 502 }
    }

    fn line(baud_rate: u32) -> ModbusAddress {
        let device = "/dev/ttyUSB0".to_owned();
        ModbusAddress::Rtu(SerialLine { device, baud_rate, parity: Parity::Even, data_bits: 8, stop_bits: 1 })
    }

    fn intervals(unit: &AlarmedUnit) -> Vec<u128> {
        unit.connection.tags().iter().map(|t| t.parameters().poll_interval.as_millis()).collect()
    }

    fn latencies(units: &[AlarmedUnit]) -> Vec<Duration> {
        let bus = bus_of(units, 1);
        let of = |u: &AlarmedUnit| -> Vec<Duration> {
            u.alarmed.iter().map(|a| u.connection.alarm_latency(a.tag, &bus)).collect()
        };
        units.iter().flat_map(of).collect()
    }

    #[test]
    fn a_slow_tag_with_an_alarm_is_read_as_often_as_the_budget_needs_and_its_neighbours_stay() {
        let mut units = [unit(tcp(), 200, &[(0, 1_000), (1, 1_000)], &[1])];
        assert_eq!(raise_rates(&mut units, 1), [(0, vec![TagIndex(1)])]);
        // 500 less 10 decision, 5 for the request and 5 for that of the neighbour, which has one of its own now.
        assert_eq!(intervals(&units[0]), [1_000, 480]);
        assert_eq!(units[0].connection.blocks().len(), 2);
        assert!(latencies(&units)[0] <= BUDGET);
    }

    #[test]
    fn a_tag_that_is_fast_enough_keeps_its_rate() {
        let mut units = [unit(tcp(), 200, &[(0, 250), (1, 1_000)], &[0])];
        assert!(raise_rates(&mut units, 1).is_empty());
        assert_eq!(intervals(&units[0]), [250, 1_000]);
    }

    #[test]
    fn the_time_out_of_a_machine_alone_is_no_delay_of_a_plan_and_that_of_a_neighbour_is() {
        let slow = unit(tcp(), 300, &[(0, 100)], &[0]);
        assert_eq!(latencies(std::slice::from_ref(&slow)), [Duration::from_millis(100 + 5 + 10)]);
        let quick = unit(tcp(), 200, &[(0, 100)], &[0]);
        let both = [slow, quick.clone(), quick];
        let beside = |silent: u64| Duration::from_millis(100 + 3 * 5 + silent + 10);
        assert_eq!(latencies(&both), [beside(200), beside(300), beside(300)], "never its own");
        let of = |silent_units| {
            let bus = bus_of(&both, silent_units);
            both[1].connection.alarm_latency(TagIndex(0), &bus)
        };
        assert_eq!([0, 1, 2, 9].map(of), [0, 300, 500, 500].map(beside));
    }

    #[test]
    fn where_no_rate_helps_nothing_is_raised() {
        let mut units = [unit(tcp(), 500, &[(0, 1_000)], &[0]), unit(tcp(), 500, &[(0, 1_000)], &[])];
        assert!(raise_rates(&mut units, 1).is_empty());
        assert_eq!(intervals(&units[0]), [1_000]);
    }

    #[test]
    fn a_unit_that_cannot_be_helped_does_not_keep_its_neighbour_from_it() {
        let mut units =
            [unit(tcp(), 200, &[(0, 1_000)], &[0]), unit(tcp(), 1_000, &[(0, 1_000), (1, 1_000)], &[0])];
        assert_eq!(raise_rates(&mut units, 1), [(1, vec![TagIndex(0)])]);
        // 500 less 10 decision, three requests and the 200 of the other.
        assert_eq!((intervals(&units[0]), intervals(&units[1])), (vec![1_000], vec![270, 1_000]));
    }

    #[test]
    fn an_alarm_whose_budget_is_hopeless_does_not_keep_one_with_a_longer_from_its_rate() {
        let mut units = [unit(tcp(), 200, &[(0, 5_000), (1, 5_000)], &[0, 1])];
        units[0].alarmed[0].budget = Duration::from_millis(20);
        units[0].alarmed[1].budget = Duration::from_millis(2_020);
        assert_eq!(raise_rates(&mut units, 1), [(0, vec![TagIndex(1)])]);
        assert_eq!(intervals(&units[0]), [5_000, 2_000]);
    }

    #[test]
    fn a_serial_line_is_not_asked_for_more_than_it_can_do() {
        let units = |baud_rate| {
            let one = unit(line(baud_rate), 100, &[(0, 1_000), (500, 1_000), (900, 1_000)], &[0, 1, 2]);
            vec![one.clone(), one.clone(), one]
        };
        let mut fast = units(115_200);
        assert_eq!(raise_rates(&mut fast, 1).len(), 3);
        let mut slow = units(2_400);
        assert!(raise_rates(&mut slow, 1).is_empty());
        assert_eq!(slow[0].connection, units(2_400)[0].connection);
    }

    #[test]
    fn the_baud_rate_says_how_far_a_gap_is_bridged_before_anything_was_measured() {
        let gap =
            |baud_rate| unit(line(baud_rate), 100, &[(0, 1_000)], &[]).connection.quirks().limits.max_gap;
        assert_eq!([9_600, 19_200, 115_200].map(gap), [12, 14, 51]);
        assert_eq!(unit(tcp(), 100, &[(0, 1_000)], &[]).connection.quirks().limits.max_gap, 32);
    }

    #[test]
    fn a_session_samples_as_often_as_its_alarms_need() {
        let session = |sampling: u64, publishing: u64| {
            let items = vec![OpcUaItem::new("ns=2;s=a".parse().expect("valid"), DataType::Float)];
            let ms = Duration::from_millis;
            OpcUaConnection::new("opc.tcp://plc", ms(sampling), ms(publishing), items).expect("valid")
        };
        let raised = session(1_000, 100).raised_for(BUDGET).expect("possible");
        assert_eq!((raised.sampling_interval().as_millis(), raised.alarm_latency()), (390, BUDGET));
        assert_eq!(session(100, 100).raised_for(BUDGET), None, "fast enough");
        assert_eq!(session(1_000, 480).raised_for(BUDGET), None, "publishing alone takes too long");
    }

    proptest! {
        #[test]
        fn raising_brings_alarms_into_time_costs_none_its_own_and_never_overloads(
            maps in prop::collection::vec(
                (
                    prop::sample::select(vec![50_u64, 150, 300, 600]),
                    prop::collection::vec((0_u16..300, prop::sample::select(vec![100_u64, 500, 2_000])), 1..8),
                    prop::collection::btree_set(0_u16..8, 0..4),
                ),
                1..5,
            ),
            baud in prop::sample::select(vec![9_600_u32, 115_200]),
        ) {
            let make = |(timeout, tags, alarmed): &(u64, Vec<(u16, u64)>, std::collections::BTreeSet<u16>)| {
                let alarmed: Vec<u16> = alarmed.iter().copied().filter(|n| usize::from(*n) < tags.len()).collect();
                unit(line(baud), *timeout, tags, &alarmed)
            };
            let mut units: Vec<_> = maps.iter().map(make).collect();
            let load = |units: &[AlarmedUnit]| units.iter().map(|u| u.connection.utilisation()).sum::<f64>();
            let (before, load_before) = (units.clone(), load(&units));
            let raised = raise_rates(&mut units, 1);
            prop_assert!(load(&units) <= load_before.max(1.0));
            prop_assert!(alarms_in_time(&units, 1) >= alarms_in_time(&before, 1));
            let bus = bus_of(&units, 1);
            for (number, (was, is)) in before.iter().zip(&units).enumerate() {
                let of_unit = raised.iter().find(|(n, _)| *n == number).map(|(_, tags)| tags.as_slice());
                let of_unit = of_unit.unwrap_or_default();
                for (index, (old, new)) in (0..).zip(intervals(was).into_iter().zip(intervals(is))) {
                    prop_assert!(new <= old);
                    prop_assert_eq!(new < old, of_unit.contains(&TagIndex(index)));
                }
                for tag in of_unit {
                    prop_assert!(is.connection.alarm_latency(*tag, &bus) <= BUDGET);
                }
            }
        }
    }
}
