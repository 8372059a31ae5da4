//! Decisions about machine files that come from the backend (SPEC section 13): which version is put into the
//! folder, when it is not, and when the set before it comes back. Time, files and health are arguments; the caller
//! writes what [`Record`] says, in the order it says.
//!
//! The [`Record`] is one document, replaced as a whole, and holds whole sets of files. Whoever is killed at any
//! moment finds in it what was under way, and [`Record::pending`] says what is left to be done in the folder:
//!
//! | step | record | folder |
//! |---|---|---|
//! | a version came | `waiting` | as it was |
//! | [`Record::begin`] | work: applying, with both sets | as it was |
//! | [`Record::pending`] is written | the same | the new set |
//! | [`Record::written`] | work: trial | the new set |
//! | [`Record::keep`] | `applied` | the new set |
//! | or [`Record::undo`] | work: undoing; the version is not tried again | the new set |
//! | [`Record::pending`] is written, [`Record::written`] | no work | the set before |
//!
//! A file that is neither of the old nor of the new set was edited at the gateway. It is never written over, except
//! by a version that names the very content it replaces, or on a technician's word ([`Record::restore`]).

mod files;
mod record;
mod standing;
mod trial;

pub use files::{Change, Files, digest, drift};
pub use record::{Attempt, Decision, Record, Staged, Version, Work};
pub use standing::Standing;
pub use trial::{Baseline, Health, Trial, Verdict};

#[cfg(test)]
mod tests;
