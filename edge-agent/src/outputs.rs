//! The outputs of alarms: what each is connected to, and their tasks. Without `[[outputs]]` there is none.
//!
//! Outputs that switch machines run on the drivers' scheduler, beside the polls of the same connection; those
//! that talk to web servers or run programs run on the uplink's.
//!
//! A reload leaves an output alone that is configured as before, unless its machine is reached in another way or its
//! tags lie elsewhere: then it is made safe by the old way and begins anew by the new one.

mod ports;
mod report;

use std::sync::Arc;
use std::time::Duration;

use alarm_output::{Output, OutputPort};
use alarm_output_driver::{Commands, Inbox, OutputBoard, OutputFeed, OutputTask, STOP_MAX, Webhook};
use anyhow::Result;
use edge_config::{AgentConfig, MachineConfig, OutputConfig, OutputTarget};
use plant_model::MachineId;
use service_kit::Clock;
use tls_kit::TlsTime;
use tokio::runtime::Handle;

use crate::task::{Task, join_all};
use crate::time::built_at;
use ports::{MethodPort, TagPort};
pub(crate) use ports::{Writer, Writers};
pub(crate) use report::{AlarmOutput, ShownOutput, described};

/// The outputs that run.
pub(crate) struct Outputs {
    /// Where decisions are left for them.
    feed: Arc<OutputFeed>,
    sense: Handle,
    clock: Clock,
    running: Vec<Running>,
}

struct Running {
    config: OutputConfig,
    inbox: Arc<Inbox>,
    board: Arc<OutputBoard>,
    task: Task,
}

/// An output whose inbox is open and whose task does not run yet.
struct Ready {
    config: OutputConfig,
    inbox: Arc<Inbox>,
    board: Arc<OutputBoard>,
    output: Output,
    port: Box<dyn OutputPort>,
}

impl Outputs {
    pub(crate) fn new(sense: Handle, clock: Clock) -> Self {
        Self { feed: Arc::default(), sense, clock, running: Vec::new() }
    }

    pub(crate) fn feed(&self) -> Arc<OutputFeed> {
        Arc::clone(&self.feed)
    }

    /// Makes those safe that do not go on as they are, and ends them. `is_moved`: what the output switches on this
    /// machine lies elsewhere now. The drivers must live until then.
    pub(crate) async fn stop_changed(&mut self, config: &AgentConfig, is_moved: impl Fn(&MachineId) -> bool) {
        let stays = |one: &Running| {
            let target = one.config.target.machine();
            config.outputs.iter().any(|o| is_same(o, &one.config)) && !target.is_some_and(&is_moved)
        };
        let (stay, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running).into_iter().partition(stays);
        self.running = stay;
        self.end(go).await;
    }

    /// Starts those that do not run. `tell` says how all alarms stand, before any of them drives anything.
    pub(crate) fn start(
        &mut self,
        config: &AgentConfig,
        writers: &Arc<Writers>,
        tell: impl FnOnce(),
    ) -> Result<()> {
        let new = config.outputs.iter().filter(|o| !self.running.iter().any(|r| is_same(o, &r.config)));
        let ready: Result<Vec<Ready>> = new.map(|one| self.ready(one, writers)).collect();
        tell();
        for one in ready? {
            let running = self.spawn(one);
            self.running.push(running);
        }
        let place = |one: &Running| config.outputs.iter().position(|o| is_same(o, &one.config));
        self.running.sort_by_key(place);
        Ok(())
    }

    fn ready(&self, config: &OutputConfig, writers: &Arc<Writers>) -> Result<Ready> {
        let (rule, writers) = (&config.rule, Arc::clone(writers));
        let port: Box<dyn OutputPort> = match config.target.clone() {
            OutputTarget::Tag(target) => Box::new(TagPort::new(target, writers)?),
            OutputTarget::Method(target) => Box::new(MethodPort::new(target, writers)?),
            OutputTarget::Webhook(target) => {
                let time = TlsTime { clock: self.clock, floor: built_at() };
                Box::new(Webhook::new(rule.id.clone(), target, time))
            }
            OutputTarget::Command { on, off, timeout } => Box::new(Commands::new(on, off, timeout)),
        };
        let output = Output::new(rule.clone());
        let board = Arc::new(OutputBoard::new(&output, self.clock.now()));
        let inbox = self.feed.open(rule, config.target.machine());
        Ok(Ready { config: config.clone(), inbox, board, output, port })
    }

    fn spawn(&self, ready: Ready) -> Running {
        let Ready { config, inbox, board, output, port } = ready;
        let (shown, news, clock) = (Arc::clone(&board), Arc::clone(&inbox), self.clock);
        let run = |stop| {
            alarm_output_driver::run(OutputTask { output, port, inbox: news, board: shown, clock, stop })
        };
        let task = match config.target.machine() {
            Some(_) => Task::spawn(&self.sense, run),
            None => Task::spawn(&Handle::current(), run),
        };
        Running { config, inbox, board, task }
    }

    /// How each stands, in the order of the configuration.
    pub(crate) fn shown(&self, machines: &[MachineConfig]) -> Vec<ShownOutput> {
        let shown = |one: &Running| ShownOutput {
            board: Arc::clone(&one.board),
            target: described(machines, &one.config.target),
        };
        self.running.iter().map(shown).collect()
    }

    /// Makes all safe and ends them. The drivers must live until then.
    pub(crate) async fn stop(&mut self) {
        let all = std::mem::take(&mut self.running);
        self.end(all).await;
    }

    async fn end(&self, outputs: Vec<Running>) {
        outputs.iter().for_each(|one| self.feed.close(&one.inbox));
        let tasks = outputs.into_iter().map(|one| one.task).collect();
        if !join_all(tasks, STOP_MAX + Duration::from_secs(1)).await {
            tracing::error!("some outputs did not end in time and may not be safe");
        }
    }
}

/// Whether two outputs are the same, wherever they are written.
fn is_same(one: &OutputConfig, other: &OutputConfig) -> bool {
    (&one.rule, &one.target) == (&other.rule, &other.target)
}

#[cfg(test)]
mod tests;
