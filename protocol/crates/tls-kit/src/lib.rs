//! The one place that builds TLS configurations, of clients and of servers.
//!
//! - TLS 1.3, and 1.2 only towards servers that are not ours ([`Versions::With12`]).
//! - Trust is what a file names ([`Roots`]) or what a code pins ([`Pinned`]); never what the system trusts.
//! - Certificates of servers are judged by a time that is never earlier than what is known to have been
//!   ([`TlsTime`]).
//! - A server resumes no session: every connection presents its certificate anew. Its configuration is replaced
//!   while it listens, connections that are open stay ([`ServerTls`]).
//! - Private keys are not printed ([`KeyPem`], [`Identity`]).

mod client;
mod error;
mod pem;
mod pin;
mod server;
mod time;
mod verify;

pub use client::{Trust, Versions, client};
pub use error::TlsError;
pub use pem::{Identity, KeyPem, Roots};
pub use pin::Pinned;
pub use server::{Clients, ServerTls, server};
pub use time::TlsTime;

/// Gives libraries that ask for the process's provider of cryptography the one that is used here. Where somebody set one
/// before, that stays.
pub fn set_for_process() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
