use std::sync::atomic::{AtomicUsize, Ordering};

use plant_model::{AlarmCommand, AlarmId, MachineId};
use protocol::Command;

use super::*;

/// Counts what leaves, and lets it leave or not.
struct Line {
    answer: Mutex<Result<(), SendError>>,
    sent: AtomicUsize,
}

impl CommandLine for Line {
    fn send(&self, _: &TenantId, _: &GatewayId, _: &Instruction) -> Result<(), SendError> {
        let answer = *self.answer.lock().expect("whole");
        if answer.is_ok() {
            self.sent.fetch_add(1, Ordering::Relaxed);
        }
        answer
    }
}

fn commands(answer: Result<(), SendError>) -> (Commands, Arc<Line>) {
    let line = Arc::new(Line { answer: Mutex::new(answer), sent: AtomicUsize::new(0) });
    (Commands::new(line.clone()), line)
}

fn tenant() -> TenantId {
    TenantId::new("acme").expect("valid")
}

fn gateway(id: &str) -> GatewayId {
    GatewayId::new(id).expect("valid")
}

fn command(id: &str) -> Command {
    Command {
        machine: MachineId::new("press-1").expect("valid"),
        alarm: AlarmId::new("hot").expect("valid"),
        occurrence: Some(1),
        request: AlarmCommand::Acknowledge,
        operation: OperatorAction {
            command: CommandId::new(id).expect("valid"),
            actor: "anna".into(),
            comment: String::new(),
        },
        issued_at: Timestamp::from_micros(0),
        expires_at: Timestamp::from_micros(1),
    }
}

fn done(id: &str) -> CommandResult {
    CommandResult {
        command: CommandId::new(id).expect("valid"),
        outcome: CommandOutcome::Done,
        repeated: false,
        decided_at: Timestamp::from_micros(5),
        output: String::new(),
    }
}

#[tokio::test]
async fn a_caller_gets_the_answer_as_soon_as_it_comes() {
    let (commands, line) = commands(Ok(()));
    let (tenant, gw) = (tenant(), gateway("gw-1"));
    let answering = async {
        assert!(!commands.answered(&tenant, &gateway("gw-2"), done("a")), "another gateway was not asked");
        assert!(!commands.answered(&tenant, &gw, done("b")), "another command was not given");
        assert!(commands.answered(&tenant, &gw, done("a")));
    };
    let (given, ()) = tokio::join!(commands.give(&tenant, &gw, command("a")), answering);
    assert_eq!(given.expect("given").result, Some(done("a")));
    let later = Command { issued_at: Timestamp::from_micros(9), ..command("a") };
    let again = commands.give(&tenant, &gw, later).await.expect("known");
    assert_eq!(again.command.issued_at(), Timestamp::from_micros(0), "as it was given first");
    assert_eq!((again.result, line.sent.load(Ordering::Relaxed)), (Some(done("a")), 1), "from memory");
}

#[tokio::test]
async fn without_an_answer_the_command_stays_known_and_is_given_again_when_asked_again() {
    let (commands, line) = commands(Ok(()));
    let (tenant, gw) = (tenant(), gateway("gw-1"));
    let ask = || commands.hand_over(&tenant, &gw, command("a").into()).map(|(_, answer)| answer);
    let first = ask().expect("given");
    assert_eq!(*first.borrow(), None);
    *line.answer.lock().expect("whole") = Err(SendError::Offline);
    let again = ask().expect("nobody knows whether the first arrived");
    assert_eq!((again.borrow().clone(), line.sent.load(Ordering::Relaxed)), (None, 1));
    *line.answer.lock().expect("whole") = Ok(());
    let third = ask().expect("given again");
    assert!(commands.answered(&tenant, &gw, done("a")));
    assert_eq!((third.borrow().clone(), line.sent.load(Ordering::Relaxed)), (Some(done("a")), 2));
    assert_eq!(*first.borrow(), Some(done("a")), "everyone who waits is told");
    let found = commands.find(&tenant, &CommandId::new("a").expect("valid")).expect("known");
    assert_eq!(found.result, Some(done("a")));
}

#[tokio::test]
async fn what_cannot_leave_is_not_remembered() {
    for error in [SendError::Offline, SendError::Busy] {
        let (commands, _) = commands(Err(error));
        let given = commands.give(&tenant(), &gateway("gw-1"), command("a")).await;
        assert_eq!(given.expect_err("not given"), GiveError::Send(error));
        assert!(commands.find(&tenant(), &CommandId::new("a").expect("valid")).is_none());
    }
}

#[test]
fn an_id_stands_for_one_command_of_one_tenant() {
    let (commands, _) = commands(Ok(()));
    commands.hand_over(&tenant(), &gateway("gw-1"), command("a").into()).expect("given");
    let other = Command { request: AlarmCommand::Reset, ..command("a") };
    let mut by_another = command("a");
    by_another.operation.actor = "gus".into();
    for (gw, command) in [("gw-1", other), ("gw-1", by_another), ("gw-2", command("a"))] {
        let refused = commands.hand_over(&tenant(), &gateway(gw), command.into());
        assert_eq!(refused.expect_err("the id is used"), GiveError::IdUsed);
    }
    let globex = TenantId::new("globex").expect("valid");
    commands.hand_over(&globex, &gateway("gw-1"), command("a").into()).expect("another tenant's id");
}

#[test]
fn the_oldest_commands_are_forgotten_first() {
    let (commands, _) = commands(Ok(()));
    let id = |n: usize| CommandId::new(&format!("c{n}")).expect("valid");
    for n in 0..=REMEMBERED_MAX {
        commands.hand_over(&tenant(), &gateway("gw-1"), command(id(n).as_str()).into()).expect("given");
    }
    assert!(commands.find(&tenant(), &id(0)).is_none());
    assert!(
        commands.find(&tenant(), &id(1)).is_some() && commands.find(&tenant(), &id(REMEMBERED_MAX)).is_some()
    );
}

#[test]
fn a_nudge_leaves_at_once_and_is_not_remembered() {
    let (commands, line) = commands(Ok(()));
    let now = Timestamp::from_micros(7);
    let nudge = || commands.nudge(&tenant(), &gateway("gw-1"), GatewayVerb::PullConfiguration, now);
    assert_eq!(nudge(), Ok(()));
    assert_eq!(line.sent.load(Ordering::Relaxed), 1);
    assert!(commands.find(&tenant(), &CommandId::new("nudge-7").expect("valid")).is_none());
    *line.answer.lock().expect("whole") = Err(SendError::Offline);
    assert_eq!(nudge(), Err(SendError::Offline));
}
