//! Alarms in the words of ISA-18.2 / IEC 62682.

mod condition;
mod definition;
mod operation;
mod state;
mod timers;
mod transition;

pub use condition::{AlarmCondition, AlarmKind, LimitKind, NormalState, Setpoint};
pub use definition::{AcknowledgeClass, AlarmDefinition, AlarmPriority};
pub use operation::{AlarmCommand, OperatorAction};
pub use state::{AlarmFlags, AlarmState};
pub use timers::AlarmTimers;
pub use transition::{AlarmTransition, TransitionCause};
