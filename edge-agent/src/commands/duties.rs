//! What the commands to a gateway do. A reason for a refusal is for people.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use delivery::Replay;
use edge_store::StoreClient;
use plant_model::OperatorAction;
use protocol::limits::OUTPUT_BYTES_MAX;
use protocol::{GatewayCommand, GatewayVerb, Sequence, StreamId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::commands::gateway::Work;
use crate::commands::past::bounded;
use crate::commands::writing::{WriteDesk, WriteTag};
use crate::lane::FastLane;
use crate::reload::Reloader;
use crate::tools::diag;
use crate::update::UpdateDesk;

/// How long a restart waits for its own answer to leave: a round trip over a slow link.
const LEAVE: Duration = Duration::from_secs(2);

/// What the status interface shows, as JSON.
pub(crate) type StatusText = Box<dyn Fn() -> String + Send + Sync>;

/// What commands to a gateway work with.
pub(crate) struct Duties {
    /// The folder of the configuration.
    pub config: PathBuf,
    pub status: StatusText,
    pub writes: WriteDesk,
    pub reloader: Arc<Reloader>,
    pub store: StoreClient,
    pub lane: Arc<FastLane>,
    /// Whoever fetches configurations waits for this; `None` if nobody does.
    pub configuration: Option<Arc<Notify>>,
    /// Whoever asks which version of the agent is wanted.
    pub update: Arc<UpdateDesk>,
    /// Cancelled when the agent is to end and begin again.
    pub restart: CancellationToken,
}

impl Work for Duties {
    async fn admits(&self, verb: &GatewayVerb) -> Result<(), String> {
        match verb {
            GatewayVerb::WriteTag { machine, tag, .. } => self.writes.admits(machine, tag).await,
            GatewayVerb::Update { version } => self.update.admits(version.as_str()),
            GatewayVerb::Diagnostics
            | GatewayVerb::Rescan { .. }
            | GatewayVerb::Restart
            | GatewayVerb::Resend { .. } => Ok(()),
            GatewayVerb::PullConfiguration => self.nudged().map(drop),
        }
    }

    async fn carry_out(&self, command: &GatewayCommand) -> Result<String, String> {
        match &command.verb {
            GatewayVerb::WriteTag { machine, tag, value } => {
                let OperatorAction { command: id, actor, comment } = &command.operation;
                let wanted = WriteTag { machine, tag, value, id, actor, comment };
                self.writes.write(wanted).await
            }
            GatewayVerb::Diagnostics => self.diagnostics().await,
            GatewayVerb::Rescan { machine } => {
                let machines = self.reloader.rescan(machine).await?;
                let names: Vec<&str> = machines.iter().map(plant_model::MachineId::as_str).collect();
                Ok(format!("connected to anew, with a new plan of requests: {}", names.join(", ")))
            }
            GatewayVerb::Restart => Ok("the agent ends in order and begins again".to_owned()),
            GatewayVerb::Resend { stream, first, last } => self.resend(*stream, *first, *last).await,
            GatewayVerb::PullConfiguration => {
                self.nudged()?.notify_one();
                Ok("the gateway looks for a configuration now".to_owned())
            }
            GatewayVerb::Update { .. } => {
                self.update.nudge();
                Ok("the gateway looks now which version of the agent is desired".to_owned())
            }
        }
    }

    async fn restart(&self) {
        let gone = async {
            while self.lane.has_results() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // An answer that does not leave is asked for again.
        let _ = tokio::time::timeout(LEAVE, gone).await;
        self.restart.cancel();
    }
}

impl Duties {
    fn nudged(&self) -> Result<&Notify, String> {
        self.configuration.as_deref().ok_or_else(|| {
            "this gateway takes no configuration from the backend: set configuration = true in [remote] of its agent.toml \
             and restart it, or change machines.d/ there"
                .to_owned()
        })
    }

    async fn diagnostics(&self) -> Result<String, String> {
        let (config, status) = (self.config.clone(), (self.status)());
        let text = tokio::task::spawn_blocking(move || diag::summary(&config, status)).await;
        Ok(bounded(text.map_err(|error| error.to_string())?, OUTPUT_BYTES_MAX))
    }

    /// Has acknowledged batches sent again, those that are still held.
    async fn resend(&self, stream: StreamId, first: Sequence, last: Sequence) -> Result<String, String> {
        let (_, acked) = self.store.facts().await.map_err(|error| error.to_string())?;
        let position = StreamId::ALL.iter().position(|id| *id == stream).unwrap_or(0);
        let acked = acked[position];
        let oldest = self.store.ranges().borrow().iter().find(|r| r.stream == stream).map(|r| r.oldest);
        let from = oldest.unwrap_or(first).max(first);
        let through = last.min(acked);
        if from > through {
            let oldest = oldest.map_or_else(|| "-".to_owned(), |oldest| oldest.to_string());
            return Err(format!(
                "nothing of {first} to {last} can be sent again: of the {stream} stream {oldest} is the oldest batch \
                 that is held, and {acked} the last that the backend has"
            ));
        }
        self.lane.push_replay(Replay { stream, first: from, last: through });
        Ok(format!(
            "batches {from} to {through} of the {stream} stream are sent again, those that are still held"
        ))
    }
}
