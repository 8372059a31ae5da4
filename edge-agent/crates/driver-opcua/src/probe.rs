//! A session for a person: what a server offers, what its address space holds, and what a node is now.
//! It makes one attempt and does not come back.

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use acquisition::{Instants, NodeReference};
use opcua::client::Session;
use opcua::types::{
    AttributeId, BrowseDescription, BrowseDirection, BrowseResult, BrowseResultMaskFlags, ByteString,
    DataValue, Error, Identifier, NodeClass, NodeClassMask, NodeId, ObjectId, ReadValueId,
    ReferenceDescription, ReferenceTypeId, StatusCode, TimestampsToReturn, VariableId, Variant,
};
use plant_model::{DataType, Sample};
use service_kit::Clock;
use thiserror::Error as ThisError;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::discovery::configuration;
use crate::driver::{cannot_connect, connect};
use crate::error::OpcUaError;
use crate::identity::Identity;
use crate::limits::{Limits, is_too_large};
use crate::link::Link;
use crate::{subscription, value};

/// The name under which the files of a probe's server certificates are kept.
pub(crate) const NAME: &str = "probe";

/// A probe has no subscription; the library wants an interval all the same.
pub(crate) const NO_PUBLISHING: Duration = Duration::from_secs(1);

/// So many references a server shall answer for one node at a time.
const REFERENCES_PER_NODE: u32 = 1000;

/// So many nodes wait to be browsed, at most; with a path of 100 bytes each they take 40 MB.
const WAITING_MAX: usize = 200_000;

/// So deep a tree is followed; a deeper one is a loop of ever new nodes.
const DEPTH_MAX: u16 = 32;

/// A probe failed. The text names the server, the step and the way out.
#[derive(Debug, ThisError)]
#[error(transparent)]
pub struct ProbeError(#[from] OpcUaError);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// Holds other nodes.
    Object,
    /// Has a value.
    Variable,
    /// Anything else.
    Other,
}

/// A node of an address space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowsedNode {
    /// The node as `node_id` of a tag: `nsu=…;s=…`.
    pub node: String,
    /// The names of the nodes above it and its own, with `/` between them.
    pub path: Arc<str>,
    /// What it is.
    pub kind: NodeKind,
    /// For a variable: what its values are, if it is one of the simple types.
    pub data_type: Option<DataType>,
}

/// How a browse ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrowseSummary {
    /// Nodes reported.
    pub nodes: u64,
    /// Whether that is all there is.
    pub is_complete: bool,
}

/// A session for a person. [`Probe::close`] it: a server remembers an abandoned one for 20 s.
pub struct Probe {
    link: Link,
    limits: Limits,
    namespaces: Vec<String>,
}

/// A node whose references are not known yet.
struct Waiting {
    node: NodeId,
    path: Arc<str>,
    depth: u16,
}

impl Probe {
    /// Opens a session, with exactly the configured protection.
    ///
    /// # Errors
    /// As for a machine: every reason names its fix.
    pub async fn open(access: &Access, identity: &Arc<Identity>) -> Result<Self, ProbeError> {
        let config = configuration(NAME, identity.application_uri(), NO_PUBLISHING);
        let entrance = access.enter(&config, identity, NAME).await?;
        let mut link =
            Link::new(&config, entrance).map_err(|cause| cannot_connect(&access.endpoint, cause))?;
        connect(&mut link, &access.endpoint, identity).await?;
        let mut probe = Self { link, limits: Limits::default(), namespaces: Vec::new() };
        let values = probe.read_all(&Limits::nodes()).await?;
        probe.limits = Limits::of(&values);
        let array = ReadValueId::from(NodeId::from(VariableId::Server_NamespaceArray));
        let values = probe.read_all(&[array]).await?;
        probe.namespaces = subscription::namespaces(values.into_iter().next()).unwrap_or_default();
        Ok(probe)
    }

    /// Closes the session.
    pub async fn close(self) {
        self.link.close().await;
    }

    /// The value of a node now, as a tag of this type would carry it.
    ///
    /// # Errors
    /// The server did not answer. A bad value is no error; it has its quality.
    pub async fn read(&mut self, node: &NodeReference, data_type: DataType) -> Result<Sample, ProbeError> {
        let clock = Clock::start();
        let data = match subscription::resolve(node, &self.namespaces) {
            Some(id) => self.read_all(&[ReadValueId::from(id)]).await?.into_iter().next().unwrap_or_default(),
            None => DataValue { status: Some(StatusCode::BadNodeIdUnknown), ..DataValue::default() },
        };
        let at = Instants { gateway_timestamp: clock.wall(), received_at: clock.now() };
        Ok(value::sample(data, data_type, at))
    }

    /// Tells every node below `start` (the folder Objects if there is none), each once, the nearest
    /// first. Memory stays bounded however many there are; what did not fit is said in the summary.
    /// Ends early when `cancel` is cancelled.
    ///
    /// # Errors
    /// The server failed to answer, or does not know `start`.
    pub async fn browse(
        &mut self,
        start: Option<&NodeReference>,
        cancel: &CancellationToken,
        mut tell: impl FnMut(BrowsedNode),
    ) -> Result<BrowseSummary, ProbeError> {
        let root = match start {
            None => NodeId::from(ObjectId::ObjectsFolder),
            Some(start) => subscription::resolve(start, &self.namespaces).ok_or_else(|| {
                let cause = Error::new(StatusCode::BadNodeIdUnknown, start.to_string());
                OpcUaError::Request { step: "find the node to begin with", cause }
            })?,
        };
        let hasher = RandomState::new();
        let mut seen = HashSet::from([hasher.hash_one(&root)]);
        let mut waiting = VecDeque::from([Waiting { node: root, path: "".into(), depth: 0 }]);
        let mut summary = BrowseSummary { nodes: 0, is_complete: true };
        while !waiting.is_empty() {
            let count = self.limits.nodes_per_browse.min(waiting.len());
            let batch: Vec<Waiting> = waiting.drain(..count).collect();
            let Some(found) = cancel.run_until_cancelled(self.children(&batch)).await else {
                summary.is_complete = false;
                break;
            };
            let mut fresh = Vec::new();
            for (parent, reference) in found? {
                if seen.insert(hasher.hash_one(&reference.node_id.node_id)) {
                    fresh.push((child(&batch[parent], &reference), reference.node_class));
                }
            }
            let mut fresh = fresh.into_iter();
            while !cancel.is_cancelled() {
                let chunk: Vec<_> = fresh.by_ref().take(self.limits.nodes_per_read).collect();
                if chunk.is_empty() {
                    break;
                }
                let types = self.data_types(&chunk).await?;
                for ((node, class), data_type) in chunk.into_iter().zip(types) {
                    summary.nodes += 1;
                    tell(self.browsed(&node, class, data_type));
                    if node.depth < DEPTH_MAX && waiting.len() < WAITING_MAX {
                        waiting.push_back(node);
                    } else {
                        summary.is_complete = false;
                    }
                }
            }
            summary.is_complete &= fresh.next().is_none();
        }
        Ok(summary)
    }

    fn browsed(&self, node: &Waiting, class: NodeClass, data_type: Option<DataType>) -> BrowsedNode {
        let kind = match class {
            NodeClass::Object => NodeKind::Object,
            NodeClass::Variable => NodeKind::Variable,
            NodeClass::Unspecified
            | NodeClass::Method
            | NodeClass::ObjectType
            | NodeClass::VariableType
            | NodeClass::ReferenceType
            | NodeClass::DataType
            | NodeClass::View => NodeKind::Other,
        };
        BrowsedNode {
            node: reference(&node.node, &self.namespaces),
            path: Arc::clone(&node.path),
            kind,
            data_type,
        }
    }

    /// The references of some nodes, with the position of the node they begin at.
    async fn children(
        &mut self,
        batch: &[Waiting],
    ) -> Result<Vec<(usize, ReferenceDescription)>, OpcUaError> {
        let descriptions: Vec<_> = batch.iter().map(|waiting| describe_children(&waiting.node)).collect();
        let mut found = Vec::new();
        let mut results = self.browse_some(&descriptions).await?;
        let mut open: Vec<(usize, ByteString)> = Vec::new();
        let mut owners: Vec<usize> = (0..batch.len()).collect();
        loop {
            for (owner, result) in owners.iter().zip(results) {
                found.extend(result.references.into_iter().flatten().map(|reference| (*owner, reference)));
                if !result.continuation_point.is_null_or_empty() {
                    open.push((*owner, result.continuation_point));
                }
            }
            if open.is_empty() {
                return Ok(found);
            }
            let points: Vec<ByteString>;
            (owners, points) = std::mem::take(&mut open).into_iter().unzip();
            let session = Arc::clone(&self.link.session);
            results = call(&mut self.link, "go on browsing", session.browse_next(false, &points)).await?;
        }
    }

    /// In halves, where the server takes less at a time than it says.
    async fn browse_some(
        &mut self,
        descriptions: &[BrowseDescription],
    ) -> Result<Vec<BrowseResult>, OpcUaError> {
        let (mut results, mut size) = (Vec::new(), descriptions.len());
        while results.len() < descriptions.len() {
            let rest = &descriptions[results.len()..];
            let chunk = &rest[..size.min(rest.len())];
            let session: Arc<Session> = Arc::clone(&self.link.session);
            match call(&mut self.link, "browse", session.browse(chunk, REFERENCES_PER_NODE, None)).await {
                Ok(answered) if answered.len() == chunk.len() => results.extend(answered),
                Ok(_) => {
                    let cause = Error::new(StatusCode::BadUnexpectedError, "too few answers");
                    return Err(OpcUaError::Request { step: "browse", cause });
                }
                Err(OpcUaError::Request { cause, .. }) if is_too_large(cause.status()) && chunk.len() > 1 => {
                    size = chunk.len() / 2;
                    self.limits.nodes_per_browse = size;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(results)
    }

    async fn data_types(
        &mut self,
        nodes: &[(Waiting, NodeClass)],
    ) -> Result<Vec<Option<DataType>>, OpcUaError> {
        let asked = nodes.iter().filter(|(_, class)| *class == NodeClass::Variable);
        let asked: Vec<_> = asked
            .map(|(waiting, _)| ReadValueId {
                node_id: waiting.node.clone(),
                attribute_id: AttributeId::DataType as u32,
                ..ReadValueId::default()
            })
            .collect();
        let mut values = self.read_all(&asked).await?.into_iter();
        let data_type = |(_, class): &(Waiting, NodeClass)| {
            if *class == NodeClass::Variable { values.next().and_then(simple_type) } else { None }
        };
        Ok(nodes.iter().map(data_type).collect())
    }

    async fn read_all(&mut self, nodes: &[ReadValueId]) -> Result<Vec<DataValue>, OpcUaError> {
        let mut values = Vec::new();
        while values.len() < nodes.len() {
            let rest = &nodes[values.len()..];
            let chunk = &rest[..self.limits.nodes_per_read.min(rest.len())];
            let session = Arc::clone(&self.link.session);
            let read = session.read(chunk, TimestampsToReturn::Both, 0.0);
            match call(&mut self.link, "read", read).await {
                Ok(answered) if answered.len() == chunk.len() => values.extend(answered),
                Ok(_) => {
                    let cause = Error::new(StatusCode::BadUnexpectedError, "too few answers");
                    return Err(OpcUaError::Request { step: "read", cause });
                }
                Err(OpcUaError::Request { cause, .. }) if is_too_large(cause.status()) && chunk.len() > 1 => {
                    self.limits.nodes_per_read = chunk.len() / 2;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(values)
    }
}

/// Sends a request and polls the session until its answer is there.
async fn call<T>(
    link: &mut Link,
    step: &'static str,
    request: impl Future<Output = Result<T, Error>>,
) -> Result<T, OpcUaError> {
    tokio::pin!(request);
    loop {
        tokio::select! {
            biased;
            // The library gives up after its own time-out for requests.
            answer = &mut request => return answer.map_err(|cause| OpcUaError::Request { step, cause }),
            activity = link.next() => drop(activity?),
        }
    }
}

fn describe_children(node: &NodeId) -> BrowseDescription {
    BrowseDescription {
        node_id: node.clone(),
        browse_direction: BrowseDirection::Forward,
        reference_type_id: ReferenceTypeId::HierarchicalReferences.into(),
        include_subtypes: true,
        node_class_mask: (NodeClassMask::OBJECT | NodeClassMask::VARIABLE).bits(),
        result_mask: (BrowseResultMaskFlags::DisplayName | BrowseResultMaskFlags::NodeClass).bits(),
    }
}

fn child(parent: &Waiting, reference: &ReferenceDescription) -> Waiting {
    let name = reference.display_name.text.as_ref();
    let path = if parent.path.is_empty() { name.into() } else { format!("{}/{name}", parent.path).into() };
    Waiting { node: reference.node_id.node_id.clone(), path, depth: parent.depth + 1 }
}

/// The node by the URI of its namespace, because indexes change.
fn reference(node: &NodeId, namespaces: &[String]) -> String {
    let identifier = NodeId { namespace: 0, identifier: node.identifier.clone() }.to_string();
    match namespaces.get(usize::from(node.namespace)) {
        Some(uri) if node.namespace > 0 => format!("nsu={uri};{identifier}"),
        Some(_) | None => node.to_string(),
    }
}

/// The built-in types (OPC UA Part 6, 5.1.2) that a tag can carry as a number or a text.
fn simple_type(value: DataValue) -> Option<DataType> {
    let Some(Variant::NodeId(id)) = value.value else { return None };
    match (id.namespace, &id.identifier) {
        (0, Identifier::Numeric(1)) => Some(DataType::Bool),
        (0, Identifier::Numeric(2..=9)) => Some(DataType::Int),
        (0, Identifier::Numeric(10 | 11)) => Some(DataType::Float),
        (0, Identifier::Numeric(12 | 13 | 21)) => Some(DataType::Text),
        _ => None,
    }
}
