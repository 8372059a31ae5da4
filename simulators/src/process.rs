//! The process model of one machine: a pure function of a seed and a tick.
//!
//! One tick is one second of machine time. Tick 0 is the moment the machine starts; the running program advances
//! the tick by one per second and stands still while paused, so the same seed gives the same sequence of values
//! whenever and wherever it runs. The machine's life is cut into periods of [`PERIOD_TICKS`], each with one state;
//! analogs follow the share of the last [`PERIOD_TICKS`] during which the machine ran, so they ramp instead of
//! jumping. Counters restart with every shift of eight hours, which also bounds the work per value.

use std::f64::consts::TAU;

use crate::{
    catalog::{Encoding, Flag, Signal, TagSpec},
    noise::{mix, name_salt, symmetric, unit},
    value::Value,
};

/// Length of a period with one machine state, and of the ramp after a change, in ticks.
const PERIOD_TICKS: u64 = 20;
/// Periods per shift of eight hours.
const PERIODS_PER_SHIFT: u64 = 8 * 3600 / PERIOD_TICKS;
/// Ticks between two possible changes of the program.
const PROGRAM_TICKS: u64 = 120;
/// Share of the noise that a standing machine still shows.
const NOISE_AT_REST: f64 = 0.2;

const STATE_SALT: u64 = 0x5354_4154;

/// State of a machine, numbered as its `state` tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running = 0,
    Idle = 1,
    Down = 2,
    Setup = 3,
}

/// The model of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    seed: u64,
}

impl Process {
    /// The model of the machine `machine_id` of a plant with this seed; machines of one plant differ.
    pub fn new(plant_seed: u64, machine_id: &str) -> Self {
        Self { seed: mix(plant_seed, name_salt(machine_id)) }
    }

    /// The value of a tag at a tick. Tags that count reads are 0 here; their server counts them.
    pub fn value(&self, tag: &TagSpec, tick: u64) -> Value {
        match tag.signal {
            Signal::Analog { idle, running, swing, noise } => {
                let level = idle + (running - idle) * self.activity(tick);
                quantise(tag.encoding, level + self.disturbance(tag.id, tick, swing, noise))
            }
            Signal::State => Value::Int(self.state(tick / PERIOD_TICKS) as i64),
            Signal::Count { seconds_each } => int(self.running_seconds(tick) / u64::from(seconds_each)),
            Signal::Energy { running_kw } => {
                quantise(tag.encoding, self.running_seconds(tick) as f64 * running_kw / 3600.0)
            }
            Signal::Flag(flag) => Value::Bool(self.flag(flag, tag.id, tick)),
            Signal::Program(names) => Value::Text(self.program(names, tick).to_owned()),
            Signal::TickCount => int(tick + 1),
            Signal::ReadCount => Value::Int(0),
        }
    }

    fn state(&self, period: u64) -> State {
        match unit(mix(self.seed ^ STATE_SALT, period)) {
            share if share < 0.85 => State::Running,
            share if share < 0.92 => State::Idle,
            share if share < 0.95 => State::Down,
            _ => State::Setup,
        }
    }

    fn runs(&self, period: u64) -> bool {
        self.state(period) == State::Running
    }

    /// Share of the last period's length during which the machine ran, `0..=1`.
    fn activity(&self, tick: u64) -> f64 {
        let period = tick / PERIOD_TICKS;
        let inside = tick % PERIOD_TICKS + 1;
        let now = if self.runs(period) { inside } else { 0 };
        let before = if self.runs(period.saturating_sub(1)) { PERIOD_TICKS - inside } else { 0 };
        (now + before) as f64 / PERIOD_TICKS as f64
    }

    /// Slow wave plus noise; at most `swing + noise` away from zero.
    fn disturbance(&self, tag_id: &str, tick: u64, swing: f64, noise: f64) -> f64 {
        let seed = mix(self.seed, name_salt(tag_id));
        let activity = self.activity(tick);
        let wave = 0.7 * slow_wave(mix(seed, 1), tick) + 0.3 * slow_wave(mix(seed, 2), tick);
        let rest = NOISE_AT_REST + (1.0 - NOISE_AT_REST) * activity;
        swing * activity * wave + noise * rest * symmetric(mix(mix(seed, 3), tick))
    }

    /// Seconds the machine has run in the shift of this tick, this tick included.
    fn running_seconds(&self, tick: u64) -> u64 {
        let period = tick / PERIOD_TICKS;
        let shift_start = period - period % PERIODS_PER_SHIFT;
        let whole = (shift_start..period).filter(|&period| self.runs(period)).count() as u64 * PERIOD_TICKS;
        whole + if self.runs(period) { tick % PERIOD_TICKS + 1 } else { 0 }
    }

    fn flag(&self, flag: Flag, tag_id: &str, tick: u64) -> bool {
        let period = tick / PERIOD_TICKS;
        match flag {
            Flag::Running => self.runs(period),
            Flag::NotInSetup => self.state(period) != State::Setup,
            Flag::Mostly => !mix(self.seed ^ name_salt(tag_id), period).is_multiple_of(8),
        }
    }

    fn program(&self, names: &[&'static str; 3], tick: u64) -> &'static str {
        let choice = mix(self.seed ^ name_salt("program"), tick / PROGRAM_TICKS) % names.len() as u64;
        names[choice as usize]
    }
}

/// A sine of 90 to 600 s with a phase of its own, `-1..=1`.
fn slow_wave(seed: u64, tick: u64) -> f64 {
    let period = 90.0 + 510.0 * unit(mix(seed, 1));
    let phase = unit(mix(seed, 2));
    (TAU * (tick as f64 / period + phase)).sin()
}

fn int(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Rounds to what the tag's sensor and register can carry, saturating at the register's range.
///
/// The result is what a reader must decode, to the last bit: `raw / 10^decimals` for scaled integers, the exact
/// value of the single-precision number for floats.
pub(crate) fn quantise(encoding: Encoding, number: f64) -> Value {
    if let Some((decimals, lowest, highest)) = encoding.scaled_integer() {
        let power = power_of_ten(decimals);
        let raw = (number * power).round().clamp(lowest, highest);
        // Adding zero turns -0.0 into 0.0: registers know only one zero.
        return if decimals == 0 { Value::Int(raw as i64) } else { Value::Float(raw / power + 0.0) };
    }
    match encoding {
        Encoding::Bit => Value::Bool(number != 0.0),
        Encoding::Text => Value::Text(number.to_string()),
        Encoding::U16 { decimals }
        | Encoding::I16 { decimals }
        | Encoding::U32 { decimals }
        | Encoding::I32 { decimals }
        | Encoding::F32 { decimals } => {
            let power = power_of_ten(decimals);
            Value::Float(f64::from(((number * power).round() / power) as f32) + 0.0)
        }
    }
}

pub(crate) fn power_of_ten(decimals: u8) -> f64 {
    10_f64.powi(i32::from(decimals))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        catalog::tags,
        kind::{Kind, Protocol},
    };

    fn tag(kind: Kind, id: &str) -> TagSpec {
        tags(kind, Protocol::Opcua).into_iter().find(|tag| tag.id == id).unwrap()
    }

    fn any_kind() -> impl Strategy<Value = Kind> {
        (0..Kind::ALL.len()).prop_map(|index| Kind::ALL[index])
    }

    proptest! {
        #[test]
        fn the_same_seed_and_tick_give_the_same_values(seed: u64, tick in 0..10_000_000_u64, kind in any_kind()) {
            let (one, other) = (Process::new(seed, "m-1"), Process::new(seed, "m-1"));
            for tag in tags(kind, Protocol::Opcua) {
                prop_assert_eq!(one.value(&tag, tick), other.value(&tag, tick));
            }
        }

        #[test]
        fn analogs_stay_inside_their_levels(seed: u64, tick in 0..10_000_000_u64, kind in any_kind()) {
            let process = Process::new(seed, "m-1");
            for tag in tags(kind, Protocol::ModbusTcp) {
                let Signal::Analog { idle, running, swing, noise } = tag.signal else { continue };
                let number = match process.value(&tag, tick) {
                    Value::Int(number) => number as f64,
                    Value::Float(number) => number,
                    Value::Bool(_) | Value::Text(_) => panic!("{} is an analog", tag.id),
                };
                // One unit of resolution more, for the rounding.
                let margin = swing + noise + 1.0;
                prop_assert!(number >= idle.min(running) - margin, "{} = {number}", tag.id);
                prop_assert!(number <= idle.max(running) + margin, "{} = {number}", tag.id);
            }
        }

        #[test]
        fn part_counters_never_fall_within_a_shift(seed: u64, tick in 0..28_000_u64) {
            let process = Process::new(seed, "m-1");
            let parts = tag(Kind::Lathe, "parts_count");
            let (Value::Int(before), Value::Int(after)) =
                (process.value(&parts, tick), process.value(&parts, tick + 1)) else { panic!("parts are counted") };
            prop_assert!((before..=before + 1).contains(&after), "{before} then {after}");
        }

        #[test]
        fn the_state_is_one_of_four(seed: u64, tick: u32) {
            let state = Process::new(seed, "m-1").value(&tag(Kind::Furnace, "state"), u64::from(tick));
            prop_assert!(matches!(state, Value::Int(0..=3)), "{state:?}");
        }
    }

    #[test]
    fn machines_of_one_plant_differ() {
        let temperature = tag(Kind::CncMill, "spindle_temperature");
        let series = |id| {
            let process = Process::new(1, id);
            (0..100).map(move |tick| process.value(&temperature, tick)).collect::<Vec<_>>()
        };
        assert_ne!(series("cnc-mill-1"), series("cnc-mill-2"));
    }

    #[test]
    fn every_state_occurs_and_running_is_the_rule() {
        let process = Process::new(3, "m-1");
        let mut seen = [0_u32; 4];
        for period in 0..1000 {
            seen[process.state(period) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 0), "{seen:?}");
        assert!(seen[0] > 700, "{seen:?}");
    }

    #[test]
    fn analogs_ramp_instead_of_jumping() {
        let process = Process::new(9, "m-1");
        for tick in 1..20_000 {
            let step = (process.activity(tick) - process.activity(tick - 1)).abs();
            assert!(step <= 1.0 / PERIOD_TICKS as f64 + 1e-12, "step {step} at {tick}");
        }
    }

    #[test]
    fn the_tick_count_starts_at_one_and_counters_restart_with_the_shift() {
        let process = Process::new(5, "m-1");
        assert_eq!(process.value(&tag(Kind::Conveyor, "scan_count"), 0), Value::Int(1));
        let shift = PERIODS_PER_SHIFT * PERIOD_TICKS;
        assert!(process.running_seconds(shift - 1) > 20_000);
        assert!(process.running_seconds(shift) <= 1);
    }

    #[test]
    fn quantised_values_are_what_a_reader_decodes() {
        assert_eq!(quantise(Encoding::U16 { decimals: 1 }, 23.1499), Value::Float(231.0 / 10.0));
        assert_eq!(quantise(Encoding::U16 { decimals: 0 }, -3.0), Value::Int(0));
        assert_eq!(quantise(Encoding::I16 { decimals: 1 }, 1e9), Value::Float(3276.7));
        assert_eq!(quantise(Encoding::F32 { decimals: 3 }, 0.1), Value::Float(f64::from(0.1_f32)));
    }
}
