use std::path::PathBuf;

use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn command(request: AlarmCommand) -> Command {
    Command {
        machine: MachineId::new("press-1").expect("valid"),
        alarm: AlarmId::new("oil_hot").expect("valid"),
        occurrence: Some(7),
        request,
        operation: OperatorAction {
            command: CommandId::new("0b9f4c1e-5d0e-4c55-9d6e-1f1f6a7f3a10").expect("valid"),
            actor: "anna".into(),
            comment: "seen, cooling water is back".into(),
        },
        issued_at: Timestamp::from_micros(1_767_225_600_000_000),
        expires_at: Timestamp::from_micros(1_767_225_660_000_000),
    }
}

fn every_request() -> Vec<AlarmCommand> {
    vec![
        AlarmCommand::Acknowledge,
        AlarmCommand::Reset,
        AlarmCommand::Shelve { duration: Duration::from_secs(3_600) },
        AlarmCommand::Unshelve,
        AlarmCommand::TakeOutOfService { review_at: None },
        AlarmCommand::TakeOutOfService { review_at: Some(Timestamp::from_micros(0)) },
        AlarmCommand::ReturnToService,
    ]
}

fn results() -> Vec<CommandResult> {
    let result = |outcome, repeated| CommandResult {
        command: CommandId::new("c-1").expect("valid"),
        outcome,
        repeated,
        decided_at: Timestamp::from_micros(1_767_225_600_020_000),
        output: String::new(),
    };
    vec![
        result(CommandOutcome::Done, false),
        result(CommandOutcome::Refused { reason: "occurrence 7 is over".into() }, true),
        result(CommandOutcome::Expired, false),
    ]
}

#[test]
fn every_command_and_every_result_comes_back() {
    for request in every_request() {
        let command = command(request);
        assert_eq!(Command::decode(&command.encode()), Ok(command));
    }
    let unseen = Command { occurrence: None, ..command(AlarmCommand::Unshelve) };
    assert_eq!(Command::decode(&unseen.encode()), Ok(unseen));
    for result in results() {
        assert_eq!(CommandResult::decode(&result.encode()), Ok(result));
    }
}

#[test]
fn the_messages_of_the_first_release_stay_readable() {
    let (command, result) = (command(every_request().swap_remove(2)), results().swap_remove(1));
    assert_eq!(Command::decode(&golden("command.bin", &command.encode())), Ok(command));
    assert_eq!(CommandResult::decode(&golden("command-result.bin", &result.encode())), Ok(result));
}

#[test]
fn what_is_not_complete_known_or_within_bounds_is_refused_with_the_field() {
    for (name, bytes) in broken() {
        let stored = golden(&format!("corrupt-command/{name}.bin"), &bytes);
        assert_eq!(stored, bytes, "{name}");
        let error = Command::decode(&stored).expect_err(name);
        assert_eq!(error.reason(), name.split('-').next().expect("named after its reason"), "{error}");
    }
    let unknown = wire::CommandResult { id: "c".into(), outcome: "perhaps".into(), ..Default::default() };
    let error = CommandResult::decode(&container::seal_plain(&unknown)).expect_err("unknown outcome");
    assert!(error.to_string().contains("perhaps"), "{error}");
}

/// A file of the repository; `UPDATE_FIXTURES` makes one that is not there yet.
fn golden(name: &str, fresh: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1").join(name);
    if std::env::var_os("UPDATE_FIXTURES").is_some() && !path.exists() {
        std::fs::write(&path, fresh).expect("written");
    }
    std::fs::read(path).expect("part of the repository")
}

fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let good: wire::Command =
        container::open_plain(&command(AlarmCommand::Acknowledge).encode(), "Command").expect("just made");
    let changed = |change: &dyn Fn(&mut wire::Command)| {
        let mut command = good.clone();
        change(&mut command);
        container::seal_plain(&command)
    };
    let cut = |mut bytes: Vec<u8>| {
        bytes.truncate(20);
        bytes
    };
    vec![
        ("too_short-empty", Vec::new()),
        ("unknown_container-bare", good.encode_to_vec()),
        ("protobuf-cut", cut(changed(&|_| {}))),
        ("id-with_a_blank", changed(&|c| c.id = "a b".into())),
        ("id-no_machine", changed(&|c| c.machine.clear())),
        ("field-no_such_verb", changed(&|c| c.verb = "silence".into())),
        ("field-unseen_occurrence", changed(&|c| c.occurrence = 0)),
        ("field-shelved_for_nothing", changed(&|c| c.verb = "shelve".into())),
        ("field-nobody", changed(&|c| c.actor.clear())),
        ("too_large-actor", changed(&|c| c.actor = "a".repeat(129))),
        ("too_large-comment", changed(&|c| c.comment = "a".repeat(1_025))),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), plain in any::<bool>()) {
        let mut bytes = bytes;
        if plain && let Some(first) = bytes.first_mut() { *first = 0x02; }
        let _ = Command::decode(&bytes);
        let _ = CommandResult::decode(&bytes);
    }
}
