//! The alarm engine: samples in, alarm transitions out (ISA-18.2 / IEC 62682).
//!
//! Pure: the caller passes the monotonic clock (delays run on it alone) and the wall clock (only
//! written into transitions). One [`AlarmEngine`] serves the alarms of one machine and is owned by the
//! task that reads the machine, so that a decision waits for nobody. The cloud uses the same engine to
//! try a rule on history.
//!
//! What it decides today: high and low limits with deadband, on-delay and off-delay; states A
//! (normal) and B (unacknowledged), where a return to normal acknowledges by itself (row 6 of the
//! standard's transition table). A bad sample neither raises nor clears.

mod rule;

use std::collections::HashMap;

use plant_model::{
    AlarmDefinition, AlarmId, AlarmTransition, MachineId, Monotonic, Sample, TagId, Timestamp,
};
use thiserror::Error;

use rule::Rule;
pub use rule::Snapshot;

/// Why a set of alarm definitions cannot run.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum EngineError {
    /// The alarm watches a tag that the machine does not have.
    #[error("alarm {alarm} watches tag {tag}, which machine {machine} does not have")]
    UnknownTag {
        /// The machine.
        machine: MachineId,
        /// The alarm.
        alarm: AlarmId,
        /// The tag it names.
        tag: TagId,
    },
    /// A limit or deadband is not a usable number.
    #[error("alarm {alarm} has {field} {value}; a finite number{hint} is needed")]
    Number {
        /// The alarm.
        alarm: AlarmId,
        /// `limit` or `deadband`.
        field: &'static str,
        /// The value given.
        value: f64,
        /// What more is asked of it.
        hint: &'static str,
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

/// The alarms of one machine.
#[derive(Debug)]
pub struct AlarmEngine {
    machine: MachineId,
    rules: Vec<Rule>,
    /// For each tag, by its position in the machine's tag list, the rules that watch it.
    rules_of_tag: Vec<Vec<usize>>,
}

impl AlarmEngine {
    /// An engine for the alarms of `machine`, whose tags are named by their position in `tags`.
    /// `snapshots` restore what was active and how often each alarm had occurred before a restart.
    ///
    /// # Errors
    /// A definition names an unknown tag, repeats an id or has an unusable number.
    pub fn new(
        machine: MachineId,
        tags: &[TagId],
        definitions: Vec<AlarmDefinition>,
        snapshots: &HashMap<AlarmId, Snapshot>,
    ) -> Result<Self, EngineError> {
        let mut rules_of_tag = vec![Vec::new(); tags.len()];
        let mut rules: Vec<Rule> = Vec::with_capacity(definitions.len());
        for definition in definitions {
            check_numbers(&definition)?;
            let alarm = definition.id.clone();
            if rules.iter().any(|r| r.id() == &alarm) {
                return Err(EngineError::Duplicate { machine, alarm });
            }
            let Some(position) = tags.iter().position(|t| *t == definition.tag) else {
                return Err(EngineError::UnknownTag { machine, alarm, tag: definition.tag });
            };
            rules_of_tag[position].push(rules.len());
            rules.push(Rule::new(definition, snapshots.get(&alarm).copied().unwrap_or_default()));
        }
        Ok(Self { machine, rules, rules_of_tag })
    }

    /// Takes a sample of the tag at position `tag` and appends what it moves to `out`.
    ///
    /// Costs no allocation while nothing moves.
    pub fn handle_sample(
        &mut self,
        tag: usize,
        sample: &Sample,
        now: Monotonic,
        wall: Timestamp,
        out: &mut Vec<AlarmTransition>,
    ) {
        let Some(watching) = self.rules_of_tag.get(tag) else { return };
        if !sample.quality.is_good() {
            return;
        }
        let Some(value) = sample.value.as_ref() else { return };
        for &index in watching {
            self.rules[index].observe(value, sample.timestamp(), now);
            out.extend(self.rules[index].advance(&self.machine, now, wall));
        }
    }

    /// When a delay ends next, if one is running.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Monotonic> {
        self.rules.iter().filter_map(Rule::due_at).min()
    }

    /// Ends the delays that are due and appends what they move to `out`.
    pub fn handle_timeout(&mut self, now: Monotonic, wall: Timestamp, out: &mut Vec<AlarmTransition>) {
        for rule in &mut self.rules {
            out.extend(rule.advance(&self.machine, now, wall));
        }
    }

    /// How many alarms are active now.
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.rules.iter().filter(|r| r.is_active()).count()
    }
}

fn check_numbers(definition: &AlarmDefinition) -> Result<(), EngineError> {
    let bad =
        |field, value, hint| Err(EngineError::Number { alarm: definition.id.clone(), field, value, hint });
    if !definition.limit.is_finite() {
        return bad("limit", definition.limit, "");
    }
    if !definition.deadband.is_finite() || definition.deadband < 0.0 {
        return bad("deadband", definition.deadband, " of zero or more");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
