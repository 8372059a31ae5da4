//! The alarm engine: samples in, alarm transitions out (ISA-18.2 / IEC 62682).
//!
//! Pure: the caller passes the monotonic clock (delays and timers run on it alone) and the wall clock,
//! which is written into transitions and, for shelved alarms, kept across a restart. One [`AlarmEngine`]
//! serves the alarms of one machine and is owned by the task that reads the machine, so that a decision
//! waits for nobody. The cloud uses the same engine to try a rule on history.
//!
//! ```text
//! sample, link ─▶ condition ─▶ delay ─▶ lifecycle ─▶ transition
//!                 abnormal?    on, off    states A to I
//!                 gate ───────────────────▶ ▲ ◀── commands of people
//! ```
//!
//! * A value that is not good makes what depends on it unknown: it neither raises nor clears, and a delay
//!   that runs rests. That the value or the machine is gone is an alarm of its own (`bad_quality`,
//!   `communication`).
//! * A timer that is noticed late is carried out as of its own instant, before what came after it. So the
//!   answers do not depend on when [`AlarmEngine::handle_timeout`] is called.
//! * A sample that moves nothing costs no allocation.
//! * What hides an alarm (shelf, gate, out of service) hides it only: the process goes on below, and
//!   every change there is a transition, too.

mod condition;
mod delay;
mod engine;
mod error;
mod expression;
mod input;
mod lifecycle;
mod rule;
mod snapshot;

pub use engine::{AlarmEngine, Link};
pub use error::{EngineError, Refusal};
pub use expression::{Expression, ExpressionError};
pub use snapshot::{AlarmSnapshot, PastCommand, Snapshot};
