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
    is_under_way: bool,
}

impl Heartbeat {
    /// The first beat is due at once.
    pub(crate) fn new(every: Duration) -> Self {
        Self { every, due_at: Monotonic::default(), number: 0, is_under_way: false }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Monotonic> {
        (!self.is_under_way).then_some(self.due_at)
    }

    pub(crate) fn next(&mut self, now: Monotonic) -> Option<u16> {
        if self.poll_timeout()? > now {
            return None;
        }
        self.due_at = now.plus(self.every);
        self.is_under_way = true;
        self.number = (self.number + 1) & NUMBER_MAX;
        Some(self.number)
    }

    pub(crate) fn ended(&mut self) {
        self.is_under_way = false;
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
        heartbeat.ended();
        assert_eq!((heartbeat.next(at(9)), heartbeat.next(at(9))), (Some(2), None));
        heartbeat.ended();
        assert_eq!((heartbeat.next(at(10)), heartbeat.poll_timeout()), (None, Some(at(11))));
        heartbeat.number = NUMBER_MAX;
        assert_eq!(heartbeat.next(at(11)), Some(0));
    }
}
