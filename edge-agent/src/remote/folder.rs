//! The machine files as they lie in `machines.d/`: read as a set, changed one whole file at a time.

use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use remote_configuration::{Change, Files};
use service_kit::{remove_if_present, sync_folder, write_synced};

/// The folder with a file for each machine.
const MACHINES: &str = "machines.d";
/// Bytes of all machine files together. The largest set from the backend has 1 MiB; what a person made may be larger.
const BYTES_MAX: u64 = 8 << 20;
/// Of a file that was not there before.
const MODE: u32 = 0o644;

/// `machines.d/` of a configuration.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn of(configuration: &Path) -> Self {
        Self(configuration.join(MACHINES))
    }

    /// All machine files; none, if the folder is not there.
    pub(crate) fn read(&self) -> Result<Files> {
        let entries = match std::fs::read_dir(&self.0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Files::new()),
            other => other.map_err(|error| named(&self.0, error))?,
        };
        let (mut files, mut left) = (Files::new(), BYTES_MAX);
        for entry in entries {
            let path = entry.map_err(|error| named(&self.0, error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.ends_with(".toml") {
                let text = read_file(&path, left).map_err(|error| named(&path, error))?;
                left -= text.len() as u64;
                files.insert(name.to_owned(), text);
            }
        }
        Ok(files)
    }

    /// Whether files can be written at all.
    pub(crate) fn probe(&self) -> Result<()> {
        let probe = self.0.join(".probe.draft");
        let tried = std::fs::create_dir_all(&self.0).and_then(|()| write_synced(&probe, b"", MODE));
        tried.and_then(|()| remove_if_present(&probe)).map_err(|error| named(&self.0, error))
    }

    /// Changes one file; a kill leaves all of the old one or all of the new one. [`Self::sync`] makes it durable.
    pub(crate) fn make(&self, change: &Change) -> Result<()> {
        let path = self.0.join(change.file());
        #[cfg(test)]
        super::kill::step();
        let made = match change {
            Change::Remove { .. } => remove_if_present(&path),
            Change::Put { file, text } => {
                let mode = std::fs::metadata(&path).map_or(MODE, |known| known.permissions().mode() & 0o777);
                // Not ending in .toml: nobody takes it for a machine.
                let draft = self.0.join(format!(".{file}.draft"));
                let written = write_synced(&draft, text.as_bytes(), mode);
                #[cfg(test)]
                super::kill::step();
                written.and_then(|()| std::fs::rename(&draft, &path))
            }
        };
        made.map_err(|error| named(&path, error))
    }

    /// Makes what was done durable.
    pub(crate) fn sync(&self) -> Result<()> {
        sync_folder(&self.0.join(MACHINES)).map_err(|error| named(&self.0, error))
    }
}

fn read_file(path: &Path, bytes_max: u64) -> Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        let told = format!("the machine files have more than {BYTES_MAX} bytes together");
        return Err(Error::new(ErrorKind::FileTooLarge, told));
    }
    Ok(text)
}

/// An error that names the file.
fn named(path: &Path, error: Error) -> Error {
    Error::new(error.kind(), format!("{}: {error}", path.display()))
}
