//! Requests and answers of the eight functions a machine knows (Modbus Application Protocol 1.1b3, section 6):
//! reading and writing coils and registers. Bytes in, bytes out.

use std::ops::Range;

/// Most registers one request may read.
pub(crate) const READ_REGISTERS_MAX: u16 = 125;
const READ_BITS_MAX: u16 = 2000;
const WRITE_REGISTERS_MAX: u16 = 123;
const WRITE_BITS_MAX: u16 = 1968;
/// Value of a coil that is on, in function 5.
const ON: u16 = 0xFF00;

/// An exception code that a machine answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exception(pub(crate) u8);

impl Exception {
    pub(crate) const ILLEGAL_FUNCTION: Self = Self(1);
    pub(crate) const ILLEGAL_ADDRESS: Self = Self(2);
    pub(crate) const ILLEGAL_VALUE: Self = Self(3);
    pub(crate) const GATEWAY_TARGET: Self = Self(11);

    /// The answer that carries it.
    pub(crate) fn answer(self, function: u8) -> Vec<u8> {
        vec![function | 0x80, self.0]
    }
}

/// Whether a table holds bits or registers. Coils and discrete inputs show the same bits, holding and input registers
/// the same registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Bits,
    Registers,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Read { table: Table, start: u16, quantity: u16 },
    WriteBits { start: u16, bits: Vec<bool> },
    WriteRegisters { start: u16, registers: Vec<u16> },
}

impl Request {
    /// Understands a request; `registers_max` is the most registers the machine takes at once.
    pub(crate) fn parse(pdu: &[u8], registers_max: u16) -> Result<Self, Exception> {
        let (&function, body) = pdu.split_first().ok_or(Exception::ILLEGAL_FUNCTION)?;
        match function {
            1 | 2 => read(Table::Bits, body, READ_BITS_MAX),
            3 | 4 => read(Table::Registers, body, READ_REGISTERS_MAX.min(registers_max)),
            5 => match two_words(body)? {
                (start, value @ (0 | ON)) => Ok(Self::WriteBits { start, bits: vec![value == ON] }),
                (_, _) => Err(Exception::ILLEGAL_VALUE),
            },
            6 => two_words(body).map(|(start, value)| Self::WriteRegisters { start, registers: vec![value] }),
            15 => {
                let (start, quantity, bytes) = many(body, WRITE_BITS_MAX, |quantity| quantity.div_ceil(8))?;
                Ok(Self::WriteBits { start, bits: unpack(bytes, quantity) })
            }
            16 => {
                let max = WRITE_REGISTERS_MAX.min(registers_max);
                let (start, _, bytes) = many(body, max, |quantity| quantity * 2)?;
                Ok(Self::WriteRegisters { start, registers: words(bytes) })
            }
            _ => Err(Exception::ILLEGAL_FUNCTION),
        }
    }

    /// The addresses it touches.
    pub(crate) fn range(&self) -> Range<u32> {
        let (start, quantity) = match self {
            Self::Read { start, quantity, .. } => (*start, u32::from(*quantity)),
            Self::WriteBits { start, bits } => (*start, bits.len() as u32),
            Self::WriteRegisters { start, registers } => (*start, registers.len() as u32),
        };
        u32::from(start)..u32::from(start) + quantity
    }

    /// The table it touches.
    pub(crate) fn table(&self) -> Table {
        match self {
            Self::Read { table, .. } => *table,
            Self::WriteBits { .. } => Table::Bits,
            Self::WriteRegisters { .. } => Table::Registers,
        }
    }
}

fn read(table: Table, body: &[u8], max: u16) -> Result<Request, Exception> {
    match two_words(body)? {
        (start, quantity) if (1..=max).contains(&quantity) => Ok(Request::Read { table, start, quantity }),
        (_, _) => Err(Exception::ILLEGAL_VALUE),
    }
}

fn two_words(body: &[u8]) -> Result<(u16, u16), Exception> {
    let &[a, b, c, d] = body else { return Err(Exception::ILLEGAL_VALUE) };
    Ok((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// Start, quantity and bytes of a write of many.
fn many(body: &[u8], max: u16, length: impl Fn(u16) -> u16) -> Result<(u16, u16, &[u8]), Exception> {
    let (head, rest) = body.split_at_checked(4).ok_or(Exception::ILLEGAL_VALUE)?;
    let (start, quantity) = two_words(head)?;
    let (&count, bytes) = rest.split_first().ok_or(Exception::ILLEGAL_VALUE)?;
    let fits = (1..=max).contains(&quantity)
        && u16::from(count) == length(quantity)
        && bytes.len() == usize::from(count);
    if fits { Ok((start, quantity, bytes)) } else { Err(Exception::ILLEGAL_VALUE) }
}

fn words(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}

fn unpack(bytes: &[u8], quantity: u16) -> Vec<bool> {
    (0..usize::from(quantity)).map(|index| (bytes[index / 8] >> (index % 8)) & 1 == 1).collect()
}

/// The answer to a read of registers.
pub(crate) fn registers_answer(function: u8, registers: &[u16]) -> Vec<u8> {
    // At most 125 registers were asked for.
    let mut answer = vec![function, (registers.len() * 2) as u8];
    answer.extend(registers.iter().flat_map(|register| register.to_be_bytes()));
    answer
}

/// The answer to a read of bits, the first one in the lowest bit.
pub(crate) fn bits_answer(function: u8, bits: &[bool]) -> Vec<u8> {
    // At most 2,000 bits were asked for.
    let mut answer = vec![function, bits.len().div_ceil(8) as u8];
    answer.extend(bits.chunks(8).map(|byte| {
        byte.iter().enumerate().fold(0_u8, |packed, (index, on)| packed | (u8::from(*on) << index))
    }));
    answer
}

/// The answer to a write: function, address, and value or quantity again.
pub(crate) fn write_answer(request: &[u8]) -> Vec<u8> {
    request[..5].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_all_functions_are_understood() {
        for (pdu, request) in [
            (&[1, 0, 1, 0, 2][..], Request::Read { table: Table::Bits, start: 1, quantity: 2 }),
            (&[4, 0, 8, 0, 125], Request::Read { table: Table::Registers, start: 8, quantity: 125 }),
            (&[5, 0, 2, 0xFF, 0], Request::WriteBits { start: 2, bits: vec![true] }),
            (&[6, 0, 2, 0xFF, 0], Request::WriteRegisters { start: 2, registers: vec![0xFF00] }),
            (
                &[15, 0, 0, 0, 9, 2, 0b1000_0001, 1],
                Request::WriteBits {
                    start: 0,
                    bits: vec![true, false, false, false, false, false, false, true, true],
                },
            ),
            (&[16, 0, 1, 0, 2, 4, 0, 1, 0, 2], Request::WriteRegisters { start: 1, registers: vec![1, 2] }),
        ] {
            assert_eq!(Request::parse(pdu, 125), Ok(request), "{pdu:?}");
        }
    }

    #[test]
    fn wrong_requests_get_the_exception_of_the_specification() {
        for (pdu, exception) in [
            (&[][..], Exception::ILLEGAL_FUNCTION),
            (&[7], Exception::ILLEGAL_FUNCTION),
            (&[3, 0, 0, 0, 0], Exception::ILLEGAL_VALUE),
            (&[3, 0, 0, 0, 126], Exception::ILLEGAL_VALUE),
            (&[3, 0, 0], Exception::ILLEGAL_VALUE),
            (&[1, 0, 0, 0x07, 0xD1], Exception::ILLEGAL_VALUE),
            (&[5, 0, 0, 0, 1], Exception::ILLEGAL_VALUE),
            (&[16, 0, 0, 0, 2, 4, 0, 1], Exception::ILLEGAL_VALUE),
            (&[15, 0, 0, 0, 9, 1, 0], Exception::ILLEGAL_VALUE),
        ] {
            assert_eq!(Request::parse(pdu, 125), Err(exception), "{pdu:?}");
        }
    }

    #[test]
    fn a_machine_with_a_small_memory_takes_fewer_registers() {
        assert!(Request::parse(&[3, 0, 0, 0, 10], 10).is_ok());
        assert_eq!(Request::parse(&[3, 0, 0, 0, 11], 10), Err(Exception::ILLEGAL_VALUE));
    }

    #[test]
    fn bits_are_packed_from_the_lowest() {
        assert_eq!(bits_answer(1, &[true, false, true]), [1, 1, 0b101]);
        let nine = [false, false, false, false, false, false, false, false, true];
        assert_eq!(bits_answer(2, &nine), [2, 2, 0, 1]);
    }
}
