//! What can be simulated: nine kinds of machine and two families of protocols.

use std::fmt;

use serde::Serialize;

/// A kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// CNC milling machine.
    CncMill,
    /// Turning lathe.
    Lathe,
    /// Injection moulding machine.
    InjectionMoulding,
    /// Hydraulic press.
    HydraulicPress,
    /// Heat treatment furnace.
    Furnace,
    /// Air compressor.
    Compressor,
    /// Belt conveyor.
    Conveyor,
    /// Robot cell.
    RobotCell,
    /// Packaging line.
    PackagingLine,
}

impl Kind {
    /// All kinds, in the order in which the example plant uses them.
    pub const ALL: [Kind; 9] = [
        Kind::CncMill,
        Kind::Lathe,
        Kind::InjectionMoulding,
        Kind::HydraulicPress,
        Kind::Furnace,
        Kind::Compressor,
        Kind::Conveyor,
        Kind::RobotCell,
        Kind::PackagingLine,
    ];

    /// The name used in plant files, machine files and namespace URIs.
    pub fn slug(self) -> &'static str {
        match self {
            Self::CncMill => "cnc-mill",
            Self::Lathe => "lathe",
            Self::InjectionMoulding => "injection-moulding",
            Self::HydraulicPress => "hydraulic-press",
            Self::Furnace => "furnace",
            Self::Compressor => "compressor",
            Self::Conveyor => "conveyor",
            Self::RobotCell => "robot-cell",
            Self::PackagingLine => "packaging-line",
        }
    }

    /// The name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::CncMill => "CNC mill",
            Self::Lathe => "Lathe",
            Self::InjectionMoulding => "Injection moulding machine",
            Self::HydraulicPress => "Hydraulic press",
            Self::Furnace => "Furnace",
            Self::Compressor => "Compressor",
            Self::Conveyor => "Conveyor",
            Self::RobotCell => "Robot cell",
            Self::PackagingLine => "Packaging line",
        }
    }

    /// The kind with this slug.
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.slug() == slug)
    }

    /// The OPC UA namespace URI of a machine of this kind.
    pub fn namespace_uri(self) -> String {
        format!("urn:machine-simulator:{}", self.slug())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}

/// The protocol a machine speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// Modbus TCP.
    ModbusTcp,
    /// Frames of a serial line carried by TCP.
    ModbusRtuOverTcp,
    /// Modbus on a serial line.
    ModbusRtu,
    /// OPC UA.
    Opcua,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Protocol; 4] =
        [Protocol::ModbusTcp, Protocol::ModbusRtuOverTcp, Protocol::ModbusRtu, Protocol::Opcua];

    /// The name used in plant files.
    pub fn slug(self) -> &'static str {
        match self {
            Self::ModbusTcp => "modbus-tcp",
            Self::ModbusRtuOverTcp => "modbus-rtu-over-tcp",
            Self::ModbusRtu => "modbus-rtu",
            Self::Opcua => "opcua",
        }
    }

    /// The protocol with this slug.
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.slug() == slug)
    }

    /// Whether it is Modbus, whatever carries it.
    pub fn is_modbus(self) -> bool {
        match self {
            Self::ModbusTcp | Self::ModbusRtuOverTcp | Self::ModbusRtu => true,
            Self::Opcua => false,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.slug())
    }
}
