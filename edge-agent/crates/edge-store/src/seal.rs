//! Encryption of what lies in the file.
//!
//! ```text
//! offset size  field
//!      0    1  0xE1: a sealed message; a batch as it is sent begins with another byte
//!      1   12  nonce, random
//!     13    …  the message, encrypted with ChaCha20-Poly1305
//!      …   16  tag
//! ```
//!
//! The key of a file is derived (HKDF-SHA256) from the configured key and the epoch, so that files share none. The
//! row's key, stream and sequence, is authenticated with the message: a message cannot take another's place. `seal`
//! in `meta` is an empty message sealed as row 0: what a key is tried on. ChaCha20 is fast and leaks nothing by its
//! timing on processors without instructions for AES, as those of many gateways. 2³² random nonces are allowed for a
//! key; at one batch a second that is 136 years.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use protocol::Epoch;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use rusqlite::{Connection, OptionalExtension as _};
use zeroize::Zeroizing;

use crate::StoreError;

/// First byte of a sealed message.
const SEALED: u8 = 0xE1;

/// Bytes before the encrypted part.
const HEAD_BYTES: usize = 1 + NONCE_LEN;

const KEY_BYTES: usize = 32;

/// A key file is 64 digits and perhaps an end of line; longer is something else.
const FILE_BYTES_MAX: u64 = 256;

/// Sets these keys apart from others that the same configured key may be used for.
const PURPOSE: &[&[u8]] = &[b"edge-agent buffer 1"];

/// Row of the empty message that a key is tried on; no batch has it.
const TRIAL_ROW: i64 = 0;

/// The configured key of a buffer: 32 bytes that are wiped from memory with it and never shown.
#[derive(Clone)]
pub struct BufferKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for BufferKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BufferKey(…)")
    }
}

impl BufferKey {
    /// Reads 64 hexadecimal digits from a file that not everybody may read.
    ///
    /// # Errors
    /// The file cannot be read, everybody may read it, or it is no key.
    pub fn read(path: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::KeyFile { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o007 != 0 {
            return Err(StoreError::KeyExposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(FILE_BYTES_MAX).unwrap_or(0)));
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(failed)?;
        Self::parse(&text).ok_or_else(|| StoreError::KeyFormat { path: path.to_owned() })
    }

    /// A key from 64 hexadecimal digits; blanks around them do not count.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.trim_ascii();
        if digits.len() != 2 * KEY_BYTES {
            return None;
        }
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            let (high, low) = (char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?);
            *byte = u8::try_from(high << 4 | low).ok()?;
        }
        Some(Self(key))
    }
}

/// Seals and opens the messages of one file; without a key they stay as they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cipher(Option<Arc<LessSafeKey>>);

impl Cipher {
    fn new(key: Option<&BufferKey>, epoch: Epoch) -> Self {
        let derive = |key: &BufferKey| {
            let salt = Salt::new(HKDF_SHA256, &epoch.as_u64().to_be_bytes());
            let material = salt.extract(key.0.as_slice());
            let derived = material.expand(PURPOSE, &CHACHA20_POLY1305).expect("32 bytes are not too many");
            Arc::new(LessSafeKey::new(UnboundKey::from(derived)))
        };
        Self(key.map(derive))
    }

    /// The cipher of a file, if the key is the one that it was sealed with.
    pub(crate) fn of_file(
        connection: &Connection,
        path: &Path,
        key: Option<&BufferKey>,
        epoch: Epoch,
    ) -> Result<Self, StoreError> {
        let trial = trial(connection).map_err(crate::file::failed("look for its encryption"))?;
        let cipher = Self::new(key, epoch);
        let Some(trial) = trial else { return Ok(cipher) };
        let path = path.to_owned();
        match (key, cipher.open(TRIAL_ROW, trial).is_empty()) {
            (Some(_), true) => Ok(cipher),
            (Some(_), false) => Err(StoreError::KeyWrong { path }),
            (None, _) => Err(StoreError::KeyMissing { path }),
        }
    }

    /// Notes in the file that it is sealed from here on, if there is a key.
    pub(crate) fn mark(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.0.is_none() || is_marked(connection)? {
            return Ok(());
        }
        let sql = "INSERT INTO meta (name, value) VALUES ('seal', ?1)";
        connection.execute(sql, [self.seal(TRIAL_ROW, Vec::new())]).map(|_| ())
    }

    /// The message of a row as it is to lie in the file.
    pub(crate) fn seal(&self, row: i64, message: Vec<u8>) -> Vec<u8> {
        let Some(key) = &self.0 else { return message };
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut out = Vec::with_capacity(HEAD_BYTES + message.len() + CHACHA20_POLY1305.tag_len());
        out.push(SEALED);
        out.extend(nonce);
        out.extend(&message);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, aad(row), &mut out[HEAD_BYTES..])
            .expect("a message is far below the 256 GiB of the cipher");
        out.extend(tag.as_ref());
        out
    }

    /// The message of a row. What is sealed and cannot be opened is no message any more: it begins as no batch does.
    pub(crate) fn open(&self, row: i64, mut stored: Vec<u8>) -> Vec<u8> {
        if stored.first() != Some(&SEALED) {
            return stored;
        }
        let nonce = stored.get(1..HEAD_BYTES).and_then(|bytes| bytes.try_into().ok());
        let (Some(key), Some(nonce)) = (&self.0, nonce) else { return vec![SEALED] };
        let nonce = Nonce::assume_unique_for_key(nonce);
        let opened = key.open_within(nonce, aad(row), &mut stored, HEAD_BYTES..).map(|message| message.len());
        match opened {
            Ok(length) => stored.truncate(length),
            Err(_) => return vec![SEALED],
        }
        stored
    }
}

fn aad(row: i64) -> Aad<[u8; 8]> {
    Aad::from(row.to_be_bytes())
}

fn trial(connection: &Connection) -> rusqlite::Result<Option<Vec<u8>>> {
    connection.query_row("SELECT value FROM meta WHERE name = 'seal'", [], |row| row.get(0)).optional()
}

/// Whether a file is sealed, wholly or from some batch on.
pub(crate) fn is_marked(connection: &Connection) -> rusqlite::Result<bool> {
    trial(connection).map(|trial| trial.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &[u8] = b"000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F\n";

    fn cipher(epoch: u64) -> Cipher {
        Cipher::new(BufferKey::parse(DIGITS).as_ref(), Epoch::from_u64(epoch))
    }

    #[test]
    fn a_sealed_message_shows_nothing_and_opens_only_in_its_own_row_and_file() {
        let (ours, message) = (cipher(1), b"a message of a plant".to_vec());
        let sealed = ours.seal(7, message.clone());
        assert_eq!(sealed.len(), message.len() + HEAD_BYTES + 16);
        assert!(!sealed.windows(5).any(|part| message.windows(5).any(|other| other == part)));
        assert_ne!(sealed, ours.seal(7, message.clone()), "each has its own nonce");
        assert_eq!(ours.open(7, sealed.clone()), message);
        assert_eq!(ours.open(8, sealed.clone()), [SEALED], "in another row");
        assert_eq!(cipher(2).open(7, sealed.clone()), [SEALED], "in another file");
        assert_eq!(Cipher::default().open(7, sealed), [SEALED], "without a key");
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let sealed = cipher(1).seal(7, b"message".to_vec());
        for at in 1..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert_eq!(cipher(1).open(7, damaged), [SEALED], "byte {at}");
        }
        for length in 1..sealed.len() {
            assert_eq!(cipher(1).open(7, sealed[..length].to_vec()), [SEALED], "cut to {length}");
        }
    }

    #[test]
    fn a_plain_message_stays_as_it_is() {
        assert_eq!(cipher(1).open(7, vec![1, 2, 3]), [1, 2, 3]);
        assert_eq!(Cipher::default().seal(7, vec![1, 2, 3]), [1, 2, 3]);
        assert_eq!(cipher(1).open(7, Vec::new()), Vec::<u8>::new());
    }

    #[test]
    fn a_key_is_64_digits_and_is_never_shown() {
        let key = BufferKey::parse(DIGITS).expect("a key");
        assert_eq!(key.0.last(), Some(&0x1F));
        assert_eq!(format!("{key:?}"), "BufferKey(…)");
        assert!(BufferKey::parse(&DIGITS[1..]).is_none(), "63 digits");
        assert!(BufferKey::parse(&[b'g'; 64]).is_none(), "no digits");
    }

    #[test]
    fn a_key_file_that_everybody_may_read_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        std::fs::write(&path, DIGITS).expect("written");
        let mode =
            |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        mode(0o644);
        let error = BufferKey::read(&path).expect_err("exposed").to_string();
        assert!(error.contains("644") && error.contains("chmod 600"), "{error}");
        mode(0o640);
        BufferKey::read(&path).expect("a key");
        std::fs::write(&path, "secret").expect("written");
        let error = BufferKey::read(&path).expect_err("no key").to_string();
        assert!(error.contains("openssl rand -hex 32") && !error.contains("secret"), "{error}");
    }
}
