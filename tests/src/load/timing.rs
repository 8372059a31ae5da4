//! Whether requests came when they were due, from their instants at the server alone.

use std::collections::{BTreeMap, BTreeSet};

use super::server::Arrival;

/// How well a schedule was kept.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    /// Instants at which a request was due.
    pub due: usize,
    /// Those at which one came.
    pub done: usize,
    /// How far each was from its instant, in microseconds, ascending.
    off_us: Vec<i64>,
}

impl Kept {
    /// Share of the due requests that came, in percent.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    pub fn percent(&self) -> f64 {
        100.0 * self.done as f64 / self.due.max(1) as f64
    }

    /// The deviation that this share (0 to 1) of all requests stays below, in milliseconds.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a position in a list, and times far below 2^53"
    )]
    pub fn off_ms(&self, share: f64) -> f64 {
        let last = self.off_us.len().saturating_sub(1);
        let index = ((last as f64) * share).ceil() as usize;
        self.off_us.get(index.min(last)).map_or(f64::NAN, |us| *us as f64 / 1e3)
    }

    /// Adds another schedule.
    pub fn add(&mut self, other: &Self) {
        self.due += other.due;
        self.done += other.done;
        self.off_us.extend_from_slice(&other.off_us);
        self.off_us.sort_unstable();
    }
}

/// Judges every series (unit and first register) of a listener: each is due every `period_us` from
/// a phase of its own, within `[from_us, to_us)`. `series` says how many there must be: one of which
/// nothing came is missed whole.
#[must_use]
pub fn judge(arrivals: &[Arrival], series: usize, period_us: i64, from_us: i64, to_us: i64) -> Kept {
    let mut each: BTreeMap<(u8, u16), Vec<i64>> = BTreeMap::new();
    for (unit, start, at) in arrivals.iter().filter(|(_, _, at)| (from_us..to_us).contains(at)) {
        each.entry((*unit, *start)).or_default().push(*at);
    }
    let missing = series.saturating_sub(each.len());
    let in_window = usize::try_from((to_us - from_us) / period_us).unwrap_or_default();
    let mut kept = Kept { due: missing * in_window, ..Kept::default() };
    for instants in each.values() {
        kept.add(&judge_one(instants, period_us, from_us, to_us));
    }
    kept
}

/// The phase is the median of all phases, so that a schedule that drifts is off and misses instants.
fn judge_one(instants: &[i64], period_us: i64, from_us: i64, to_us: i64) -> Kept {
    let first = instants[0];
    let half = period_us / 2;
    let phase_of = |at: i64| (at - first + half).rem_euclid(period_us) - half;
    let mut phases: Vec<i64> = instants.iter().map(|at| phase_of(*at)).collect();
    phases.sort_unstable();
    let phase = first + phases[phases.len() / 2];
    let slot = |at: i64| (at - phase + half).div_euclid(period_us);
    let hit: BTreeSet<i64> = instants.iter().map(|at| slot(*at)).collect();
    // Instants close to the ends of the window may lie on either side of them.
    let (first_slot, end_slot) = (slot(from_us) + 1, slot(to_us));
    let mut off_us: Vec<i64> = instants.iter().map(|at| (at - phase - slot(*at) * period_us).abs()).collect();
    off_us.sort_unstable();
    Kept {
        due: usize::try_from(end_slot - first_slot).unwrap_or_default(),
        done: hit.range(first_slot..end_slot).count(),
        off_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(period: i64, count: i64, late: impl Fn(i64) -> i64) -> Vec<Arrival> {
        (0..count).map(|n| (1, 0, 1_000_000 + n * period + late(n))).collect()
    }

    #[test]
    fn a_schedule_that_is_kept_has_no_misses_and_its_deviation() {
        let arrivals = every(1_000, 100, |n| if n == 50 { 300 } else { 0 });
        let kept = judge(&arrivals, 1, 1_000, 1_000_500, 1_090_500);
        assert_eq!((kept.due, kept.done), (89, 89), "the one at the edge is left out");
        assert!((kept.off_ms(1.0) - 0.3).abs() < 1e-9 && kept.off_ms(0.5).abs() < 1e-9);
    }

    #[test]
    fn a_request_that_did_not_come_and_a_series_that_never_began_are_missed() {
        let mut arrivals = every(1_000, 100, |_| 0);
        arrivals.remove(20);
        let kept = judge(&arrivals, 2, 1_000, 1_000_500, 1_090_500);
        assert_eq!((kept.due, kept.done), (90 + 89, 88));
    }

    #[test]
    fn a_drifting_schedule_misses_instants_and_is_off() {
        let kept = judge(&every(1_030, 100, |_| 0), 1, 1_000, 1_000_500, 1_090_500);
        assert!(kept.done < kept.due && kept.off_ms(0.99) > 0.4, "{kept:?}");
    }
}
