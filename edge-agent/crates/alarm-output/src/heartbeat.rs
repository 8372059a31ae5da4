//! A number that keeps changing for as long as the agent lives.

use std::time::Duration;

use plant_model::Monotonic;

/// The largest number of a beat: it fits a register, signed or not.
const NUMBER_MAX: u16 = 0x7FFF;

/// Says when the next beat is due. A beat that is late is not made up for.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    every: Duration,
    due_at: Monotonic,
    number: u16,
    /// When the beat under way began.
    under_way: Option<Monotonic>,
}

/// A beat that failed rests this many times as long as it took.
const FAILED_REST: u32 = 9;

impl Heartbeat {
    /// The first beat is due at once.
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, due_at: Monotonic::default(), number: 0, under_way: None }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Monotonic> {
        self.under_way.is_none().then_some(self.due_at)
    }

    pub(crate) fn next(&mut self, now: Monotonic) -> Option<u16> {
        if self.poll_timeout()? > now {
            return None;
        }
        self.due_at = now.plus(self.every);
        self.under_way = Some(now);
        self.number = (self.number + 1) & NUMBER_MAX;
        Some(self.number)
    }

    pub(crate) fn arrived(&mut self) {
        self.under_way = None;
    }

    /// What is beaten does not answer, and others use the same line.
    pub(crate) fn failed(&mut self, now: Monotonic) {
        let took = self.under_way.take().map(|begun| now.since(begun)).unwrap_or_default();
        self.due_at = self.due_at.max(now.plus(took * FAILED_REST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_differ_never_overlap_and_begin_anew_at_the_end() {
        let at = |s: u64| Monotonic::from_micros(s * 1_000_000);
        let mut heartbeat = Heartbeat::new(Duration::from_secs(2));
        assert_eq!(heartbeat.next(at(5)), Some(1));
        assert_eq!((heartbeat.next(at(9)), heartbeat.poll_timeout()), (None, None), "it is under way");
        heartbeat.arrived();
        assert_eq!((heartbeat.next(at(9)), heartbeat.next(at(9))), (Some(2), None));
        heartbeat.arrived();
        assert_eq!((heartbeat.next(at(10)), heartbeat.poll_timeout()), (None, Some(at(11))));
        heartbeat.number = NUMBER_MAX;
        assert_eq!(heartbeat.next(at(11)), Some(0));
    }
    #[test]
    fn d7_a_beat_that_fails_takes_a_tenth_of_the_time_at_most() {
        let at = |ms: u64| Monotonic::from_micros(ms * 1_000);
        let mut heartbeat = Heartbeat::new(Duration::from_secs(1));
        assert!(heartbeat.next(at(0)).is_some());
        heartbeat.failed(at(1_000));
        assert_eq!(heartbeat.poll_timeout(), Some(at(10_000)));
        assert!(heartbeat.next(at(10_000)).is_some());
        heartbeat.failed(at(10_001));
        assert_eq!(heartbeat.poll_timeout(), Some(at(11_000)), "who refuses at once costs nothing");
    }
}
