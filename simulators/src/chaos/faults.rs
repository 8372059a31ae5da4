//! What a link does to connections and bytes, as written in commands and in JSON.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Longest delay and jitter: a minute is longer than any sane time-out.
const DELAY_MS_MAX: u32 = 60_000;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// They are accepted.
    #[default]
    Accept,
    /// Open ones are reset; the kernel refuses new ones. The port stays reserved.
    Refuse,
    /// Open ones are reset; new ones are accepted and reset at their first byte.
    Reset,
}

/// Whether bytes pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// They pass.
    #[default]
    Forward,
    /// They are held back and pass later; the sender feels it once all buffers are full.
    Pause,
    /// They are swallowed, and so is the end of the connection. What was swallowed is gone: the direction stays dead
    /// afterwards, until the connection is closed by its peers or cut.
    Hole,
}

/// One direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Way {
    /// Whether bytes pass.
    pub flow: Flow,
    /// Every byte arrives this much later, at most 60,000 ms.
    pub delay_ms: u32,
    /// Up to this much is added to the delay by chance, at most 60,000 ms; bytes keep their order.
    pub jitter_ms: u32,
    /// At most so many bytes a second pass; 0 is without a limit.
    pub bytes_per_s: u32,
    /// One bit of every so many bytes is flipped; 0 is none.
    pub flip_every: u32,
}

/// Everything a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// What happens to connections.
    pub arrivals: Arrivals,
    /// From the client to the server.
    pub up: Way,
    /// From the server to the client.
    pub down: Way,
}

impl Faults {
    /// The same in both directions.
    pub fn both(way: Way) -> Self {
        Self { up: way, down: way, ..Self::default() }
    }

    /// Nothing passes in either direction, until later.
    pub fn pause() -> Self {
        Self::both(Way { flow: Flow::Pause, ..Way::default() })
    }

    /// Connections are accepted, bytes and ends swallowed.
    pub fn hole() -> Self {
        Self::both(Way { flow: Flow::Hole, ..Way::default() })
    }

    /// Open connections are reset, new ones refused.
    pub fn refuse() -> Self {
        Self { arrivals: Arrivals::Refuse, ..Self::default() }
    }

    /// Open connections are reset, new ones too, at their first byte.
    pub fn reset() -> Self {
        Self { arrivals: Arrivals::Reset, ..Self::default() }
    }

    /// The link with numbers in their range.
    ///
    /// # Errors
    /// A delay or jitter is longer than a minute.
    pub fn checked(self) -> Result<Self, BadWay> {
        self.up.checked()?;
        self.down.checked()?;
        Ok(self)
    }
}

/// A direction that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadWay {
    /// A word is none of those that are known.
    #[error(
        "{0:?}: known are pause, hole, delay=MS, jitter=MS, rate=BYTES_PER_S and flip=EVERY_N_BYTES, with commas between"
    )]
    Word(String),
    /// A number is out of range.
    #[error("{word} = {value}: allowed are {allowed}")]
    Number {
        /// What it belongs to.
        word: &'static str,
        /// As it was written.
        value: String,
        /// What is allowed.
        allowed: String,
    },
}

impl Way {
    fn checked(self) -> Result<Self, BadWay> {
        for (word, value) in [("delay", self.delay_ms), ("jitter", self.jitter_ms)] {
            if value > DELAY_MS_MAX {
                let allowed = format!("0 to {DELAY_MS_MAX} ms");
                return Err(BadWay::Number { word, value: value.to_string(), allowed });
            }
        }
        Ok(self)
    }

    fn set(&mut self, part: &str) -> Result<(), BadWay> {
        match part.split_once('=') {
            None if part == "pause" => self.flow = Flow::Pause,
            None if part == "hole" => self.flow = Flow::Hole,
            Some(("delay", value)) => self.delay_ms = number("delay", value)?,
            Some(("jitter", value)) => self.jitter_ms = number("jitter", value)?,
            Some(("rate", value)) => self.bytes_per_s = number("rate", value)?,
            Some(("flip", value)) => self.flip_every = number("flip", value)?,
            None | Some(_) => return Err(BadWay::Word(part.to_owned())),
        }
        Ok(())
    }
}

fn number(word: &'static str, value: &str) -> Result<u32, BadWay> {
    value.parse().map_err(|_| BadWay::Number {
        word,
        value: value.to_owned(),
        allowed: format!("whole numbers from 0 to {}", u32::MAX),
    })
}

/// `pause`, `hole`, `delay=200,jitter=50,rate=32000,flip=4096`: any of them, with commas between.
impl FromStr for Way {
    type Err = BadWay;

    fn from_str(text: &str) -> Result<Self, BadWay> {
        let mut way = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            way.set(part)?;
        }
        way.checked()
    }
}

/// As [`FromStr`] reads it; nothing for a direction without faults.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flow = match self.flow {
            Flow::Forward => None,
            Flow::Pause => Some("pause".to_owned()),
            Flow::Hole => Some("hole".to_owned()),
        };
        let numbers = [
            ("delay", self.delay_ms),
            ("jitter", self.jitter_ms),
            ("rate", self.bytes_per_s),
            ("flip", self.flip_every),
        ];
        let numbers = numbers
            .into_iter()
            .filter(|(_, value)| *value > 0)
            .map(|(word, value)| format!("{word}={value}"));
        f.write_str(&flow.into_iter().chain(numbers).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_is_read_as_it_is_written() {
        let text = "pause,delay=200,jitter=50,rate=32000,flip=4096";
        let way: Way = text.parse().unwrap();
        assert_eq!(
            way,
            Way { flow: Flow::Pause, delay_ms: 200, jitter_ms: 50, bytes_per_s: 32_000, flip_every: 4096 }
        );
        assert_eq!(way.to_string(), text);
        assert_eq!("".parse::<Way>().unwrap(), Way::default());
    }

    #[test]
    fn mistakes_name_the_word_the_value_and_what_is_allowed() {
        for (text, hint) in [
            ("slow", "known are pause, hole, delay=MS"),
            ("delay=60001", "delay = 60001: allowed are 0 to 60000 ms"),
            ("rate=fast", "rate = fast: allowed are whole numbers"),
            ("hole=1", "\"hole=1\""),
        ] {
            let error = text.parse::<Way>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn what_json_leaves_out_is_without_a_fault() {
        let faults: Faults = serde_json::from_str(r#"{"down":{"flow":"hole"}}"#).unwrap();
        assert_eq!(faults, Faults { down: Way { flow: Flow::Hole, ..Way::default() }, ..Faults::default() });
        assert!(serde_json::from_str::<Faults>(r#"{"down":{"flaw":"hole"}}"#).is_err());
    }
}
