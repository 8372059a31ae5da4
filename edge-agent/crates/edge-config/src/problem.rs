//! What is wrong with a configuration, in words a technician can act on.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in.
    pub file: PathBuf,
    /// Its line, from 1; `None` when it concerns the whole file.
    pub line: Option<usize>,
    /// The key, with the tables it lies in, for example `tags[2].format`.
    pub key: String,
    /// The value as written, cut to 80 characters; empty when the key is missing.
    pub value: String,
    /// What is wrong, what is allowed and how to mend it.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            f.write_str(&self.key)?;
            if !self.value.is_empty() {
                write!(f, " = {}", self.value)?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&self.message)
    }
}

/// All mistakes of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        let count = self.0.len();
        write!(f, "{count} problem{} found", if count == 1 { "" } else { "s" })
    }
}

/// Collects problems while files are read.
#[derive(Debug, Default)]
pub(crate) struct Report(RefCell<Vec<Problem>>);

impl Report {
    pub(crate) fn push(&self, problem: Problem) {
        self.0.borrow_mut().push(problem);
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// A problem of a whole file or folder.
    pub(crate) fn file(&self, path: &Path, message: String) {
        self.push(Problem {
            file: path.to_owned(),
            line: None,
            key: String::new(),
            value: String::new(),
            message,
        });
    }

    /// What is wrong so far.
    pub(crate) fn problems(self) -> Vec<Problem> {
        self.0.into_inner()
    }

    /// The configuration, if nothing is wrong.
    pub(crate) fn finish<T>(self, built: Option<T>) -> Result<T, ConfigErrors> {
        let mut problems = self.0.into_inner();
        match built {
            Some(built) if problems.is_empty() => Ok(built),
            _ => {
                problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
                Err(ConfigErrors(problems))
            }
        }
    }
}
