//! The identity of this gateway towards the backend (SPEC section 12): a key made here that never leaves, a
//! certificate for it, and the roots by which the backend is known.
//!
//! | file | what | mode |
//! |---|---|---|
//! | `gateway.pem` | the key, then the certificate and its issuer's; one file, so that both change together | 0600 |
//! | `ca.crt` | the roots | 0644 |
//! | `gateway.pem.new`, `ca.crt.new` | what is being tried; a left-over does no harm | as above |
//!
//! A new certificate takes the place of the old one only after the backend has accepted it ([`renew`]): a
//! renewal that fails at any step leaves what worked. A certificate that has ended still gets a new one, for
//! a year, so that a gateway that was switched off needs no visit.

mod client;
mod configuration;
mod enrol;
mod error;
mod files;
mod renew;
mod signature;
mod update;

pub use configuration::{ConfigurationClient, Fetched};
pub use enrol::{Enrolled, EnrolmentOrder, enrol};
pub use error::IdentityError;
pub use files::{CERTIFICATE_FILE, CertificateTimes, IdentityFiles, ROOTS_FILE};
pub use renew::{RenewalState, Renewer, renew};
pub use signature::{SignatureError, Verifier};
pub use update::{Desired, UpdateClient};
