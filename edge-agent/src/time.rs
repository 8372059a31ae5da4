//! The time of the gateway: looked at, told, kept, and shown (SPEC section 11).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edge_store::{Boot, SampleInbox, StoreClient};
use plant_model::{TimeChange, TimeKeeper, TimeSource, Timestamp};
use protocol::{ClockChange, ClockRecord, DiagnosticRecord};
use service_kit::Clock;
use tokio_util::sync::CancellationToken;

/// How often the clock of the system is looked at: a step is found within half a second.
const LOOK: Duration = Duration::from_millis(250);

/// Where Linux says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// This boot. Where the system does not tell boots apart, each run of the program counts as one.
pub(crate) fn this_boot() -> Boot {
    let told = std::fs::read_to_string(BOOT_ID).ok();
    let id = told.and_then(|id| u128::from_str_radix(&id.trim().replace('-', ""), 16).ok());
    Boot { id: id.unwrap_or_else(rand::random), built_at: built_at() }
}

/// When this program was built: it is not earlier.
pub(crate) fn built_at() -> Timestamp {
    let seconds: i64 = env!("BUILT_AT_SECONDS").parse().unwrap_or(0);
    Timestamp::from_micros(seconds.saturating_mul(1_000_000))
}

/// A keeper that has looked at the clock of the system, and the clock that goes by it.
pub(crate) fn first_look(clock: Clock, newest: Timestamp) -> TimeKeeper {
    let mut keeper = TimeKeeper::new(built_at(), newest);
    keeper.handle_system(clock.uptime(), Clock::system());
    clock.keep(keeper.booted_at());
    keeper
}

/// What happened to the time since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Steps {
    pub count: u64,
    pub last: Option<TimeChange>,
}

#[derive(Debug)]
struct Kept {
    keeper: TimeKeeper,
    steps: Steps,
    /// The buffer does not know it yet.
    is_news: bool,
}

/// Where everything about the time comes together.
#[derive(Debug)]
pub(crate) struct TimeDesk {
    kept: Mutex<Kept>,
    clock: Clock,
    /// Nobody to tell in tests.
    store: Option<(SampleInbox, StoreClient)>,
}

/// What the status interface says of the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeView {
    pub source: TimeSource,
    pub now: Timestamp,
    pub steps: Steps,
    pub backend_ahead_us: Option<i64>,
}

impl TimeDesk {
    pub(crate) fn new(keeper: TimeKeeper, clock: Clock, inbox: SampleInbox, client: StoreClient) -> Self {
        let kept = Kept { keeper, steps: Steps::default(), is_news: false };
        Self { kept: Mutex::new(kept), clock, store: Some((inbox, client)) }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backend has said what time it was, `round_trip` after it was asked.
    pub(crate) fn told(&self, at: Timestamp, round_trip: Duration) {
        let mut kept = self.lock();
        let change = kept.keeper.handle_told(self.clock.uptime(), at, round_trip);
        self.settle(&mut kept, change);
    }

    fn look(&self) {
        let mut kept = self.lock();
        let change = kept.keeper.handle_system(self.clock.uptime(), Clock::system());
        self.settle(&mut kept, change);
    }

    fn settle(&self, kept: &mut Kept, change: Option<TimeChange>) {
        self.clock.keep(kept.keeper.booted_at());
        if let Some(change) = change {
            kept.is_news |= change.from.is_unplaced();
            kept.steps.count += u64::from(!change.from.is_unplaced());
            kept.steps.last = Some(change);
            self.tell(change, kept.keeper.source());
        }
        if let (true, Some(booted_at), Some((_, client))) =
            (kept.is_news, kept.keeper.booted_at(), &self.store)
        {
            kept.is_news = !client.know_time(booted_at);
        }
    }

    fn tell(&self, change: TimeChange, source: TimeSource) {
        let TimeChange { uptime, from, to } = change;
        let record = if from.is_unplaced() {
            tracing::info!(source = source.name(), to = %to, uptime_s = uptime.micros() / 1_000_000, "the time is known");
            ClockRecord { change: ClockChange::Set, from: to, to, uptime, samples: 0 }
        } else {
            tracing::warn!(source = source.name(), from = %from, to = %to, uptime_s = uptime.micros() / 1_000_000,
                "the clock was set");
            ClockRecord { change: ClockChange::Stepped, from, to, uptime, samples: 0 }
        };
        if let Some((inbox, _)) = &self.store {
            inbox.push_record(DiagnosticRecord::Clock(record));
        }
    }

    pub(crate) fn view(&self) -> TimeView {
        let kept = self.lock();
        TimeView {
            source: kept.keeper.source(),
            now: self.clock.wall(),
            steps: kept.steps,
            backend_ahead_us: kept.keeper.backend_ahead(),
        }
    }
}

/// Looks at the clock of the system until it is asked to stop.
pub(crate) async fn keep_time(desk: Arc<TimeDesk>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        desk.look();
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl TimeDesk {
        /// A desk that goes by the clock of the system and tells nobody.
        pub(crate) fn of_the_system(clock: Clock) -> Self {
            let mut keeper = TimeKeeper::new(Timestamp::default(), Timestamp::default());
            keeper.handle_system(clock.uptime(), Clock::system());
            let kept = Kept { keeper, steps: Steps::default(), is_news: false };
            Self { kept: Mutex::new(kept), clock, store: None }
        }
    }

    #[test]
    fn this_program_was_built_in_the_past_and_its_boot_stays_the_same() {
        assert!(built_at() > Timestamp::UNPLACED_BELOW && built_at() <= Clock::system());
        if std::path::Path::new(BOOT_ID).exists() {
            assert_eq!(this_boot(), this_boot());
        }
    }

    #[test]
    fn e1_the_time_that_the_backend_tells_moves_the_clock_and_is_shown() {
        let clock = Clock::start_kept();
        let keeper = TimeKeeper::new(built_at(), Timestamp::from_micros(i64::MAX));
        let kept = Kept { keeper, steps: Steps::default(), is_news: false };
        let desk = TimeDesk { kept: Mutex::new(kept), clock, store: None };
        assert!(clock.wall().is_unplaced() && desk.view().source == TimeSource::None);
        let told = built_at().plus(Duration::from_secs(86_400));
        desk.told(told, Duration::from_secs(2));
        assert_eq!(desk.view().source, TimeSource::Backend);
        let error = clock.wall().since(told);
        assert!((Duration::from_secs(1)..Duration::from_secs(60)).contains(&error), "{error:?}");
        assert_eq!(desk.view().steps.count, 0, "to become known is no step");
    }
}
