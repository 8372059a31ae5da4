//! What happens next in a rollout.

use crate::port::{Change, WishChange};
use crate::standing::{Presence, Seen, Standing, Watch, standing};
use crate::{Direction, Member, Progress, Rollout, RolloutState};

/// Gateways that a reason names; the list of the rollout has all.
const NAMED_MAX: usize = 3;

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Rest,
    /// Save this, and tell the gateways whose wishes are in it.
    Change(Box<Change>),
}

/// Decides about a rollout from what is known of its gateways, in the order of its members. After a change it is asked
/// again; when it rests, only time or a gateway can bring news.
#[must_use]
pub fn decide(rollout: &Rollout, seen: &[Seen], watch: Watch) -> Decision {
    let standings: Vec<Standing> = rollout
        .members
        .iter()
        .zip(seen)
        .map(|(member, seen)| standing(rollout, member, seen, watch))
        .collect();
    let view = View { rollout, seen, standings, watch };
    match rollout.progress.state {
        RolloutState::Running => view.go_on(),
        RolloutState::Resuming => view.pass_over(),
        RolloutState::Paused | RolloutState::Completed | RolloutState::Aborted => Decision::Rest,
    }
}

struct View<'a> {
    rollout: &'a Rollout,
    seen: &'a [Seen],
    standings: Vec<Standing>,
    watch: Watch,
}

impl View<'_> {
    fn go_on(&self) -> Decision {
        let (sizes, wave) = (self.rollout.sizes(), self.rollout.progress.wave);
        let position = usize::try_from(wave).unwrap_or(usize::MAX);
        let Some(size) = sizes.get(position).copied() else {
            return self.step(RolloutState::Completed, wave, "nobody is left to be told".to_owned());
        };
        if let Some(reason) = self.too_many_failures() {
            return self.step(RolloutState::Paused, wave, reason);
        }
        let missing = size.saturating_sub(self.rollout.told());
        if missing > 0 {
            return self.tell(missing, wave);
        }
        if self.standings.iter().any(Standing::is_open) {
            return self.wait(sizes.len());
        }
        if !self.has_proof(wave) {
            let reason = format!("no gateway of wave {} runs the version: {}", wave + 1, self.sum());
            return self.step(RolloutState::Paused, wave, reason);
        }
        match sizes.get(position + 1) {
            Some(next) => self.tell(next.saturating_sub(self.rollout.told()), wave + 1),
            None => self.step(RolloutState::Completed, wave, self.sum()),
        }
    }

    /// Failures up to now, if they are more than the gate lets pass.
    fn too_many_failures(&self) -> Option<String> {
        let mut failed = self.rollout.members.iter().zip(&self.standings).filter_map(|(member, standing)| {
            if let Standing::Failed(why) = standing {
                Some(format!("{}: {why}", member.gateway))
            } else {
                None
            }
        });
        let named: Vec<String> = failed.by_ref().take(NAMED_MAX).collect();
        let more = failed.count();
        let allowed = self.rollout.plan.gate.max_failures();
        let is_too_many = named.len() + more > usize::try_from(allowed).unwrap_or(usize::MAX);
        let others = if more == 0 { String::new() } else { format!("; and {more} more") };
        is_too_many.then(|| {
            let count = named.len() + more;
            format!("{count} failed, {allowed} may: {}{others}", named.join("; "))
        })
    }

    /// Whether the wave shows anything: somebody runs the version, or a person passed over somebody.
    fn has_proof(&self, wave: u32) -> bool {
        let of_wave = self.rollout.members.iter().zip(&self.standings).filter(|(m, _)| m.wave == Some(wave));
        of_wave.map(|(_, standing)| standing).any(|s| matches!(s, Standing::Done | Standing::Excused))
    }

    /// Tells `count` more, those that are connected first, else in their order.
    fn tell(&self, count: usize, wave: u32) -> Decision {
        let candidates = || {
            let all = self.rollout.members.iter().zip(self.seen).enumerate();
            all.filter(|(_, (member, _))| member.wave.is_none() && self.rollout.target(member).is_some())
        };
        let is_online = |seen: &Seen| matches!(seen.presence, Presence::Online(_));
        let connected = candidates().filter(|(_, (_, seen))| is_online(seen));
        let others = candidates().filter(|(_, (_, seen))| !is_online(seen));
        let (mut members, mut wishes) = (Vec::new(), Vec::new());
        for (position, (member, seen)) in connected.chain(others).take(count) {
            let told = self.told(member, seen, wave);
            wishes.push(WishChange {
                gateway: member.gateway.clone(),
                version: self.rollout.target(&told).cloned(),
                channel: self.rollout.plan.channel.clone(),
            });
            members.push((position, told));
        }
        let reason = format!("wave {} begins: {} gateways are told", wave + 1, members.len());
        let progress = self.progress(RolloutState::Running, wave, reason);
        self.change(progress, members, wishes)
    }

    fn told(&self, member: &Member, seen: &Seen, wave: u32) -> Member {
        let former = match self.rollout.progress.direction {
            Direction::Forward => seen.running.clone(),
            Direction::Back => member.former.clone(),
        };
        Member { wave: Some(wave), former, ..member.clone() }
    }

    /// A person said to go on: what holds the rollout up now does not any more.
    fn pass_over(&self) -> Decision {
        let holds_up = |standing: &Standing| {
            matches!(standing, Standing::Failed(_) | Standing::Declined(_) | Standing::Absent)
        };
        let all = self.rollout.members.iter().zip(&self.standings).enumerate();
        let excused = all.filter(|(_, (_, standing))| holds_up(standing));
        let members: Vec<_> = excused
            .map(|(position, (member, _))| (position, Member { excused: true, ..member.clone() }))
            .collect();
        let reason = format!("{} gateways are passed over", members.len());
        let progress = self.progress(RolloutState::Running, self.rollout.progress.wave, reason);
        self.change(progress, members, Vec::new())
    }

    /// Nothing happens; what is waited for is noted when it is news.
    fn wait(&self, waves: usize) -> Decision {
        let progress = &self.rollout.progress;
        let reason = format!("wave {} of {waves}: {}", progress.wave + 1, self.sum());
        if reason == progress.reason {
            return Decision::Rest;
        }
        self.change(Progress { reason, ..progress.clone() }, Vec::new(), Vec::new())
    }

    /// How many stand how.
    fn sum(&self) -> String {
        const NAMES: [&str; 8] =
            ["done", "watched", "working", "away", "absent", "declined", "failed", "excused"];
        let count = |name: &str| self.standings.iter().filter(|standing| standing.name() == name).count();
        let counts = NAMES.map(|name| (count(name), name));
        let told: Vec<_> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(n, name)| format!("{n} {name}")).collect();
        if told.is_empty() { "nobody was told".to_owned() } else { told.join(", ") }
    }

    fn step(&self, state: RolloutState, wave: u32, reason: String) -> Decision {
        self.change(self.progress(state, wave, reason), Vec::new(), Vec::new())
    }

    fn progress(&self, state: RolloutState, wave: u32, reason: String) -> Progress {
        let direction = self.rollout.progress.direction;
        Progress { direction, state, wave, reason, changed_at: self.watch.now }
    }

    fn change(&self, progress: Progress, members: Vec<(usize, Member)>, wishes: Vec<WishChange>) -> Decision {
        let (rollout, on) = (self.rollout.id, self.rollout.revision);
        Decision::Change(Box::new(Change { rollout, on, progress, members, wishes, at: self.watch.now }))
    }
}

#[cfg(test)]
mod tests;
