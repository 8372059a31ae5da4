//! The policy as a document, TOML or JSON of the same shape.
//!
//! ```toml
//! version = 1
//! archive_after = "6h"     # after the end of the day (UTC)
//! alarm_journal = "10y"
//!
//! [keep]                   # all classes
//! samples = "30d"
//! minutes = "2y"
//! hours = "10y"
//! archive = "10y"
//!
//! [keep.state]             # what is different for one: analog, counter or state
//! archive = "none"
//! ```
//!
//! Everything but `version` may be left out. Unknown keys are refused, and all mistakes are told at once.

use std::fmt;
use std::time::Duration;

use segments::TagKind;
use serde_json::{Map, Value, json};

use super::{ARCHIVE_AFTER_MAX, DAY, Keep, PERIOD_MAX, Policy, SAMPLES_MIN, YEAR};

/// Longest document: some hundred times what one needs.
const DOCUMENT_BYTES_MAX: usize = 64 << 10;

const HOUR: Duration = Duration::from_secs(3_600);

/// The shortest time for the journal of alarms: what a month's report looks back on.
const JOURNAL_MIN: Duration = Duration::from_secs(31 * 86_400);

/// Everything that is wrong with a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyMistakes(pub Vec<String>);

impl fmt::Display for PolicyMistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the policy is not in order: {}", self.0.join("; "))
    }
}

impl std::error::Error for PolicyMistakes {}

impl Policy {
    /// Reads a policy in TOML.
    ///
    /// # Errors
    /// All mistakes.
    pub fn from_toml(text: &str) -> Result<Self, PolicyMistakes> {
        check_length(text)?;
        let parsed: Result<Value, _> = toml::from_str(text);
        Self::from_value(&parsed.map_err(|e| PolicyMistakes(vec![e.to_string().trim_end().to_owned()]))?)
    }

    /// Reads a policy in JSON.
    ///
    /// # Errors
    /// All mistakes.
    pub fn from_json(text: &str) -> Result<Self, PolicyMistakes> {
        check_length(text)?;
        let parsed: Result<Value, _> = serde_json::from_str(text);
        Self::from_value(&parsed.map_err(|e| PolicyMistakes(vec![format!("it is no JSON: {e}")]))?)
    }

    /// Reads a policy from a value of the shape above.
    ///
    /// # Errors
    /// All mistakes.
    pub fn from_value(value: &Value) -> Result<Self, PolicyMistakes> {
        let mut reader = Reader::default();
        let policy = reader.policy(value);
        if reader.mistakes.is_empty() {
            reader.mistakes = policy.mistakes();
        }
        if reader.mistakes.is_empty() { Ok(policy) } else { Err(PolicyMistakes(reader.mistakes)) }
    }

    /// The policy with everything in it, as [`Self::from_value`] reads it.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let keep = TagKind::ALL.map(|class| {
            let keep = self.keep(class);
            let times = json!({
                "samples": period_text(keep.samples),
                "minutes": period_text(keep.minutes),
                "hours": period_text(keep.hours),
                "archive": keep.archive.map_or_else(|| "none".to_owned(), period_text),
            });
            (Self::class_name(class).to_owned(), times)
        });
        json!({
            "version": 1,
            "archive_after": period_text(self.archive_after),
            "alarm_journal": period_text(self.alarm_journal),
            "keep": Map::from_iter(keep),
        })
    }

    /// What contradicts itself or a limit.
    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut range = |name: &str, period: Duration, least: Duration, most: Duration| {
            if period < least || period > most {
                let [is, least, most] = [period, least, most].map(period_text);
                mistakes.push(format!("{name} is {is}; it must lie between {least} and {most}"));
            }
        };
        range("archive_after", self.archive_after, HOUR, ARCHIVE_AFTER_MAX);
        range("alarm_journal", self.alarm_journal, JOURNAL_MIN, PERIOD_MAX);
        for class in TagKind::ALL {
            let (keep, name) = (self.keep(class), Self::class_name(class));
            range(&format!("samples of {name}"), keep.samples, SAMPLES_MIN, PERIOD_MAX);
            range(&format!("minutes of {name}"), keep.minutes, keep.samples, PERIOD_MAX);
            range(&format!("hours of {name}"), keep.hours, keep.minutes, PERIOD_MAX);
            if let Some(archive) = keep.archive {
                range(&format!("archive of {name}"), archive, keep.samples, PERIOD_MAX);
            }
        }
        if !TagKind::ALL.into_iter().any(|class| self.archives(class)) {
            mistakes.push(
                "no class is archived, and samples leave the store only when an object holds them; give at least one \
                 class an archive"
                    .to_owned(),
            );
        }
        mistakes
    }
}

fn check_length(text: &str) -> Result<(), PolicyMistakes> {
    if text.len() <= DOCUMENT_BYTES_MAX {
        return Ok(());
    }
    Err(PolicyMistakes(vec![format!("it has {} bytes; at most {DOCUMENT_BYTES_MAX} are read", text.len())]))
}

/// Collects mistakes on its way through a document.
#[derive(Default)]
struct Reader {
    mistakes: Vec<String>,
}

impl Reader {
    fn policy(&mut self, value: &Value) -> Policy {
        let mut policy = Policy::default();
        let Some(table) = self.table("the policy", value) else { return policy };
        self.only(table, "", &["version", "archive_after", "alarm_journal", "keep"]);
        match table.get("version") {
            Some(Value::Number(number)) if number.as_u64() == Some(1) => {}
            Some(other) => self.mistakes.push(format!("version is {other}; this program reads version 1")),
            None => self.mistakes.push("version is missing; write version = 1".to_owned()),
        }
        self.period(table, "", "archive_after", &mut policy.archive_after);
        self.period(table, "", "alarm_journal", &mut policy.alarm_journal);
        if let Some(keep) = table.get("keep").and_then(|keep| self.table("keep", keep)) {
            self.keep(keep, &mut policy);
        }
        policy
    }

    fn keep(&mut self, table: &Map<String, Value>, policy: &mut Policy) {
        let names = TagKind::ALL.map(Policy::class_name);
        let times = ["samples", "minutes", "hours", "archive"];
        self.only(table, "keep.", &[times.as_slice(), names.as_slice()].concat());
        let all = self.times(table, "keep.", Keep::DEFAULT);
        for class in TagKind::ALL {
            let name = Policy::class_name(class);
            let path = format!("keep.{name}");
            let own = table.get(name).and_then(|own| self.table(&path, own));
            let keep = own.map_or(all, |own| {
                self.only(own, &format!("{path}."), &times);
                self.times(own, &format!("{path}."), all)
            });
            *policy = policy.clone().with(class, keep);
        }
    }

    fn times(&mut self, table: &Map<String, Value>, path: &str, mut keep: Keep) -> Keep {
        self.period(table, path, "samples", &mut keep.samples);
        self.period(table, path, "minutes", &mut keep.minutes);
        self.period(table, path, "hours", &mut keep.hours);
        if table.get("archive").and_then(Value::as_str) == Some("none") {
            keep.archive = None;
        } else if table.contains_key("archive") {
            let mut archive = keep.archive.unwrap_or_default();
            self.period(table, path, "archive", &mut archive);
            keep.archive = Some(archive);
        }
        keep
    }

    fn table<'v>(&mut self, name: &str, value: &'v Value) -> Option<&'v Map<String, Value>> {
        let table = value.as_object();
        if table.is_none() {
            self.mistakes.push(format!("{name} is {value}; it must be a table"));
        }
        table
    }

    fn only(&mut self, table: &Map<String, Value>, path: &str, allowed: &[&str]) {
        for key in table.keys().filter(|key| !allowed.contains(&key.as_str())) {
            self.mistakes.push(format!("{path}{key} is not known; there are {}", allowed.join(", ")));
        }
    }

    fn period(&mut self, table: &Map<String, Value>, path: &str, key: &str, into: &mut Duration) {
        let Some(value) = table.get(key) else { return };
        match value.as_str().and_then(parse_period) {
            Some(period) => *into = period,
            None => self.mistakes.push(format!(
                "{path}{key} is {value}; write a number and h, d or y (of 365 days) as a text, for example \"30d\""
            )),
        }
    }
}

/// A whole number and its unit.
fn parse_period(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        'h' => HOUR,
        'd' => DAY,
        'y' => YEAR,
        _ => return None,
    };
    let number = &text[..text.len() - 1];
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    number.parse().ok().and_then(|number: u32| unit.checked_mul(number))
}

/// The inverse, in the largest unit that fits.
pub(crate) fn period_text(period: Duration) -> String {
    let seconds = period.as_secs();
    let fitting = [(YEAR, 'y'), (DAY, 'd')]
        .into_iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(unit.as_secs()));
    let (unit, letter) = fitting.unwrap_or((HOUR, 'h'));
    format!("{}{letter}", seconds / unit.as_secs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_document_says_only_what_is_different() {
        assert_eq!(Policy::from_toml("version = 1"), Ok(Policy::default()));
        let text = "version = 1\narchive_after = \"12h\"\n[keep]\nsamples = \"60d\"\n[keep.state]\narchive = \"none\"";
        let policy = Policy::from_toml(text).expect("in order");
        assert_eq!(policy.archive_after, 12 * HOUR);
        let analog = policy.keep(TagKind::Analog);
        assert_eq!((analog.samples, analog.archive), (60 * DAY, Some(10 * YEAR)));
        let state = policy.keep(TagKind::State);
        assert_eq!((state.samples, state.archive), (60 * DAY, None));
        let json =
            r#"{"version":1,"archive_after":"12h","keep":{"samples":"60d","state":{"archive":"none"}}}"#;
        assert_eq!(Policy::from_json(json), Ok(policy));
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = "archive_after = 6\ncolour = 1\n[keep]\nsamples = \"30 d\"\n[keep.enum]\nx = 1\n[keep.state]\nyears = \"1y\"";
        let told = Policy::from_toml(text).expect_err("wrong");
        for part in [
            "version is missing",
            "archive_after is 6; write a number and h, d or y",
            "colour is not known; there are version",
            "keep.samples is \"30 d\"",
            "keep.enum is not known",
            "keep.state.years is not known",
        ] {
            assert_eq!(told.0.iter().filter(|told| told.starts_with(part)).count(), 1, "{part}: {told}");
        }
        assert_eq!(told.0.len(), 6, "{told}");
    }

    #[test]
    fn periods_that_contradict_each_other_are_refused() {
        let told =
            |text: &str| Policy::from_toml(&format!("version = 1\n{text}")).expect_err("wrong").to_string();
        assert!(
            told("archive_after = \"2d\"").contains("archive_after is 2d; it must lie between 1h and 1d")
        );
        assert!(
            told("keep.samples = \"1d\"")
                .contains("samples of analog is 1d; it must lie between 2d and 100y")
        );
        assert!(told("keep.minutes = \"20d\"").contains("minutes of state is 20d; it must lie between 30d"));
        assert!(
            told("keep.counter.hours = \"1y\"").contains("hours of counter is 1y; it must lie between 2y")
        );
        assert!(told("keep.archive = \"29d\"").contains("archive of analog is 29d; it must lie between 30d"));
        assert!(told("keep.archive = \"none\"").contains("no class is archived"));
        assert!(told("alarm_journal = \"30d\"").contains("between 31d"));
    }

    #[test]
    fn what_is_no_document_is_refused_with_the_place() {
        assert!(Policy::from_toml("version = ").is_err_and(|told| told.to_string().contains("line 1")));
        assert!(Policy::from_json("[1]").is_err_and(|told| told.to_string().contains("must be a table")));
        let long = format!("version = 1\n#{}", "x".repeat(DOCUMENT_BYTES_MAX));
        assert!(Policy::from_toml(&long).is_err_and(|told| told.to_string().contains("65536")));
    }

    proptest! {
        #[test]
        fn a_policy_comes_back_from_its_document(days in 2_u32..400, more in 0_u32..400, hours in 1_u32..25, out in 0_u8..3) {
            let samples = days * DAY;
            let keep = Keep { samples, minutes: samples + more * DAY, hours: 50 * YEAR, archive: Some(samples) };
            let mut policy = Policy { archive_after: hours * HOUR, ..Policy::default() }.with(TagKind::Counter, keep);
            if let Some(class) = TagKind::from_code(out) {
                policy = policy.clone().with(class, Keep { archive: None, ..policy.keep(class) });
            }
            prop_assert_eq!(Policy::from_value(&policy.to_value()), Ok(policy.clone()));
            prop_assert_eq!(Policy::from_json(&policy.to_value().to_string()), Ok(policy));
        }
    }
}
