//! The TCP front of a machine: its public address, behind which the protocol server listens on a private one.
//!
//! The front relays bytes and does to connections what the machine's mode asks: refuse, reset, garbage, and for OPC
//! UA silence. A machine that refuses keeps its port bound without listening, so that nobody else gets the port and
//! clients are refused by the kernel at once.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpSocket, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Semaphore, watch},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{kind::Protocol, machine::Machine, mode::Mode, noise::mix};

/// More connections than a real controller takes; further ones are closed at once.
const CONNECTIONS_MAX: usize = 16;
/// Connections the kernel may keep waiting.
const BACKLOG: u32 = 64;
/// Larger than any Modbus frame and than most OPC UA messages.
const BUFFER_BYTES: usize = 16 * 1024;
/// Pause before trying the port again after it could not be opened.
const RETRY: Duration = Duration::from_millis(50);

/// The public listener of a machine.
pub(crate) struct Front {
    address: SocketAddr,
    port: Port,
}

enum Port {
    Open(TcpListener),
    Refusing(#[expect(dead_code, reason = "bound so that nobody else takes the port")] TcpSocket),
    Lost,
}

impl Front {
    /// Takes the port; port 0 takes any free one.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = bound(address)?.listen(BACKLOG)?;
        Ok(Self { address: listener.local_addr()?, port: Port::Open(listener) })
    }

    /// The address with the actual port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Relays connections to `server` until the token is cancelled.
    pub(crate) async fn run(
        mut self,
        machine: Arc<Machine>,
        server: SocketAddr,
        shutdown: CancellationToken,
    ) {
        let relays = TaskTracker::new();
        let work = self.accept(&machine, server, &relays, &shutdown);
        shutdown.run_until_cancelled(work).await;
        relays.close();
        relays.wait().await;
    }

    async fn accept(
        &mut self,
        machine: &Arc<Machine>,
        server: SocketAddr,
        relays: &TaskTracker,
        shutdown: &CancellationToken,
    ) {
        let mut modes = machine.modes();
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let mode = *modes.borrow_and_update();
            self.follow(mode);
            if matches!(self.port, Port::Lost) {
                warn!(machine.id = machine.id(), address = %self.address, "cannot take the port again, trying on");
                sleep(RETRY).await;
                modes.mark_changed();
                continue;
            }
            machine.confirm_mode(mode);
            let Some(client) = self.next_client(&mut modes).await else { continue };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                warn!(machine.id = machine.id(), "connection closed: {CONNECTIONS_MAX} are open already");
                continue;
            };
            let relay = Relay { modes: machine.modes(), freezes: machine.protocol() == Protocol::Opcua };
            let shutdown = shutdown.clone();
            relays.spawn(async move {
                shutdown.run_until_cancelled(relay.run(client, server)).await;
                drop(slot);
            });
        }
    }

    /// The next connection, or none if the mode changed or accepting failed.
    async fn next_client(&self, modes: &mut watch::Receiver<Mode>) -> Option<TcpStream> {
        let Port::Open(listener) = &self.port else {
            // The sender lives in the machine, which the caller holds.
            let _ = modes.changed().await;
            return None;
        };
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => Some(client),
                Err(error) => {
                    info!(address = %self.address, %error, "cannot accept a connection");
                    sleep(RETRY).await;
                    None
                }
            },
            _ = modes.changed() => None,
        }
    }

    /// Opens or closes the port as the mode asks.
    fn follow(&mut self, mode: Mode) {
        let refuse = mode == Mode::Refuse;
        if matches!((&self.port, refuse), (Port::Open(_), false) | (Port::Refusing(_), true)) {
            return;
        }
        self.port = Port::Lost;
        let socket = bound(self.address);
        self.port = match socket {
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

/// Why a relayed connection ends.
enum End {
    Closed,
    Reset,
}

/// One relayed connection.
struct Relay {
    modes: watch::Receiver<Mode>,
    /// Whether silence stops the bytes; otherwise the server behind swallows whole requests.
    freezes: bool,
}

impl Relay {
    async fn run(self, mut client: TcpStream, server: SocketAddr) {
        let end = match self.relay(&mut client, server).await {
            Ok(end) => end,
            // The peer or the server behind is gone; there is nobody to tell.
            Err(_) => End::Closed,
        };
        if matches!(end, End::Reset) {
            // A close with zero linger sends RST. If the option fails the client sees an orderly close instead.
            let _ = client.set_zero_linger();
        }
    }

    async fn relay(&self, client: &mut TcpStream, server: SocketAddr) -> io::Result<End> {
        let mut modes = self.modes.clone();
        tokio::select! {
            biased;
            _ = modes.wait_for(|mode| *mode != Mode::Reset) => {}
            first_byte = client.readable() => return first_byte.map(|()| End::Reset),
        }
        let mut server = TcpStream::connect(server).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            end = self.pump(from_client, to_server, Direction::ToServer) => end,
            end = self.pump(from_server, to_client, Direction::ToClient) => end,
            end = self.cut() => Ok(end),
        }
    }

    async fn pump(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
        direction: Direction,
    ) -> io::Result<End> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut garbled = 0;
        loop {
            let length = from.read(&mut buffer).await?;
            if length == 0 {
                return Ok(End::Closed);
            }
            let bytes = &mut buffer[..length];
            if self.mode_once_thawed().await == Mode::Garbage && direction == Direction::ToClient {
                garbled += 1;
                garble(bytes, garbled);
            }
            to.write_all(bytes).await?;
        }
    }

    /// The mode, after waiting for the end of a silence that freezes.
    async fn mode_once_thawed(&self) -> Mode {
        let mut modes = self.modes.clone();
        let frozen = |mode: &Mode| self.freezes && *mode == Mode::Silent;
        modes.wait_for(|mode| !frozen(mode)).await.map_or(Mode::Healthy, |mode| *mode)
    }

    /// Ends when the mode asks for the end of open connections.
    async fn cut(&self) -> End {
        let mut modes = self.modes.clone();
        let ends = |mode: &Mode| matches!(mode, Mode::Refuse | Mode::Reset);
        match modes.wait_for(ends).await.map(|mode| *mode) {
            Ok(Mode::Reset) => End::Reset,
            Ok(_) | Err(_) => End::Closed,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// Replaces bytes by reproducible random ones that differ from call to call.
fn garble(bytes: &mut [u8], seed: u64) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = mix(seed, index as u64) as u8;
    }
}
