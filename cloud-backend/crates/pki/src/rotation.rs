//! Replacing what signs: the issuer, and the root with an overlap.
//!
//! | step | `ca.crt` | `issuer.crt` | who is affected |
//! |---|---|---|---|
//! | before | A | I below A | |
//! | [`rotate_issuer`](CertificateAuthority::rotate_issuer) | A | J below A | nobody: trust begins at the root |
//! | [`rotate_root`](CertificateAuthority::rotate_root) | B, A | K below B, K below A | nobody: what K has signed is good for who knows A, B or both. Gateways get B with their next certificate |
//! | [`retire_root`](CertificateAuthority::retire_root) | B | K below B | who has no certificate from after B, or does not know B |
//!
//! The files of a step are written aside, together get a name that counts (`rotation/`), and are then moved into
//! place; a crash at any point leaves all of the old, or what the next opening finishes.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use service_kit::{sync_folder, write_synced};

use crate::authority::{Root, new_issuer, new_root};
use crate::files::{ISSUER_CERTIFICATE_FILE, ISSUER_KEY_FILE, ROOT_CERTIFICATE_FILE, ROOT_KEY_FILE, failed};
use crate::issue::{BACKDATED, cannot_issue};
use crate::{CertificateAuthority, Error};

const READY: &str = "rotation";
const PARTIAL: &str = "rotation.partial";

/// A certificate of the authority, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    /// Its serial number, lower-case hexadecimal.
    pub serial: String,
    /// When it was made.
    pub made_at: SystemTime,
    /// Its end.
    pub expires_at: SystemTime,
}

/// How the authority stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityStatus {
    /// The roots that are trusted, the newest first; more than one while a root is replaced.
    pub roots: Vec<AuthorityCertificate>,
    /// What signs.
    pub issuer: AuthorityCertificate,
    /// Whether the newest root's key is here.
    pub root_key_is_here: bool,
}

impl CertificateAuthority {
    /// How it stands.
    ///
    /// # Errors
    /// As [`CertificateAuthority::open_or_create`].
    pub fn status(directory: &Path) -> Result<AuthorityStatus, Error> {
        let authority = Self::open_or_create(directory)?;
        let root = Root::open_or_create(directory)?;
        let issuer = directory.join(ISSUER_CERTIFICATE_FILE);
        let unreadable =
            |path: &Path| Error::Unreadable { path: path.into(), expected: "a certificate in PEM" };
        let roots: Option<_> = root.certificates.iter().map(AuthorityCertificate::read).collect();
        let signs = Root::certificates_of(&issuer, &authority.issuer_pem)?;
        Ok(AuthorityStatus {
            roots: roots.ok_or_else(|| unreadable(&root.path))?,
            issuer: signs.first().and_then(AuthorityCertificate::read).ok_or_else(|| unreadable(&issuer))?,
            root_key_is_here: root.issuer.is_some(),
        })
    }

    /// Whether the files are still those that this authority was opened from.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn is_current(&self, directory: &Path) -> Result<bool, Error> {
        let same = |name: &str, known: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map(|found| found == known).map_err(failed("read", &path))
        };
        Ok(!directory.join(READY).exists()
            && same(ROOT_CERTIFICATE_FILE, &self.root_pem)?
            && same(ISSUER_CERTIFICATE_FILE, &self.issuer_pem)?)
    }

    /// Makes a new issuer. What the old one signed stays good.
    ///
    /// # Errors
    /// A root is being replaced, the root's key is not here, or a file cannot be written.
    pub fn rotate_issuer(directory: &Path) -> Result<Self, Error> {
        let root = Root::open_or_create(directory)?;
        if root.certificates.len() > 1 {
            return Err(Error::Overlap { root: root.path });
        }
        let signer = root.issuer.as_ref().ok_or_else(|| no_root_key(directory))?;
        let issuer = new_issuer(&[signer]).map_err(cannot_issue("the issuer's certificate"))?;
        put(
            directory,
            &[
                (ISSUER_KEY_FILE, issuer.key.secret(), 0o600),
                (ISSUER_CERTIFICATE_FILE, &issuer.certificate, 0o644),
            ],
        )?;
        Self::open_or_create(directory)
    }

    /// Makes a new root and an issuer below both roots. The old root stays trusted until [`Self::retire_root`]; its
    /// key is not needed any more and is gone.
    ///
    /// # Errors
    /// A root is being replaced already, the root's key is not here, or a file cannot be written.
    pub fn rotate_root(directory: &Path) -> Result<Self, Error> {
        let old = Root::open_or_create(directory)?;
        if old.certificates.len() > 1 {
            return Err(Error::Overlap { root: old.path });
        }
        let signer = old.issuer.as_ref().ok_or_else(|| no_root_key(directory))?;
        let root = new_root().map_err(cannot_issue("the root certificate"))?;
        let new = Root::from_pair(directory, &root)?;
        let below_new = new.issuer.as_ref().ok_or_else(|| no_root_key(directory))?;
        let issuer = new_issuer(&[below_new, signer]).map_err(cannot_issue("the issuer's certificate"))?;
        put(
            directory,
            &[
                (ROOT_KEY_FILE, root.key.secret(), 0o600),
                (ROOT_CERTIFICATE_FILE, &format!("{}{}", root.certificate, old.pem), 0o644),
                (ISSUER_KEY_FILE, issuer.key.secret(), 0o600),
                (ISSUER_CERTIFICATE_FILE, &issuer.certificate, 0o644),
            ],
        )?;
        Self::open_or_create(directory)
    }

    /// Ends the trust in every root but the newest.
    ///
    /// # Errors
    /// There is no other one, or a file cannot be written.
    pub fn retire_root(directory: &Path) -> Result<Self, Error> {
        let root = Root::open_or_create(directory)?;
        if root.certificates.len() < 2 {
            return Err(Error::NothingToRetire { root: root.path });
        }
        let path = directory.join(ISSUER_CERTIFICATE_FILE);
        let issuer = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let first = |path: &Path, pem: &str| {
            let unreadable = || Error::Unreadable { path: path.into(), expected: "a certificate in PEM" };
            first_pem(pem).ok_or_else(unreadable)
        };
        put(
            directory,
            &[
                (ROOT_CERTIFICATE_FILE, &first(&root.path, &root.pem)?, 0o644),
                (ISSUER_CERTIFICATE_FILE, &first(&path, &issuer)?, 0o644),
            ],
        )?;
        Self::open_or_create(directory)
    }
}

impl AuthorityCertificate {
    fn read(der: &rustls::pki_types::CertificateDer<'static>) -> Option<Self> {
        let certificate = crate::authority::parse(der)?;
        let at =
            |seconds: i64| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?));
        Some(Self {
            serial: certificate.raw_serial_as_string().replace(':', ""),
            made_at: at(certificate.validity().not_before.timestamp())? + BACKDATED,
            expires_at: at(certificate.validity().not_after.timestamp())?,
        })
    }
}

fn no_root_key(directory: &Path) -> Error {
    Error::NoRootKey { key: directory.join(ROOT_KEY_FILE) }
}

/// The first certificate of a text.
fn first_pem(text: &str) -> Option<String> {
    const END: &str = "-----END CERTIFICATE-----";
    text.find(END).map(|at| format!("{}\n", &text[..at + END.len()]))
}

/// Puts all of these files in the place of those of the same names, or none.
fn put(directory: &Path, files: &[(&str, &str, u32)]) -> Result<(), Error> {
    let (partial, ready) = (directory.join(PARTIAL), directory.join(READY));
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(failed("remove directory", &partial)(error));
        }
        Ok(()) | Err(_) => {}
    }
    DirBuilder::new().mode(0o700).create(&partial).map_err(failed("create directory", &partial))?;
    for (name, content, mode) in files {
        let path = partial.join(name);
        write_synced(&path, content.as_bytes(), *mode).map_err(failed("write", &path))?;
        sync_folder(&path).map_err(failed("sync directory", &partial))?;
    }
    fs::rename(&partial, &ready).map_err(failed("write", &ready))?;
    sync_folder(&ready).map_err(failed("sync directory", directory))?;
    finish(directory)
}

/// Moves into place what was made whole and not yet moved.
pub(crate) fn finish(directory: &Path) -> Result<(), Error> {
    let ready = directory.join(READY);
    let entries = match fs::read_dir(&ready) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("read directory", &ready))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed("read directory", &ready))?;
        let path = directory.join(entry.file_name());
        fs::rename(entry.path(), &path).map_err(failed("write", &path))?;
        sync_folder(&path).map_err(failed("sync directory", directory))?;
    }
    fs::remove_dir(&ready).map_err(failed("remove directory", &ready))?;
    sync_folder(&ready).map_err(failed("sync directory", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a crash leaves before the step counts, and after.
    #[test]
    fn a_rotation_that_was_cut_off_is_all_or_nothing_at_the_next_opening() {
        let folder = tempfile::tempdir().expect("a folder");
        let (directory, other) = (folder.path().join("pki"), folder.path().join("other"));
        let before = CertificateAuthority::open_or_create(&directory).expect("made");
        CertificateAuthority::open_or_create(&other).expect("made");
        let names = [ROOT_KEY_FILE, ROOT_CERTIFICATE_FILE, ISSUER_KEY_FILE, ISSUER_CERTIFICATE_FILE];

        fs::create_dir(directory.join(PARTIAL)).expect("made");
        fs::copy(other.join(ROOT_KEY_FILE), directory.join(PARTIAL).join(ROOT_KEY_FILE)).expect("copied");
        let opened = CertificateAuthority::open_or_create(&directory).expect("opens");
        assert_eq!(opened.root_pem(), before.root_pem());

        for moved in 0..=names.len() {
            CertificateAuthority::rotate_issuer(&directory).expect("what lies about does no harm");
            fs::create_dir(directory.join(READY)).expect("made");
            for (n, name) in names.into_iter().enumerate() {
                let to = if n < moved { directory.clone() } else { directory.join(READY) };
                fs::copy(other.join(name), to.join(name)).expect("copied");
            }
            let opened = CertificateAuthority::open_or_create(&directory).expect("finished");
            assert_ne!(opened.root_pem(), before.root_pem(), "{moved} of 4 were moved");
            assert!(!directory.join(READY).exists() && opened.is_current(&directory).expect("readable"));
        }
    }
}
