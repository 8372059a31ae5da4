//! The clocks of a program.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use plant_model::{Monotonic, Timestamp};

/// Stands for a wall clock that is the system's.
const OF_THE_SYSTEM: i64 = i64::MIN;

/// Reads the wall clock and the monotonic clock. Copies share their origin and their calendar.
///
/// The wall clock is the system's, or it is *kept*: time since the boot plus when that was, as somebody who
/// decides about it has last said. Until then a kept clock shows the time since the boot
/// ([`Timestamp::is_unplaced`]).
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    /// When the system was booted, in microseconds since 1970; 0 while that is not known. It lives as long as
    /// the program: a program has one clock.
    booted_at: &'static AtomicI64,
}

impl Clock {
    /// A clock whose monotonic time begins now and whose wall clock is the system's.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now(), booted_at: Box::leak(Box::new(AtomicI64::new(OF_THE_SYSTEM))) }
    }

    /// A clock whose monotonic time begins now and whose wall clock is kept.
    #[must_use]
    pub fn start_kept() -> Self {
        Self { origin: Instant::now(), booted_at: Box::leak(Box::new(AtomicI64::new(0))) }
    }

    /// Says when the system was booted, or that nobody knows.
    pub fn keep(&self, booted_at: Option<Timestamp>) {
        self.booted_at.store(booted_at.map_or(0, Timestamp::micros), Ordering::Relaxed);
    }

    /// The monotonic time since this clock was started.
    #[must_use]
    pub fn now(&self) -> Monotonic {
        Monotonic::from_micros(u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// The wall clock.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        match self.booted_at.load(Ordering::Relaxed) {
            OF_THE_SYSTEM => Self::system(),
            booted_at => {
                Timestamp::from_micros(booted_at.saturating_add(self.uptime().micros().cast_signed()))
            }
        }
    }

    /// When the system was booted, as this clock was told; `None` while nobody knows, and where it is not kept.
    #[must_use]
    pub fn booted_at(&self) -> Option<Timestamp> {
        match self.booted_at.load(Ordering::Relaxed) {
            OF_THE_SYSTEM | 0 => None,
            booted_at => Some(Timestamp::from_micros(booted_at)),
        }
    }

    /// The same instant by this clock, if it was taken while the time was not known and now it is.
    #[must_use]
    pub fn placed(&self, at: Timestamp) -> Timestamp {
        self.booted_at().map_or(at, |booted_at| at.placed(booted_at))
    }

    /// The wall clock of the system, right or wrong.
    #[must_use]
    pub fn system() -> Timestamp {
        Timestamp::from_micros(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |m| -m),
        })
    }

    /// The time since the system was booted, its sleep included; the same for all programs.
    #[must_use]
    pub fn uptime(&self) -> Monotonic {
        // Without this clock the program is as old as the system: times still run evenly.
        let Ok(since) = clock_gettime(ClockId::CLOCK_BOOTTIME) else { return self.now() };
        let (seconds, nanos) = (since.tv_sec().cast_unsigned(), since.tv_nsec().cast_unsigned());
        Monotonic::from_micros(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_monotonic_clock_moves_on_and_copies_agree() {
        let clock = Clock::start();
        let copy = clock;
        let a = clock.now();
        assert!(copy.now() >= a);
        assert!(clock.wall().micros() > 1_700_000_000_000_000, "the wall clock is after 2023");
    }

    #[test]
    fn a_kept_clock_shows_the_time_since_the_boot_until_it_is_told_when_that_was() {
        let clock = Clock::start_kept();
        let copy = clock;
        let early = clock.wall();
        assert!(early.is_unplaced(), "{early}");
        let booted_at = Timestamp::from_micros(1_790_000_000_000_000);
        copy.keep(Some(booted_at));
        assert_eq!(clock.placed(early).since(booted_at), early.since(Timestamp::default()));
        let later = clock.wall().since(clock.placed(early));
        assert!(later < Duration::from_secs(60), "{later:?}");
        clock.keep(None);
        assert!(clock.wall() >= early && clock.wall().is_unplaced());
    }
}
