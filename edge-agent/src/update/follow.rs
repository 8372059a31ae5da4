//! The agent's part: asks which version is wanted, asks the installer for it, and reports.

use std::sync::Arc;
use std::time::Duration;

use agent_update::{Act, Policy, View, decide};
use anyhow::Result;
use edge_config::UpdateConfig;
use gateway_identity::{Desired, IdentityError, UpdateClient};
use protocol::{AgentVersion, DesiredUpdate, UpdateReport, UpdateState};
use service_kit::Clock;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::files::UpdateFiles;
use super::status::UpdateDesk;
use crate::errand::Errand;

/// How often the backend is asked without a nudge (SPEC section 14), at most; a quarter less at random, so that a fleet
/// that was switched on together does not ask together.
const PULL_EVERY: Duration = Duration::from_secs(300);
/// How often the same is reported again (SPEC section 14).
const REPORT_EVERY: Duration = Duration::from_secs(3_600);
/// How often it is looked at what the installer says.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is wanted, and what is done about it.
pub(super) struct Follower {
    client: UpdateClient,
    running: AgentVersion,
    /// `None`: updates are not enabled.
    files: Option<UpdateFiles>,
    policy: Policy,
    clock: Clock,
    desk: Arc<UpdateDesk>,
    desired: Option<DesiredUpdate>,
    told: UpdateReport,
}

impl Follower {
    pub(super) fn new(
        client: UpdateClient,
        running: AgentVersion,
        (config, files): (&UpdateConfig, UpdateFiles),
        clock: Clock,
        desk: &Arc<UpdateDesk>,
    ) -> Self {
        let told = UpdateReport {
            running: running.clone(),
            channel: config.policy.channel.clone(),
            desired: None,
            state: if config.is_enabled { UpdateState::Idle } else { UpdateState::Unsupported },
            detail: String::new(),
            at: clock.wall(),
        };
        desk.stands(told.clone());
        let (files, policy) = (config.is_enabled.then_some(files), config.policy.clone());
        Self { client, running, files, policy, clock, desk: Arc::clone(desk), desired: None, told }
    }

    /// Goes on until `stop` is cancelled. What the installer does goes on without it.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.go() => {}
        }
    }

    async fn go(&mut self) {
        let (mut pull, mut report) = (Errand::new(PULL_EVERY), Errand::new(PULL_EVERY));
        let desk = Arc::clone(&self.desk);
        let mut is_known = self.files.is_none();
        loop {
            // What is not enabled is not asked for.
            if self.files.is_some() && pull.due <= Instant::now() {
                match self.fetch().await {
                    Ok(()) => {
                        is_known = true;
                        pull.done(PULL_EVERY.mul_f64(1.0 - rand::random::<f64>() / 4.0));
                    }
                    Err(error) => self.failed(&mut pull, &error),
                }
            }
            // A request is neither made nor taken back before the backend was asked.
            if is_known && self.look().await {
                report.due = Instant::now();
            }
            if is_known && report.due <= Instant::now() {
                match self.client.report(&self.told).await {
                    Ok(()) => {
                        self.desk.answered(self.clock.wall());
                        report.done(REPORT_EVERY);
                    }
                    Err(error) => self.failed(&mut report, &error),
                }
            }
            tokio::select! {
                () = desk.nudged() => pull.due = Instant::now(),
                () = sleep_until(Instant::now() + LOOK_EVERY) => {}
            }
        }
    }

    fn failed(&self, errand: &mut Errand, error: &IdentityError) {
        // Once for each reason: an uplink may be away for days.
        if self.desk.silent(error.to_string()) {
            tracing::warn!(error = %error, "the backend cannot be asked for the version of this agent");
        }
        errand.failed();
    }

    async fn fetch(&mut self) -> Result<(), IdentityError> {
        let known = self.desired.as_ref().map(|desired| desired.revision);
        match self.client.fetch(known).await? {
            Desired::Known => {}
            Desired::Nothing => self.desired = None,
            Desired::Update(desired) => self.desired = Some(desired),
        }
        self.desk.answered(self.clock.wall());
        Ok(())
    }

    /// Looks at the files and does what is to be done; whether there is news.
    async fn look(&mut self) -> bool {
        let Some(files) = self.files.clone() else { return false };
        let (policy, running, desired) = (self.policy.clone(), self.running.clone(), self.desired.clone());
        let minute = minute_of_day(self.clock);
        let looked =
            tokio::task::spawn_blocking(move || act(&files, &policy, &running, desired.as_ref(), minute));
        let (state, detail) = match looked.await {
            Ok(Ok(stands)) => stands,
            Ok(Err(error)) => (UpdateState::Failed, format!("{error:#}")),
            Err(error) => (UpdateState::Failed, error.to_string()),
        };
        let desired = self.desired.clone();
        let report = UpdateReport { desired, state, detail, at: self.told.at, ..self.told.clone() }.clipped();
        let is_news = report != self.told;
        if is_news {
            self.tell(UpdateReport { at: self.clock.wall(), ..report });
        }
        is_news
    }

    fn tell(&mut self, report: UpdateReport) {
        let UpdateReport { state, detail, .. } = &report;
        let version = report.desired.as_ref().map(|desired| desired.version.as_str());
        match state {
            UpdateState::Failed | UpdateState::RolledBack | UpdateState::Refused => {
                tracing::error!(
                    state = state.as_str(),
                    version,
                    detail,
                    "the agent is not what the backend wants"
                );
            }
            UpdateState::Idle
            | UpdateState::Requested
            | UpdateState::Installing
            | UpdateState::Verifying
            | UpdateState::Done
            | UpdateState::Unsupported => {
                tracing::info!(state = state.as_str(), version, detail, "the version of this agent");
            }
        }
        self.desk.stands(report.clone());
        self.told = report;
    }
}

/// Reads what lies there, and leaves what is decided; how it stands then.
fn act(
    files: &UpdateFiles,
    policy: &Policy,
    running: &AgentVersion,
    desired: Option<&DesiredUpdate>,
    minute: Option<u16>,
) -> Result<(UpdateState, String)> {
    let (journal, request, now) = (files.journal()?, files.request(), Clock::system());
    let (journal, request) = (journal.as_ref(), request.as_ref());
    let decision = decide(policy, View { running, desired, journal, request, now, minute });
    match &decision.act {
        Act::Nothing => {}
        Act::Ask(request) => files.ask(request)?,
        Act::Withdraw => files.withdraw()?,
    }
    Ok((decision.state, decision.detail))
}

/// The minute of the day in the time zone of the gateway; `None` while the time is not known.
fn minute_of_day(clock: Clock) -> Option<u16> {
    clock.booted_at()?;
    let now = jiff::Timestamp::from_microsecond(clock.wall().micros()).ok()?;
    let local = now.to_zoned(jiff::tz::TimeZone::system());
    u16::try_from(i16::from(local.hour()) * 60 + i16::from(local.minute())).ok()
}

#[cfg(test)]
mod tests;
