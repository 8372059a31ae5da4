//! The owner of the record and of the machine files while the agent runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use protocol::ConfigurationState;
use remote_configuration::{Decision, Files, Health, Record, Staged, Standing, Trial, Verdict, Work};
use service_kit::Clock;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::book::{Book, Request};
use super::check::check;
use super::folder::Folder;
use super::status::RemoteDesk;
use super::{Told, Word};

/// How often a trial and a request of a technician are looked at.
const TICK: Duration = Duration::from_secs(1);
/// After so many ticks the files are looked at: what a person edited is shown within that time.
const LOOK_TICKS: u32 = 10;

/// Why files are not in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoadError {
    /// They cannot be used.
    Refused(String),
    /// The agent is about to end; the next start goes on.
    Stopping,
}

/// The machines, as far as the keeper needs them.
pub(crate) trait Plant: Send + Sync + 'static {
    /// Brings the files as they are into use; what they do not change is not touched.
    fn load(&self) -> impl Future<Output = Result<(), LoadError>> + Send;

    /// How machines and uplink are.
    fn health(&self) -> Health;
}

/// The keeper.
pub(super) struct Keeper<P> {
    book: Book,
    root: PathBuf,
    folder: Folder,
    plant: P,
    window: Duration,
    clock: Clock,
    told: watch::Sender<Option<Told>>,
    desk: Arc<RemoteDesk>,
    record: Record,
    trial: Option<Trial>,
    /// What was said last in the log, so that it is said once.
    said: Option<(ConfigurationState, String)>,
}

impl<P: Plant> Keeper<P> {
    pub(super) fn new(
        book: Book,
        root: PathBuf,
        plant: P,
        window: Duration,
        clock: Clock,
        told: watch::Sender<Option<Told>>,
        desk: Arc<RemoteDesk>,
    ) -> Self {
        let (folder, record) = (Folder::of(&root), Record::default());
        Self { book, root, folder, plant, window, clock, told, desk, record, trial: None, said: None }
    }

    /// Keeps until `stop` is cancelled. Nothing is begun after that, and what is under way is found by the next start.
    pub(super) async fn run(mut self, mut words: mpsc::Receiver<Word>, stop: CancellationToken) {
        match self.book.prepare().map_err(Into::into).and_then(|()| self.book.load()) {
            Ok(record) => self.record = record,
            Err(error) => {
                tracing::error!(error = ?error, "nothing is taken from the backend: what was applied is not known");
                return;
            }
        }
        self.go_on().await;
        self.tell();
        let mut ticks = 0_u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                word = words.recv() => match word {
                    Some(word) => self.hear(word).await,
                    None => return,
                },
                () = tokio::time::sleep(TICK) => {
                    ticks += 1;
                    let (asked, judged) = (self.obey().await, self.judge().await);
                    if !asked && !judged && !ticks.is_multiple_of(LOOK_TICKS) {
                        continue;
                    }
                    self.go_on().await;
                }
            }
            self.tell();
        }
    }

    /// Takes a word of the backend, and does what can be done.
    async fn hear(&mut self, word: Word) {
        let refused = match word {
            Word::Nothing => None,
            Word::Untrusted(number, why) => Some((number, why)),
            Word::Wanted(version) => {
                let (mut record, number) = (self.record.clone(), version.number);
                match record.stage(*version) {
                    Staged::New => {
                        tracing::info!(
                            version = number,
                            "the backend has another configuration for this gateway"
                        );
                        self.replace(record);
                        None
                    }
                    Staged::Known => None,
                    Staged::Older { known } => Some((
                        number,
                        format!("version {known} is known already; going back takes a new version"),
                    )),
                }
            }
        };
        if refused.is_some() {
            self.refuse(refused);
        } else {
            self.consider().await;
        }
    }

    /// Applies the version that waits, if nothing speaks against it.
    async fn consider(&mut self) {
        let Some(waiting) = self.record.waiting().filter(|_| *self.record.work() == Work::None) else {
            return;
        };
        let number = waiting.number;
        let outcome = self.folder.read().map_err(|error| error.to_string()).and_then(|actual| {
            check(&self.root, &waiting.files)?;
            let decision = self.record.decide(&actual);
            if decision == Decision::Apply {
                self.folder
                    .probe()
                    .map_err(|error| format!("{error}; the agent must be allowed to write there"))?;
            }
            Ok((actual, decision))
        });
        let actual = match outcome {
            Ok((actual, decision)) => {
                self.refuse(None);
                (decision == Decision::Apply).then_some(actual)
            }
            Err(why) => {
                self.refuse(Some((number, why)));
                None
            }
        };
        if let Some(actual) = actual {
            self.begin(&actual, Record::begin).await;
        }
    }

    async fn begin(
        &mut self,
        actual: &Files,
        how: impl FnOnce(&mut Record, &Files, remote_configuration::Baseline),
    ) {
        let mut record = self.record.clone();
        how(&mut record, actual, self.plant.health().baseline());
        self.replace(record);
        self.go_on().await;
    }

    /// Does what the record says is left to do in the folder, and brings it into use.
    async fn go_on(&mut self) {
        while matches!(self.record.work(), Work::Applying(_) | Work::Undoing(_)) {
            self.tell();
            let is_new = matches!(self.record.work(), Work::Applying(_));
            let outcome = match self.write() {
                Ok(()) => self.plant.load().await,
                Err(error) => Err(LoadError::Refused(error.to_string())),
            };
            let mut record = self.record.clone();
            match outcome {
                Ok(()) => record.written(),
                Err(LoadError::Stopping) => return,
                Err(LoadError::Refused(why)) if is_new => record.undo(why),
                Err(LoadError::Refused(why)) => {
                    // The files are tried again; what cannot be loaded is shown by the reload itself.
                    tracing::error!(error = why, "the machine files from before cannot be put back");
                    if self.write().is_err() {
                        return;
                    }
                    record.written();
                }
            }
            if !self.replace(record) {
                return;
            }
        }
        if let (Work::Trial(attempt), None) = (self.record.work(), &self.trial) {
            self.trial = Some(Trial::new(attempt.baseline.clone(), self.window, self.clock.now()));
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let changes = self.record.pending(&self.folder.read()?);
        changes.iter().try_for_each(|change| self.folder.make(change))?;
        self.folder.sync()
    }

    /// Looks at the trial; whether it is over.
    async fn judge(&mut self) -> bool {
        let Some(trial) = &mut self.trial else { return false };
        let Some(verdict) = trial.look(&self.plant.health(), self.clock.now()) else { return false };
        let mut record = self.record.clone();
        match verdict {
            Verdict::Kept => record.keep(),
            Verdict::Failed(reasons) => record.undo(reasons.join("\n")),
        }
        // A record that cannot be written leaves the trial as it is: it is judged again.
        if self.replace(record) {
            self.trial = None;
            self.desk.nudge();
        }
        true
    }

    /// Does what a technician asked for; whether something was.
    async fn obey(&mut self) -> bool {
        let Some(request) = self.book.take_request() else { return false };
        tracing::info!(request = request.name(), "a technician asks for it");
        match request {
            Request::Pull => {
                self.desk.nudge();
                self.consider().await;
            }
            Request::Adopt | Request::Restore => {
                let Ok(actual) = self.folder.read() else { return true };
                let mut record = self.record.clone();
                let taken = match request {
                    Request::Adopt => record.adopt(&actual),
                    Request::Restore | Request::Pull => {
                        record.restore(&actual, self.plant.health().baseline())
                    }
                };
                if taken {
                    self.replace(record);
                    self.go_on().await;
                } else {
                    tracing::warn!(
                        request = request.name(),
                        "there is nothing from the backend that it could be about"
                    );
                }
            }
        }
        true
    }

    fn refuse(&mut self, why: Option<(protocol::ConfigurationVersion, String)>) {
        let mut record = self.record.clone();
        record.refuse(why);
        if record != self.record {
            self.replace(record);
        }
    }

    /// Puts another record in the place of the one before, on the disk first. If that fails nothing has happened.
    fn replace(&mut self, record: Record) -> bool {
        match self.book.save(&record) {
            Ok(()) => self.record = record,
            Err(ref error) => {
                tracing::error!(error = ?error, "what is done with the configuration cannot be noted, and is not done");
                return false;
            }
        }
        true
    }

    /// Says how it stands: to the backend, to the status interface and, once, in the log.
    fn tell(&mut self) {
        let actual = match self.folder.read() {
            Ok(actual) => actual,
            Err(error) => {
                tracing::error!(error = %error, "the machine files cannot be read");
                return;
            }
        };
        let report = Standing::of(&self.record, &actual).report(&actual, crate::version::running());
        let news = (report.state, report.detail.clone());
        if self.said.as_ref() != Some(&news) {
            let (state, version, detail) = (report.state.as_str(), report.version, &report.detail);
            match report.state {
                ConfigurationState::Refused | ConfigurationState::RolledBack => {
                    tracing::error!(state, ?version, detail, "a configuration of the backend is not in use");
                }
                ConfigurationState::Drifted => {
                    tracing::warn!(state, ?version, detail, "machine files were edited at the gateway");
                }
                ConfigurationState::Local
                | ConfigurationState::Current
                | ConfigurationState::Trial
                | ConfigurationState::Adopted => {
                    tracing::info!(state, ?version, "the configuration of this gateway");
                }
            }
            self.said = Some(news);
        }
        self.desk.stands(report.clone());
        let told = Some(Told { newest: self.record.newest(), report });
        self.told.send_if_modified(|before| {
            let is_new = *before != told;
            if is_new {
                *before = told;
            }
            is_new
        });
    }
}

#[cfg(test)]
mod tests;
