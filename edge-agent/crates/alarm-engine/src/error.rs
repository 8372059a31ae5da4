//! Why a set of alarms cannot run, and why a command is not carried out.

use std::time::Duration;

use plant_model::{AlarmId, AlarmState, CommandId, MachineId, TagId};
use thiserror::Error;

use crate::ExpressionError;

/// Why a set of alarm definitions cannot run.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum EngineError {
    /// The alarm names a tag that the machine does not have.
    #[error("alarm {alarm} names the tag {tag}, which machine {machine} does not have")]
    UnknownTag {
        /// The machine.
        machine: MachineId,
        /// The alarm.
        alarm: AlarmId,
        /// The tag it names.
        tag: TagId,
    },
    /// A number or a time is not usable.
    #[error("alarm {alarm} has {field} {value}; {needed} is needed")]
    Number {
        /// The alarm.
        alarm: AlarmId,
        /// For example `limit`.
        field: &'static str,
        /// The value given.
        value: String,
        /// What is asked of it.
        needed: &'static str,
    },
    /// An expression cannot be read.
    #[error("{field} of alarm {alarm} cannot be read")]
    Expression {
        /// The alarm.
        alarm: AlarmId,
        /// `expression` or `suppress_while`.
        field: &'static str,
        /// What is wrong and where.
        #[source]
        source: ExpressionError,
    },
    /// Two alarms of the machine have the same id.
    #[error("alarm {alarm} is defined twice for machine {machine}")]
    Duplicate {
        /// The machine.
        machine: MachineId,
        /// The alarm.
        alarm: AlarmId,
    },
}

/// Why a command is not carried out. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The machine has no such alarm.
    #[error("there is no alarm {alarm}")]
    UnknownAlarm {
        /// The alarm named.
        alarm: AlarmId,
    },
    /// The state of the alarm does not allow it.
    #[error("cannot {command} {alarm}, which is {}: {hint}", state.name())]
    State {
        /// The alarm.
        alarm: AlarmId,
        /// The command's verb.
        command: &'static str,
        /// Its state.
        state: AlarmState,
        /// Why, or what to do first.
        hint: &'static str,
    },
    /// The time is zero or longer than the definition allows.
    #[error("{alarm} can be shelved for at most {allowed:?} and more than zero, not for {asked:?}")]
    ShelveTime {
        /// The alarm.
        alarm: AlarmId,
        /// The time asked for.
        asked: Duration,
        /// The longest time allowed.
        allowed: Duration,
    },
    /// Who hides an alarm says why.
    #[error("{command} {alarm}: a comment must say why")]
    CommentMissing {
        /// The alarm.
        alarm: AlarmId,
        /// The command's verb.
        command: &'static str,
    },
    /// Actor or comment is empty or too long.
    #[error("{field} has {bytes} bytes; 1 to {allowed} are allowed")]
    Text {
        /// `actor` or `comment`.
        field: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        allowed: usize,
    },
    /// The id was given to another command before.
    #[error("the command id {command} was used for another command; make a new one")]
    IdUsed {
        /// The id.
        command: CommandId,
    },
}
