//! An engine on a virtual clock, and a tape of what happened.

use std::time::Duration;

use alarm_engine::{AlarmEngine, Link, Refusal, Snapshot};
use plant_model::*;

pub(crate) const TAGS: [&str; 4] = ["t", "u", "state", "word"];

pub(crate) fn tag(id: &str) -> TagId {
    TagId::new(id).expect("valid")
}

pub(crate) fn alarm(id: &str) -> AlarmId {
    AlarmId::new(id).expect("valid")
}

pub(crate) fn machine() -> MachineId {
    MachineId::new("press-1").expect("valid")
}

pub(crate) fn define(id: &str, condition: AlarmCondition) -> AlarmDefinition {
    AlarmDefinition::new(alarm(id), condition, AlarmPriority::High, "look")
}

/// An alarm above a limit of `t`.
pub(crate) fn high(id: &str, limit: f64, deadband: f64) -> AlarmDefinition {
    define(id, AlarmCondition::Limit { tag: tag("t"), kind: LimitKind::High, limit, deadband })
}

pub(crate) fn expression(id: &str, text: &str) -> AlarmDefinition {
    define(id, AlarmCondition::Expression { text: text.to_owned() })
}

pub(crate) fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) struct Bench {
    pub engine: AlarmEngine,
    pub now: Monotonic,
    /// By how much the wall clock is wrong, in seconds.
    pub wall_error: i64,
    pub tape: Vec<AlarmTransition>,
    commands: u32,
}

impl Bench {
    pub(crate) fn new(definitions: Vec<AlarmDefinition>) -> Self {
        let tags = TAGS.map(tag);
        let engine = AlarmEngine::new(machine(), &tags, definitions).expect("good definitions");
        Self { engine, now: Monotonic::from_micros(0), wall_error: 0, tape: Vec::new(), commands: 0 }
    }

    /// The same machine after a restart: another process with a clock of its own.
    pub(crate) fn restored(definitions: Vec<AlarmDefinition>, snapshot: &Snapshot, wall: Timestamp) -> Self {
        let mut bench = Self::new(definitions);
        bench.wall_error = wall.since(bench.wall()).as_secs().try_into().expect("small");
        let wall = bench.wall();
        bench.engine.restore(snapshot, bench.now, wall, &mut bench.tape);
        bench
    }

    pub(crate) fn wall(&self) -> Timestamp {
        let running = i64::try_from(self.now.micros()).expect("small");
        Timestamp::from_micros(1_000_000_000 + running + self.wall_error * 1_000_000)
    }

    pub(crate) fn sample(&mut self, name: &str, value: Option<Value>, quality: Quality) -> &mut Self {
        let position = TAGS.iter().position(|t| *t == name).expect("one of ours");
        let sample = Sample { value, quality, source_timestamp: None, gateway_timestamp: self.wall() };
        self.engine.handle_sample(position, &sample, self.now, self.wall(), &mut self.tape);
        self
    }

    pub(crate) fn set(&mut self, name: &str, value: Value) -> &mut Self {
        self.sample(name, Some(value), Quality::GOOD)
    }

    /// A good value of `t`.
    pub(crate) fn value(&mut self, value: f64) -> &mut Self {
        self.set("t", Value::Float(value))
    }

    pub(crate) fn bad(&mut self, name: &str) -> &mut Self {
        self.sample(name, None, Quality::BAD_TIMEOUT)
    }

    pub(crate) fn link(&mut self, link: Link) -> &mut Self {
        self.engine.handle_link(link, self.now, self.wall(), &mut self.tape);
        self
    }

    pub(crate) fn wait(&mut self, millis: u64) -> &mut Self {
        self.now = self.now.plus(Duration::from_millis(millis));
        self.engine.handle_timeout(self.now, self.wall(), &mut self.tape);
        self
    }

    pub(crate) fn command(&mut self, id: &str, command: AlarmCommand) -> Result<(), Refusal> {
        self.commands += 1;
        let key = format!("key-{}", self.commands);
        self.command_with(id, command, &key)
    }

    pub(crate) fn command_with(&mut self, id: &str, command: AlarmCommand, key: &str) -> Result<(), Refusal> {
        let action = OperatorAction {
            command: CommandId::new(key).expect("valid"),
            actor: "ada".into(),
            comment: "a reason".into(),
        };
        let wall = self.wall();
        self.engine.handle_command(&alarm(id), &command, action, self.now, wall, &mut self.tape)
    }

    /// Does what must be allowed.
    pub(crate) fn does(&mut self, id: &str, command: AlarmCommand) -> &mut Self {
        self.command(id, command).expect("allowed");
        self
    }

    /// The causes since the last look.
    pub(crate) fn causes(&mut self) -> Vec<TransitionCause> {
        self.tape.drain(..).map(|t| t.cause).collect()
    }

    pub(crate) fn state(&self, id: &str) -> &'static str {
        let found = self.engine.states().find(|(alarm, _)| alarm.as_str() == id);
        found.expect("one of ours").1.mnemonic()
    }
}
