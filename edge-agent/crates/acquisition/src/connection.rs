//! A Modbus connection to one machine: everything its driver is told.

use std::fmt;
use std::time::Duration;

use crate::plan::{PlanLimits, PollBlock, plan};
use crate::{AcquisitionError, ModbusTag, TagIndex};

/// The most tags on one connection: a machine, not a plant. It bounds the memory of one connection
/// and the burst of readings when its link fails; positions fit a [`crate::TagIndex`].
pub const TAGS_MAX: usize = 10_000;

/// Where a Modbus machine is reached. Machines with the same address share one connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModbusAddress {
    /// Modbus TCP.
    Tcp {
        /// A name or an IP address.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// RTU frames in a TCP stream, as serial device servers send them.
    RtuOverTcp {
        /// A name or an IP address.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// A serial line.
    Rtu(SerialLine),
}

impl ModbusAddress {
    /// The name of the protocol in configuration and in the API.
    #[must_use]
    pub const fn protocol(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "modbus-tcp",
            Self::RtuOverTcp { .. } => "modbus-rtu-over-tcp",
            Self::Rtu(_) => "modbus-rtu",
        }
    }

    fn check(&self) -> Result<(), AcquisitionError> {
        match self {
            Self::Tcp { port: 0, .. } | Self::RtuOverTcp { port: 0, .. } => Err(AcquisitionError::Port),
            Self::Tcp { host, .. } | Self::RtuOverTcp { host, .. } => check_host(host),
            Self::Rtu(line) => line.check(),
        }
    }
}

impl fmt::Display for ModbusAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } | Self::RtuOverTcp { host, port } => write!(f, "{host} port {port}"),
            Self::Rtu(line) => f.write_str(&line.device),
        }
    }
}

/// A serial line and how bits travel on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SerialLine {
    /// The device file; a name under `/dev/serial/by-id` stays the same when adapters are replugged.
    pub device: String,
    /// Bits per second.
    pub baud_rate: u32,
    /// The parity bit.
    pub parity: Parity,
    /// Bits in a character, 7 or 8; RTU frames need 8.
    pub data_bits: u8,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
}

impl SerialLine {
    /// The least and the most bits per second.
    pub const BAUD_RATES: std::ops::RangeInclusive<u32> = 1_200..=921_600;

    fn check(&self) -> Result<(), AcquisitionError> {
        let is_path =
            self.device.starts_with('/') && self.device.len() <= 4_096 && !self.device.contains('\0');
        if !is_path {
            return Err(AcquisitionError::Device { device: self.device.chars().take(200).collect() });
        }
        let numbers = [
            ("baud_rate", self.baud_rate, *Self::BAUD_RATES.start(), *Self::BAUD_RATES.end()),
            ("data_bits", u32::from(self.data_bits), 8, 8),
            ("stop_bits", u32::from(self.stop_bits), 1, 2),
        ];
        numbers.into_iter().try_for_each(|(what, value, min, max)| check_number(what, value, min, max))
    }

    /// How long `characters` take on the line.
    #[must_use]
    pub fn duration_of(&self, characters: u32) -> Duration {
        let parity = u32::from(self.parity != Parity::None);
        let bits = characters * (1 + u32::from(self.data_bits) + parity + u32::from(self.stop_bits));
        Duration::from_secs(1) * bits / self.baud_rate.max(1)
    }

    /// The silence between two frames: 3.5 characters, and above 19,200 bits per second 1.75 ms
    /// (Modbus over Serial Line V1.02, section 2.5.1.1).
    #[must_use]
    pub fn frame_gap(&self) -> Duration {
        let fixed = Duration::from_micros(1_750);
        if self.baud_rate > 19_200 { fixed } else { self.duration_of(7) / 2 }
    }
}

/// The parity bit of a serial line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Parity {
    /// There is none.
    None,
    /// Even, the default of the standard.
    #[default]
    Even,
    /// Odd.
    Odd,
}

/// What a device needs that the standard does not ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quirks {
    /// A pause before the first request of a connection.
    pub pause_after_connect: Duration,
    /// A pause between an answer and the next request.
    pub pause_between_requests: Duration,
    /// What one request may ask for.
    pub limits: PlanLimits,
    /// What becomes of the connection when nothing is due.
    pub after_read: AfterRead,
    /// After this long without an answer the tags of a request are uncertain, though it is awaited until
    /// the time-out.
    pub soft_deadline: Option<Duration>,
    /// Over which connection it is written; `None` as suits its address.
    pub write_path: Option<WritePath>,
}

/// Over which connection a machine is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WritePath {
    /// The one that it is read over: after the request under way, before the next.
    Shared,
    /// One of its own, which no other request holds up.
    Own,
}

impl WritePath {
    /// The name used in configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Own => "own",
        }
    }
}

impl Quirks {
    /// The longest pause.
    pub const PAUSE_MAX: Duration = Duration::from_secs(10);
    /// The shortest soft deadline: any plant network is faster.
    pub const SOFT_DEADLINE_MIN: Duration = Duration::from_millis(10);

    fn check(&self) -> Result<(), AcquisitionError> {
        check_time("pause_after_connect", self.pause_after_connect, Duration::ZERO, Self::PAUSE_MAX)?;
        check_time("pause_between_requests", self.pause_between_requests, Duration::ZERO, Self::PAUSE_MAX)?;
        let PlanLimits { max_registers, max_coils, max_gap, .. } = self.limits;
        let most = PlanLimits::default();
        check_number("max_registers", max_registers.into(), 1, most.max_registers.into())?;
        check_number("max_coils", max_coils.into(), 1, most.max_coils.into())?;
        check_number("max_gap", max_gap.into(), 0, most.max_coils.into())
    }

    /// A soft deadline comes before the hard one.
    fn check_deadline(&self, timeout: Duration) -> Result<(), AcquisitionError> {
        let longest = timeout.saturating_sub(Duration::from_millis(1));
        let check = |soft| check_time("soft_deadline", soft, Self::SOFT_DEADLINE_MIN, longest);
        self.soft_deadline.map_or(Ok(()), check)
    }
}

/// What becomes of a connection when nothing is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterRead {
    /// It stays open.
    #[default]
    Keep,
    /// It is closed, for devices that serve few connections.
    Close,
}

/// The parameters of a connection as configured, not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModbusConnectionParameters {
    /// Where the machine is.
    pub address: ModbusAddress,
    /// The unit behind the address.
    pub unit_id: u8,
    /// What one request may take.
    pub timeout: Duration,
    /// What the device needs.
    pub quirks: Quirks,
}

/// A Modbus machine with its tags and the plan that reads them.
#[derive(Debug, Clone, PartialEq)]
pub struct ModbusConnection {
    parameters: ModbusConnectionParameters,
    tags: Vec<ModbusTag>,
    blocks: Vec<PollBlock>,
}

impl ModbusConnection {
    /// The shortest time a machine is given to answer.
    pub const TIMEOUT_MIN: Duration = Duration::from_millis(20);
    /// The longest time a machine is given to answer.
    pub const TIMEOUT_MAX: Duration = Duration::from_secs(30);

    /// Checks a connection and plans its requests. `tags` lie in the order of the machine's tag list.
    ///
    /// # Errors
    /// A part that cannot work.
    pub fn new(
        parameters: ModbusConnectionParameters,
        tags: Vec<ModbusTag>,
    ) -> Result<Self, AcquisitionError> {
        parameters.address.check()?;
        check_time("timeout", parameters.timeout, Self::TIMEOUT_MIN, Self::TIMEOUT_MAX)?;
        parameters.quirks.check()?;
        parameters.quirks.check_deadline(parameters.timeout)?;
        if parameters.unit_id == 0 && !matches!(parameters.address, ModbusAddress::Tcp { .. }) {
            return Err(AcquisitionError::Broadcast);
        }
        check_count(tags.len())?;
        let mut connection = Self { parameters, tags, blocks: Vec::new() };
        if let Some(gap) = connection.gap_assumed() {
            connection.parameters.quirks.limits.max_gap = gap;
        }
        connection.blocks = plan(&connection.tags, &connection.parameters.quirks.limits)?;
        Ok(connection)
    }

    /// The connection, with these tags read at an interval that was checked before.
    #[must_use]
    pub(crate) fn with_poll_interval(&self, tags: &[TagIndex], poll_interval: Duration) -> Self {
        let mut changed = self.clone();
        for tag in tags {
            let tag = &mut changed.tags[tag.as_usize()];
            *tag = tag.with_poll_interval(poll_interval);
        }
        changed.blocks = plan(&changed.tags, &changed.parameters.quirks.limits)
            .expect("a tag that fits a request does so at any interval");
        changed
    }

    /// Where the machine is reached.
    #[must_use]
    pub const fn address(&self) -> &ModbusAddress {
        &self.parameters.address
    }

    /// The unit behind the address.
    #[must_use]
    pub const fn unit_id(&self) -> u8 {
        self.parameters.unit_id
    }

    /// What one request may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.parameters.timeout
    }

    /// What the device needs.
    #[must_use]
    pub const fn quirks(&self) -> &Quirks {
        &self.parameters.quirks
    }

    /// Over which connection the machine is written; `units` are behind its address, itself included.
    ///
    /// Unless it was configured: where several units share a Modbus TCP address, a silent one would hold up a
    /// write for its whole time-out, and what is at such an address serves several connections as a rule. A
    /// machine that is alone there has little to gain, and some have a single connection to give. A serial line
    /// has room for one in any case.
    #[must_use]
    pub fn write_path(&self, units: usize) -> WritePath {
        let quirks = self.quirks();
        let suits = if units > 1 && quirks.after_read == AfterRead::Keep {
            WritePath::Own
        } else {
            WritePath::Shared
        };
        match self.address() {
            ModbusAddress::Tcp { .. } => quirks.write_path.unwrap_or(suits),
            ModbusAddress::RtuOverTcp { .. } | ModbusAddress::Rtu(_) => WritePath::Shared,
        }
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

pub(crate) fn check_number(
    what: &'static str,
    value: u32,
    min: u32,
    max: u32,
) -> Result<(), AcquisitionError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(AcquisitionError::Number { what, value, min, max })
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

pub(crate) fn check_count(count: usize) -> Result<(), AcquisitionError> {
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

#[cfg(test)]
mod tests {
    use plant_model::DataType;

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
            range: None,
        })
        .expect("valid")
    }

    fn parameters(address: ModbusAddress, timeout_ms: u64) -> ModbusConnectionParameters {
        let timeout = Duration::from_millis(timeout_ms);
        ModbusConnectionParameters { address, unit_id: 1, timeout, quirks: Quirks::default() }
    }

    fn line(device: &str, baud_rate: u32, parity: Parity) -> SerialLine {
        SerialLine { device: device.to_owned(), baud_rate, parity, data_bits: 8, stop_bits: 1 }
    }

    fn refused(change: impl FnOnce(&mut ModbusConnectionParameters)) -> String {
        let mut p = parameters(ModbusAddress::Rtu(line("/dev/ttyUSB0", 9_600, Parity::Even)), 500);
        change(&mut p);
        ModbusConnection::new(p, vec![tag()]).expect_err("this cannot work").to_string()
    }

    #[test]
    fn an_impossible_line_or_quirk_is_refused_with_what_is_allowed() {
        type Change = fn(&mut ModbusConnectionParameters);
        let cases: [(Change, &str); 8] = [
            (|p| p.quirks.soft_deadline = Some(Duration::from_millis(500)), "10ms to 499ms"),
            (|p| p.quirks.soft_deadline = Some(Duration::from_millis(9)), "10ms to 499ms"),
            (|p| p.address = ModbusAddress::Rtu(line("COM3", 9_600, Parity::Even)), "/dev/serial/by-id"),
            (|p| p.address = ModbusAddress::Rtu(line("/dev/x", 100, Parity::Even)), "1200 to 921600"),
            (|p| p.unit_id = 0, "broadcast"),
            (|p| p.quirks.limits.max_registers = 126, "1 to 125"),
            (|p| p.quirks.limits.max_coils = 0, "1 to 2000"),
            (|p| p.quirks.pause_after_connect = Duration::from_secs(11), "0ns to 10s"),
        ];
        for (change, allowed) in cases {
            let message = refused(change);
            assert!(message.contains(allowed), "{message}");
        }
    }

    #[test]
    fn the_silence_between_frames_follows_the_baud_rate_and_is_fixed_above_19200() {
        assert_eq!(line("/dev/x", 9_600, Parity::Even).duration_of(96), Duration::from_millis(110));
        assert_eq!(line("/dev/x", 9_600, Parity::Even).frame_gap().as_micros(), 4_010);
        assert_eq!(line("/dev/x", 115_200, Parity::None).frame_gap().as_micros(), 1_750);
    }

    fn modbus(
        host: &str,
        port: u16,
        timeout_ms: u64,
        count: usize,
    ) -> Result<ModbusConnection, AcquisitionError> {
        let address = ModbusAddress::Tcp { host: host.to_owned(), port };
        ModbusConnection::new(parameters(address, timeout_ms), vec![tag(); count])
    }

    #[test]
    fn a_connection_keeps_what_it_was_given_and_plans_it() {
        let connection = modbus("plc-1.local", 502, 1000, 3).expect("valid");
        assert_eq!(
            (connection.address().to_string().as_str(), connection.unit_id()),
            ("plc-1.local port 502", 1)
        );
        assert_eq!(connection.blocks().len(), 1);
        assert_eq!(connection.blocks()[0].tags.len(), 3);
        assert!(modbus("fe80::1", 502, 1000, 1).is_ok());
    }

    #[test]
    fn d7_units_that_share_a_tcp_address_are_written_on_a_connection_of_their_own_and_lines_never() {
        let path = |address: ModbusAddress, units: usize, quirks: Quirks| {
            let parameters = ModbusConnectionParameters { quirks, ..parameters(address, 500) };
            ModbusConnection::new(parameters, vec![tag()]).expect("valid").write_path(units)
        };
        let tcp = || ModbusAddress::Tcp { host: "plc".to_owned(), port: 502 };
        let plain = Quirks::default();
        assert_eq!((path(tcp(), 1, plain), path(tcp(), 2, plain)), (WritePath::Shared, WritePath::Own));
        let (shared, own) = (Some(WritePath::Shared), Some(WritePath::Own));
        assert_eq!(path(tcp(), 2, Quirks { write_path: shared, ..plain }), WritePath::Shared);
        assert_eq!(path(tcp(), 1, Quirks { write_path: own, ..plain }), WritePath::Own);
        assert_eq!(path(tcp(), 2, Quirks { after_read: AfterRead::Close, ..plain }), WritePath::Shared);
        let rtu = ModbusAddress::Rtu(line("/dev/ttyUSB0", 9_600, Parity::Even));
        assert_eq!(path(rtu, 2, Quirks { write_path: own, ..plain }), WritePath::Shared);
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
}
