//! Password hashes: Argon2id (RFC 9106) with 19 MiB, 2 passes, 1 lane, the minimum that OWASP advises.

use std::sync::Arc;

use argon2::password_hash::SaltString;
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher as _, PasswordVerifier as _, Version};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use thiserror::Error;
use tokio::sync::Semaphore;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes computed at the same time. Each takes 19 MiB and some 20 ms of a core; more sign-ins wait.
const AT_ONCE: usize = 2;

/// Longest password, in bytes: a longer one is a mistake or an attack.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Why a password could not be hashed.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// It is empty or too long.
    #[error("the password has {0} bytes; 1 to {PASSWORD_BYTES_MAX} are allowed")]
    Length(usize),
    /// The system gave no random bytes for the salt.
    #[error("the system gave no random bytes")]
    Random(#[source] std::io::Error),
    /// The hash could not be computed.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// The hash of a password, in PHC string format, for the user's record. Takes some 20 ms: do not call it on
/// an asynchronous thread.
///
/// # Errors
/// The password is empty or too long, or the system has no random bytes.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    if !(1..=PASSWORD_BYTES_MAX).contains(&password.len()) {
        return Err(PasswordError::Length(password.len()));
    }
    let mut salt = [0; 16];
    OsRng.try_fill_bytes(&mut salt).map_err(|error| PasswordError::Random(std::io::Error::other(error)))?;
    let failed = |error: argon2::password_hash::Error| PasswordError::Hash(error.to_string());
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    let hash = hasher().hash_password(password.as_bytes(), &salt).map_err(failed)?;
    Ok(hash.to_string())
}

fn hasher() -> Argon2<'static> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).expect("the parameters are within Argon2's limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Whether a password fits a user's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Match {
    Right,
    Wrong,
}

/// Checks passwords off the asynchronous threads, a few at a time.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    permits: Arc<Semaphore>,
    /// The hash of a password nobody has: checked for an unknown user, so that both take the same time.
    decoy: Arc<str>,
}

impl Passwords {
    pub(crate) fn new() -> Result<Self, PasswordError> {
        let decoy = hash_password("no user has this password")?;
        Ok(Self { permits: Arc::new(Semaphore::new(AT_ONCE)), decoy: decoy.into() })
    }

    /// Checks `password` against the hash of a user's record, or does the same work when there is no user.
    pub(crate) async fn check(&self, password: String, hash: Option<&str>) -> Match {
        if password.len() > PASSWORD_BYTES_MAX {
            return Match::Wrong;
        }
        let known = hash.is_some();
        let hash: Arc<str> = hash.map_or_else(|| Arc::clone(&self.decoy), Arc::from);
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("never closed");
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let parsed = PasswordHash::new(&hash).ok()?;
            hasher().verify_password(password.as_bytes(), &parsed).ok()
        });
        match work.await {
            Ok(Some(())) if known => Match::Right,
            _ => Match::Wrong,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_names_its_parameters_and_never_repeats() {
        let (a, b) = (hash_password("secret").expect("hash"), hash_password("secret").expect("hash"));
        assert!(a.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{a}");
        assert_ne!(a, b, "each has its own salt");
    }

    #[test]
    fn an_empty_or_endless_password_is_refused() {
        assert!(matches!(hash_password(""), Err(PasswordError::Length(0))));
        assert!(matches!(hash_password(&"x".repeat(1_025)), Err(PasswordError::Length(1_025))));
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_matches() {
        let passwords = Passwords::new().expect("decoy");
        let hash = hash_password("secret").expect("hash");
        assert_eq!(passwords.check("secret".into(), Some(&hash)).await, Match::Right);
        assert_eq!(passwords.check("Secret".into(), Some(&hash)).await, Match::Wrong);
        assert_eq!(passwords.check("secret".into(), Some("no hash")).await, Match::Wrong);
        assert_eq!(passwords.check("no user has this password".into(), None).await, Match::Wrong);
        assert_eq!(passwords.check("x".repeat(2_000), Some(&hash)).await, Match::Wrong);
    }
}
