//! What changed between two sets of machine files, for people.

use std::collections::BTreeSet;
use std::time::Instant;

use protocol::ConfigurationFiles;
use similar::TextDiff;

/// Unchanged lines that are shown around each change.
const CONTEXT_LINES: usize = 3;

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileChange {
    /// It is new.
    Added,
    /// It has another text.
    Changed,
    /// It is gone.
    Removed,
}

impl FileChange {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
        }
    }
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDifference {
    /// Its name.
    pub file: String,
    /// What happened to it.
    pub change: FileChange,
    /// The lines, in the unified format.
    pub unified: String,
}

/// The files that differ, by name. After `deadline` differences are still right and no longer small.
#[must_use]
pub fn difference(
    before: &ConfigurationFiles,
    after: &ConfigurationFiles,
    deadline: Instant,
) -> Vec<FileDifference> {
    let names: BTreeSet<&str> = before.iter().chain(after.iter()).map(|(name, _)| name).collect();
    let differing = |name: &str| {
        let (old, new) = (before.get(name), after.get(name));
        let change = match (old, new) {
            (None, _) => FileChange::Added,
            (_, None) => FileChange::Removed,
            (Some(old), Some(new)) if old == new => return None,
            (Some(_), Some(_)) => FileChange::Changed,
        };
        let unified = unified(name, old, new, deadline);
        Some(FileDifference { file: name.to_owned(), change, unified })
    };
    names.into_iter().filter_map(differing).collect()
}

fn unified(name: &str, old: Option<&str>, new: Option<&str>, deadline: Instant) -> String {
    let side = |side: &str, text: Option<&str>| match text {
        Some(_) => format!("{side}/{name}"),
        None => "/dev/null".to_owned(),
    };
    let mut configuration = TextDiff::configure();
    let (before, after) = (old.unwrap_or_default(), new.unwrap_or_default());
    let diff = configuration.deadline(deadline).diff_lines(before, after);
    let (before, after) = (side("a", old), side("b", new));
    diff.unified_diff().context_radius(CONTEXT_LINES).header(&before, &after).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn files(files: &[(&str, &str)]) -> ConfigurationFiles {
        ConfigurationFiles::new(files.iter().map(|(name, text)| (name, (*text).to_owned()))).expect("files")
    }

    #[test]
    fn what_differs_is_told_by_file_and_line() {
        let before = files(&[("a.toml", "id = 1\nx = 2\n"), ("b.toml", "b\n"), ("c.toml", "same\n")]);
        let after = files(&[("a.toml", "id = 1\nx = 3\n"), ("c.toml", "same\n"), ("d.toml", "d\n")]);
        let told = difference(&before, &after, Instant::now() + Duration::from_secs(30));
        let told: Vec<_> = told.iter().map(|d| (d.file.as_str(), d.change, d.unified.as_str())).collect();
        assert_eq!(
            told,
            [
                (
                    "a.toml",
                    FileChange::Changed,
                    "--- a/a.toml\n+++ b/a.toml\n@@ -1,2 +1,2 @@\n id = 1\n-x = 2\n+x = 3\n"
                ),
                ("b.toml", FileChange::Removed, "--- a/b.toml\n+++ /dev/null\n@@ -1 +0,0 @@\n-b\n"),
                ("d.toml", FileChange::Added, "--- /dev/null\n+++ b/d.toml\n@@ -0,0 +1 @@\n+d\n"),
            ]
        );
    }

    #[test]
    fn an_empty_file_that_comes_or_goes_is_told_too() {
        let told = difference(&files(&[]), &files(&[("a.toml", "")]), Instant::now());
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].change, FileChange::Added);
    }
}
