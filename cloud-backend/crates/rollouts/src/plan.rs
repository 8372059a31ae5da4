//! What a person wants: which version, in which waves, and how healthy a wave must be.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use plant_model::Timestamp;
use protocol::{AgentVersion, UpdateChannel};
use thiserror::Error;

/// Most waves: a rollout that needs more is two.
const WAVES_MAX: usize = 16;
/// Longest time of a gate: what lies further ahead is forgotten by everyone.
const TIME_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What a rollout is to do. It never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The version of the agent.
    pub version: AgentVersion,
    /// Where it comes from.
    pub channel: UpdateChannel,
    /// How many gateways at a time.
    pub waves: Waves,
    /// When a wave has done well.
    pub gate: Gate,
    /// Who wants it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// When it was begun.
    pub created_at: Timestamp,
}

/// A part of the gateways of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// So many.
    Count(u32),
    /// So many of a hundred, rounded up.
    Percent(u8),
}

/// How many gateways have been told at the end of each wave; the last wave is everyone.
///
/// Written `1,10%,50%,100%`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waves(Vec<Share>);

/// A text is no list of waves.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} are no waves: write up to {WAVES_MAX} counts or percentages that grow, with 100% at the end, for example 1,10%,50%,100%"
)]
pub struct WavesError {
    text: String,
}

impl Waves {
    /// How many of `count` gateways have been told at the end of each wave. A wave that would add nobody is left out.
    #[must_use]
    pub fn sizes(&self, count: usize) -> Vec<usize> {
        let mut sizes = Vec::new();
        for share in &self.0 {
            let size = match *share {
                Share::Count(number) => usize::try_from(number).unwrap_or(usize::MAX).min(count),
                Share::Percent(percent) => count.saturating_mul(percent.into()).div_ceil(100),
            };
            if size > sizes.last().copied().unwrap_or(0) {
                sizes.push(size);
            }
        }
        sizes
    }
}

impl Default for Waves {
    /// One gateway, a tenth, half, all.
    fn default() -> Self {
        Self(vec![Share::Count(1), Share::Percent(10), Share::Percent(50), Share::Percent(100)])
    }
}

impl FromStr for Waves {
    type Err = WavesError;

    fn from_str(text: &str) -> Result<Self, WavesError> {
        let wrong = || WavesError { text: text.chars().take(80).collect() };
        let shares: Option<Vec<Share>> = text.split(',').take(WAVES_MAX + 1).map(share).collect();
        let shares = shares.filter(|shares| shares.len() <= WAVES_MAX).ok_or_else(wrong)?;
        let grows = shares.windows(2).all(|pair| match *pair {
            [Share::Count(one), Share::Count(next)] => one < next,
            [Share::Percent(one), Share::Percent(next)] => one < next,
            // A count and a percentage compare only once it is known of how many.
            _ => true,
        });
        let ends = shares.last() == Some(&Share::Percent(100));
        if grows && ends { Ok(Self(shares)) } else { Err(wrong()) }
    }
}

fn share(text: &str) -> Option<Share> {
    let text = text.trim();
    match text.strip_suffix('%') {
        Some(percent) => percent.parse().ok().filter(|p| (1..=100).contains(p)).map(Share::Percent),
        None => text.parse().ok().filter(|count| *count > 0).map(Share::Count),
    }
}

impl fmt::Display for Waves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, share) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            match share {
                Share::Count(count) => write!(f, "{count}")?,
                Share::Percent(percent) => write!(f, "{percent}%")?,
            }
        }
        Ok(())
    }
}

/// When a wave has done well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    soak: Duration,
    max_failures: u32,
    offline_wait: Duration,
    patience: Duration,
}

/// A time of a gate cannot be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} is {found:?}; {least:?} to {TIME_MAX:?} are allowed")]
pub struct GateError {
    /// Which.
    pub what: &'static str,
    /// What it is.
    pub found: Duration,
    /// What it must be at least.
    pub least: Duration,
}

impl Gate {
    /// - `soak`: how long a gateway must be connected and well with the new version before it counts;
    /// - `max_failures`: failures that pause nothing;
    /// - `offline_wait`: how long a gateway that is not connected is waited for;
    /// - `patience`: how long one that is connected may take.
    ///
    /// # Errors
    /// A time is longer than 30 days, or one of the last two below a second.
    pub fn new(
        soak: Duration,
        max_failures: u32,
        offline_wait: Duration,
        patience: Duration,
    ) -> Result<Self, GateError> {
        let least = Duration::from_secs(1);
        let checked = [
            ("the soak", soak, Duration::ZERO),
            ("the wait for gateways that are offline", offline_wait, least),
            ("the patience", patience, least),
        ];
        for (what, found, least) in checked {
            if found < least || found > TIME_MAX {
                return Err(GateError { what, found, least });
            }
        }
        Ok(Self { soak, max_failures, offline_wait, patience })
    }

    /// How long a gateway must be connected and well with the new version before it counts.
    #[must_use]
    pub const fn soak(&self) -> Duration {
        self.soak
    }

    /// Failures that pause nothing.
    #[must_use]
    pub const fn max_failures(&self) -> u32 {
        self.max_failures
    }

    /// How long a gateway that is not connected is waited for.
    #[must_use]
    pub const fn offline_wait(&self) -> Duration {
        self.offline_wait
    }

    /// How long a gateway that is connected may take; a maintenance window may be a day away.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.patience
    }
}

impl Default for Gate {
    /// An hour well, no failure, an hour for who is offline, a day for who is not.
    fn default() -> Self {
        let hour = Duration::from_secs(3_600);
        Self { soak: hour, max_failures: 0, offline_wait: hour, patience: 24 * hour }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waves_are_counts_or_percentages_that_grow_to_everyone() {
        for right in ["100%", "1,10%,50%,100%", "1,5,20,100%", "1%,100%"] {
            assert_eq!(right.parse::<Waves>().map(|waves| waves.to_string()).as_deref(), Ok(right));
        }
        assert_eq!("1, 100%".parse::<Waves>().map(|waves| waves.to_string()).as_deref(), Ok("1,100%"));
        let many = "1,".repeat(16) + "100%";
        for wrong in
            ["", "1", "50%", "0,100%", "101%", "5,1,100%", "50%,10%,100%", "x,100%", "-1,100%", &many]
        {
            let error = wrong.parse::<Waves>().expect_err(wrong);
            assert!(error.to_string().contains("1,10%,50%,100%"), "{error}");
        }
    }

    #[test]
    fn a_wave_adds_somebody_and_the_last_one_is_everyone() {
        let sizes = |waves: &str, count| waves.parse::<Waves>().expect("waves").sizes(count);
        assert_eq!(Waves::default().sizes(200), [1, 20, 100, 200]);
        assert_eq!(Waves::default().sizes(3), [1, 2, 3]);
        assert_eq!(Waves::default().sizes(1), [1]);
        assert_eq!(sizes("5,10%,100%", 20), [5, 20]);
        assert_eq!(sizes("100%", 0), [0_usize; 0]);
        assert_eq!(sizes("33%,100%", 10), [4, 10]);
    }

    #[test]
    fn a_time_of_a_gate_has_an_end() {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3_600));
        assert!(Gate::new(Duration::ZERO, 3, second, second).is_ok());
        for (soak, wait, patience) in [(31 * day, day, day), (day, Duration::ZERO, day), (day, day, 31 * day)]
        {
            let error = Gate::new(soak, 0, wait, patience).expect_err("too long or none");
            assert!(error.to_string().contains("are allowed"), "{error}");
        }
    }
}
