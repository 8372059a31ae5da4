//! What alarms switch on at the gateway itself: horns, lamps, notices to a neighbour. Decisions only.
//!
//! An [`Output`] is told what its alarms do, what became of its orders and what time it is; it says what to
//! order next. It is a reconciler: what is wanted follows from the alarms as they stand, what is there is
//! known only after it was confirmed, and as long as they differ the output is driven.
//!
//! Invariants:
//! * Orders keep the pace of the rule: so far apart, so many a minute, whatever the alarms do and whatever
//!   fails. What was wanted in between is left out and counted; what is wanted last is driven.
//! * A failed order is repeated after a wait that doubles, up to a minute.
//! * One drive is under way at a time.
//! * What is switched at a machine that was lost is not known any more, and is driven as soon as it is back.
//! * An orderly stop drives the output to its safe level, at most [`STOP_ATTEMPTS`] times, ahead of the pace,
//!   unless it is to be left as it is. No heartbeat is sent from then on.
//! * A heartbeat that fails rests nine times as long as it took: who does not answer takes a tenth of the line.
//!
//! [`OutputPort`] is how an order leaves: adapters implement it.

mod error;
mod heartbeat;
mod order;
mod output;
mod pace;
mod rule;
mod target;

pub use error::OutputError;
pub use order::{Drive, Level, Order, Outcome, OutputPort, PortFuture, Reason, Safe, Standing};
pub use output::{Output, STOP_ATTEMPTS, Tally};
pub use pace::Pacing;
pub use rule::{AlarmFilter, AlarmKey, OutputId, OutputRule, When};
pub use target::{CommandLine, Reach, WebhookTarget, WebhookUrl, is_local};
