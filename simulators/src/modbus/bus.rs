//! The units behind one address or on one serial line, and what their requests go through.
//!
//! Units that share a line are asked one at a time: whoever else wants something waits. A gateway that asks a unit
//! which does not answer waits for its own time-out, and nobody else is asked meanwhile. A machine with its own address
//! answers each connection by itself.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    frame::{Deframer, Frame, Framing},
    pdu::Exception,
    unit::{Reply, Unit, function},
};
use crate::{
    line::Traffic,
    noise::{garble, mix},
    plant_file::{LineOptions, Silence},
};

/// Larger than any frame.
const BUFFER_BYTES: usize = 512;
/// Answers under way on one connection; a client that sends on without reading is not read any more.
const ANSWERS_MAX: usize = 64;
/// Silence after which what is there of an RTU frame is all of it. Far longer than the 3.5 characters of the
/// specification, because neither a TCP stream nor a busy host keeps them.
const PAUSE: Duration = Duration::from_millis(30);
/// Bits of a character on a serial line (Modbus over Serial Line 1.02, 2.5.1).
const CHARACTER_BITS: u32 = 11;
/// Longest burst of noise before an answer, in bytes.
const NOISE_BYTES_MAX: u64 = 8;
/// Unit id of a request that all units obey and none answers; on a serial line only.
const BROADCAST: u8 = 0;

/// Units and the line they share.
pub(crate) struct Bus {
    units: Vec<Unit>,
    framing: Framing,
    /// None for a machine with its own address.
    line: Option<LineOptions>,
    turn: Semaphore,
    traffic: Arc<Traffic>,
}

impl Bus {
    pub(crate) fn new(
        units: Vec<Unit>,
        framing: Framing,
        line: Option<LineOptions>,
        traffic: Arc<Traffic>,
    ) -> Self {
        let turns = if line.is_some() { 1 } else { Semaphore::MAX_PERMITS };
        Self { units, framing, line, turn: Semaphore::new(turns), traffic }
    }

    /// Answers the requests of one connection until it ends.
    pub(crate) async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let (reader, writer) = split(stream);
        let (answers, queue) = mpsc::channel(ANSWERS_MAX);
        tokio::select! {
            done = self.requests(reader, answers) => done,
            done = send(queue, writer) => done,
        }
    }

    async fn requests(
        &self,
        mut reader: impl AsyncRead + Unpin,
        answers: mpsc::Sender<Vec<u8>>,
    ) -> io::Result<()> {
        let mut deframer = Deframer::new(self.framing);
        let mut late = JoinSet::new();
        let mut buffer = [0; BUFFER_BYTES];
        loop {
            let reading = reader.read(&mut buffer);
            let length = if deframer.is_waiting() && self.framing == Framing::Rtu {
                timeout(PAUSE, reading).await.ok().transpose()?
            } else {
                Some(reading.await?)
            };
            match length {
                Some(0) => return Ok(()),
                Some(length) => deframer.push(&buffer[..length]),
                None => {
                    if let Some(frame) = deframer.after_pause() {
                        self.exchange(frame, &answers, &mut late).await;
                    }
                }
            }
            let not_modbus = |_| io::Error::new(io::ErrorKind::InvalidData, "not a Modbus TCP stream");
            while let Some(frame) = deframer.next().map_err(not_modbus)? {
                self.exchange(frame, &answers, &mut late).await;
            }
            Traffic::count(&self.traffic.dropped_bytes, deframer.take_dropped());
        }
    }

    async fn exchange(&self, request: Frame, answers: &mpsc::Sender<Vec<u8>>, late: &mut JoinSet<()>) {
        Traffic::count(&self.traffic.requests, 1);
        let reply = self.reply(&request).await;
        let frame = |pdu| Frame { pdu, ..request.clone() }.encode(self.framing);
        let seed = mix(u64::from(request.transaction), self.traffic.requests.load(Ordering::Relaxed));
        let bytes = match reply {
            Reply::Answer(pdu) => frame(pdu),
            Reply::Random(pdu) => {
                let mut bytes = frame(pdu);
                garble(&mut bytes, seed);
                bytes
            }
            Reply::Noisy(pdu) => {
                let mut bytes = vec![0; 1 + (seed % NOISE_BYTES_MAX) as usize];
                garble(&mut bytes, seed);
                bytes.extend(frame(pdu));
                bytes
            }
            Reply::Late(pdu, delay) => {
                let (bytes, answers) = (frame(pdu), answers.clone());
                while late.try_join_next().is_some() {}
                if late.len() < ANSWERS_MAX {
                    late.spawn(async move {
                        sleep(delay).await;
                        // A connection that has ended needs no answer.
                        let _ = answers.send(bytes).await;
                    });
                }
                return;
            }
            Reply::Nothing => {
                Traffic::count(&self.traffic.unanswered, 1);
                return;
            }
        };
        // A connection that has ended needs no answer.
        let _ = answers.send(bytes).await;
    }

    /// What comes back, after the time that it takes on the line.
    async fn reply(&self, request: &Frame) -> Reply {
        let _turn = self.turn.acquire().await;
        self.take_time(request).await;
        if request.unit == BROADCAST && self.framing == Framing::Rtu {
            for unit in &self.units {
                unit.answer(&request.pdu).await;
            }
            return Reply::Nothing;
        }
        let Some(unit) = self.units.iter().find(|unit| unit.id() == request.unit) else {
            return self.absent(request).await;
        };
        let reply = match (unit.handle(&request.pdu).await, &self.line) {
            (Reply::Nothing, Some(line)) => line.give_up(request).await,
            (reply, _) => reply,
        };
        if let Reply::Answer(pdu) | Reply::Random(pdu) | Reply::Noisy(pdu) = &reply {
            take(self.wire_time(pdu.len())).await;
        }
        reply
    }

    /// Nobody has the unit id: a line waits in vain; a machine with its own address says so at once.
    async fn absent(&self, request: &Frame) -> Reply {
        if let Some(line) = &self.line {
            return line.give_up(request).await;
        }
        for unit in &self.units {
            unit.machine.exception_answered();
        }
        Reply::Answer(Exception::GATEWAY_TARGET.answer(function(&request.pdu)))
    }

    async fn take_time(&self, request: &Frame) {
        let turnaround = self.line.as_ref().map_or(Duration::ZERO, |line| line.turnaround);
        take(self.wire_time(request.pdu.len()) + turnaround).await;
    }

    /// Time that a frame with this PDU takes on a serial line.
    fn wire_time(&self, pdu_length: usize) -> Duration {
        let baud_rate = self.line.as_ref().and_then(|line| line.baud_rate);
        // Unit id and CRC come on top.
        let bits = (pdu_length as u32 + 3) * CHARACTER_BITS;
        baud_rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(f64::from(bits) / f64::from(rate)))
    }
}

impl LineOptions {
    /// What comes of asking a unit that stays silent.
    async fn give_up(&self, request: &Frame) -> Reply {
        sleep(self.unit_timeout).await;
        match self.silence {
            Silence::Exception => Reply::Answer(Exception::GATEWAY_TARGET.answer(function(&request.pdu))),
            Silence::Nothing => Reply::Nothing,
        }
    }
}

/// Sleeping for no time would still take a tick of the timer.
async fn take(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

async fn send(mut queue: mpsc::Receiver<Vec<u8>>, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    while let Some(bytes) = queue.recv().await {
        writer.write_all(&bytes).await?;
        writer.flush().await?;
    }
    Ok(())
}
