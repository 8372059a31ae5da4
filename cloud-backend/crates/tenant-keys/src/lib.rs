//! Keys of tenants: what encrypts their samples at rest, and how a key is kept.
//!
//! ```text
//! root key (a file, or a service)  ── wraps ──▶  data key of a tenant  ── derives ──▶  key of blocks, of objects, of backups
//!   never stored beside the data                   stored wrapped                        never stored
//! ```
//!
//! * A [`RootKey`] wraps data keys, bound to the tenant and the key's number, so that no tenant's key opens as another's.
//!   Rotating it wraps the data keys anew; no block is touched.
//! * A [`KeyRing`] has the data keys of a tenant. The newest seals; each opens what it sealed. A sealed block names its key.
//! * To destroy the wrapped keys of a tenant is to destroy all that they sealed, wherever copies of it lie. Copies of the
//!   keys therefore do not belong into a backup of the data.
//!
//! ```text
//! sealed block: offset size
//!                    0    1  0xE2
//!                    1    4  number of the data key, little-endian
//!                    5   12  nonce, random
//!                   17    …  the block, AES-256-GCM
//!                    …   16  tag
//! ```
//!
//! 2³² random nonces are allowed for a key; a plant seals some ten million blocks a year.

mod error;
mod file_root;
mod ring_of_keys;
mod root;

pub use error::KeyError;
pub use file_root::FileRoot;
pub use ring_of_keys::{KeyRing, Purpose, SEALED_BYTES, is_sealed};
pub use root::{DataKey, KEY_BYTES, KeyId, RootId, RootKey, SealedKey};
