//! Updates of agents, gateway after gateway: which version is desired of whom, and when the next may follow.
//!
//! A [`Rollout`] brings a version to gateways in waves. [`decide`] says, from what gateways report and how they are,
//! whom to tell next, and pauses when a wave does not do well; [`operate`] is what a person does to a rollout.
//!
//! Invariants
//! - No more gateways are told than the wave allows ([`Waves`]), and none twice.
//! - With more failures than the [`Gate`] allows nobody else is told; those under way go on.
//! - The same input gives the same decision. Time, and who is connected, are arguments.
//! - A gateway is in one unfinished rollout at most: the store sees to it ([`RolloutStore`]).

mod decision;
mod operation;
mod plan;
mod port;
mod rollout;
mod standing;

pub use decision::{Decision, decide};
pub use operation::{Operation, OperationError, operate};
pub use plan::{Gate, GateError, Plan, Share, Waves, WavesError};
pub use port::{
    Change, Conflict, NewRollout, ROLLOUTS_KEPT, RolloutStore, RolloutSummary, UpdateStanding, WishChange,
    standings_of,
};
pub use rollout::{
    Direction, GatewayName, GatewayNameError, MEMBERS_MAX, Member, Progress, Rollout, RolloutId, RolloutState,
};
pub use standing::{OwnAlarm, Presence, ReceivedUpdate, Seen, Standing, Watch, Wish, standing};
