//! Who is there, by when each was heard last.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ingestion::{ConnectionId, GatewayIdentity};

/// A gateway is heard about once a second. It takes up to 25 s to notice a dead connection and 10 s to come back.
pub const SILENCE_MAX: Duration = Duration::from_secs(45);

/// Who is there. As many as have a certificate of ours at most, and only those heard lately.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    heard: HashMap<GatewayIdentity, Heard>,
    last_number: u64,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    connection: ConnectionId,
    at: Instant,
}

/// What a message says about who is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The gateway was there.
    Known(ConnectionId),
    /// It was not.
    New(ConnectionId),
}

impl Presence {
    /// A message of a gateway came.
    pub(crate) fn hear(&mut self, identity: &GatewayIdentity, now: Instant) -> Arrival {
        if let Some(heard) = self.heard.get_mut(identity) {
            heard.at = now;
            return Arrival::Known(heard.connection);
        }
        self.last_number += 1;
        let connection = ConnectionId::new(self.last_number);
        self.heard.insert(identity.clone(), Heard { connection, at: now });
        Arrival::New(connection)
    }

    /// Takes out those who are gone.
    pub(crate) fn take_silent(&mut self, now: Instant) -> Vec<(GatewayIdentity, ConnectionId)> {
        let gone = self.heard.extract_if(|_, heard| now.duration_since(heard.at) >= SILENCE_MAX);
        gone.map(|(identity, heard)| (identity, heard.connection)).collect()
    }

    pub(crate) fn is_there(&self, identity: &GatewayIdentity, now: Instant) -> bool {
        self.heard.get(identity).is_some_and(|heard| now.duration_since(heard.at) < SILENCE_MAX)
    }

    pub(crate) fn count(&self) -> usize {
        self.heard.len()
    }
}

#[cfg(test)]
mod tests {
    use plant_model::{GatewayId, TenantId};

    use super::*;

    fn gateway(name: &str) -> GatewayIdentity {
        GatewayIdentity {
            tenant: TenantId::new("acme").expect("valid"),
            gateway: GatewayId::new(name).expect("valid"),
        }
    }

    #[test]
    fn a_gateway_is_there_while_it_is_heard_and_gone_when_it_was_silent_for_long() {
        let (mut presence, start) = (Presence::default(), Instant::now());
        let (a, b) = (gateway("a"), gateway("b"));
        let Arrival::New(first) = presence.hear(&a, start) else { panic!("a was not there") };
        presence.hear(&b, start);
        let later = start + SILENCE_MAX / 2;
        assert_eq!(presence.hear(&a, later), Arrival::Known(first));
        let end = start + SILENCE_MAX;
        assert!(presence.is_there(&a, end) && !presence.is_there(&b, end));
        let silent = presence.take_silent(end);
        assert!(matches!(&silent[..], [(who, _)] if *who == b), "{silent:?}");
        assert_eq!((presence.count(), presence.take_silent(end).len()), (1, 0));
        let Arrival::New(again) = presence.hear(&b, end) else { panic!("b was gone") };
        assert!(again > first, "a later one is greater");
    }
}
