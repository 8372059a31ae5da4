//! Root keys in a file: a line each, `NAME HEX64`, the last one wraps.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use plant_model::TenantId;
use zeroize::Zeroizing;

use crate::root::Root;
use crate::{DataKey, KEY_BYTES, KeyError, KeyId, RootId, RootKey, SealedKey};

/// A line is about a hundred bytes; a thousand rotations are more than anybody makes.
const FILE_BYTES_MAX: u64 = 100 << 10;

/// The root keys of a file, in its order. The last one wraps; each unwraps what it wrapped.
#[derive(Clone)]
pub struct FileRoot {
    roots: Vec<Root>,
}

impl fmt::Debug for FileRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.roots.iter().map(|root| root.id.as_str())).finish()
    }
}

impl FileRoot {
    /// Reads a file that nobody else may read.
    ///
    /// # Errors
    /// It cannot be read, others may read it, a line is no key, or there is none.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        let mut roots: Vec<Root> = Vec::new();
        for (line, text) in (1..).zip(text.lines()) {
            let root = parse(text).filter(|root| roots.iter().all(|other| other.id != root.id));
            roots.push(root.ok_or_else(|| KeyError::Line { path: path.to_owned(), line })?);
        }
        if roots.is_empty() {
            return Err(KeyError::Line { path: path.to_owned(), line: 1 });
        }
        Ok(Self { roots })
    }

    /// Makes the file with one new key if it is not there yet, and reads it. Of several who do so at a time the first
    /// one's key is everybody's.
    ///
    /// # Errors
    /// It cannot be made or read.
    pub fn read_or_create(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        if !path.exists() {
            let scratch = path.with_extension(format!("new-{:016x}", rand::random::<u64>()));
            write_line(&scratch, &new_root("root-1")).map_err(failed)?;
            let linked = std::fs::hard_link(&scratch, path);
            std::fs::remove_file(&scratch).map_err(failed)?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
                Ok(()) | Err(_) => {}
            }
        }
        Self::read(path)
    }

    /// Adds a new key to the file, which wraps from now on. The former ones stay for what they wrapped.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn add_new(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        let old = Self::read(path)?;
        // The current key has the largest number, so that no name is ever used again.
        let numbers =
            old.roots.iter().filter_map(|root| root.id.as_str().strip_prefix("root-")?.parse::<u32>().ok());
        let name = format!("root-{}", numbers.max().unwrap_or(0).saturating_add(1));
        old.rewritten(path, |roots| roots.push(new_root(&name))).map_err(failed)
    }

    /// Takes all keys but the current one out of the file, once nothing is wrapped with them any more.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn retire_old(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::File { path: path.to_owned(), source };
        Self::read(path)?.rewritten(path, |roots| drop(roots.drain(..roots.len() - 1))).map_err(failed)
    }

    /// The names, oldest first.
    pub fn names(&self) -> impl Iterator<Item = &RootId> {
        self.roots.iter().map(|root| &root.id)
    }

    /// Changes the file in one step: it has the old keys or the new ones.
    fn rewritten(mut self, path: &Path, change: impl FnOnce(&mut Vec<Root>)) -> io::Result<Self> {
        change(&mut self.roots);
        let scratch = path.with_extension(format!("new-{:016x}", rand::random::<u64>()));
        let done = self
            .roots
            .iter()
            .try_for_each(|root| write_line(&scratch, root))
            .and_then(|()| std::fs::rename(&scratch, path));
        if done.is_err() {
            let _ = std::fs::remove_file(&scratch);
        }
        done?;
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(self)
    }

    fn find(&self, id: &RootId) -> Result<&Root, KeyError> {
        let found = self.roots.iter().find(|root| root.id == *id);
        found.ok_or_else(|| KeyError::UnknownRoot { root: id.clone() })
    }

    fn last(&self) -> &Root {
        self.roots.last().expect("a file of root keys has at least one")
    }
}

impl RootKey for FileRoot {
    fn current(&self) -> RootId {
        self.last().id.clone()
    }

    fn wrap(&self, tenant: &TenantId, id: KeyId, key: &DataKey) -> Result<SealedKey, KeyError> {
        Ok(self.last().wrap(tenant, id, key))
    }

    fn unwrap(&self, tenant: &TenantId, key: &SealedKey) -> Result<DataKey, KeyError> {
        self.find(&key.root)?.unwrap(tenant, key)
    }
}

fn new_root(name: &str) -> Root {
    let id = RootId::new(name).expect("the name is one");
    Root { id, key: DataKey::generate().0 }
}

/// Appends to a file of mode 0600, which is made if it is not there.
fn write_line(path: &Path, root: &Root) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let digits: Zeroizing<String> =
        Zeroizing::new(root.key.iter().map(|byte| format!("{byte:02x}")).collect());
    let line = Zeroizing::new(format!("{} {}\n", root.id, *digits));
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

fn parse(line: &str) -> Option<Root> {
    let (name, digits) = line.trim().split_once(' ')?;
    let digits = digits.as_bytes();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?);
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(Root { id: RootId::new(name)?, key })
}

#[cfg(test)]
mod tests;
