//! The alarms of one machine together: who watches which tag, timers, groups, commands.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};

use plant_model::{
    AlarmCommand, AlarmCondition, AlarmDefinition, AlarmId, AlarmState, AlarmTransition, MachineId,
    Monotonic, OperatorAction, Sample, TagId, Timestamp, TransitionCause,
};

use crate::condition::Trigger;
use crate::input::{Inputs, LinkStatus};
use crate::lifecycle::earlier;
use crate::rule::{Move, Rule};
use crate::snapshot::{AlarmSnapshot, PastCommand, Snapshot};
use crate::{EngineError, Refusal};

/// Commands that are remembered so that a repeated one is not carried out twice: more than a person gives
/// while the answer to the first is on its way.
const PAST_COMMANDS_MAX: usize = 256;

/// Bytes of the name of a person.
const ACTOR_BYTES_MAX: usize = 128;
/// Bytes of a comment: what a text may have on the wire.
const COMMENT_BYTES_MAX: usize = 1024;

/// Whether the machine is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It answers.
    Up,
    /// It does not.
    Down,
}

/// The alarms of one machine.
#[derive(Debug)]
pub struct AlarmEngine {
    machine: MachineId,
    tags: Vec<TagId>,
    inputs: Inputs,
    rules: Vec<Rule>,
    /// For each tag, by its position, the rules that watch it.
    rules_of_tag: Vec<Vec<usize>>,
    /// For each group, the rules in it.
    groups: Vec<Vec<usize>>,
    /// For each rule, its group.
    group_of_rule: Vec<Option<usize>>,
    past: VecDeque<PastCommand>,
    /// The newest instant that an input carried: inputs of different origin may be told out of order.
    now: Monotonic,
    /// No timer ends before this; one that was moved on may have left it too early, never too late.
    wake_at: Option<Monotonic>,
    /// Rules whose timers end in the current call; kept for its capacity.
    due: Vec<(Monotonic, usize)>,
}

impl AlarmEngine {
    /// An engine for the alarms of `machine`, whose tags are named by their position in `tags`. All is
    /// normal until [`Self::restore`] or a sample says otherwise.
    ///
    /// # Errors
    /// A definition names an unknown tag, repeats an id, has an unusable number or an expression that
    /// cannot be read.
    pub fn new(
        machine: MachineId,
        tags: &[TagId],
        definitions: Vec<AlarmDefinition>,
    ) -> Result<Self, EngineError> {
        let positions: HashMap<&TagId, usize> = tags.iter().zip(0..).collect();
        let covered = definitions.iter().any(|d| d.condition == AlarmCondition::Communication);
        let mut engine = Self {
            rules: Vec::with_capacity(definitions.len()),
            rules_of_tag: vec![Vec::new(); tags.len()],
            groups: Vec::new(),
            group_of_rule: Vec::with_capacity(definitions.len()),
            inputs: Inputs::new(tags.len()),
            tags: tags.to_vec(),
            machine,
            past: VecDeque::new(),
            now: Monotonic::default(),
            wake_at: None,
            due: Vec::new(),
        };
        let mut ids = BTreeSet::new();
        let mut names = HashMap::new();
        for definition in definitions {
            let alarm = definition.id.clone();
            if !ids.insert(alarm.clone()) {
                return Err(EngineError::Duplicate { machine: engine.machine, alarm });
            }
            let group = definition.group.as_ref().map(|name| {
                let next = names.len();
                *names.entry(name.clone()).or_insert(next)
            });
            engine.add(definition, group, covered, &positions)?;
        }
        Ok(engine)
    }

    fn add(
        &mut self,
        definition: AlarmDefinition,
        group: Option<usize>,
        covered: bool,
        positions: &HashMap<&TagId, usize>,
    ) -> Result<(), EngineError> {
        let alarm = definition.id.clone();
        let watched = RefCell::new(BTreeSet::new());
        let position = |tag: &TagId| match positions.get(tag) {
            Some(position) => {
                watched.borrow_mut().insert(*position);
                Ok(*position)
            }
            None => Err(EngineError::UnknownTag {
                machine: self.machine.clone(),
                alarm: alarm.clone(),
                tag: tag.clone(),
            }),
        };
        let rule = Rule::new(definition, covered, &position)?;
        let index = self.rules.len();
        self.rules.push(rule);
        for tag in watched.into_inner() {
            self.rules_of_tag[tag].push(index);
        }
        self.group_of_rule.push(group);
        if let Some(group) = group {
            self.groups.resize_with(self.groups.len().max(group + 1), Vec::new);
            self.groups[group].push(index);
        }
        Ok(())
    }

    /// Takes a sample of the tag at position `tag` and appends what it moves to `out`. Timers that ended
    /// by `now` come first.
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
        self.handle_timeout(now, wall, out);
        if tag >= self.rules_of_tag.len() {
            return;
        }
        self.inputs.take(tag, sample);
        for position in 0..self.rules_of_tag[tag].len() {
            self.look(self.rules_of_tag[tag][position], Trigger::Sample(tag), self.now, wall, out);
        }
    }

    /// Notes that the machine is connected, or no longer is. Over a link that is gone nothing is known of
    /// the process: it neither raises nor clears, and delays rest.
    pub fn handle_link(
        &mut self,
        link: Link,
        now: Monotonic,
        wall: Timestamp,
        out: &mut Vec<AlarmTransition>,
    ) {
        self.handle_timeout(now, wall, out);
        let status = match (link, self.inputs.link()) {
            (Link::Up, LinkStatus::Up { .. }) | (Link::Down, LinkStatus::Down) => return,
            (Link::Up, LinkStatus::Unknown | LinkStatus::Down) => LinkStatus::Up { since: self.now },
            (Link::Down, LinkStatus::Unknown | LinkStatus::Up { .. }) => LinkStatus::Down,
        };
        self.inputs.set_link(status);
        for index in 0..self.rules.len() {
            self.look(index, Trigger::Link, self.now, wall, out);
        }
    }

    /// When a timer may end next, if one is running. Never too late; too early by what a timer was moved
    /// on since, which costs a call of [`Self::handle_timeout`] that does nothing.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Monotonic> {
        self.wake_at
    }

    /// Ends the timers that are due by `now`, in their order, as if each call had come in time.
    pub fn handle_timeout(&mut self, now: Monotonic, wall: Timestamp, out: &mut Vec<AlarmTransition>) {
        self.now = self.now.max(now);
        while self.wake_at.is_some_and(|at| at <= self.now) {
            let mut due = std::mem::take(&mut self.due);
            let timers = self.rules.iter().zip(0..).filter_map(|(rule, index)| Some((rule.due_at()?, index)));
            due.extend(timers.filter(|(at, _)| *at <= self.now));
            due.sort_unstable();
            for (at, index) in due.drain(..) {
                self.look(index, Trigger::Time, at, wall, out);
            }
            self.due = due;
            self.wake_at = self.rules.iter().filter_map(Rule::due_at).min();
        }
    }

    /// Does what a person asks and appends what it moves to `out`. A command that was answered before,
    /// by its id, gets the same answer and moves nothing.
    ///
    /// # Errors
    /// The command cannot be carried out; the refusal says why and what may be done.
    pub fn handle_command(
        &mut self,
        alarm: &AlarmId,
        command: &AlarmCommand,
        action: OperatorAction,
        now: Monotonic,
        wall: Timestamp,
        out: &mut Vec<AlarmTransition>,
    ) -> Result<(), Refusal> {
        self.handle_timeout(now, wall, out);
        let (id, verb) = (action.command.clone(), command.name());
        if let Some(past) = self.past.iter().find(|past| past.id == id) {
            if past.alarm != *alarm || past.verb != verb {
                return Err(Refusal::IdUsed { command: id });
            }
            return past.refusal.clone().map_or(Ok(()), Err);
        }
        let answer = self.carry_out(alarm, command, action, wall, out);
        if self.past.len() == PAST_COMMANDS_MAX {
            self.past.pop_front();
        }
        let refusal = answer.clone().err();
        self.past.push_back(PastCommand { id, alarm: alarm.clone(), verb, refusal });
        answer
    }

    fn carry_out(
        &mut self,
        alarm: &AlarmId,
        command: &AlarmCommand,
        action: OperatorAction,
        wall: Timestamp,
        out: &mut Vec<AlarmTransition>,
    ) -> Result<(), Refusal> {
        let index = self.rules.iter().position(|rule| rule.definition.id == *alarm);
        let index = index.ok_or_else(|| Refusal::UnknownAlarm { alarm: alarm.clone() })?;
        let now = self.now;
        let rule = &mut self.rules[index];
        check(&rule.definition, command, &action)?;
        let state = rule.life.state();
        let refused = |hint| Refusal::State { alarm: alarm.clone(), command: command.name(), state, hint };
        let step = rule.life.command(command, rule.definition.re_alarm, now, wall).map_err(refused)?;
        let mut transition = self.transition(index, (step, None), wall);
        transition.operation = Some(action);
        out.push(transition);
        self.wake_at = earlier(self.wake_at, self.rules[index].due_at());
        Ok(())
    }

    /// Takes up where a snapshot left off. What was active stays active and is not raised again; what was
    /// delayed waits for the rest of its delay once the process is seen to be as it was.
    /// What ended meanwhile (a shelf, a gate that is configured no longer) is appended to `out`.
    pub fn restore(
        &mut self,
        snapshot: &Snapshot,
        now: Monotonic,
        wall: Timestamp,
        out: &mut Vec<AlarmTransition>,
    ) {
        self.now = self.now.max(now);
        for index in 0..self.rules.len() {
            let rule = &mut self.rules[index];
            if let Some(kept) = snapshot.alarms.get(&rule.definition.id) {
                rule.restore(kept, self.now, wall);
                self.look(index, Trigger::Time, self.now, wall, out);
            }
        }
        let skip = snapshot.commands.len().saturating_sub(PAST_COMMANDS_MAX);
        self.past = snapshot.commands.iter().skip(skip).cloned().collect();
    }

    /// Ends the alarms that are configured no longer and appends to `out` how those that were not normal are closed:
    /// nobody watches them any more. Those that `stays` names go on.
    pub fn retire(
        &mut self,
        stays: impl Fn(&AlarmId) -> bool,
        wall: Timestamp,
        out: &mut Vec<AlarmTransition>,
    ) {
        for index in 0..self.rules.len() {
            if !stays(&self.rules[index].definition.id)
                && let Some(step) = self.rules[index].life.remove()
            {
                out.push(self.transition(index, (step, None), wall));
            }
        }
    }

    /// Whether it has an alarm of this name.
    #[must_use]
    pub fn has(&self, alarm: &AlarmId) -> bool {
        self.rules.iter().any(|rule| rule.definition.id == *alarm)
    }

    /// What [`Self::restore`] needs to take up from here.
    #[must_use]
    pub fn snapshot(&self, now: Monotonic) -> Snapshot {
        let now = self.now.max(now);
        let alarms = self.rules.iter().map(|rule| (rule.definition.id.clone(), rule.snapshot(now)));
        Snapshot { alarms: alarms.collect(), commands: self.past.iter().cloned().collect() }
    }

    /// The alarms whose timers run. What has passed is told in steps of a thirty-second of each timer's
    /// length, so that who notes it again and again has little to write.
    pub fn running(&self, now: Monotonic) -> impl Iterator<Item = (&AlarmId, AlarmSnapshot)> {
        let now = self.now.max(now);
        self.rules.iter().filter_map(move |rule| Some((&rule.definition.id, rule.running(now)?)))
    }

    /// Whose alarms these are.
    #[must_use]
    pub const fn machine(&self) -> &MachineId {
        &self.machine
    }

    /// The alarms and their states, in the order of the definitions.
    pub fn states(&self) -> impl Iterator<Item = (&AlarmId, AlarmState)> {
        self.rules.iter().map(|rule| (&rule.definition.id, rule.life.state()))
    }

    /// How many alarms people are shown now.
    #[must_use]
    pub fn annunciated_count(&self) -> usize {
        self.states().filter(|(_, state)| state.is_annunciated()).count()
    }

    /// Lets a rule look at the inputs and writes down what moves.
    fn look(
        &mut self,
        index: usize,
        trigger: Trigger,
        now: Monotonic,
        wall: Timestamp,
        out: &mut Vec<AlarmTransition>,
    ) {
        let rule = &mut self.rules[index];
        rule.observe(&self.inputs, trigger, now, wall);
        while let Some(moved) = self.rules[index].advance(now) {
            out.push(self.transition(index, moved, wall));
        }
        self.wake_at = earlier(self.wake_at, self.rules[index].due_at());
    }

    fn transition(&self, index: usize, (step, evidence): Move, wall: Timestamp) -> AlarmTransition {
        let definition = &self.rules[index].definition;
        let (tag, value, value_at) =
            evidence.map_or((None, None, wall), |evidence| (evidence.tag, evidence.value, evidence.at));
        AlarmTransition {
            machine: self.machine.clone(),
            alarm: definition.id.clone(),
            tag: definition.condition.tag().or_else(|| tag.map(|tag| &self.tags[tag])).cloned(),
            occurrence: step.occurrence,
            from: step.from,
            to: step.flags.state(),
            cause: step.cause,
            priority: definition.priority,
            value,
            limit: definition.condition.limit(),
            deadband: definition.condition.deadband(),
            value_at,
            decided_at: wall,
            message: definition.message.clone(),
            first_out: step.cause == TransitionCause::Raised && self.is_first_out(index),
            flags: step.flags,
            operation: None,
        }
    }

    /// Whether a rule that was just raised is seen and alone in its group: nobody else in it is active or
    /// held where people see it.
    fn is_first_out(&self, raised: usize) -> bool {
        let stands = |index: usize| {
            let flags = self.rules[index].flags();
            (flags.active || flags.latched) && !flags.state().is_hidden()
        };
        let group = self.group_of_rule[raised].map(|group| &self.groups[group]);
        stands(raised)
            && group.is_some_and(|group| group.iter().all(|other| *other == raised || !stands(*other)))
    }
}

/// Refuses a command that no state allows.
fn check(
    definition: &AlarmDefinition,
    command: &AlarmCommand,
    action: &OperatorAction,
) -> Result<(), Refusal> {
    let alarm = definition.id.clone();
    for (field, bytes, least, allowed) in [
        ("actor", action.actor.len(), 1, ACTOR_BYTES_MAX),
        ("comment", action.comment.len(), 0, COMMENT_BYTES_MAX),
    ] {
        if !(least..=allowed).contains(&bytes) {
            return Err(Refusal::Text { field, bytes, allowed });
        }
    }
    match command {
        AlarmCommand::Shelve { duration } if duration.is_zero() || *duration > definition.shelve_max => {
            Err(Refusal::ShelveTime { alarm, asked: *duration, allowed: definition.shelve_max })
        }
        AlarmCommand::Shelve { .. } | AlarmCommand::TakeOutOfService { .. }
            if action.comment.trim().is_empty() =>
        {
            Err(Refusal::CommentMissing { alarm, command: command.name() })
        }
        AlarmCommand::Acknowledge
        | AlarmCommand::Reset
        | AlarmCommand::Shelve { .. }
        | AlarmCommand::Unshelve
        | AlarmCommand::TakeOutOfService { .. }
        | AlarmCommand::ReturnToService => Ok(()),
    }
}
