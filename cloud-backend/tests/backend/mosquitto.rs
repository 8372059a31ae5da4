//! A real Mosquitto, configured by the program's own command. The end-to-end tests share it.
//!
//! It listens on a Unix socket; a relay in the test leads a TCP port there. So the port stays taken while Mosquitto is
//! killed and started again, and nobody else can have it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Where Debian installs it; `/usr/sbin` is not on everybody's path.
const PROGRAM: &str = "/usr/sbin/mosquitto";

/// Patience with a start on a busy machine.
const START: Duration = Duration::from_secs(60);

/// A running Mosquitto. Dropping it kills it.
pub(crate) struct Mosquitto {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
    relay: JoinHandle<()>,
}

impl Mosquitto {
    /// Lets `configure` write the folder for one that listens at an address, and starts it.
    pub(crate) async fn start(folder: PathBuf, configure: impl FnOnce(&Path, SocketAddr)) -> Self {
        assert!(Path::new(PROGRAM).exists(), "{PROGRAM} is not installed; `cargo xtask test` installs it");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        configure(&folder, address);
        let socket = folder.join("socket");
        listen_on_socket(&folder, &socket);
        let relay = tokio::spawn(relay(listener, socket));
        let mut mosquitto = Self { child: spawn(&folder), folder, address, relay };
        mosquitto.listening().await;
        mosquitto
    }

    /// Where it is reached.
    pub(crate) fn url(&self) -> String {
        format!("mqtts://{}", self.address)
    }

    /// The folder that the program has written.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// All that it has logged since it was configured.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// SIGKILL; what it had taken and not handed on is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("our child");
    }

    /// Starts it again, with nothing of what it knew.
    pub(crate) async fn restart(&mut self) {
        self.child = spawn(&self.folder);
        self.listening().await;
    }

    async fn listening(&mut self) {
        let socket = self.folder.join("socket");
        let until = Instant::now() + START;
        while UnixStream::connect(&socket).await.is_err() {
            let ended = self.child.try_wait().expect("our child");
            assert!(
                ended.is_none() && Instant::now() < until,
                "Mosquitto does not listen: {ended:?}\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.relay.abort();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All but where it listens and what it logs stays as the program wrote it.
fn listen_on_socket(folder: &Path, socket: &Path) {
    let file = folder.join("mosquitto.conf");
    let text = fs::read_to_string(&file).expect("written");
    let listener = text.lines().find(|line| line.starts_with("listener ")).expect("there is one");
    let logged = format!(
        "log_type all\nlog_dest file {}\nlistener 0 {}",
        folder.join("log").display(),
        socket.display()
    );
    fs::write(&file, text.replace(listener, &logged)).expect("written");
}

fn spawn(folder: &Path) -> Child {
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(folder.join("mosquitto.conf")).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

async fn relay(listener: TcpListener, socket: PathBuf) {
    while let Ok((mut tcp, _)) = listener.accept().await {
        let _ = tcp.set_nodelay(true);
        let socket = socket.clone();
        tokio::spawn(async move {
            if let Ok(mut unix) = UnixStream::connect(&socket).await {
                let _ = copy_bidirectional(&mut tcp, &mut unix).await;
            }
        });
    }
}
