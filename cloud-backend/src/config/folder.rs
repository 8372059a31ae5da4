//! Machine files in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use protocol::ConfigurationFiles;
use protocol::limits::CONFIGURATION_BYTES_MAX;

/// The machine files of a folder, or of `machines.d` in it; what is no `.toml` file is left out.
pub(super) fn read(folder: &Path) -> anyhow::Result<ConfigurationFiles> {
    let nested = folder.join("machines.d");
    let folder = if nested.is_dir() { nested.as_path() } else { folder };
    let failed = || format!("cannot read {}", folder.display());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(failed)? {
        let path: PathBuf = entry.with_context(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    let files = paths.iter().map(|path| text_of(path)).collect::<anyhow::Result<Vec<_>>>()?;
    ConfigurationFiles::new(files).with_context(|| format!("{} cannot be a configuration", folder.display()))
}

fn text_of(path: &Path) -> anyhow::Result<(String, String)> {
    let failed = || format!("cannot read {}", path.display());
    let size = fs::metadata(path).with_context(failed)?.len();
    if size > CONFIGURATION_BYTES_MAX as u64 {
        bail!("{} has {size} bytes; a configuration may have {CONFIGURATION_BYTES_MAX}", path.display());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, fs::read_to_string(path).with_context(failed)?))
}

/// Writes the files into an empty or new folder, so that none is lost by a slip of the hand.
pub(super) fn write(folder: &Path, files: &ConfigurationFiles) -> anyhow::Result<()> {
    let failed = |path: &Path| format!("cannot write {}", path.display());
    fs::create_dir_all(folder).with_context(|| failed(folder))?;
    if fs::read_dir(folder).with_context(|| failed(folder))?.next().is_some() {
        bail!("{} is not empty; give an empty or a new folder", folder.display());
    }
    for (name, text) in files.iter() {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| failed(&path))?;
    }
    Ok(())
}
