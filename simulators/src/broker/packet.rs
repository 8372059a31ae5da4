//! A control packet as it travels: its first byte and its body. Framing and parsing are `mqtt-protocol-core`'s.

use std::sync::Arc;

use mqtt_protocol_core::mqtt::{
    common::Cursor,
    connection::{PacketBuildResult, PacketBuilder, RawPacket},
    packet::{
        MaximumPacketSize, Property, Qos, ReceiveMaximum, VariableByteInteger,
        v5_0::{Connack, Disconnect, Puback, Publish},
    },
    result_code::{ConnectReasonCode, DisconnectReasonCode, PubackReasonCode},
};

use super::rule::{Fault, Kind};

/// Larger packets end the connection: four times what gateways and endpoints of this project send.
const PACKET_BYTES_MAX: u32 = 4 << 20;

/// A packet that is not what its first byte says.
#[derive(Debug, thiserror::Error)]
#[error("a packet cannot be understood: {0}")]
pub(super) struct Malformed(String);

impl Malformed {
    fn new(what: impl std::fmt::Debug) -> Self {
        Self(format!("{what:?}"))
    }
}

/// A control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    first_byte: u8,
    body: Vec<u8>,
}

/// What rules ask of a PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) topic: String,
    /// `None` for QoS 0.
    pub(super) packet_id: Option<u16>,
}

impl Packet {
    fn from_raw(raw: &RawPacket) -> Self {
        Self { first_byte: raw.packet_type() << 4 | raw.flags(), body: raw.data_as_slice().to_vec() }
    }

    /// What kind it is.
    pub(super) fn kind(&self) -> Kind {
        Kind::of(self.first_byte >> 4)
    }

    /// Topic and id of a PUBLISH.
    pub(super) fn message(&self) -> Result<Option<Message>, Malformed> {
        if self.kind() != Kind::Publish {
            return Ok(None);
        }
        let publish = self.publish()?;
        let packet_id = (publish.qos() != Qos::AtMostOnce).then(|| publish.packet_id()).flatten();
        Ok(Some(Message { topic: publish.topic_name().to_owned(), packet_id }))
    }

    fn publish(&self) -> Result<Publish, Malformed> {
        let body: Arc<[u8]> = Arc::from(self.body.as_slice());
        Publish::parse(self.first_byte & 0x0f, body).map(|(publish, _)| publish).map_err(Malformed::new)
    }

    /// The id that a PUBACK answers.
    pub(super) fn acknowledges(&self) -> Option<u16> {
        let id = self.body.first_chunk().map(|id| u16::from_be_bytes(*id));
        id.filter(|_| self.kind() == Kind::Puback)
    }

    /// The bytes on the wire.
    pub(super) fn encoded(&self) -> Vec<u8> {
        let length = u32::try_from(self.body.len()).ok().and_then(VariableByteInteger::from_u32);
        let length = length.expect("what was received fits into a packet");
        [&[self.first_byte], length.as_bytes(), &self.body].concat()
    }

    /// The same message under another id.
    pub(super) fn with_packet_id(&self, id: u16) -> Result<Self, Malformed> {
        let publish = self.publish()?;
        let mut copy = self.clone();
        // The id stands behind the topic, which has two bytes of length.
        let at = 2 + publish.topic_name().len();
        copy.body[at..at + 2].copy_from_slice(&id.to_be_bytes());
        Ok(copy)
    }

    /// One bit of the payload of a PUBLISH is flipped, of any other packet none.
    pub(super) fn corrupt(&mut self, chance: u64) -> Result<(), Malformed> {
        if self.kind() != Kind::Publish {
            return Ok(());
        }
        let payload = self.publish()?.payload().as_slice().len();
        if payload > 0 {
            let bit = chance % (payload as u64 * 8);
            let at = self.body.len() - payload + (bit / 8) as usize;
            self.body[at] ^= 1 << (bit % 8);
        }
        Ok(())
    }

    /// A CONNACK that says what the fault wants it to say; any other packet as it is.
    pub(super) fn answer_with(&mut self, fault: &Fault) -> Result<(), Malformed> {
        if self.kind() != Kind::Connack {
            return Ok(());
        }
        let (said, _) = Connack::parse(&self.body).map_err(Malformed::new)?;
        let mut present = said.session_present();
        let mut code = said.reason_code();
        let mut properties: Vec<Property> = said.props().clone();
        match fault {
            Fault::SessionPresent(value) => present = *value,
            Fault::ReceiveMaximum(value) => {
                properties.retain(|p| !matches!(p, Property::ReceiveMaximum(_)));
                properties.push(ReceiveMaximum::new(*value).map_err(Malformed::new)?.into());
            }
            Fault::MaximumPacketSize(value) => {
                properties.retain(|p| !matches!(p, Property::MaximumPacketSize(_)));
                properties.push(MaximumPacketSize::new(*value).map_err(Malformed::new)?.into());
            }
            Fault::Refuse(value) => {
                code = ConnectReasonCode::try_from(*value).map_err(Malformed::new)?;
                present = false;
            }
            Fault::Drop
            | Fault::Swallow
            | Fault::Duplicate
            | Fault::Delay(..)
            | Fault::Hold(_)
            | Fault::CutBefore
            | Fault::CutAfter
            | Fault::Corrupt
            | Fault::Disconnect(_) => return Ok(()),
        }
        let answer = Connack::builder().session_present(present).reason_code(code).props(properties).build();
        self.replace(&answer.map_err(Malformed::new)?.to_continuous_buffer())
    }

    fn replace(&mut self, encoded: &[u8]) -> Result<(), Malformed> {
        let mut framer = Framer::new();
        let mut input = encoded;
        *self = framer.next(&mut input)?.ok_or_else(|| Malformed::new("cut short"))?;
        Ok(())
    }
}

/// A PUBACK that says that all is well.
pub(super) fn puback(packet_id: u16) -> Vec<u8> {
    let packet = Puback::builder().packet_id(packet_id).reason_code(PubackReasonCode::Success).build();
    packet.expect("the id of a received packet is not zero").to_continuous_buffer()
}

/// A DISCONNECT of a server, with its empty properties: clients exist that wait for them.
pub(super) fn disconnect(code: DisconnectReasonCode) -> Vec<u8> {
    let packet = Disconnect::builder().reason_code(code).props(Vec::new()).build();
    packet.expect("a reason code is enough").to_continuous_buffer()
}

/// Cuts a stream of bytes into packets.
pub(super) struct Framer(PacketBuilder);

impl Framer {
    pub(super) fn new() -> Self {
        Self(PacketBuilder::with_maximum_packet_size(PACKET_BYTES_MAX))
    }

    /// The next packet, if all of it has come; takes from the front of `input` what it needed.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Packet>, Malformed> {
        let mut cursor = Cursor::new(*input);
        let built = self.0.feed(&mut cursor);
        let taken = usize::try_from(cursor.position()).unwrap_or(input.len());
        *input = &input[taken..];
        match built {
            PacketBuildResult::Complete(raw) => Ok(Some(Packet::from_raw(&raw))),
            PacketBuildResult::Incomplete => Ok(None),
            PacketBuildResult::Error(error) => Err(Malformed::new(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry(payload: &[u8]) -> Vec<u8> {
        let publish = Publish::builder()
            .topic_name("a/up/telemetry")
            .unwrap()
            .qos(Qos::AtLeastOnce)
            .packet_id(7_u16)
            .payload(payload)
            .build();
        publish.unwrap().to_continuous_buffer()
    }

    fn only(encoded: &[u8]) -> Packet {
        let mut input = encoded;
        let packet = Framer::new().next(&mut input).unwrap().unwrap();
        assert!(input.is_empty());
        packet
    }

    #[test]
    fn packets_are_found_in_any_pieces_and_handed_on_byte_by_byte() {
        let all = [telemetry(&[1; 300]), puback(9), telemetry(b"")].concat();
        let (mut framer, mut out) = (Framer::new(), Vec::new());
        for piece in all.chunks(3) {
            let mut input = piece;
            while let Some(packet) = framer.next(&mut input).unwrap() {
                out.push(packet);
            }
        }
        assert_eq!(
            out.iter().map(Packet::kind).collect::<Vec<_>>(),
            [Kind::Publish, Kind::Puback, Kind::Publish]
        );
        assert_eq!(out.iter().flat_map(Packet::encoded).collect::<Vec<_>>(), all);
        assert_eq!(out[1].acknowledges(), Some(9));
    }

    #[test]
    fn a_message_keeps_its_bytes_under_another_id_and_loses_one_bit_when_corrupted() {
        let packet = only(&telemetry(b"payload"));
        let message = packet.message().unwrap().unwrap();
        assert_eq!(message, Message { topic: "a/up/telemetry".to_owned(), packet_id: Some(7) });
        let copy = packet.with_packet_id(0xfffe).unwrap();
        assert_eq!(copy.message().unwrap().unwrap().packet_id, Some(0xfffe));
        assert_eq!(copy.with_packet_id(7).unwrap(), packet);
        let mut damaged = packet.clone();
        damaged.corrupt(1_000_003).unwrap();
        let differing: u32 = damaged.body.iter().zip(&packet.body).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((differing, damaged.message().unwrap()), (1, packet.message().unwrap()));
    }

    #[test]
    fn an_answer_to_connect_says_what_the_fault_wants() {
        let said = Connack::builder().session_present(false).reason_code(ConnectReasonCode::Success).build();
        let mut packet = only(&said.unwrap().to_continuous_buffer());
        for fault in [Fault::SessionPresent(true), Fault::ReceiveMaximum(2), Fault::MaximumPacketSize(900)] {
            packet.answer_with(&fault).unwrap();
        }
        let (now, _) = Connack::parse(&packet.body).unwrap();
        assert!(now.session_present());
        assert_eq!(now.props().len(), 2);
        packet.answer_with(&Fault::Refuse(0x97)).unwrap();
        let (now, _) = Connack::parse(&packet.body).unwrap();
        assert_eq!((now.session_present(), now.reason_code()), (false, ConnectReasonCode::QuotaExceeded));
    }
}
