//! Slows down guessing: after some failed logins of one user name, the next has to wait.
//!
//! The name is counted whether such a user exists or not, so that the answer does not tell.

use std::collections::HashMap;
use std::time::Duration;

use plant_model::Monotonic;
use thiserror::Error;

/// Failures that cost nothing: people mistype.
const FREE_FAILURES: u32 = 5;
/// The wait after the first failure that costs; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait: long enough to make guessing hopeless, short enough to sit it out.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A name without a failure for so long begins anew.
const FORGET_AFTER: Duration = Duration::from_secs(1800);
/// Names remembered at most: bounds the memory that a flood of invented names can claim (about 1 MB).
const NAMES_MAX: usize = 10_000;

/// A login was refused unseen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("too many failed logins; try again in {} s", wait.as_secs().max(1))]
pub struct TooManyAttempts {
    /// How long to wait.
    pub wait: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last_at: Monotonic,
}

impl Failures {
    fn open_at(self) -> Monotonic {
        match self.count.checked_sub(FREE_FAILURES) {
            None => self.last_at,
            Some(beyond) => {
                let doubled = FIRST_WAIT.saturating_mul(1_u32.checked_shl(beyond).unwrap_or(u32::MAX));
                self.last_at.plus(doubled.min(LONGEST_WAIT))
            }
        }
    }

    fn is_forgotten(self, now: Monotonic) -> bool {
        now.since(self.last_at) >= FORGET_AFTER
    }
}

/// Remembers failed logins in memory.
#[derive(Debug, Default)]
pub struct LoginGuard {
    failures: HashMap<String, Failures>,
}

impl LoginGuard {
    /// A guard that remembers nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a login of this name may be tried now.
    ///
    /// # Errors
    /// It has to wait.
    pub fn check(&self, name: &str, now: Monotonic) -> Result<(), TooManyAttempts> {
        let wait = self.failures.get(name).map_or(Duration::ZERO, |f| f.open_at().since(now));
        if wait.is_zero() { Ok(()) } else { Err(TooManyAttempts { wait }) }
    }

    /// A login of this name failed.
    pub fn failed(&mut self, name: &str, now: Monotonic) {
        if !self.failures.contains_key(name) {
            self.make_room(now);
        }
        let entry = self.failures.entry(name.to_owned()).or_insert(Failures { count: 0, last_at: now });
        let count = if entry.is_forgotten(now) { 0 } else { entry.count };
        *entry = Failures { count: count.saturating_add(1), last_at: now };
    }

    /// A login of this name succeeded.
    pub fn succeeded(&mut self, name: &str) {
        self.failures.remove(name);
    }

    fn make_room(&mut self, now: Monotonic) {
        if self.failures.len() < NAMES_MAX {
            return;
        }
        self.failures.retain(|_, f| !f.is_forgotten(now));
        while self.failures.len() >= NAMES_MAX {
            let weakest =
                self.failures.iter().min_by_key(|(_, f)| (f.count, f.last_at)).map(|(n, _)| n.clone());
            let Some(weakest) = weakest else { return };
            self.failures.remove(&weakest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Monotonic {
        Monotonic::from_micros(seconds * 1_000_000)
    }

    fn fail_times(guard: &mut LoginGuard, name: &str, times: u32, now: Monotonic) {
        for _ in 0..times {
            guard.failed(name, now);
        }
    }

    #[test]
    fn a_few_mistypes_cost_nothing_and_then_each_failure_doubles_the_wait() {
        let mut guard = LoginGuard::new();
        fail_times(&mut guard, "anna", 4, at(0));
        assert_eq!(guard.check("anna", at(0)), Ok(()));
        for wait in [2, 4, 8] {
            guard.failed("anna", at(0));
            assert_eq!(guard.check("anna", at(0)), Err(TooManyAttempts { wait: Duration::from_secs(wait) }));
            assert_eq!(guard.check("anna", at(wait)), Ok(()));
        }
    }

    #[test]
    fn the_wait_has_an_upper_bound_whatever_the_number_of_failures() {
        let mut guard = LoginGuard::new();
        fail_times(&mut guard, "anna", 1_000, at(0));
        assert_eq!(guard.check("anna", at(0)), Err(TooManyAttempts { wait: LONGEST_WAIT }));
        assert_eq!(guard.check("anna", at(300)), Ok(()));
    }

    #[test]
    fn a_success_or_half_an_hour_begins_anew_and_other_names_are_not_touched() {
        let mut guard = LoginGuard::new();
        fail_times(&mut guard, "anna", 6, at(0));
        assert_eq!(guard.check("bert", at(0)), Ok(()));
        fail_times(&mut guard, "anna", 1, at(1800));
        assert_eq!(guard.check("anna", at(1800)), Ok(()), "forgotten: this counts as the first");
        fail_times(&mut guard, "anna", 6, at(1801));
        guard.succeeded("anna");
        assert_eq!(guard.check("anna", at(1801)), Ok(()));
    }

    #[test]
    fn a_flood_of_names_neither_grows_the_memory_nor_frees_the_locked_one() {
        let mut guard = LoginGuard::new();
        fail_times(&mut guard, "anna", 20, at(0));
        for n in 0..NAMES_MAX + 5 {
            guard.failed(&format!("name-{n}"), at(1));
        }
        assert!(guard.failures.len() <= NAMES_MAX);
        assert!(guard.check("anna", at(2)).is_err());
    }
}
