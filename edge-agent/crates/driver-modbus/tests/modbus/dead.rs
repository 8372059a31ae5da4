//! Dead devices beside healthy ones, each at an address of its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::shared::{Seen, noting};
use crate::support::{Asked, Running, connection, holding};

/// The ways in which a device can be dead.
#[derive(Debug, Clone, Copy)]
enum Death {
    Refuse,
    BlackHole,
    AcceptSilent,
    Reset,
    FiveSecondsLate,
}

/// What keeps a dead device dead, and its address its own.
type Held = Box<dyn Send>;

async fn dead(death: Death) -> (SocketAddr, Held) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let address = socket.local_addr().expect("bound");
    let held: Held = match death {
        // Bound and not listening: nobody else gets the port, and who connects is refused.
        Death::Refuse => Box::new(socket),
        Death::BlackHole => {
            // A full queue of pending connections: further attempts get no answer at all.
            let (listener, mut held) = (socket.listen(0).expect("listening"), Vec::new());
            while let Ok(Ok(stream)) =
                tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
            {
                held.push(stream);
            }
            Box::new((listener, held))
        }
        Death::AcceptSilent | Death::Reset | Death::FiveSecondsLate => {
            let listener = socket.listen(16).expect("listening");
            Box::new(AbortOnDropHandle::new(tokio::spawn(accept(listener, death))))
        }
    };
    (address, held)
}

async fn accept(listener: TcpListener, death: Death) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(die(stream, death));
    }
}

async fn die(mut stream: TcpStream, death: Death) {
    if matches!(death, Death::Reset) {
        // Closing with unread data resets the connection.
        let _ = stream.readable().await;
        return;
    }
    let mut request = [0; 12];
    while stream.read_exact(&mut request).await.is_ok() {
        if matches!(death, Death::FiveSecondsLate) {
            tokio::time::sleep(Duration::from_secs(5)).await;
            if stream.write_all(&Asked::new(&request).answer()).await.is_err() {
                return;
            }
        }
    }
}

const PERIOD: Duration = Duration::from_millis(100);
const POLLS: usize = 30;

fn device(address: SocketAddr, timeout_ms: u64) -> Running {
    let period = u64::try_from(PERIOD.as_millis()).expect("short");
    Running::start(connection(address, timeout_ms, vec![holding(0, period), holding(1, period)]))
}

/// A plant of fifteen devices, some of which are dead.
struct Plant {
    dead: Vec<(Running, Held)>,
    healthy: Vec<(Running, Seen)>,
}

impl Plant {
    async fn start(death: Death, dead_count: usize) -> Self {
        let mut plant = Self { dead: Vec::new(), healthy: Vec::new() };
        let mut dying = JoinSet::new();
        (0..dead_count).for_each(|_| drop(dying.spawn(dead(death))));
        for (address, held) in dying.join_all().await {
            plant.dead.push((device(address, 200), held));
        }
        for _ in dead_count..15 {
            let (server, seen) = noting().await;
            plant.healthy.push((device(server.address, 1000), seen));
        }
        plant
    }

    /// Lets every healthy device be polled; answers how many of its polls each one missed, by the account of its server.
    async fn run(self) -> Vec<usize> {
        let mut missed = Vec::new();
        for (machine, seen) in &self.healthy {
            machine.until_counted("enough polls", |_| seen.lock().expect("unpoisoned").len() > POLLS).await;
            let times: Vec<Instant> = seen.lock().expect("unpoisoned").iter().map(|(at, _)| *at).collect();
            let span = times[POLLS].duration_since(times[0]);
            let due = usize::try_from((span + PERIOD / 2).as_micros() / PERIOD.as_micros()).expect("small");
            missed.push(due.saturating_sub(POLLS));
        }
        for (machine, _held) in self.dead {
            assert_eq!(machine.told().good(), 0, "nothing comes from a dead device");
            machine.stop().await;
        }
        for (machine, _) in self.healthy {
            machine.stop().await;
        }
        missed
    }
}

/// Plants with 1 to 14 dead devices, all at the same time, and one without. What the computer of the test sleeps through
/// is missed there, too, and is not to be blamed on the dead.
async fn b1(death: Death) {
    let mut starting = JoinSet::new();
    for dead_count in 0..=14 {
        starting.spawn(async move { (dead_count, Plant::start(death, dead_count).await) });
    }
    let mut running = JoinSet::new();
    for (dead_count, plant) in starting.join_all().await {
        running.spawn(async move { (dead_count, plant.run().await) });
    }
    let mut plants = running.join_all().await;
    plants.sort_by_key(|(dead_count, _)| *dead_count);
    let slept = plants[0].1.iter().copied().max().unwrap_or_default();
    assert!(
        slept <= POLLS / 10,
        "this computer is too busy to judge anybody: {slept} polls missed without a cause"
    );
    for (dead_count, missed) in plants {
        let blamed: usize = missed.iter().map(|n| n.saturating_sub(slept)).sum();
        assert!(
            blamed * 100 <= missed.len() * POLLS,
            "{dead_count} of {death:?}: {missed:?}, {slept} without a cause"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_healthy_devices_keep_their_polls_beside_1_to_14_that_refuse() {
    b1(Death::Refuse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_healthy_devices_keep_their_polls_beside_1_to_14_black_holes() {
    b1(Death::BlackHole).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_healthy_devices_keep_their_polls_beside_1_to_14_that_accept_and_keep_silent() {
    b1(Death::AcceptSilent).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_healthy_devices_keep_their_polls_beside_1_to_14_that_reset() {
    b1(Death::Reset).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_healthy_devices_keep_their_polls_beside_1_to_14_that_answer_5_s_late() {
    b1(Death::FiveSecondsLate).await;
}
