//! A wall clock that can be set while a program runs, by the Debian package `faketime`. The monotonic clock
//! of the program stays as it is.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The library, below the folder of its architecture.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The clock of the programs that run in [`Self::environment`].
#[derive(Debug)]
pub struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

impl FakeClock {
    /// A clock that is right; what it says lies in `folder`.
    ///
    /// # Errors
    /// The library is not installed, or the folder cannot be written.
    pub fn new(folder: &Path) -> Result<Self> {
        let folders =
            std::fs::read_dir("/usr/lib")?.filter_map(|entry| Some(entry.ok()?.path().join(LIBRARY)));
        let library = folders.into_iter().find(|path| path.is_file());
        let library = library.context("libfaketime is not installed: run `cargo xtask test-setup` first")?;
        let clock = Self { library, file: folder.join("clock") };
        clock.set(0)?;
        Ok(clock)
    }

    /// Sets the clock to `seconds` from the right time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, seconds: i64) -> Result<()> {
        // Renamed, so that a program reads all of it or what was there before.
        let draft = self.file.with_extension("draft");
        std::fs::write(&draft, format!("{seconds:+}"))?;
        std::fs::rename(&draft, &self.file).context("cannot set the clock")
    }

    /// What makes a program read this clock.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        let pairs = [
            ("LD_PRELOAD", text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.file)),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }
}
