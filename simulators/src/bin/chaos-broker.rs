//! `chaos-broker`: an MQTT 5 broker whose faults are asked for each packet, by command line and at run time.

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
use simulators::broker::{Broker, BrokerOptions, Rule, rules, serve_broker_control};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::EnvFilter;

/// An MQTT 5 broker between a client and its server that treats each packet as you like.
///
/// The client dials --listen instead of the server and trusts the authority that is written to
/// --own-ca; the server is dialled with the client's own certificate. What becomes of a packet is
/// said by rules, one a line; all that fire apply:
///
///   WAY PACKET [topic=END] [skip=N] [times=N] [chance=P] FAULT
///
///   WAY      up (from the client), down, any
///   PACKET   connect connack publish puback subscribe suback pingreq pingresp disconnect any
///   topic    only messages whose topic ends like this
///   skip     not the first N packets that the rule is about; times: only N of them; chance: a share
///   FAULT    drop                     not handed on
///            swallow                  acknowledged and not handed on (a broker that forgets)
///            duplicate                handed on twice
///            delay=MS, delay=MIN..MAX later; what follows overtakes it
///            hold=N                   after N others that come behind it
///            cut=before, cut=after    the connection is closed without a word
///            corrupt                  one bit of the message is flipped
///            disconnect=CODE          the client is thrown out; 0x8e is "session taken over"
///            session_present=0|1, receive_maximum=N, maximum_packet_size=N, refuse=CODE
///                                     what CONNACK says
#[derive(Parser)]
#[command(name = "chaos-broker", version, verbatim_doc_comment, after_help = AFTER_HELP)]
struct Cli {
    /// Where clients dial; port 0 takes any free one and prints it.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server behind.
    #[arg(long, value_name = "IP:PORT")]
    to: SocketAddr,
    /// The authority of the server behind, PEM.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The certificate to dial it with, PEM.
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// The key of that certificate, PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where to write the authority that clients have to trust, PEM.
    #[arg(long, value_name = "FILE")]
    own_ca: PathBuf,
    /// A rule; may be given several times.
    #[arg(long = "rule", value_name = "RULE")]
    rules: Vec<Rule>,
    /// A file with rules, one a line; empty lines and lines that begin with # are skipped.
    #[arg(long = "rules", value_name = "FILE")]
    rules_file: Option<PathBuf>,
    /// What chances follow from: the same seed and packets, the same choices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where the rules can be changed at run time; keep it on loopback, it has no password.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// JSON file with "listen" and "control", written once both listen; removed at a clean stop.
    #[arg(long, value_name = "FILE")]
    state_file: Option<PathBuf>,
}

const AFTER_HELP: &str = r#"A broker that acknowledges every tenth batch and loses it, and delivers acknowledgements out of order:
  chaos-broker --listen 127.0.0.1:18883 --to 127.0.0.1:8883 --ca ca.crt --certificate gateway.crt \
               --key gateway.key --own-ca broker-ca.crt \
               --rule 'up publish topic=up/telemetry chance=0.1 swallow' \
               --rule 'down publish topic=/ack chance=0.5 delay=0..5000'

At run time (CONTROL is printed at the start):
  curl http://CONTROL/                         what passed, and how often each rule fired
  curl -X PUT http://CONTROL/rules -d 'down connack times=1 receive_maximum=2'
                                               other rules, one a line; an empty body ends all
  curl -X POST http://CONTROL/cut              close every open connection

Exit codes: 0 stopped by SIGTERM or Ctrl-C; 1 a port or file failed; 2 wrong usage."#;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours).init();
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell if even stderr is closed.
            let _ = writeln!(io::stderr(), "chaos-broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Cli) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut all = arguments.rules;
    if let Some(path) = &arguments.rules_file {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        all.extend(rules(&text).with_context(|| path.display().to_string())?);
    }
    let Cli { listen, to, ca, certificate, key, seed, .. } = arguments;
    let broker = Broker::start(BrokerOptions { listen, to, ca, certificate, key, seed }).await?;
    broker.set(all);
    fs::write(&arguments.own_ca, broker.authority())
        .with_context(|| format!("--own-ca {}", arguments.own_ca.display()))?;
    let control = TcpListener::bind(arguments.control).await.with_context(|| {
        format!("--control {}: cannot listen; choose another port, or 0", arguments.control)
    })?;
    let (address, broker, shutdown) = (control.local_addr()?, Arc::new(broker), CancellationToken::new());
    let serving = tokio::spawn(serve_broker_control(Arc::clone(&broker), control, shutdown.clone()));
    info!(listen = %broker.address(), %to, control = %address, "the broker is up");
    if let Some(path) = &arguments.state_file {
        let state = serde_json::json!({ "listen": broker.address(), "control": address });
        simulators::write_whole(path, state.to_string().as_bytes())?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    shutdown.cancel();
    serving.await?;
    arguments.state_file.map_or(Ok(()), fs::remove_file).context("cannot remove the state file")
}
