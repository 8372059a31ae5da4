//! Commands of people on their way to the machine they are for, and what became of them.
//!
//! A machine's commands wait in its own short inbox for the task that keeps its alarms
//! ([`crate::alarms::keep`]); there they are put in order with the machine's samples. Nobody waits here:
//! what finds no room is refused, and the person who gave it is told so.

mod duties;
mod gateway;
mod past;
mod writing;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use plant_model::MachineId;
use protocol::{Command, CommandOutcome, CommandResult};
use service_kit::Clock;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

pub(crate) use duties::Duties;
pub(crate) use gateway::{GatewayDesk, Steward};
pub(crate) use past::PastCommands;
pub(crate) use writing::WriteDesk;

/// Commands that wait for one machine. They are carried out in microseconds; more than this is no person.
const INBOX_MAX: usize = 16;

/// Where the result of a command goes.
pub(crate) type Reply = Box<dyn FnOnce(CommandResult) + Send>;

/// A command on its way.
pub(crate) struct Order {
    pub command: Command,
    pub reply: Reply,
}

/// The way to every machine's alarms.
#[derive(Debug)]
pub(crate) struct CommandDesk {
    inboxes: RwLock<HashMap<MachineId, mpsc::Sender<Order>>>,
    clock: Clock,
    unreadable: AtomicU64,
}

impl CommandDesk {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { inboxes: RwLock::default(), clock, unreadable: AtomicU64::new(0) }
    }

    /// Opens the inbox of a machine.
    pub(crate) fn open(&self, machine: MachineId) -> mpsc::Receiver<Order> {
        let (inbox, orders) = mpsc::channel(INBOX_MAX);
        self.inboxes.write().unwrap_or_else(PoisonError::into_inner).insert(machine, inbox);
        orders
    }

    /// There is no such machine any more.
    pub(crate) fn close(&self, machine: &MachineId) {
        self.inboxes.write().unwrap_or_else(PoisonError::into_inner).remove(machine);
    }

    /// Hands a command to its machine. `reply` is called exactly once, here or by the machine's task.
    pub(crate) fn give(&self, command: Command, reply: Reply) {
        tracing::info!(machine.id = %command.machine, alarm.id = %command.alarm, verb = command.request.name(),
            command.id = %command.operation.command, "a command");
        let inbox =
            self.inboxes.read().unwrap_or_else(PoisonError::into_inner).get(&command.machine).cloned();
        let Some(inbox) = inbox else {
            let reason = format!("this gateway has no machine {}", command.machine);
            return reply(refused(&command, reason, self.clock));
        };
        match inbox.try_send(Order { command, reply }) {
            Ok(()) => {}
            Err(TrySendError::Full(order)) => {
                let reason = format!("{INBOX_MAX} commands wait for {} already", order.command.machine);
                (order.reply)(refused(&order.command, reason, self.clock));
            }
            Err(TrySendError::Closed(order)) => {
                (order.reply)(refused(&order.command, "the agent is stopping".to_owned(), self.clock));
            }
        }
    }

    pub(crate) fn count_unreadable(&self) {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages that were no commands.
    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Relaxed)
    }
}

fn refused(command: &Command, reason: String, clock: Clock) -> CommandResult {
    CommandResult {
        command: command.operation.command.clone(),
        outcome: CommandOutcome::Refused { reason },
        repeated: false,
        decided_at: clock.wall(),
        output: String::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Arc, Mutex};

    use plant_model::{AlarmCommand, AlarmId, CommandId, OperatorAction, Timestamp};

    use super::*;

    pub(crate) fn command(id: &str, request: AlarmCommand, occurrence: Option<u64>) -> Command {
        Command {
            machine: MachineId::new("lathe-1").expect("valid"),
            alarm: AlarmId::new("fast").expect("valid"),
            occurrence,
            request,
            operation: OperatorAction {
                command: CommandId::new(id).expect("valid"),
                actor: "anna".to_owned(),
                comment: "tool is changed".to_owned(),
            },
            issued_at: Timestamp::from_micros(0),
            expires_at: Timestamp::from_micros(i64::MAX),
        }
    }

    /// What was answered, by whoever answered.
    #[derive(Clone, Default)]
    struct Answers(Arc<Mutex<Vec<String>>>);

    impl Answers {
        fn reply(&self) -> Reply {
            let answers = Arc::clone(&self.0);
            Box::new(move |result| {
                let CommandOutcome::Refused { reason } = result.outcome else {
                    panic!("refused: {result:?}")
                };
                answers.lock().expect("whole").push(reason);
            })
        }

        fn all(&self) -> Vec<String> {
            self.0.lock().expect("whole").clone()
        }
    }

    #[test]
    fn a_command_for_a_machine_that_is_not_there_or_stops_is_refused_with_the_reason() {
        let (desk, answers) = (CommandDesk::new(Clock::start()), Answers::default());
        desk.give(command("a", AlarmCommand::Unshelve, None), answers.reply());
        drop(desk.open(MachineId::new("lathe-1").expect("valid")));
        desk.give(command("b", AlarmCommand::Unshelve, None), answers.reply());
        assert_eq!(answers.all(), ["this gateway has no machine lathe-1", "the agent is stopping"]);
    }

    #[test]
    fn a_full_inbox_refuses_and_keeps_the_order_of_what_it_holds() {
        let (desk, answers) = (CommandDesk::new(Clock::start()), Answers::default());
        let mut orders = desk.open(MachineId::new("lathe-1").expect("valid"));
        for n in 0..=INBOX_MAX {
            desk.give(command(&format!("c{n}"), AlarmCommand::Unshelve, None), answers.reply());
        }
        assert_eq!(answers.all(), ["16 commands wait for lathe-1 already"]);
        let first = orders.try_recv().expect("held").command;
        assert_eq!(first.operation.command.as_str(), "c0");
    }
}
