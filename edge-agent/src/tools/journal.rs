//! The journal of writes: JSON lines, only ever appended.
//!
//! A write has two lines: one with `"outcome":"begun"`, on the disk before the machine is told anything,
//! and one with what became of it. A line `begun` without the other means that the tool was killed in
//! between, and nobody knows.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{User, getuid};
use serde::Serialize;

/// Some 100,000 writes: people press buttons, and a journal that grows faster is a mistake.
const BYTES_MAX: u64 = 64 << 20;

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    who: Who,
}

/// Who wrote.
#[derive(Debug, Serialize)]
struct Who {
    uid: u32,
    user: String,
    /// Who became that user with sudo.
    #[serde(skip_serializing_if = "Option::is_none")]
    sudo_user: Option<String>,
}

#[derive(Serialize)]
struct Line<'a, E> {
    time: String,
    #[serde(flatten)]
    who: &'a Who,
    #[serde(flatten)]
    entry: &'a E,
}

impl Journal {
    /// # Errors
    /// It cannot be written: then nothing may be written to a machine.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path).with_context(|| {
            format!(
                "nothing was written: the journal {} cannot be opened; name one that you may write to with \
                 --journal FILE",
                path.display()
            )
        })?;
        let size = file.metadata().map_or(0, |m| m.len());
        ensure!(
            size < BYTES_MAX,
            "nothing was written: the journal {} has {size} bytes, at most {BYTES_MAX} are kept; move it away",
            path.display()
        );
        Ok(Self { file, path: path.to_owned(), who: Who::runs_this() })
    }

    /// Adds a line; it is on the disk when this returns.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn add(&mut self, entry: &impl Serialize) -> Result<()> {
        let line = Line { time: jiff::Timestamp::now().to_string(), who: &self.who, entry };
        let mut bytes = serde_json::to_vec(&line)?;
        bytes.push(b'\n');
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("the journal {} cannot be written", self.path.display()))
    }
}

impl Who {
    fn runs_this() -> Self {
        let uid = getuid();
        let user = User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
        Self { uid: uid.as_raw(), user, sudo_user: std::env::var("SUDO_USER").ok() }
    }
}
