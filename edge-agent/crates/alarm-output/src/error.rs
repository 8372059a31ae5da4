//! What is wrong with the settings of an output.

use thiserror::Error;

/// A setting that an output cannot have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OutputError {
    /// A text that is no id.
    #[error(
        "output id {text:?} is not valid: use 1 to 63 characters a-z, 0-9 and '-', beginning and ending with a letter or digit"
    )]
    Id {
        /// The text, cut to 80 characters.
        text: String,
    },
    /// A pace outside its limits.
    #[error("{what} is {value}; {min} to {max} are allowed")]
    Pace {
        /// Which part of it.
        what: &'static str,
        /// As given.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// A text that is no address of a webhook.
    #[error("{problem}; write http://HOST:PORT/PATH or https://HOST:PORT/PATH")]
    Url {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An address outside the plant.
    #[error(
        "{host} lies outside the local network; use a loopback or private address, or set allow_public = true"
    )]
    Public {
        /// The address.
        host: String,
    },
    /// A certificate authority is missing, or has nothing to do.
    #[error("{problem}")]
    Authority {
        /// Which of both, and what to do.
        problem: &'static str,
    },
    /// A command that cannot be run as it is.
    #[error("{problem}")]
    Command {
        /// What is wrong and what is allowed.
        problem: String,
    },
}
