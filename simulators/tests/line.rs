//! Lines that machines share: gateways, RTU over TCP and serial lines, with raw bytes and with a Modbus client.
#![allow(clippy::unwrap_used, reason = "a helper of a test that fails here fails the test")]

mod support;

use std::{net::SocketAddr, time::Duration};

use simulators::{Mode, Plant, Protocol, Value};
use support::{PATIENCE, eventually, plant_from};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_modbus::{
    ExceptionCode, Request, Response, Slave,
    client::{Client, Context, rtu, tcp},
    slave::SlaveContext,
};
use tokio_serial::{SerialPortBuilderExt, SerialStream};

/// Long enough for an answer on a busy host, short enough to wait for one that must not come.
const SILENCE: Duration = Duration::from_millis(300);

/// A line with machines at units 1, 2 and 3.
async fn line_of_three(line: &str) -> Plant {
    let machine = |unit| {
        format!(
            "[[machines]]\nid = \"m-{unit}\"\nkind = \"cnc-mill\"\nline = \"line-1\"\nmodbus.unit_id = {unit}\n"
        )
    };
    plant_from(&format!("[[lines]]\nid = \"line-1\"\n{line}\n{}{}{}", machine(1), machine(2), machine(3)))
        .await
}

async fn gateway(options: &str) -> (Plant, SocketAddr) {
    let plant = line_of_three(&format!("protocol = \"modbus-tcp\"\n{options}")).await;
    let address = plant.lines()[0].address().unwrap();
    (plant, address)
}

async fn client(address: SocketAddr) -> Context {
    tcp::attach(TcpStream::connect(address).await.expect("the line listens"))
}

async fn ask(client: &mut Context, unit: u8, request: Request<'static>) -> Result<Response, ExceptionCode> {
    client.set_slave(Slave(unit));
    timeout(PATIENCE, client.call(request)).await.expect("an answer").expect("a whole answer")
}

async fn read(client: &mut Context, unit: u8, start: u16, quantity: u16) -> Result<Vec<u16>, ExceptionCode> {
    let answer = ask(client, unit, Request::ReadHoldingRegisters(start, quantity)).await?;
    let Response::ReadHoldingRegisters(registers) = answer else { panic!("{answer:?}") };
    Ok(registers)
}

async fn set_temperature(plant: &Plant, machine: &str, value: f64) {
    let machine = plant.machine(machine).unwrap();
    machine.set("spindle_temperature", &Value::Float(value), None).await.unwrap();
}

#[tokio::test]
async fn units_behind_one_address_answer_with_their_own_values() {
    let (plant, address) = gateway("").await;
    let mut client = client(address).await;
    for unit in 1..=3 {
        set_temperature(&plant, &format!("m-{unit}"), 90.0 + f64::from(unit)).await;
    }
    for unit in 1..=3 {
        assert_eq!(read(&mut client, unit, 0, 1).await, Ok(vec![900 + u16::from(unit) * 10]));
    }
    let reports = plant.line_reports();
    assert_eq!((reports[0].machines.len(), reports[0].requests), (3, 3));
    assert_eq!(plant.machine("m-2").unwrap().report().produced.reads_served, 1);
    plant.stop().await;
}

#[tokio::test]
async fn a_silent_unit_holds_up_the_line_until_the_gateway_gives_up() {
    let (plant, address) = gateway("unit_timeout_ms = 400").await;
    plant.machine("m-2").unwrap().set_mode(Mode::Silent).await.unwrap();
    let (mut one, mut other) = (client(address).await, client(address).await);
    let started = Instant::now();
    let silent = tokio::spawn(async move { read(&mut one, 2, 0, 1).await });
    eventually("the request on the line", || plant.line_reports()[0].requests == 1).await;
    assert!(read(&mut other, 1, 0, 1).await.is_ok());
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    assert_eq!(silent.await.unwrap(), Err(ExceptionCode::GatewayTargetDevice));
    plant.stop().await;
}

#[tokio::test]
async fn a_gateway_can_answer_nothing_for_a_silent_or_an_absent_unit() {
    let (plant, address) = gateway("unit_timeout_ms = 50\nsilent_unit = \"nothing\"").await;
    plant.machine("m-2").unwrap().set_mode(Mode::Silent).await.unwrap();
    for unit in [2, 9] {
        let mut client = client(address).await;
        client.set_slave(Slave(unit));
        let answer = timeout(SILENCE, client.call(Request::ReadHoldingRegisters(0, 1))).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    assert_eq!(plant.line_reports()[0].unanswered, 2);
    assert!(read(&mut client(address).await, 1, 0, 1).await.is_ok());
    plant.stop().await;
}

#[tokio::test]
async fn units_have_their_own_faults_and_the_line_has_others() {
    let (plant, address) = gateway("").await;
    let mut client = client(address).await;
    plant.machine("m-1").unwrap().set_mode(Mode::Exception { exception: 6 }).await.unwrap();
    assert_eq!(read(&mut client, 1, 0, 1).await, Err(ExceptionCode::ServerDeviceBusy));
    assert!(read(&mut client, 2, 0, 1).await.is_ok());
    let refused = plant.machine("m-1").unwrap().set_mode(Mode::Refuse).await.unwrap_err().to_string();
    assert!(refused.contains("POST /lines/{id}/mode"), "{refused}");
    plant.line("line-1").unwrap().set_mode(Mode::Refuse).await.unwrap();
    assert!(TcpStream::connect(address).await.is_err());
    plant.line("line-1").unwrap().set_mode(Mode::Healthy).await.unwrap();
    assert!(read(&mut self::client(address).await, 2, 0, 1).await.is_ok());
    plant.stop().await;
}

#[tokio::test]
async fn a_restarting_line_comes_back_by_itself() {
    let (plant, address) = gateway("").await;
    let mut open = client(address).await;
    assert!(read(&mut open, 1, 0, 1).await.is_ok());
    let line = plant.line("line-1").unwrap();
    line.set_mode(Mode::Restart { down_ms: 100 }).await.unwrap();
    assert!(open.call(Request::ReadHoldingRegisters(0, 1)).await.is_err(), "open connections are dropped");
    eventually("the end of the restart", || line.mode() == Mode::Healthy).await;
    let back = async {
        loop {
            if let Ok(stream) = TcpStream::connect(address).await {
                return tcp::attach(stream);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let mut again = timeout(PATIENCE, back).await.expect("the port is open again");
    assert!(read(&mut again, 1, 0, 1).await.is_ok());
    plant.stop().await;
}

#[tokio::test]
async fn rtu_over_tcp_survives_noise_and_pieces() {
    let plant = line_of_three("protocol = \"modbus-rtu-over-tcp\"").await;
    let mut stream = TcpStream::connect(plant.lines()[0].address().unwrap()).await.unwrap();
    // Read registers 0 and 1 of unit 1, as the specification writes it on the wire.
    let request = [1, 3, 0, 0, 0, 2, 0xC4, 0x0B];
    stream.write_all(&[0xFF, 0x00, 0x81]).await.unwrap();
    eventually("the noise", || plant.line_reports()[0].dropped_bytes > 0).await;
    for piece in request.chunks(3) {
        stream.write_all(piece).await.unwrap();
    }
    let mut answer = [0; 9];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer[..3], [1, 3, 4]);
    assert_eq!(plant.line_reports()[0].requests, 1);
    plant.stop().await;
}

async fn pty_line(dir: &tempfile::TempDir) -> (Plant, String) {
    let device = dir.path().join("run").join("line0").display().to_string();
    let plant =
        line_of_three(&format!("protocol = \"modbus-rtu\"\ndevice = \"pty:{device}\"\nbaud_rate = 115200"))
            .await;
    (plant, device)
}

fn open(device: &str) -> Context {
    let mut port: SerialStream =
        tokio_serial::new(device, 115_200).open_native_async().expect("the line is there");
    port.set_exclusive(true).expect("nobody else has the line");
    rtu::attach(port)
}

#[tokio::test]
async fn all_machines_of_a_serial_line_answer_on_its_pseudo_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let (plant, device) = pty_line(&dir).await;
    assert_eq!(plant.machines()[0].protocol(), Protocol::ModbusRtu);
    assert_eq!(plant.machines()[0].endpoint(), device);
    let mut client = open(&device);
    for unit in 1..=3 {
        set_temperature(&plant, &format!("m-{unit}"), 90.0 + f64::from(unit)).await;
        assert_eq!(read(&mut client, unit, 0, 1).await, Ok(vec![900 + u16::from(unit) * 10]));
    }
    client.set_slave(Slave(9));
    let absent = timeout(SILENCE, client.call(Request::ReadHoldingRegisters(0, 1))).await;
    assert!(absent.is_err(), "nobody answers for an absent unit: {absent:?}");
    drop(client);
    assert!(read(&mut open(&device), 2, 0, 1).await.is_ok(), "a second client finds the line");
    plant.stop().await;
    assert!(!std::path::Path::new(&device).exists(), "the link is gone with the plant");
}

#[tokio::test]
async fn an_adapter_that_is_pulled_out_is_another_device_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let (plant, device) = pty_line(&dir).await;
    let before = std::fs::read_link(&device).unwrap();
    let mut held = open(&device);
    let line = plant.line("line-1").unwrap();
    line.set_mode(Mode::Refuse).await.unwrap();
    assert!(!std::path::Path::new(&device).exists());
    let failed =
        timeout(PATIENCE, held.call(Request::ReadHoldingRegisters(0, 1))).await.expect("an error at once");
    assert!(failed.is_err(), "{failed:?}");
    line.set_mode(Mode::Healthy).await.unwrap();
    assert_ne!(std::fs::read_link(&device).unwrap(), before, "the old name is still held by the client");
    assert!(read(&mut open(&device), 1, 0, 1).await.is_ok());
    plant.stop().await;
}

#[tokio::test]
async fn a_broadcast_is_obeyed_by_all_units_and_answered_by_none() {
    let dir = tempfile::tempdir().unwrap();
    let (plant, device) = pty_line(&dir).await;
    let mut client = open(&device);
    client.set_slave(Slave::broadcast());
    let answer = timeout(SILENCE, client.call(Request::WriteSingleRegister(10, 2))).await;
    assert!(answer.is_err(), "{answer:?}");
    for machine in plant.machines() {
        assert_eq!(machine.report().produced.writes_obeyed, 1, "{}", machine.id());
    }
    plant.stop().await;
}
