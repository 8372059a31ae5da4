//! How much a server takes with one request.

use opcua::types::{DataValue, NodeId, ReadValueId, StatusCode, VariableId, Variant};

/// So many items or nodes are asked for with one request where the server names no limit.
const PER_REQUEST: usize = 500;

/// The limits of a server (`OperationLimits`, OPC UA Part 5, 6.3.11).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) items_per_call: usize,
    pub(crate) nodes_per_read: usize,
    pub(crate) nodes_per_browse: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { items_per_call: PER_REQUEST, nodes_per_read: PER_REQUEST, nodes_per_browse: PER_REQUEST }
    }
}

impl Limits {
    /// What to read to learn them.
    pub(crate) fn nodes() -> [ReadValueId; 3] {
        [
            VariableId::Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
            VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
        ]
        .map(|variable| ReadValueId::from(NodeId::from(variable)))
    }

    /// The limits in the values of [`Limits::nodes`]. A server need not have them; zero is no limit.
    pub(crate) fn of(values: &[DataValue]) -> Self {
        let limit = |index: usize| match values.get(index).and_then(|value| value.value.as_ref()) {
            Some(Variant::UInt32(limit @ 1..)) => {
                usize::try_from(*limit).unwrap_or(PER_REQUEST).min(PER_REQUEST)
            }
            Some(_) | None => PER_REQUEST,
        };
        Self { items_per_call: limit(0), nodes_per_read: limit(1), nodes_per_browse: limit(2) }
    }
}

/// Whether a request was refused for its size, so that a smaller one may do.
pub(crate) fn is_too_large(status: StatusCode) -> bool {
    [
        StatusCode::BadTooManyOperations,
        StatusCode::BadTooManyMonitoredItems,
        StatusCode::BadRequestTooLarge,
        StatusCode::BadResponseTooLarge,
        StatusCode::BadEncodingLimitsExceeded,
        StatusCode::BadTcpMessageTooLarge,
    ]
    .contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_and_a_missing_one_or_zero_is_ours() {
        let values = [DataValue::value_only(50_u32), DataValue::value_only(0_u32), DataValue::default()];
        let limits = Limits::of(&values);
        assert_eq!((limits.items_per_call, limits.nodes_per_read, limits.nodes_per_browse), (50, 500, 500));
        assert_eq!(Limits::of(&[]), Limits::default());
        assert_eq!(Limits::of(&[DataValue::value_only(1_000_000_u32)]).items_per_call, 500);
    }
}
