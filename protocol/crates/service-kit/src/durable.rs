//! Files that are on the medium when a call returns.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Makes a file with these permissions and this content, synced; what lies there under its name goes first. Rename it
/// and call [`sync_folder`] to put it in the place of another one.
///
/// # Errors
/// The file cannot be removed, made, written or synced.
pub fn write_synced(path: &Path, content: &[u8], mode: u32) -> std::io::Result<()> {
    // A left-over of an interrupted run could carry wider permissions: it is not written into.
    remove_if_present(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes a file; none is as good.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_if_present(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Syncs the folder of a file: a name is durable when its folder is.
///
/// # Errors
/// The folder cannot be opened or synced.
pub fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
