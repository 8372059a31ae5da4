//! Whether the agent asks for what the backend wants, and what it says about it.

use plant_model::Timestamp;
use protocol::{AgentVersion, DesiredUpdate, UpdateChannel, UpdateState};

use crate::request::check_version;
use crate::{Journal, Maintenance, Phase, Request};

/// Said of a request that lies there.
const OVERLOOKED: &str = "the installer has not taken the request for more than 10 minutes: are its units enabled \
    (edge-agent-update.path)?";

/// What this gateway allows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Where its packages come from.
    pub channel: UpdateChannel,
    /// When an update may begin; at any time without it.
    pub maintenance: Option<Maintenance>,
}

/// What is known.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// What runs.
    pub running: &'a AgentVersion,
    /// What the backend wants.
    pub desired: Option<&'a DesiredUpdate>,
    /// What the installer says of the last update.
    pub journal: Option<&'a Journal>,
    /// The request that lies there and was not taken.
    pub request: Option<&'a Request>,
    /// The time by the system's clock, which the installer goes by, too.
    pub now: Timestamp,
    /// The minute of the day in the time of the plant; `None` while the time is not known.
    pub minute: Option<u16>,
}

/// What the agent does about its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It is as it should be.
    Nothing,
    /// This is written, in the place of any other.
    Ask(Box<Request>),
    /// The request that lies there goes.
    Withdraw,
}

/// What is done, and what is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// About the request.
    pub act: Act,
    /// How it stands with what is desired.
    pub state: UpdateState,
    /// For people.
    pub detail: String,
}

/// Decides.
#[must_use]
pub fn decide(policy: &Policy, view: View<'_>) -> Decision {
    let without = |state, detail: String| {
        let act = if view.request.is_some() { Act::Withdraw } else { Act::Nothing };
        Decision { act, state, detail }
    };
    let Some(desired) = view.desired else { return without(UpdateState::Idle, String::new()) };
    if let Some(journal) = view.journal {
        if journal.request.desired() == *desired {
            let (state, detail) = told(journal, view.running);
            return without(state, detail);
        }
        if journal.step().is_some() {
            let busy = format!("begins when that of version {} has ended", journal.request.version);
            return without(UpdateState::Idle, busy);
        }
    }
    if desired.version == *view.running {
        return without(UpdateState::Done, String::new());
    }
    if let Err(why) = refusal(policy, desired) {
        return without(UpdateState::Refused, why);
    }
    if let Some(wait) = waiting(policy, view) {
        return without(UpdateState::Idle, wait);
    }
    ask(desired, view)
}

fn ask(desired: &DesiredUpdate, view: View<'_>) -> Decision {
    let now = view.now;
    let same =
        view.request.filter(|request| request.desired() == *desired && request.running == *view.running);
    let act = match same {
        Some(request) if request.check_time(now).is_err() => new(desired, view),
        Some(request) if request.is_worn(now) => Act::Ask(Box::new(request.renewed(now))),
        Some(_) => Act::Nothing,
        None => new(desired, view),
    };
    let detail = match same {
        Some(request) if request.is_overlooked(now) => OVERLOOKED.to_owned(),
        Some(_) | None => String::new(),
    };
    Decision { act, state: UpdateState::Requested, detail }
}

fn new(desired: &DesiredUpdate, view: View<'_>) -> Act {
    Act::Ask(Box::new(Request::new(desired, view.running, view.now)))
}

/// What the journal of the update that is desired says.
fn told(journal: &Journal, running: &AgentVersion) -> (UpdateState, String) {
    let (phase, version) = (journal.phase(), &journal.request.version);
    if phase == Phase::Done && version != running {
        return (
            UpdateState::Failed,
            format!("it was installed and did well; since then somebody installed {running}"),
        );
    }
    let detail = match phase {
        Phase::RollingBack | Phase::VerifyingFormer => {
            format!("goes back to {}: {}", journal.former, journal.detail())
        }
        Phase::Fetching
        | Phase::Installing
        | Phase::Verifying
        | Phase::Done
        | Phase::RolledBack
        | Phase::Failed
        | Phase::Stranded => journal.detail().to_owned(),
    };
    (phase.state(), detail)
}

fn refusal(policy: &Policy, desired: &DesiredUpdate) -> Result<(), String> {
    if desired.channel != policy.channel {
        return Err(format!(
            "channel {} is desired, and this gateway takes packages from {} (update.channel of agent.toml)",
            desired.channel, policy.channel
        ));
    }
    check_version(&desired.version).map_err(|error| error.to_string())
}

/// Why it does not begin yet.
fn waiting(policy: &Policy, view: View<'_>) -> Option<String> {
    let maintenance = policy.maintenance?;
    match view.minute {
        None => Some("begins when the time is known, because of update.maintenance".to_owned()),
        Some(minute) if maintenance.contains(minute) => None,
        Some(_) => {
            Some(format!("begins between {maintenance} in the time of the plant (update.maintenance)"))
        }
    }
}
