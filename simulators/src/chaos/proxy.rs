//! The listener of a link and its connections.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{info, warn};

use super::{
    faults::{Arrivals, Faults, Flow},
    pump::{Direction, Done, Pump},
};

/// Clients connected at a time, unless said otherwise; further ones are closed at once.
const CONNECTIONS_MAX: usize = 1_024;
/// Connections the kernel may keep waiting.
const BACKLOG: u32 = 64;
/// Pause before trying the port again after it could not be opened.
const RETRY: Duration = Duration::from_millis(50);
/// Time the server gets to answer a connection.
const DIAL: Duration = Duration::from_secs(5);
/// A connection whose end was swallowed is kept this long for the side that does not know; then it is reset.
const UNAWARE: Duration = Duration::from_secs(60);
/// Time the listener gets to follow new faults.
const FOLLOW: Duration = Duration::from_secs(5);

/// What passed since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Stats {
    /// Connections accepted.
    pub connections_total: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Bytes forwarded from clients to the server.
    pub up_bytes: u64,
    /// Bytes forwarded from the server to clients.
    pub down_bytes: u64,
    /// Bytes swallowed in either direction.
    pub swallowed_bytes: u64,
    /// Bits flipped in either direction.
    pub flipped_bits: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections_total: AtomicU64,
    pub(super) connections_open: AtomicU64,
    pub(super) up_bytes: AtomicU64,
    pub(super) down_bytes: AtomicU64,
    pub(super) swallowed_bytes: AtomicU64,
    pub(super) flipped_bits: AtomicU64,
}

impl Counters {
    fn now(&self) -> Stats {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            connections_total: value(&self.connections_total),
            connections_open: value(&self.connections_open),
            up_bytes: value(&self.up_bytes),
            down_bytes: value(&self.down_bytes),
            swallowed_bytes: value(&self.swallowed_bytes),
            flipped_bits: value(&self.flipped_bits),
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) seed: u64,
    pub(super) stats: Counters,
    address: SocketAddr,
    connections_max: usize,
    target: watch::Sender<SocketAddr>,
    faults: watch::Sender<Faults>,
    in_force: watch::Sender<Faults>,
    cuts: watch::Sender<u64>,
    /// Connections up to this number are forgotten.
    forgotten: watch::Sender<u64>,
}

/// A link with faults. It ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    _end: DropGuard,
}

impl Proxy {
    /// A link from `listen` (port 0 takes any free one) to `target`.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(listen: SocketAddr, target: SocketAddr, seed: u64) -> io::Result<Self> {
        Self::with_limit(listen, target, seed, CONNECTIONS_MAX)
    }

    /// A link to which so many clients can be connected at a time.
    ///
    /// # Errors
    /// The port is taken.
    pub(crate) fn with_limit(
        listen: SocketAddr,
        target: SocketAddr,
        seed: u64,
        connections_max: usize,
    ) -> io::Result<Self> {
        let listener = bound(listen)?.listen(BACKLOG)?;
        let shared = Arc::new(Shared {
            seed,
            stats: Counters::default(),
            address: listener.local_addr()?,
            connections_max,
            target: watch::Sender::new(target),
            faults: watch::Sender::default(),
            in_force: watch::Sender::default(),
            cuts: watch::Sender::default(),
            forgotten: watch::Sender::default(),
        });
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let door = Door { shared: Arc::clone(&shared), port: Port::Open(listener) };
        let (token, connections) = (end.clone(), tasks.clone());
        tasks.spawn(async move { token.clone().run_until_cancelled(door.run(connections, token)).await });
        Ok(Self { shared, tasks, _end: end.drop_guard() })
    }

    /// Where to dial.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// What its chances follow from.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// Where it leads.
    pub fn target(&self) -> SocketAddr {
        *self.shared.target.borrow()
    }

    /// Leads new connections elsewhere.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.target.send_replace(target);
    }

    /// The faults asked for last.
    pub fn faults(&self) -> Faults {
        *self.shared.faults.borrow()
    }

    /// Changes the faults. When this returns they are in force: the port is open or closed as they ask.
    ///
    /// # Errors
    /// The port could not be opened again within 5 s; the proxy goes on trying.
    pub async fn set(&self, faults: Faults) -> io::Result<()> {
        self.shared.faults.send_replace(faults);
        let mut in_force = self.shared.in_force.subscribe();
        match timeout(FOLLOW, in_force.wait_for(|current| *current == faults)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!(
                    "the faults were not in force after {} s; {} may be taken",
                    FOLLOW.as_secs(),
                    self.address()
                ),
            )),
        }
    }

    /// Resets every open connection, on both sides; new ones are not touched. Returns how many there were.
    pub fn cut(&self) -> u64 {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
        self.shared.stats.connections_open.load(Ordering::Relaxed)
    }

    /// Lets every open connection die unnoticed, as when a NAT forgets it: it stays open and nothing passes any more.
    /// New ones are not touched. Returns how many there were.
    pub fn forget(&self) -> u64 {
        let newest = self.shared.stats.connections_total.load(Ordering::SeqCst);
        self.shared.forgotten.send_replace(newest);
        self.shared.stats.connections_open.load(Ordering::Relaxed)
    }

    /// What passed since the start.
    pub fn stats(&self) -> Stats {
        self.shared.stats.now()
    }

    /// Closes the port and all connections, and waits for it.
    pub async fn stop(self) {
        let Self { tasks, _end: end, .. } = self;
        drop(end);
        tasks.close();
        tasks.wait().await;
    }
}

/// The public port.
struct Door {
    shared: Arc<Shared>,
    port: Port,
}

enum Port {
    Open(TcpListener),
    Refusing(#[expect(dead_code, reason = "bound so that nobody else takes the port")] TcpSocket),
    Lost,
}

impl Door {
    async fn run(mut self, tasks: TaskTracker, end: CancellationToken) {
        let mut faults = self.shared.faults.subscribe();
        let slots = Arc::new(Semaphore::new(self.shared.connections_max));
        loop {
            let now = *faults.borrow_and_update();
            self.follow(now.arrivals);
            if matches!(self.port, Port::Lost) {
                warn!(address = %self.shared.address, "cannot take the port again, trying on");
                sleep(RETRY).await;
                faults.mark_changed();
                continue;
            }
            self.shared.in_force.send_replace(now);
            let Some(client) = self.next_client(&mut faults).await else { continue };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                warn!(address = %self.shared.address, max = self.shared.connections_max, "connection closed: too many");
                continue;
            };
            let (shared, end) = (Arc::clone(&self.shared), end.clone());
            let number = shared.stats.connections_total.fetch_add(1, Ordering::SeqCst) + 1;
            tasks.spawn(
                async move { end.run_until_cancelled(connection(shared, number, client, slot)).await },
            );
        }
    }

    /// The next connection, or none if the faults changed or accepting failed.
    async fn next_client(&self, faults: &mut watch::Receiver<Faults>) -> Option<TcpStream> {
        let Port::Open(listener) = &self.port else {
            // The sender lives in the same structure as this listener.
            let _ = faults.changed().await;
            return None;
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => Some(client),
                Err(error) => {
                    info!(address = %self.shared.address, %error, "cannot accept a connection");
                    sleep(RETRY).await;
                    None
                }
            },
            _ = faults.changed() => None,
        }
    }

    fn follow(&mut self, arrivals: Arrivals) {
        let refuse = arrivals == Arrivals::Refuse;
        if matches!((&self.port, refuse), (Port::Open(_), false) | (Port::Refusing(_), true)) {
            return;
        }
        self.port = Port::Lost;
        self.port = match bound(self.shared.address) {
            Ok(socket) if refuse => Port::Refusing(socket),
            Ok(socket) => socket.listen(BACKLOG).map_or(Port::Lost, Port::Open),
            Err(_) => Port::Lost,
        };
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Closed connections of the same port must not keep it from being bound again.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

async fn connection(shared: Arc<Shared>, number: u64, mut client: TcpStream, slot: OwnedSemaphorePermit) {
    let open = &shared.stats.connections_open;
    open.fetch_add(1, Ordering::Relaxed);
    let link = Link { shared: &shared, number };
    let mut server = None;
    if link.run(&mut client, &mut server, slot).await == End::Reset {
        // A close with zero linger sends RST. If the option fails the peer sees an orderly close instead.
        let _ = client.set_zero_linger();
        let _ = server.map(|server| server.set_zero_linger());
    }
    open.fetch_sub(1, Ordering::Relaxed);
}

struct Link<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Link<'_> {
    async fn run(
        &self,
        client: &mut TcpStream,
        server: &mut Option<TcpStream>,
        slot: OwnedSemaphorePermit,
    ) -> End {
        let mut cuts = self.shared.cuts.subscribe();
        tokio::select! {
            end = self.relay(client, server, slot) => end.unwrap_or(End::Reset),
            end = self.forbidden() => end,
            _ = cuts.changed() => End::Reset,
        }
    }

    /// Ends when the faults ask for the end of open connections. One that arrived under a reset ends at its first
    /// byte instead, or lives on with the end of that fault.
    async fn forbidden(&self) -> End {
        let mut faults = self.shared.faults.subscribe();
        let _ = faults.wait_for(|faults| faults.arrivals != Arrivals::Reset).await;
        let _ = faults.wait_for(|faults| faults.arrivals != Arrivals::Accept).await;
        End::Reset
    }

    async fn relay(
        &self,
        client: &mut TcpStream,
        server: &mut Option<TcpStream>,
        slot: OwnedSemaphorePermit,
    ) -> io::Result<End> {
        let mut faults = self.shared.faults.subscribe();
        tokio::select! {
            biased;
            _ = faults.wait_for(|faults| faults.arrivals != Arrivals::Reset) => {}
            first_byte = client.readable() => return first_byte.map(|()| End::Reset),
        }
        client.set_nodelay(true)?;
        let server = server.insert(self.dial().await?);
        server.set_nodelay(true)?;
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let up = self.pump(Direction::Up).run(from_client, to_server, Some(slot));
        let down = self.pump(Direction::Down).run(from_server, to_client, None);
        both(up, down).await
    }

    /// A connection to the server; while everything is swallowed, nobody learns that there is none.
    async fn dial(&self) -> io::Result<TcpStream> {
        let target = *self.shared.target.borrow();
        let dialled =
            timeout(DIAL, TcpStream::connect(target)).await.unwrap_or_else(|elapsed| Err(elapsed.into()));
        if dialled.is_err() && self.shared.faults.borrow().down.flow == Flow::Hole {
            sleep(UNAWARE).await;
        }
        dialled
    }

    fn pump(&self, direction: Direction) -> Pump<'_> {
        Pump {
            direction,
            shared: self.shared,
            faults: self.shared.faults.subscribe(),
            forgotten: self.shared.forgotten.subscribe(),
            connection: self.number,
            dead: false,
            passed: 0,
        }
    }
}

/// Until both directions have ended, or one has without the other side knowing, for a while.
async fn both(
    up: impl Future<Output = io::Result<Done>>,
    down: impl Future<Output = io::Result<Done>>,
) -> io::Result<End> {
    tokio::pin!(up, down);
    tokio::select! {
        done = &mut up => last(done?, down).await,
        done = &mut down => last(done?, up).await,
    }
}

async fn last(first: Done, other: impl Future<Output = io::Result<Done>>) -> io::Result<End> {
    let second = match first {
        Done::HandedOn => other.await?,
        Done::Swallowed => timeout(UNAWARE, other).await.unwrap_or(Ok(Done::Swallowed))?,
    };
    if [first, second].contains(&Done::Swallowed) {
        sleep(UNAWARE).await;
        return Ok(End::Reset);
    }
    Ok(End::Closed)
}
