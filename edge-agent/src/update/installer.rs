//! `edge-agent update install`: installs a version that the agent asked for, sees whether it does well, and brings the
//! version before back if it does not. It is run by root, which the agent is not, and trusts nothing that the agent can
//! write: of the request one plain word goes to the package tool, as an argument.
//!
//! The folder of the result file is root's. In it lie the journal, replaced before each step; `installer`, a copy of the
//! program that began, with which the host goes on after a power cut even if the version that is installed by then does
//! not start; and `lock`.

mod book;
mod commands;
mod look;

use std::time::Duration;

use agent_update::{Journal, Look, Patience, Phase, Request, Step, Verdict, Watch};
use anyhow::{Context as _, Result, bail};
use protocol::AgentVersion;
use remote_configuration::Baseline;
use service_kit::Clock;

use crate::cli::UpdateInstallArguments;
use crate::tools::Found;
use book::Book;
pub(crate) use commands::Commands;
use look::Agent;

/// How often the agent is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often the version before is tried to be brought back: other package tools may be at work.
const RESTORES_MAX: u32 = 3;
/// Between two of these.
const RESTORE_PAUSE: Duration = Duration::from_secs(10);

/// Does what is asked for, or goes on with what was interrupted.
pub(crate) fn run(arguments: &UpdateInstallArguments) -> Result<Found> {
    let book = Book::open(arguments)?;
    let agent = Agent::new(arguments)?;
    let (commands, clock) = (arguments.commands.clone(), Clock::start());
    let patience = Patience {
        answer: Duration::from_secs(arguments.answer_s),
        window: Duration::from_secs(arguments.window_s),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let installer = Installer { book, agent, commands, patience, clock };
    runtime.context("cannot start a scheduler")?.block_on(installer.run())
}

struct Installer {
    book: Book,
    agent: Agent,
    commands: Commands,
    patience: Patience,
    clock: Clock,
}

impl Installer {
    async fn run(&self) -> Result<Found> {
        let mut journal = match self.book.journal()? {
            Some(mut journal) if journal.step().is_some() => {
                journal.started(Clock::system());
                self.book.save(&journal)?;
                journal
            }
            last => match self.take(last.as_ref()).await? {
                Some(journal) => journal,
                None => {
                    // It may have been killed after its last step.
                    self.book.forget_copy()?;
                    return Ok(Found::Something);
                }
            },
        };
        self.book.clear_request(&journal)?;
        while let Some(step) = journal.step() {
            let (version, phase) = (&journal.request.version, journal.phase().as_str());
            tracing::info!(%version, former = %journal.former, phase, "an update of the agent");
            self.take_step(step, &mut journal).await;
            self.book.save(&journal)?;
        }
        self.book.forget_copy()?;
        let (version, detail) = (&journal.request.version, journal.detail());
        if journal.phase() == Phase::Done {
            tracing::info!(%version, "the agent is updated");
            return Ok(Found::Something);
        }
        tracing::error!(%version, phase = journal.phase().as_str(), detail, "the agent is not updated");
        Ok(Found::Nothing)
    }

    /// Takes the request, if one waits that was not tried already.
    async fn take(&self, last: Option<&Journal>) -> Result<Option<Journal>> {
        let Some(request) = self.book.request()? else {
            tracing::info!("no update is asked for");
            return Ok(None);
        };
        if let Some(last) = last.filter(|last| last.request.desired() == request.desired()) {
            tracing::info!(version = %request.version, "this was tried already");
            self.book.clear_request(last)?;
            return Ok(None);
        }
        if let Err(error) = request.check_time(Clock::system()) {
            self.book.drop_request()?;
            return Err(error).context("nothing is installed");
        }
        let journal = self.begin(request).await?;
        self.book.keep_copy()?;
        self.book.save(&journal)?;
        Ok(Some(journal))
    }

    /// What runs now, and how it does, is what a new version is held against.
    async fn begin(&self, request: Request) -> Result<Journal> {
        let until = self.clock.now().plus(self.patience.answer);
        let why = loop {
            match self.agent.look().await {
                Look::Answer { version, health, .. } if version == request.running.as_str() => {
                    let former = request.running.clone();
                    return Ok(Journal::new(request, former, health.baseline(), Clock::system()));
                }
                Look::Answer { version, .. } => {
                    break format!("version {version} runs, not {}", request.running);
                }
                Look::Silent(why) if self.clock.now() >= until => break why,
                Look::Silent(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        self.book.drop_request()?;
        bail!("nothing is installed, because it could not be told whether it does well: {why}");
    }

    async fn take_step(&self, step: Step, journal: &mut Journal) {
        let (version, former) = (journal.request.version.clone(), journal.former.clone());
        let now = Clock::system;
        match step {
            Step::Fetch => journal.acted(self.fetch(&version, &former).await, now()),
            Step::Install => journal.acted(self.commands.install(&version).await, now()),
            Step::Restore => journal.acted(self.restore(&former).await, now()),
            Step::Watch => journal.judged(self.watch(version, journal.baseline.clone()).await, now()),
            Step::WatchFormer => journal.judged(self.watch(former, journal.baseline.clone()).await, now()),
        }
    }

    /// The way back first: without it nothing is begun.
    async fn fetch(&self, version: &AgentVersion, former: &AgentVersion) -> Result<(), String> {
        self.commands.refresh().await;
        let no_way_back =
            |why| format!("nothing was changed, because {former} could not be brought back: {why}");
        self.commands.fetch(former).await.map_err(no_way_back)?;
        self.commands.fetch(version).await.map_err(|why| format!("nothing was changed: {why}"))
    }

    async fn restore(&self, former: &AgentVersion) -> Result<(), String> {
        let mut tries = 1;
        loop {
            match self.commands.install(former).await {
                Err(why) if tries < RESTORES_MAX => {
                    tracing::error!(version = %former, why, tries, "the version before is not back yet");
                    tries += 1;
                    tokio::time::sleep(RESTORE_PAUSE).await;
                }
                ended => return ended,
            }
        }
    }

    async fn watch(&self, version: AgentVersion, baseline: Baseline) -> Verdict {
        let mut watch = Watch::new(version, baseline, self.patience, self.clock.now());
        loop {
            let look = self.agent.look().await;
            if let Some(verdict) = watch.look(look, self.clock.now()) {
                return verdict;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
