//! Session tokens and the cookie that carries them (RFC 6265bis).

use std::fmt;

use axum::http::{HeaderMap, HeaderValue, header};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use sha2::{Digest as _, Sha256};

/// The name of the session cookie.
pub(crate) const COOKIE: &str = "mfp_session";

/// Bytes of randomness in a token: 256 bits cannot be guessed.
const TOKEN_BYTES: usize = 32;

/// A session token: what the browser holds. Stores hold its digest only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token([u8; TOKEN_BYTES]);

impl Token {
    /// A fresh one.
    pub(crate) fn generate() -> std::io::Result<Self> {
        let mut bytes = [0; TOKEN_BYTES];
        OsRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(bytes))
    }

    /// The one in the request's session cookie, if there is one of the right form.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == COOKIE).find_map(|(_, value)| Self::parse(value))
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != TOKEN_BYTES * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut bytes = [0; TOKEN_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// What the store keeps.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// The `Set-Cookie` header that gives it to the browser.
    pub(crate) fn set_cookie(&self, lifetime_s: u64, security: CookieSecurity) -> HeaderValue {
        let hex: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        cookie(&hex, lifetime_s, security)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The `Set-Cookie` header that takes the token away.
pub(crate) fn clear_cookie(security: CookieSecurity) -> HeaderValue {
    cookie("", 0, security)
}

/// Whether the browser may send the cookie over plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CookieSecurity {
    /// Only over TLS.
    TlsOnly,
    /// Also over plain HTTP: the browser and the backend are on one machine.
    PlainLoopback,
}

impl CookieSecurity {
    /// Decided by the name under which the browser sees us: behind a proxy it is the public one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        if matches!(name, "localhost" | "127.0.0.1" | "::1") { Self::PlainLoopback } else { Self::TlsOnly }
    }
}

fn cookie(value: &str, lifetime_s: u64, security: CookieSecurity) -> HeaderValue {
    let secure = match security {
        CookieSecurity::TlsOnly => "; Secure",
        CookieSecurity::PlainLoopback => "",
    };
    let text = format!("{COOKIE}={value}; Path=/; Max-Age={lifetime_s}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::try_from(text).expect("the token is hexadecimal")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).expect("a header value"))])
    }

    #[test]
    fn a_token_finds_its_way_through_the_browser() {
        let token = Token::generate().expect("randomness");
        let set = token.set_cookie(60, CookieSecurity::TlsOnly);
        let set = set.to_str().expect("text");
        assert!(set.ends_with("; Path=/; Max-Age=60; HttpOnly; SameSite=Strict; Secure"), "{set}");
        let sent = format!("other=1; {}; x=y", set.split(';').next().expect("a pair"));
        assert_eq!(Token::from_headers(&headers(header::COOKIE, &sent)), Some(token));
    }

    #[test]
    fn two_tokens_differ_and_so_do_their_digests() {
        let (a, b) = (Token::generate().expect("randomness"), Token::generate().expect("randomness"));
        assert_ne!(a, b);
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn a_cookie_of_another_form_is_no_token() {
        for bad in ["", "abc", &"z".repeat(64), &"+1".repeat(32), &"a".repeat(65)] {
            assert_eq!(
                Token::from_headers(&headers(header::COOKIE, &format!("{COOKIE}={bad}"))),
                None,
                "{bad}"
            );
        }
        assert_eq!(Token::from_headers(&HeaderMap::new()), None);
    }

    #[test]
    fn only_a_browser_on_this_machine_may_use_plain_http() {
        for local in ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080"] {
            assert_eq!(
                CookieSecurity::of(&headers(header::HOST, local)),
                CookieSecurity::PlainLoopback,
                "{local}"
            );
        }
        for public in ["plant.example", "localhost.example:80", "10.0.0.1", "[fe80::1]:80"] {
            assert_eq!(
                CookieSecurity::of(&headers(header::HOST, public)),
                CookieSecurity::TlsOnly,
                "{public}"
            );
        }
        assert_eq!(CookieSecurity::of(&HeaderMap::new()), CookieSecurity::TlsOnly);
    }
}
