//! What a gateway is subscribed to: the backend's two channels, each with a QoS.

use mqtt_protocol_core::mqtt::packet::Qos;
use mqtt_protocol_core::mqtt::result_code::SubackReasonCode;
use protocol::Channel;

/// The QoS granted on the backend's channels.
#[derive(Debug, Default)]
pub(super) struct Granted {
    ack: Option<Qos>,
    command: Option<Qos>,
}

impl Granted {
    pub(super) fn get(&mut self, channel: Channel) -> Option<Qos> {
        self.slot(channel).and_then(|slot| *slot)
    }

    pub(super) fn grant(&mut self, channel: Channel, requested: Qos) -> SubackReasonCode {
        let (qos, code) = match requested {
            Qos::AtMostOnce => (Qos::AtMostOnce, SubackReasonCode::GrantedQos0),
            Qos::AtLeastOnce | Qos::ExactlyOnce => (Qos::AtLeastOnce, SubackReasonCode::GrantedQos1),
        };
        match self.slot(channel) {
            Some(slot) => {
                *slot = Some(qos);
                code
            }
            None => SubackReasonCode::NotAuthorized,
        }
    }

    pub(super) fn revoke(&mut self, channel: Channel) -> bool {
        self.slot(channel).is_some_and(|slot| slot.take().is_some())
    }

    fn slot(&mut self, channel: Channel) -> Option<&mut Option<Qos>> {
        match channel {
            Channel::Ack => Some(&mut self.ack),
            Channel::Command => Some(&mut self.command),
            Channel::Hello | Channel::Catalogue | Channel::Stream(_) | Channel::Live | Channel::Response => {
                None
            }
        }
    }
}
