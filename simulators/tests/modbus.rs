//! A Modbus TCP client against a simulated machine.
#![allow(clippy::unwrap_used, reason = "a helper of a test that fails here fails the test")]

mod support;

use std::{net::SocketAddr, time::Duration};

use simulators::{Kind, Machine, Mode, Plant, Protocol, RegisterMap, Value};
use support::{PATIENCE, eventually, plant_of};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_modbus::{
    ExceptionCode, Request, Response, Slave,
    client::{Client, Context, tcp},
};

const KIND: Kind = Kind::CncMill;
/// Long enough for an answer on a busy machine, short enough to wait for one that must not come.
const SILENCE: Duration = Duration::from_millis(300);

async fn client(address: SocketAddr) -> Context {
    client_of_unit(address, 1).await
}

async fn client_of_unit(address: SocketAddr, unit: u8) -> Context {
    let stream = TcpStream::connect(address).await.expect("the machine listens");
    tcp::attach_slave(stream, Slave(unit))
}

type Answer = tokio_modbus::Result<Response>;

async fn request(client: &mut Context, request: Request<'static>) -> Answer {
    timeout(PATIENCE, client.call(request)).await.expect("an answer")
}

async fn read(client: &mut Context, start: u16, quantity: u16) -> Vec<u16> {
    match request(client, Request::ReadHoldingRegisters(start, quantity)).await {
        Ok(Ok(Response::ReadHoldingRegisters(registers))) => registers,
        other => panic!("read {start}+{quantity}: {other:?}"),
    }
}

async fn whole(client: &mut Context) -> Vec<u16> {
    read(client, 0, RegisterMap::of(KIND).length()).await
}

fn pair(registers: &[u16]) -> u32 {
    (u32::from(registers[0]) << 16) | u32::from(registers[1])
}

async fn exception(client: &mut Context, pdu: Request<'static>) -> ExceptionCode {
    match request(client, pdu.clone()).await {
        Ok(Err(exception)) => exception,
        other => panic!("{pdu:?}: {other:?}"),
    }
}

fn value(machine: &Machine, id: &str) -> Value {
    machine.detail().tags.into_iter().find(|tag| tag.id == id).unwrap().value
}

async fn start() -> (Plant, SocketAddr) {
    let plant = plant_of(KIND, Protocol::ModbusTcp).await;
    let address = plant.machines()[0].address().unwrap();
    (plant, address)
}

#[tokio::test]
async fn one_read_returns_the_values_of_all_tags() {
    let (plant, address) = start().await;
    plant.pause();
    let machine = &plant.machines()[0];
    let registers = whole(&mut client(address).await).await;
    assert_eq!(
        value(machine, "spindle_temperature"),
        Value::Float(f64::from(registers[0].cast_signed()) / 10.0)
    );
    assert_eq!(value(machine, "fast_count"), Value::Int(i64::from(pair(&registers[2..]))));
    assert_eq!(value(machine, "scan_count"), Value::Int(i64::from(pair(&registers[8..]))));
    assert_eq!(value(machine, "state"), Value::Int(i64::from(registers[10])));
    let text: Vec<u8> = registers[14..22].iter().flat_map(|register| register.to_be_bytes()).collect();
    let text = String::from_utf8(text).unwrap().trim_end_matches('\0').to_owned();
    assert_eq!(value(machine, "program"), Value::Text(text));
    assert_eq!(value(machine, "door_closed"), Value::Bool(registers[22] & 1 == 1));
    assert_eq!(value(machine, "spindle_speed"), Value::Int(i64::from(registers[23])));
    let vibration = f32::from_bits(pair(&registers[26..]));
    assert_eq!(value(machine, "vibration"), Value::Float(f64::from(vibration)));
    plant.stop().await;
}

#[tokio::test]
async fn each_poll_class_sees_its_own_counter_without_a_gap() {
    let (plant, address) = start().await;
    let (mut slow, mut fast) = (client(address).await, client(address).await);
    let length = RegisterMap::of(KIND).length();
    for round in 1..=20 {
        let registers = read(&mut slow, 8, length - 8).await;
        assert_eq!(pair(&registers), round);
        for step in 1..=5 {
            let registers = read(&mut fast, 0, 4).await;
            assert_eq!(pair(&registers[2..]), (round - 1) * 5 + step);
        }
    }
    let produced = plant.machines()[0].report().produced;
    assert_eq!((produced.scan_reads, produced.fast_reads, produced.reads_served), (20, 100, 120));
    assert_eq!(produced.tag_values_served, 20 * 17 + 100 * 3);
    plant.stop().await;
}

#[tokio::test]
async fn wrong_requests_get_the_exception_the_specification_asks_for() {
    let (plant, address) = start().await;
    let mut client = client(address).await;
    let length = RegisterMap::of(KIND).length();
    for (pdu, expected) in [
        (Request::ReadHoldingRegisters(0, 0), ExceptionCode::IllegalDataValue),
        (Request::ReadHoldingRegisters(0, 126), ExceptionCode::IllegalDataValue),
        (Request::ReadHoldingRegisters(length, 1), ExceptionCode::IllegalDataAddress),
        (Request::ReadHoldingRegisters(65535, 2), ExceptionCode::IllegalDataAddress),
        (Request::ReadInputRegisters(length, 1), ExceptionCode::IllegalDataAddress),
        (Request::ReadCoils(3, 1), ExceptionCode::IllegalDataAddress),
        (Request::ReadDiscreteInputs(0, 2001), ExceptionCode::IllegalDataValue),
        (Request::WriteSingleRegister(8, 1), ExceptionCode::IllegalDataAddress),
        (Request::WriteSingleRegister(4, 1), ExceptionCode::IllegalDataAddress),
        (Request::WriteSingleRegister(10, 4), ExceptionCode::IllegalDataValue),
        (Request::ReadWriteMultipleRegisters(0, 1, 0, vec![1].into()), ExceptionCode::IllegalFunction),
    ] {
        assert_eq!(exception(&mut client, pdu.clone()).await, expected, "{pdu:?}");
    }
    let mut stranger = client_of_unit(address, 2).await;
    let refused = exception(&mut stranger, Request::ReadHoldingRegisters(0, 1)).await;
    assert_eq!(refused, ExceptionCode::GatewayTargetDevice);
    let produced = plant.machines()[0].report().produced;
    assert_eq!((produced.exceptions_answered, produced.reads_served, produced.writes_obeyed), (12, 0, 0));
    plant.stop().await;
}

#[tokio::test]
async fn a_set_value_is_read_at_once() {
    let (plant, address) = start().await;
    let mut client = client(address).await;
    let machine = &plant.machines()[0];
    machine.set("spindle_temperature", &Value::Float(95.5), None).await.unwrap();
    assert_eq!(read(&mut client, 0, 1).await, [955]);
    plant.stop().await;
}

#[tokio::test]
async fn the_model_goes_on_once_per_second_until_paused() {
    let (plant, _) = start().await;
    let machine = &plant.machines()[0];
    eventually("two ticks", || machine.report().ticks >= 2).await;
    plant.pause();
    let ticks = machine.report().ticks;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(machine.report().ticks, ticks);
    plant.resume();
    eventually("another tick", || machine.report().ticks > ticks).await;
    plant.stop().await;
}

#[tokio::test]
async fn a_slow_machine_answers_after_its_delay_with_the_values_of_then() {
    let (plant, address) = start().await;
    let machine = &plant.machines()[0];
    let mut client = client(address).await;
    machine.set_mode(Mode::Slow { delay_ms: 300 }).await.unwrap();
    let asked = Instant::now();
    let answer = tokio::spawn(async move { (read(&mut client, 0, 1).await, asked.elapsed()) });
    machine.set("spindle_temperature", &Value::Float(95.5), None).await.unwrap();
    let (registers, elapsed) = answer.await.unwrap();
    assert!(elapsed >= Duration::from_millis(300), "{elapsed:?}");
    assert_eq!(registers, [955]);
    plant.stop().await;
}

#[tokio::test]
async fn a_silent_machine_swallows_requests_and_later_answers_new_ones() {
    let (plant, address) = start().await;
    let machine = &plant.machines()[0];
    let mut client = client(address).await;
    machine.set_mode(Mode::Silent).await.unwrap();
    let swallowed = timeout(SILENCE, client.call(Request::ReadHoldingRegisters(8, 2))).await;
    assert!(swallowed.is_err(), "{swallowed:?}");
    machine.set_mode(Mode::Healthy).await.unwrap();
    let mut client = self::client(address).await;
    assert_eq!(pair(&read(&mut client, 8, 2).await), 1);
    plant.stop().await;
}

#[tokio::test]
async fn a_refusing_machine_drops_and_refuses_and_comes_back_on_the_same_port() {
    let (plant, address) = start().await;
    let machine = &plant.machines()[0];
    let mut open = client(address).await;
    whole(&mut open).await;
    machine.set_mode(Mode::Refuse).await.unwrap();
    assert!(request(&mut open, Request::ReadHoldingRegisters(0, 1)).await.is_err());
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    machine.set_mode(Mode::Healthy).await.unwrap();
    whole(&mut client(address).await).await;
    plant.stop().await;
}

#[tokio::test]
async fn a_resetting_machine_resets_open_and_new_connections() {
    let (plant, address) = start().await;
    let machine = &plant.machines()[0];
    let mut open = client(address).await;
    whole(&mut open).await;
    machine.set_mode(Mode::Reset).await.unwrap();
    for mut client in [open, client(address).await] {
        let error = request(&mut client, Request::ReadHoldingRegisters(0, 1)).await.unwrap_err();
        let tokio_modbus::Error::Transport(error) = error else { panic!("{error}") };
        let kinds = [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::BrokenPipe];
        assert!(kinds.contains(&error.kind()), "{error:?}");
    }
    assert_eq!(machine.report().produced.reads_served, 1);
    machine.set_mode(Mode::Healthy).await.unwrap();
    whole(&mut client(address).await).await;
    plant.stop().await;
}

#[tokio::test]
async fn a_garbled_answer_is_not_a_served_read() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (plant, address) = start().await;
    let machine = &plant.machines()[0];
    machine.set_mode(Mode::Garbage).await.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[0, 1, 0, 0, 0, 6, 1, 3, 0, 8, 0, 2]).await.unwrap();
    let mut answer = [0; 13];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_ne!(answer[..9], [0, 1, 0, 0, 0, 7, 1, 3, 4]);
    assert_eq!(machine.report().produced.reads_served, 0);
    machine.set_mode(Mode::Healthy).await.unwrap();
    assert_eq!(pair(&read(&mut client(address).await, 8, 2).await), 1);
    plant.stop().await;
}

#[tokio::test]
async fn an_excepting_machine_answers_its_code_and_serves_nothing() {
    let (plant, address) = start().await;
    let machine = &plant.machines()[0];
    let mut client = client(address).await;
    machine.set_mode(Mode::Exception { exception: 6 }).await.unwrap();
    let code = exception(&mut client, Request::ReadHoldingRegisters(8, 2)).await;
    assert_eq!(code, ExceptionCode::ServerDeviceBusy);
    machine.set_mode(Mode::Healthy).await.unwrap();
    assert_eq!(pair(&read(&mut client, 8, 2).await), 1);
    plant.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_named_in_the_error() {
    let (plant, address) = start().await;
    let config = format!(
        "version = 1\nname = \"p\"\nseed = 1\n[[machines]]\nid = \"late\"\nkind = \"lathe\"\n\
         protocol = \"modbus-tcp\"\nport = {}\n",
        address.port()
    );
    let config = simulators::PlantConfig::parse(&config).unwrap();
    let Err(error) = Plant::start(config).await else { panic!("the port is taken") };
    let error = error.to_string();
    assert!(error.contains("late") && error.contains(&address.to_string()), "{error}");
    plant.stop().await;
}

async fn start_with(options: &str) -> (Plant, SocketAddr) {
    let machine = "[[machines]]\nid = \"m-1\"\nkind = \"cnc-mill\"\nprotocol = \"modbus-tcp\"\n";
    let plant = support::plant_from(&format!("{machine}{options}")).await;
    let address = plant.machines()[0].address().unwrap();
    (plant, address)
}

#[tokio::test]
async fn input_registers_coils_and_discrete_inputs_show_the_same_values() {
    let (plant, address) = start().await;
    plant.pause();
    let machine = &plant.machines()[0];
    let mut client = client(address).await;
    machine.set("spindle_temperature", &Value::Float(95.5), None).await.unwrap();
    for (tag, on) in [("door_closed", true), ("coolant_on", false), ("chip_conveyor_on", true)] {
        machine.set(tag, &Value::Bool(on), None).await.unwrap();
    }
    let inputs = request(&mut client, Request::ReadInputRegisters(0, 1)).await.unwrap();
    assert_eq!(inputs, Ok(Response::ReadInputRegisters(vec![955])));
    let bits = vec![true, false, true];
    let coils = request(&mut client, Request::ReadCoils(0, 3)).await.unwrap();
    assert_eq!(coils.map(|response| first_bits(response, 3)), Ok(bits.clone()));
    let discrete = request(&mut client, Request::ReadDiscreteInputs(0, 3)).await.unwrap();
    assert_eq!(discrete.map(|response| first_bits(response, 3)), Ok(bits));
    assert_eq!(machine.report().produced.tag_values_served, 1 + 3 + 3);
    plant.stop().await;
}

/// The client pads bits to whole bytes.
fn first_bits(response: Response, count: usize) -> Vec<bool> {
    let (Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits)) = response else {
        panic!("{response:?}")
    };
    bits[..count].to_vec()
}

#[tokio::test]
async fn all_four_writes_are_obeyed_and_read_back() {
    let (plant, address) = start().await;
    plant.pause();
    let machine = &plant.machines()[0];
    let mut client = client(address).await;
    let write = async |client: &mut Context, pdu: Request<'static>| {
        request(client, pdu.clone())
            .await
            .unwrap()
            .unwrap_or_else(|exception| panic!("{pdu:?}: {exception}"));
    };
    write(&mut client, Request::WriteSingleRegister(0, 955)).await;
    assert_eq!(value(machine, "spindle_temperature"), Value::Float(95.5));
    let speed = 1.5_f32.to_bits();
    write(&mut client, Request::WriteMultipleRegisters(26, vec![(speed >> 16) as u16, speed as u16].into()))
        .await;
    assert_eq!(value(machine, "vibration"), Value::Float(1.5));
    write(&mut client, Request::WriteSingleCoil(1, true)).await;
    assert_eq!(value(machine, "coolant_on"), Value::Bool(true));
    write(&mut client, Request::WriteMultipleCoils(0, vec![true, false, true].into())).await;
    assert_eq!(read(&mut client, 22, 1).await, [0b101]);
    assert_eq!(machine.report().produced.writes_obeyed, 4);
    let half = exception(&mut client, Request::WriteSingleRegister(26, 1)).await;
    assert_eq!(half, ExceptionCode::IllegalDataAddress, "half a value cannot be written");
    machine.release("vibration").await.unwrap();
    assert!(value(machine, "vibration") != Value::Float(1.5));
    plant.stop().await;
}

#[tokio::test]
async fn a_block_with_an_illegal_register_is_refused_until_it_is_legal_again() {
    let (plant, address) = start_with("modbus = { illegal_registers = [10], max_registers = 20 }\n").await;
    let machine = &plant.machines()[0];
    let mut client = client(address).await;
    let refused = exception(&mut client, Request::ReadHoldingRegisters(8, 5)).await;
    assert_eq!(refused, ExceptionCode::IllegalDataAddress);
    assert_eq!(pair(&read(&mut client, 8, 2).await), 1);
    assert_eq!(read(&mut client, 11, 3).await.len(), 3);
    machine.set_illegal_registers([].into()).unwrap();
    assert_eq!(read(&mut client, 8, 5).await.len(), 5);
    let too_many = exception(&mut client, Request::ReadHoldingRegisters(0, 21)).await;
    assert_eq!(too_many, ExceptionCode::IllegalDataValue);
    plant.stop().await;
}

#[tokio::test]
async fn a_late_answer_comes_after_the_answer_to_a_later_request() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (plant, address) = start_with("fault = { mode = \"late\", delay_ms = 300, every = 2 }\n").await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let asked = Instant::now();
    for transaction in [1, 2] {
        stream.write_all(&[0, transaction, 0, 0, 0, 6, 1, 3, 0, 8, 0, 2]).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..2 {
        let mut answer = [0; 13];
        timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        order.push((answer[1], answer[12]));
    }
    assert_eq!(order, [(2, 2), (1, 1)], "transaction id and scan count");
    assert!(asked.elapsed() >= Duration::from_millis(300), "{:?}", asked.elapsed());
    plant.stop().await;
}

#[tokio::test]
async fn noise_comes_before_an_answer_that_is_right() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (plant, address) = start_with("fault = { mode = \"noise\" }\n").await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&[0, 1, 0, 0, 0, 6, 1, 3, 0, 8, 0, 2]).await.unwrap();
    let right = [0, 1, 0, 0, 0, 7, 1, 3, 4, 0, 0, 0, 1];
    let mut heard = Vec::new();
    let reading = async {
        while !heard.ends_with(&right) {
            heard.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(PATIENCE, reading).await.expect("the right answer");
    assert!((1..=8).contains(&(heard.len() - right.len())), "{heard:?}");
    plant.stop().await;
}

#[tokio::test]
async fn a_half_dead_connection_stays_open_and_hears_nothing_while_new_ones_work() {
    let (plant, address) = start().await;
    let machine = &plant.machines()[0];
    let mut open = client(address).await;
    whole(&mut open).await;
    machine.set_mode(Mode::HalfDead).await.unwrap();
    let answer = timeout(SILENCE, open.call(Request::ReadHoldingRegisters(0, 1))).await;
    assert!(answer.is_err(), "{answer:?}");
    whole(&mut client(address).await).await;
    machine.set_mode(Mode::Healthy).await.unwrap();
    let still = timeout(SILENCE, open.call(Request::ReadHoldingRegisters(0, 1))).await;
    assert!(still.is_err(), "{still:?}");
    plant.stop().await;
}

#[tokio::test]
async fn a_machine_in_a_hole_accepts_connections_and_answers_nothing() {
    let (plant, address) = start_with("fault = { mode = \"hole\" }\n").await;
    let machine = &plant.machines()[0];
    assert_eq!(machine.mode(), Mode::Hole);
    let mut held = client(address).await;
    let answer = timeout(SILENCE, held.call(Request::ReadHoldingRegisters(0, 1))).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(machine.report().produced.reads_served, 0);
    machine.set_mode(Mode::Healthy).await.unwrap();
    whole(&mut client(address).await).await;
    plant.stop().await;
}
