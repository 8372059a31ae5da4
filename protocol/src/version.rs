//! The version of an agent, as a command and a rollout name it (SPEC sections 10 and 14).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest version, in characters: any of Debian's, SemVer's or a build's.
const CHARS_MAX: usize = 64;

/// The version of an agent: 1 to 64 characters `A-Z a-z 0-9 . + ~ -`, the first a letter or a digit, so that a
/// program takes it for no option and a file system for no path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentVersion(String);

/// A text is no version of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no version: 1 to {CHARS_MAX} characters A-Z a-z 0-9 . + ~ - are allowed, a letter or digit first"
)]
pub struct VersionError {
    text: String,
}

impl AgentVersion {
    /// Checks a text.
    ///
    /// # Errors
    /// It is no version.
    pub fn new(text: &str) -> Result<Self, VersionError> {
        let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '~' | '-');
        let is_right = text.len() <= CHARS_MAX
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(is_inner);
        if is_right {
            return Ok(Self(text.to_owned()));
        }
        Err(VersionError { text: text.chars().take(80).collect() })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgentVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for AgentVersion {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<AgentVersion> for String {
    fn from(version: AgentVersion) -> Self {
        version.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_word_that_no_program_takes_for_an_option_or_a_path() {
        for right in
            ["0.1.0", "2:1".replace(':', "~").as_str(), "1.2.3-rc.1+build-7~deb12", "v2", &"9".repeat(64)]
        {
            assert_eq!(AgentVersion::new(right).map(|v| v.to_string()), Ok(right.to_owned()));
        }
        for wrong in ["", "-rf", ".1", "1/2", "1 2", "1;2", "1\n", "é", &"9".repeat(65)] {
            let error = AgentVersion::new(wrong).expect_err(wrong);
            assert!(error.to_string().contains("are allowed"), "{error}");
        }
    }
}
