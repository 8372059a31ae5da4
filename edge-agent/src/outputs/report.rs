//! Outputs in the words of people: what is switched, and how it stands.

use std::sync::Arc;

use acquisition::TagIndex;
use alarm_output::Level;
use alarm_output_driver::OutputBoard;
use edge_config::{MachineConfig, OutputTarget};
use plant_model::{MachineId, Monotonic};
use serde::Serialize;

/// An output for the status interface.
#[derive(Clone)]
pub(crate) struct ShownOutput {
    pub board: Arc<OutputBoard>,
    pub target: String,
}

/// An output that alarms drive, since the start of this process.
#[derive(Serialize)]
pub(crate) struct AlarmOutput {
    pub id: String,
    /// What is switched.
    pub target: String,
    /// What it should be at: `on` or `off`.
    pub desired: &'static str,
    pub desired_age_ms: u64,
    /// What was confirmed last; `null` while that is not known.
    pub actual: Option<&'static str>,
    /// Since something was confirmed, whatever it was.
    pub confirmed_age_ms: Option<u64>,
    /// Why it is not known to be as it should be.
    pub fault: Option<String>,
    /// What failed last, even if it follows again.
    pub last_failure: Option<String>,
    pub last_failure_age_ms: Option<u64>,
    pub drives: u64,
    pub confirmed: u64,
    pub differs: u64,
    pub refused: u64,
    pub unknown: u64,
    pub coalesced: u64,
    pub beats: u64,
    pub beats_failed: u64,
}

impl ShownOutput {
    /// How it stands at `now`.
    pub(crate) fn report(&self, now: Monotonic) -> AlarmOutput {
        let view = self.board.view();
        let age = |at: Monotonic| u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
        let tally = view.tally;
        AlarmOutput {
            id: self.board.id().to_string(),
            target: self.target.clone(),
            desired: view.desired.name(),
            desired_age_ms: age(view.desired_at),
            actual: view.actual.map(Level::name),
            confirmed_age_ms: view.confirmed_at.map(age),
            fault: view.fault,
            last_failure_age_ms: view.last_failure.as_ref().map(|f| age(f.at)),
            last_failure: view.last_failure.map(|f| f.reason),
            drives: tally.drives,
            confirmed: tally.confirmed,
            differs: tally.differs,
            refused: tally.refused,
            unknown: tally.unknown,
            coalesced: tally.coalesced,
            beats: tally.beats,
            beats_failed: tally.beats_failed,
        }
    }
}

/// What an output switches.
pub(crate) fn described(machines: &[MachineConfig], target: &OutputTarget) -> String {
    let tag = |machine: &MachineId, tag: TagIndex| {
        let machine = machines.iter().find(|m| m.id == *machine);
        let tag = machine.and_then(|m| m.tags.get(tag.as_usize()));
        tag.map_or_else(|| "?".to_owned(), |t| t.definition.id.to_string())
    };
    match target {
        OutputTarget::Tag(t) => format!("{} {} = {} / {}", t.machine, tag(&t.machine, t.tag), t.on, t.off),
        OutputTarget::Method(t) => {
            let seen = match &t.state {
                Some(state) => format!("seen at {}", tag(&t.machine, state.tag)),
                None => "not seen".to_owned(),
            };
            let methods = if t.on.method == t.off.method {
                t.on.method.to_string()
            } else {
                format!("{} / {}", t.on.method, t.off.method)
            };
            format!("{} calls {methods}, {seen}", t.machine)
        }
        // A path may hold a token.
        OutputTarget::Webhook(t) => {
            let scheme = if t.url().is_secure() { "https" } else { "http" };
            format!("{scheme}://{}", t.url().authority())
        }
        OutputTarget::Command { on, off, .. } => {
            let (on, off) = (on.program().display().to_string(), off.program().display().to_string());
            if on == off { on } else { format!("{on} / {off}") }
        }
    }
}
