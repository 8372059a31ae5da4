use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use plant_model::{CommandId, MachineId, OperatorAction, Timestamp};
use tokio::sync::oneshot;

use super::*;

/// Counts what is done.
#[derive(Clone, Default)]
struct Hands {
    done: Arc<Mutex<Vec<&'static str>>>,
    restarts: Arc<AtomicUsize>,
}

impl Work for Hands {
    async fn admits(&self, verb: &GatewayVerb) -> Result<(), String> {
        match verb {
            GatewayVerb::Update { .. } => Err("no update program".to_owned()),
            GatewayVerb::WriteTag { .. }
            | GatewayVerb::Diagnostics
            | GatewayVerb::Rescan { .. }
            | GatewayVerb::Restart
            | GatewayVerb::Resend { .. }
            | GatewayVerb::PullConfiguration => Ok(()),
        }
    }

    async fn carry_out(&self, command: &GatewayCommand) -> Result<String, String> {
        self.done.lock().expect("whole").push(command.verb.name());
        match command.verb.machine() {
            Some(machine) if machine.as_str() == "gone" => Err("there is no such machine".to_owned()),
            Some(_) | None => Ok(format!("{} is done", command.verb.name())),
        }
    }

    async fn restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }
}

impl Hands {
    fn done(&self) -> Vec<&'static str> {
        self.done.lock().expect("whole").clone()
    }
}

fn command(id: &str, verb: GatewayVerb) -> GatewayCommand {
    let command = CommandId::new(id).expect("valid");
    let operation = OperatorAction { command, actor: "olga".to_owned(), comment: String::new() };
    GatewayCommand {
        verb,
        operation,
        issued_at: Timestamp::from_micros(0),
        expires_at: Timestamp::from_micros(i64::MAX),
    }
}

fn rescan(machine: &str) -> GatewayVerb {
    GatewayVerb::Rescan { machine: MachineId::new(machine).expect("valid") }
}

/// A steward that begins with what is noted in the folder.
fn steward(folder: &Path, hands: &Hands) -> Steward<Hands> {
    Steward::new(hands.clone(), PastCommands::open(folder), Clock::start())
}

fn refusal(result: &CommandResult) -> &str {
    match &result.outcome {
        CommandOutcome::Refused { reason } => reason,
        CommandOutcome::Done | CommandOutcome::Expired => panic!("refused: {result:?}"),
    }
}

#[tokio::test]
async fn what_changes_something_is_done_once_however_often_it_comes_and_whatever_restarts_meanwhile() {
    let (folder, hands) = (tempfile::tempdir().expect("a folder"), Hands::default());
    let first = steward(folder.path(), &hands).answer(&command("a", rescan("press"))).await;
    assert_eq!((&first.outcome, first.output.as_str()), (&CommandOutcome::Done, "rescan is done"));
    assert!(!first.repeated);
    let refused = steward(folder.path(), &hands).answer(&command("b", rescan("gone"))).await;
    assert_eq!(refusal(&refused), "there is no such machine");
    let mut later = steward(folder.path(), &hands);
    let given_later =
        GatewayCommand { issued_at: Timestamp::from_micros(9), ..command("a", rescan("press")) };
    let again = later.answer(&given_later).await;
    assert_eq!(again, CommandResult { repeated: true, ..first });
    assert_eq!(refusal(&later.answer(&command("b", rescan("gone"))).await), "there is no such machine");
    let other = later.answer(&command("a", GatewayVerb::Restart)).await;
    assert!(refusal(&other).contains("another command's") && !other.repeated, "{other:?}");
    assert_eq!(hands.done(), ["rescan", "rescan"], "each once");
}

#[tokio::test]
async fn what_was_begun_when_the_agent_died_is_not_done_again_and_the_answer_says_that_nobody_knows() {
    let (folder, hands) = (tempfile::tempdir().expect("a folder"), Hands::default());
    let given = command("a", rescan("press"));
    let begun = Past::begun(&given, Timestamp::from_micros(1));
    PastCommands::open(folder.path()).add(begun).await.expect("noted");
    let answer = steward(folder.path(), &hands).answer(&given).await;
    assert!(refusal(&answer).contains("nobody knows") && answer.repeated, "{answer:?}");
    assert!(hands.done().is_empty());
}

#[tokio::test]
async fn what_is_late_or_not_allowed_is_neither_done_nor_noted() {
    let (folder, hands) = (tempfile::tempdir().expect("a folder"), Hands::default());
    let mut steward = steward(folder.path(), &hands);
    let late = GatewayCommand { expires_at: Timestamp::from_micros(5), ..command("a", GatewayVerb::Restart) };
    assert_eq!(steward.answer(&late).await.outcome, CommandOutcome::Expired);
    let version = "1.0".parse().expect("a version");
    let update = steward.answer(&command("b", GatewayVerb::Update { version })).await;
    assert_eq!(refusal(&update), "no update program");
    assert!(hands.done().is_empty() && !folder.path().join("commands.json").exists());
}

#[tokio::test]
async fn what_cannot_be_noted_is_not_done() {
    let hands = Hands::default();
    let nowhere = steward(Path::new("/proc/nowhere"), &hands).answer(&command("a", rescan("press"))).await;
    assert!(refusal(&nowhere).contains("nothing was done"), "{nowhere:?}");
    assert!(hands.done().is_empty());
}

#[tokio::test]
async fn what_changes_nothing_is_done_anew_and_leaves_no_note() {
    let (folder, hands) = (tempfile::tempdir().expect("a folder"), Hands::default());
    let mut steward = steward(folder.path(), &hands);
    for _ in 0..2 {
        let answer = steward.answer(&command("a", GatewayVerb::Diagnostics)).await;
        assert_eq!((answer.repeated, answer.output.as_str()), (false, "diagnostics is done"));
    }
    assert!(!folder.path().join("commands.json").exists());
}

#[tokio::test]
async fn a_restart_that_is_asked_for_twice_happens_once_and_is_answered_first() {
    let (folder, hands) = (tempfile::tempdir().expect("a folder"), Hands::default());
    let (desk, orders) = GatewayDesk::new(Clock::start());
    let give = |desk: &GatewayDesk| {
        let (reply, answer) = oneshot::channel();
        desk.give(command("a", GatewayVerb::Restart), Box::new(move |result| drop(reply.send(result))));
        answer
    };
    let (first, second) = (give(&desk), give(&desk));
    steward(folder.path(), &hands).run(orders, CancellationToken::new()).await;
    assert_eq!(
        first.await.map(|answer| (answer.outcome, answer.repeated)),
        Ok((CommandOutcome::Done, false))
    );
    second.await.expect_err("it died with the agent");
    let (desk, orders) = GatewayDesk::new(Clock::start());
    let again = give(&desk);
    drop(desk);
    steward(folder.path(), &hands).run(orders, CancellationToken::new()).await;
    assert_eq!(again.await.map(|answer| (answer.outcome, answer.repeated)), Ok((CommandOutcome::Done, true)));
    assert_eq!(hands.restarts.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_full_inbox_and_one_without_a_steward_refuse_at_once() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let reply = || -> Reply {
        let told = Arc::clone(&told);
        Box::new(move |result| told.lock().expect("whole").push(refusal(&result).to_owned()))
    };
    let (desk, orders) = GatewayDesk::new(Clock::start());
    for n in 0..=INBOX_MAX {
        desk.give(command(&format!("c{n}"), GatewayVerb::Diagnostics), reply());
    }
    drop(orders);
    desk.give(command("late", GatewayVerb::Diagnostics), reply());
    assert_eq!(
        *told.lock().expect("whole"),
        ["16 commands wait for this gateway already", "the agent is stopping"]
    );
}

#[tokio::test]
async fn the_newest_commands_are_remembered_and_a_file_that_cannot_be_read_is_set_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut past = PastCommands::open(folder.path());
    let given = |n: usize| command(&format!("c{n}"), rescan("press"));
    for n in 0..=256 {
        past.add(Past::begun(&given(n), Timestamp::from_micros(1))).await.expect("noted");
    }
    let past = PastCommands::open(folder.path());
    let knows = |n: usize| past.find(&given(n).operation.command).is_some();
    assert_eq!((knows(0), knows(1), knows(256)), (false, true, true));
    let file = folder.path().join("commands.json");
    std::fs::write(&file, vec![0; 4_096]).expect("as a power cut leaves it");
    assert!(PastCommands::open(folder.path()).find(&given(1).operation.command).is_none());
    assert!(!file.exists() && folder.path().join("commands.damaged").exists());
}
