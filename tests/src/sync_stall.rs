//! A disk that hangs at times: `sync_stall.c`, compiled with `cc` and preloaded into a program. What it reads is
//! said there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// The library, and the switch with which its stalls are turned on and off.
#[derive(Debug)]
pub struct SyncStall {
    library: PathBuf,
    switch: PathBuf,
    log: PathBuf,
}

impl SyncStall {
    /// Compiles the library into `folder`. It is switched off.
    ///
    /// # Errors
    /// There is no C compiler, or the folder cannot be written.
    pub fn build(folder: &Path) -> Result<Self> {
        let source = folder.join("sync_stall.c");
        let library = folder.join("sync_stall.so");
        std::fs::write(&source, include_str!("sync_stall.c"))?;
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source);
        let status = compiler.arg("-ldl").status().context("cannot start cc, the C compiler")?;
        ensure!(status.success(), "sync_stall.c does not compile");
        Ok(Self { library, switch: folder.join("sync_stall.on"), log: folder.join("sync_stall.log") })
    }

    /// What a program must find in its environment: a sync of a file whose path contains `file` takes
    /// `longer`, once in `every`.
    #[must_use]
    pub fn environment(&self, file: &str, longer: Duration, every: Duration) -> Vec<(String, String)> {
        let path = |path: &Path| path.display().to_string();
        [
            ("LD_PRELOAD", path(&self.library)),
            ("SYNC_STALL_FILE", file.to_owned()),
            ("SYNC_STALL_MS", longer.as_millis().to_string()),
            ("SYNC_STALL_EVERY_MS", every.as_millis().to_string()),
            ("SYNC_STALL_SWITCH", path(&self.switch)),
            ("SYNC_STALL_LOG", path(&self.log)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Syncs stall from now on.
    ///
    /// # Errors
    /// The switch cannot be written.
    pub fn turn_on(&self) -> Result<()> {
        Ok(File::create(&self.switch).map(drop)?)
    }

    /// No sync that begins from now on stalls.
    ///
    /// # Errors
    /// The switch cannot be removed.
    pub fn turn_off(&self) -> Result<()> {
        Ok(std::fs::remove_file(&self.switch)?)
    }

    /// How many syncs have stalled so far.
    #[must_use]
    pub fn count(&self) -> usize {
        std::fs::read_to_string(&self.log).map_or(0, |log| log.lines().count())
    }
}
