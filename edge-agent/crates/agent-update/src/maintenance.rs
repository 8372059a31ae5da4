//! When updates may begin: a stretch of the day, in the time of the plant.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const HOUR: u16 = 60;
const DAY: u16 = 24 * HOUR;

/// A stretch of each day, `HH:MM-HH:MM`, its end left out; it may go over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maintenance {
    from: u16,
    until: u16,
}

/// A text is no stretch of a day.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("two different times of the day are needed, HH:MM-HH:MM, for example 22:00-05:00")]
pub struct MaintenanceError;

impl Maintenance {
    /// Whether this minute of the day is in it.
    #[must_use]
    pub const fn contains(self, minute: u16) -> bool {
        if self.from < self.until {
            self.from <= minute && minute < self.until
        } else {
            self.from <= minute || minute < self.until
        }
    }
}

impl FromStr for Maintenance {
    type Err = MaintenanceError;

    fn from_str(text: &str) -> Result<Self, MaintenanceError> {
        let read = || {
            let (from, until) = text.split_once('-')?;
            Some(Self { from: minute_of(from)?, until: minute_of(until)? })
        };
        read().filter(|both| both.from != both.until).ok_or(MaintenanceError)
    }
}

impl fmt::Display for Maintenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, until } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / HOUR, from % HOUR, until / HOUR, until % HOUR)
    }
}

fn minute_of(text: &str) -> Option<u16> {
    let number = |text: &str| {
        let is_plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| text.parse::<u16>().ok())?
    };
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < HOUR && hours * HOUR + minutes < DAY).then_some(hours * HOUR + minutes)
}
