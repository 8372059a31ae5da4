//! Configuration of a gateway from the cloud (SPEC section 13): the machine files of one version, what is
//! signed of them, and what the gateway says about it.
//!
//! The files are those of `machines.d/`, texts as they are. What connects the gateway to the cloud is not
//! among them, so that no configuration from the cloud can cut a gateway off.

mod report;
mod signed;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use plant_model::{GatewayId, IdError, TenantId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub(crate) use report::clip;
pub use report::{ConfigurationReport, ConfigurationState, DriftChange, DriftedFile};
pub use signed::{Configuration, SignedConfiguration};

use crate::limits::{
    CONFIGURATION_BYTES_MAX, CONFIGURATION_FILES_MAX, CONFIGURATION_NAME_BYTES_MAX, REPORT_DETAIL_BYTES_MAX,
    REPORT_NAME_BYTES_MAX, SIGNER_CHAIN_BYTES_MAX,
};

/// Where a gateway gets its [`SignedConfiguration`]; the ETag is `"VERSION"`.
pub const CONFIGURATION_PATH: &str = "/gateway/v1/configuration";
/// Where a gateway puts its [`ConfigurationReport`].
pub const REPORT_PATH: &str = "/gateway/v1/report";
/// The URI in the subject alternative names of the certificate that signs configurations.
pub const CONFIGURATION_SIGNER_URI: &str = "urn:mfp:configuration";

/// The ending of a machine file.
const ENDING: &str = ".toml";

/// The number of a configuration of one gateway: 1, 2, 3 …; going back takes a new number.
pub type ConfigurationVersion = std::num::NonZeroU32;

/// Why something is no configuration, or no report of one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigurationError {
    /// A name that no machine file has.
    #[error(
        "{found:?} is no name of a machine file: 1 to 64 characters a-z 0-9 . _ - with a letter or digit first, then .toml"
    )]
    Name {
        /// What came instead.
        found: String,
    },
    /// A file is there twice, or they are not in the order of their names.
    #[error("file {name} does not come after the one before it: names ascend, and each is there once")]
    Order {
        /// Which.
        name: FileName,
    },
    /// A text that no machine file has.
    #[error(
        "file {name} has the control character U+{character:04X}; only tabs and ends of lines are allowed"
    )]
    Control {
        /// Which.
        name: FileName,
        /// The character.
        character: u32,
    },
    /// Too much of something.
    #[error("{what}: {found}, at most {allowed}")]
    Limit {
        /// Of what, and in which unit.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        allowed: usize,
    },
    /// Bytes that are not written as lower-case hexadecimal digits.
    #[error("{what} is not {expected} lower-case hexadecimal digits")]
    Hex {
        /// What they stand for.
        what: &'static str,
        /// How many digits there should be.
        expected: &'static str,
    },
    /// A tenant or a gateway that cannot be.
    #[error(transparent)]
    Id(#[from] IdError),
}

/// The name of a machine file: `[a-z0-9][a-z0-9._-]{0,63}.toml`. It leads to no other folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

impl FileName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FileName {
    type Err = ConfigurationError;

    fn from_str(text: &str) -> Result<Self, ConfigurationError> {
        let stem = text.strip_suffix(ENDING).unwrap_or_default().as_bytes();
        let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = stem.len() <= CONFIGURATION_NAME_BYTES_MAX
            && stem.first().is_some_and(alphanumeric)
            && stem.iter().all(|byte| alphanumeric(byte) || b"._-".contains(byte));
        let found = || text.chars().take(CONFIGURATION_NAME_BYTES_MAX).collect();
        fits.then(|| Self(text.to_owned())).ok_or_else(|| ConfigurationError::Name { found: found() })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of one file or of a set of files, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FilesDigest(pub [u8; 32]);

impl FilesDigest {
    /// Of a set of files, given in the order of their names: SHA-256 over, for each, the length of the name
    /// (8 bytes, little-endian), the name, the length of the contents, the contents. Names and contents of
    /// files that no configuration has are taken as well: a folder that a person edited has a digest too.
    #[must_use]
    pub fn of_set<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut digest = Sha256::new();
        for (name, contents) in files {
            for part in [name.as_bytes(), contents] {
                digest.update((part.len() as u64).to_le_bytes());
                digest.update(part);
            }
        }
        Self(digest.finalize().into())
    }

    /// Of the contents of one file: plain SHA-256.
    #[must_use]
    pub fn of_file(contents: &[u8]) -> Self {
        Self(Sha256::digest(contents).into())
    }
}

impl fmt::Display for FilesDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex_of(&self.0))
    }
}

impl fmt::Debug for FilesDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilesDigest({self})")
    }
}

impl FromStr for FilesDigest {
    type Err = ConfigurationError;

    fn from_str(text: &str) -> Result<Self, ConfigurationError> {
        let bytes = bytes_of(text).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or(ConfigurationError::Hex { what: "a digest of files", expected: "64" })
    }
}

impl Serialize for FilesDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FilesDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The machine files of a configuration, within the limits of the protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigurationFiles(BTreeMap<FileName, String>);

impl ConfigurationFiles {
    /// Takes the files, whose names must ascend.
    ///
    /// # Errors
    /// A name or a text that cannot be, names out of order, too many or too large files.
    pub fn new(
        files: impl IntoIterator<Item = (impl AsRef<str>, String)>,
    ) -> Result<Self, ConfigurationError> {
        let (mut taken, mut size) = (BTreeMap::new(), 0_usize);
        for (name, text) in files {
            let name: FileName = name.as_ref().parse()?;
            size = size.saturating_add(text.len());
            limit("bytes of all files", size, CONFIGURATION_BYTES_MAX)?;
            limit("files", taken.len() + 1, CONFIGURATION_FILES_MAX)?;
            if let Some(character) = text.chars().find(|c| *c < ' ' && !"\t\r\n".contains(*c)) {
                return Err(ConfigurationError::Control { name, character: character.into() });
            }
            if taken.last_key_value().is_some_and(|(before, _)| *before >= name) {
                return Err(ConfigurationError::Order { name });
            }
            taken.insert(name, text);
        }
        Ok(Self(taken))
    }

    /// Names and texts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The text of a file.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&FileName(name.to_owned())).map(String::as_str)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The digest of all of them.
    #[must_use]
    pub fn digest(&self) -> FilesDigest {
        FilesDigest::of_set(self.iter().map(|(name, text)| (name, text.as_bytes())))
    }
}

/// A file as it is written in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFile {
    name: String,
    text: String,
}

impl Serialize for ConfigurationFiles {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.iter().map(|(name, text)| WireFile { name: name.to_owned(), text: text.to_owned() }),
        )
    }
}

impl<'de> Deserialize<'de> for ConfigurationFiles {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let files = Vec::<WireFile>::deserialize(deserializer)?;
        Self::new(files.into_iter().map(|file| (file.name, file.text))).map_err(serde::de::Error::custom)
    }
}

fn limit(what: &'static str, found: usize, allowed: usize) -> Result<(), ConfigurationError> {
    (found <= allowed).then_some(()).ok_or(ConfigurationError::Limit { what, found, allowed })
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of lower-case hexadecimal digits.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(value(*pair.first()?)? << 4 | value(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests;
