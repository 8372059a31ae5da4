//! A connection to one OPC UA server: which nodes, how often, how protected, and as which user.

use std::path::{Path, PathBuf};
use std::time::Duration;

use plant_model::DataType;

use crate::connection::{check_count, check_time};
use crate::{AcquisitionError, NodeReference};

/// A node of an OPC UA server that carries a tag.
#[derive(Debug, Clone, PartialEq)]
pub struct OpcUaItem {
    /// Which node.
    pub node: NodeReference,
    /// What its values are to be.
    pub data_type: DataType,
    /// Changes that the server need not report; never on a tag with an alarm, because a value can rest
    /// just beyond its limit and go unreported.
    pub deadband: Option<Deadband>,
    /// Whether an alarm watches the tag, so that a late value is a late alarm.
    pub has_alarm: bool,
}

impl OpcUaItem {
    /// An item without deadband and alarm.
    #[must_use]
    pub const fn new(node: NodeReference, data_type: DataType) -> Self {
        Self { node, data_type, deadband: None, has_alarm: false }
    }
}

/// How far a value must move to be reported (OPC UA Part 4, 7.22.2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Deadband {
    /// By more than this, in the unit of the tag.
    Absolute(f64),
    /// By more than this share of the node's engineering range, in percent.
    Percent(f64),
}

/// How messages to and from a server are protected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OpcUaSecurity {
    /// Not at all.
    #[default]
    None,
    /// Under a policy; anything less is refused.
    Protected {
        /// The algorithms.
        policy: SecurityPolicy,
        /// What they do.
        mode: SecurityMode,
        /// Which server is the right one.
        trust: ServerTrust,
    },
}

/// The algorithms of a secure channel (OPC UA Part 7). Older policies are broken and not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityPolicy {
    /// `Basic256Sha256`.
    Basic256Sha256,
    /// `Aes128_Sha256_RsaOaep`.
    Aes128Sha256RsaOaep,
    /// `Aes256_Sha256_RsaPss`.
    Aes256Sha256RsaPss,
}

impl SecurityPolicy {
    /// The name used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Basic256Sha256 => "basic256sha256",
            Self::Aes128Sha256RsaOaep => "aes128_sha256_rsa_oaep",
            Self::Aes256Sha256RsaPss => "aes256_sha256_rsapss",
        }
    }
}

/// What a secure channel does with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityMode {
    /// Nobody can change them; everybody can read them.
    Sign,
    /// Nobody can change or read them.
    SignAndEncrypt,
}

impl SecurityMode {
    /// The name used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sign => "sign",
            Self::SignAndEncrypt => "sign_and_encrypt",
        }
    }
}

/// Which certificate a server must show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerTrust {
    /// Exactly the one in this file, DER or PEM.
    Certificate(PathBuf),
    /// One of those in this folder, DER or PEM.
    Folder(PathBuf),
}

/// Who logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpcUaUser {
    /// The name.
    pub name: String,
    /// The file that holds the password, and only that; a line break at its end does not count.
    pub password_file: PathBuf,
}

/// How values get from the server to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcquisitionMode {
    /// The server reports changes; what it will not watch, or only too slowly for an alarm, is read
    /// cyclically.
    #[default]
    Auto,
    /// The server reports changes; what it will not watch is bad.
    Subscribe,
    /// Everything is read cyclically, at the sampling interval.
    Poll,
}

/// An OPC UA session with its items.
#[derive(Debug, Clone, PartialEq)]
pub struct OpcUaConnection {
    endpoint: String,
    sampling_interval: Duration,
    publishing_interval: Duration,
    items: Vec<OpcUaItem>,
    security: OpcUaSecurity,
    user: Option<OpcUaUser>,
    mode: AcquisitionMode,
    clock_interval: Duration,
}

impl OpcUaConnection {
    /// How often the clock of a server is looked at. Three looks that find it standing still show that
    /// the server hangs, after 15 s; one value in 5 s costs it nothing.
    pub const CLOCK_INTERVAL: Duration = Duration::from_secs(5);
    /// The shortest publishing interval.
    pub const PUBLISHING_INTERVAL_MIN: Duration = Duration::from_millis(10);
    /// The longest sampling and publishing interval.
    pub const INTERVAL_MAX: Duration = Duration::from_secs(60);
    /// The shortest interval between two cyclic reads.
    pub const POLL_INTERVAL_MIN: Duration = Duration::from_millis(20);

    /// Checks a connection without protection and user. `items` lie in the order of the machine's tag
    /// list; a `sampling_interval` of zero asks for the fastest the server has.
    ///
    /// # Errors
    /// A part that cannot work.
    pub fn new(
        endpoint: &str,
        sampling_interval: Duration,
        publishing_interval: Duration,
        items: Vec<OpcUaItem>,
    ) -> Result<Self, AcquisitionError> {
        check_endpoint(endpoint)?;
        check_time("sampling_interval", sampling_interval, Duration::ZERO, Self::INTERVAL_MAX)?;
        check_time(
            "publishing_interval",
            publishing_interval,
            Self::PUBLISHING_INTERVAL_MIN,
            Self::INTERVAL_MAX,
        )?;
        check_count(items.len())?;
        Ok(Self {
            endpoint: endpoint.to_owned(),
            sampling_interval,
            publishing_interval,
            items,
            security: OpcUaSecurity::None,
            user: None,
            mode: AcquisitionMode::Auto,
            clock_interval: Self::CLOCK_INTERVAL,
        })
    }

    /// The connection, with values sampled at this interval, which was checked before.
    #[must_use]
    pub(crate) fn with_sampling_interval(self, sampling_interval: Duration) -> Self {
        Self { sampling_interval, ..self }
    }

    /// The connection, protected like this.
    #[must_use]
    pub fn with_security(self, security: OpcUaSecurity) -> Self {
        Self { security, ..self }
    }

    /// The connection, with this user instead of an anonymous one.
    #[must_use]
    pub fn with_user(self, user: OpcUaUser) -> Self {
        Self { user: Some(user), ..self }
    }

    /// The connection, with values acquired like this.
    #[must_use]
    pub fn with_mode(self, mode: AcquisitionMode) -> Self {
        Self { mode, ..self }
    }

    /// The connection, with another pace than [`OpcUaConnection::CLOCK_INTERVAL`].
    #[must_use]
    pub fn with_clock_interval(self, interval: Duration) -> Self {
        Self { clock_interval: interval.max(Self::POLL_INTERVAL_MIN), ..self }
    }

    /// How often the clock of the server is looked at.
    #[must_use]
    pub const fn clock_interval(&self) -> Duration {
        self.clock_interval
    }

    /// The address of the server, `opc.tcp://…`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How often the server shall look at a value.
    #[must_use]
    pub const fn sampling_interval(&self) -> Duration {
        self.sampling_interval
    }

    /// How often the server shall send what changed.
    #[must_use]
    pub const fn publishing_interval(&self) -> Duration {
        self.publishing_interval
    }

    /// How often values are read that are not watched by the server.
    #[must_use]
    pub fn poll_interval(&self) -> Duration {
        self.sampling_interval.max(Self::POLL_INTERVAL_MIN)
    }

    /// The items in the order of the machine's tag list.
    #[must_use]
    pub fn items(&self) -> &[OpcUaItem] {
        &self.items
    }

    /// How messages are protected.
    #[must_use]
    pub const fn security(&self) -> &OpcUaSecurity {
        &self.security
    }

    /// Who logs in; nobody is anonymous.
    #[must_use]
    pub const fn user(&self) -> Option<&OpcUaUser> {
        self.user.as_ref()
    }

    /// How values are acquired.
    #[must_use]
    pub const fn mode(&self) -> AcquisitionMode {
        self.mode
    }
}

impl ServerTrust {
    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Certificate(path) | Self::Folder(path) => path,
        }
    }
}

fn check_endpoint(endpoint: &str) -> Result<(), AcquisitionError> {
    let refuse =
        |problem| Err(AcquisitionError::Endpoint { endpoint: endpoint.chars().take(300).collect(), problem });
    let Some(rest) = endpoint.strip_prefix("opc.tcp://") else {
        return refuse("it does not begin with opc.tcp://");
    };
    if endpoint.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return refuse("it holds blanks");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return refuse("it holds a user name");
    }
    let (host, port) = split_port(authority);
    match port {
        _ if host.is_empty() => refuse("the host is missing"),
        Some(port) if !matches!(port.parse::<u16>(), Ok(1..)) => refuse("the port is not 1 to 65535"),
        Some(_) | None => Ok(()),
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opcua(
        endpoint: &str,
        sampling_ms: u64,
        publishing_ms: u64,
    ) -> Result<OpcUaConnection, AcquisitionError> {
        let items = vec![OpcUaItem::new("ns=2;s=a".parse().expect("valid"), DataType::Float)];
        let (sampling, publishing) =
            (Duration::from_millis(sampling_ms), Duration::from_millis(publishing_ms));
        OpcUaConnection::new(endpoint, sampling, publishing, items)
    }

    #[test]
    fn an_endpoint_needs_scheme_host_and_a_possible_port() {
        for good in
            ["opc.tcp://plc:4840", "opc.tcp://10.0.0.1:4840/path/x", "opc.tcp://[::1]:4840", "opc.tcp://plc"]
        {
            assert_eq!(opcua(good, 50, 100).expect(good).endpoint(), good);
        }
        for (bad, problem) in [
            ("http://plc:4840", "opc.tcp://"),
            ("opc.tcp://", "host is missing"),
            ("opc.tcp://:4840", "host is missing"),
            ("opc.tcp://plc:0", "port"),
            ("opc.tcp://plc:99999", "port"),
            ("opc.tcp://user@plc:4840", "user name"),
            ("opc.tcp://plc :4840", "blanks"),
        ] {
            let error = opcua(bad, 50, 100).expect_err(bad).to_string();
            assert!(error.contains(problem) && error.contains("opc.tcp://host:port"), "{error}");
        }
    }

    #[test]
    fn the_intervals_of_a_session_have_limits() {
        assert!(opcua("opc.tcp://plc:4840", 0, 10).is_ok());
        assert!(opcua("opc.tcp://plc:4840", 50, 9).is_err());
        assert!(opcua("opc.tcp://plc:4840", 60_001, 100).is_err());
    }

    #[test]
    fn what_is_polled_is_never_polled_without_a_pause() {
        let connection = opcua("opc.tcp://plc:4840", 0, 100).expect("valid");
        assert_eq!(connection.poll_interval(), OpcUaConnection::POLL_INTERVAL_MIN);
    }
}
