//! The certificate authority of an installation: it identifies gateways to the backend and the backend to
//! the gateways.
//!
//! ```text
//! root (ca.crt, ca.key)  ──signs──▶  issuer (issuer.crt, issuer.key)  ──signs──▶  servers, gateways
//! ```
//!
//! Invariants
//! - The root is never made anew in silence, because every gateway would be locked out; it is replaced with an
//!   overlap ([`CertificateAuthority::rotate_root`]). Its key is needed only to make an issuer or the next root and
//!   may be kept off line otherwise.
//! - Keys are ECDSA P-256. Key files are readable by their owner only.
//! - A gateway's identity is the URI `urn:mfp:TENANT:GATEWAY` in the subject alternative name of its
//!   certificate; the common name `TENANT/GATEWAY` repeats it for people and for external brokers. Of a gateway's
//!   certificate request only the public key is used.
//! - Configurations are signed by a certificate of its own (`signer.crt`, `signer.key`), which may be lost: a new
//!   one is made. It names no gateway and no server.
//! - Every certificate is handed out with the issuer's behind it; trust begins at the root.
//!
//! The crate issues; reading an identity out of a presented certificate is the endpoint's work.

mod authority;
mod broker;
mod error;
mod files;
mod issue;
mod rotation;
mod signer;
mod tls;

pub use authority::CertificateAuthority;
pub use broker::{BACKEND_NAME, PROBE_NAME};
pub use error::Error;
pub use files::{ISSUER_CERTIFICATE_FILE, ISSUER_KEY_FILE, ROOT_CERTIFICATE_FILE, ROOT_KEY_FILE};
pub use issue::{IssuedCertificate, IssuedIdentity, IssuedServer, REQUEST_BYTES_MAX};
pub use rotation::{AuthorityCertificate, AuthorityStatus};
pub use signer::{ConfigurationSigner, Signature};
