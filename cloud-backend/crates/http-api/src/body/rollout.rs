//! Updates of agents: rollouts, and which version a gateway runs.

use std::time::Duration;

use plant_model::{TenantId, Timestamp};
use protocol::{AgentVersion, UpdateChannel};
use rollouts::{
    Direction, Gate, GatewayName, Member, Operation, Plan, Progress, Rollout as Stored, RolloutState,
    RolloutSummary, Seen, Standing, UpdateStanding, Watch, Waves, standing,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::instant::Instant;
use crate::problem::Problem;
use crate::rollouts::Selection;

/// How a gateway stands to the version that is desired of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UpdateStatus {
    /// The channel it takes packages from; null if it never reported.
    #[schema(required)]
    pub(crate) channel: Option<String>,
    /// The version that it says it runs; null if it never reported.
    #[schema(required)]
    pub(crate) running: Option<String>,
    /// The version that is desired; null if none is.
    #[schema(required)]
    pub(crate) desired: Option<String>,
    /// How far it is, as it reported last: idle, requested, installing, verifying, done, rolled_back, failed, refused
    /// or unsupported; null if it never reported.
    #[schema(required)]
    pub(crate) state: Option<&'static str>,
    /// What it says about that, for people.
    pub(crate) detail: String,
    /// When it reported last; null if never.
    #[schema(required)]
    pub(crate) reported_at: Option<Instant>,
}

impl From<UpdateStanding> for UpdateStatus {
    fn from(standing: UpdateStanding) -> Self {
        let desired = standing.desired().map(ToString::to_string);
        let report = standing.received.as_ref().map(|received| &received.report);
        Self {
            channel: report.map(|report| report.channel.to_string()),
            running: report.map(|report| report.running.to_string()),
            desired,
            state: report.map(|report| report.state.as_str()),
            detail: report.map(|report| report.detail.clone()).unwrap_or_default(),
            reported_at: standing.received.as_ref().map(|received| received.received_at.into()),
        }
    }
}

/// A rollout to begin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutRequest {
    /// The version of the agent.
    #[schema(example = "1.4.0")]
    version: String,
    /// Where it comes from; `stable` if not given.
    channel: Option<String>,
    /// Gateways, as TENANT/GATEWAY, in the order in which they are told.
    #[serde(default)]
    gateways: Vec<String>,
    /// Tenants, all of whose gateways are meant. Without gateways and tenants every gateway is.
    #[serde(default)]
    tenants: Vec<String>,
    /// How many have been told at the end of each wave: counts or percentages that grow, 100% at the end.
    #[schema(example = "1,10%,50%,100%")]
    waves: Option<String>,
    /// How long a gateway must be connected and well with the version before it counts; an hour if not given.
    soak_s: Option<u64>,
    /// Failures that pause nothing; 0 if not given.
    max_failures: Option<u32>,
    /// How long a gateway that is not connected is waited for; an hour if not given.
    offline_wait_s: Option<u64>,
    /// How long a gateway that is connected may take; a day if not given.
    patience_s: Option<u64>,
    /// Why, in the person's words.
    #[serde(default)]
    pub(crate) comment: String,
}

impl RolloutRequest {
    /// The plan and the gateways, checked field by field.
    pub(crate) fn plan(
        self,
        author: String,
        comment: String,
        now: Timestamp,
    ) -> Result<(Plan, Selection), Problem> {
        fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
            pointer: &str,
            text: &str,
        ) -> Result<T, Problem> {
            text.parse().map_err(|error: T::Err| Problem::invalid(pointer, error.to_string()))
        }
        let preset = Gate::default();
        let length = |given: Option<u64>, preset| given.map_or(preset, Duration::from_secs);
        let gate = Gate::new(
            length(self.soak_s, preset.soak()),
            self.max_failures.unwrap_or(preset.max_failures()),
            length(self.offline_wait_s, preset.offline_wait()),
            length(self.patience_s, preset.patience()),
        );
        let channel =
            self.channel.as_deref().map(|text| parsed::<UpdateChannel>("/channel", text)).transpose()?;
        let waves = self.waves.as_deref().map(|text| parsed::<Waves>("/waves", text)).transpose()?;
        let plan = Plan {
            version: parsed::<AgentVersion>("/version", &self.version)?,
            channel: channel.unwrap_or_default(),
            waves: waves.unwrap_or_default(),
            gate: gate.map_err(|error| Problem::invalid("", error.to_string()))?,
            author,
            comment,
            created_at: now,
        };
        let gateways = self.gateways.iter().map(|text| parsed::<GatewayName>("/gateways", text));
        let tenants = self.tenants.iter().map(|text| parsed::<TenantId>("/tenants", text));
        let selection = Selection {
            gateways: gateways.collect::<Result<_, _>>()?,
            tenants: tenants.collect::<Result<_, _>>()?,
        };
        Ok((plan, selection))
    }
}

/// What a person does to a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RolloutOperation {
    /// Nobody else is told until it is resumed.
    Pause,
    /// It goes on; who has failed or was not reached is passed over.
    Resume,
    /// It ends; who does not run the version yet is to keep what it runs.
    Abort,
    /// Who was told goes back to what it ran before, in the same waves.
    Rollback,
}

impl From<RolloutOperation> for Operation {
    fn from(operation: RolloutOperation) -> Self {
        match operation {
            RolloutOperation::Pause => Self::Pause,
            RolloutOperation::Resume => Self::Resume,
            RolloutOperation::Abort => Self::Abort,
            RolloutOperation::Rollback => Self::RollBack,
        }
    }
}

/// An operation on a rollout.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RolloutOperationRequest {
    /// What to do.
    pub(crate) operation: RolloutOperation,
}

/// Where a rollout goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RolloutDirection {
    /// To its version.
    Forward,
    /// Back to what each gateway ran before.
    Back,
}

/// Whether a rollout goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RolloutPhase {
    Running,
    /// It waits for a person; `reason` says why.
    Paused,
    /// A person resumed it just now.
    Resuming,
    Completed,
    Aborted,
}

/// A rollout at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Rollout {
    /// Its number.
    pub(crate) id: u32,
    /// The version of the agent.
    pub(crate) version: String,
    /// Where it comes from.
    pub(crate) channel: String,
    /// How many have been told at the end of each wave.
    pub(crate) waves: String,
    /// How long a gateway must be connected and well before it counts.
    pub(crate) soak_s: u64,
    /// Failures that pause nothing.
    pub(crate) max_failures: u32,
    /// How long a gateway that is not connected is waited for.
    pub(crate) offline_wait_s: u64,
    /// How long a gateway that is connected may take.
    pub(crate) patience_s: u64,
    /// Who began it.
    pub(crate) author: String,
    /// Why.
    pub(crate) comment: String,
    /// When it was begun.
    pub(crate) created_at: Instant,
    /// Where it goes.
    pub(crate) direction: RolloutDirection,
    /// Whether it goes on.
    pub(crate) state: RolloutPhase,
    /// The wave it is in, from 1.
    pub(crate) wave: u32,
    /// What it waits for, or why it stopped.
    pub(crate) reason: String,
    /// When it changed last.
    pub(crate) changed_at: Instant,
    /// How many gateways it has.
    pub(crate) gateways: u32,
    /// How many of them were told, in the direction that it goes.
    pub(crate) told: u32,
}

impl From<RolloutSummary> for Rollout {
    fn from(summary: RolloutSummary) -> Self {
        let RolloutSummary { id, plan, progress, gateways, told } = summary;
        let Progress { direction, state, wave, reason, changed_at } = progress;
        Self {
            id: id.get(),
            version: plan.version.to_string(),
            channel: plan.channel.to_string(),
            waves: plan.waves.to_string(),
            soak_s: plan.gate.soak().as_secs(),
            max_failures: plan.gate.max_failures(),
            offline_wait_s: plan.gate.offline_wait().as_secs(),
            patience_s: plan.gate.patience().as_secs(),
            author: plan.author,
            comment: plan.comment,
            created_at: plan.created_at.into(),
            direction: match direction {
                Direction::Forward => RolloutDirection::Forward,
                Direction::Back => RolloutDirection::Back,
            },
            state: match state {
                RolloutState::Running => RolloutPhase::Running,
                RolloutState::Paused => RolloutPhase::Paused,
                RolloutState::Resuming => RolloutPhase::Resuming,
                RolloutState::Completed => RolloutPhase::Completed,
                RolloutState::Aborted => RolloutPhase::Aborted,
            },
            wave: wave.saturating_add(1),
            reason,
            changed_at: changed_at.into(),
            gateways,
            told,
        }
    }
}

/// A gateway of a rollout.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RolloutGateway {
    /// TENANT/GATEWAY.
    pub(crate) gateway: String,
    /// The wave in which it was told, from 1; null before.
    #[schema(required)]
    pub(crate) wave: Option<u32>,
    /// How it stands: untold, working, away, watched, done, absent, declined, failed or excused.
    pub(crate) standing: &'static str,
    /// Why it failed or declined; empty else.
    pub(crate) why: String,
    /// The version that it runs, as far as is known.
    #[schema(required)]
    pub(crate) running: Option<String>,
    /// What it ran when it was told; null before, or if nobody knew.
    #[schema(required)]
    pub(crate) former: Option<String>,
}

impl RolloutGateway {
    fn new(rollout: &Stored, member: &Member, seen: &Seen, watch: Watch) -> Self {
        let standing = standing(rollout, member, seen, watch);
        let (name, why) = (
            standing.name(),
            match standing {
                Standing::Failed(why) | Standing::Declined(why) => why,
                Standing::Untold
                | Standing::Working
                | Standing::Away
                | Standing::Watched
                | Standing::Done
                | Standing::Absent
                | Standing::Excused => String::new(),
            },
        );
        Self {
            gateway: member.gateway.to_string(),
            wave: member.wave.map(|wave| wave.saturating_add(1)),
            standing: name,
            why,
            running: seen.running.as_ref().map(ToString::to_string),
            former: member.former.as_ref().map(ToString::to_string),
        }
    }
}

/// A rollout and its gateways.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RolloutDetail {
    /// The rollout.
    #[serde(flatten)]
    pub(crate) rollout: Rollout,
    /// Its gateways, in the order in which they were named.
    pub(crate) members: Vec<RolloutGateway>,
}

impl RolloutDetail {
    pub(crate) fn new(rollout: Stored, seen: &[Seen], watch: Watch) -> Self {
        let pairs = rollout.members.iter().zip(seen);
        let members =
            pairs.map(|(member, seen)| RolloutGateway::new(&rollout, member, seen, watch)).collect();
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (gateways, told) = (count(rollout.members.len()), count(rollout.told()));
        let summary =
            RolloutSummary { id: rollout.id, plan: rollout.plan, progress: rollout.progress, gateways, told };
        Self { rollout: summary.into(), members }
    }
}
