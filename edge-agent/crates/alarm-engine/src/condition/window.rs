//! How fast a value moves, measured over a window.
//!
//! A value holds until the next one: so a source that is silent while nothing changes is measured like
//! one that repeats itself. The window keeps a bounded number of points: of those that are less than an
//! eighth of its length apart only the newest, unless a silence followed. The slope of a ramp is exact
//! with at least four samples a window; with fewer it is overestimated.

use std::collections::VecDeque;
use std::time::Duration;

use plant_model::Monotonic;

/// Two points for each eighth of the window, the one before it, the newest, and one in passing.
const POINTS: usize = 19;

#[derive(Debug)]
pub(crate) struct Window {
    over: Duration,
    points: VecDeque<(Monotonic, f64)>,
}

impl Window {
    pub(super) fn new(over: Duration) -> Self {
        Self { over, points: VecDeque::with_capacity(POINTS) }
    }

    /// The change a second, in the tag's unit; `None` while less than a window is known.
    /// `fresh` says that `number` has just been measured.
    pub(super) fn rate(&mut self, number: Option<f64>, fresh: bool, now: Monotonic) -> Option<f64> {
        let Some(number) = number else {
            self.points.clear();
            return None;
        };
        if fresh {
            self.note(number, now);
        }
        while self.points.get(1).is_some_and(|(at, _)| at.plus(self.over) <= now) {
            self.points.pop_front();
        }
        let (then, was) = *self.points.front()?;
        if then.plus(self.over) > now {
            return None;
        }
        // A point from long ago held its value up to the beginning of the window.
        let span = Some(now.since(then)).filter(|span| *span <= self.over + 2 * self.spacing());
        Some((number - was) / span.unwrap_or(self.over).as_secs_f64())
    }

    fn note(&mut self, number: f64, now: Monotonic) {
        let mut newest = self.points.iter().rev().map(|(at, _)| *at);
        if let (Some(last), Some(before)) = (newest.next(), newest.next())
            && last.since(before) < self.spacing()
            && now.since(last) < self.spacing()
        {
            self.points.pop_back();
        }
        self.points.push_back((now, number));
    }

    fn spacing(&self) -> Duration {
        self.over / 8
    }

    /// When the newest value will have stood for the whole window.
    pub(super) fn quiet_at(&self) -> Option<Monotonic> {
        let moved = self.points.back().filter(|_| self.points.len() > 1);
        moved.map(|(at, _)| at.plus(self.over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Monotonic {
        Monotonic::from_micros(millis * 1_000)
    }

    #[test]
    fn a_ramp_has_its_slope_however_often_it_is_sampled() {
        for period in [1_u32, 7, 50, 63, 100, 125, 130, 200, 249] {
            let mut window = Window::new(Duration::from_secs(1));
            let capacity = window.points.capacity();
            let mut rate = None;
            for n in 0..5_000 / period {
                let millis = n * period;
                rate = window.rate(Some(f64::from(millis) * 0.003), true, at(u64::from(millis)));
                assert_eq!(window.points.capacity(), capacity, "it never grows");
            }
            let rate = rate.expect("five windows have passed");
            assert!((rate - 3.0).abs() < 1e-9, "{rate} with a sample every {period} ms");
        }
    }

    #[test]
    fn a_step_after_a_long_silence_is_fast_and_over_when_the_window_has_passed() {
        let mut window = Window::new(Duration::from_secs(1));
        window.rate(Some(0.0), true, at(0));
        let step = window.rate(Some(9.0), true, at(60_000)).expect("known");
        assert!((step - 9.0).abs() < 1e-9, "{step}");
        assert_eq!(window.quiet_at(), Some(at(61_000)));
        assert_eq!(window.rate(Some(9.0), false, at(61_000)), Some(0.0));
    }

    #[test]
    fn a_gap_begins_anew() {
        let mut window = Window::new(Duration::from_secs(1));
        window.rate(Some(0.0), true, at(0));
        assert_eq!(window.rate(Some(1.0), true, at(1_000)), Some(1.0));
        assert_eq!(window.rate(None, true, at(1_100)), None);
        assert_eq!(window.rate(Some(5.0), true, at(1_200)), None);
    }
}
