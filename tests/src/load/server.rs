//! Modbus TCP machines that answer at once, or misbehave, and note the instant of each request.
//!
//! A holding register holds its own address. Only function code 3 is known.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::api::now_us;

/// First argument of a process that serves.
pub const ROLE: &str = "serve";

/// Instants kept for each listener: an hour of 15 units with four requests a second each.
const ARRIVALS_MAX: usize = 216_000;

/// How the machines behind one address behave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Behaviour {
    /// Every unit answers at once.
    Healthy,
    /// Nobody listens there.
    Refuse,
    /// Connections are accepted, and no request is answered.
    Mute,
    /// Connection attempts are not even answered.
    BlackHole,
    /// Answers come after so many milliseconds.
    SlowMs(u64),
    /// These units answer nothing, the others at once.
    SilentUnits(Vec<u8>),
}

/// A request that came: unit, first register, and when, in microseconds since 1970.
pub type Arrival = (u8, u16, i64);

type Notes = Arc<Mutex<Vec<Vec<Arrival>>>>;

/// The process that serves, as the measuring side sees it. It ends when dropped.
#[derive(Debug)]
pub struct Server {
    /// The port of each listener.
    pub ports: Vec<u16>,
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Server {
    /// Runs this program again as a server with a listener for each behaviour.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(listeners: &[Behaviour]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ROLE, &serde_json::to_string(listeners)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run this program as a server")?;
        let questions = child.stdin.take().context("the input is piped")?;
        let answers = BufReader::new(child.stdout.take().context("the output is piped")?);
        let mut server = Self { ports: Vec::new(), child, questions, answers };
        server.ports = server.answer()?;
        Ok(server)
    }

    /// The requests of each listener since this was asked last.
    ///
    /// # Errors
    /// The server is gone.
    pub fn take_arrivals(&mut self) -> Result<Vec<Vec<Arrival>>> {
        self.questions.write_all(b"arrivals\n")?;
        self.answer()
    }

    fn answer<T: for<'de> Deserialize<'de>>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("the server says {line:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until standard input ends: the other side of [`Server`].
///
/// # Errors
/// A port cannot be had, or the other side is gone.
pub fn serve(listeners: &str) -> Result<()> {
    let listeners: Vec<Behaviour> = serde_json::from_str(listeners)?;
    // One thread serves; this one waits for questions.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let notes: Notes = Arc::new(Mutex::new(vec![Vec::new(); listeners.len()]));
    let (ports, _held) = runtime.block_on(open(listeners, &notes))?;
    say(&ports)?;
    for question in std::io::stdin().lines() {
        question?;
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        let taken: Vec<Vec<Arrival>> = notes.iter_mut().map(std::mem::take).collect();
        say(&taken)?;
    }
    Ok(())
}

/// Sockets that only have to exist.
type Held = Vec<Box<dyn Send>>;

async fn open(listeners: Vec<Behaviour>, notes: &Notes) -> Result<(Vec<u16>, Held)> {
    let (mut ports, mut held) = (Vec::new(), Held::new());
    for (index, behaviour) in listeners.into_iter().enumerate() {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        ports.push(socket.local_addr()?.port());
        match behaviour {
            // Bound and not listening: nobody else gets the port, and who connects is refused.
            Behaviour::Refuse => held.push(Box::new(socket)),
            Behaviour::BlackHole => held.push(Box::new(fill(socket.listen(0)?).await?)),
            Behaviour::Healthy | Behaviour::Mute | Behaviour::SlowMs(_) | Behaviour::SilentUnits(_) => {
                tokio::spawn(accept(socket.listen(128)?, index, behaviour, Arc::clone(notes)));
            }
        }
    }
    Ok((ports, held))
}

fn say(what: &impl Serialize) -> Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, what)?;
    Ok(out.write_all(b"\n")?)
}

/// Fills the queue of a listener that nobody serves: the system then drops further attempts.
async fn fill(listener: TcpListener) -> Result<(TcpListener, Vec<TcpStream>)> {
    /// What an attempt takes on this host as long as the queue has room.
    const AT_ONCE: Duration = Duration::from_millis(300);
    let (address, mut held) = (listener.local_addr()?, Vec::new());
    while let Ok(stream) = tokio::time::timeout(AT_ONCE, TcpStream::connect(address)).await {
        held.push(stream?);
    }
    Ok((listener, held))
}

async fn accept(listener: TcpListener, index: usize, behaviour: Behaviour, notes: Notes) {
    while let Ok((stream, _)) = listener.accept().await {
        let (behaviour, notes) = (behaviour.clone(), Arc::clone(&notes));
        // A connection that fails has ended; the client makes another.
        tokio::spawn(async move { converse(stream, index, &behaviour, &notes).await.ok() });
    }
}

async fn converse(mut stream: TcpStream, index: usize, behaviour: &Behaviour, notes: &Notes) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; 12];
    loop {
        stream.read_exact(&mut request).await?;
        let at = now_us();
        let [.., unit, _function, start_high, start_low, _, quantity] = request;
        let start = u16::from_be_bytes([start_high, start_low]);
        note(notes, index, (unit, start, at));
        match behaviour {
            Behaviour::Mute => continue,
            Behaviour::SilentUnits(units) if units.contains(&unit) => continue,
            Behaviour::SlowMs(delay) => tokio::time::sleep(Duration::from_millis(*delay)).await,
            Behaviour::Healthy | Behaviour::SilentUnits(_) | Behaviour::Refuse | Behaviour::BlackHole => {}
        }
        stream.write_all(&answer(&request, start, quantity)).await?;
    }
}

fn note(notes: &Notes, index: usize, arrival: Arrival) {
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    if notes[index].len() < ARRIVALS_MAX {
        notes[index].push(arrival);
    }
}

fn answer(request: &[u8; 12], start: u16, quantity: u8) -> Vec<u8> {
    let bytes = quantity.saturating_mul(2);
    let mut frame = Vec::with_capacity(9 + usize::from(bytes));
    frame.extend_from_slice(&request[..4]);
    frame.extend_from_slice(&[0, bytes + 3, request[6], request[7], bytes]);
    for offset in 0..u16::from(quantity) {
        frame.extend_from_slice(&start.wrapping_add(offset).to_be_bytes());
    }
    frame
}
