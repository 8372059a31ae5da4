//! `agent.toml`: who this gateway is, where it sends to, how it buffers.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use plant_model::{GatewayId, TenantId};

use crate::commands::{self, CommandsConfig};
use crate::gateway;
use crate::output::{self, Plant};
use crate::remote::{self, RemoteConfig};
use crate::section::Section;
use crate::update::{self, UpdateConfig};
use crate::{MachineConfig, OutputConfig, RaisedRate};

/// The version of the format.
const VERSION: i64 = 1;

/// As many units as a bus can address.
const SILENT_UNITS_MAX: i64 = 247;

/// The name of the file.
pub(crate) const FILE: &str = "agent.toml";

/// The largest message of the protocol: 1 MiB.
const MESSAGE_KIB_MAX: i64 = 1_024;
const _: () = assert!(protocol::limits::MESSAGE_BYTES_MAX == 1_024 << 10);

/// More than any link of a gateway: 1 GiB/s is no limit.
const RATE_KIB_MAX: i64 = 1 << 20;

/// A path to something secret. Its content never appears in logs.
pub type Secret = PathBuf;

/// The whole configuration of an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentConfig {
    /// The customer it works for.
    pub tenant: TenantId,
    /// Its own name.
    pub gateway: GatewayId,
    /// The way to the backend; without it the agent acquires, alarms and buffers all the same.
    pub uplink: Option<UplinkConfig>,
    /// The buffer.
    pub buffer: BufferConfig,
    /// What of the configuration comes from the backend.
    pub remote: RemoteConfig,
    /// Whether the backend has the agent updated.
    pub update: UpdateConfig,
    /// The local status interface.
    pub status: StatusConfig,
    /// What an alarm may take from the change in the machine to the decision, unless it has a budget of
    /// its own; `check` holds the plan of requests against it.
    pub alarm_latency_budget: Duration,
    /// How many other units of a bus may fall silent at once while its alarms are to stay in time.
    pub silent_units: usize,
    /// What alarms switch at the gateway itself.
    pub outputs: Vec<OutputConfig>,
    /// What the backend may ask for.
    pub commands: CommandsConfig,
    /// The machines, one file each, and the gateway itself as the last.
    pub machines: Vec<MachineConfig>,
    /// Where they are read more often than their files say, for the sake of alarms.
    pub raised: Vec<RaisedRate>,
}

/// The way to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UplinkConfig {
    /// Name or address of the MQTT endpoint.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// The certificate authority that the endpoint must show.
    pub ca_file: PathBuf,
    /// This gateway's certificate.
    pub certificate_file: PathBuf,
    /// This gateway's private key; the same file, if the certificate is renewed.
    pub key_file: Secret,
    /// Where the certificate is renewed, `https://HOST:PORT`; `None`: it is not.
    pub renewal_url: Option<String>,
    /// How many bytes of telemetry are sent a second at most; `None` for no limit.
    pub telemetry_bytes_per_second: Option<NonZeroU64>,
}

/// The buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BufferConfig {
    /// The SQLite file.
    pub path: PathBuf,
    /// How long samples gather before they are committed.
    pub commit_interval: Duration,
    /// How many samples are committed at the latest.
    pub commit_samples: usize,
    /// Bound of what is stored, in bytes.
    pub bytes_max: u64,
    /// How long acknowledged batches are kept.
    pub replay_window: Duration,
    /// The largest batch that is made, in bytes as it is sent.
    pub message_bytes_max: usize,
    /// What messages are encrypted with in the file; without it the systemd credential `buffer-key`, if there is one.
    pub key_file: Option<Secret>,
}

/// The local status interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusConfig {
    /// Where it listens; loopback only. `None`: not at all.
    pub listen: Option<SocketAddr>,
    /// Whether people at the gateway may acknowledge, shelve and reset alarms there.
    pub alarm_commands: bool,
}

/// Reads the file and adds the gateway itself to `machines`. `is_complete`: nothing is wrong with their files.
pub(crate) fn parse(
    root: &mut Section<'_>,
    machines: &mut Vec<MachineConfig>,
    is_complete: bool,
) -> Option<AgentConfig> {
    check_version(root);
    let tenant = root.parsed("tenant", "the id of the customer");
    let gateway: Option<GatewayId> = root.parsed("gateway", "the id of this gateway");
    let has_uplink = root.has("uplink");
    let uplink = root.table("uplink", uplink);
    let remote = root.table("remote", remote::remote).unwrap_or_default();
    let has_address = |uplink: &UplinkConfig| uplink.renewal_url.is_some();
    let is_reachable = uplink.as_ref().map_or(has_uplink, has_address);
    remote::check(root, &remote, is_reachable);
    machines.extend(gateway.as_ref().map(|id| gateway::machine(id, has_uplink)));
    let buffer = root.table("buffer", buffer);
    if buffer.is_none() && !root.has("buffer") {
        root.problem("buffer", "is missing; a table [buffer] with a path is needed");
    }
    let status = root.table("status", status).unwrap_or(StatusConfig { listen: None, alarm_commands: false });
    let update = root.table("update", update::update).unwrap_or_default();
    update::check(root, &update, is_reachable, status.listen.is_some());
    let alarm_latency_budget = budget(root, "alarm_latency_budget_ms");
    let silent_units = root.integer("silent_units", 0..=SILENT_UNITS_MAX).unwrap_or(1);
    let plant = Plant { machines, is_complete };
    let outputs = output::outputs(root, &plant);
    let commands = root.table("commands", |section| commands::commands(section, &plant)).unwrap_or_default();
    if has_uplink && uplink.is_none() {
        return None;
    }
    Some(AgentConfig {
        tenant: tenant?,
        gateway: gateway?,
        uplink,
        buffer: buffer?,
        remote,
        update,
        status,
        alarm_latency_budget,
        silent_units: usize::try_from(silent_units).ok()?,
        outputs,
        commands,
        machines: Vec::new(),
        raised: Vec::new(),
    })
}

/// What an alarm may take.
pub(crate) fn budget(section: &mut Section<'_>, key: &'static str) -> Duration {
    section.millis(key, 20..=60_000, 500)
}

pub(crate) fn check_version(root: &mut Section<'_>) {
    root.required_integer("version", VERSION..=VERSION);
}

fn uplink(section: &mut Section<'_>) -> Option<UplinkConfig> {
    let host = section.required_text("host", "the name or address of the backend");
    let port = section.integer("port", 1..=65_535).unwrap_or(8883);
    let ca_file = section.required_text("ca_file", "the path of the authority's certificate");
    let certificate_file =
        section.required_text("certificate_file", "the path of this gateway's certificate");
    let key_file = section.required_text("key_file", "the path of this gateway's private key");
    let renewal_url = section.text("renewal_url");
    if renewal_url.is_some() && certificate_file != key_file {
        let told = "needs certificate_file and key_file to be one file, so that both change together; \
                    `edge-agent enrol` makes it";
        section.problem("renewal_url", told);
    }
    let rate = section.integer("telemetry_kib_per_s", 1..=RATE_KIB_MAX);
    let telemetry_bytes_per_second = rate.and_then(|kib| NonZeroU64::new(u64::try_from(kib).ok()? << 10));
    Some(UplinkConfig {
        host: host?.to_owned(),
        port: u16::try_from(port).ok()?,
        ca_file: ca_file?.into(),
        certificate_file: certificate_file?.into(),
        key_file: key_file?.into(),
        renewal_url: renewal_url.map(str::to_owned),
        telemetry_bytes_per_second,
    })
}

fn buffer(section: &mut Section<'_>) -> Option<BufferConfig> {
    let path = section.required_text("path", "the path of the buffer file");
    let commit_interval = section.millis("commit_interval_ms", 50..=60_000, 5_000);
    let commit_samples = section.integer("commit_samples", 1..=20_000).unwrap_or(1_500);
    let max_mib = section.integer("max_mib", 1..=1_048_576).unwrap_or(1_024);
    let replay_hours = section.integer("replay_hours", 0..=8_760).unwrap_or(24);
    let message_kib_max = section.integer("message_kib_max", 4..=MESSAGE_KIB_MAX).unwrap_or(MESSAGE_KIB_MAX);
    let has_key = section.has("key_file");
    let key_file = has_key.then(|| section.required_text("key_file", "the path of the buffer's key"));
    Some(BufferConfig {
        path: path?.into(),
        commit_interval,
        commit_samples: usize::try_from(commit_samples).ok()?,
        bytes_max: u64::try_from(max_mib).ok()? << 20,
        replay_window: Duration::from_secs(u64::try_from(replay_hours).ok()? * 3_600),
        message_bytes_max: usize::try_from(message_kib_max).ok()? << 10,
        key_file: match key_file {
            Some(path) => Some(path?.into()),
            None => None,
        },
    })
}

fn status(section: &mut Section<'_>) -> Option<StatusConfig> {
    let alarm_commands = section.flag("alarm_commands").unwrap_or(false);
    let listen: SocketAddr = section.parsed("listen", "an address and port, for example 127.0.0.1:9180")?;
    if !listen.ip().is_loopback() {
        section.problem("listen", "only a loopback address is allowed, for example 127.0.0.1:9180");
        return None;
    }
    Some(StatusConfig { listen: Some(listen), alarm_commands })
}
