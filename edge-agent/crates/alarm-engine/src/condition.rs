//! When the process is abnormal: one evaluator for each kind of condition.
//!
//! An evaluator looks at the newest inputs and answers abnormal, normal or unknown. It keeps only what
//! its answer needs from before (the side of a deadband, a window of a moving value, the last change)
//! and never allocates.

mod stale;
mod window;

use std::time::Duration;

use plant_model::{AlarmCondition, Monotonic, NormalState, Setpoint, TagId, Value};

use self::stale::Stale;
use self::window::Window;
use crate::EngineError;
use crate::expression::{Expression, Program};
use crate::input::{Inputs, LinkStatus};

/// What is said of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Abnormal,
    Normal,
    /// Neither can be said: it neither raises nor clears.
    Unknown,
}

impl Verdict {
    const fn of(abnormal: bool) -> Self {
        if abnormal { Self::Abnormal } else { Self::Normal }
    }
}

/// Why a condition is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// A sample of the tag at this position.
    Sample(usize),
    /// Time passed.
    Time,
    /// The link to the machine came or went.
    Link,
}

/// Beyond a limit until back inside it by a deadband.
#[derive(Debug)]
pub(crate) struct Band {
    deadband: f64,
    beyond: Option<bool>,
}

impl Band {
    /// `excess` is how far the value is beyond the limit, negative inside. `before` is what held before
    /// the first value.
    fn judge(&mut self, excess: f64, before: bool) -> Verdict {
        if excess.is_nan() {
            return Verdict::Unknown;
        }
        let inside = -excess >= self.deadband && excess <= 0.0;
        let beyond = excess > 0.0 || (!inside && self.beyond.unwrap_or(before));
        self.beyond = Some(beyond);
        Verdict::of(beyond)
    }
}

#[derive(Debug)]
pub(crate) enum Reference {
    Fixed(f64),
    Tag(usize),
}

#[derive(Debug)]
pub(crate) enum Condition {
    /// `sign` is 1 for an upper limit, -1 for a lower one.
    Limit {
        tag: usize,
        sign: f64,
        limit: f64,
        band: Band,
    },
    Deviation {
        tag: usize,
        from: Reference,
        limit: f64,
        band: Band,
    },
    Rate {
        tag: usize,
        limit: f64,
        window: Window,
        band: Band,
    },
    OffNormal {
        tag: usize,
        normal: NormalState,
    },
    Stale {
        tag: usize,
        stale: Stale,
    },
    /// `covered`: another alarm tells that the link is gone.
    Quality {
        tag: usize,
        covered: bool,
    },
    Link,
    Expression(Program),
}

impl Condition {
    /// Looks up the tags of a condition. `covered` says that an alarm of the link itself exists.
    pub(crate) fn new(
        condition: &AlarmCondition,
        covered: bool,
        position: &impl Fn(&TagId) -> Result<usize, EngineError>,
        broken: impl Fn(crate::ExpressionError) -> EngineError,
    ) -> Result<Self, EngineError> {
        let band = |deadband: &f64| Band { deadband: *deadband, beyond: None };
        Ok(match condition {
            AlarmCondition::Limit { tag, kind, limit, deadband } => {
                let sign = if kind.is_upper() { 1.0 } else { -1.0 };
                Self::Limit { tag: position(tag)?, sign, limit: *limit, band: band(deadband) }
            }
            AlarmCondition::Deviation { tag, from, limit, deadband } => {
                let from = match from {
                    Setpoint::Fixed(number) => Reference::Fixed(*number),
                    Setpoint::Tag(other) => Reference::Tag(position(other)?),
                };
                Self::Deviation { tag: position(tag)?, from, limit: *limit, band: band(deadband) }
            }
            AlarmCondition::RateOfChange { tag, limit_per_second, over, deadband } => Self::Rate {
                tag: position(tag)?,
                limit: *limit_per_second,
                window: Window::new(*over),
                band: band(deadband),
            },
            AlarmCondition::OffNormal { tag, normal } => {
                Self::OffNormal { tag: position(tag)?, normal: normal.clone() }
            }
            AlarmCondition::Stale { tag, after } => {
                Self::Stale { tag: position(tag)?, stale: Stale::new(*after) }
            }
            AlarmCondition::BadQuality { tag } => Self::Quality { tag: position(tag)?, covered },
            AlarmCondition::Communication => Self::Link,
            AlarmCondition::Expression { text } => Self::Expression(bind(text, position, broken)?),
        })
    }

    /// The tag whose value decides; for an expression that of the trigger.
    pub(crate) fn deciding_tag(&self, trigger: Trigger) -> Option<usize> {
        match self {
            Self::Limit { tag, .. }
            | Self::Deviation { tag, .. }
            | Self::Rate { tag, .. }
            | Self::OffNormal { tag, .. }
            | Self::Stale { tag, .. }
            | Self::Quality { tag, .. } => Some(*tag),
            Self::Link => None,
            Self::Expression(_) => match trigger {
                Trigger::Sample(tag) => Some(tag),
                Trigger::Time | Trigger::Link => None,
            },
        }
    }

    /// Looks at the inputs. `before` is what is assumed to have held before the first of them.
    pub(crate) fn judge(
        &mut self,
        inputs: &Inputs,
        trigger: Trigger,
        before: bool,
        now: Monotonic,
    ) -> Verdict {
        match self {
            Self::Limit { tag, sign, limit, band } => match inputs.number(*tag) {
                Some(number) => band.judge((number - *limit) * *sign, before),
                None => Verdict::Unknown,
            },
            Self::Deviation { tag, from, limit, band } => {
                let from = match from {
                    Reference::Fixed(number) => Some(*number),
                    Reference::Tag(other) => inputs.number(*other),
                };
                match (inputs.number(*tag), from) {
                    (Some(number), Some(from)) => band.judge((number - from).abs() - *limit, before),
                    (None, _) | (_, None) => Verdict::Unknown,
                }
            }
            Self::Rate { tag, limit, window, band } => {
                let fresh = trigger == Trigger::Sample(*tag);
                match window.rate(inputs.number(*tag), fresh, now) {
                    Some(rate) => band.judge(rate.abs() - *limit, before),
                    None => Verdict::Unknown,
                }
            }
            Self::OffNormal { tag, normal } => {
                inputs.good(*tag).map_or(Verdict::Unknown, |value| off_normal(normal, value))
            }
            Self::Stale { tag, stale } => stale.judge(inputs, *tag, before, now),
            Self::Quality { tag, covered } => quality(inputs, *tag, *covered),
            Self::Link => match inputs.link() {
                LinkStatus::Unknown => Verdict::Unknown,
                LinkStatus::Up { .. } => Verdict::Normal,
                LinkStatus::Down => Verdict::Abnormal,
            },
            Self::Expression(program) => {
                program.run(|tag| inputs.number(tag)).map_or(Verdict::Unknown, Verdict::of)
            }
        }
    }

    /// When the verdict may change without a sample.
    pub(crate) fn due_at(&self) -> Option<Monotonic> {
        match self {
            Self::Stale { stale, .. } => stale.due_at(),
            Self::Rate { window, band, .. } if band.beyond == Some(true) => window.quiet_at(),
            Self::Limit { .. }
            | Self::Deviation { .. }
            | Self::Rate { .. }
            | Self::OffNormal { .. }
            | Self::Quality { .. }
            | Self::Link
            | Self::Expression(_) => None,
        }
    }
}

/// Reads an expression and looks up its tags.
pub(crate) fn bind(
    text: &str,
    position: &impl Fn(&TagId) -> Result<usize, EngineError>,
    broken: impl Fn(crate::ExpressionError) -> EngineError,
) -> Result<Program, EngineError> {
    Expression::parse(text).map_err(broken)?.bind(position)
}

fn off_normal(normal: &NormalState, value: &Value) -> Verdict {
    match normal {
        NormalState::Values(values) => Verdict::of(!values.iter().any(|v| is_same(v, value))),
        NormalState::Bit { number, set } => match value {
            Value::Int(word) => Verdict::of((word >> (*number).min(63)) & 1 != i64::from(*set)),
            Value::Bool(_) | Value::Float(_) | Value::Text(_) => Verdict::Unknown,
        },
    }
}

/// Equal as people see it: 1, 1.0 and true are the same.
fn is_same(a: &Value, b: &Value) -> bool {
    a == b || a.as_f64().is_some_and(|number| b.as_f64() == Some(number))
}

fn quality(inputs: &Inputs, tag: usize, covered: bool) -> Verdict {
    if covered && inputs.link() == LinkStatus::Down {
        return Verdict::Unknown;
    }
    if inputs.link() == LinkStatus::Down {
        return Verdict::Abnormal;
    }
    if !inputs.is_seen(tag) { Verdict::Unknown } else { Verdict::of(inputs.good(tag).is_none()) }
}

/// What a definition says, and what is needed instead.
pub(crate) type Unusable = (&'static str, String, &'static str);

/// Refuses what would make a condition senseless.
pub(crate) fn check(condition: &AlarmCondition) -> Result<(), Unusable> {
    let (limit, deadband) = (condition.limit().unwrap_or_default(), condition.deadband());
    require(limit.is_finite(), "limit", limit, "a finite number")?;
    require(
        deadband.is_finite() && deadband >= 0.0,
        "deadband",
        deadband,
        "a finite number of zero or more",
    )?;
    let time = |field, length: &Duration| require(!length.is_zero(), field, "0", "a time of more than zero");
    // A distance never is less than zero: it would never return.
    let distance = || require(deadband <= limit, "deadband", deadband, "a deadband of at most the limit");
    match condition {
        AlarmCondition::Deviation { from, .. } => {
            if let Setpoint::Fixed(number) = from {
                require(number.is_finite(), "setpoint", number, "a finite number")?;
            }
            require(limit >= 0.0, "limit", limit, "zero or more")?;
            distance()
        }
        AlarmCondition::RateOfChange { over, .. } => {
            time("over", over)?;
            require(limit > 0.0, "limit", limit, "more than zero")?;
            distance()
        }
        AlarmCondition::OffNormal { normal: NormalState::Bit { number, .. }, .. } => {
            require(*number <= 63, "bit", number, "a bit from 0 to 63")
        }
        AlarmCondition::OffNormal { normal: NormalState::Values(values), .. } => {
            require(!values.is_empty(), "normal", "nothing", "at least one normal value")
        }
        AlarmCondition::Stale { after, .. } => time("after", after),
        AlarmCondition::Limit { .. }
        | AlarmCondition::BadQuality { .. }
        | AlarmCondition::Communication
        | AlarmCondition::Expression { .. } => Ok(()),
    }
}

fn require(
    fulfilled: bool,
    field: &'static str,
    value: impl ToString,
    needed: &'static str,
) -> Result<(), Unusable> {
    if fulfilled { Ok(()) } else { Err((field, value.to_string(), needed)) }
}
