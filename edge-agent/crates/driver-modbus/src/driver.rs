//! The loop of one connection: connect, do what the bus says, and after a failure wait and begin anew.

use std::pin::pin;
use std::time::Duration;

use acquisition::{
    AfterRead, Bus, Enquiry, Instants, ModbusAddress, PollBlock, Purpose, Refusal, Reply, Turn, Verdict,
    WriteOutcome,
};
use plant_model::{Monotonic, Timestamp};
use service_kit::{Backoff, Clock};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::client::Client;
use crate::error::ModbusError;
use crate::unit::{Station, Unit};
use crate::write::{self, Answer, Order, WAITING_MAX, WriteQueue, WriteRequest};

/// The waits between two attempts to connect.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

pub(crate) struct Driver {
    address: ModbusAddress,
    pauses: Pauses,
    stations: Vec<Station>,
    writes: WriteQueue,
    /// A write for which a connection is made.
    held: Option<Order>,
    clock: Clock,
    shutdown: CancellationToken,
    /// Begins with the first connection and runs on without one: what is due then is missed.
    bus: Option<Bus>,
    backoff: Backoff,
}

/// What the most demanding unit of the connection needs.
struct Pauses {
    after_connect: Duration,
    between_requests: Duration,
    after_read: AfterRead,
}

impl Pauses {
    fn new(units: &[Unit]) -> Self {
        let quirks = || units.iter().map(|u| u.connection.quirks());
        let gap = match units.first().map(|u| u.connection.address()) {
            Some(ModbusAddress::Rtu(line)) => line.frame_gap(),
            Some(ModbusAddress::Tcp { .. } | ModbusAddress::RtuOverTcp { .. }) | None => Duration::ZERO,
        };
        let closes = quirks().any(|q| q.after_read == AfterRead::Close);
        Self {
            after_connect: quirks().map(|q| q.pause_after_connect).max().unwrap_or_default(),
            between_requests: quirks().map(|q| q.pause_between_requests).max().unwrap_or_default().max(gap),
            after_read: if closes { AfterRead::Close } else { AfterRead::Keep },
        }
    }
}

/// Why a connection ended.
enum Stop {
    Shutdown,
    /// Nothing is due, and the machine wants its connection back.
    Idle,
    /// It may be dead, though nobody said so.
    Suspect,
    Failed(ModbusError),
}

impl Driver {
    /// A driver for units of one address, which are at least one.
    pub(crate) fn new(
        units: Vec<Unit>,
        writes: WriteQueue,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Option<Self> {
        let address = units.first()?.connection.address().clone();
        let pauses = Pauses::new(&units);
        let stations = units.into_iter().map(Station::new).collect();
        let backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST);
        Some(Self { address, pauses, stations, writes, held: None, clock, shutdown, bus: None, backoff })
    }

    pub(crate) async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        loop {
            let wait = match self.live().await {
                Stop::Shutdown => return,
                Stop::Suspect => {
                    info!(address = %self.address, "several requests stayed without an answer; connecting anew");
                    Duration::ZERO
                }
                Stop::Idle => match self.rest().await {
                    Some(()) => Duration::ZERO,
                    None => return self.count_missed(),
                },
                Stop::Failed(error) => {
                    let at = self.now();
                    self.stations.iter_mut().for_each(|station| station.lose_link(&error, at));
                    self.backoff.next_wait()
                }
            };
            let waited = shutdown.run_until_cancelled(sleep(wait)).await;
            if waited.is_none() {
                self.count_missed();
                return;
            }
        }
    }

    /// Without a connection, until something is due or somebody wants to write; `None` at the end.
    async fn rest(&mut self) -> Option<()> {
        let now = self.clock.now();
        let time = self.bus.as_ref().map(|bus| bus.next_due(now).since(now)).unwrap_or_default();
        self.held = self.wait(time).await;
        (!self.shutdown.is_cancelled()).then_some(())
    }

    /// One connection, from its making to its end.
    async fn live(&mut self) -> Stop {
        let connected = self.shutdown.run_until_cancelled(Client::connect(&self.address)).await;
        let mut client = match connected {
            None => {
                self.count_missed();
                return Stop::Shutdown;
            }
            Some(Err(error)) => {
                self.count_missed();
                return Stop::Failed(error);
            }
            Some(Ok(client)) => client,
        };
        self.stations.iter().for_each(|station| station.counters.connects.increment());
        let mut bus = self.bus.take().unwrap_or_else(|| self.new_bus());
        bus.connected();
        let stop = self.serve(&mut client, &mut bus).await;
        self.bus = Some(bus);
        self.stations.iter().for_each(|station| station.counters.disconnects.increment());
        stop
    }

    fn new_bus(&self) -> Bus {
        let units = self.stations.iter().map(|s| (&s.connection, s.name.as_str()));
        Bus::new(units, self.clock.now())
    }

    async fn serve(&mut self, client: &mut Client, bus: &mut Bus) -> Stop {
        let mut pause = self.pauses.after_connect;
        let mut heard = Heard::Answer;
        let mut after_read = AfterRead::Keep;
        loop {
            if self.shutdown.is_cancelled() {
                return self.finish(client, bus, heard).await;
            }
            // Writes go first; those that may wait at a time are made before anybody is asked again.
            for _ in 0..WAITING_MAX {
                let Some(order) = self.held.take().or_else(|| self.writes.0.try_next()) else { break };
                pause_for(pause).await;
                pause = self.pauses.between_requests;
                after_read = self.pauses.after_read;
                if let Err(stop) = self.write(client, order).await {
                    return stop;
                }
            }
            let turn = bus.next(self.clock.now());
            self.count_due(bus);
            match turn {
                Turn::Ask(enquiry) => {
                    let begun = self.clock.now();
                    pause_for(pause).await;
                    pause = self.pauses.between_requests;
                    after_read = self.pauses.after_read;
                    let answer = self.ask(client, bus, &enquiry).await;
                    self.count_busy(begun);
                    match answer {
                        Ok(what) => heard = what,
                        Err(stop) => return stop,
                    }
                }
                Turn::Wait(_) if after_read == AfterRead::Close => return Stop::Idle,
                Turn::Wait(until) => {
                    self.held = self.wait(until.since(self.clock.now())).await;
                }
            }
        }
    }

    /// Waits until something is due, somebody wants to write, or the end.
    async fn wait(&mut self, time: Duration) -> Option<Order> {
        tokio::select! {
            () = self.shutdown.cancelled() => None,
            () = sleep(time) => None,
            order = self.writes.0.next() => Some(order),
        }
    }

    /// Makes a write that is still wanted, and reads it back.
    async fn write(&mut self, client: &mut Client, order: Order) -> Result<(), Stop> {
        let Some((request, answer)) = order.begin() else { return Ok(()) };
        let begun = self.clock.now();
        let broken = self.make(client, &request, answer).await;
        self.count_busy(begun);
        broken.map_or(Ok(()), |error| Err(Stop::Failed(error)))
    }

    async fn make(
        &mut self,
        client: &mut Client,
        request: &WriteRequest,
        answer: Answer,
    ) -> Option<ModbusError> {
        let Some(station) = self.stations.iter_mut().find(|s| s.name == request.machine) else {
            answer.tell(WriteOutcome::refused("there is no such machine here"));
            return None;
        };
        let pause = self.pauses.between_requests;
        let made = write::make(client, &station.connection, request, pause, self.clock).await;
        if let Some((block, words, at)) = &made.read {
            station.gain_link();
            station.take_words(block, words, *at);
        }
        write::log(request, &made.outcome);
        answer.tell(made.outcome);
        made.broken
    }

    /// What was scheduled is acquired, as long as the machine answers.
    async fn finish(&mut self, client: &mut Client, bus: &mut Bus, mut heard: Heard) -> Stop {
        while heard == Heard::Answer
            && let Some(enquiry) = bus.next_under_way(self.clock.now())
        {
            pause_for(self.pauses.between_requests).await;
            heard = self.ask(client, bus, &enquiry).await.unwrap_or(Heard::Nothing);
        }
        Stop::Shutdown
    }

    /// Makes one request and hands over what came of it.
    async fn ask(&mut self, client: &mut Client, bus: &mut Bus, enquiry: &Enquiry) -> Result<Heard, Stop> {
        let station = &mut self.stations[enquiry.unit];
        let (begun_wall, begun_at) = (self.clock.wall(), self.clock.now());
        let answer = station.await_answer(client, &enquiry.block, self.clock).await;
        let now = self.clock.now();
        let at = middle(begun_wall, begun_at, now);
        let scheduled = if enquiry.purpose == Purpose::Poll { enquiry.block.tags.len() } else { 0 };
        station.count(&answer, scheduled);
        station.counters.stale_frames_dropped.add(client.take_dropped());
        match answer {
            Ok(words) => {
                bus.handle_reply(enquiry, Reply::Words, begun_at, now);
                self.backoff.reset();
                station.gain_link();
                station.take_words(&enquiry.block, &words, at);
                Ok(Heard::Answer)
            }
            Err(ModbusError::Exception { code }) => {
                let code = u8::from(code);
                let reply = Reply::Refused(Refusal::from_code(code));
                let verdict = bus.handle_reply(enquiry, reply, begun_at, now);
                station.refused(enquiry, code, verdict, at).map_err(Stop::Failed)
            }
            Err(error @ ModbusError::Timeout { .. }) => {
                let verdict = bus.handle_reply(enquiry, Reply::Nothing, begun_at, now);
                station.unanswered(enquiry, error, &verdict, at)?;
                Ok(Heard::Nothing)
            }
            Err(error) => Err(Stop::Failed(error)),
        }
    }

    /// The line was taken since `begun`, whoever it was for.
    fn count_busy(&self, begun: Monotonic) {
        let micros = self.clock.now().since(begun).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX);
        self.stations.iter().for_each(|station| station.counters.busy_us.add(micros));
    }

    fn count_due(&self, bus: &mut Bus) {
        for (index, station) in self.stations.iter().enumerate() {
            let tally = bus.take_tally(index);
            station.counters.scheduled_samples.add(tally.scheduled_samples);
            station.counters.missed_ticks.add(tally.missed_ticks);
            if let Some(registers) = tally.bridged {
                info!(machine.id = %station.name, registers, "requests are laid out anew: by the round trips measured, \
                    gaps of so many registers are read rather than left out");
            }
        }
    }

    /// What fell due while there was no connection was missed.
    fn count_missed(&mut self) {
        let now = self.clock.now();
        if let Some(mut bus) = self.bus.take() {
            bus.skip(now);
            self.count_due(&mut bus);
            self.bus = Some(bus);
        }
    }

    fn now(&self) -> Instants {
        let now = self.clock.now();
        middle(self.clock.wall(), now, now)
    }
}

/// The shortest sleep lasts until the next millisecond, even one of no time at all.
pub(crate) async fn pause_for(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

/// Whether somebody answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Answer,
    Nothing,
}

impl Station {
    /// Makes a request. At the soft deadline its tags turn uncertain, and it is awaited all the same: a
    /// machine that is slow is not dead.
    async fn await_answer(
        &mut self,
        client: &mut Client,
        block: &PollBlock,
        clock: Clock,
    ) -> Result<Vec<u16>, ModbusError> {
        let (unit_id, limit) = (self.connection.unit_id(), self.connection.timeout());
        // Before the instant of any answer to this request, so that the order of times is that of events.
        let gateway_timestamp = clock.wall().to_whole_millis();
        let Some(soft) = self.connection.quirks().soft_deadline else {
            return client.read(unit_id, block, limit).await;
        };
        let soft = soft + client.on_wire(block.quantity);
        let mut read = pin!(client.read(unit_id, block, limit));
        if let Ok(answer) = timeout(soft, &mut read).await {
            return answer;
        }
        self.doubt(block, Instants { gateway_timestamp, received_at: clock.now() });
        let answer = read.await;
        self.counters.late_answers.add(u64::from(answer.is_ok()));
        answer
    }

    /// Tells what an exception means.
    fn refused(
        &mut self,
        enquiry: &Enquiry,
        code: u8,
        verdict: Verdict,
        at: Instants,
    ) -> Result<Heard, ModbusError> {
        let error = ModbusError::refusal(code);
        match verdict {
            Verdict::UnitLost => self.lose_link(&error, at),
            Verdict::ConnectionLost | Verdict::Suspect => return Err(error),
            Verdict::Failed if Refusal::from_code(code).is_silence() => {
                self.lose_block(&enquiry.block, &error, at);
            }
            Verdict::Quarantined(tags) => {
                self.gain_link();
                self.remember_refusal(&enquiry.block, &error);
                self.set_aside(&tags, code, at);
            }
            Verdict::Failed if enquiry.purpose == Purpose::Poll => {
                self.gain_link();
                self.take_refusal(&enquiry.block, code, &error, at);
            }
            Verdict::Failed | Verdict::Narrowed | Verdict::Usable => {
                self.gain_link();
                self.remember_refusal(&enquiry.block, &error);
            }
        }
        Ok(Heard::Answer)
    }

    /// Tells what the lack of an answer means.
    fn unanswered(
        &mut self,
        enquiry: &Enquiry,
        error: ModbusError,
        verdict: &Verdict,
        at: Instants,
    ) -> Result<(), Stop> {
        match verdict {
            Verdict::ConnectionLost => return Err(Stop::Failed(error)),
            Verdict::UnitLost => self.lose_link(&error, at),
            Verdict::Suspect => {
                self.lose_block(&enquiry.block, &error, at);
                return Err(Stop::Suspect);
            }
            Verdict::Failed | Verdict::Narrowed | Verdict::Usable | Verdict::Quarantined(_) => {
                self.lose_block(&enquiry.block, &error, at);
            }
        }
        Ok(())
    }
}

/// The instants of an answer, from both clocks when the request was sent and the monotonic clock when
/// it ended.
pub(crate) fn middle(begun_wall: Timestamp, begun_at: Monotonic, received_at: Monotonic) -> Instants {
    let gateway_timestamp = begun_wall.plus(received_at.since(begun_at) / 2).to_whole_millis();
    Instants { gateway_timestamp, received_at }
}
