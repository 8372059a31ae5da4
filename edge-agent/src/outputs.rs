//! The outputs of alarms: what each is connected to, and their tasks. Without `[[outputs]]` there is none.
//!
//! Outputs that switch machines run on the drivers' scheduler, beside the polls of the same connection; those
//! that talk to web servers or run programs run on the uplink's.

mod ports;
mod report;

use std::sync::Arc;
use std::time::Duration;

use alarm_output::{Output, OutputPort};
use alarm_output_driver::{Commands, OutputBoard, OutputFeed, OutputTask, STOP_MAX, Webhook};
use anyhow::Result;
use edge_config::{AgentConfig, OutputConfig, OutputTarget};
use service_kit::Clock;
use tls_kit::TlsTime;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::time::built_at;
use ports::{MethodPort, TagPort};
pub(crate) use ports::{OwnConnection, WriteQueues, Writers, writers};
pub(crate) use report::{AlarmOutput, ShownOutput, described};

/// The outputs of a gateway, before their tasks run.
pub(crate) struct Outputs {
    /// Where decisions are left for them.
    pub feed: Arc<OutputFeed>,
    /// How each stands.
    pub shown: Vec<ShownOutput>,
    ready: Vec<Ready>,
}

struct Ready {
    target: OutputTarget,
    output: Output,
    inbox: Arc<alarm_output_driver::Inbox>,
    board: Arc<OutputBoard>,
}

impl Outputs {
    pub(crate) fn new(config: &AgentConfig, clock: Clock) -> Self {
        let mut feed = OutputFeed::default();
        let mut shown = Vec::new();
        let mut ready = |configured: &OutputConfig| {
            let inbox = feed.open(&configured.rule, configured.target.machine());
            let output = Output::new(configured.rule.clone());
            let board = Arc::new(OutputBoard::new(&output, clock.now()));
            let target = described(&config.machines, &configured.target);
            shown.push(ShownOutput { board: Arc::clone(&board), target });
            Ready { target: configured.target.clone(), output, inbox, board }
        };
        let ready = config.outputs.iter().map(&mut ready).collect();
        Self { feed: Arc::new(feed), shown, ready }
    }

    /// Spawns a task for each. They end on `stop`, within [`STOP_MAX`]; the drivers must live until then.
    pub(crate) fn spawn(
        self,
        writers: &Writers,
        (sense, clock, stop): (&Handle, Clock, &CancellationToken),
    ) -> Result<JoinSet<()>> {
        let mut tasks = JoinSet::new();
        for Ready { target, output, inbox, board } in self.ready {
            let id = output.rule().id.clone();
            let is_of_machine = target.machine().is_some();
            let port: Box<dyn OutputPort> = match target {
                OutputTarget::Tag(target) => Box::new(TagPort::new(target, writers)?),
                OutputTarget::Method(target) => Box::new(MethodPort::new(target, writers)?),
                OutputTarget::Webhook(target) => {
                    Box::new(Webhook::new(id, target, TlsTime { clock, floor: built_at() }))
                }
                OutputTarget::Command { on, off, timeout } => Box::new(Commands::new(on, off, timeout)),
            };
            let task = OutputTask { output, port, inbox, board, clock, stop: stop.clone() };
            let task = alarm_output_driver::run(task);
            if is_of_machine {
                tasks.spawn_on(task, sense)
            } else {
                tasks.spawn(task)
            };
        }
        Ok(tasks)
    }
}

/// Waits until all outputs are safe, or their time is over.
pub(crate) async fn join(mut outputs: JoinSet<()>) {
    let all = async {
        while let Some(ended) = outputs.join_next().await {
            if let Err(error) = ended {
                tracing::error!(error = %error, "an output panicked");
            }
        }
    };
    if tokio::time::timeout(STOP_MAX + Duration::from_secs(1), all).await.is_err() {
        tracing::error!("some outputs did not end in time and may not be safe");
    }
}

#[cfg(test)]
mod tests;
