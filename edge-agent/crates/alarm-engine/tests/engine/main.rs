//! The engine as its callers see it: samples, time and commands in, transitions out.

mod conditions;
mod delays;
mod operation;
mod reference;
mod restart;
mod support;

/// A sample that moves nothing costs no allocation, whatever kind of alarm watches it.
mod quiet;
