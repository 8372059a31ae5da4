//! Decisions about updates of the agent (SPEC section 14): whether a version that the backend wants is asked for, what
//! is to be done next about one that is installed, and whether it does as well as the version before.
//!
//! Two programs share them. The agent, which may not install anything, leaves a [`Request`] and reads the [`Journal`].
//! The installer, which root runs, takes the request and keeps the journal: one document, replaced as a whole before
//! each [`Step`] is taken, so that whoever is killed at any moment goes on from it, or goes back.
//!
//! | step | if it is done | if it fails |
//! |---|---|---|
//! | [`Step::Fetch`]: both packages are on the disk | installing | failed; nothing was changed |
//! | [`Step::Install`]: the new version, and a restart | verifying | rolling back |
//! | [`Step::Watch`]: the new version does as well | done | rolling back |
//! | [`Step::Restore`]: the version before, and a restart | verifying the version before | stranded |
//! | [`Step::WatchFormer`]: that runs | rolled back | stranded |
//!
//! Time, files and health are arguments; nothing here reads a clock or a file.

mod decision;
mod journal;
mod maintenance;
mod request;
mod watch;

pub use decision::{Act, Decision, Policy, View, decide};
pub use journal::{Journal, JournalError, Phase, Step};
pub use maintenance::{Maintenance, MaintenanceError};
pub use request::{Request, RequestError};
pub use watch::{Look, Patience, Verdict, Watch};

#[cfg(test)]
mod tests;
