//! The loop of one connection: connect, poll what is due, and after a failure wait and begin anew.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use acquisition::{
    Agenda, DriverCounters, DuePoll, Instants, MachineSink, ModbusConnection, PollBlock, Report,
};
use plant_model::{MachineId, Monotonic, Timestamp};
use service_kit::{Backoff, Clock};
use tokio::time::sleep;
use tokio_modbus::ExceptionCode;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::client::Client;
use crate::error::{ModbusError, exception_quality};
use crate::readings::LastValues;

/// So many requests in a row without an answer end a connection: one lost answer is not yet a dead
/// machine, and many machines have few sockets to give away.
const TIMEOUTS_MAX: u32 = 3;

/// The waits between two attempts to connect.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LONGEST: Duration = Duration::from_secs(10);

pub(crate) struct Driver {
    connection: Arc<ModbusConnection>,
    name: MachineId,
    clock: Clock,
    counters: Arc<DriverCounters>,
    shutdown: CancellationToken,
    report: Report,
    last: LastValues,
    /// Begins with the first connection and runs on without one: what is due then is missed.
    agenda: Option<Agenda>,
    backoff: Backoff,
    /// The exception with which each block was refused last, to log a change once.
    refusals: Vec<Option<u8>>,
}

/// Why the polls of a connection stopped.
enum Stop {
    Shutdown,
    Failed(ModbusError),
}

impl Driver {
    pub(crate) fn new(
        connection: ModbusConnection,
        name: MachineId,
        sink: Box<dyn MachineSink>,
        clock: Clock,
        counters: Arc<DriverCounters>,
        shutdown: CancellationToken,
    ) -> Self {
        let report = Report::new(sink, connection.tags().len());
        let last = LastValues::new(connection.tags().len());
        let refusals = vec![None; connection.blocks().len()];
        let backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_LONGEST);
        let connection = Arc::new(connection);
        Self { connection, name, clock, counters, shutdown, report, last, agenda: None, backoff, refusals }
    }

    pub(crate) async fn run(mut self) {
        let shutdown = self.shutdown.clone();
        loop {
            match self.live().await {
                Stop::Shutdown => return,
                Stop::Failed(error) => self.lose_link(&error),
            }
            let wait = self.backoff.next_wait();
            let waited = shutdown.run_until_cancelled(sleep(wait)).await;
            self.count_missed();
            if waited.is_none() {
                return;
            }
        }
    }

    /// One connection, from its making to its end.
    async fn live(&mut self) -> Stop {
        let connect = Client::connect(&self.connection, Arc::clone(&self.counters));
        let client = self.shutdown.run_until_cancelled(connect).await;
        self.count_missed();
        let mut client = match client {
            None => return Stop::Shutdown,
            Some(Err(error)) => return Stop::Failed(error),
            Some(Ok(client)) => client,
        };
        self.counters.connects.increment();
        let stop = self.poll_until_stopped(&mut client).await;
        self.counters.disconnects.increment();
        stop
    }

    async fn poll_until_stopped(&mut self, client: &mut Client) -> Stop {
        let mut agenda = self.agenda.take().unwrap_or_else(|| self.new_agenda());
        let mut timeouts = 0;
        let stop = loop {
            let wait = sleep(agenda.next_due().since(self.clock.now()));
            if self.shutdown.run_until_cancelled(wait).await.is_none() {
                break Stop::Shutdown;
            }
            let Some(due) = agenda.take(self.clock.now()) else { continue };
            self.count_due(&due, due.ticks - 1);
            if let Err(stop) = self.poll_class(client, &due, &mut timeouts).await {
                break stop;
            }
        };
        self.agenda = Some(agenda);
        stop
    }

    fn new_agenda(&self) -> Agenda {
        Agenda::new(self.connection.blocks(), self.name.as_str(), self.clock.now())
    }

    /// Reads all blocks of a class, even if the shutdown begins meanwhile, as long as the machine
    /// answers: what was scheduled is acquired.
    async fn poll_class(
        &mut self,
        client: &mut Client,
        due: &DuePoll,
        timeouts: &mut u32,
    ) -> Result<(), Stop> {
        for index in due.blocks.clone() {
            match self.poll_block(client, index).await {
                Ok(()) => *timeouts = 0,
                Err(error @ ModbusError::Timeout { .. }) if *timeouts + 1 < TIMEOUTS_MAX => {
                    *timeouts += 1;
                    self.lose_block(index, &error);
                }
                Err(error) => return Err(Stop::Failed(error)),
            }
            if *timeouts > 0 && self.shutdown.is_cancelled() {
                return Err(Stop::Shutdown);
            }
        }
        Ok(())
    }

    /// Reads one block and hands over what came of it. A refusal is an answer.
    async fn poll_block(&mut self, client: &mut Client, index: usize) -> Result<(), ModbusError> {
        let connection = Arc::clone(&self.connection);
        let block = &connection.blocks()[index];
        let (begun_wall, begun_at) = (self.clock.wall(), self.clock.now());
        let answer = client.read(block).await;
        let at = middle(begun_wall, begun_at, self.clock.now());
        self.count_answer(&answer, block);
        match answer {
            Ok(words) => {
                self.backoff.reset();
                self.gain_link();
                self.note_refusal(index, None);
                self.last.report_words(&mut self.report, &connection, block, &words, at);
                Ok(())
            }
            Err(ModbusError::Exception { code }) => {
                self.gain_link();
                self.note_refusal(index, Some(code));
                self.last.report_refusal(&mut self.report, block, exception_quality(code), at);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn count_answer(&self, answer: &Result<Vec<u16>, ModbusError>, block: &PollBlock) {
        let failed = &self.counters.polls_failed;
        match answer {
            Ok(_) => {
                self.counters.polls_ok.increment();
                self.counters.acquired_samples.add(block.tags.len() as u64);
            }
            Err(ModbusError::Timeout { .. }) => failed.timeout.increment(),
            Err(ModbusError::Exception { .. }) => failed.exception.increment(),
            Err(ModbusError::Answer { .. }) => failed.decode.increment(),
            Err(ModbusError::Transport { cause }) if cause.kind() == ErrorKind::InvalidData => {
                failed.decode.increment();
            }
            Err(
                ModbusError::Transport { .. }
                | ModbusError::Connect { .. }
                | ModbusError::ConnectDeadline { .. },
            ) => failed.transport.increment(),
        }
    }

    fn count_due(&self, due: &DuePoll, missed: u64) {
        self.counters.scheduled_samples.add(due.ticks * due.tags);
        self.counters.missed_ticks.add(missed);
    }

    /// What fell due while there was no connection was missed.
    fn count_missed(&mut self) {
        let now = self.clock.now();
        while let Some(due) = self.agenda.as_mut().and_then(|agenda| agenda.take(now)) {
            self.count_due(&due, due.ticks);
        }
    }

    fn gain_link(&mut self) {
        if self.report.link_up() {
            let (host, port) = (self.connection.host(), self.connection.port());
            info!(machine.id = %self.name, host, port, "the machine answers");
        }
    }

    /// The tags of a block turn bad, though the connection is given another chance.
    fn lose_block(&mut self, index: usize, error: &ModbusError) {
        self.counters.set_last_error(&error.to_string());
        let at = self.now();
        for tag in &self.connection.blocks()[index].tags {
            self.report.add_loss(*tag, error.quality(), at);
        }
        self.report.hand_over();
    }

    fn now(&self) -> Instants {
        let now = self.clock.now();
        middle(self.clock.wall(), now, now)
    }

    fn lose_link(&mut self, error: &ModbusError) {
        let reason = error.to_string();
        self.counters.set_last_error(&reason);
        let at = self.now();
        if self.report.link_down(&reason, error.quality(), at) {
            warn!(machine.id = %self.name, reason, "the machine cannot be read; trying again");
        }
    }

    /// Logs a block that begins or ceases to be refused.
    fn note_refusal(&mut self, index: usize, code: Option<ExceptionCode>) {
        let now = code.map(u8::from);
        if std::mem::replace(&mut self.refusals[index], now) == now {
            return;
        }
        let PollBlock { table, start, quantity, .. } = &self.connection.blocks()[index];
        let table = table.name();
        match code {
            Some(code) => {
                let reason = ModbusError::Exception { code }.to_string();
                self.counters.set_last_error(&format!("{reason}: {table} {start}, quantity {quantity}"));
                warn!(machine.id = %self.name, table, start, quantity, reason, "a request is refused");
            }
            None => info!(machine.id = %self.name, table, start, quantity, "a request is answered again"),
        }
    }
}

/// The instants of an answer, from both clocks when the request was sent and the monotonic clock when
/// it ended.
fn middle(begun_wall: Timestamp, begun_at: Monotonic, received_at: Monotonic) -> Instants {
    let gateway_timestamp = begun_wall.plus(received_at.since(begun_at) / 2).to_whole_millis();
    Instants { gateway_timestamp, received_at }
}
