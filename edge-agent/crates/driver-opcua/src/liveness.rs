//! Whether a server that is connected still works.
//!
//! Keep-alives come from the part of a server that publishes. They say nothing of the part that looks
//! at the machine: it can hang while they go on. The clock of the server (`Server_ServerStatus`,
//! `CurrentTime`) is the one value that changes by itself on every machine. It is read at a slow pace,
//! and the subscription watches it like a tag. A clock that runs when read but is no longer reported
//! shows that the subscription hangs; one that stands still, while nothing else is reported either,
//! that the server does.
//!
//! A server is only measured by what it has shown: who has no such clock, never reported it, or never
//! had one that runs, is left alone.

use std::sync::Arc;
use std::time::Duration;

use opcua::types::{DataValue, NodeId, ReadValueId, StatusCode, TimestampsToReturn, VariableId, Variant};
use tracing::warn;

use crate::driver::Driver;
use crate::error::OpcUaError;
use crate::link::Link;

/// So many looks in a row must find nothing: one can fall between two changes of a coarse clock.
const LOOKS: u32 = 3;

/// A clock whose report came so often is expected to go on; the first comes with the subscription.
const REPORTS_MIN: u32 = 2;

const CLOCK_HANGS: &str = "the clock of the server (i=2258) stands still and nothing changes";
const SUBSCRIPTION_HANGS: &str =
    "the subscription reports nothing any more, not even the clock of the server (i=2258)";

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Alive,
    /// It may hang; what it last said is not to be restated.
    Doubtful,
    /// Its clock has never been seen to run, so that this proves nothing.
    Standing,
    /// It hangs, by this sign.
    Hangs(&'static str),
}

/// What is known of the life of a server.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    /// The clock has run, in this session or one before.
    has_run: bool,
    /// What it showed when it was last read, in ticks.
    shown: Option<i64>,
    /// Looks in a row that found it as it was.
    still: u32,
    /// How often the subscription reported it.
    clock_reports: u32,
    /// Looks within which a working subscription reports it at least once; 0 if it does not watch it.
    patience: u32,
    /// Looks in a row before which nothing at all was reported.
    silent: u32,
    was_reported: bool,
}

impl Liveness {
    /// Forgets the session before, but not whether the clock runs.
    pub(crate) fn begin_session(&mut self) {
        *self = Self { has_run: self.has_run, ..Self::default() };
    }

    /// The subscription watches the clock, with at most `longest` between two reports.
    pub(crate) fn watch(&mut self, longest: Duration, interval: Duration) {
        let looks = longest.as_micros().div_ceil(interval.as_micros().max(1));
        self.patience = u32::try_from(looks).unwrap_or(u32::MAX / LOOKS).clamp(1, u32::MAX / LOOKS);
    }

    /// The subscription reported values; of the clock, or of tags only.
    pub(crate) fn handle_report(&mut self, of_clock: bool) {
        self.was_reported = true;
        self.silent = 0;
        self.clock_reports = self.clock_reports.saturating_add(u32::from(of_clock));
    }

    /// The clock was read; `None` if the server has none.
    pub(crate) fn handle_look(&mut self, shown: Option<i64>) -> Verdict {
        let before = std::mem::replace(&mut self.shown, shown);
        let is_still = before.is_some() && before == shown;
        self.has_run |= !is_still && before.is_some() && shown.is_some();
        self.still = if is_still { self.still.saturating_add(1) } else { 0 };
        let was_reported = std::mem::take(&mut self.was_reported);
        self.silent = if was_reported { 0 } else { self.silent.saturating_add(1) };
        self.verdict()
    }

    fn verdict(&self) -> Verdict {
        let is_watched = self.patience > 0 && self.clock_reports >= REPORTS_MIN;
        let stands = self.still >= LOOKS && self.silent >= LOOKS;
        match (self.has_run, stands) {
            (true, true) => return Verdict::Hangs(CLOCK_HANGS),
            (false, true) if self.still == LOOKS => return Verdict::Standing,
            (true | false, _) => {}
        }
        if is_watched && self.silent >= self.patience * LOOKS {
            return Verdict::Hangs(SUBSCRIPTION_HANGS);
        }
        let may_stand = self.has_run && self.still > 0 && self.silent > 0;
        let may_be_silent = is_watched && self.silent >= self.patience;
        if may_stand || may_be_silent { Verdict::Doubtful } else { Verdict::Alive }
    }
}

impl Driver {
    /// Reads the clock of the server and judges by it.
    pub(crate) async fn look_at_clock(&mut self, link: &mut Link) -> Result<(), OpcUaError> {
        let node = ReadValueId::from(NodeId::from(VariableId::Server_ServerStatus_CurrentTime));
        let (session, nodes) = (Arc::clone(&link.session), [node]);
        let read = session.read(&nodes, TimestampsToReturn::Neither, 0.0);
        let shown = match self.request(link, "tell its time", read).await {
            Ok(values) => time(values.into_iter().next()),
            // A server that refuses this one need not fail with others.
            Err(OpcUaError::Request { cause, .. }) if is_refusal(cause.status()) => None,
            Err(error) => return Err(error),
        };
        let verdict = self.liveness.handle_look(shown);
        self.is_doubtful = verdict == Verdict::Doubtful;
        match verdict {
            Verdict::Hangs(sign) => return Err(OpcUaError::Stalled { sign }),
            Verdict::Standing => {
                self.counters.set_last_error(CLOCK_HANGS);
                warn!(machine.id = %self.name, "the clock of the server (i=2258) has never moved; it may hang");
            }
            Verdict::Alive | Verdict::Doubtful => {}
        }
        Ok(())
    }
}

fn time(value: Option<DataValue>) -> Option<i64> {
    if let Some(Variant::DateTime(time)) = value?.value { Some(time.ticks()) } else { None }
}

/// The server answered, and would not read.
fn is_refusal(status: StatusCode) -> bool {
    [
        StatusCode::BadServiceUnsupported,
        StatusCode::BadNotSupported,
        StatusCode::BadNotImplemented,
        StatusCode::BadUserAccessDenied,
    ]
    .contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The verdicts on a sequence of looks: what the clock shows, and how often it was reported since.
    fn verdicts(looks: &[(Option<i64>, u32)]) -> Vec<Verdict> {
        let mut liveness = Liveness::default();
        liveness.begin_session();
        liveness.watch(SECOND, 2 * SECOND);
        judge(&mut liveness, looks)
    }

    fn judge(liveness: &mut Liveness, looks: &[(Option<i64>, u32)]) -> Vec<Verdict> {
        let look = |(shown, reports): &(Option<i64>, u32)| {
            for _ in 0..*reports {
                liveness.handle_report(true);
            }
            liveness.handle_look(*shown)
        };
        looks.iter().map(look).collect()
    }

    use Verdict::{Alive, Doubtful, Hangs, Standing};

    #[test]
    fn c2_a_clock_that_runs_and_is_reported_is_alive() {
        assert_eq!(verdicts(&[(Some(1), 1), (Some(2), 1), (Some(3), 2), (Some(4), 1)]), [Alive; 4]);
    }

    #[test]
    fn c2_a_clock_that_stops_is_doubted_at_once_and_found_out_at_the_third_look() {
        let looks = [(Some(1), 1), (Some(2), 1), (Some(2), 0), (Some(2), 0), (Some(2), 0)];
        assert_eq!(verdicts(&looks), [Alive, Alive, Doubtful, Doubtful, Hangs(CLOCK_HANGS)]);
    }

    #[test]
    fn c2_a_clock_that_runs_but_is_reported_no_more_shows_a_hung_subscription() {
        let looks = [(Some(1), 1), (Some(2), 1), (Some(3), 0), (Some(4), 0), (Some(5), 0)];
        assert_eq!(verdicts(&looks), [Alive, Alive, Doubtful, Doubtful, Hangs(SUBSCRIPTION_HANGS)]);
    }

    #[test]
    fn c2_a_server_that_never_reported_its_clock_or_has_none_is_left_alone() {
        assert_eq!(
            verdicts(&[(Some(1), 1), (Some(2), 0), (Some(3), 0), (Some(4), 0), (Some(5), 0)]),
            [Alive; 5]
        );
        assert_eq!(verdicts(&[(None, 0); 6]), [Alive; 6]);
        assert_eq!(verdicts(&[(Some(1), 1), (None, 1), (None, 1), (None, 1), (None, 1)]), [Alive; 5]);
    }

    #[test]
    fn c2_a_clock_that_never_ran_is_told_once_and_proves_nothing() {
        let looks = [(Some(1), 1), (Some(1), 0), (Some(1), 0), (Some(1), 0), (Some(1), 0)];
        assert_eq!(verdicts(&looks), [Alive, Alive, Alive, Standing, Alive]);
    }

    #[test]
    fn c2_a_clock_that_stands_while_tags_change_is_only_a_bad_clock() {
        let mut liveness = Liveness::default();
        judge(&mut liveness, &[(Some(1), 0), (Some(2), 0)]);
        for _ in 0..10 {
            liveness.handle_report(false);
            assert_eq!(liveness.handle_look(Some(2)), Alive);
        }
    }

    #[test]
    fn c2_a_new_session_is_not_measured_by_the_reports_of_the_one_before_but_by_its_clock() {
        let mut liveness = Liveness::default();
        liveness.watch(SECOND, SECOND);
        judge(&mut liveness, &[(Some(1), 2), (Some(2), 2)]);
        liveness.begin_session();
        let looks = [(Some(2), 0), (Some(2), 0), (Some(2), 0), (Some(2), 0)];
        assert_eq!(judge(&mut liveness, &looks), [Alive, Doubtful, Doubtful, Hangs(CLOCK_HANGS)]);
    }

    #[test]
    fn c2_a_server_that_samples_slowly_is_given_its_time() {
        let mut liveness = Liveness::default();
        liveness.watch(10 * SECOND, 2 * SECOND);
        judge(&mut liveness, &[(Some(0), 2)]);
        let verdicts: Vec<_> = (1..=15).map(|n| liveness.handle_look(Some(n))).collect();
        assert_eq!(verdicts[3..5], [Alive, Doubtful]);
        assert_eq!(verdicts[13..], [Doubtful, Hangs(SUBSCRIPTION_HANGS)]);
    }
}
