//! The loop of one output: feed it, carry out its orders, stop it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alarm_output::{Level, Order, Outcome, Output, OutputId, OutputPort, Tally};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use plant_model::Monotonic;
use service_kit::Clock;
use tokio_util::sync::CancellationToken;

use crate::feed::{Inbox, News};

/// What a stop may take: three attempts on a machine that answers. The process waits for it.
pub const STOP_MAX: Duration = Duration::from_secs(3);

/// How an output stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputView {
    /// What it should be at.
    pub desired: Level,
    /// Since when.
    pub desired_at: Monotonic,
    /// What was confirmed last; `None` if that is not known.
    pub actual: Option<Level>,
    /// When something was confirmed last.
    pub confirmed_at: Option<Monotonic>,
    /// Why it is not known to be as it should be.
    pub fault: Option<String>,
    /// What failed last, whatever has become of it.
    pub last_failure: Option<Failure>,
    /// What happened since the start.
    pub tally: Tally,
}

/// An order that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub reason: String,
    /// When it had failed.
    pub at: Monotonic,
}

impl OutputView {
    fn new(output: &Output, now: Monotonic) -> Self {
        Self {
            desired: output.desired(),
            desired_at: now,
            actual: output.actual(),
            confirmed_at: None,
            fault: output.fault().map(str::to_owned),
            last_failure: None,
            tally: output.tally(),
        }
    }

    /// How it stands after this view.
    fn then(&self, output: &Output, now: Monotonic) -> Self {
        let new = Self::new(output, now);
        let confirmed_at =
            if new.tally.confirmed > self.tally.confirmed { Some(now) } else { self.confirmed_at };
        let failed = |t: &Tally| t.differs + t.refused + t.unknown;
        let has_failed = failed(&new.tally) > failed(&self.tally);
        let failure = new.fault.clone().filter(|_| has_failed).map(|reason| Failure { reason, at: now });
        Self {
            desired_at: if new.desired == self.desired { self.desired_at } else { now },
            confirmed_at,
            last_failure: failure.or_else(|| self.last_failure.clone()),
            ..new
        }
    }
}

/// Shows one output while [`run`] drives it.
#[derive(Debug)]
pub struct OutputBoard {
    id: OutputId,
    view: Mutex<OutputView>,
}

impl OutputBoard {
    /// A place for `output`, as it stands at `now`.
    #[must_use]
    pub fn new(output: &Output, now: Monotonic) -> Self {
        Self { id: output.rule().id.clone(), view: Mutex::new(OutputView::new(output, now)) }
    }

    /// The output's name.
    #[must_use]
    pub const fn id(&self) -> &OutputId {
        &self.id
    }

    fn lock(&self) -> MutexGuard<'_, OutputView> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    #[must_use]
    pub fn view(&self) -> OutputView {
        self.lock().clone()
    }

    /// Shows how it stands; what became of a fault is logged here, once.
    fn show(&self, output: &Output, now: Monotonic) {
        let (before, view) = {
            let mut shown = self.lock();
            let view = shown.then(output, now);
            (std::mem::replace(&mut *shown, view.clone()), view)
        };
        let id = &self.id;
        match (&before.fault, &view.fault) {
            (None, Some(fault)) => {
                tracing::warn!(output.id = %id, wanted = view.desired.name(), fault, "an output does not follow");
            }
            (Some(_), None) => tracing::info!(output.id = %id, "the output follows again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if let Some(level) = view.actual.filter(|_| view.tally.confirmed != before.tally.confirmed) {
            tracing::info!(output.id = %id, level = level.name(), "an output was driven");
        }
    }
}

/// An output and what it is connected to.
pub struct OutputTask {
    /// The output.
    pub output: Output,
    /// Carries out its orders.
    pub port: Box<dyn OutputPort>,
    /// Brings its alarms.
    pub inbox: Arc<Inbox>,
    /// Shows how it stands.
    pub board: Arc<OutputBoard>,
    /// The time.
    pub clock: Clock,
    /// Ends it: the output is made safe first, which takes at most [`STOP_MAX`].
    pub stop: CancellationToken,
}

/// Drives an output until its `stop` is cancelled.
pub async fn run(task: OutputTask) {
    let OutputTask { mut output, port, inbox, board, clock, stop } = task;
    let port = port.as_ref();
    // At most a drive and a beat.
    let mut under_way = FuturesUnordered::new();
    let mut deadline: Option<Monotonic> = None;
    loop {
        tell(&mut output, inbox.take());
        let now = clock.now();
        while let Some(order) = output.next_order(now) {
            under_way.push(carry_out(port, order));
        }
        board.show(&output, now);
        if output.is_settled() || deadline.is_some_and(|end| now >= end) {
            break;
        }
        let next = [output.poll_timeout(), deadline].into_iter().flatten().min();
        tokio::select! {
            () = stop.cancelled(), if deadline.is_none() => {
                output.handle_stop();
                deadline = Some(clock.now().plus(STOP_MAX));
            }
            Some((order, outcome)) = under_way.next(), if !under_way.is_empty() => {
                output.handle_outcome(&order, &outcome, clock.now());
            }
            () = inbox.changed() => {}
            () = tokio::time::sleep(next.unwrap_or(now).since(now)), if next.is_some() => {}
        }
    }
    if !output.is_safe() {
        let (id, fault) = (&output.rule().id, output.fault());
        tracing::error!(output.id = %id, fault, "the output may not be safe: it was not confirmed before the stop");
    }
}

fn tell(output: &mut Output, news: News) {
    for (alarm, (state, priority)) in news.alarms {
        output.handle_alarm(alarm, state, priority);
    }
    if news.is_lost {
        output.handle_lost();
    }
    if news.is_back {
        output.handle_back();
    }
}

async fn carry_out(port: &dyn OutputPort, order: Order) -> (Order, Outcome) {
    let outcome = port.carry_out(&order).await;
    (order, outcome)
}
