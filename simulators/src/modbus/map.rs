//! The register map: where the 20 tags of a Modbus machine lie.
//!
//! Zero-based PDU addresses, big-endian within a register. Holding and input registers show the same map; coils and
//! discrete inputs 0, 1 and 2 are the three bools:
//!
//! ```text
//! 0, 1      the two alarm-carrying analogs, one register each     \ fast block: 4 registers,
//! 2..=3     fast_count, u32                                       / one read covers it
//! 4..=7     reserved, read as 0
//! 8..=9     scan_count, u32                                       \
//! 10        state, u16                                             |
//! 11..=12   parts_count, u32                                       |
//! 13        scrap_count, u16                                       | slow block: one read covers it
//! 14..=21   program or recipe, 8 registers of ASCII, NUL-filled    |
//! 22        bits 0, 1, 2: the three bools                          |
//! 23..      nine analogs, one or two registers each, no gaps      /
//! ```
//!
//! One read from 0 to the end of the map covers all 20 tags. The two counters lie in different blocks, and no block
//! reaches into the other, so that a poll class reading one block does not move the other class's counter.
//! Values of two registers carry the high word first, or the low word first on kinds marked so in the catalog.

use crate::{
    catalog::{Encoding, Signal, TEXT_REGISTERS, TagSpec, kind_spec, tags},
    kind::{Kind, Protocol},
    process::power_of_ten,
    value::Value,
};

const FAST_BLOCK: u16 = 0;
const SLOW_BLOCK: u16 = 8;

/// Where one tag lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Zero-based PDU address of the first register.
    pub address: u16,
    /// Number of registers.
    pub registers: u16,
    /// Bit within the register, for bools; bit 0 is the least significant.
    pub bit: Option<u8>,
    /// Whether the tag belongs to the fast block.
    pub fast: bool,
}

/// The register map of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterMap {
    placements: Vec<Placement>,
    encodings: Vec<Encoding>,
    length: u16,
    low_word_first: bool,
}

impl RegisterMap {
    /// The map of a kind of machine; placements are in the order of [`tags`](crate::tags).
    pub fn of(kind: Kind) -> Self {
        let tags = tags(kind, Protocol::ModbusTcp);
        let mut layout = Layout { fast: FAST_BLOCK, slow: SLOW_BLOCK, bools: None };
        Self {
            placements: tags.iter().map(|tag| layout.place(tag)).collect(),
            encodings: tags.iter().map(|tag| tag.encoding).collect(),
            length: layout.slow,
            low_word_first: kind_spec(kind).low_word_first,
        }
    }

    /// Where each tag lies, in the order of [`tags`](crate::tags).
    pub fn placements(&self) -> &[Placement] {
        &self.placements
    }

    /// Number of registers; reads beyond answer exception 2, illegal data address.
    pub fn length(&self) -> u16 {
        self.length
    }

    /// Whether values of two registers carry their low word first (`cdab`).
    pub fn low_word_first(&self) -> bool {
        self.low_word_first
    }

    /// Number of coils and of discrete inputs: the bools.
    pub(crate) fn bits_length(&self) -> u16 {
        self.bools().count() as u16
    }

    /// The bools in the order of their bits.
    fn bools(&self) -> impl Iterator<Item = usize> {
        (0..self.placements.len()).filter(|&tag| self.placements[tag].bit.is_some())
    }

    /// The bools with a bit in `[start, start + quantity)`.
    pub(crate) fn covered_bits(&self, start: u16, quantity: u16) -> Vec<usize> {
        self.bools().skip(usize::from(start)).take(usize::from(quantity)).collect()
    }

    /// The tags and values that a write of these registers means; none if it cuts a value in half or hits a register
    /// that belongs to no tag.
    pub(crate) fn written(&self, start: u16, registers: &[u16]) -> Option<Vec<(usize, Value)>> {
        let end = start.checked_add(u16::try_from(registers.len()).ok()?)?;
        let mut written = Vec::new();
        let mut owned = vec![false; registers.len()];
        for (tag, place) in self.placements.iter().enumerate() {
            let place_end = place.address + place.registers;
            if place_end <= start || end <= place.address {
                continue;
            }
            if place.address < start || end < place_end {
                return None;
            }
            let own = usize::from(place.address - start)..usize::from(place_end - start);
            owned[own.clone()].fill(true);
            written.push((tag, self.read(&registers[own], *place, self.encodings[tag])?));
        }
        owned.iter().all(|owned| *owned).then_some(written)
    }

    fn read(&self, registers: &[u16], place: Placement, encoding: Encoding) -> Option<Value> {
        let scaled = |raw: i64, decimals: u8| match decimals {
            0 => Value::Int(raw),
            decimals => Value::Float(raw as f64 / power_of_ten(decimals)),
        };
        Some(match encoding {
            Encoding::Bit => Value::Bool((registers[0] >> place.bit.unwrap_or(0)) & 1 == 1),
            Encoding::Text => Value::Text(read_text(registers)?),
            Encoding::U16 { decimals } => scaled(i64::from(registers[0]), decimals),
            Encoding::I16 { decimals } => scaled(i64::from(registers[0].cast_signed()), decimals),
            Encoding::U32 { decimals } => scaled(i64::from(self.read_pair(registers)), decimals),
            Encoding::I32 { decimals } => {
                scaled(i64::from(self.read_pair(registers).cast_signed()), decimals)
            }
            Encoding::F32 { .. } => Value::Float(f64::from(f32::from_bits(self.read_pair(registers)))),
        })
    }

    fn read_pair(&self, registers: &[u16]) -> u32 {
        let [high, low] =
            if self.low_word_first { [registers[1], registers[0]] } else { [registers[0], registers[1]] };
        (u32::from(high) << 16) | u32::from(low)
    }

    /// The tags that lie wholly inside `[start, start + quantity)`.
    pub(crate) fn covered(&self, start: u16, quantity: u16) -> Vec<usize> {
        let end = start + quantity;
        let inside = |place: &Placement| place.address >= start && place.address + place.registers <= end;
        (0..self.placements.len()).filter(|&index| inside(&self.placements[index])).collect()
    }

    /// All registers for these values, in the order of the tags.
    pub(crate) fn registers(&self, values: &[Value]) -> Vec<u16> {
        let mut image = vec![0; usize::from(self.length)];
        for ((place, encoding), value) in self.placements.iter().zip(&self.encodings).zip(values) {
            self.write(&mut image[usize::from(place.address)..], *place, *encoding, value);
        }
        image
    }

    fn write(&self, registers: &mut [u16], place: Placement, encoding: Encoding, value: &Value) {
        match value {
            Value::Bool(on) => registers[0] |= u16::from(*on) << place.bit.unwrap_or(0),
            Value::Text(text) => write_text(registers, text),
            Value::Int(number) => self.write_number(registers, encoding, *number as f64),
            Value::Float(number) => self.write_number(registers, encoding, *number),
        }
    }

    fn write_number(&self, registers: &mut [u16], encoding: Encoding, number: f64) {
        let raw = |decimals| (number * power_of_ten(decimals)).round();
        match encoding {
            Encoding::U16 { decimals } => registers[0] = raw(decimals) as u16,
            Encoding::I16 { decimals } => registers[0] = (raw(decimals) as i16).cast_unsigned(),
            Encoding::U32 { decimals } => self.write_pair(registers, raw(decimals) as u32),
            Encoding::I32 { decimals } => self.write_pair(registers, (raw(decimals) as i32).cast_unsigned()),
            Encoding::F32 { .. } => self.write_pair(registers, (number as f32).to_bits()),
            // The catalog gives these encodings to bools and texts only.
            Encoding::Bit | Encoding::Text => {}
        }
    }

    fn write_pair(&self, registers: &mut [u16], bits: u32) {
        let (high, low) = ((bits >> 16) as u16, bits as u16);
        let pair = if self.low_word_first { [low, high] } else { [high, low] };
        registers[..2].copy_from_slice(&pair);
    }
}

/// Two characters per register, the first in the high byte.
fn write_text(registers: &mut [u16], text: &str) {
    let padded = text.bytes().chain(std::iter::repeat(0));
    let mut bytes = padded.take(usize::from(TEXT_REGISTERS) * 2);
    for register in &mut registers[..usize::from(TEXT_REGISTERS)] {
        *register = u16::from_be_bytes([bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)]);
    }
}

/// A text up to its first NUL, if it is ASCII.
fn read_text(registers: &[u16]) -> Option<String> {
    let bytes = registers.iter().flat_map(|register| register.to_be_bytes());
    let text = bytes.take_while(|byte| *byte != 0).collect();
    String::from_utf8(text).ok().filter(|text| text.is_ascii())
}

/// Next free address of each block while the map is laid out.
struct Layout {
    fast: u16,
    slow: u16,
    /// Address of the shared register of bools and the next free bit.
    bools: Option<(u16, u8)>,
}

impl Layout {
    fn place(&mut self, tag: &TagSpec) -> Placement {
        if tag.encoding == Encoding::Bit {
            return self.place_bool();
        }
        let fast = tag.alarm.is_some() || (tag.signal == Signal::ReadCount && tag.id == "fast_count");
        let next = if fast { &mut self.fast } else { &mut self.slow };
        let placement = Placement { address: *next, registers: registers_of(tag.encoding), bit: None, fast };
        *next += placement.registers;
        placement
    }

    fn place_bool(&mut self) -> Placement {
        let (address, bit) = self.bools.unwrap_or_else(|| {
            self.slow += 1;
            (self.slow - 1, 0)
        });
        self.bools = Some((address, bit + 1));
        Placement { address, registers: 1, bit: Some(bit), fast: false }
    }
}

fn registers_of(encoding: Encoding) -> u16 {
    match encoding {
        Encoding::U16 { .. } | Encoding::I16 { .. } | Encoding::Bit => 1,
        Encoding::U32 { .. } | Encoding::I32 { .. } | Encoding::F32 { .. } => 2,
        Encoding::Text => TEXT_REGISTERS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    fn index(kind: Kind, id: &str) -> usize {
        tags(kind, Protocol::ModbusTcp).iter().position(|tag| tag.id == id).unwrap()
    }

    #[test]
    fn one_read_covers_all_tags_of_every_kind() {
        for kind in Kind::ALL {
            let map = RegisterMap::of(kind);
            assert!(map.length() <= 125, "{kind}: {}", map.length());
            assert_eq!(map.covered(0, map.length()).len(), 20, "{kind}");
        }
    }

    #[test]
    fn the_fast_block_is_one_read_of_four_registers_without_scan_count() {
        for kind in Kind::ALL {
            let covered = RegisterMap::of(kind).covered(0, 4);
            assert_eq!(covered, [0, 1, index(kind, "fast_count")], "{kind}");
        }
    }

    #[test]
    fn the_slow_block_covers_all_other_tags_and_not_fast_count() {
        for kind in Kind::ALL {
            let map = RegisterMap::of(kind);
            let covered = map.covered(SLOW_BLOCK, map.length() - SLOW_BLOCK);
            assert_eq!(covered.len(), 17, "{kind}");
            assert!(!covered.contains(&index(kind, "fast_count")), "{kind}");
        }
    }

    #[test]
    fn no_two_tags_share_a_register_except_bools() {
        for kind in Kind::ALL {
            let map = RegisterMap::of(kind);
            let mut owners = vec![0; usize::from(map.length())];
            for place in map.placements().iter().filter(|place| place.bit.is_none_or(|bit| bit == 0)) {
                for address in place.address..place.address + place.registers {
                    owners[usize::from(address)] += 1;
                }
            }
            assert!(owners.iter().all(|&owners| owners <= 1), "{kind}: {owners:?}");
        }
    }

    #[test]
    fn a_value_cut_in_half_is_not_covered() {
        let scan = index(Kind::CncMill, "scan_count");
        let map = RegisterMap::of(Kind::CncMill);
        assert!(!map.covered(9, 10).contains(&scan));
        assert!(map.covered(8, 2).contains(&scan));
    }

    #[test]
    fn registers_of_the_documented_map_hold_the_values() {
        let kind = Kind::CncMill;
        let tags = tags(kind, Protocol::ModbusTcp);
        let process = Process::new(42, "m-1");
        let mut values: Vec<_> = tags.iter().map(|tag| process.value(tag, 0)).collect();
        let mut put = |id, value| values[index(kind, id)] = value;
        put("spindle_temperature", Value::Float(-1.5));
        put("scan_count", Value::Int(0x0001_0002));
        put("program", Value::Text("AB1".into()));
        put("door_closed", Value::Bool(true));
        put("coolant_on", Value::Bool(false));
        put("chip_conveyor_on", Value::Bool(true));
        put("vibration", Value::Float(1.5));
        let registers = RegisterMap::of(kind).registers(&values);
        assert_eq!(registers[0], (-15_i16).cast_unsigned());
        assert_eq!(registers[8..10], [1, 2]);
        assert_eq!(registers[14..22], [0x4142, 0x3100, 0, 0, 0, 0, 0, 0]);
        assert_eq!(registers[22], 0b101);
        let vibration = usize::from(RegisterMap::of(kind).placements()[index(kind, "vibration")].address);
        assert_eq!(registers[vibration..vibration + 2], [0x3fc0, 0]);
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for kind in Kind::ALL {
            let (map, tags) = (RegisterMap::of(kind), tags(kind, Protocol::ModbusTcp));
            let process = Process::new(42, "m-1");
            let values: Vec<_> = tags.iter().map(|tag| process.value(tag, 77)).collect();
            let registers = map.registers(&values);
            let written = map.written(SLOW_BLOCK, &registers[usize::from(SLOW_BLOCK)..]).unwrap();
            assert_eq!(written.len(), 17, "{kind}");
            for (tag, value) in written {
                assert_eq!(value, values[tag], "{kind} {}", tags[tag].id);
            }
        }
    }

    #[test]
    fn a_write_of_half_a_value_or_of_a_reserved_register_means_nothing() {
        let map = RegisterMap::of(Kind::CncMill);
        assert_eq!(map.written(11, &[0]), None);
        assert_eq!(map.written(13, &[0, 0x4100]), None);
        assert_eq!(map.written(3, &[0, 0]), None);
        assert_eq!(map.written(4, &[0]), None);
        assert_eq!(map.written(10, &[1]).unwrap().len(), 1);
    }

    #[test]
    fn kinds_marked_so_carry_the_low_word_first() {
        let kind = Kind::Lathe;
        let mut values = vec![Value::Int(0); 20];
        values[index(kind, "scan_count")] = Value::Int(0x0001_0002);
        let map = RegisterMap::of(kind);
        assert!(map.low_word_first());
        assert_eq!(map.registers(&values)[8..10], [2, 1]);
    }
}
