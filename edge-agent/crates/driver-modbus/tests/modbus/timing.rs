//! Polls come at their instants, in real time.

use std::time::{Duration, Instant};

use crate::shared::noting;
use crate::support::{Running, connection, holding};

const PERIOD: Duration = Duration::from_millis(50);
const POLLS: usize = 60;

/// How late each request came behind a grid that begins with the first, in seconds; negative is early.
fn lateness(times: &[Instant]) -> Vec<f64> {
    let period = PERIOD.as_secs_f64();
    let behind = |at: &Instant| {
        let since = at.duration_since(times[0]).as_secs_f64();
        since - (since / period).round() * period
    };
    times.iter().map(behind).collect()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_polls_keep_their_period_without_drift_and_machines_start_staggered() {
    let mut machines = Vec::new();
    let begun = Instant::now();
    for number in 1..=8 {
        let (server, seen) = noting().await;
        let connection = connection(server.address, 1000, vec![holding(0, 50)]);
        machines.push((Running::start_as(&format!("press-{number}"), connection), seen));
    }
    let mut phases = Vec::new();
    for (machine, seen) in machines {
        machine.until_counted("polls", |_| seen.lock().expect("unpoisoned").len() > POLLS).await;
        let counters = std::sync::Arc::clone(&machine.counters);
        machine.stop().await;
        let times: Vec<Instant> = seen.lock().expect("unpoisoned").iter().map(|(at, _)| *at).collect();
        let instants = times.len() - 1 + usize::try_from(counters.missed_ticks.get()).expect("few");
        let span = times[times.len() - 1].duration_since(times[0]);
        let mean = span.as_secs_f64() / f64::from(u32::try_from(instants).expect("few"));
        assert!((mean / PERIOD.as_secs_f64() - 1.0).abs() < 0.01, "a mean period of {mean} s");
        let late = lateness(&times);
        let drift = median(&late[late.len() * 3 / 4..]) - median(&late[..late.len() / 4]);
        assert!(drift.abs() < 0.005, "{drift} s of drift: {late:?}");
        phases.push(times[0].duration_since(begun).as_secs_f64() % PERIOD.as_secs_f64());
    }
    phases.sort_by(f64::total_cmp);
    let spread = phases[phases.len() - 1] - phases[0];
    assert!(spread > PERIOD.as_secs_f64() / 4.0, "eight machines are not asked all at once: {phases:?}");
}
