//! A sink that remembers, and a Modbus TCP server that misbehaves on demand.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acquisition::{
    DriverCounters, LinkState, MachineSink, ModbusAddress, ModbusConnection, ModbusConnectionParameters,
    ModbusTag, ModbusTagParameters, Quirks, Reading, RegisterFormat, RegisterTable, WordOrder,
};
use driver_modbus::{Unit, WriteQueue};
use plant_model::{DataType, MachineId, Quality, Value};
use service_kit::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come. It only matters to a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything a sink was told, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) readings: Vec<Reading>,
    pub(crate) links: Vec<LinkState>,
}

impl Told {
    pub(crate) fn of(&self, tag: u16) -> impl Iterator<Item = &Reading> {
        self.readings.iter().filter(move |r| r.tag.0 == tag)
    }

    pub(crate) fn last(&self, tag: u16) -> Option<(Option<Value>, Quality)> {
        self.of(tag).last().map(|r| (r.sample.value.clone(), r.sample.quality))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.links.last() == Some(&LinkState::Up)
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.links.last(), Some(LinkState::Down { .. }))
    }

    pub(crate) fn good(&self) -> usize {
        self.readings.iter().filter(|r| r.sample.quality.is_good()).count()
    }
}

struct Sink(watch::Sender<Told>);

impl MachineSink for Sink {
    fn accept(&mut self, readings: &[Reading]) {
        self.0.send_modify(|told| told.readings.extend_from_slice(readings));
    }

    fn link(&mut self, link: LinkState) {
        self.0.send_modify(|told| told.links.push(link));
    }
}

/// A machine of a driver under test.
pub(crate) struct Running {
    told: watch::Receiver<Told>,
    pub(crate) counters: Arc<DriverCounters>,
    task: Arc<Task>,
}

/// The driver; dropping it is no stop.
struct Task {
    shutdown: CancellationToken,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Running {
    pub(crate) fn start(connection: ModbusConnection) -> Self {
        Self::start_all(vec![connection]).remove(0)
    }

    /// One driver for one machine of this name.
    pub(crate) fn start_as(name: &str, connection: ModbusConnection) -> Self {
        let (_, queue) = driver_modbus::write_queue();
        Self::start_named(vec![(name.to_owned(), connection)], queue).remove(0)
    }

    /// One driver for all these.
    pub(crate) fn start_all(connections: Vec<ModbusConnection>) -> Vec<Self> {
        let (_, queue) = driver_modbus::write_queue();
        Self::start_with(connections, queue)
    }

    /// One driver for all these, that can write.
    pub(crate) fn start_with(connections: Vec<ModbusConnection>, queue: WriteQueue) -> Vec<Self> {
        let named = |(number, connection)| (format!("press-{number}"), connection);
        Self::start_named((1..).zip(connections).map(named).collect(), queue)
    }

    fn start_named(connections: Vec<(String, ModbusConnection)>, queue: WriteQueue) -> Vec<Self> {
        let shutdown = CancellationToken::new();
        let task = Arc::new(Task { shutdown: shutdown.clone(), handle: Mutex::default() });
        let mut units = Vec::new();
        let mut running = Vec::new();
        for (name, connection) in connections {
            let (sender, told) = watch::channel(Told::default());
            let counters = Arc::new(DriverCounters::default());
            let name = MachineId::new(&name).expect("valid");
            let sink = Box::new(Sink(sender));
            units.push(Unit { connection, name, sink, counters: Arc::clone(&counters) });
            running.push(Self { told, counters, task: Arc::clone(&task) });
        }
        let handle = tokio::spawn(driver_modbus::run_with_writes(units, queue, Clock::start(), shutdown));
        *task.handle.lock().expect("unpoisoned") = Some(handle);
        running
    }

    /// What was told up to now.
    pub(crate) fn told(&self) -> Told {
        self.told.borrow().clone()
    }

    /// Waits until what was told satisfies `condition`.
    pub(crate) async fn until(&mut self, what: &str, condition: impl FnMut(&Told) -> bool) -> Told {
        let seen = tokio::time::timeout(PATIENCE, self.told.wait_for(condition))
            .await
            .map(|seen| seen.map(|told| told.clone()));
        match seen {
            Ok(Ok(told)) => told,
            Ok(Err(_)) => panic!("the driver ended before {what}"),
            Err(_) => {
                let told = self.told.borrow();
                let last = &told.readings[told.readings.len().saturating_sub(4)..];
                panic!("not seen: {what}; {:?}, {:?}, {last:?}", self.counters, told.links)
            }
        }
    }

    /// Waits until `condition` holds of the counters, which change without notice.
    pub(crate) async fn until_counted(&self, what: &str, condition: impl Fn(&DriverCounters) -> bool) {
        let reached = async {
            while !condition(&self.counters) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("not counted: {what}; {:?}", self.counters);
        }
    }

    /// Stops the driver; answers what it told in all.
    pub(crate) async fn stop(self) -> Told {
        self.task.shutdown.cancel();
        let handle = self.task.handle.lock().expect("unpoisoned").take();
        if let Some(handle) = handle {
            let ended = tokio::time::timeout(PATIENCE, handle).await;
            ended.expect("the driver ends").expect("it does not panic");
        }
        self.told.borrow().clone()
    }
}

pub(crate) fn tag(
    table: RegisterTable,
    pdu_address: u16,
    format: RegisterFormat,
    interval_ms: u64,
) -> ModbusTag {
    let data_type = if table.is_bits() { DataType::Bool } else { DataType::Int };
    ModbusTag::new(ModbusTagParameters {
        table,
        pdu_address,
        format,
        word_order: WordOrder::Abcd,
        scale: 1.0,
        offset: 0.0,
        poll_interval: Duration::from_millis(interval_ms),
        data_type,
        range: None,
    })
    .expect("valid")
}

pub(crate) fn holding(pdu_address: u16, interval_ms: u64) -> ModbusTag {
    tag(RegisterTable::HoldingRegister, pdu_address, RegisterFormat::U16, interval_ms)
}

pub(crate) fn connection(address: SocketAddr, timeout_ms: u64, tags: Vec<ModbusTag>) -> ModbusConnection {
    let parameters = parameters(tcp(address), 1, timeout_ms);
    ModbusConnection::new(parameters, tags).expect("valid")
}

pub(crate) fn tcp(address: SocketAddr) -> ModbusAddress {
    ModbusAddress::Tcp { host: address.ip().to_string(), port: address.port() }
}

pub(crate) fn parameters(address: ModbusAddress, unit_id: u8, timeout_ms: u64) -> ModbusConnectionParameters {
    let timeout = Duration::from_millis(timeout_ms);
    ModbusConnectionParameters { address, unit_id, timeout, quirks: Quirks::default() }
}

/// A read request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) transaction: [u8; 2],
    pub(crate) unit: u8,
    pub(crate) function: u8,
    pub(crate) address: u16,
    pub(crate) quantity: u16,
}

impl Asked {
    pub(crate) fn new(request: &[u8; 12]) -> Self {
        Self {
            transaction: [request[0], request[1]],
            unit: request[6],
            function: request[7],
            address: u16::from_be_bytes([request[8], request[9]]),
            quantity: u16::from_be_bytes([request[10], request[11]]),
        }
    }

    /// A frame that answers this request with `pdu`.
    pub(crate) fn frame(&self, pdu: &[u8]) -> Vec<u8> {
        let length = u16::try_from(pdu.len() + 1).expect("short");
        [&self.transaction[..], &[0, 0], &length.to_be_bytes(), &[self.unit], pdu].concat()
    }

    /// A frame that answers with `quantity` registers, each holding its own address.
    pub(crate) fn registers(&self, quantity: u16) -> Vec<u8> {
        let words = (0..quantity).flat_map(|n| (self.address + n).to_be_bytes());
        let mut pdu = vec![self.function, u8::try_from(quantity * 2).expect("short")];
        pdu.extend(words);
        self.frame(&pdu)
    }

    /// The right answer.
    pub(crate) fn answer(&self) -> Vec<u8> {
        self.registers(self.quantity)
    }
}

/// What the server does with the n-th request (from 0) it ever got.
pub(crate) enum Reply {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes one by one.
    Trickle(Vec<u8>),
    /// Sends these bytes after a while; requests that come meanwhile wait.
    Late(Duration, Vec<u8>),
    /// Says nothing.
    Silence,
    /// Closes the connection.
    Close,
}

type Script = Box<dyn FnMut(usize, Asked) -> Reply + Send>;

/// A server that follows a script. It stops with the test's runtime.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
}

impl Scripted {
    pub(crate) async fn start(script: impl FnMut(usize, Asked) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let script: Arc<Mutex<(usize, Script)>> = Arc::new(Mutex::new((0, Box::new(script))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script)));
            }
        });
        Self { address }
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Mutex<(usize, Script)>>) {
    let mut request = [0; 12];
    while stream.read_exact(&mut request).await.is_ok() {
        let asked = Asked::new(&request);
        let reply = {
            let mut script = script.lock().expect("a script does not panic");
            script.0 += 1;
            let number = script.0 - 1;
            (script.1)(number, asked)
        };
        let sent = match reply {
            Reply::Send(bytes) => stream.write_all(&bytes).await,
            Reply::Trickle(bytes) => trickle(&mut stream, &bytes).await,
            Reply::Late(after, bytes) => {
                tokio::time::sleep(after).await;
                stream.write_all(&bytes).await
            }
            Reply::Silence => Ok(()),
            Reply::Close => return,
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}
