//! What the benches share: machines whose server notes when each request came, agents to read them, and
//! figures from those instants.
//!
//! The server is no code of the agent and runs in a process of its own, so that its notes are a judgement
//! from outside. A bench program runs itself a second time for it.

pub mod agent;
pub mod server;
pub mod table;
pub mod timing;

use anyhow::Result;

/// What a bench program was started for.
#[derive(Debug, PartialEq, Eq)]
pub enum Role {
    /// To measure.
    Measure,
    /// To serve machines; its argument.
    Serve(String),
    /// To do something of its own; name and argument.
    Part(String, String),
    /// By a runner of tests, which builds benches and must not run them.
    Nothing,
}

/// Reads the command line.
#[must_use]
pub fn role() -> Role {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [part, argument] if part == server::ROLE => Role::Serve(argument.clone()),
        [part, argument] if !part.starts_with('-') => Role::Part(part.clone(), argument.clone()),
        all if all.iter().any(|a| a == "--bench") => Role::Measure,
        _ => Role::Nothing,
    }
}

/// A runtime for the measuring side, which mostly waits.
///
/// # Errors
/// The system gives none.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Which build this is: figures of any other than `release` mean nothing.
#[must_use]
pub const fn profile() -> &'static str {
    if cfg!(debug_assertions) { "dev (figures of this build mean nothing)" } else { "release" }
}
