//! A connection to one machine: everything a driver is told.

use std::time::Duration;

use plant_model::DataType;

use crate::plan::{PlanLimits, PollBlock, plan};
use crate::{AcquisitionError, ModbusTag, NodeReference};

/// The most tags on one connection: a machine, not a plant. It bounds the memory of one connection
/// and the burst of readings when its link fails; positions fit a [`crate::TagIndex`].
pub const TAGS_MAX: usize = 10_000;

/// A Modbus TCP connection with its tags and the plan that reads them.
#[derive(Debug, Clone, PartialEq)]
pub struct ModbusConnection {
    host: String,
    port: u16,
    unit_id: u8,
    timeout: Duration,
    tags: Vec<ModbusTag>,
    blocks: Vec<PollBlock>,
}

impl ModbusConnection {
    /// The shortest time a machine is given to answer.
    pub const TIMEOUT_MIN: Duration = Duration::from_millis(20);
    /// The longest time a machine is given to answer.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);

    /// Checks a connection and plans its requests. `tags` lie in the order of the machine's tag
    /// list; `timeout` is what one request may take.
    ///
    /// # Errors
    /// A part that cannot work.
    pub fn new(
        host: &str,
        port: u16,
        unit_id: u8,
        timeout: Duration,
        tags: Vec<ModbusTag>,
    ) -> Result<Self, AcquisitionError> {
        check_host(host)?;
        if port == 0 {
            return Err(AcquisitionError::Port);
        }
        check_time("timeout", timeout, Self::TIMEOUT_MIN, Self::TIMEOUT_MAX)?;
        check_count(tags.len())?;
        let blocks = plan(&tags, &PlanLimits::default())?;
        Ok(Self { host: host.to_owned(), port, unit_id, timeout, tags, blocks })
    }

    /// The name or address of the machine.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The unit behind the address.
    #[must_use]
    pub const fn unit_id(&self) -> u8 {
        self.unit_id
    }

    /// What one request may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The tags in the order of the machine's tag list.
    #[must_use]
    pub fn tags(&self) -> &[ModbusTag] {
        &self.tags
    }

    /// The requests that read the tags, the most frequent first.
    #[must_use]
    pub fn blocks(&self) -> &[PollBlock] {
        &self.blocks
    }
}

/// A node of an OPC UA server that carries a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpcUaItem {
    /// Which node.
    pub node: NodeReference,
    /// What its values are to be.
    pub data_type: DataType,
}

/// An OPC UA session with its monitored items. Security policy None, anonymous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpcUaConnection {
    endpoint: String,
    sampling_interval: Duration,
    publishing_interval: Duration,
    items: Vec<OpcUaItem>,
}

impl OpcUaConnection {
    /// The shortest publishing interval.
    pub const PUBLISHING_INTERVAL_MIN: Duration = Duration::from_millis(10);
    /// The longest sampling and publishing interval.
    pub const INTERVAL_MAX: Duration = Duration::from_secs(60);

    /// Checks a connection. `items` lie in the order of the machine's tag list; a `sampling_interval`
    /// of zero asks for the fastest the server has.
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
        Ok(Self { endpoint: endpoint.to_owned(), sampling_interval, publishing_interval, items })
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

    /// The items in the order of the machine's tag list.
    #[must_use]
    pub fn items(&self) -> &[OpcUaItem] {
        &self.items
    }
}

pub(crate) fn check_time(
    what: &'static str,
    value: Duration,
    min: Duration,
    max: Duration,
) -> Result<(), AcquisitionError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(AcquisitionError::Time { what, value, min, max }) }
}

fn check_count(count: usize) -> Result<(), AcquisitionError> {
    if (1..=TAGS_MAX).contains(&count) {
        Ok(())
    } else {
        Err(AcquisitionError::TagCount { count, max: TAGS_MAX })
    }
}

/// An IPv6 address is written without brackets.
fn check_host(host: &str) -> Result<(), AcquisitionError> {
    let is_ip = host.parse::<std::net::IpAddr>().is_ok();
    let is_name = (1..=253).contains(&host.len())
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if is_ip || is_name {
        Ok(())
    } else {
        Err(AcquisitionError::Host { host: host.chars().take(260).collect() })
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
    use crate::modbus::{ModbusTagParameters, RegisterFormat, RegisterTable, WordOrder};

    fn tag() -> ModbusTag {
        ModbusTag::new(ModbusTagParameters {
            table: RegisterTable::HoldingRegister,
            pdu_address: 0,
            format: RegisterFormat::U16,
            word_order: WordOrder::Abcd,
            scale: 1.0,
            offset: 0.0,
            poll_interval: Duration::from_secs(1),
            data_type: DataType::Int,
        })
        .expect("valid")
    }

    fn modbus(
        host: &str,
        port: u16,
        timeout_ms: u64,
        count: usize,
    ) -> Result<ModbusConnection, AcquisitionError> {
        ModbusConnection::new(host, port, 1, Duration::from_millis(timeout_ms), vec![tag(); count])
    }

    #[test]
    fn a_connection_keeps_what_it_was_given_and_plans_it() {
        let connection = modbus("plc-1.local", 502, 1000, 3).expect("valid");
        assert_eq!((connection.host(), connection.port(), connection.unit_id()), ("plc-1.local", 502, 1));
        assert_eq!(connection.blocks().len(), 1);
        assert_eq!(connection.blocks()[0].tags.len(), 3);
        assert!(modbus("fe80::1", 502, 1000, 1).is_ok());
    }

    #[test]
    fn an_impossible_connection_is_refused_with_the_way_out() {
        let host = modbus("10.0.0.1:502", 502, 1000, 1).expect_err("a port in the host");
        assert!(host.to_string().contains("without port"), "{host}");
        assert_eq!(modbus("plc", 0, 1000, 1), Err(AcquisitionError::Port));
        let timeout = modbus("plc", 502, 5, 1).expect_err("too short");
        assert_eq!(timeout.to_string(), "timeout of 5ms is out of range: use 20ms to 30s");
        assert!(matches!(modbus("plc", 502, 1000, 0), Err(AcquisitionError::TagCount { count: 0, .. })));
        assert!(modbus("plc", 502, 1000, TAGS_MAX).is_ok());
        assert!(modbus("plc", 502, 1000, TAGS_MAX + 1).is_err());
    }

    fn opcua(
        endpoint: &str,
        sampling_ms: u64,
        publishing_ms: u64,
    ) -> Result<OpcUaConnection, AcquisitionError> {
        let items = vec![OpcUaItem { node: "ns=2;s=a".parse().expect("valid"), data_type: DataType::Float }];
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
}
