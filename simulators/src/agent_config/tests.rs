use super::*;

fn file_of(id: &str, kind: Kind, protocol: Protocol) -> toml::Table {
    let machine = MachineConfig::new(id, kind, protocol);
    let plant = PlantConfig { machines: vec![machine], ..PlantConfig::example() };
    let file = machine_file(&plant, &plant.machines[0], &running(&plant.machines[0]), Path::new("/own"));
    file.unwrap().parse().unwrap()
}

fn running(machine: &MachineConfig) -> MachineState {
    MachineState {
        id: machine.id.clone(),
        kind: machine.kind.slug().into(),
        protocol: machine.protocol.slug().into(),
        address: Some("127.0.0.1:5020".parse().unwrap()),
        endpoint: "opc.tcp://127.0.0.1:5020".into(),
        certificate: None,
    }
}

fn tag<'a>(file: &'a toml::Table, id: &str) -> &'a toml::Table {
    let tags = file["tags"].as_array().unwrap();
    tags.iter().map(|tag| tag.as_table().unwrap()).find(|tag| tag["id"].as_str() == Some(id)).unwrap()
}

#[test]
fn a_modbus_machine_file_names_registers_formats_and_scales() {
    let file = file_of("lathe-1", Kind::Lathe, Protocol::ModbusTcp);
    assert_eq!(file["name"].as_str(), Some("Lathe 1"));
    assert_eq!(file["modbus_tcp"]["port"].as_integer(), Some(5020));
    let temperature = tag(&file, "spindle_temperature");
    assert_eq!(temperature["holding_register"].as_integer(), Some(0));
    assert_eq!(temperature["poll_interval_ms"].as_integer(), Some(200));
    assert_eq!(temperature["scale"].as_float(), Some(0.1));
    let torque = tag(&file, "spindle_torque");
    assert_eq!((torque["format"].as_str(), torque["word_order"].as_str()), (Some("f32"), Some("cdab")));
    assert_eq!(tag(&file, "chuck_clamped")["bit"].as_integer(), Some(1));
    assert_eq!(tag(&file, "program")["registers"].as_integer(), Some(8));
    assert!(!file.contains_key("opcua"));
}

#[test]
fn an_opc_ua_machine_file_names_nodes_and_no_registers() {
    let file = file_of("robot-cell-1", Kind::RobotCell, Protocol::Opcua);
    assert_eq!(file["opcua"]["endpoint"].as_str(), Some("opc.tcp://127.0.0.1:5020"));
    let state = tag(&file, "state");
    assert_eq!(state["node_id"].as_str(), Some("nsu=urn:machine-simulator:robot-cell;s=state"));
    assert_eq!((state["role"].as_str(), state["data_type"].as_str()), (Some("state"), Some("int")));
    assert!(!state.contains_key("holding_register") && !file.contains_key("modbus_tcp"));
}

#[test]
fn every_machine_file_has_twenty_tags_and_two_alarms() {
    for kind in Kind::ALL {
        for protocol in [Protocol::ModbusTcp, Protocol::ModbusRtuOverTcp, Protocol::Opcua] {
            let file = file_of("m-1", kind, protocol);
            assert_eq!(file["tags"].as_array().unwrap().len(), 20, "{kind} {protocol}");
            assert_eq!(file["alarms"].as_array().unwrap().len(), 2, "{kind} {protocol}");
        }
    }
}

#[test]
fn a_machine_without_an_address_is_named() {
    let plant = PlantConfig::example();
    let state = StateFile {
        version: 1,
        pid: 1,
        plant: "other".into(),
        seed: 1,
        started_at_us: 0,
        control: "127.0.0.1:1".parse().unwrap(),
        machines: Vec::new(),
    };
    let dir = tempfile::tempdir().unwrap();
    let error = write_machine_files(&plant, &state, dir.path()).unwrap_err().to_string();
    assert!(error.contains("cnc-mill-1"), "{error}");
}

fn plant(blocks: &str) -> PlantConfig {
    let text = format!("version = 1\nname = \"p\"\nseed = 1\n{blocks}");
    PlantConfig::parse(&text).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn units_of_a_line_name_device_rate_and_their_limits() {
    let plant = plant(
        "[[lines]]\nid = \"l\"\nprotocol = \"modbus-rtu\"\ndevice = \"pty:/run/line0\"\nbaud_rate = 9600\n\
         [[machines]]\nid = \"m-1\"\nkind = \"lathe\"\nline = \"l\"\n\
         modbus = { unit_id = 7, max_registers = 60 }\n",
    );
    let running =
        MachineState { address: None, endpoint: "/run/line0".into(), ..running(&plant.machines[0]) };
    let file = machine_file(&plant, &plant.machines[0], &running, Path::new("/own")).unwrap();
    let file: toml::Table = file.parse().unwrap();
    let serial = file["modbus_rtu"].as_table().unwrap();
    assert_eq!((serial["device"].as_str(), serial["parity"].as_str()), (Some("/run/line0"), Some("none")));
    let number = |key: &str| serial[key].as_integer();
    assert_eq!((number("baud_rate"), number("unit_id")), (Some(9600), Some(7)));
    assert_eq!((number("max_registers"), number("timeout_ms")), (Some(60), Some(250)));
}

#[test]
fn a_unit_of_a_gateway_is_waited_for_longer_than_the_gateway_waits() {
    let plant = plant(
        "[[lines]]\nid = \"l\"\nprotocol = \"modbus-tcp\"\nunit_timeout_ms = 400\n\
         [[machines]]\nid = \"m-1\"\nkind = \"lathe\"\nline = \"l\"\n",
    );
    let file = machine_file(&plant, &plant.machines[0], &running(&plant.machines[0]), Path::new("/own"));
    let file: toml::Table = file.unwrap().parse().unwrap();
    assert_eq!(file["modbus_tcp"]["timeout_ms"].as_integer(), Some(500));
}

#[test]
fn a_protected_machine_names_policy_certificate_and_password_file_and_they_are_there() {
    let plant = plant(
        "[[machines]]\nid = \"m-1\"\nkind = \"lathe\"\nprotocol = \"opcua\"\n[machines.opcua]\n\
         security = { policy = \"aes256_sha256_rsapss\", mode = \"sign\" }\n\
         user = { name = \"operator\", password = \"secret\" }\n",
    );
    let dir = tempfile::tempdir().unwrap();
    let certificate = dir.path().join("certificate.der");
    fs::write(&certificate, b"certificate").unwrap();
    let state = StateFile {
        version: 1,
        pid: 1,
        plant: "p".into(),
        seed: 1,
        started_at_us: 0,
        control: "127.0.0.1:1".parse().unwrap(),
        machines: vec![MachineState { certificate: Some(certificate), ..running(&plant.machines[0]) }],
    };
    let out = dir.path().join("agent");
    write_machine_files(&plant, &state, &out).unwrap();
    let file: toml::Table = fs::read_to_string(out.join("machines.d/m-1.toml")).unwrap().parse().unwrap();
    let text = |key: &str| file["opcua"][key].as_str().unwrap().to_owned();
    assert_eq!(
        (text("security_policy"), text("security_mode")),
        ("aes256_sha256_rsapss".into(), "sign".into())
    );
    assert_eq!(fs::read(text("server_certificate_file")).unwrap(), b"certificate");
    assert_eq!(
        (text("user"), fs::read_to_string(text("password_file")).unwrap()),
        ("operator".into(), "secret".into())
    );
}
