use plant_model::{AlarmCommand, AlarmId};
use proptest::prelude::*;

use super::*;
use crate::CommandResult;

fn operation(id: &str) -> OperatorAction {
    let command = CommandId::new(id).expect("valid");
    OperatorAction { command, actor: "anna".into(), comment: "after the repair".into() }
}

fn command(verb: GatewayVerb) -> GatewayCommand {
    GatewayCommand {
        verb,
        operation: operation("c-1"),
        issued_at: Timestamp::from_micros(1_767_225_600_000_000),
        expires_at: Timestamp::from_micros(1_767_225_660_000_000),
    }
}

fn machine() -> impl Strategy<Value = MachineId> {
    "[a-z][a-z0-9-]{0,20}[a-z0-9]".prop_map(|id| MachineId::new(&id).expect("valid"))
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Value::Float),
        "\\PC{0,100}".prop_map(|text| Value::Text(text.into())),
    ]
}

fn verb() -> impl Strategy<Value = GatewayVerb> {
    let tag = "[a-z][a-z0-9_]{0,20}".prop_map(|id| TagId::new(&id).expect("valid"));
    let range = (1..u64::MAX / 2, 0..u64::MAX / 2);
    let version = "[A-Za-z0-9][A-Za-z0-9.+~-]{0,63}".prop_map(|v| AgentVersion::new(&v).expect("valid"));
    prop_oneof![
        (machine(), tag, value()).prop_map(|(machine, tag, value)| GatewayVerb::WriteTag {
            machine,
            tag,
            value
        }),
        Just(GatewayVerb::Diagnostics),
        machine().prop_map(|machine| GatewayVerb::Rescan { machine }),
        Just(GatewayVerb::Restart),
        (prop::sample::select(StreamId::ALL.to_vec()), range).prop_map(|(stream, (first, more))| {
            let (first, last) = (Sequence::from_u64(first), Sequence::from_u64(first + more));
            GatewayVerb::Resend { stream, first, last }
        }),
        Just(GatewayVerb::PullConfiguration),
        version.prop_map(|version| GatewayVerb::Update { version }),
    ]
}

proptest! {
    #[test]
    fn every_command_to_a_gateway_comes_back_and_no_alarm_command_is_taken_for_one(verb in verb(), at in any::<i64>()) {
        let given = GatewayCommand { issued_at: Timestamp::from_micros(at), ..command(verb) };
        let bytes = given.encode();
        prop_assert!(Command::decode(&bytes).is_err(), "as an agent of the first release reads it");
        prop_assert_eq!(Instruction::decode(&bytes), Ok(Instruction::Gateway(given.clone())));
        prop_assert_eq!(Instruction::id_of(&bytes), Some(given.operation.command.clone()));
        let later = GatewayCommand { operation: operation("c-2"), ..command(given.verb.clone()) };
        prop_assert_eq!(later.fingerprint(), given.fingerprint());
    }

    #[test]
    fn another_request_has_another_fingerprint(one in verb(), other in verb()) {
        prop_assert_eq!(one == other, command(one).fingerprint() == command(other).fingerprint());
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
        bytes[0] = 0x02;
        let _ = (Instruction::decode(&bytes), Instruction::id_of(&bytes), CommandResult::decode(&bytes));
    }
}

#[test]
fn a_command_to_an_alarm_is_an_instruction_too() {
    let alarm = Command {
        machine: MachineId::new("press-1").expect("valid"),
        alarm: AlarmId::new("hot").expect("valid"),
        occurrence: None,
        request: AlarmCommand::Unshelve,
        operation: operation("c-1"),
        issued_at: Timestamp::from_micros(1),
        expires_at: Timestamp::from_micros(2),
    };
    let later = Command { issued_at: Timestamp::from_micros(5), ..alarm.clone() };
    assert_eq!(Instruction::decode(&alarm.encode()), Ok(alarm.clone().into()));
    assert!(Instruction::from(alarm.clone()).is_same(&later.into()));
    assert!(!Instruction::from(alarm).is_same(&command(GatewayVerb::Restart).into()));
}

#[test]
fn what_a_verb_needs_and_does_not_have_is_named_and_the_id_is_known_all_the_same() {
    let lathe = MachineId::new("lathe").expect("valid");
    let tag = TagId::new("speed").expect("valid");
    let write = GatewayVerb::WriteTag { machine: lathe, tag, value: Value::Int(1) }.to_wire();
    let of = |verb: &str| wire::Command { verb: verb.into(), ..wire::Command::default() };
    let range = |first, last| wire::Command { stream: 2, first, last, ..of("resend") };
    for (wrong, named) in [
        (wire::Command { int_value: None, ..write.clone() }, "exactly one value"),
        (wire::Command { bool_value: Some(true), ..write.clone() }, "exactly one value"),
        (wire::Command { int_value: None, float_value: Some(f64::NAN), ..write.clone() }, "NaN"),
        (
            wire::Command { int_value: None, text_value: Some("x".repeat(1_025)), ..write },
            "text_value has 1025",
        ),
        (range(0, 1), "0 to 1 are no range"),
        (range(3, 2), "3 to 2 are no range"),
        (wire::Command { stream: 9, ..range(1, 2) }, "9"),
        (of("rescan"), "machine"),
        (wire::Command { version: "../1".into(), ..of("update") }, "version"),
        (of("format_disk"), "format_disk"),
        (wire::Command { actor: String::new(), ..of("restart") }, "actor"),
    ] {
        let has_actor = wrong.verb != "restart";
        let actor = if has_actor { "anna".to_owned() } else { String::new() };
        let bytes = container::seal_plain(&wire::Command { id: "c-7".into(), actor, ..wrong });
        let error = Instruction::decode(&bytes).expect_err(named).to_string();
        assert!(error.contains(named), "{named}: {error}");
        assert_eq!(Instruction::id_of(&bytes).map(|id| id.to_string()), Some("c-7".to_owned()));
    }
}

#[test]
fn an_output_is_bounded() {
    let result = |bytes: usize| CommandResult {
        command: CommandId::new("c").expect("valid"),
        outcome: crate::CommandOutcome::Done,
        repeated: false,
        decided_at: Timestamp::from_micros(0),
        output: "x".repeat(bytes),
    };
    let longest = result(crate::limits::OUTPUT_BYTES_MAX);
    assert_eq!(CommandResult::decode(&longest.encode()), Ok(longest));
    let error = CommandResult::decode(&result(crate::limits::OUTPUT_BYTES_MAX + 1).encode());
    assert_eq!(error.expect_err("too long").reason(), "too_large");
}
