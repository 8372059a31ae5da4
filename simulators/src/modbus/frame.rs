//! Frames around Modbus requests and answers, on both kinds of transport.
//!
//! ```text
//! MBAP (TCP)   transaction id u16 | protocol id u16 = 0 | length u16 | unit id u8 | PDU          length = 1 + PDU
//! RTU          unit id u8 | PDU | CRC-16 u16, low byte first                       at most 256 bytes in all
//! ```
//!
//! An RTU frame does not say how long it is: the length follows from the function code of a request, and after a
//! pause on the line what is there is taken for a frame if its CRC is right. Bytes that fit nowhere are dropped one
//! by one, so noise before a frame does not cost the frame.

/// Longest PDU (Modbus Application Protocol 1.1b3, 4.1).
const PDU_MAX: usize = 253;
const MBAP_HEADER: usize = 7;
const RTU_FRAME_MIN: usize = 4;
const RTU_FRAME_MAX: usize = PDU_MAX + 3;

/// How PDUs are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// With the header of Modbus TCP.
    Mbap,
    /// As on a serial line, whatever carries it.
    Rtu,
}

/// A request or an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Transaction id; without meaning on RTU.
    pub(crate) transaction: u16,
    pub(crate) unit: u8,
    pub(crate) pdu: Vec<u8>,
}

impl Frame {
    /// The frame as bytes.
    pub(crate) fn encode(&self, framing: Framing) -> Vec<u8> {
        match framing {
            Framing::Mbap => {
                // A PDU has at most 253 bytes.
                let length = (self.pdu.len() + 1) as u16;
                let mut bytes = Vec::with_capacity(MBAP_HEADER + self.pdu.len());
                bytes.extend(self.transaction.to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(length.to_be_bytes());
                bytes.push(self.unit);
                bytes.extend(&self.pdu);
                bytes
            }
            Framing::Rtu => {
                let mut bytes = vec![self.unit];
                bytes.extend(&self.pdu);
                let crc = crc16(&bytes);
                bytes.extend(crc.to_le_bytes());
                bytes
            }
        }
    }
}

/// A stream that is not Modbus TCP: the connection cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotModbus;

/// Finds frames in a stream of bytes.
#[derive(Debug)]
pub(crate) struct Deframer {
    framing: Framing,
    bytes: Vec<u8>,
    dropped: u64,
}

impl Deframer {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, bytes: Vec::new(), dropped: 0 }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether a frame may have begun.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Bytes dropped since this was asked last, because they belonged to no frame.
    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, NotModbus> {
        match self.framing {
            Framing::Mbap => self.next_mbap(),
            Framing::Rtu => Ok(self.next_rtu()),
        }
    }

    /// The frame that a pause on an RTU line ends, if what is there is one.
    pub(crate) fn after_pause(&mut self) -> Option<Frame> {
        if self.framing == Framing::Mbap {
            return None;
        }
        let whole = is_whole_rtu(&self.bytes).then(|| self.take_rtu(self.bytes.len()));
        self.drop_bytes(self.bytes.len());
        whole
    }

    fn next_mbap(&mut self) -> Result<Option<Frame>, NotModbus> {
        let [t0, t1, p0, p1, l0, l1, unit, ..] = *self.bytes else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if [p0, p1] != [0, 0] || !(2..=PDU_MAX + 1).contains(&length) {
            return Err(NotModbus);
        }
        let end = MBAP_HEADER - 1 + length;
        if self.bytes.len() < end {
            return Ok(None);
        }
        let pdu = self.bytes[MBAP_HEADER..end].to_vec();
        self.bytes.drain(..end);
        Ok(Some(Frame { transaction: u16::from_be_bytes([t0, t1]), unit, pdu }))
    }

    fn next_rtu(&mut self) -> Option<Frame> {
        loop {
            match request_length(&self.bytes) {
                Some(length) if length <= self.bytes.len() => {
                    if is_whole_rtu(&self.bytes[..length]) {
                        return Some(self.take_rtu(length));
                    }
                    self.drop_bytes(1);
                }
                Some(_) => return None,
                // A function whose length is not known is decided by the pause after it.
                None if self.bytes.len() <= RTU_FRAME_MAX => return None,
                None => self.drop_bytes(1),
            }
        }
    }

    fn take_rtu(&mut self, length: usize) -> Frame {
        let frame = Frame { transaction: 0, unit: self.bytes[0], pdu: self.bytes[1..length - 2].to_vec() };
        self.bytes.drain(..length);
        frame
    }

    fn drop_bytes(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.dropped += count as u64;
    }
}

/// How long the RTU request at the start is, as far as its first bytes say; beyond what is there if they do not yet.
fn request_length(bytes: &[u8]) -> Option<usize> {
    match bytes.get(1).copied() {
        None => Some(RTU_FRAME_MIN),
        Some(1..=6) => Some(8),
        Some(15 | 16) => Some(bytes.get(6).map_or(RTU_FRAME_MIN + 5, |count| 9 + usize::from(*count))),
        Some(_) => None,
    }
}

fn is_whole_rtu(bytes: &[u8]) -> bool {
    let Some((body, crc)) = bytes.split_last_chunk::<2>() else { return false };
    (RTU_FRAME_MIN..=RTU_FRAME_MAX).contains(&bytes.len()) && crc16(body) == u16::from_le_bytes(*crc)
}

/// CRC-16 of a serial line (Modbus over Serial Line 1.02, 6.2.2): polynomial 0xA001, started with 0xFFFF.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8)
            .fold(crc ^ u16::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xA001 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_request(unit: u8) -> Frame {
        Frame { transaction: 0, unit, pdu: vec![3, 0, 8, 0, 2] }
    }

    #[test]
    fn the_crc_is_that_of_the_specification() {
        // Unit 2, function 7: the example of the specification's appendix.
        assert_eq!(crc16(&[0x02, 0x07]).to_le_bytes(), [0x41, 0x12]);
    }

    #[test]
    fn frames_are_found_wherever_the_stream_is_cut() {
        for framing in [Framing::Mbap, Framing::Rtu] {
            let frames = [read_request(1), Frame { pdu: vec![16, 0, 0, 0, 1, 2, 0, 7], ..read_request(9) }];
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| frame.encode(framing)).collect();
            for cut in 0..=bytes.len() {
                let mut deframer = Deframer::new(framing);
                let mut found = Vec::new();
                for part in [&bytes[..cut], &bytes[cut..]] {
                    deframer.push(part);
                    while let Some(frame) = deframer.next().unwrap() {
                        found.push(frame);
                    }
                }
                assert_eq!(found, frames, "{framing:?} cut at {cut}");
                assert_eq!(deframer.take_dropped(), 0);
            }
        }
    }

    #[test]
    fn noise_before_an_rtu_frame_does_not_cost_the_frame() {
        for noise in [&[0xFF][..], &[0x01, 0x03], &[0x00, 0x10, 0x00, 0x00, 0x00, 0x01, 0x02], &[0x05; 30]] {
            let mut deframer = Deframer::new(Framing::Rtu);
            deframer.push(noise);
            deframer.push(&read_request(4).encode(Framing::Rtu));
            let mut found = deframer.next().unwrap();
            if found.is_none() {
                // Taken for the beginning of something longer: the sender repeats itself after the pause.
                assert_eq!(deframer.after_pause(), None);
                deframer.push(&read_request(4).encode(Framing::Rtu));
                found = deframer.next().unwrap();
            }
            assert_eq!(found, Some(read_request(4)), "{noise:?}");
        }
    }

    #[test]
    fn an_unknown_function_is_a_frame_once_the_line_pauses() {
        let frame = Frame { transaction: 0, unit: 7, pdu: vec![0x2B, 0x0E, 1, 0] };
        let mut deframer = Deframer::new(Framing::Rtu);
        deframer.push(&frame.encode(Framing::Rtu));
        assert_eq!(deframer.next(), Ok(None));
        assert_eq!(deframer.after_pause(), Some(frame));
    }

    #[test]
    fn a_stream_that_is_not_modbus_tcp_is_given_up() {
        for bytes in [b"GET / HTTP/1.1\r\n".as_slice(), &[0, 1, 0, 0, 0, 1, 1], &[0, 1, 0, 0, 1, 0, 1]] {
            let mut deframer = Deframer::new(Framing::Mbap);
            deframer.push(bytes);
            assert_eq!(deframer.next(), Err(NotModbus), "{bytes:?}");
        }
    }
}
