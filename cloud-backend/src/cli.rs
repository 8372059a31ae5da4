//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use mqtt_broker_client::Address;
use plant_model::{AlarmId, GatewayId, MachineId, TenantId};

use crate::config::{ConfigCommand, GatewayName};
use crate::query::QueryArgs;
use crate::rollout_command::RolloutCommand;
use crate::tiers::TiersCommand;

/// Receives what factory-floor gateways send, stores it, and serves it to people and programs.
#[derive(Debug, Parser)]
#[command(name = "cloud-backend", version, propagate_version = true)]
pub struct Cli {
    /// What to log, for example `info` or `info,mqtt_endpoint=debug`.
    #[arg(long, global = true, default_value = "info", env = "CLOUD_BACKEND_LOG", value_name = "FILTER")]
    pub log: String,
    /// Write logs as JSON, one object a line.
    #[arg(long, global = true)]
    pub log_json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the backend: MQTT endpoint, store, API and dashboard.
    Serve(ServeArgs),
    /// Manage tenants (customers). Works whether `serve` runs or not.
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Manage users. Works whether `serve` runs or not.
    #[command(subcommand)]
    User(UserCommand),
    /// Manage gateways. Works whether `serve` runs or not.
    #[command(subcommand)]
    Gateway(GatewayCommand),
    /// Look at the certificate authority, and replace its issuer or its root. Works while `serve` runs, which takes
    /// it up within a second; open connections stay.
    #[command(subcommand)]
    Pki(PkiCommand),
    /// Configure gateways from here: machine files in versions. Works whether `serve` runs or not.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Bring versions of the agent to gateways, in waves. Works whether `serve` runs or not; `serve` carries it on.
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Print what became of everything that the gateways of a tenant sent: counters, watermark, what is missing,
    /// lost or in quarantine, and why. Works whether `serve` runs or not.
    Ledger(LedgerArgs),
    /// Write samples of a machine from all tiers to a file. Works whether `serve` runs or not.
    Query(Box<QueryArgs>),
    /// Look at the tiers in which samples rest, move what is due, and say what is kept for how long. Works whether `serve`
    /// runs or not.
    #[command(subcommand)]
    Tiers(TiersCommand),
    /// Prepare an external MQTT 5 broker, for `serve --broker`.
    #[command(subcommand)]
    Broker(BrokerCommand),
    /// Look at alarms. Works whether `serve` runs or not.
    #[command(subcommand)]
    Alarm(AlarmCommand),
    /// Print the OpenAPI document of the API.
    Openapi,
}

/// Where everything is kept.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// The data directory.
    #[arg(long = "data", value_name = "DIR", env = "CLOUD_BACKEND_DATA")]
    pub dir: PathBuf,
    /// The store: sqlite:DIR or postgres://USER@HOST/DATABASE. SQLite files in the data directory when not given. Give
    /// every command the same; a password belongs into the variable, which other users of this host cannot read.
    #[arg(long, value_name = "URI", env = "CLOUD_BACKEND_STORE", hide_env_values = true)]
    pub store: Option<String>,
    /// Where samples are archived: file:///DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX. The folder
    /// `archive` in the data directory when not given. Credentials come from the environment.
    #[arg(long, value_name = "URI", env = "CLOUD_BACKEND_ARCHIVE")]
    pub archive: Option<String>,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Address of the API and the dashboard, plain HTTP; port 0 takes a free one. For other machines, put a
    /// proxy with TLS in front.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "CLOUD_BACKEND_HTTP")]
    pub http: SocketAddr,
    /// Address of the MQTT endpoint, TLS; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8883", env = "CLOUD_BACKEND_MQTT")]
    pub mqtt: SocketAddr,
    /// Address of the API where gateways enrol and renew their certificates, TLS; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8884", env = "CLOUD_BACKEND_GATEWAYS")]
    pub gateways: SocketAddr,
    /// How long a gateway's certificate is good; the gateway renews it after two thirds. A number and s, m, h
    /// or d.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = duration)]
    pub certificate_lifetime: Duration,
    /// How long the certificate is good that gateways see; it is renewed by itself after two thirds.
    #[arg(long, value_name = "TIME", default_value = "397d", value_parser = duration)]
    pub server_certificate_lifetime: Duration,
    /// A host name or IP address under which gateways reach this host; repeat for more. `localhost`,
    /// 127.0.0.1 and the addresses listened on are always among them.
    #[arg(long, value_name = "NAME")]
    pub mqtt_name: Vec<String>,
    /// Where gateways publish, if not here.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// Move samples through the tiers by the policy of each tenant: seal what gateways sent into segments, archive days,
    /// drop what is kept elsewhere. Without it batches stay as they came, and `tiers run` moves what was sealed before.
    #[arg(long, env = "CLOUD_BACKEND_TIERS")]
    pub tiers: bool,
    /// Write the addresses and the process id here, as JSON, once the backend listens.
    #[arg(long, value_name = "FILE")]
    pub state_file: Option<PathBuf>,
}

/// Arguments of `serve` about an external broker.
#[derive(Debug, Args)]
pub struct BrokerArgs {
    /// Take what gateways publish from this MQTT 5 broker instead of listening at --mqtt. Its access rules must let a
    /// gateway publish and subscribe below its own topics only, see `broker configure`.
    #[arg(long, value_name = "mqtts://HOST:PORT", env = "CLOUD_BACKEND_BROKER")]
    pub broker: Option<Address>,
    /// The folder of that broker, a Mosquitto, as `broker configure mosquitto` has written it; revocations come to the
    /// broker through it.
    #[arg(long, value_name = "DIR", requires = "broker", env = "CLOUD_BACKEND_BROKER_DIR")]
    pub broker_dir: Option<PathBuf>,
}

/// Commands on an external broker.
#[derive(Debug, Subcommand)]
pub enum BrokerCommand {
    /// Write what a broker is configured with.
    #[command(subcommand)]
    Configure(ConfigureCommand),
}

/// Brokers that can be configured.
#[derive(Debug, Subcommand)]
pub enum ConfigureCommand {
    /// Mosquitto 2: its configuration, certificates, access rules, and the list of revoked certificates. What is there
    /// is replaced.
    Mosquitto(MosquittoArgs),
}

/// Arguments of `broker configure mosquitto`.
#[derive(Debug, Args)]
pub struct MosquittoArgs {
    /// The folder to write; made when it does not exist.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Where Mosquitto is to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8883")]
    pub listen: SocketAddr,
    /// A host name or IP address under which gateways and the backend reach it; repeat for more. `localhost`,
    /// 127.0.0.1 and the address listened on are always among them.
    #[arg(long, value_name = "NAME")]
    pub name: Vec<String>,
    /// The user that Mosquitto runs as when root starts it.
    #[arg(long, value_name = "USER", default_value = "mosquitto")]
    pub user: String,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Commands on tenants.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Add a tenant.
    Add {
        /// Its id: 1 to 63 characters a-z, 0-9 and '-'.
        id: TenantId,
        /// Its name for people.
        #[arg(long)]
        name: String,
        /// Where everything is kept.
        #[command(flatten)]
        data: DataArgs,
        /// Print the outcome as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Commands on users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a user, who sees one tenant or, as platform operator, all.
    Add(UserAddArgs),
}

/// Arguments of `user add`.
#[derive(Debug, Args)]
pub struct UserAddArgs {
    /// The name used to sign in.
    pub name: String,
    /// The user's name for people; the sign-in name when not given.
    #[arg(long)]
    pub display_name: Option<String>,
    /// The tenant that the user sees.
    #[arg(long, value_name = "TENANT", required_unless_present = "platform_operator")]
    pub tenant: Option<TenantId>,
    /// The user runs the installation and sees all tenants.
    #[arg(long, conflicts_with = "tenant")]
    pub platform_operator: bool,
    /// Read the password from the first line of standard input.
    #[arg(long, required_unless_present = "generate")]
    pub password_stdin: bool,
    /// Make a password and print it.
    #[arg(long, conflicts_with = "password_stdin")]
    pub generate: bool,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Commands on gateways.
#[derive(Debug, Subcommand)]
pub enum GatewayCommand {
    /// Make a one-time code with which a technician enrols a gateway, new or replaced.
    ///
    /// A gateway that is not registered is. When the code is used, certificates that the gateway had before
    /// are revoked; its history stays.
    Invite(GatewayInviteArgs),
    /// Register a gateway and make its key and certificate here, to be carried to it. It is not renewed.
    Add(GatewayAddArgs),
    /// List the gateways of a tenant, their certificates and the versions of their agents.
    List(GatewayListArgs),
    /// Revoke a gateway's certificates and codes: its connections end, what it sent stays.
    Revoke(GatewayArgs),
    /// Ask a gateway for something over the API of the running backend, as a user who may.
    ///
    /// The password is the first line of standard input. A verb takes what it needs: write_tag --machine, --tag and
    /// --value; rescan --machine; resend --stream, --first and --last; update --to-version.
    Command(Box<GatewayCommandArgs>),
}

/// Arguments of `gateway command`.
#[derive(Debug, Args)]
pub struct GatewayCommandArgs {
    /// Which gateway.
    #[arg(value_name = "TENANT/GATEWAY")]
    pub which: GatewayName,
    /// What to do.
    #[arg(value_parser = protocol::GatewayVerb::NAMES)]
    pub verb: String,
    /// The machine.
    #[arg(long)]
    pub machine: Option<String>,
    /// The tag of the machine.
    #[arg(long)]
    pub tag: Option<String>,
    /// What the tag is to read: true, false, a number, or a text.
    #[arg(long, allow_hyphen_values = true)]
    pub value: Option<String>,
    /// The stream: alarm, telemetry or diagnostic.
    #[arg(long)]
    pub stream: Option<String>,
    /// The first batch.
    #[arg(long, value_name = "NUMBER")]
    pub first: Option<u64>,
    /// The last batch.
    #[arg(long, value_name = "NUMBER")]
    pub last: Option<u64>,
    /// The version of the agent.
    #[arg(long, value_name = "VERSION")]
    pub to_version: Option<String>,
    /// Why.
    #[arg(long, default_value = "")]
    pub comment: String,
    /// The id under which it is done once; made if it is not given.
    #[arg(long)]
    pub id: Option<String>,
    /// Where the API is reached.
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "CLOUD_BACKEND_URL")]
    pub url: String,
    /// Who asks.
    #[arg(long, env = "CLOUD_BACKEND_USER")]
    pub user: String,
    /// Wait for the answer, at most 70 seconds, instead of five.
    #[arg(long)]
    pub wait: bool,
    /// Print the answer as JSON, in the form of the API.
    #[arg(long)]
    pub json: bool,
}

/// Commands on the certificate authority.
#[derive(Debug, Subcommand)]
pub enum PkiCommand {
    /// Print the roots that are trusted, what signs, and which gateways still need an older root.
    Status(PkiArgs),
    /// Make a new issuer below the root. What the old one signed stays good.
    RotateIssuer(PkiArgs),
    /// Make a new root, and an issuer below the old and the new one. Gateways get the new root with their next
    /// certificate; the old one stays trusted until `retire-root`.
    RotateRoot(PkiArgs),
    /// End the trust in the older root. Refused while a gateway needs it.
    RetireRoot(PkiArgs),
}

/// Arguments of the commands on the certificate authority.
#[derive(Debug, Args)]
pub struct PkiArgs {
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Which gateway.
#[derive(Debug, Args)]
pub struct GatewayArgs {
    /// The tenant it belongs to.
    #[arg(long)]
    pub tenant: TenantId,
    /// Its id, unique within the tenant.
    #[arg(long)]
    pub gateway: GatewayId,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `gateway invite`.
#[derive(Debug, Args)]
pub struct GatewayInviteArgs {
    /// Which gateway.
    #[command(flatten)]
    pub which: GatewayArgs,
    /// How long the code is good: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration)]
    pub valid: Duration,
}

/// Arguments of `gateway add`.
#[derive(Debug, Args)]
pub struct GatewayAddArgs {
    /// Which gateway.
    #[command(flatten)]
    pub which: GatewayArgs,
    /// Where to write `ca.crt`, `gateway.crt` and `gateway.key`; made when it does not exist.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Arguments of `gateway list`.
#[derive(Debug, Args)]
pub struct GatewayListArgs {
    /// The tenant.
    #[arg(long)]
    pub tenant: TenantId,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `ledger`.
#[derive(Debug, Args)]
pub struct LedgerArgs {
    /// The tenant.
    #[arg(long)]
    pub tenant: TenantId,
    /// Only this gateway.
    #[arg(long)]
    pub gateway: Option<GatewayId>,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print as JSON, in the form of the API.
    #[arg(long)]
    pub json: bool,
}

/// Commands on alarms.
#[derive(Debug, Subcommand)]
pub enum AlarmCommand {
    /// Print the journal: every step of every alarm of a gateway, who took it and why.
    Journal(JournalArgs),
}

/// Arguments of `alarm journal`.
#[derive(Debug, Args)]
pub struct JournalArgs {
    /// The tenant.
    #[arg(long)]
    pub tenant: TenantId,
    /// The gateway.
    #[arg(long)]
    pub gateway: GatewayId,
    /// Only this machine.
    #[arg(long)]
    pub machine: Option<MachineId>,
    /// Only this alarm.
    #[arg(long)]
    pub alarm: Option<AlarmId>,
    /// Most entries to print, the newest.
    #[arg(long, default_value_t = 100, value_name = "COUNT")]
    pub limit: usize,
    /// Where everything is kept.
    #[command(flatten)]
    pub data: DataArgs,
    /// Print as JSON, in the form of the API.
    #[arg(long)]
    pub json: bool,
}

/// A number and a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write a number and s, m, h or d, for example 24h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    if number == 0 { Err(wrong()) } else { Ok(Duration::from_secs(u64::from(number) * seconds)) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for wrong in ["", "30", "d", "0h", "-1h", "1.5h", "1 h", "9999999999s", "1ß"] {
            assert!(duration(wrong).is_err_and(|told| told.contains("24h")), "{wrong}");
        }
    }

    #[test]
    fn a_gateway_is_named_with_its_tenant_and_a_verb_must_be_known() {
        let parse = |gateway: &str, verb: &str| {
            Cli::try_parse_from(["cloud-backend", "gateway", "command", gateway, verb, "--user", "olga"])
        };
        assert!(parse("acme/gw-1", "restart").is_ok());
        for (gateway, verb) in [("gw-1", "restart"), ("acme/GW 1", "restart"), ("acme/gw-1", "format_disk")] {
            assert!(parse(gateway, verb).is_err(), "{gateway} {verb}");
        }
    }

    #[test]
    fn a_user_needs_a_reach_and_a_password() {
        let parse = |extra: &[&str]| {
            let base = ["cloud-backend", "user", "add", "anna", "--data", "d"];
            Cli::try_parse_from(base.iter().chain(extra))
        };
        assert!(parse(&["--tenant", "acme", "--generate"]).is_ok());
        assert!(parse(&["--platform-operator", "--password-stdin"]).is_ok());
        assert!(parse(&["--generate"]).is_err());
        assert!(parse(&["--tenant", "acme"]).is_err());
        assert!(parse(&["--tenant", "acme", "--platform-operator", "--generate"]).is_err());
        assert!(parse(&["--tenant", "Not Valid", "--generate"]).is_err());
    }
}
