//! Tenants, users and sessions.

use std::fmt;

use plant_model::{TenantId, Timestamp};
use thiserror::Error;

use crate::Role;

/// A customer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name for people.
    pub name: String,
}

/// A text that is no user name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "user name {text:?} is not valid: use 1 to 64 characters a-z, 0-9, '.', '_', '-' and '@', beginning with a letter or digit"
)]
pub struct UserNameError {
    /// The text as given, cut to 80 characters.
    pub text: String,
}

/// The name by which a user logs in. Unique in the installation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

impl UserName {
    /// Parses a user name.
    ///
    /// # Errors
    /// The text breaks the rule; the error repeats both.
    pub fn new(text: &str) -> Result<Self, UserNameError> {
        let inner =
            |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'@');
        let bytes = text.as_bytes();
        let begins_well = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        if begins_well && bytes.len() <= 64 && bytes.iter().all(inner) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UserNameError { text: text.chars().take(80).collect() })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password hash in PHC string format. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// From a PHC string; whoever verifies a password parses it.
    #[must_use]
    pub fn from_phc(text: String) -> Self {
        Self(text)
    }

    /// The PHC string.
    #[must_use]
    pub fn as_phc(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// A person who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name used to log in.
    pub name: UserName,
    /// The name shown to people.
    pub display_name: String,
    /// What the user may see and do.
    pub role: Role,
    /// What the password is verified against.
    pub password_hash: PasswordHash,
}

/// SHA-256 of a session token. The token itself is never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(pub [u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

/// A login that is still good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Digest of its token.
    pub token_sha256: TokenDigest,
    /// Who logged in.
    pub user: UserName,
    /// When.
    pub created_at: Timestamp,
    /// From when on the token is worth nothing.
    pub expires_at: Timestamp,
}

impl SessionRecord {
    /// Whether the session is still good.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_name_is_what_can_be_typed_and_logged_without_quoting() {
        for good in ["anna", "a.b", "anna@acme.example", "0", &"a".repeat(64)] {
            assert_eq!(UserName::new(good).expect(good).as_str(), good);
        }
        for bad in ["", "Anna", "a b", "-a", "@a", "a\n", "ä", &"a".repeat(65)] {
            let error = UserName::new(bad).expect_err(bad);
            assert!(error.to_string().contains("64 characters"), "{error}");
        }
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        let hash = PasswordHash::from_phc("$argon2id$secret".into());
        let shown = format!("{hash:?} {:?}", TokenDigest([7; 32]));
        assert!(!shown.contains("secret") && !shown.contains('7'), "{shown}");
    }

    #[test]
    fn a_session_ends_at_its_expiry_and_not_after_it() {
        let session = SessionRecord {
            token_sha256: TokenDigest([0; 32]),
            user: UserName::new("anna").expect("valid"),
            created_at: Timestamp::from_micros(0),
            expires_at: Timestamp::from_micros(10),
        };
        assert!(session.is_valid(Timestamp::from_micros(9)));
        assert!(!session.is_valid(Timestamp::from_micros(10)));
    }
}
