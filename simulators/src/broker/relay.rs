//! One connection: two flows of packets between a client and the server, each packet with its fate.

use std::{
    collections::BTreeSet,
    future::pending,
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};

use super::{
    packet::{Framer, Packet, disconnect, puback},
    rule::{Fault, Way},
    server::Shared,
};

/// Packets that wait for a slow peer in each direction; then nothing more is read.
const QUEUE_PACKETS: usize = 64;
/// Packets that are delayed at a time in each direction; then nothing more is read.
const DELAYED_MAX: usize = 1_024;
/// A TLS record.
const READ_BYTES: usize = 16 << 10;

/// What a peer is sent.
enum Out {
    Packet(Vec<u8>),
    /// The end of the connection: after what was sent, nothing more is said.
    End,
}

type Queue = mpsc::Sender<Out>;

/// Serves a connection to its end, whoever makes it.
pub(super) async fn relay<C, S>(shared: &Shared, client: C, server: S)
where
    C: AsyncRead + AsyncWrite,
    S: AsyncRead + AsyncWrite,
{
    let ((from_client, to_client), (from_server, to_server)) = (split(client), split(server));
    let (client_queue, for_client) = mpsc::channel(QUEUE_PACKETS);
    let (server_queue, for_server) = mpsc::channel(QUEUE_PACKETS);
    let ghosts = Mutex::default();
    let up = Flow::new(Way::Up, shared, &ghosts, [server_queue.clone(), client_queue.clone()], &client_queue);
    let down =
        Flow::new(Way::Down, shared, &ghosts, [client_queue.clone(), server_queue.clone()], &client_queue);
    let mut cuts = shared.cuts.subscribe();
    let reading = async {
        tokio::join!(up.run(from_client), down.run(from_server));
        // The end is queued behind what is still to be sent.
        pending::<()>().await;
    };
    tokio::select! {
        _ = write(to_client, for_client) => {}
        _ = write(to_server, for_server) => {}
        _ = cuts.changed() => {}
        () = reading => {}
    }
}

/// Sends what is queued until the end is.
async fn write<W: AsyncWrite>(mut to: WriteHalf<W>, mut queue: mpsc::Receiver<Out>) -> io::Result<()> {
    while let Some(Out::Packet(bytes)) = queue.recv().await {
        to.write_all(&bytes).await?;
        if queue.is_empty() {
            to.flush().await?;
        }
    }
    to.flush().await
}

/// Ids that were given to second copies: their acknowledgements are not for the sender.
#[derive(Default)]
pub(super) struct Ghosts {
    up: BTreeSet<u16>,
    down: BTreeSet<u16>,
}

impl Ghosts {
    fn of(&mut self, way: Way) -> &mut BTreeSet<u16> {
        match way {
            Way::Up => &mut self.up,
            Way::Down => &mut self.down,
        }
    }

    /// An id that the sender will hardly use: the highest that is free.
    fn take(&mut self, way: Way) -> Option<u16> {
        let taken = self.of(way);
        let free = (u16::MAX / 2..=u16::MAX).rev().find(|id| !taken.contains(id))?;
        taken.insert(free);
        Some(free)
    }

    /// Whether an acknowledgement that travels this way belongs to a second copy.
    fn acknowledged(&mut self, way: Way, id: u16) -> bool {
        let other = if way == Way::Up { Way::Down } else { Way::Up };
        self.of(other).remove(&id)
    }
}

/// One direction of a connection.
struct Flow<'a> {
    way: Way,
    shared: &'a Shared,
    ghosts: &'a Mutex<Ghosts>,
    onward: Queue,
    back: Queue,
    client: &'a Queue,
    delayed: JoinSet<()>,
    /// Packets that wait for so many others.
    held: Vec<(u32, Vec<u8>)>,
}

/// The connection is over.
struct Over;

impl<'a> Flow<'a> {
    fn new(
        way: Way,
        shared: &'a Shared,
        ghosts: &'a Mutex<Ghosts>,
        [onward, back]: [Queue; 2],
        client: &'a Queue,
    ) -> Self {
        Self { way, shared, ghosts, onward, back, client, delayed: JoinSet::new(), held: Vec::new() }
    }

    async fn run<R: AsyncRead>(mut self, mut from: ReadHalf<R>) {
        let (mut framer, mut buffer) = (Framer::new(), vec![0; READ_BYTES]);
        'reading: while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let mut input = &buffer[..length];
            loop {
                let packet = match framer.next(&mut input) {
                    Ok(Some(packet)) => packet,
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(%error, "the connection is closed");
                        break 'reading;
                    }
                };
                if self.pass(packet).await.is_err() {
                    break 'reading;
                }
            }
        }
        // The other side ends when it has been sent what is on its way.
        let _ = self.onward.send(Out::End).await;
    }

    async fn pass(&mut self, mut packet: Packet) -> Result<(), Over> {
        let ghosts = || self.ghosts.lock().unwrap_or_else(PoisonError::into_inner);
        if packet.acknowledges().is_some_and(|id| ghosts().acknowledged(self.way, id)) {
            return Ok(());
        }
        let message = packet.message().map_err(malformed)?;
        let (faults, chance) = self.shared.decide(self.way, packet.kind(), message.as_ref());
        for fault in &faults {
            if *fault == Fault::Corrupt {
                packet.corrupt(chance).map_err(malformed)?;
            }
            packet.answer_with(fault).map_err(malformed)?;
        }
        let packet_id = message.and_then(|m| m.packet_id);
        for fault in &faults {
            match fault {
                Fault::Drop => return Ok(()),
                Fault::Swallow => return self.swallow(packet_id).await,
                Fault::Duplicate => self.send_twice(&packet, packet_id).await?,
                Fault::Delay(min, max) => return self.send_later(&packet, *min, *max, chance).await,
                Fault::Hold(packets) => {
                    self.held.push((*packets, packet.encoded()));
                    return Ok(());
                }
                Fault::CutBefore => return Err(Over),
                Fault::CutAfter | Fault::Refuse(_) => {
                    self.send(packet.encoded()).await?;
                    return Err(Over);
                }
                Fault::Disconnect(code) => return self.throw_out(*code).await,
                Fault::Corrupt
                | Fault::SessionPresent(_)
                | Fault::ReceiveMaximum(_)
                | Fault::MaximumPacketSize(_) => {}
            }
        }
        self.send(packet.encoded()).await
    }

    async fn send(&mut self, bytes: Vec<u8>) -> Result<(), Over> {
        self.onward.send(Out::Packet(bytes)).await.map_err(|_| Over)?;
        for (waits, _) in &mut self.held {
            *waits -= 1;
        }
        for (_, held) in self.held.extract_if(.., |(waits, _)| *waits == 0) {
            self.onward.send(Out::Packet(held)).await.map_err(|_| Over)?;
        }
        Ok(())
    }

    async fn swallow(&self, packet_id: Option<u16>) -> Result<(), Over> {
        let Some(id) = packet_id else { return Ok(()) };
        self.back.send(Out::Packet(puback(id))).await.map_err(|_| Over)
    }

    /// Sends a second copy ahead of the packet itself.
    async fn send_twice(&mut self, packet: &Packet, packet_id: Option<u16>) -> Result<(), Over> {
        let copy = match packet_id {
            None => packet.encoded(),
            Some(_) => {
                let ghost = self.ghosts.lock().unwrap_or_else(PoisonError::into_inner).take(self.way);
                let Some(ghost) = ghost else { return Ok(()) };
                packet.with_packet_id(ghost).map_err(malformed)?.encoded()
            }
        };
        self.send(copy).await
    }

    async fn send_later(&mut self, packet: &Packet, min: u32, max: u32, chance: u64) -> Result<(), Over> {
        while self.delayed.len() >= DELAYED_MAX {
            self.delayed.join_next().await;
        }
        while self.delayed.try_join_next().is_some() {}
        let delay = Duration::from_millis(u64::from(min) + chance % u64::from(max - min + 1));
        let (queue, bytes) = (self.onward.clone(), packet.encoded());
        self.delayed.spawn(async move {
            sleep(delay).await;
            // A connection that ended meanwhile takes nothing any more.
            let _ = queue.send(Out::Packet(bytes)).await;
        });
        Ok(())
    }

    async fn throw_out(&self, code: u8) -> Result<(), Over> {
        let code = DisconnectReasonCode::try_from(code).unwrap_or(DisconnectReasonCode::UnspecifiedError);
        self.client.send(Out::Packet(disconnect(code))).await.map_err(|_| Over)?;
        let _ = self.client.send(Out::End).await;
        Err(Over)
    }
}

fn malformed(error: super::packet::Malformed) -> Over {
    tracing::warn!(%error, "the connection is closed");
    Over
}
