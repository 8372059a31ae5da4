//! The way of a command to its gateway: the connection that stands now, or none.

use std::sync::Arc;

use bytes::Bytes;
use http_api::{CommandLine, SendError};
use ingestion::{Broker, GatewayIdentity, PublishError};
use plant_model::{GatewayId, TenantId};
use protocol::{Channel, Instruction};
use tracing::error;

/// Sends through the place where the gateway is connected.
pub(crate) struct BrokerLine(pub(crate) Arc<dyn Broker>);

impl CommandLine for BrokerLine {
    fn send(&self, tenant: &TenantId, gateway: &GatewayId, command: &Instruction) -> Result<(), SendError> {
        let identity = GatewayIdentity { tenant: tenant.clone(), gateway: gateway.clone() };
        let payload = Bytes::from(command.encode());
        self.0.publish(&identity, Channel::Command, payload).map_err(|refused| match refused {
            // An agent from before commands connects and does not ask for them.
            PublishError::NotConnected(_) | PublishError::NotSubscribed { .. } => SendError::Offline,
            PublishError::Full(_) => SendError::Busy,
            PublishError::Channel(_) | PublishError::TooLarge { .. } => {
                error!(tenant.id = %tenant, gateway.id = %gateway, error = %refused, "a command cannot be sent");
                SendError::Busy
            }
        })
    }
}
