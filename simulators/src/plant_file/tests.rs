use super::*;

#[test]
fn ids_are_short_plain_words() {
    let longest = "a".repeat(63);
    for id in ["m", "cnc-mill-1", "7", longest.as_str()] {
        assert!(is_plain_id(id), "{id}");
    }
    let too_long = "a".repeat(64);
    for id in ["", "-m", "m-", "M", "m_1", "m 1", too_long.as_str()] {
        assert!(!is_plain_id(id), "{id}");
    }
}

#[test]
fn the_example_covers_all_kinds_with_eight_modbus_and_seven_opc_ua_machines() {
    let plant = PlantConfig::example();
    let count = |protocol| plant.machines.iter().filter(|machine| machine.protocol == protocol).count();
    assert_eq!((count(Protocol::ModbusTcp), count(Protocol::Opcua)), (8, 7));
    for kind in Kind::ALL {
        assert!(plant.machines.iter().any(|machine| machine.kind == kind), "no {kind}");
    }
}

#[test]
fn all_mistakes_are_named_at_once_with_line_key_value_and_what_is_allowed() {
    let text = "version = 2\nname = \" \"\nseed = -1\nhost = \"here\"\n\n[[machines]]\nid = \"A\"\n\
                kind = \"mill\"\nprotocol = \"s7\"\nport = 70000\n";
    let errors = PlantConfig::parse(text).unwrap_err();
    let lines: Vec<_> = errors.0.iter().map(|error| error.split(": allowed is ").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "line 1: version = 2",
            "line 2: name = \" \"",
            "line 3: seed = -1",
            "line 4: host = \"here\"",
            "line 7: machines.id = \"A\"",
            "line 8: machines.kind = \"mill\"",
            "line 9: machines.protocol = \"s7\"",
            "line 10: machines.port = 70000",
        ]
    );
    assert!(errors.to_string().contains("cnc-mill, lathe"), "{errors}");
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let text = PlantConfig::example_toml().replace("seed = 42", "seed = 42\nspeed = 3");
    let error = PlantConfig::parse(&text).unwrap_err().to_string();
    assert!(error.contains("speed") && error.contains("line 6"), "{error}");
}

#[test]
fn two_machines_cannot_share_an_id_or_a_port() {
    let machine = "[[machines]]\nid = \"m\"\nkind = \"lathe\"\nprotocol = \"opcua\"\nport = 4840\n";
    let text = format!("version = 1\nname = \"p\"\nseed = 1\n{machine}{machine}");
    let error = PlantConfig::parse(&text).unwrap_err().to_string();
    assert!(
        error.contains("no other machine has") && error.contains("line 13: machines.port = 4840"),
        "{error}"
    );
}

#[test]
fn a_plant_without_machines_is_refused() {
    let error = PlantConfig::parse("version = 1\nname = \"p\"\nseed = 1\n").unwrap_err().to_string();
    assert!(error.contains("allowed are 1 to 200"), "{error}");
}

#[test]
fn an_opc_ua_machine_can_be_protected_and_have_a_bad_certificate() {
    let head = "version = 1\nname = \"p\"\nseed = 1\n[[machines]]\nid = \"m\"\nkind = \"lathe\"\n";
    let options = "[machines.opcua]\nsecurity = { policy = \"aes256_sha256_rsapss\", mode = \"sign\" }\n\
                   certificate = \"expired\"\nextra_nodes = 5\n";
    let plant = PlantConfig::parse(&format!("{head}protocol = \"opcua\"\n{options}")).unwrap();
    let opcua = &plant.machines[0].opcua;
    assert_eq!(opcua.extra_nodes, 5);
    assert_eq!(opcua.certificate, crate::UaCertificate::Expired);
    assert_eq!(opcua.security.as_ref().unwrap().policy, crate::UaPolicy::Aes256Sha256RsaPss);
    let errors = PlantConfig::parse(&format!("{head}protocol = \"modbus-tcp\"\n{options}")).unwrap_err();
    assert!(errors.to_string().contains("only with protocol"), "{errors}");
}

const HEAD: &str = "version = 1\nname = \"p\"\nseed = 1\n";

#[test]
fn a_line_has_units_and_says_what_they_speak() {
    let text = format!(
        "{HEAD}[[lines]]\nid = \"l\"\nprotocol = \"modbus-rtu\"\ndevice = \"pty:/run/x/line0\"\n\
         [[machines]]\nid = \"a\"\nkind = \"lathe\"\nline = \"l\"\n\
         [[machines]]\nid = \"b\"\nkind = \"lathe\"\nline = \"l\"\n\
         modbus = {{ unit_id = 7, max_registers = 60, illegal_registers = [4, 9] }}\n\
         fault = {{ mode = \"busy\" }}\n"
    );
    let plant = PlantConfig::parse(&text).unwrap();
    assert_eq!(plant.lines[0].device, Some(SerialDevice::Pty("/run/x/line0".into())));
    assert_eq!(plant.lines[0].options.baud_rate, Some(19_200));
    let machine = &plant.machines[1];
    assert_eq!((machine.protocol, machine.mode), (Protocol::ModbusRtu, Mode::Exception { exception: 6 }));
    assert_eq!((machine.modbus.unit_id, machine.modbus.max_registers), (7, 60));
    assert_eq!(machine.modbus.illegal_registers, [4, 9].into());
}

#[test]
fn mistakes_of_lines_are_named() {
    let line = "[[lines]]\nid = \"l\"\nprotocol = \"modbus-tcp\"\n";
    let machine = |id: &str, rest: &str| format!("[[machines]]\nid = \"{id}\"\nkind = \"lathe\"\n{rest}\n");
    for (text, hint) in [
        (format!("{line}device = \"/dev/x\"\n{}", machine("a", "line = \"l\"")), "only with protocol"),
        (format!("{line}unit_timeout_ms = -1\n{}", machine("a", "line = \"l\"")), "0 to 60000"),
        (format!("{line}{}", machine("a", "line = \"m\"")), "the id of a block [[lines]]"),
        (format!("{line}{}", machine("a", "line = \"l\"\nport = 5")), "machines.port"),
        (format!("{line}{}", machine("l", "line = \"l\"")), "no other machine or line has"),
        (format!("{line}{}", machine("a", "protocol = \"opcua\"")), "leave the line out"),
        (
            format!("{line}{}{}", machine("a", "line = \"l\""), machine("b", "line = \"l\"")),
            "machine \"b\": machines.modbus.unit_id = 1",
        ),
        (machine("a", "protocol = \"modbus-rtu\""), "or line instead"),
        (machine("a", "protocol = \"opcua\"\nfault = { mode = \"late\" }"), "Modbus only"),
        (machine("a", "protocol = \"modbus-tcp\"\nmodbus = { unit_id = 0 }"), "1 to 247"),
        (machine("a", "protocol = \"opcua\"\nopcua = { limits = { sessions = 0 } }"), "1 and more"),
        (
            "[[lines]]\nid = \"l\"\nprotocol = \"modbus-rtu\"\n".to_owned() + &machine("a", "line = \"l\""),
            "a path, or \"pty:\" and a path",
        ),
    ] {
        let errors = PlantConfig::parse(&format!("{HEAD}{text}")).unwrap_err().to_string();
        assert!(errors.contains(hint), "{text}\n{errors}");
    }
}
