//! What is asked of a server for one subscription, and how its answers are read.

use std::time::Duration;

use acquisition::{Deadband, Namespace, NodeIdentifier, NodeReference, OpcUaConnection, TagIndex};
use opcua::types::{
    AttributeId, ByteString, DataChangeFilter, DataChangeTrigger, DataValue, DeadbandType, ExtensionObject,
    Guid, Identifier, MonitoredItemCreateRequest, MonitoringMode, MonitoringParameters, NodeId, ReadValueId,
    VariableId, Variant,
};

/// So many changes of one item the server keeps between two publishes. Sampled every 10 ms and
/// published every second, none is lost.
const QUEUE_SIZE: u32 = 100;

/// A quiet server says after so long that it is alive.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// A server that publishes nothing for so long, keep-alives included, is taken for dead.
const SILENCE_MIN: Duration = Duration::from_millis(1500);

/// So many missing keep-alives in a row make a server dead.
const KEEP_ALIVES_MISSED: u32 = 3;

/// So long the server keeps a subscription that nobody asks for.
const LIFETIME: Duration = Duration::from_secs(10);

/// The counts asked for, in publishing intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) lifetime: u32,
    pub(crate) keep_alive: u32,
}

impl Counts {
    pub(crate) fn of(publishing_interval: Duration) -> Self {
        let keep_alive = intervals(KEEP_ALIVE, publishing_interval);
        // A lifetime is at least three keep-alives (OPC UA Part 4, 5.14.2).
        let lifetime = intervals(LIFETIME, publishing_interval).max(keep_alive.saturating_mul(3));
        Self { lifetime, keep_alive }
    }
}

fn intervals(time: Duration, interval: Duration) -> u32 {
    let count = time.as_micros().div_ceil(interval.as_micros().max(1));
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

/// How long a server may publish nothing, by what it promised.
pub(crate) fn silence_limit(publishing_interval: Duration, keep_alive_count: u32) -> Duration {
    let keep_alive = publishing_interval.saturating_mul(keep_alive_count.max(1));
    keep_alive.saturating_mul(KEEP_ALIVES_MISSED).max(SILENCE_MIN)
}

/// The client handle of the server's clock, which no tag has.
pub(crate) const CLOCK: u32 = u32::MAX;

/// The client handle of a tag; 0 would be replaced by the library.
pub(crate) fn handle(tag: TagIndex) -> u32 {
    u32::from(tag.0) + 1
}

/// The tag of a client handle, if it can be one of ours.
pub(crate) fn tag(handle: u32, tags: usize) -> Option<TagIndex> {
    let index = u16::try_from(handle.checked_sub(1)?).ok()?;
    (usize::from(index) < tags).then_some(TagIndex(index))
}

/// The namespace URIs of a server, in the order of their indexes.
pub(crate) fn namespaces(array: Option<DataValue>) -> Option<Vec<String>> {
    let Some(Variant::Array(array)) = array?.value else { return None };
    let text = |value: &Variant| {
        let Variant::String(uri) = value else { return None };
        Some(uri.as_ref().to_owned())
    };
    array.values.iter().map(text).collect()
}

/// The node id on a server with these namespaces; `None` if it has no such namespace.
pub(crate) fn resolve(node: &NodeReference, namespaces: &[String]) -> Option<NodeId> {
    let index = match &node.namespace {
        Namespace::Index(index) => *index,
        Namespace::Uri(uri) => {
            let position = namespaces.iter().position(|known| known.as_str() == uri.as_ref())?;
            u16::try_from(position).ok()?
        }
    };
    let identifier = match &node.identifier {
        NodeIdentifier::Numeric(number) => Identifier::from(*number),
        NodeIdentifier::Text(text) => Identifier::from(text.as_ref()),
        NodeIdentifier::Guid(guid) => Identifier::from(guid.parse::<Guid>().ok()?),
        NodeIdentifier::Opaque(base64) => Identifier::from(ByteString::from_base64(base64)?),
    };
    Some(NodeId { namespace: index, identifier })
}

/// Whether the server is asked to leave out small changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filter {
    /// As configured for each tag.
    Configured,
    /// Not at all.
    None,
}

/// A request to report the changes of a node's value.
pub(crate) fn create_request(
    (tag, node): &(TagIndex, NodeId),
    connection: &OpcUaConnection,
    filter: Filter,
) -> MonitoredItemCreateRequest {
    let deadband = match filter {
        Filter::Configured => connection.items()[tag.as_usize()].deadband,
        Filter::None => None,
    };
    MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId {
            node_id: node.clone(),
            attribute_id: AttributeId::Value as u32,
            ..ReadValueId::default()
        },
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: handle(*tag),
            sampling_interval: connection.sampling_interval().as_secs_f64() * 1000.0,
            filter: deadband.map_or_else(ExtensionObject::null, data_change_filter),
            queue_size: QUEUE_SIZE,
            discard_oldest: true,
        },
    }
}

/// A request to report the clock of the server. The newest time is enough.
pub(crate) fn clock_request(sampling: Duration) -> MonitoredItemCreateRequest {
    MonitoredItemCreateRequest {
        item_to_monitor: ReadValueId::from(NodeId::from(VariableId::Server_ServerStatus_CurrentTime)),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: CLOCK,
            sampling_interval: sampling.as_secs_f64() * 1000.0,
            filter: ExtensionObject::null(),
            queue_size: 1,
            discard_oldest: true,
        },
    }
}

fn data_change_filter(deadband: Deadband) -> ExtensionObject {
    let (kind, size) = match deadband {
        Deadband::Absolute(size) => (DeadbandType::Absolute, size),
        Deadband::Percent(size) => (DeadbandType::Percent, size),
    };
    ExtensionObject::from_message(DataChangeFilter {
        trigger: DataChangeTrigger::StatusValue,
        deadband_type: kind as u32,
        deadband_value: size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_quiet_server_is_heard_twice_a_second_and_given_three_chances() {
        assert_eq!(Counts::of(100 * MS), Counts { lifetime: 100, keep_alive: 5 });
        assert_eq!(Counts::of(10 * MS), Counts { lifetime: 1000, keep_alive: 50 });
        assert_eq!(Counts::of(60_000 * MS), Counts { lifetime: 3, keep_alive: 1 });
        assert_eq!(silence_limit(100 * MS, 5), 1500 * MS);
        assert_eq!(silence_limit(1000 * MS, 10), 30_000 * MS, "a server may promise less than was asked");
        assert_eq!(silence_limit(MS, 0), 1500 * MS);
    }

    #[test]
    fn handles_and_tags_belong_together() {
        for index in [0, 1, 9_999] {
            assert_eq!(tag(handle(TagIndex(index)), 10_000), Some(TagIndex(index)));
        }
        assert_eq!(tag(0, 5), None);
        assert_eq!(tag(6, 5), None);
        assert_eq!(tag(u32::MAX, 5), None);
    }

    fn resolved(text: &str) -> Option<String> {
        let namespaces = ["http://opcfoundation.org/UA/".to_owned(), "urn:a".to_owned(), "urn:b".to_owned()];
        resolve(&text.parse().expect(text), &namespaces).map(|node| node.to_string())
    }

    #[test]
    fn a_node_is_found_by_the_uri_of_its_namespace_or_by_its_index() {
        assert_eq!(resolved("nsu=urn:b;s=Temp").as_deref(), Some("ns=2;s=Temp"));
        assert_eq!(resolved("ns=1;i=7").as_deref(), Some("ns=1;i=7"));
        assert_eq!(resolved("i=2258").as_deref(), Some("i=2258"));
        let guid = "ns=1;g=09087e75-8e5e-499b-954f-f2a9603db28a";
        assert_eq!(resolved(guid).as_deref(), Some(guid));
        assert_eq!(resolved("ns=1;b=AQID").as_deref(), Some("ns=1;b=AQID"));
        assert_eq!(resolved("nsu=urn:c;s=Temp"), None);
    }

    #[test]
    fn the_namespaces_are_read_from_an_array_of_texts_and_nothing_else() {
        let array = Variant::from(vec!["urn:a".to_owned(), "urn:b".to_owned()]);
        let read = namespaces(Some(DataValue::value_only(array)));
        assert_eq!(read, Some(vec!["urn:a".to_owned(), "urn:b".to_owned()]));
        assert_eq!(namespaces(Some(DataValue::value_only("urn:a"))), None);
        assert_eq!(namespaces(Some(DataValue::value_only(vec![1_i32]))), None);
        assert_eq!(namespaces(None), None);
    }
}
