use std::time::Duration;

use plant_model::Timestamp;
use proptest::prelude::*;
use protocol::{AgentVersion, DesiredUpdate, UpdateChannel, UpdateReport, UpdateRevision, UpdateState};

use super::*;
use crate::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn version(text: &str) -> AgentVersion {
    AgentVersion::new(text).expect("a version")
}

fn at(minutes: u64) -> Timestamp {
    Timestamp::from_micros(1_790_000_000_000_000).plus(Duration::from_secs(60 * minutes))
}

/// What a gateway of the plant does when it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Updates,
    RollsBack,
    Refuses,
    NeverConnects,
    GoesSilent,
    Dawdles,
    RaisesAnAlarm,
}

/// A rollout with its gateways, as the store and the live view would know them.
struct Plant {
    rollout: Rollout,
    manners: Vec<Manner>,
    seen: Vec<Seen>,
    now: u64,
    told: Vec<(u64, usize)>,
}

impl Plant {
    fn new(manners: &[Manner], waves: &str, gate: Gate) -> Self {
        let name = |index| format!("acme/gw-{index}").parse::<GatewayName>().expect("a name");
        let plan = Plan {
            version: version("2.0.0"),
            channel: UpdateChannel::default(),
            waves: waves.parse().expect("waves"),
            gate,
            author: "olga".to_owned(),
            comment: String::new(),
            created_at: at(0),
        };
        let progress = Progress {
            direction: Direction::Forward,
            state: RolloutState::Running,
            wave: 0,
            reason: String::new(),
            changed_at: at(0),
        };
        let members = (0..manners.len()).map(|index| Member::new(name(index))).collect();
        let seen = manners.iter().map(|manner| {
            let is_there = *manner != Manner::NeverConnects;
            Seen {
                running: Some(version("1.0.0")),
                wish: None,
                received: None,
                presence: if is_there { Presence::Online(at(0)) } else { Presence::Offline },
                heard_at: is_there.then(|| at(0)),
                alarms: Vec::new(),
            }
        });
        Self {
            rollout: Rollout { id: RolloutId::MIN, plan, members, progress, revision: 0 },
            manners: manners.to_vec(),
            seen: seen.collect(),
            now: 0,
            told: Vec::new(),
        }
    }

    fn apply(&mut self, change: Change) {
        assert_eq!((change.rollout, change.on), (self.rollout.id, self.rollout.revision));
        self.rollout.progress = change.progress;
        self.rollout.revision += 1;
        for (position, member) in change.members {
            self.rollout.members[position] = member;
        }
        for wish in change.wishes {
            let index =
                self.rollout.members.iter().position(|m| m.gateway == wish.gateway).expect("a member");
            self.told.push((self.now, index));
            let before = self.seen[index].wish.as_ref().map_or(0, |wish| wish.revision.get());
            self.seen[index].wish = Some(Wish {
                revision: UpdateRevision::new(before + 1).expect("above 0"),
                version: wish.version,
                channel: wish.channel,
                rollout: change.rollout,
                wished_at: at(self.now),
            });
        }
    }

    /// Decides until it rests.
    fn decide(&mut self) {
        for _ in 0..50 {
            let watch = Watch { now: at(self.now), since: at(0) };
            match decide(&self.rollout, &self.seen, watch) {
                Decision::Rest => return,
                Decision::Change(change) => self.apply(*change),
            }
        }
        panic!("it never rests: {:?}", self.rollout.progress);
    }

    /// Every gateway does what is its manner; then a while passes.
    fn live(&mut self, minutes: u64) {
        for index in 0..self.seen.len() {
            let Some(wish) = self.seen[index].wish.clone() else { continue };
            let Some(target) = wish.version.clone() else { continue };
            let (state, running) = match self.manners[index] {
                Manner::NeverConnects | Manner::Dawdles => continue,
                Manner::GoesSilent => {
                    self.seen[index].presence = Presence::Offline;
                    self.seen[index].heard_at = self.seen[index].heard_at.max(Some(wish.wished_at));
                    continue;
                }
                Manner::RollsBack => (UpdateState::RolledBack, version("1.0.0")),
                Manner::Refuses => (UpdateState::Refused, version("1.0.0")),
                Manner::Updates | Manner::RaisesAnAlarm => (UpdateState::Done, target.clone()),
            };
            if self.manners[index] == Manner::RaisesAnAlarm && self.seen[index].alarms.is_empty() {
                let alarm = OwnAlarm { alarm: "buffer_filling".to_owned(), raised_at: at(self.now) };
                self.seen[index].alarms.push(alarm);
            }
            self.report(index, state, running);
        }
        self.now += minutes;
    }

    fn report(&mut self, index: usize, state: UpdateState, running: AgentVersion) {
        let seen = &mut self.seen[index];
        let wish = seen.wish.as_ref().expect("it was told");
        let report = UpdateReport {
            running: running.clone(),
            channel: UpdateChannel::default(),
            desired: wish.version.clone().map(|version| DesiredUpdate {
                revision: wish.revision,
                version,
                channel: wish.channel.clone(),
            }),
            state,
            detail: "press-1 did not come back".to_owned(),
            at: at(self.now),
        };
        seen.running = Some(running);
        seen.received = Some(ReceivedUpdate::after(seen.received.as_ref(), report, at(self.now)));
    }

    fn operate(&mut self, operation: Operation) -> Result<(), OperationError> {
        let standings: Vec<_> = self
            .seen
            .iter()
            .map(|seen| UpdateStanding { wish: seen.wish.clone(), received: seen.received.clone() })
            .collect();
        let change = operate(&self.rollout, &standings, operation, "olga", at(self.now))?;
        self.apply(change);
        Ok(())
    }

    fn state(&self) -> RolloutState {
        self.rollout.progress.state
    }

    fn reason(&self) -> &str {
        &self.rollout.progress.reason
    }

    /// Runs until it is finished or paused.
    fn run(&mut self) {
        for _ in 0..200 {
            self.decide();
            if self.state() != RolloutState::Running {
                return;
            }
            self.live(30);
        }
        panic!("it never ends: {:?}", self.rollout.progress);
    }

    fn told(&self) -> Vec<usize> {
        self.told.iter().map(|(_, index)| *index).collect()
    }

    /// The versions that are desired now.
    fn wishes(&self) -> Vec<Option<String>> {
        let version =
            |seen: &Seen| seen.wish.as_ref().and_then(|wish| wish.version.as_ref()).map(ToString::to_string);
        self.seen.iter().map(version).collect()
    }
}

#[test]
fn a_healthy_fleet_is_told_wave_after_wave_with_a_soak_between() {
    let mut plant = Plant::new(&[Manner::Updates; 20], "1,10%,50%,100%", Gate::default());
    plant.run();
    assert_eq!(plant.state(), RolloutState::Completed, "{}", plant.reason());
    assert_eq!(plant.told(), (0..20).collect::<Vec<_>>());
    let mut times: Vec<_> = plant.told.iter().map(|(time, _)| *time).collect();
    times.dedup();
    assert_eq!(times.len(), 4, "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 60), "an hour well between waves: {times:?}");
}

#[test]
fn one_that_rolls_back_pauses_the_rollout_and_nobody_else_is_told() {
    let mut manners = [Manner::Updates; 20];
    manners[1] = Manner::RollsBack;
    let mut plant = Plant::new(&manners, "1,10%,50%,100%", Gate::default());
    plant.run();
    assert_eq!((plant.state(), plant.told()), (RolloutState::Paused, vec![0, 1]));
    assert!(
        plant.reason().contains("1 failed, 0 may: acme/gw-1: it rolled back: press-1 did not come back"),
        "{}",
        plant.reason()
    );
    plant.operate(Operation::Resume).expect("it is paused");
    plant.run();
    assert_eq!(plant.state(), RolloutState::Completed, "{}", plant.reason());
    assert_eq!(plant.told().len(), 20);
}

#[test]
fn what_counts_as_a_failure_and_what_does_not() {
    let gate = Gate::new(HOUR, 0, HOUR, 5 * HOUR).expect("a gate");
    for (manner, state, reason) in [
        (Manner::GoesSilent, RolloutState::Paused, "has not been connected for 1 h"),
        (Manner::Dawdles, RolloutState::Paused, "does not run 2.0.0 after 5 h"),
        (Manner::RaisesAnAlarm, RolloutState::Paused, "its alarm buffer_filling was raised"),
        (Manner::Refuses, RolloutState::Completed, "2 done, 1 declined"),
        (Manner::NeverConnects, RolloutState::Completed, "2 done, 1 absent"),
    ] {
        let mut plant = Plant::new(&[Manner::Updates, manner, Manner::Updates], "100%", gate);
        plant.run();
        assert_eq!(plant.state(), state, "{manner:?}: {}", plant.reason());
        assert!(plant.reason().contains(reason), "{manner:?}: {}", plant.reason());
    }
}

#[test]
fn a_wave_in_which_nobody_was_reached_proves_nothing() {
    for manner in [Manner::NeverConnects, Manner::Refuses] {
        let mut plant = Plant::new(&[manner; 3], "1,100%", Gate::default());
        plant.run();
        assert_eq!((plant.state(), plant.told().len()), (RolloutState::Paused, 1), "{}", plant.reason());
        assert!(plant.reason().contains("no gateway of wave 1 runs the version"), "{}", plant.reason());
        plant.operate(Operation::Resume).expect("it is paused");
        plant.decide();
        assert_eq!(plant.told().len(), 3, "a person may go on");
    }
}

#[test]
fn who_is_connected_is_told_first_and_who_is_not_gets_it_on_return() {
    let manners = [Manner::NeverConnects, Manner::Updates, Manner::NeverConnects, Manner::Updates];
    let mut plant = Plant::new(&manners, "1,100%", Gate::default());
    plant.run();
    assert_eq!((plant.state(), plant.told()), (RolloutState::Completed, vec![1, 3, 0, 2]));
    assert_eq!(plant.wishes(), vec![Some("2.0.0".to_owned()); 4]);
}

#[test]
fn one_that_did_well_and_was_switched_off_is_no_failure_and_one_that_had_no_time_to_is() {
    for (heard_after, state) in [(61, RolloutState::Running), (30, RolloutState::Paused)] {
        let mut plant = Plant::new(&[Manner::Updates; 2], "100%", Gate::default());
        plant.decide();
        plant.live(0);
        plant.manners = vec![Manner::Dawdles, Manner::Dawdles];
        plant.seen[0].presence = Presence::Offline;
        plant.seen[0].heard_at = Some(at(heard_after));
        plant.now = 59;
        plant.decide();
        assert_eq!(plant.state(), RolloutState::Running);
        plant.seen[1].presence = Presence::Online(at(150));
        plant.now = 200;
        plant.decide();
        assert_eq!(plant.state(), state, "{}", plant.reason());
    }
}

#[test]
fn after_a_start_of_the_backend_everyone_has_time_to_come_back() {
    let mut plant = Plant::new(&[Manner::Updates], "100%", Gate::default());
    plant.decide();
    plant.seen[0].presence = Presence::Offline;
    plant.seen[0].heard_at = Some(at(5));
    plant.now = 1_000;
    let watch = |since| Watch { now: at(1_000), since: at(since) };
    let member = &plant.rollout.members[0];
    assert_eq!(standing(&plant.rollout, member, &plant.seen[0], watch(990)), Standing::Away);
    assert!(matches!(standing(&plant.rollout, member, &plant.seen[0], watch(0)), Standing::Failed(_)));
}

#[test]
fn pause_holds_and_abort_leaves_everyone_what_runs() {
    let manners = [Manner::Updates, Manner::Dawdles, Manner::Updates, Manner::Updates];
    let mut plant = Plant::new(&manners, "2,100%", Gate::default());
    plant.decide();
    plant.live(10);
    plant.operate(Operation::Pause).expect("it runs");
    plant.live(600);
    plant.decide();
    assert_eq!((plant.state(), plant.told().len()), (RolloutState::Paused, 2));
    assert!(plant.operate(Operation::Pause).is_err());
    plant.seen[1].received = None;
    plant.operate(Operation::Abort).expect("it is not finished");
    plant.decide();
    assert_eq!(plant.state(), RolloutState::Aborted);
    let wishes = [Some("2.0.0".to_owned()), Some("1.0.0".to_owned()), None, None];
    assert_eq!(plant.wishes(), wishes, "who runs it keeps it, who does not keeps what it ran");
    assert_eq!(plant.told(), [0, 1, 1], "who runs it hears nothing of the end");
    let error = plant.operate(Operation::Resume).expect_err("it is over").to_string();
    assert!(error.contains("rollout 1 is aborted") && error.contains("is paused"), "{error}");
}

#[test]
fn a_rollback_takes_those_who_were_told_back_in_the_same_waves() {
    let mut plant = Plant::new(&[Manner::Updates; 6], "1,50%,100%", Gate::default());
    plant.seen[2].running = None;
    plant.decide();
    while plant.told().len() < 3 {
        plant.live(30);
        plant.decide();
    }
    plant.told.clear();
    plant.operate(Operation::RollBack).expect("it goes forward");
    assert_eq!(plant.told(), [2], "what it ran is not known: nothing is wished");
    plant.run();
    assert_eq!(plant.state(), RolloutState::Completed, "{}", plant.reason());
    assert_eq!(plant.told(), [2, 0, 1]);
    let mut times: Vec<_> = plant.told.iter().map(|(time, _)| *time).skip(1).collect();
    times.dedup();
    assert_eq!(times.len(), 2, "in waves: {times:?}");
    let former = Some("1.0.0".to_owned());
    assert_eq!(plant.wishes(), [former.clone(), former, None, None, None, None]);
    assert!(plant.operate(Operation::RollBack).is_err(), "there is no way back from the way back");
}

#[test]
fn who_returns_after_days_has_its_time_from_then_on() {
    let mut plant = Plant::new(&[Manner::Updates, Manner::NeverConnects], "100%", Gate::default());
    plant.run();
    let days = 3 * 24 * 60;
    plant.seen[1].presence = Presence::Online(at(days));
    plant.seen[1].heard_at = Some(at(days));
    let stands = |minutes| {
        let watch = Watch { now: at(minutes), since: at(0) };
        standing(&plant.rollout, &plant.rollout.members[1], &plant.seen[1], watch)
    };
    assert_eq!(stands(days + 60), Standing::Working);
    assert!(matches!(stands(days + 24 * 60), Standing::Failed(_)));
}

#[test]
fn an_alarm_of_before_and_a_report_of_another_wish_say_nothing() {
    let mut plant = Plant::new(&[Manner::Dawdles], "100%", Gate::default());
    plant.now = 10;
    plant.decide();
    let alarm = OwnAlarm { alarm: "certificate_ending".to_owned(), raised_at: at(9) };
    plant.seen[0].alarms.push(alarm);
    let stands = |plant: &Plant| {
        let watch = Watch { now: at(plant.now), since: at(0) };
        standing(&plant.rollout, &plant.rollout.members[0], &plant.seen[0], watch)
    };
    plant.report(0, UpdateState::Done, version("2.0.0"));
    assert_eq!(stands(&plant), Standing::Watched);
    plant.now = 100;
    assert_eq!(stands(&plant), Standing::Done);
    plant.report(0, UpdateState::Done, version("1.0.0"));
    assert_eq!(stands(&plant), Standing::Working, "it says it is done and runs another version");
    plant.report(0, UpdateState::RolledBack, version("1.0.0"));
    let wish = plant.seen[0].wish.as_mut().expect("it was told");
    wish.revision = UpdateRevision::new(2).expect("above 0");
    assert_eq!(stands(&plant), Standing::Working, "it rolled another wish back");
    let report = &mut plant.seen[0].received.as_mut().expect("said").report;
    (report.state, report.desired) = (UpdateState::Unsupported, None);
    assert!(matches!(stands(&plant), Standing::Declined(_)));
}

#[test]
fn the_same_report_again_is_as_old_as_the_first() {
    let mut plant = Plant::new(&[Manner::Updates], "100%", Gate::default());
    plant.decide();
    plant.report(0, UpdateState::Installing, version("1.0.0"));
    plant.now = 10;
    plant.report(0, UpdateState::Done, version("2.0.0"));
    plant.now = 20;
    plant.report(0, UpdateState::Done, version("2.0.0"));
    let received = plant.seen[0].received.clone().expect("said");
    assert_eq!((received.since, received.received_at), (at(10), at(20)));
}

fn manner() -> impl Strategy<Value = Manner> {
    prop_oneof![
        8 => Just(Manner::Updates),
        1 => Just(Manner::RollsBack),
        1 => Just(Manner::Refuses),
        1 => Just(Manner::NeverConnects),
        1 => Just(Manner::GoesSilent),
        1 => Just(Manner::Dawdles),
        1 => Just(Manner::RaisesAnAlarm),
    ]
}

fn is_bad(manner: Manner) -> bool {
    matches!(manner, Manner::RollsBack | Manner::GoesSilent | Manner::Dawdles | Manner::RaisesAnAlarm)
}

proptest! {
    #[test]
    fn no_more_are_told_than_the_wave_allows_and_failures_stop_it(
        manners in proptest::collection::vec(manner(), 1..40),
        waves in prop_oneof![Just("1,10%,50%,100%"), Just("100%"), Just("2,5,100%"), Just("10%,20%,100%")],
        max_failures in 0_u32..3,
        step in 1_u64..90,
    ) {
        let gate = Gate::new(HOUR, max_failures, HOUR, 3 * HOUR).expect("a gate");
        let mut plant = Plant::new(&manners, waves, gate);
        let sizes = plant.rollout.sizes();
        let mut told_before_the_limit = 0;
        for _ in 0..2_000 {
            let failed_before = plant.rollout.members.iter().zip(&plant.seen).filter(|(member, seen)| {
                let watch = Watch { now: at(plant.now), since: at(0) };
                matches!(standing(&plant.rollout, member, seen, watch), Standing::Failed(_))
            }).count();
            let told = plant.rollout.told();
            plant.decide();
            let wave = usize::try_from(plant.rollout.progress.wave).expect("small");
            prop_assert!(plant.rollout.told() <= sizes[wave], "{} in wave {wave} of {sizes:?}", plant.rollout.told());
            if failed_before > max_failures as usize {
                prop_assert_eq!(plant.rollout.told(), told, "told although {} had failed", failed_before);
            } else {
                told_before_the_limit = plant.rollout.told();
            }
            if plant.state() != RolloutState::Running {
                break;
            }
            plant.live(step);
        }
        prop_assert!(plant.state() != RolloutState::Running, "it never ends: {}", plant.reason());
        prop_assert_eq!(plant.rollout.told(), told_before_the_limit);
        let mut once = plant.told();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), plant.told.len(), "nobody is told twice");
        let bad = plant.told().iter().filter(|index| is_bad(manners[**index])).count();
        let last_wave = usize::try_from(plant.rollout.progress.wave).expect("small");
        let under_way = sizes[last_wave] - last_wave.checked_sub(1).map_or(0, |before| sizes[before]);
        prop_assert!(bad <= max_failures as usize + under_way, "{} failures", bad);
        let mut again = Plant::new(&manners, waves, gate);
        for _ in 0..2_000 {
            again.decide();
            if again.state() != RolloutState::Running {
                break;
            }
            again.live(step);
        }
        prop_assert_eq!(again.told, plant.told, "the same input, the same order");
    }
}
