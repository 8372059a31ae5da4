//! Steps of known instants: a simulated machine changes a value and says when, and everything that was heard of the
//! alarm is noted. Both instants come from one clock of one host.
//!
//! The n-th step at an alarm is its n-th occurrence, because the machines never cross a limit by themselves. So
//! each arrival is held against its own step, however late copies of earlier ones come.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use plant_model::{AlarmTransition, TransitionCause};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::api::{Api, LiveEvent};
use crate::factory::Plant;
use crate::injection::Target;
use crate::process::until;

/// Machine, alarm, occurrence.
type Occurrence = (String, String, u64);

#[derive(Debug, Default)]
struct Notes {
    raised: HashMap<Occurrence, i64>,
    returned: HashMap<Occurrence, i64>,
}

/// Notes when the first word of each transition of a tenant arrives in the backend's live stream.
#[derive(Debug)]
pub struct Listener {
    notes: Arc<Mutex<Notes>>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Listens until it is dropped.
    #[must_use]
    pub fn start(api: Api, tenant: String) -> Self {
        let notes: Arc<Mutex<Notes>> = Arc::default();
        let ours = Arc::clone(&notes);
        let task =
            tokio::spawn(
                async move { while api.follow(&tenant, |event| note(&ours, &event)).await.is_ok() {} },
            );
        Self { notes, task }
    }

    fn raised(&self, occurrence: &Occurrence) -> Option<i64> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).raised.get(occurrence).copied()
    }

    fn returned(&self, occurrence: &Occurrence) -> Option<i64> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).returned.get(occurrence).copied()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note(notes: &Mutex<Notes>, event: &LiveEvent) {
    let data = &event.data;
    let text = |name: &str| data[name].as_str().map(str::to_owned);
    let (Some(machine), Some(alarm), Some(number)) =
        (text("machine"), text("alarm"), data["occurrence"].as_u64())
    else {
        return;
    };
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    let of_cause = match data["cause"].as_str() {
        Some("raised") => &mut notes.raised,
        Some("returned_to_normal") => &mut notes.returned,
        Some(_) | None => return,
    };
    of_cause.entry((machine, alarm, number)).or_insert(event.arrived_at_us);
}

/// An alarm that steps are made at, one after the other.
#[derive(Debug, Clone)]
pub struct Lane {
    /// The alarm.
    pub target: Target,
    /// Steps made so far.
    pub steps: u64,
}

impl Lane {
    /// An alarm that was never raised.
    #[must_use]
    pub const fn new(target: Target) -> Self {
        Self { target, steps: 0 }
    }

    const fn occurrence(&self) -> (&String, &String, u64) {
        (&self.target.machine, &self.target.alarm, self.steps)
    }
}

/// How steps are made.
#[derive(Debug, Clone, Copy)]
pub struct Course {
    /// Steps at each alarm.
    pub steps: u64,
    /// How long a value stays beyond its limit: longer than it takes to be sampled.
    pub hold: Duration,
    /// Pauses after a return are spread evenly from none to this, so that steps fall at every phase of the sampling.
    pub pause_max: Duration,
    /// How long a transition may take before the run fails.
    pub patience: Duration,
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// At which machine.
    pub machine: String,
    /// When its value changed, in microseconds since 1970.
    pub changed_at_us: i64,
    /// From then to the first word of it at the listener.
    pub latency_us: i64,
}

/// Makes steps at all alarms at once.
///
/// # Errors
/// A transition does not come within the patience of the course, or the simulator refuses.
pub async fn run(
    plant: &Plant,
    listener: &Listener,
    lanes: &mut [Lane],
    course: Course,
) -> Result<Vec<Step>> {
    let each = (0..).zip(lanes).map(|(number, lane)| at_one(plant, listener, number, lane, course));
    Ok(try_join_all(each).await?.concat())
}

async fn at_one(
    plant: &Plant,
    listener: &Listener,
    number: u32,
    lane: &mut Lane,
    course: Course,
) -> Result<Vec<Step>> {
    let mut done = Vec::new();
    for _ in 0..course.steps {
        lane.steps += 1;
        done.push(step(plant, listener, lane, course).await?);
        tokio::time::sleep(course.pause_max.mul_f64(phase(number, lane.steps))).await;
    }
    Ok(done)
}

/// Evenly spread in 0 to 1, and different for each lane: multiples of the golden ratio.
fn phase(lane: u32, step: u64) -> f64 {
    let step = f64::from(u32::try_from(step).unwrap_or(u32::MAX));
    (step * 0.618_033_988_75 + f64::from(lane) * 0.137).fract()
}

async fn step(plant: &Plant, listener: &Listener, lane: &Lane, course: Course) -> Result<Step> {
    let Target { machine, tag, value, .. } = &lane.target;
    let body = json!({ "tag": tag, "value": value, "hold_ms": u64::try_from(course.hold.as_millis())? });
    let answer = plant.simulator(Method::POST, &format!("/machines/{machine}/set"), Some(body)).await?;
    let changed_at_us = answer["at_us"].as_i64().context("the simulator names the instant")?;
    let (machine, alarm, number) = lane.occurrence();
    let occurrence = (machine.clone(), alarm.clone(), number);
    let what = format!("occurrence {number} of {machine} {alarm}");
    let arrived = until(&what, course.patience, || async { listener.raised(&occurrence) }).await?;
    let patience = course.hold + course.patience;
    until(&format!("the return of {what}"), patience, || async { listener.returned(&occurrence) }).await?;
    Ok(Step { machine: machine.clone(), changed_at_us, latency_us: arrived - changed_at_us })
}

/// Holds what is stored against the steps that were made: of each alarm every occurrence is raised and returns to
/// normal, once each and in this order, and of each machine the instants of decision never go back. Alarms without a
/// limit, as of a lost connection, are not looked at, nor are other machines.
///
/// # Errors
/// Something is missing, doubled, out of order, or of no step.
pub fn judge(stored: &[AlarmTransition], lanes: &[Lane]) -> Result<()> {
    let machines: HashSet<&str> = lanes.iter().map(|lane| lane.target.machine.as_str()).collect();
    let mut seen: HashMap<(&str, &str), Vec<(u64, TransitionCause)>> = HashMap::new();
    let mut newest = HashMap::new();
    for t in stored.iter().filter(|t| t.limit.is_some() && machines.contains(t.machine.as_str())) {
        let last = newest.insert(&t.machine, t.decided_at);
        ensure!(last.is_none_or(|last| last <= t.decided_at), "{t:?} was decided before what precedes it");
        seen.entry((t.machine.as_str(), t.alarm.as_str())).or_default().push((t.occurrence, t.cause));
    }
    for lane in lanes {
        let Target { machine, alarm, .. } = &lane.target;
        let owed = |n| [(n, TransitionCause::Raised), (n, TransitionCause::ReturnedToNormal)];
        let owed: Vec<_> = (1..=lane.steps).flat_map(owed).collect();
        let found = seen.remove(&(machine.as_str(), alarm.as_str())).unwrap_or_default();
        ensure!(found == owed, "{machine} {alarm}: {} steps were made, stored is {found:?}", lane.steps);
    }
    ensure!(seen.is_empty(), "transitions of no step: {seen:?}");
    Ok(())
}

/// Times, ascending.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<i64>);

impl FromIterator<i64> for Times {
    fn from_iter<I: IntoIterator<Item = i64>>(micros: I) -> Self {
        let mut all: Vec<i64> = micros.into_iter().collect();
        all.sort_unstable();
        Self(all)
    }
}

impl Times {
    /// How many.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// The time, in milliseconds, that `percent` of them do not exceed; of 100 percent the longest.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "times far below 2^53 microseconds")]
    pub fn ms(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(f64::NAN, |micros| *micros as f64 / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use plant_model::{AlarmFlags, AlarmId, AlarmPriority, AlarmState, MachineId, Timestamp};

    use super::*;

    fn transition(occurrence: u64, cause: TransitionCause, second: i64) -> AlarmTransition {
        AlarmTransition {
            machine: MachineId::new("press-1").expect("valid"),
            alarm: AlarmId::new("hot").expect("valid"),
            occurrence,
            cause,
            decided_at: Timestamp::from_micros(second * 1_000_000),
            tag: None,
            from: AlarmState::Normal,
            to: AlarmState::Unacknowledged,
            priority: AlarmPriority::Medium,
            value: None,
            limit: Some(80.0),
            deadband: 0.0,
            value_at: Timestamp::from_micros(0),
            message: String::new(),
            first_out: false,
            flags: AlarmFlags::default(),
            operation: None,
        }
    }

    fn lane(steps: u64) -> Lane {
        let text = str::to_owned;
        let target = Target { machine: text("press-1"), alarm: text("hot"), tag: text("t"), value: 1.0 };
        Lane { target, steps }
    }

    #[test]
    fn the_judge_sees_what_is_missing_doubled_swapped_and_foreign() {
        use TransitionCause::{Raised, ReturnedToNormal as Returned};
        let good = [
            transition(1, Raised, 1),
            transition(1, Returned, 2),
            transition(2, Raised, 3),
            transition(2, Returned, 4),
        ];
        judge(&good, &[lane(2)]).expect("all there");
        assert!(judge(&good, &[lane(3)]).is_err(), "missing");
        let mut foreign = good.to_vec();
        foreign[3].alarm = AlarmId::new("cold").expect("valid");
        assert!(judge(&[foreign[3].clone()], &[lane(0)]).is_err());
        let doubled: Vec<_> = good.iter().chain(&good[3..]).cloned().collect();
        assert!(judge(&doubled, &[lane(2)]).is_err());
        let mut swapped = good.clone();
        swapped.swap(1, 2);
        assert!(judge(&swapped, &[lane(2)]).is_err());
        let mut back = good;
        back[3].decided_at = Timestamp::from_micros(0);
        assert!(judge(&back, &[lane(2)]).is_err());
    }

    #[test]
    fn shares_of_times_are_those_that_so_many_do_not_exceed() {
        let times: Times = (1..=1_000).rev().map(|n| n * 1_000).collect();
        assert_eq!((times.ms(50), times.ms(99), times.ms(100)), (500.0, 990.0, 1_000.0));
        assert!(Times::default().ms(50).is_nan());
    }
}
