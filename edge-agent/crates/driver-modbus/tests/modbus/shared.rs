//! Many units behind one address, and what some devices need.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acquisition::{AfterRead, DriverCounters, Grouping, ModbusConnection, PlanLimits, Quirks};

use crate::support::{Asked, Reply, Running, Scripted, Told, holding, parameters, tcp};

fn unit(address: SocketAddr, unit_id: u8, timeout_ms: u64, interval_ms: u64) -> ModbusConnection {
    let tags = vec![holding(0, interval_ms), holding(1, interval_ms)];
    ModbusConnection::new(parameters(tcp(address), unit_id, timeout_ms), tags).expect("valid")
}

/// The share of its scheduled samples that a machine got.
#[expect(clippy::cast_precision_loss, reason = "a few hundred samples")]
fn kept(counters: &DriverCounters) -> f64 {
    counters.acquired_samples.get() as f64 / counters.scheduled_samples.get() as f64
}

#[tokio::test]
async fn b2_healthy_units_behind_one_address_keep_nine_polls_of_ten_beside_five_silent_ones() {
    let silent = |unit: u8| unit.is_multiple_of(3);
    let server =
        Scripted::start(
            move |_, asked| {
                if silent(asked.unit) { Reply::Silence } else { Reply::Send(asked.answer()) }
            },
        )
        .await;
    let units = (1..=15).map(|id| unit(server.address, id, 100, 250)).collect();
    let mut machines = Running::start_all(units);
    for (id, machine) in (1_u8..).zip(&mut machines) {
        match silent(id) {
            true => drop(machine.until("the silence", Told::is_down).await),
            false => machine.until_counted("40 polls", |c| c.polls_ok.get() >= 40).await,
        }
    }
    for (id, machine) in (1_u8..).zip(&machines).filter(|(id, _)| !silent(*id)) {
        assert!(kept(&machine.counters) >= 0.9, "unit {id}: {}", kept(&machine.counters));
        assert!(!machine.told().is_down());
    }
    machines.remove(0).stop().await;
}

#[tokio::test]
async fn units_that_share_a_bus_show_the_same_time_taken_and_silence_takes_it_too() {
    let server = Scripted::start(|_, asked| match asked.unit {
        1 => Reply::Send(asked.answer()),
        _ => Reply::Silence,
    })
    .await;
    let begun = Instant::now();
    let mut machines =
        Running::start_all(vec![unit(server.address, 1, 200, 50), unit(server.address, 2, 200, 50)]);
    machines[1].until_counted("two probes", |c| c.polls_failed.timeout.get() >= 2).await;
    let counters: Vec<_> = machines.iter().map(|m| Arc::clone(&m.counters)).collect();
    machines.remove(0).stop().await;
    let busy: Vec<_> = counters.iter().map(|c| Duration::from_micros(c.busy_us.get())).collect();
    assert_eq!(busy[0], busy[1]);
    assert!(busy[0] >= Duration::from_millis(400) && busy[0] < begun.elapsed(), "{busy:?}");
}

#[tokio::test]
async fn b3_the_same_unit_id_at_two_addresses_is_two_machines() {
    let alive = Scripted::start(|_, asked| Reply::Send(asked.answer())).await;
    let dead = Scripted::start(|_, _| Reply::Silence).await;
    let lost = Running::start(unit(dead.address, 7, 100, 50));
    let machine = Running::start(unit(alive.address, 7, 100, 50));
    machine.until_counted("40 polls", |c| c.polls_ok.get() >= 40).await;
    assert_eq!((machine.counters.missed_ticks.get(), machine.counters.polls_failed.total()), (0, 0));
    machine.stop().await;
    lost.stop().await;
}

/// Requests as a server saw them.
pub(crate) type Seen = Arc<Mutex<Vec<(Instant, Asked)>>>;

/// A server that answers and notes when it was asked what.
pub(crate) async fn noting() -> (Scripted, Seen) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let server = Scripted::start(move |_, asked| {
        let answer = asked.answer();
        log.lock().expect("unpoisoned").push((Instant::now(), asked));
        Reply::Send(answer)
    })
    .await;
    (server, seen)
}

fn with_quirks(address: SocketAddr, quirks: Quirks) -> Running {
    let tags = (0..4).map(|n| holding(n, 200)).collect();
    let parameters = acquisition::ModbusConnectionParameters { quirks, ..parameters(tcp(address), 1, 1000) };
    Running::start(ModbusConnection::new(parameters, tags).expect("valid"))
}

#[tokio::test]
async fn pauses_are_kept_and_each_tag_may_have_its_own_request() {
    let (server, seen) = noting().await;
    let pause = Duration::from_millis(30);
    let machine = with_quirks(
        server.address,
        Quirks {
            pause_after_connect: pause,
            pause_between_requests: pause,
            limits: PlanLimits { grouping: Grouping::OneTagEach, ..PlanLimits::default() },
            ..Quirks::default()
        },
    );
    machine.until_counted("12 requests", |c| c.polls_ok.get() >= 12).await;
    machine.stop().await;
    let seen = seen.lock().expect("unpoisoned");
    assert!(seen.iter().all(|(_, asked)| asked.quantity == 1));
    assert!(seen.windows(2).all(|w| w[1].0 - w[0].0 >= pause), "{seen:?}");
}

#[tokio::test]
async fn a_device_that_wants_its_connection_back_gets_it_after_every_round() {
    let (server, seen) = noting().await;
    let quirks = Quirks { after_read: AfterRead::Close, ..Quirks::default() };
    let machine = with_quirks(server.address, quirks);
    machine.until_counted("5 rounds", |c| c.disconnects.get() >= 5).await;
    let told = machine.told();
    let counters = Arc::clone(&machine.counters);
    machine.stop().await;
    assert!(!told.is_down() && told.good() == told.readings.len(), "closing on purpose is no loss");
    assert_eq!(counters.connects.get(), seen.lock().expect("unpoisoned").len() as u64);
    assert_eq!(counters.missed_ticks.get(), 0);
}

#[tokio::test]
async fn a_device_with_its_own_limit_is_never_asked_for_more() {
    let (server, seen) = noting().await;
    let limits = PlanLimits { max_registers: 3, ..PlanLimits::default() };
    let machine = with_quirks(server.address, Quirks { limits, ..Quirks::default() });
    machine.until_counted("6 requests", |c| c.polls_ok.get() >= 6).await;
    machine.stop().await;
    let seen = seen.lock().expect("unpoisoned");
    assert!(seen.iter().all(|(_, asked)| asked.quantity <= 3), "{seen:?}");
}
