//! Sets of machine files, and how two of them differ.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{DriftChange, DriftedFile, FilesDigest};

/// Machine files: texts by name, as they lie in one folder.
pub type Files = BTreeMap<String, String>;

/// What is to be done with a file of the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It gets this text.
    Put {
        /// Its name.
        file: String,
        /// All of its text.
        text: String,
    },
    /// It goes.
    Remove {
        /// Its name.
        file: String,
    },
}

impl Change {
    /// The file it is about.
    #[must_use]
    pub fn file(&self) -> &str {
        match self {
            Self::Put { file, .. } | Self::Remove { file } => file,
        }
    }
}

/// The digest by which a version names the files that it may replace although they were edited.
#[must_use]
pub fn digest(files: &Files) -> FilesDigest {
    FilesDigest::of_set(files.iter().map(|(name, text)| (name.as_str(), text.as_bytes())))
}

/// How `actual` differs from `expected`, by name.
#[must_use]
pub fn drift(expected: &Files, actual: &Files) -> Vec<DriftedFile> {
    let change = |file: &str| match (expected.get(file), actual.get(file)) {
        (None, Some(_)) => Some(DriftChange::Added),
        (Some(_), None) => Some(DriftChange::Removed),
        (Some(wanted), Some(found)) if wanted != found => Some(DriftChange::Changed),
        (Some(_), Some(_)) | (None, None) => None,
    };
    let differs = |file: &String| Some(DriftedFile { file: file.clone(), change: change(file)? });
    names(expected, actual).into_iter().filter_map(differs).collect()
}

/// What leads a folder from one set to another. A file that is of neither was edited by somebody: it stays.
pub(crate) fn way(from: &Files, to: &Files, actual: &Files) -> Vec<Change> {
    let change = |file: &String| {
        let (old, new, found) = (from.get(file), to.get(file), actual.get(file));
        if old == new || found != old {
            return None;
        }
        Some(match new {
            Some(text) => Change::Put { file: file.clone(), text: text.clone() },
            None => Change::Remove { file: file.clone() },
        })
    };
    names(from, to).into_iter().filter_map(change).collect()
}

fn names<'f>(one: &'f Files, other: &'f Files) -> BTreeSet<&'f String> {
    one.keys().chain(other.keys()).collect()
}
