//! How long requests take and how late an alarm can be: the arithmetic behind `check`, by which the agent also raises
//! the rate of tags that carry alarms.
//!
//! Assumptions: a Modbus request takes [`REQUEST_ASSUMED`]; on a serial line it takes as long as its characters and
//! silences at that baud rate, and [`REQUEST_ASSUMED`] for the machine; a configured pause between requests is added.
//! What lies behind an RTU gateway is not known.
//!
//! The worst case of an alarm: the value changes just after it was read, so a whole poll interval passes; the other
//! requests of the connection go first; the answer takes the whole time-out; and deciding takes [`DECISION`]. For a
//! subscription: sampling and publishing interval, and deciding. An `on_delay` is asked for and does not count.

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

    /// From a change in the machine to the decision, at worst; `cycle` is that of all units on the bus.
    #[must_use]
    pub fn alarm_latency(&self, tag: TagIndex, cycle: Duration) -> Duration {
        let block = self.blocks().iter().find(|b| b.tags.contains(&tag));
        let (interval, own) =
            block.map_or_else(Default::default, |b| (b.poll_interval, self.request_time(b)));
        interval + cycle.saturating_sub(own) + self.timeout() + DECISION
    }

    /// The longest poll interval at which the alarms of these tags stay within `budget`.
    fn interval_for(&self, tags: &[TagIndex], cycle: Duration, budget: Duration) -> Option<Duration> {
        let beside = |tag: &TagIndex| {
            let interval = self.tags()[tag.as_usize()].parameters().poll_interval;
            self.alarm_latency(*tag, cycle).saturating_sub(interval)
        };
        let rest = budget.checked_sub(tags.iter().map(beside).max()?)?;
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

/// A unit on a bus, and its tags that carry alarms.
#[derive(Debug, Clone)]
pub struct AlarmedUnit {
    /// The unit.
    pub connection: ModbusConnection,
    /// Its tags with alarms.
    pub alarmed: Vec<TagIndex>,
}

/// Reads the tags with alarms of all `units` of one bus often enough for `budget`, as far as that is possible without
/// asking more of the bus than it can do. Tags that are read often enough, or cannot be, keep their poll interval.
/// Answers which tags of which unit were raised.
pub fn raise_rates(units: &mut [AlarmedUnit], budget: Duration) -> Vec<(usize, Vec<TagIndex>)> {
    let configured = units.to_vec();
    let mut raisable: Vec<Vec<TagIndex>> = units.iter().map(|u| u.alarmed.clone()).collect();
    loop {
        raise(units, &raisable, budget);
        let cycle = bus_cycle(units);
        let mut hopeless = false;
        for (unit, tags) in units.iter().zip(&mut raisable) {
            let before = tags.len();
            tags.retain(|tag| unit.connection.alarm_latency(*tag, cycle) <= budget);
            hopeless |= tags.len() < before;
        }
        let is_worse =
            is_overloaded(units) || alarms_in_time(units, budget) < alarms_in_time(&configured, budget);
        if is_worse || hopeless {
            units.clone_from_slice(&configured);
        }
        if is_worse || !hopeless {
            return changes(&configured, units);
        }
    }
}

/// Raises what is too slow until nothing is, or nothing helps. Each round can add requests and with them waiting.
fn raise(units: &mut [AlarmedUnit], raisable: &[Vec<TagIndex>], budget: Duration) {
    const ROUNDS_MAX: usize = 8;
    for _ in 0..ROUNDS_MAX {
        let cycle = bus_cycle(units);
        let mut is_settled = true;
        for (unit, raisable) in units.iter_mut().zip(raisable) {
            let connection = &unit.connection;
            let is_late = |tag: &&TagIndex| connection.alarm_latency(**tag, cycle) > budget;
            let late: Vec<TagIndex> = raisable.iter().filter(is_late).copied().collect();
            let Some(interval) = connection.interval_for(&late, cycle, budget) else { continue };
            unit.connection = connection.with_poll_interval(&late, interval);
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
fn alarms_in_time(units: &[AlarmedUnit], budget: Duration) -> usize {
    let cycle = bus_cycle(units);
    let in_time = |u: &AlarmedUnit| {
        u.alarmed.iter().filter(|t| u.connection.alarm_latency(**t, cycle) <= budget).count()
    };
    units.iter().map(in_time).sum()
}

fn bus_cycle(units: &[AlarmedUnit]) -> Duration {
    units.iter().map(|u| u.connection.cycle()).sum()
}

fn changes(before: &[AlarmedUnit], after: &[AlarmedUnit]) -> Vec<(usize, Vec<TagIndex>)> {
    let interval =
        |unit: &AlarmedUnit, tag: TagIndex| unit.connection.tags()[tag.as_usize()].parameters().poll_interval;
    let raised = |(before, after): (&AlarmedUnit, &AlarmedUnit)| -> Vec<TagIndex> {
        let is_raised = |tag: &TagIndex| interval(before, *tag) != interval(after, *tag);
        after.alarmed.iter().copied().filter(is_raised).collect()
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
        AlarmedUnit { connection, alarmed: alarmed.iter().map(|n| TagIndex(*n)).collect() }
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
        let cycle = bus_cycle(units);
        let of = |u: &AlarmedUnit| -> Vec<Duration> {
            u.alarmed.iter().map(|t| u.connection.alarm_latency(*t, cycle)).collect()
        };
        units.iter().flat_map(of).collect()
    }

    #[test]
    fn a_slow_tag_with_an_alarm_is_read_as_often_as_the_budget_needs_and_its_neighbours_stay() {
        let mut units = [unit(tcp(), 200, &[(0, 1_000), (1, 1_000)], &[1])];
        assert_eq!(raise_rates(&mut units, BUDGET), [(0, vec![TagIndex(1)])]);
        // 500 less 200 time-out, 10 decision and 5 for the request that the neighbour has of its own now.
        assert_eq!(intervals(&units[0]), [1_000, 280]);
        assert_eq!(units[0].connection.blocks().len(), 2);
        assert!(latencies(&units)[0] <= BUDGET);
    }

    #[test]
    fn a_tag_that_is_fast_enough_keeps_its_rate() {
        let mut units = [unit(tcp(), 200, &[(0, 250), (1, 1_000)], &[0])];
        assert!(raise_rates(&mut units, BUDGET).is_empty());
        assert_eq!(intervals(&units[0]), [250, 1_000]);
    }

    #[test]
    fn where_no_rate_helps_nothing_is_raised() {
        let mut units = [unit(tcp(), 500, &[(0, 1_000)], &[0])];
        assert!(raise_rates(&mut units, BUDGET).is_empty());
        assert_eq!(intervals(&units[0]), [1_000]);
    }

    #[test]
    fn a_unit_that_cannot_be_helped_does_not_keep_its_neighbour_from_it() {
        let mut units =
            [unit(tcp(), 1_000, &[(0, 1_000)], &[0]), unit(tcp(), 200, &[(0, 1_000), (1, 1_000)], &[0])];
        assert_eq!(raise_rates(&mut units, BUDGET), [(1, vec![TagIndex(0)])]);
        assert_eq!((intervals(&units[0]), intervals(&units[1])), (vec![1_000], vec![280, 1_000]));
    }

    #[test]
    fn a_serial_line_is_not_asked_for_more_than_it_can_do() {
        let units = |baud_rate| {
            let one = unit(line(baud_rate), 100, &[(0, 1_000), (500, 1_000), (900, 1_000)], &[0, 1, 2]);
            vec![one.clone(), one.clone(), one]
        };
        let mut fast = units(115_200);
        assert_eq!(raise_rates(&mut fast, BUDGET).len(), 3);
        let mut slow = units(2_400);
        assert!(raise_rates(&mut slow, BUDGET).is_empty());
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
            let raised = raise_rates(&mut units, BUDGET);
            prop_assert!(load(&units) <= load_before.max(1.0));
            prop_assert!(alarms_in_time(&units, BUDGET) >= alarms_in_time(&before, BUDGET));
            let cycle = bus_cycle(&units);
            for (number, (was, is)) in before.iter().zip(&units).enumerate() {
                let of_unit = raised.iter().find(|(n, _)| *n == number).map(|(_, tags)| tags.as_slice());
                let of_unit = of_unit.unwrap_or_default();
                for (index, (old, new)) in (0..).zip(intervals(was).into_iter().zip(intervals(is))) {
                    prop_assert!(new <= old);
                    prop_assert_eq!(new < old, of_unit.contains(&TagIndex(index)));
                }
                for tag in of_unit {
                    prop_assert!(is.connection.alarm_latency(*tag, cycle) <= BUDGET);
                }
            }
        }
    }
}
