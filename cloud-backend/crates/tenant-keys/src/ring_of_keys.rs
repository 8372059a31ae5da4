//! The data keys of a tenant at work.

use std::collections::BTreeMap;
use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};

use crate::{DataKey, KeyError, KeyId};

/// First byte of a sealed block. Batches, heads, bodies and rollups begin with others.
const SEALED: u8 = 0xE2;

const HEAD_BYTES: usize = 1 + 4 + NONCE_LEN;

/// What sealing adds to a block.
pub const SEALED_BYTES: usize = HEAD_BYTES + 16;

/// What a key is used for. Each purpose has a key of its own, derived from the data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Batches, segments and rollups in a store.
    Blocks,
    /// Keys of the objects of the archive.
    Objects,
    /// Backups.
    Backups,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Blocks, Self::Objects, Self::Backups];

    const fn label(self) -> &'static [u8] {
        match self {
            Self::Blocks => b"cloud-backend blocks 1",
            Self::Objects => b"cloud-backend objects 1",
            Self::Backups => b"cloud-backend backups 1",
        }
    }
}

/// The data keys of one tenant. The newest seals.
#[derive(Default)]
pub struct KeyRing {
    keys: BTreeMap<KeyId, BTreeMap<Purpose, LessSafeKey>>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

/// Whether a block is sealed; one that is not was stored before there was a key, or without one.
#[must_use]
pub fn is_sealed(stored: &[u8]) -> bool {
    stored.first() == Some(&SEALED)
}

impl KeyRing {
    /// Of these keys.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = (KeyId, DataKey)>) -> Self {
        let derived = |(id, key): (KeyId, DataKey)| (id, Purpose::ALL.map(|p| (p, derive(&key, p))).into());
        Self { keys: keys.into_iter().map(derived).collect() }
    }

    /// The key that seals.
    #[must_use]
    pub fn newest(&self) -> Option<KeyId> {
        self.keys.last_key_value().map(|(id, _)| *id)
    }

    /// Whether this key is there.
    #[must_use]
    pub fn has(&self, key: KeyId) -> bool {
        self.keys.contains_key(&key)
    }

    /// Seals a block for a place. It opens at the same place only.
    ///
    /// # Errors
    /// There is no key.
    pub fn seal(&self, purpose: Purpose, place: &[u8], block: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (id, keys) = self.keys.last_key_value().ok_or(KeyError::NoKey)?;
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut out = Vec::with_capacity(block.len() + SEALED_BYTES);
        out.push(SEALED);
        out.extend(id.0.to_le_bytes());
        out.extend(nonce);
        out.extend(block);
        let tag = keys[&purpose]
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place),
                &mut out[HEAD_BYTES..],
            )
            .expect("a block is far below the 64 GiB of the cipher");
        out.extend(tag.as_ref());
        Ok(out)
    }

    /// Opens a block at its place. One that is not sealed is answered as it is.
    ///
    /// # Errors
    /// Its key is not there, it is damaged, or it was sealed for another place or purpose.
    pub fn open(&self, purpose: Purpose, place: &[u8], mut stored: Vec<u8>) -> Result<Vec<u8>, KeyError> {
        if !is_sealed(&stored) {
            return Ok(stored);
        }
        let Some((head, _)) = stored.split_first_chunk::<HEAD_BYTES>() else { return Err(KeyError::Damaged) };
        let id = KeyId(u32::from_le_bytes([head[1], head[2], head[3], head[4]]));
        let nonce: [u8; NONCE_LEN] = std::array::from_fn(|index| head[5 + index]);
        let keys = self.keys.get(&id).ok_or(KeyError::UnknownKey { key: id })?;
        let length = keys[&purpose]
            .open_within(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut stored, HEAD_BYTES..)
            .map_err(|_| KeyError::Damaged)?
            .len();
        stored.truncate(length);
        Ok(stored)
    }
}

fn derive(key: &DataKey, purpose: Purpose) -> LessSafeKey {
    let material = Salt::new(HKDF_SHA256, &[]).extract(key.0.as_slice());
    let info = [purpose.label()];
    let derived = material.expand(&info, &AES_256_GCM).expect("32 bytes are not too many");
    LessSafeKey::new(UnboundKey::from(derived))
}

#[cfg(test)]
mod tests;
