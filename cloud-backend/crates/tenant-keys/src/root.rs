//! Root keys, and the data keys that they wrap.

use std::fmt;

use plant_model::TenantId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::KeyError;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// The number of a data key of a tenant, from 1 on; the largest is the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u32);

/// The name of a root key: 1 to 32 characters `a-z 0-9 -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RootId(String);

impl RootId {
    /// A name, if it is one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let is_name = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        ((1..=32).contains(&name.len()) && name.bytes().all(is_name)).then(|| Self(name.to_owned()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A data key in the clear: wiped from memory with it, and never shown.
#[derive(Clone)]
pub struct DataKey(pub(crate) Zeroizing<[u8; KEY_BYTES]>);

impl DataKey {
    /// A new one, random.
    #[must_use]
    pub fn generate() -> Self {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(key.as_mut_slice());
        Self(key)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

/// A wrapped data key: what may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// The number.
    pub id: KeyId,
    /// Which root key wrapped it.
    pub root: RootId,
    /// Nonce, key and tag.
    pub wrapped: Vec<u8>,
}

/// Wraps and unwraps data keys. A file does ([`crate::FileRoot`]); a key management service may.
pub trait RootKey: Send + Sync {
    /// The root key that wraps now.
    fn current(&self) -> RootId;

    /// Wraps a data key of a tenant with the current root key.
    ///
    /// # Errors
    /// The root key cannot be used.
    fn wrap(&self, tenant: &TenantId, id: KeyId, key: &DataKey) -> Result<SealedKey, KeyError>;

    /// Unwraps a data key of a tenant, with the root key that wrapped it.
    ///
    /// # Errors
    /// The root key is not there, or the wrapped key is not this one.
    fn unwrap(&self, tenant: &TenantId, key: &SealedKey) -> Result<DataKey, KeyError>;
}

/// One root key of a file.
#[derive(Clone)]
pub(crate) struct Root {
    pub(crate) id: RootId,
    pub(crate) key: Zeroizing<[u8; KEY_BYTES]>,
}

impl Root {
    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, self.key.as_slice()).expect("the key has 32 bytes"))
    }

    pub(crate) fn wrap(&self, tenant: &TenantId, id: KeyId, key: &DataKey) -> SealedKey {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut body = Zeroizing::new(*key.0);
        let tag = self
            .cipher()
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                binding(tenant, id),
                body.as_mut_slice(),
            )
            .expect("a key is far below the limit of the cipher");
        let wrapped = [nonce.as_slice(), body.as_slice(), tag.as_ref()].concat();
        SealedKey { id, root: self.id.clone(), wrapped }
    }

    pub(crate) fn unwrap(&self, tenant: &TenantId, key: &SealedKey) -> Result<DataKey, KeyError> {
        let failed = || KeyError::Unwrap { key: key.id, root: self.id.clone() };
        let (nonce, body) = key.wrapped.split_first_chunk::<NONCE_LEN>().ok_or_else(failed)?;
        let mut body = Zeroizing::new(body.to_vec());
        let plain = self
            .cipher()
            .open_in_place(Nonce::assume_unique_for_key(*nonce), binding(tenant, key.id), &mut body)
            .map_err(|_| failed())?;
        let bytes: [u8; KEY_BYTES] = (&*plain).try_into().map_err(|_| failed())?;
        Ok(DataKey(Zeroizing::new(bytes)))
    }
}

/// What a wrapped key is bound to.
fn binding(tenant: &TenantId, id: KeyId) -> Aad<Vec<u8>> {
    Aad::from([b"cloud-backend data key 1\0", &id.0.to_le_bytes()[..], tenant.as_str().as_bytes()].concat())
}
