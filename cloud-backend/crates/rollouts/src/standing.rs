//! How one gateway of a rollout stands.

use std::time::Duration;

use plant_model::Timestamp;
use protocol::{AgentVersion, UpdateChannel, UpdateReport, UpdateRevision, UpdateState};

use crate::{Member, Rollout, RolloutId};

/// Characters of what a gateway said that a reason repeats.
const DETAIL_CHARS_MAX: usize = 200;

/// What is desired of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The number of the wish.
    pub revision: UpdateRevision,
    /// The version; `None` if nothing is desired any more.
    pub version: Option<AgentVersion>,
    /// Where it comes from.
    pub channel: UpdateChannel,
    /// The rollout that wished it.
    pub rollout: RolloutId,
    /// When.
    pub wished_at: Timestamp,
}

/// What a gateway said, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedUpdate {
    /// What it said last.
    pub report: UpdateReport,
    /// When that came, by the clock of the backend.
    pub received_at: Timestamp,
    /// When it first said so: the same version, state and wish.
    pub since: Timestamp,
}

impl ReceivedUpdate {
    /// A report after `before`: what was said before and is said again, is said since then.
    #[must_use]
    pub fn after(before: Option<&Self>, report: UpdateReport, received_at: Timestamp) -> Self {
        let key = |report: &UpdateReport| {
            (report.running.clone(), report.state, report.desired.as_ref().map(|desired| desired.revision))
        };
        let same = before.filter(|before| key(&before.report) == key(&report));
        Self { since: same.map_or(received_at, |before| before.since), report, received_at }
    }
}

/// Whether a gateway is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Since then.
    Online(Timestamp),
    /// It is not, or was not seen since the backend was started.
    Offline,
}

/// An alarm of the gateway itself that is active: a buffer that fills, alarms that come too late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnAlarm {
    /// Its id.
    pub alarm: String,
    /// When it was raised.
    pub raised_at: Timestamp,
}

/// What is known of a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The version that it runs, as far as is known.
    pub running: Option<AgentVersion>,
    /// What is desired of it.
    pub wish: Option<Wish>,
    /// What it said last.
    pub received: Option<ReceivedUpdate>,
    /// Whether it is connected.
    pub presence: Presence,
    /// When anything last came from it.
    pub heard_at: Option<Timestamp>,
    /// Its own active alarms.
    pub alarms: Vec<OwnAlarm>,
}

/// Who looks, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Now.
    pub now: Timestamp,
    /// Since when the backend looks: before that nobody could be connected.
    pub since: Timestamp,
}

/// How a gateway stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It was not told.
    Untold,
    /// It was told and has not finished.
    Working,
    /// It is not connected, and is waited for.
    Away,
    /// It runs the version, and is watched for a while.
    Watched,
    /// It runs the version and does well.
    Done,
    /// It was never reached: it gets the version when it returns.
    Absent,
    /// It takes no updates, or not this one; the text says why.
    Declined(String),
    /// It does not run the version, or does not do well with it; the text says why.
    Failed(String),
    /// A person passed over it.
    Excused,
}

impl Standing {
    /// The name in the API.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Untold => "untold",
            Self::Working => "working",
            Self::Away => "away",
            Self::Watched => "watched",
            Self::Done => "done",
            Self::Absent => "absent",
            Self::Declined(_) => "declined",
            Self::Failed(_) => "failed",
            Self::Excused => "excused",
        }
    }

    /// Whether the wave waits for it.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Working | Self::Away | Self::Watched)
    }
}

/// How a member of a rollout stands.
#[must_use]
pub fn standing(rollout: &Rollout, member: &Member, seen: &Seen, watch: Watch) -> Standing {
    if member.excused {
        return Standing::Excused;
    }
    let (Some(_), Some(target), Some(wish)) = (member.wave, rollout.target(member), &seen.wish) else {
        return Standing::Untold;
    };
    let view = View { rollout, target, wish, seen, watch };
    let said = seen.received.as_ref().filter(|received| view.is_about_the_wish(received));
    let Some(received) = said else { return view.unfinished() };
    match received.report.state {
        UpdateState::Done if received.report.running == *target => view.after(received),
        UpdateState::RolledBack => Standing::Failed(told("it rolled back", &received.report.detail)),
        UpdateState::Failed => Standing::Failed(told("the update failed", &received.report.detail)),
        UpdateState::Refused => Standing::Declined(told("it refuses", &received.report.detail)),
        UpdateState::Unsupported => {
            Standing::Declined(told("it takes no updates from here", &received.report.detail))
        }
        UpdateState::Done
        | UpdateState::Idle
        | UpdateState::Requested
        | UpdateState::Installing
        | UpdateState::Verifying => view.unfinished(),
    }
}

struct View<'a> {
    rollout: &'a Rollout,
    target: &'a AgentVersion,
    wish: &'a Wish,
    seen: &'a Seen,
    watch: Watch,
}

impl View<'_> {
    /// A gateway that takes no updates may not even look what is desired.
    fn is_about_the_wish(&self, received: &ReceivedUpdate) -> bool {
        match &received.report.desired {
            Some(desired) => desired.revision == self.wish.revision,
            None => received.report.state == UpdateState::Unsupported,
        }
    }

    /// It was told, and neither runs the version nor gave it up.
    fn unfinished(&self) -> Standing {
        let gate = &self.rollout.plan.gate;
        match self.seen.presence {
            Presence::Online(since) if self.waited(since) < gate.patience() => Standing::Working,
            Presence::Online(_) => Standing::Failed(format!(
                "it is connected and does not run {} after {}",
                self.target,
                short(gate.patience())
            )),
            Presence::Offline if self.silent() < gate.offline_wait() => Standing::Away,
            Presence::Offline if self.was_heard_after(self.wish.wished_at) => Standing::Failed(self.gone()),
            Presence::Offline => Standing::Absent,
        }
    }

    /// It runs the version.
    fn after(&self, received: &ReceivedUpdate) -> Standing {
        let gate = &self.rollout.plan.gate;
        match self.seen.presence {
            Presence::Online(since) if self.watch.now.since(received.since.max(since)) < gate.soak() => {
                return Standing::Watched;
            }
            Presence::Online(_) => {}
            // It did well for long enough, and was switched off since.
            Presence::Offline if self.was_heard_after(received.since.plus(gate.soak())) => {}
            Presence::Offline if self.silent() < gate.offline_wait() => return Standing::Away,
            Presence::Offline => return Standing::Failed(self.gone()),
        }
        let new = self.seen.alarms.iter().find(|alarm| alarm.raised_at >= self.wish.wished_at);
        match new {
            Some(OwnAlarm { alarm, .. }) => {
                Standing::Failed(format!("its alarm {alarm} was raised after it was told, and is active"))
            }
            None => Standing::Done,
        }
    }

    /// Who returns after days begins then.
    fn waited(&self, online_since: Timestamp) -> Duration {
        self.watch.now.since(self.wish.wished_at.max(online_since))
    }

    /// How long nothing has come from it, as far as anybody could know.
    fn silent(&self) -> Duration {
        let heard = self.last_heard().unwrap_or(self.wish.wished_at);
        self.watch.now.since(heard.max(self.wish.wished_at).max(self.watch.since))
    }

    fn last_heard(&self) -> Option<Timestamp> {
        self.seen.heard_at.max(self.seen.received.as_ref().map(|received| received.received_at))
    }

    fn was_heard_after(&self, at: Timestamp) -> bool {
        self.last_heard().is_some_and(|heard| heard >= at)
    }

    fn gone(&self) -> String {
        let wait = short(self.rollout.plan.gate.offline_wait());
        format!("it was told of {}, and has not been connected for {wait}", self.target)
    }
}

fn told(what: &str, detail: &str) -> String {
    if detail.is_empty() {
        return what.to_owned();
    }
    let detail: String = detail.chars().take(DETAIL_CHARS_MAX).collect();
    format!("{what}: {detail}")
}

/// A length of time as a person writes it.
fn short(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds % 3_600, seconds % 60) {
        (0, _) => format!("{} h", seconds / 3_600),
        (_, 0) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}
