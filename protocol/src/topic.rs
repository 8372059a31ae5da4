//! Topics (SPEC section 2): `mfp/v1/{tenant}/{gateway}/{channel}`.

use std::fmt;

use plant_model::{GatewayId, IdError, TenantId};
use thiserror::Error;

use crate::StreamId;

/// What a topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// Gateway to backend: the opening of a connection.
    Hello,
    /// Gateway to backend: machines, tags and alarms by series number.
    Catalogue,
    /// Gateway to backend: batches of a stream.
    Stream(StreamId),
    /// Gateway to backend: latest values, not durable.
    Live,
    /// Backend to gateway: cumulative acknowledgements.
    Ack,
    /// Backend to gateway: commands.
    Command,
    /// Gateway to backend: results of commands.
    Response,
}

impl Channel {
    /// All channels.
    pub const ALL: [Self; 9] = [
        Self::Hello,
        Self::Catalogue,
        Self::Stream(StreamId::Alarm),
        Self::Stream(StreamId::Telemetry),
        Self::Stream(StreamId::Diagnostic),
        Self::Live,
        Self::Ack,
        Self::Command,
        Self::Response,
    ];

    /// The end of the topic.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Hello => "up/hello",
            Self::Catalogue => "up/catalogue",
            Self::Stream(StreamId::Alarm) => "up/alarm",
            Self::Stream(StreamId::Telemetry) => "up/telemetry",
            Self::Stream(StreamId::Diagnostic) => "up/diagnostic",
            Self::Live => "up/live",
            Self::Ack => "ack",
            Self::Command => "cmd",
            Self::Response => "res",
        }
    }

    /// Whether a gateway publishes here; else it subscribes here.
    #[must_use]
    pub const fn is_from_gateway(self) -> bool {
        !matches!(self, Self::Ack | Self::Command)
    }
}

/// Why a text is no topic of this protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicError {
    /// The text does not have the form of a topic.
    #[error("topic {0:?} is not of the form mfp/v1/TENANT/GATEWAY/CHANNEL")]
    Form(String),
    /// The channel is not known.
    #[error("channel {0:?} is not known")]
    Channel(String),
    /// Tenant or gateway break their rule.
    #[error(transparent)]
    Id(#[from] IdError),
}

/// A parsed topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    /// The tenant named in the topic. Whose it really is, the connection's certificate decides.
    pub tenant: TenantId,
    /// The gateway named in the topic.
    pub gateway: GatewayId,
    /// What it carries.
    pub channel: Channel,
}

impl Topic {
    /// The first levels of every topic of this version.
    pub const PREFIX: &'static str = "mfp/v1/";

    /// Parses a topic name.
    ///
    /// # Errors
    /// The text is no topic of this protocol; wildcards never are.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        let form = || TopicError::Form(text.chars().take(160).collect());
        let rest = text.strip_prefix(Self::PREFIX).ok_or_else(form)?;
        let (tenant, rest) = rest.split_once('/').ok_or_else(form)?;
        let (gateway, path) = rest.split_once('/').ok_or_else(form)?;
        let channel = Channel::ALL
            .into_iter()
            .find(|c| c.path() == path)
            .ok_or_else(|| TopicError::Channel(path.chars().take(80).collect()))?;
        Ok(Self { tenant: TenantId::new(tenant)?, gateway: GatewayId::new(gateway)?, channel })
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}/{}", Self::PREFIX, self.tenant, self.gateway, self.channel.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_finds_its_way_back() {
        for channel in Channel::ALL {
            let topic = Topic {
                tenant: TenantId::new("acme").expect("valid"),
                gateway: GatewayId::new("gw-1").expect("valid"),
                channel,
            };
            assert_eq!(Topic::parse(&topic.to_string()), Ok(topic));
        }
    }

    #[test]
    fn wildcards_other_versions_and_other_forms_are_refused() {
        for bad in [
            "",
            "#",
            "mfp/v1/#",
            "mfp/v1/+/gw/up/hello",
            "mfp/v2/a/b/ack",
            "mfp/v1/a/b",
            "mfp/v1/a/b/up",
            "mfp/v1/a/b/up/hello/x",
            "mfp/v1/A/b/ack",
            "$SYS/x",
            "mfp/v1//b/ack",
        ] {
            assert!(Topic::parse(bad).is_err(), "{bad}");
        }
    }
}
