//! The tags of every kind of machine: exactly 20 per machine, on both protocols.
//!
//! Order of a machine's tags: the two alarm-carrying analogs, `scan_count`, `fast_count` (Modbus) or
//! `energy_total` (OPC UA), `state`, two part counters, the program or recipe, three bools, nine more analogs.

mod forming;
mod handling;
mod machining;

use crate::kind::{Kind, Protocol};

/// Number of tags of every machine.
pub(crate) const TAGS_PER_MACHINE: usize = 20;
/// Registers of a text tag on Modbus, and so half the greatest length of a text.
pub(crate) const TEXT_REGISTERS: u16 = 8;

/// How a tag travels: the Modbus register format, from which the OPC UA type follows.
///
/// `decimals` is the resolution of the sensor: values are multiples of `10^-decimals`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// One unsigned register.
    U16 {
        /// Digits after the point.
        decimals: u8,
    },
    /// One signed register.
    I16 {
        /// Digits after the point.
        decimals: u8,
    },
    /// Two registers, unsigned.
    U32 {
        /// Digits after the point.
        decimals: u8,
    },
    /// Two registers, signed.
    I32 {
        /// Digits after the point.
        decimals: u8,
    },
    /// Two registers, IEEE 754 single precision.
    F32 {
        /// Digits after the point.
        decimals: u8,
    },
    /// One bit of the register that all bools of a machine share.
    Bit,
    /// Eight registers of ASCII, two characters each, high byte first, filled up with NUL.
    Text,
}

impl Encoding {
    /// Decimals and smallest and greatest raw number, if the tag travels as a scaled integer.
    pub(crate) fn scaled_integer(self) -> Option<(u8, f64, f64)> {
        match self {
            Self::U16 { decimals } => Some((decimals, 0.0, f64::from(u16::MAX))),
            Self::I16 { decimals } => Some((decimals, f64::from(i16::MIN), f64::from(i16::MAX))),
            Self::U32 { decimals } => Some((decimals, 0.0, f64::from(u32::MAX))),
            Self::I32 { decimals } => Some((decimals, f64::from(i32::MIN), f64::from(i32::MAX))),
            Self::F32 { .. } | Self::Bit | Self::Text => None,
        }
    }
}

/// What the tag means to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Machine state: 0 running, 1 idle, 2 down, 3 setup.
    State,
    /// Shown on the tile of the machine.
    Headline,
}

/// Which side of the limit raises the alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlarmKind {
    /// The value lies above the limit.
    High,
    /// The value lies below the limit.
    Low,
}

/// The alarm of a tag. The process model never crosses the limit; only a value set through the control does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AlarmSpec {
    /// Side of the limit.
    pub kind: AlarmKind,
    /// Limit, in the tag's unit.
    pub limit: f64,
    /// Distance the value must come back before the alarm clears, in the tag's unit.
    pub deadband: f64,
    /// What the operator reads.
    pub message: &'static str,
}

/// A bool of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// True while the machine runs.
    Running,
    /// True except during setup.
    NotInSetup,
    /// True for seven periods out of eight, at random.
    Mostly,
}

/// The pure function behind a tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Signal {
    /// Between `idle` and `running` by how much the machine has run lately, plus a slow wave and noise.
    Analog {
        /// Level of a machine that stands still.
        idle: f64,
        /// Level of a machine that runs.
        running: f64,
        /// Amplitude of the slow wave.
        swing: f64,
        /// Amplitude of the noise.
        noise: f64,
    },
    /// 0 running, 1 idle, 2 down, 3 setup.
    State,
    /// Running seconds of the shift divided by `seconds_each`, rounded down: parts and scrap counters.
    Count {
        /// Running seconds per counted item.
        seconds_each: u32,
    },
    /// Energy of the shift in kWh.
    Energy {
        /// Mean power while running, in kW.
        running_kw: f64,
    },
    /// A bool.
    Flag(Flag),
    /// One of three names.
    Program(&'static [&'static str; 3]),
    /// Number of the model tick, starting at 1 (`scan_count` on OPC UA).
    TickCount,
    /// Not from the model: the number of served reads that covered the tag (Modbus).
    ReadCount,
}

/// Everything fixed about one tag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TagSpec {
    /// Identifier, letters, digits and `_`.
    pub id: &'static str,
    /// Name for people.
    pub name: &'static str,
    /// UCUM unit, empty if the tag has none.
    pub unit: &'static str,
    /// Where the value comes from.
    pub signal: Signal,
    /// How the value travels.
    pub encoding: Encoding,
    /// Meaning to a viewer.
    pub role: Option<Role>,
    /// The tag's alarm, on two tags of each machine.
    pub alarm: Option<AlarmSpec>,
}

impl TagSpec {
    const fn plain(id: &'static str, name: &'static str, signal: Signal, encoding: Encoding) -> Self {
        Self { id, name, unit: "", signal, encoding, role: None, alarm: None }
    }

    const fn with_unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    const fn with_role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// A counting proof tag, which the control refuses to overwrite.
    pub fn is_proof(&self) -> bool {
        matches!(self.signal, Signal::TickCount | Signal::ReadCount)
    }
}

/// What differs between kinds.
pub(crate) struct KindSpec {
    alarmed: [TagSpec; 2],
    analogs: [TagSpec; 9],
    flags: [(&'static str, &'static str, Flag); 3],
    program: (&'static str, &'static str, &'static [&'static str; 3]),
    /// Running seconds per part.
    seconds_per_part: u32,
    running_kw: f64,
    /// Whether 32-bit values carry their low word first, as many controllers do.
    pub(crate) low_word_first: bool,
}

pub(crate) fn kind_spec(kind: Kind) -> &'static KindSpec {
    match kind {
        Kind::CncMill => &machining::CNC_MILL,
        Kind::Lathe => &machining::LATHE,
        Kind::RobotCell => &machining::ROBOT_CELL,
        Kind::InjectionMoulding => &forming::INJECTION_MOULDING,
        Kind::HydraulicPress => &forming::HYDRAULIC_PRESS,
        Kind::Furnace => &forming::FURNACE,
        Kind::Compressor => &handling::COMPRESSOR,
        Kind::Conveyor => &handling::CONVEYOR,
        Kind::PackagingLine => &handling::PACKAGING_LINE,
    }
}

/// The 20 tags of a machine, in the order described at the top of this module.
pub fn tags(kind: Kind, protocol: Protocol) -> Vec<TagSpec> {
    let spec = kind_spec(kind);
    let mut tags = Vec::with_capacity(TAGS_PER_MACHINE);
    tags.extend(spec.alarmed);
    tags.extend(proofs(spec, protocol));
    tags.push(
        TagSpec::plain("state", "State", Signal::State, Encoding::U16 { decimals: 0 }).with_role(Role::State),
    );
    tags.extend(part_counters(spec));
    let (id, name, names) = spec.program;
    tags.push(TagSpec::plain(id, name, Signal::Program(names), Encoding::Text));
    tags.extend(
        spec.flags.map(|(id, name, flag)| TagSpec::plain(id, name, Signal::Flag(flag), Encoding::Bit)),
    );
    tags.extend(spec.analogs);
    tags
}

fn proofs(spec: &KindSpec, protocol: Protocol) -> [TagSpec; 2] {
    let counter = Encoding::U32 { decimals: 0 };
    match protocol {
        Protocol::ModbusTcp | Protocol::ModbusRtuOverTcp | Protocol::ModbusRtu => [
            TagSpec::plain("scan_count", "Scan count", Signal::ReadCount, counter),
            TagSpec::plain("fast_count", "Fast scan count", Signal::ReadCount, counter),
        ],
        Protocol::Opcua => [
            TagSpec::plain("scan_count", "Scan count", Signal::TickCount, counter),
            TagSpec::plain(
                "energy_total",
                "Energy of the shift",
                Signal::Energy { running_kw: spec.running_kw },
                Encoding::U32 { decimals: 2 },
            )
            .with_unit("kW.h"),
        ],
    }
}

fn part_counters(spec: &KindSpec) -> [TagSpec; 2] {
    let parts = Signal::Count { seconds_each: spec.seconds_per_part };
    // About one part in forty is bad.
    let scrap = Signal::Count { seconds_each: spec.seconds_per_part * 40 };
    [
        TagSpec::plain("parts_count", "Parts of the shift", parts, Encoding::U32 { decimals: 0 }),
        TagSpec::plain("scrap_count", "Scrap of the shift", scrap, Encoding::U16 { decimals: 0 }),
    ]
}

/// Idle level, running level, amplitude of the slow wave, amplitude of the noise.
type Levels = (f64, f64, f64, f64);

const fn analog(
    id: &'static str,
    name: &'static str,
    unit: &'static str,
    encoding: Encoding,
    (idle, running, swing, noise): Levels,
) -> TagSpec {
    TagSpec::plain(id, name, Signal::Analog { idle, running, swing, noise }, encoding).with_unit(unit)
}

const fn alarmed(tag: TagSpec, kind: AlarmKind, limit: f64, deadband: f64, message: &'static str) -> TagSpec {
    let mut tag = tag.with_role(Role::Headline);
    tag.alarm = Some(AlarmSpec { kind, limit, deadband, message });
    tag
}

const fn u16_(decimals: u8) -> Encoding {
    Encoding::U16 { decimals }
}

const fn i16_(decimals: u8) -> Encoding {
    Encoding::I16 { decimals }
}

const fn i32_(decimals: u8) -> Encoding {
    Encoding::I32 { decimals }
}

const fn f32_(decimals: u8) -> Encoding {
    Encoding::F32 { decimals }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn every_machine() -> impl Iterator<Item = (Kind, Protocol, Vec<TagSpec>)> {
        Kind::ALL.into_iter().flat_map(|kind| {
            Protocol::ALL.into_iter().map(move |protocol| (kind, protocol, tags(kind, protocol)))
        })
    }

    #[test]
    fn every_machine_has_twenty_tags_with_different_plain_ids() {
        for (kind, protocol, tags) in every_machine() {
            let ids: HashSet<_> = tags.iter().map(|tag| tag.id).collect();
            assert_eq!(ids.len(), TAGS_PER_MACHINE, "{kind} {protocol}");
            assert_eq!(tags.len(), TAGS_PER_MACHINE, "{kind} {protocol}");
            for id in ids {
                assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{kind}: {id}");
            }
        }
    }

    #[test]
    fn every_machine_has_two_alarms_and_one_state() {
        for (kind, protocol, tags) in every_machine() {
            assert_eq!(tags.iter().filter(|tag| tag.alarm.is_some()).count(), 2, "{kind} {protocol}");
            assert_eq!(
                tags.iter().filter(|tag| tag.role == Some(Role::State)).count(),
                1,
                "{kind} {protocol}"
            );
        }
    }

    #[test]
    fn alarm_limits_lie_outside_what_the_model_can_reach() {
        for (kind, _, tags) in every_machine() {
            for tag in tags {
                let (Some(alarm), Signal::Analog { idle, running, swing, noise }) = (tag.alarm, tag.signal)
                else {
                    continue;
                };
                let margin = swing + noise + alarm.deadband;
                let safe = match alarm.kind {
                    AlarmKind::High => idle.max(running) + margin < alarm.limit,
                    AlarmKind::Low => idle.min(running) - margin > alarm.limit,
                };
                assert!(safe, "{kind} {} comes within {margin} of its limit {}", tag.id, alarm.limit);
            }
        }
    }

    #[test]
    fn program_names_fit_their_registers() {
        for (kind, _, tags) in every_machine() {
            for tag in tags {
                if let Signal::Program(names) = tag.signal {
                    for name in names {
                        assert!(
                            name.is_ascii() && name.len() <= usize::from(TEXT_REGISTERS) * 2,
                            "{kind}: {name}"
                        );
                    }
                }
            }
        }
    }
}
