//! The certificate authority of an installation: it identifies gateways to the MQTT endpoint and the
//! endpoint to the gateways.
//!
//! Invariants
//! - There is one authority per installation, made once and kept for ever: its key pair is never made
//!   anew in silence, because every gateway would be locked out.
//! - Keys are ECDSA P-256. The key file is readable by its owner only.
//! - A gateway's identity is the URI `urn:mfp:TENANT:GATEWAY` in the subject alternative name of its
//!   certificate; the common name repeats it for people and decides nothing.
//!
//! The crate issues; reading an identity out of a presented certificate is the endpoint's work.

mod authority;
mod error;
mod files;

pub use authority::{CertificateAuthority, IssuedIdentity, IssuedServer};
pub use error::Error;
pub use files::{CERTIFICATE_FILE, KEY_FILE};
