//! Where the key of the buffer comes from: `buffer.key_file`, else the credential that systemd hands over.

use std::path::{Path, PathBuf};

use edge_store::{BufferKey, StoreError};

/// Name of the credential (`LoadCredential=` or `LoadCredentialEncrypted=` of the unit).
const CREDENTIAL: &str = "buffer-key";

/// The key, if there is one.
///
/// # Errors
/// The configured file or the credential cannot be read, or is no key.
pub(crate) fn load(configured: Option<&Path>) -> Result<Option<BufferKey>, StoreError> {
    let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    source(configured, folder.as_deref()).map(|path| BufferKey::read(&path)).transpose()
}

fn source(configured: Option<&Path>, credentials: Option<&Path>) -> Option<PathBuf> {
    let credential = || credentials.map(|folder| folder.join(CREDENTIAL)).filter(|path| path.exists());
    configured.map(Path::to_owned).or_else(credential)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_file_goes_before_a_credential_and_a_missing_credential_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(source(None, None), None);
        assert_eq!(source(None, Some(folder.path())), None);
        std::fs::write(folder.path().join("buffer-key"), "").expect("written");
        assert_eq!(source(None, Some(folder.path())), Some(folder.path().join("buffer-key")));
        assert_eq!(source(Some("/a/key".as_ref()), Some(folder.path())), Some("/a/key".into()));
    }
}
