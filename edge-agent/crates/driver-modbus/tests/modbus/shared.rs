//! Many machines: dead ones beside healthy ones, behind one address and behind many; and what some
//! devices need.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use acquisition::{AfterRead, DriverCounters, Grouping, ModbusConnection, PlanLimits, Quirks};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

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

/// The ways in which a device can be dead.
#[derive(Debug, Clone, Copy)]
enum Death {
    Refuse,
    BlackHole,
    AcceptSilent,
    Reset,
    FiveSecondsLate,
}

const DEATHS: [Death; 5] =
    [Death::Refuse, Death::BlackHole, Death::AcceptSilent, Death::Reset, Death::FiveSecondsLate];

/// A dead device; what is held keeps it dead.
async fn dead(death: Death) -> (SocketAddr, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("bound");
    let mut held = Vec::new();
    match death {
        Death::Refuse => drop(socket),
        Death::BlackHole => {
            // A full queue of pending connections: further attempts get no answer at all.
            let listener = socket.listen(0).expect("listening");
            while let Ok(Ok(stream)) =
                tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
            {
                held.push(stream);
            }
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(listener);
            });
        }
        Death::AcceptSilent | Death::Reset | Death::FiveSecondsLate => {
            tokio::spawn(die(socket.listen(16).expect("listening"), death));
        }
    }
    (address, held)
}

async fn die(listener: TcpListener, death: Death) {
    while let Ok((mut stream, _)) = listener.accept().await {
        if matches!(death, Death::Reset) {
            // Closing with unread data resets the connection.
            let _ = stream.readable().await;
            continue;
        }
        tokio::spawn(async move {
            let mut request = [0; 12];
            while stream.read_exact(&mut request).await.is_ok() {
                if matches!(death, Death::FiveSecondsLate) {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_healthy_devices_keep_their_polls_whatever_the_others_die_of() {
    for dead_count in [1, 5, 10, 14] {
        let mut others = Vec::new();
        let mut held = Vec::new();
        for number in 0..dead_count {
            let (address, streams) = dead(DEATHS[number % DEATHS.len()]).await;
            held.push(streams);
            others.push(Running::start(unit(address, 1, 200, 100)));
        }
        let mut healthy = Vec::new();
        for _ in dead_count..15 {
            let server = Scripted::start(|_, asked| Reply::Send(asked.answer())).await;
            healthy.push(Running::start(unit(server.address, 1, 1000, 100)));
        }
        for machine in &healthy {
            machine.until_counted("30 polls", |c| c.polls_ok.get() >= 30).await;
            let share = kept(&machine.counters);
            assert!(share >= 0.99, "{dead_count} dead: {share}, {:?}", machine.counters);
        }
        for machine in others {
            assert_eq!(machine.told().good(), 0, "{dead_count} dead");
            machine.stop().await;
        }
        for machine in healthy {
            machine.stop().await;
        }
    }
}

/// A server that answers and notes when it was asked what.
async fn noting() -> (Scripted, Arc<Mutex<Vec<(Instant, Asked)>>>) {
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
            after_read: AfterRead::Keep,
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
