//! `chaos-proxy`: a TCP link with faults, by command line and at run time.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use clap::Parser;
use simulators::chaos::{Arrivals, Faults, Proxy, Way, serve_control};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::EnvFilter;

/// A TCP link between a client and a server that is as bad as you like.
///
/// The client dials --listen instead of the server. Each direction has its own faults: --up from
/// the client to the server, --down back, --both for the two. A direction is written as words with
/// commas between:
///
///   pause        bytes are held back and pass later
///   hole         bytes and ends of connections are swallowed; nobody is told (no FIN, no RST)
///   delay=MS     every byte comes so much later (a long way)
///   jitter=MS    up to so much later still, by chance
///   rate=N       at most N bytes a second (a slow modem)
///   flip=N       one bit of every N bytes is flipped (a bad line)
#[derive(Parser)]
#[command(name = "chaos-proxy", version, verbatim_doc_comment, after_help = AFTER_HELP)]
struct Cli {
    /// Where clients dial; port 0 takes any free one and prints it.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server behind the link.
    #[arg(long, value_name = "IP:PORT")]
    to: SocketAddr,
    /// Faults from the client to the server.
    #[arg(long, value_name = "FAULTS", conflicts_with = "both")]
    up: Option<Way>,
    /// Faults from the server to the client.
    #[arg(long, value_name = "FAULTS", conflicts_with = "both")]
    down: Option<Way>,
    /// Faults in both directions.
    #[arg(long, value_name = "FAULTS")]
    both: Option<Way>,
    /// Refuse connections: the port is closed.
    #[arg(long, conflicts_with = "reset")]
    refuse: bool,
    /// Reset connections at their first byte.
    #[arg(long)]
    reset: bool,
    /// What jitter and flipped bits follow from: the same seed, the same chances.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the faults can be changed at run time; keep it on loopback, it has no password.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// JSON file with "listen" and "control", written once both listen; removed at a clean stop.
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,
}

const AFTER_HELP: &str = r#"A gateway whose uplink is a slow satellite line that damages a bit now and then:
  chaos-proxy --listen 127.0.0.1:18883 --to 127.0.0.1:8883 \
              --up delay=300,jitter=80,rate=4000,flip=50000 --down delay=300,jitter=80,rate=32000

At run time (CONTROL is printed at the start):
  curl http://CONTROL/                        what it does and what has passed
  curl -X POST http://CONTROL/cut             reset every open connection now
  curl -X POST http://CONTROL/forget          open connections die unnoticed (NAT), new ones work
  curl -X PUT http://CONTROL/faults -H 'content-type: application/json' \
       -d '{"up":{"flow":"pause"},"down":{"delay_ms":500}}'
                                              other faults; what is left out is without one, so {} heals
    "up", "down": flow (forward, pause, hole), delay_ms, jitter_ms, bytes_per_s, flip_every
    "arrivals": accept, refuse, reset

Exit codes: 0 stopped by SIGTERM or Ctrl-C; 1 a port or file failed; 2 wrong usage."#;

impl Cli {
    fn faults(&self) -> Faults {
        let arrivals = match (self.refuse, self.reset) {
            (true, _) => Arrivals::Refuse,
            (false, true) => Arrivals::Reset,
            (false, false) => Arrivals::Accept,
        };
        let way = |one: Option<Way>| one.or(self.both).unwrap_or_default();
        Faults { arrivals, up: way(self.up), down: way(self.down) }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours).init();
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell if even stderr is closed.
            let _ = writeln!(io::stderr(), "chaos-proxy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Cli) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let proxy = Proxy::start(arguments.listen, arguments.to, arguments.seed).with_context(|| {
        format!("--listen {}: cannot listen; choose another port, or 0", arguments.listen)
    })?;
    proxy.set(arguments.faults()).await?;
    let control = TcpListener::bind(arguments.control).await.with_context(|| {
        format!("--control {}: cannot listen; choose another port, or 0", arguments.control)
    })?;
    let address = control.local_addr()?;
    let (proxy, shutdown) = (Arc::new(proxy), CancellationToken::new());
    let serving = tokio::spawn(serve_control(Arc::clone(&proxy), control, shutdown.clone()));
    info!(listen = %proxy.address(), to = %proxy.target(), control = %address, "the link is up");
    if let Some(path) = &arguments.state_file {
        let state = serde_json::json!({ "listen": proxy.address(), "control": address });
        simulators::write_whole(path, state.to_string().as_bytes())?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
    serving.await?;
    let stats = serde_json::to_string(&proxy.stats())?;
    info!(stats, "stopping");
    arguments.state_file.map_or(Ok(()), fs::remove_file).context("cannot remove the state file")
}
