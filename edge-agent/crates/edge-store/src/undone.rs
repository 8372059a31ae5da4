//! A salvage that is killed begins anew.
//!
//! While a damaged file is carried on, a note beside the buffer names it. A start that finds the note puts the
//! damaged file back in its place and throws away what had been made of it: nobody was told of that yet. The
//! note goes when the salvage is whole.

use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use service_kit::{remove_if_present, sync_folder, write_synced};

use crate::StoreError;
use crate::file::{COMPANIONS, with_suffix};

/// Notes, durably, that the file at `path` is about to be salvaged from `aside`.
pub(crate) fn note(path: &Path, aside: &Path) -> Result<(), StoreError> {
    let write = || {
        write_synced(&note_of(path), aside.as_os_str().as_bytes(), 0o600)?;
        sync_folder(path)
    };
    write().map_err(reach(path))
}

/// The salvage is whole, or none was needed.
pub(crate) fn done(path: &Path) -> Result<(), StoreError> {
    remove_if_present(&note_of(path)).map_err(reach(path))
}

/// Puts back the damaged file of a salvage that did not come to its end; may itself be killed anywhere.
pub(crate) fn take_back(path: &Path) -> Result<(), StoreError> {
    let aside = match std::fs::read(note_of(path)) {
        Ok(name) => PathBuf::from(std::ffi::OsString::from_vec(name)),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(reach(path)(error)),
    };
    put_back(path, &aside).map_err(reach(path))
}

fn put_back(path: &Path, aside: &Path) -> std::io::Result<()> {
    if aside.exists() {
        tracing::warn!(path = %path.display(), aside = %aside.display(),
            "a salvage of the buffer did not come to its end and begins anew");
        // Without a new file, what lies beside its name still belongs to the damaged one.
        if path.exists() {
            for companion in &COMPANIONS[1..] {
                remove_if_present(&with_suffix(path, companion))?;
            }
        }
        std::fs::rename(aside, path)?;
    }
    for companion in &COMPANIONS[1..] {
        match std::fs::rename(with_suffix(aside, companion), with_suffix(path, companion)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    sync_folder(path)
}

fn note_of(path: &Path) -> PathBuf {
    with_suffix(path, ".salvaging")
}

fn reach(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Reach { path, source }
}
