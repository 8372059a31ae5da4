//! Drives the outputs of alarms: the loop of one output, webhooks and commands.
//!
//! Each output has a task of its own ([`run`]), so that a web server that hangs delays no horn. Transitions
//! come through an [`OutputFeed`]: leaving one there takes a lock for the time of a copy and never waits,
//! and as only the newest state of each alarm is kept it can neither fill up nor lose what counts.

mod command;
mod error;
mod feed;
mod run;
mod tls;
mod webhook;

pub use command::Commands;
pub use error::WebhookError;
pub use feed::{Inbox, OutputFeed};
pub use run::{Failure, OutputBoard, OutputTask, OutputView, STOP_MAX, run};
pub use tls::check_authority;
pub use webhook::Webhook;
