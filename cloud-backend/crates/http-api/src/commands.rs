//! Commands on their way to a gateway, to its alarms or to itself, and what became of them.
//!
//! A command is handed to the gateway's connection at once or not at all: for a gateway that is not connected
//! nothing is kept, and the caller is told that nothing has changed. What was handed over is remembered here,
//! in memory, under its id; the gateway does an id once, so asking again is safe at any time, also after a
//! restart of the backend, which forgets what is here.
//!
//! Invariants
//! - An id stands for one command of its tenant: another one under the same id is refused.
//! - A result counts only if it comes from the gateway that the command was for.
//! - At most [`REMEMBERED_MAX`] commands of a tenant are remembered; the oldest are forgotten first.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plant_model::{CommandId, GatewayId, OperatorAction, TenantId, Timestamp};
use protocol::{CommandOutcome, CommandResult, GatewayCommand, GatewayVerb, Instruction};
use tokio::sync::watch;

/// Commands remembered for one tenant: more than its people give in a day.
const REMEMBERED_MAX: usize = 1_000;

/// How long a caller waits for the gateway's answer. It takes a round trip and some microseconds.
const ANSWER: Duration = Duration::from_secs(5);

/// Why a command did not leave. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendError {
    /// The gateway is not connected, or does not take commands.
    Offline,
    /// Too much waits to be sent to it.
    Busy,
}

/// The way to the gateways.
pub trait CommandLine: Send + Sync {
    /// Hands a command to the gateway's connection, without waiting.
    ///
    /// # Errors
    /// It is not on its way.
    fn send(&self, tenant: &TenantId, gateway: &GatewayId, command: &Instruction) -> Result<(), SendError>;
}

/// Why a command is not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GiveError {
    /// The id belongs to another command.
    IdUsed,
    /// It did not leave.
    Send(SendError),
}

/// A command and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) gateway: GatewayId,
    pub(crate) command: Instruction,
    /// `None` while the gateway has not answered.
    pub(crate) result: Option<CommandResult>,
}

/// Where the answer to a command comes.
type Answer = watch::Receiver<Option<CommandResult>>;

#[derive(Debug)]
struct Entry {
    gateway: GatewayId,
    command: Instruction,
    result: watch::Sender<Option<CommandResult>>,
}

#[derive(Debug, Default)]
struct Book {
    entries: HashMap<CommandId, Entry>,
    /// From the oldest to the newest.
    order: VecDeque<CommandId>,
}

/// The commands of all tenants. Cheap to clone; clones share it.
#[derive(Clone)]
pub struct Commands {
    line: Arc<dyn CommandLine>,
    books: Arc<Mutex<HashMap<TenantId, Book>>>,
}

impl Commands {
    /// No command yet.
    #[must_use]
    pub fn new(line: Arc<dyn CommandLine>) -> Self {
        Self { line, books: Arc::default() }
    }

    /// A gateway answered. Says whether it was asked: an answer to what is forgotten is none.
    pub fn answered(&self, tenant: &TenantId, gateway: &GatewayId, result: CommandResult) -> bool {
        let books = self.lock();
        let entry = books.get(tenant).and_then(|book| book.entries.get(&result.command));
        let Some(entry) = entry.filter(|entry| entry.gateway == *gateway) else { return false };
        let outcome = outcome_name(Some(&result.outcome));
        audit(tenant, gateway, &entry.command, outcome, "command answered");
        entry.result.send_replace(Some(result));
        true
    }

    /// Gives a command and waits a moment for the answer. The same command again, under its id, is answered
    /// from memory, or given again while there is no answer.
    pub(crate) async fn give(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        command: impl Into<Instruction>,
    ) -> Result<Given, GiveError> {
        let (command, mut answer) = self.hand_over(tenant, gateway, command.into())?;
        let result = match tokio::time::timeout(ANSWER, answer.wait_for(Option::is_some)).await {
            Ok(Ok(result)) => result.clone(),
            // It took too long, or the entry is forgotten: the caller may ask again.
            Ok(Err(_)) | Err(_) => None,
        };
        Ok(Given { gateway: gateway.clone(), command, result })
    }

    /// The command as it was given first, and where its answer comes.
    fn hand_over(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        command: Instruction,
    ) -> Result<(Instruction, Answer), GiveError> {
        let mut books = self.lock();
        let book = books.entry(tenant.clone()).or_default();
        if let Some(known) = book.entries.get(&command.operation().command) {
            if known.gateway != *gateway || !known.command.is_same(&command) {
                return Err(GiveError::IdUsed);
            }
            if known.result.borrow().is_none() {
                // Whether the first one arrived is not known; if this one cannot leave, it still is not.
                let _ = self.line.send(tenant, gateway, &command);
            }
            return Ok((known.command.clone(), known.result.subscribe()));
        }
        self.line.send(tenant, gateway, &command).map_err(GiveError::Send)?;
        let answer = book.remember(gateway, &command);
        Ok((command, answer))
    }

    /// Has a gateway look at once for what is desired of it, which is what the verb is about. Nothing is remembered and
    /// nobody waits: it looks by itself anyway.
    ///
    /// # Errors
    /// The gateway is not connected, or too busy.
    pub fn nudge(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        verb: GatewayVerb,
        now: Timestamp,
    ) -> Result<(), SendError> {
        let id = format!("nudge-{}", now.micros().unsigned_abs());
        let command = CommandId::new(&id).expect("letters, a hyphen and digits");
        let operation = OperatorAction { command, actor: "backend".to_owned(), comment: String::new() };
        let command = GatewayCommand { verb, operation, issued_at: now, expires_at: expiry(now) };
        self.line.send(tenant, gateway, &command.into())
    }

    /// What is known of a command.
    pub(crate) fn find(&self, tenant: &TenantId, id: &CommandId) -> Option<Given> {
        let books = self.lock();
        let entry = books.get(tenant)?.entries.get(id)?;
        let (gateway, command) = (entry.gateway.clone(), entry.command.clone());
        Some(Given { gateway, command, result: entry.result.borrow().clone() })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Book>> {
        // Every change is one map operation: a panic elsewhere leaves the maps whole.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn remember(&mut self, gateway: &GatewayId, command: &Instruction) -> Answer {
        if self.order.len() == REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
        let (result, answer) = watch::channel(None);
        let id = command.operation().command.clone();
        self.order.push_back(id.clone());
        self.entries.insert(id, Entry { gateway: gateway.clone(), command: command.clone(), result });
        answer
    }
}

/// Who did what to what, and how it ended: a line of the audit log.
pub(crate) fn audit(
    tenant: &TenantId,
    gateway: &GatewayId,
    command: &Instruction,
    outcome: &str,
    what: &'static str,
) {
    let alarm = match command {
        Instruction::Alarm(command) => Some(command.alarm.as_str()),
        Instruction::Gateway(_) => None,
    };
    let operation = command.operation();
    tracing::info!(
        target: "audit",
        {
            tenant.id = %tenant, gateway.id = %gateway, machine.id = command.machine().map(|id| id.as_str()),
            alarm.id = alarm, command.id = %operation.command, action = command.verb(), subject = subject(command),
            actor = operation.actor, outcome
        },
        "{what}"
    );
}

/// What a command is about, beside machine and alarm.
fn subject(command: &Instruction) -> Option<String> {
    let Instruction::Gateway(GatewayCommand { verb, .. }) = command else { return None };
    match verb {
        GatewayVerb::WriteTag { tag, value, .. } => Some(format!("{tag} = {value}")),
        GatewayVerb::Resend { stream, first, last } => Some(format!("{stream} {first} to {last}")),
        GatewayVerb::Update { version } => Some(version.to_string()),
        GatewayVerb::Diagnostics
        | GatewayVerb::Rescan { .. }
        | GatewayVerb::Restart
        | GatewayVerb::PullConfiguration => None,
    }
}

/// The word for an outcome in the API and the audit log.
pub(crate) const fn outcome_name(outcome: Option<&CommandOutcome>) -> &'static str {
    match outcome {
        None => "waiting",
        Some(CommandOutcome::Done) => "done",
        Some(CommandOutcome::Refused { .. }) => "refused",
        Some(CommandOutcome::Expired) => "expired",
    }
}

/// When a command given at `issued_at` is not to be carried out any more. Commands are not kept, so this
/// is about a gateway whose clock is wrong, and leaves it a minute.
pub(crate) fn expiry(issued_at: Timestamp) -> Timestamp {
    issued_at.plus(Duration::from_secs(60))
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
