//! Enrolment and renewal of a gateway's certificate (SPEC section 12): the one-time code and the bodies of
//! the gateways' API.
//!
//! A code is 20 bytes, written as 32 symbols of Crockford's base 32 in groups of four:
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 9 | pin: the first 10 bytes of the SHA-256 of the root certificate (DER) |
//! | 10 to 18 | secret: 72 random bits, good once and for a short time |
//! | 19 | check: the low byte of the CRC-32 of the bytes before, so that a slip of the hand is told from a wrong code |

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const PIN_BYTES: usize = 10;
const SECRET_BYTES: usize = 9;
const CODE_BYTES: usize = PIN_BYTES + SECRET_BYTES + 1;
/// Symbols of a code: five bits each.
const CODE_SYMBOLS: usize = CODE_BYTES * 8 / 5;
const GROUP: usize = 4;

/// What the backend answers to [`EnrolmentRequest`] under.
pub const ENROL_PATH: &str = "/gateway/v1/enrol";
/// What the backend answers to [`RenewalRequest`] under.
pub const RENEW_PATH: &str = "/gateway/v1/renew";

/// Where a gateway asks who it is: [`Identity`].
pub const IDENTITY_PATH: &str = "/gateway/v1/identity";

/// A one-time code with which a technician enrols a gateway. Secret until it is used.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentCode {
    pin: [u8; PIN_BYTES],
    secret: [u8; SECRET_BYTES],
}

/// Why a text is no code.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodeError {
    /// It has another length.
    #[error("the code has {found} letters and digits, not {CODE_SYMBOLS}: is all of it there?")]
    Length {
        /// How many it has, without spaces and dashes.
        found: usize,
    },
    /// A letter that no code has.
    #[error("the code has {found:?} in it, which no code has; U is not used")]
    Symbol {
        /// Which.
        found: char,
    },
    /// It is not as it was made.
    #[error("the code is mistyped: its last letters do not fit the rest; compare it letter by letter")]
    Mistyped,
}

impl EnrolmentCode {
    /// A code for an installation with this root certificate (DER). `secret` must be random.
    #[must_use]
    pub fn new(root_der: &[u8], secret: [u8; SECRET_BYTES]) -> Self {
        Self { pin: pin_of(root_der), secret }
    }

    /// Whether the code was made for the installation with this root certificate (DER).
    #[must_use]
    pub fn pins(&self, root_der: &[u8]) -> bool {
        self.pin == pin_of(root_der)
    }

    /// SHA-256 of the secret: what the backend keeps.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.secret).into()
    }

    fn bytes(&self) -> [u8; CODE_BYTES] {
        let mut bytes = [0; CODE_BYTES];
        bytes[..PIN_BYTES].copy_from_slice(&self.pin);
        bytes[PIN_BYTES..CODE_BYTES - 1].copy_from_slice(&self.secret);
        bytes[CODE_BYTES - 1] = check_of(&bytes[..CODE_BYTES - 1]);
        bytes
    }
}

fn pin_of(root_der: &[u8]) -> [u8; PIN_BYTES] {
    let digest = Sha256::digest(root_der);
    std::array::from_fn(|n| digest[n])
}

fn check_of(bytes: &[u8]) -> u8 {
    crc32fast::hash(bytes).to_le_bytes()[0]
}

impl fmt::Display for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes();
        for symbol in 0..CODE_SYMBOLS {
            if symbol > 0 && symbol % GROUP == 0 {
                f.write_str("-")?;
            }
            let bits = (0..5).fold(0, |bits, n| {
                let bit = symbol * 5 + n;
                bits << 1 | usize::from(bytes[bit / 8] >> (7 - bit % 8) & 1)
            });
            write!(f, "{}", char::from(SYMBOLS[bits]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for EnrolmentCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentCode(…)")
    }
}

impl FromStr for EnrolmentCode {
    type Err = CodeError;

    /// Takes lower case, spaces, dashes, and letters that are easily taken for digits.
    fn from_str(text: &str) -> Result<Self, CodeError> {
        let letters = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
        let mut bytes = [0_u8; CODE_BYTES];
        let mut count = 0;
        for letter in letters {
            let value = value_of(letter).ok_or(CodeError::Symbol { found: letter })?;
            for n in (0..5).filter(|_| count < CODE_SYMBOLS) {
                let bit = count * 5 + n;
                bytes[bit / 8] |= (value >> (4 - n) & 1) << (7 - bit % 8);
            }
            count += 1;
        }
        if count != CODE_SYMBOLS {
            return Err(CodeError::Length { found: count });
        }
        if bytes[CODE_BYTES - 1] != check_of(&bytes[..CODE_BYTES - 1]) {
            return Err(CodeError::Mistyped);
        }
        let part = |from: usize| move |n: usize| bytes[from + n];
        Ok(Self { pin: std::array::from_fn(part(0)), secret: std::array::from_fn(part(PIN_BYTES)) })
    }
}

fn value_of(letter: char) -> Option<u8> {
    let letter = match letter.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let position = SYMBOLS.iter().position(|symbol| char::from(*symbol) == letter)?;
    u8::try_from(position).ok()
}

impl Serialize for EnrolmentCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EnrolmentCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a gateway sends to be enrolled.
#[derive(Debug, Serialize, Deserialize)]
pub struct EnrolmentRequest {
    /// The code that the technician typed in.
    pub code: EnrolmentCode,
    /// A certificate request (PKCS #10, PEM) for the key that the gateway has made.
    pub certificate_request: String,
    /// The version of the agent.
    pub agent_version: String,
    /// `TENANT/GATEWAY` that the gateway is configured as; a code for another one is refused and stays good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
}

/// What an enrolled gateway gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The customer it belongs to.
    pub tenant: String,
    /// Its id.
    pub gateway: String,
    /// Where the MQTT endpoint is, if not on the host that answers this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt_host: Option<String>,
    /// The port of the MQTT endpoint, TLS.
    pub mqtt_port: u16,
    /// Its certificate and what it trusts.
    #[serde(flatten)]
    pub identity: Certified,
}

/// What a gateway sends to get a new certificate, over a connection made with the one it has.
#[derive(Debug, Serialize, Deserialize)]
pub struct RenewalRequest {
    /// A certificate request (PKCS #10, PEM) for a new key.
    pub certificate_request: String,
    /// The version of the agent.
    pub agent_version: String,
}

/// A certificate with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certified {
    /// The gateway's certificate followed by its issuer's, PEM.
    pub certificate: String,
    /// The root certificates to trust from now on, PEM.
    pub roots: String,
    /// Until when the certificate is good, microseconds since 1970 UTC.
    pub expires_at: i64,
    /// The backend's time, microseconds since 1970 UTC.
    pub now: i64,
}

/// Who the backend takes a gateway for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The customer.
    pub tenant: String,
    /// The gateway.
    pub gateway: String,
    /// The end of the certificate that was presented, microseconds since 1970 UTC.
    pub expires_at: i64,
    /// The backend's time, microseconds since 1970 UTC.
    pub now: i64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code() -> EnrolmentCode {
        EnrolmentCode::new(b"root", [1, 2, 3, 4, 5, 6, 7, 8, 9])
    }

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let text = code().to_string();
        assert_eq!((text.len(), text.matches('-').count()), (39, 7));
        let typed = [
            text.clone(),
            text.to_lowercase(),
            text.replace('-', ""),
            format!("  {} \n", text.replace('-', " ")),
            text.replace('0', "o").replace('1', "l"),
        ];
        for typed in typed {
            assert_eq!(typed.parse(), Ok(code()), "{typed}");
        }
    }

    #[test]
    fn a_code_that_is_cut_or_mistyped_is_told_from_a_wrong_one() {
        let text = code().to_string();
        assert_eq!(text[..38].parse::<EnrolmentCode>(), Err(CodeError::Length { found: 31 }));
        assert_eq!(format!("{text}0").parse::<EnrolmentCode>(), Err(CodeError::Length { found: 33 }));
        assert_eq!("U".parse::<EnrolmentCode>(), Err(CodeError::Symbol { found: 'U' }));
        let other = if text.starts_with('Z') { "Y" } else { "Z" };
        assert_eq!(format!("{other}{}", &text[1..]).parse::<EnrolmentCode>(), Err(CodeError::Mistyped));
    }

    #[test]
    fn a_code_recognises_its_installation_and_hides_its_secret() {
        let code = code();
        assert!(code.pins(b"root") && !code.pins(b"another root"));
        let other = EnrolmentCode::new(b"root", [9; 9]);
        assert_ne!(code.digest(), other.digest());
        assert_eq!(format!("{code:?}"), "EnrolmentCode(…)");
    }

    proptest! {
        #[test]
        fn every_code_comes_back_as_it_was(root in any::<Vec<u8>>(), secret in any::<[u8; 9]>()) {
            let code = EnrolmentCode::new(&root, secret);
            prop_assert_eq!(code.to_string().parse(), Ok(code));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,80}") {
            let _ = text.parse::<EnrolmentCode>();
        }
    }
}
