//! The engine against the same rules written again, as plainly as possible and in another way: the
//! reference steps through time a millisecond at a time, knows the state by its letter, and looks the
//! next letter up as the standard's table has it.

use std::time::Duration;

use plant_model::*;
use proptest::prelude::*;

use crate::support::*;

/// What happens to the machine or to the alarm.
#[derive(Debug, Clone, Copy)]
enum Event {
    Value(u8),
    Bad,
    Stopped(bool),
    Acknowledge,
    Reset,
    Shelve(u8),
    Unshelve,
    TakeOut,
    PutBack,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    deadband: u8,
    on: u32,
    off: u32,
    required: bool,
    latching: bool,
    re_alarm: Option<u32>,
}

const LIMIT: u8 = 6;

/// The reference. `letter` is the state without covers, A to F.
#[derive(Debug)]
struct Reference {
    settings: Settings,
    letter: char,
    /// The value and whether it is good.
    value: Option<u8>,
    /// Whether the value was last above the limit rather than below the deadband.
    above: bool,
    /// Milliseconds for which it has been on the other side.
    counted: u32,
    shelf_left: Option<u32>,
    quiet_left: Option<u32>,
    stopped: bool,
    out: bool,
    occurrence: u64,
}

impl Reference {
    fn new(settings: Settings) -> Self {
        Self {
            settings,
            letter: 'A',
            value: None,
            above: false,
            counted: 0,
            shelf_left: None,
            quiet_left: None,
            stopped: false,
            out: false,
            occurrence: 0,
        }
    }

    fn covered(&self) -> bool {
        self.out || self.stopped || self.shelf_left.is_some()
    }

    fn mnemonic(&self) -> &'static str {
        match (self.out, self.stopped, self.shelf_left, self.letter) {
            (true, ..) => "OOSRV",
            (_, true, ..) => "DSUPR",
            (_, _, Some(_), _) => "SHLVD",
            (.., 'A') => "NORM",
            (.., 'B') => "UNACK",
            (.., 'C') => "ACKED",
            (.., 'D') => "RTNUN",
            (.., 'E') => "LTUNK",
            _ => "LTACK",
        }
    }

    fn is_abnormal(&self) -> bool {
        matches!(self.letter, 'B' | 'C')
    }

    /// A cover goes; if it was the last one the alarm is A or B.
    fn uncover(&mut self, gone: impl FnOnce(&mut Self)) {
        let was = self.covered();
        gone(self);
        if was && !self.covered() {
            self.letter = if self.is_abnormal() { 'B' } else { 'A' };
            self.quiet_left = None;
        }
    }

    fn cover(&mut self, put: impl FnOnce(&mut Self)) {
        put(self);
        self.quiet_left = None;
    }

    fn process(&mut self) {
        let Some(value) = self.value else { return };
        if value > LIMIT {
            self.above = true;
        } else if value + self.settings.deadband <= LIMIT {
            self.above = false;
        }
        if self.above == self.is_abnormal() {
            self.counted = 0;
        } else if self.counted >= if self.is_abnormal() { self.settings.off } else { self.settings.on } {
            self.counted = 0;
            self.flip();
        }
    }

    fn flip(&mut self) {
        self.quiet_left = None;
        self.letter = match (self.letter, self.settings.latching, self.settings.required) {
            ('B', true, _) => 'E',
            ('C', true, _) => 'F',
            ('B', false, true) => 'D',
            ('B' | 'C', false, _) => 'A',
            _ => {
                self.occurrence += 1;
                'B'
            }
        };
    }

    fn millisecond(&mut self) {
        // What has been on the other side up to now has been so a millisecond longer.
        if self.value.is_some() && self.above != self.is_abnormal() {
            self.counted += 1;
        }
        self.process();
        self.shelf_left = self.shelf_left.map(|left| left - 1);
        if self.shelf_left == Some(0) {
            self.uncover(|r| r.shelf_left = None);
        }
        self.quiet_left = self.quiet_left.map(|left| left - 1);
        if self.quiet_left == Some(0) {
            self.quiet_left = None;
            self.occurrence += 1;
            self.letter = 'B';
        }
    }

    /// Whether it is allowed, for commands.
    fn event(&mut self, event: Event) -> bool {
        let covered = self.covered();
        let allowed = match event {
            Event::Acknowledge => !covered && matches!(self.letter, 'B' | 'D' | 'E'),
            Event::Reset => !covered && self.letter == 'F',
            Event::Shelve(_) => !self.out && self.shelf_left.is_none(),
            Event::Unshelve => self.shelf_left.is_some(),
            Event::TakeOut => !self.out,
            Event::PutBack => self.out,
            Event::Value(_) | Event::Bad | Event::Stopped(_) => true,
        };
        if !allowed {
            return false;
        }
        match event {
            Event::Value(value) => {
                self.value = Some(value);
                self.process();
            }
            Event::Bad => self.value = None,
            Event::Stopped(true) => self.cover(|r| r.stopped = true),
            Event::Stopped(false) => self.uncover(|r| r.stopped = false),
            Event::Acknowledge => {
                self.letter = match self.letter {
                    'B' => 'C',
                    'D' => 'A',
                    _ => 'F',
                };
                self.quiet_left = self.settings.re_alarm.filter(|_| self.letter == 'C');
            }
            Event::Reset => self.letter = 'A',
            Event::Shelve(time) => self.cover(|r| r.shelf_left = Some(u32::from(time))),
            Event::Unshelve => self.uncover(|r| r.shelf_left = None),
            Event::TakeOut => self.cover(|r| r.out = true),
            Event::PutBack => self.uncover(|r| r.out = false),
        }
        true
    }
}

fn definition(settings: Settings) -> AlarmDefinition {
    let millis = |n: u32| Duration::from_millis(n.into());
    let class = if settings.required { AcknowledgeClass::Required } else { AcknowledgeClass::OnReturn };
    AlarmDefinition {
        on_delay: millis(settings.on),
        off_delay: millis(settings.off),
        acknowledge: class,
        latching: settings.latching,
        re_alarm: settings.re_alarm.map(millis),
        suppress_while: Some("state == 1".into()),
        ..high("a", f64::from(LIMIT), f64::from(settings.deadband))
    }
}

/// The same to the engine; says whether a command was allowed.
fn give(bench: &mut Bench, event: Event) -> bool {
    match event {
        Event::Value(value) => bench.value(f64::from(value)),
        Event::Bad => bench.bad("t"),
        Event::Stopped(stopped) => bench.set("state", Value::Bool(stopped)),
        Event::Acknowledge => return bench.command("a", AlarmCommand::Acknowledge).is_ok(),
        Event::Reset => return bench.command("a", AlarmCommand::Reset).is_ok(),
        Event::Shelve(time) => {
            let duration = Duration::from_millis(time.into());
            return bench.command("a", AlarmCommand::Shelve { duration }).is_ok();
        }
        Event::Unshelve => return bench.command("a", AlarmCommand::Unshelve).is_ok(),
        Event::TakeOut => {
            return bench.command("a", AlarmCommand::TakeOutOfService { review_at: None }).is_ok();
        }
        Event::PutBack => return bench.command("a", AlarmCommand::ReturnToService).is_ok(),
    };
    true
}

fn settings() -> impl Strategy<Value = Settings> {
    let times = (0_u32..12, 0_u32..12, proptest::option::of(1_u32..20));
    (0_u8..4, times, any::<bool>(), any::<bool>()).prop_map(
        |(deadband, (on, off, re_alarm), required, latching)| Settings {
            deadband,
            on,
            off,
            required,
            latching,
            re_alarm,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0_u8..12).prop_map(Event::Value),
        2 => Just(Event::Bad),
        2 => any::<bool>().prop_map(Event::Stopped),
        4 => Just(Event::Acknowledge),
        2 => Just(Event::Reset),
        1 => (1_u8..40).prop_map(Event::Shelve),
        1 => Just(Event::Unshelve),
        1 => Just(Event::TakeOut),
        1 => Just(Event::PutBack),
    ]
}

/// What follows an event, by the engine's side: time passes in small steps, in one leap, or over a
/// restart in the middle.
#[derive(Debug, Clone, Copy)]
enum Passing {
    Steps,
    Leap,
    Restart,
}

fn passing() -> impl Strategy<Value = Passing> {
    prop_oneof![4 => Just(Passing::Steps), 4 => Just(Passing::Leap), 1 => Just(Passing::Restart)]
}

/// A restart that takes no time. The tags are read again at once, as a driver does.
fn restart(bench: &mut Bench, settings: Settings, last: [Option<Event>; 2]) {
    let snapshot = bench.engine.snapshot(bench.now);
    let wall = bench.wall();
    bench.engine = Bench::new(vec![definition(settings)]).engine;
    bench.engine.restore(&snapshot, bench.now, wall, &mut bench.tape);
    for event in last.into_iter().flatten() {
        give(bench, event);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_engine_agrees_with_a_plain_reference(
        settings in settings(),
        steps in proptest::collection::vec((event(), 0_u32..16, passing()), 1..40),
    ) {
        let mut bench = Bench::new(vec![definition(settings)]);
        let mut reference = Reference::new(settings);
        let mut last = [None, None];
        for (n, (event, wait, passing)) in steps.into_iter().enumerate() {
            prop_assert_eq!(give(&mut bench, event), reference.event(event), "{} {:?}", n, event);
            match event {
                Event::Value(_) | Event::Bad => last[0] = Some(event),
                Event::Stopped(_) => last[1] = Some(event),
                Event::Acknowledge
                | Event::Reset
                | Event::Shelve(_)
                | Event::Unshelve
                | Event::TakeOut
                | Event::PutBack => {}
            }
            let shown = (bench.state("a"), bench.engine.snapshot(bench.now).alarms[&alarm("a")].occurrence);
            prop_assert_eq!(shown, (reference.mnemonic(), reference.occurrence), "{} {:?}", n, event);
            if matches!(passing, Passing::Restart) {
                restart(&mut bench, settings, last);
            }
            for _ in 0..wait {
                reference.millisecond();
                if matches!(passing, Passing::Steps) {
                    bench.wait(1);
                }
            }
            if !matches!(passing, Passing::Steps) {
                bench.wait(wait.into());
            }
            let shown = (bench.state("a"), bench.engine.snapshot(bench.now).alarms[&alarm("a")].occurrence);
            prop_assert_eq!(shown, (reference.mnemonic(), reference.occurrence), "{} after {} ms", n, wait);
            for pair in bench.tape.windows(2) {
                prop_assert_eq!(pair[0].to, pair[1].from, "each step begins where the last ended");
            }
            prop_assert!(bench.tape.iter().all(|t| t.to == t.flags.state()));
        }
    }
}
