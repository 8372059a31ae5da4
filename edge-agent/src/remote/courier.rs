//! The way to the backend and back: fetches what it wants, delivers what the keeper reports.

use std::sync::Arc;
use std::time::Duration;

use gateway_identity::{ConfigurationClient, Fetched, IdentityError, Verifier};
use service_kit::Clock;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::status::RemoteDesk;
use super::{Told, Word};
use crate::errand::Errand;

/// How often the backend is asked without a nudge (SPEC section 13), at most; a quarter less at random, so that a fleet
/// that was switched on together does not ask together.
const PULL_EVERY: Duration = Duration::from_secs(300);
/// How often the same is reported again (SPEC section 13).
const REPORT_EVERY: Duration = Duration::from_secs(3_600);

/// The courier.
pub(super) struct Courier {
    pub client: ConfigurationClient,
    pub verifier: Verifier,
    pub words: mpsc::Sender<Word>,
    pub tidings: watch::Receiver<Option<Told>>,
    pub desk: Arc<RemoteDesk>,
    pub clock: Clock,
}

impl Courier {
    /// Goes to and fro until `stop` is cancelled or the keeper is gone.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.go() => {}
        }
    }

    async fn go(&mut self) {
        let (mut pull, mut report) = (Errand::new(PULL_EVERY), Errand::new(PULL_EVERY));
        let desk = Arc::clone(&self.desk);
        // What stands is known before anything is asked for.
        if self.tidings.changed().await.is_err() {
            return;
        }
        loop {
            if report.due <= Instant::now() {
                match self.deliver().await {
                    Ok(()) => report.done(REPORT_EVERY),
                    Err(error) => self.failed(&mut report, &error),
                }
            }
            if pull.due <= Instant::now() {
                match self.fetch().await {
                    Ok(word) => {
                        if self.words.send(word).await.is_err() {
                            return;
                        }
                        pull.done(PULL_EVERY.mul_f64(1.0 - rand::random::<f64>() / 4.0));
                    }
                    Err(error) => self.failed(&mut pull, &error),
                }
            }
            tokio::select! {
                changed = self.tidings.changed() => match changed {
                    Ok(()) => report.due = Instant::now(),
                    Err(_) => return,
                },
                () = desk.nudged() => pull.due = Instant::now(),
                () = sleep_until(pull.due.min(report.due)) => {}
            }
        }
    }

    fn failed(&self, errand: &mut Errand, error: &IdentityError) {
        let reason = error.to_string();
        // Once for each reason: an uplink may be away for days.
        if self.desk.silent(reason) {
            tracing::warn!(error = %error, "the backend cannot be asked for the configuration of this gateway");
        }
        errand.failed();
    }

    async fn deliver(&mut self) -> Result<(), IdentityError> {
        let told = self.tidings.borrow_and_update().clone();
        let Some(told) = told else { return Ok(()) };
        self.client.report(&told.report).await?;
        self.desk.answered(self.clock.wall());
        Ok(())
    }

    async fn fetch(&self) -> Result<Word, IdentityError> {
        let newest = self.tidings.borrow().as_ref().and_then(|told| told.newest);
        let fetched = self.client.fetch(newest).await?;
        self.desk.answered(self.clock.wall());
        let Fetched::Version(signed) = fetched else { return Ok(Word::Nothing) };
        let number = signed.configuration.version;
        Ok(match self.verifier.verify(*signed) {
            Ok(configuration) => Word::Wanted(Box::new(configuration.into())),
            Err(error) => Word::Untrusted(number, error.to_string()),
        })
    }
}
