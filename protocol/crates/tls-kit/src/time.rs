//! The time by which certificates are judged, on a machine whose clock may know nothing (SPEC section 11).

use std::time::Duration;

use plant_model::Timestamp;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use service_kit::Clock;

/// A clock, and the earliest that it can be.
#[derive(Debug, Clone, Copy)]
pub struct TlsTime {
    /// The clock.
    pub clock: Clock,
    /// It is not earlier than this, whatever the clock says.
    pub floor: Timestamp,
}

impl TlsTime {
    /// A clock that is believed.
    #[must_use]
    pub fn of(clock: Clock) -> Self {
        Self { clock, floor: Timestamp::default() }
    }

    pub(crate) fn is_known(&self) -> bool {
        !self.clock.wall().is_unplaced()
    }
}

impl TimeProvider for TlsTime {
    fn current_time(&self) -> Option<UnixTime> {
        let wall = if self.is_known() { self.clock.wall() } else { Clock::system() };
        let since_1970 = u64::try_from(wall.max(self.floor).micros()).unwrap_or(0);
        Some(UnixTime::since_unix_epoch(Duration::from_micros(since_1970)))
    }
}
