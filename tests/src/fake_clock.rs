//! A program that sees another wall clock than everybody else (`libfaketime`, Debian package `faketime`), and another
//! boot of the system. Its monotonic clock, and that since the boot, stay as they are.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where Debian puts the library.
const LIBRARIES: &str = "/usr/lib";

/// Stands in for a program: a script that starts it with its own clock.
#[derive(Debug)]
pub struct FakeClock {
    script: PathBuf,
    clock: PathBuf,
    boot: PathBuf,
    library: PathBuf,
}

impl FakeClock {
    /// A stand-in for `program` in `folder`, whose clock is right and whose boot is called 1.
    ///
    /// # Errors
    /// The library is not installed, or the files cannot be written.
    pub fn over(program: &Path, folder: &Path) -> Result<Self> {
        let library = library().context("libfaketime is missing: `apt-get install faketime`")?;
        let place = |name: &str| folder.join(name);
        let fake =
            Self { script: place("faked"), clock: place("faked.clock"), boot: place("faked.boot"), library };
        let script = format!(
            "#!/bin/sh\n\
             exec unshare --user --map-root-user --mount sh -c '\n\
             mount --bind {boot} /proc/sys/kernel/random/boot_id || exit 1\n\
             export TZ=UTC FAKETIME_TIMESTAMP_FILE={clock} FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1\n\
             LD_PRELOAD={library} exec \"$0\" \"$@\"' {program} \"$@\"\n",
            boot = fake.boot.display(),
            clock = fake.clock.display(),
            library = fake.library.display(),
            program = program.display(),
        );
        std::fs::write(&fake.script, script)?;
        std::fs::set_permissions(&fake.script, std::fs::Permissions::from_mode(0o755))?;
        fake.set("+0")?;
        fake.boot(1)?;
        Ok(fake)
    }

    /// What to start instead of the program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        self.script.clone()
    }

    /// For a program that is started without the script: its clock, in the boot of the system.
    #[must_use]
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        let pairs = [
            ("LD_PRELOAD", text(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", text(&self.clock)),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Sets the clock, at once: `+3600` is an hour ahead, `@1970-01-01 00:00:30` what it shows when the program starts.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set(&self, shows: &str) -> Result<()> {
        let draft = self.clock.with_extension("draft");
        std::fs::write(&draft, format!("{shows}\n"))?;
        std::fs::rename(&draft, &self.clock).context("cannot set the clock")
    }

    /// Lets the next start be in another boot of the system.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn boot(&self, number: u8) -> Result<()> {
        std::fs::write(&self.boot, format!("00000000-0000-4000-8000-{number:012x}\n"))
            .context("cannot name the boot")
    }
}

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir(LIBRARIES).ok()?;
    let libraries = folders.flatten().map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    libraries.into_iter().find(|path| path.exists())
}
