//! What a person does to a rollout.

use plant_model::Timestamp;
use thiserror::Error;

use crate::port::{Change, UpdateStanding, WishChange};
use crate::{Direction, Member, Progress, Rollout, RolloutId, RolloutState};

/// What a person does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Nobody else is told until it is resumed.
    Pause,
    /// It goes on; who has failed, or was not reached, is passed over.
    Resume,
    /// It ends. Who was told and does not run the version yet is to keep what it runs.
    Abort,
    /// Who was told goes back to what it ran before, in the same waves.
    RollBack,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Pause, Self::Resume, Self::Abort, Self::RollBack];

    /// The name in the API and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::RollBack => "rollback",
        }
    }
}

/// An operation that the state of the rollout does not allow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("rollout {id} is {state} and goes {direction}: {operation} needs one that {needed}", state = .state.name(),
    direction = .direction.name(), operation = .operation.name())]
pub struct OperationError {
    /// Which rollout.
    pub id: RolloutId,
    /// What was to be done.
    pub operation: Operation,
    /// Whether it goes on.
    pub state: RolloutState,
    /// Where it goes.
    pub direction: Direction,
    /// What is allowed.
    pub needed: &'static str,
}

/// What an operation changes. `standings` are those of the members, in their order.
///
/// # Errors
/// The state of the rollout does not allow it.
pub fn operate(
    rollout: &Rollout,
    standings: &[UpdateStanding],
    operation: Operation,
    actor: &str,
    now: Timestamp,
) -> Result<Change, OperationError> {
    let Progress { state, direction, .. } = rollout.progress;
    let refused = |needed| OperationError { id: rollout.id, operation, state, direction, needed };
    let is_open = !state.is_finished();
    let change = Draft { rollout, actor, now };
    match operation {
        Operation::Pause if matches!(state, RolloutState::Running | RolloutState::Resuming) => {
            Ok(change.state(RolloutState::Paused, "paused"))
        }
        Operation::Pause => Err(refused("runs")),
        Operation::Resume if state == RolloutState::Paused => {
            Ok(change.state(RolloutState::Resuming, "resumed"))
        }
        Operation::Resume => Err(refused("is paused")),
        Operation::Abort if is_open => Ok(change.abort(standings)),
        Operation::Abort => Err(refused("is not finished")),
        Operation::RollBack if direction == Direction::Forward => Ok(change.roll_back()),
        Operation::RollBack => Err(refused("goes forward")),
    }
}

struct Draft<'a> {
    rollout: &'a Rollout,
    actor: &'a str,
    now: Timestamp,
}

impl Draft<'_> {
    fn state(&self, state: RolloutState, what: &str) -> Change {
        let progress = Progress {
            state,
            reason: format!("{what} by {}", self.actor),
            changed_at: self.now,
            ..self.rollout.progress.clone()
        };
        self.change(progress, Vec::new(), Vec::new())
    }

    /// Of who runs the version already nothing else is wished.
    fn abort(&self, standings: &[UpdateStanding]) -> Change {
        let told = self.rollout.members.iter().zip(standings).filter(|(member, _)| member.wave.is_some());
        let behind = told.filter(|(_, standing)| standing.is_behind());
        let wishes = behind.map(|(member, standing)| {
            let version = standing.running().or(member.former.as_ref()).cloned();
            self.wish(member, version)
        });
        Change { wishes: wishes.collect(), ..self.state(RolloutState::Aborted, "aborted") }
    }

    /// Everyone starts untold. Of who is not known what it ran, nothing is wished any more.
    fn roll_back(&self) -> Change {
        let told = self.rollout.members.iter().enumerate().filter(|(_, member)| member.wave.is_some());
        let members = told
            .clone()
            .map(|(position, member)| (position, Member { wave: None, excused: false, ..member.clone() }));
        let unknown = told.filter(|(_, member)| member.former.is_none());
        let wishes = unknown.map(|(_, member)| self.wish(member, None)).collect();
        let progress = Progress {
            direction: Direction::Back,
            state: RolloutState::Running,
            wave: 0,
            reason: format!("rolled back by {}", self.actor),
            changed_at: self.now,
        };
        self.change(progress, members.collect(), wishes)
    }

    fn wish(&self, member: &Member, version: Option<protocol::AgentVersion>) -> WishChange {
        WishChange { gateway: member.gateway.clone(), version, channel: self.rollout.plan.channel.clone() }
    }

    fn change(&self, progress: Progress, members: Vec<(usize, Member)>, wishes: Vec<WishChange>) -> Change {
        let (rollout, on) = (self.rollout.id, self.rollout.revision);
        Change { rollout, on, progress, members, wishes, at: self.now }
    }
}
