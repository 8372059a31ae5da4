//! Commands to the gateway itself: carried out one after the other, each once however often it comes.
//!
//! What changes something is noted on the medium before it is begun ([`PastCommands`]), so that neither a restart nor
//! a power cut makes it happen twice: of what was begun and not ended nobody knows, and the answer says so. What
//! changes nothing (`diagnostics`, `pull_configuration`, `update`) is not noted and is done anew.

use protocol::{CommandOutcome, CommandResult, GatewayCommand, GatewayVerb};
use service_kit::Clock;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio_util::sync::CancellationToken;

use crate::commands::Reply;
use crate::commands::past::{Past, PastCommands};

/// Commands that wait. One takes seconds at most; more than this is no person.
const INBOX_MAX: usize = 16;

/// A command to the gateway on its way.
pub(crate) struct GatewayOrder {
    command: GatewayCommand,
    reply: Reply,
}

/// Where commands to the gateway are handed in.
#[derive(Debug, Clone)]
pub(crate) struct GatewayDesk {
    inbox: mpsc::Sender<GatewayOrder>,
    clock: Clock,
}

impl GatewayDesk {
    /// The desk, and the orders for its [`Steward`].
    pub(crate) fn new(clock: Clock) -> (Self, mpsc::Receiver<GatewayOrder>) {
        let (inbox, orders) = mpsc::channel(INBOX_MAX);
        (Self { inbox, clock }, orders)
    }

    /// Hands a command in, without waiting. `reply` is called exactly once.
    pub(crate) fn give(&self, command: GatewayCommand, reply: Reply) {
        tracing::info!(verb = command.verb.name(), command.id = %command.operation.command,
            actor = command.operation.actor, "a command to this gateway");
        let (order, reason) = match self.inbox.try_send(GatewayOrder { command, reply }) {
            Ok(()) => return,
            Err(TrySendError::Full(order)) => {
                (order, format!("{INBOX_MAX} commands wait for this gateway already"))
            }
            Err(TrySendError::Closed(order)) => (order, "the agent is stopping".to_owned()),
        };
        let outcome = CommandOutcome::Refused { reason };
        (order.reply)(result(&order.command, outcome, self.clock));
    }
}

fn result(command: &GatewayCommand, outcome: CommandOutcome, clock: Clock) -> CommandResult {
    CommandResult {
        command: command.operation.command.clone(),
        outcome,
        repeated: false,
        decided_at: clock.wall(),
        output: String::new(),
    }
}

/// What the commands do.
pub(crate) trait Work: Send + Sync {
    /// Whether this gateway does such a thing at all; why not. Asked before anything is noted.
    fn admits(&self, verb: &GatewayVerb) -> impl Future<Output = Result<(), String>> + Send;

    /// Does it: the output, or why it is not done.
    fn carry_out(&self, command: &GatewayCommand) -> impl Future<Output = Result<String, String>> + Send;

    /// Ends the agent so that it begins again, as soon as the answer to the command is on its way.
    fn restart(&self) -> impl Future<Output = ()> + Send;
}

/// Carries out the commands to the gateway.
pub(crate) struct Steward<W> {
    work: W,
    past: PastCommands,
    clock: Clock,
}

impl<W: Work> Steward<W> {
    pub(crate) fn new(work: W, past: PastCommands, clock: Clock) -> Self {
        Self { work, past, clock }
    }

    /// Goes on until `stop` is cancelled or the gateway is to restart.
    pub(crate) async fn run(mut self, mut orders: mpsc::Receiver<GatewayOrder>, stop: CancellationToken) {
        while let Some(Some(GatewayOrder { command, reply })) = stop.run_until_cancelled(orders.recv()).await
        {
            let answer = self.answer(&command).await;
            let ends = answer.outcome == CommandOutcome::Done && !answer.repeated;
            tracing::info!(verb = command.verb.name(), command.id = %answer.command, outcome = ?answer.outcome,
                repeated = answer.repeated, "a command to this gateway is answered");
            reply(answer);
            if ends && command.verb == GatewayVerb::Restart {
                return self.work.restart().await;
            }
        }
    }

    async fn answer(&mut self, command: &GatewayCommand) -> CommandResult {
        let told = |outcome| result(command, outcome, self.clock);
        if let Some(past) = self.past.find(&command.operation.command) {
            return past.answer(command);
        }
        if self.clock.wall() > command.expires_at {
            return told(CommandOutcome::Expired);
        }
        if let Err(reason) = self.work.admits(&command.verb).await {
            return told(CommandOutcome::Refused { reason });
        }
        let is_noted = changes_something(&command.verb);
        if is_noted && let Err(error) = self.past.add(Past::begun(command, self.clock.wall())).await {
            let reason = format!("nothing was done, because it cannot be noted: {error}");
            return told(CommandOutcome::Refused { reason });
        }
        let (outcome, output) = match self.work.carry_out(command).await {
            Ok(output) => (CommandOutcome::Done, output),
            Err(reason) => (CommandOutcome::Refused { reason }, String::new()),
        };
        let answer = CommandResult { output, ..result(command, outcome, self.clock) };
        if is_noted && let Err(error) = self.past.add(Past::ended(command, &answer)).await {
            tracing::error!(%error, command.id = %answer.command,
                "what became of a command cannot be noted; after a restart nobody knows");
        }
        answer
    }
}

/// Whether doing it twice is not the same as doing it once.
const fn changes_something(verb: &GatewayVerb) -> bool {
    match verb {
        GatewayVerb::WriteTag { .. }
        | GatewayVerb::Rescan { .. }
        | GatewayVerb::Restart
        | GatewayVerb::Resend { .. } => true,
        GatewayVerb::Diagnostics | GatewayVerb::PullConfiguration | GatewayVerb::Update { .. } => false,
    }
}

#[cfg(test)]
mod tests;
