//! The OPC UA server of a machine: security None and anonymous unless its options say otherwise, one variable `ns=<uri>;s=<tag>` per tag.
//!
//! The server samples nothing by itself: the machine publishes each change at once, all changes of a tick with the
//! same source timestamp.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use opcua::{
    nodes::VariableBuilder,
    server::{
        CreateMonitoredItem, Server, ServerBuilder, ServerHandle, SubscriptionCache,
        address_space::AddressSpace,
        diagnostics::NamespaceMetadata,
        node_manager::{
            MonitoredItemRef, RequestContext, ServerContext,
            memory::{InMemoryNodeManager, InMemoryNodeManagerBuilder, InMemoryNodeManagerImpl},
        },
    },
    sync::RwLock,
    types::{DataTypeId, DataValue, DateTime, NodeId, ObjectId, TimestampsToReturn, VariableTypeId, Variant},
};
use tokio::{net::TcpListener, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

use crate::{
    catalog::{Encoding, TagSpec},
    error::SimulatorError,
    machine::{Machine, Published},
    ua_options,
    value::Value,
};

/// Timers of the server; its default of 100 ms would add as much to every latency.
const TIMER_MS: u64 = 10;
/// Sampling interval granted to every item: one microsecond, the resolution of the machine's instants. With a longer
/// one the library would delay a change that follows another too closely and move its source timestamp, or merge the
/// two, and what a subscriber must receive could not be told.
const SAMPLING_MS: f64 = 0.001;
/// Agents that are killed leave their sessions behind until they time out.
const SESSIONS_MAX: usize = 200;
/// Values a subscriber may ask to have queued per item: 1,000 changes are over a quarter of an hour of ticks.
const ITEM_QUEUE_MAX: usize = 1_000;
/// Notification messages kept for a subscriber that does not ask for them, at 10 per second over a minute and a half.
const QUEUED_NOTIFICATIONS_MAX: usize = 1_000;
/// Publish requests a client may keep waiting.
const PUBLISH_REQUESTS_MAX: usize = 20;
/// Time the server gets to start: it builds the standard address space first.
const START_DEADLINE: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(5);
/// 100 ns ticks between 1601-01-01, the epoch of OPC UA, and 1970-01-01.
const UNIX_EPOCH_TICKS: i64 = 116_444_736_000_000_000;

type Nodes = InMemoryNodeManager<MachineNodes>;

/// Starts the server of a machine on a private port and returns that port's address. The server ends when the token
/// is cancelled.
pub(crate) async fn start(
    machine: &Arc<Machine>,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<SocketAddr, SimulatorError> {
    let failed = |reason: String| SimulatorError::UaServer { machine: machine.id().to_owned(), reason };
    let private = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(private).await.map_err(|error| failed(error.to_string()))?;
    let address = listener.local_addr().map_err(|error| failed(error.to_string()))?;
    let (building, token) = (Arc::clone(machine), shutdown.clone());
    // A key may have to be made, which takes seconds.
    let built = tokio::task::spawn_blocking(move || build(&building, token)).await;
    let (server, handle) = built.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
    connect_publisher(machine, &handle).map_err(failed)?;
    let id = machine.id().to_owned();
    tasks.spawn(async move {
        if let Err(reason) = server.run_with(listener).await {
            error!(machine.id = id, reason, "the OPC UA server ended");
        }
    });
    announce_public_port(machine, &handle).await.map_err(failed)?;
    Ok(address)
}

fn build(machine: &Arc<Machine>, shutdown: CancellationToken) -> Result<(Server, ServerHandle), String> {
    let uri = machine.kind().namespace_uri();
    let application_uri = format!("{uri}:{}", machine.id());
    let folder = std::env::temp_dir().join(format!("machine-simulator-pki-{}", std::process::id()));
    let builder = ServerBuilder::new_anonymous(format!("{} ({})", machine.kind().title(), machine.id()))
        .application_uri(&application_uri)
        .product_uri("urn:machine-simulator")
        .host(dialled_host(machine.address().ip()))
        .port(machine.address().port())
        // The server insists on a directory for certificates, even though security None uses none.
        .pki_dir(&folder)
        .subscription_poll_interval_ms(TIMER_MS)
        .max_sessions(SESSIONS_MAX)
        .token(shutdown)
        .with_node_manager(InMemoryNodeManagerBuilder::new(node_builder(Arc::clone(machine))));
    let own = folder.join(format!("{}-{}", machine.id(), machine.address().port()));
    let mut builder = ua_options::apply(builder, machine.opcua(), &application_uri, &own)?;
    let limits = &mut builder.limits_mut().subscriptions;
    limits.min_publishing_interval_ms = TIMER_MS as f64;
    limits.min_sampling_interval_ms = TIMER_MS as f64;
    limits.max_monitored_item_queue_size = ITEM_QUEUE_MAX;
    limits.max_queued_notifications = QUEUED_NOTIFICATIONS_MAX;
    limits.max_pending_publish_requests = PUBLISH_REQUESTS_MAX;
    limits.max_publish_requests_per_subscription = PUBLISH_REQUESTS_MAX;
    builder.build()
}

/// A wildcard address cannot be dialled; then the server announces loopback.
fn dialled_host(ip: IpAddr) -> String {
    if ip.is_unspecified() { "127.0.0.1".to_owned() } else { ip.to_string() }
}

/// Lets the machine's changes reach the server's variables and subscribers.
fn connect_publisher(machine: &Machine, handle: &ServerHandle) -> Result<(), String> {
    let nodes = handle.node_managers().get_of_type::<Nodes>().ok_or("its node manager is missing")?;
    let subscriptions = Arc::clone(handle.subscriptions());
    machine.publish_to(Box::new(move |changes| publish(&nodes, &subscriptions, changes)));
    Ok(())
}

fn publish(nodes: &Nodes, subscriptions: &SubscriptionCache, changes: &[Published]) {
    let encodings = &nodes.inner().encodings;
    let ids = &nodes.inner().ids;
    let values = changes.iter().map(|change| {
        (&ids[change.tag], None, data_value(encodings[change.tag], &change.value, change.at_us))
    });
    nodes
        .set_values(subscriptions, values)
        .expect("every tag has a variable, made with the machine's tag list");
}

/// Clients reach the server through the machine's front, so that is the port to announce.
async fn announce_public_port(machine: &Machine, handle: &ServerHandle) -> Result<(), String> {
    let started = tokio::time::timeout(START_DEADLINE, async {
        while handle.info().port.load(Ordering::Relaxed) == 0 {
            sleep(START_POLL).await;
        }
    });
    started.await.map_err(|_| format!("not ready after {} s", START_DEADLINE.as_secs()))?;
    handle.info().port.store(machine.address().port(), Ordering::Relaxed);
    Ok(())
}

/// The machine's variables; the machine keeps the values, and this the nodes that show them.
struct MachineNodes {
    machine: Weak<Machine>,
    namespace: NamespaceMetadata,
    ids: Vec<NodeId>,
    encodings: Vec<Encoding>,
}

fn node_builder(machine: Arc<Machine>) -> impl FnOnce(ServerContext, &mut AddressSpace) -> MachineNodes {
    move |context, space| {
        let uri = machine.kind().namespace_uri();
        let index = context.type_tree.write().namespaces_mut().add_namespace(&uri);
        space.add_namespace(&uri, index);
        let folder = NodeId::new(index, machine.kind().slug());
        space.add_folder(
            &folder,
            machine.kind().slug(),
            machine.kind().title(),
            &ObjectId::ObjectsFolder.into(),
        );
        let ids: Vec<_> = machine.tags().iter().map(|tag| NodeId::new(index, tag.id)).collect();
        for ((id, tag), (value, at_us)) in ids.iter().zip(machine.tags()).zip(machine.timed_values()) {
            VariableBuilder::new(id, tag.id, tag.name)
                .description(tag.unit)
                .data_type(data_type(tag))
                .value(variant(tag.encoding, &value))
                .has_type_definition(VariableTypeId::BaseDataVariableType)
                .component_of(folder.clone())
                .insert(space);
            // With the machine's instant instead of the instant of building.
            if let Some(opcua::nodes::NodeType::Variable(variable)) = space.find_mut(id) {
                variable.set_data_value(data_value(tag.encoding, &value, at_us));
            }
        }
        for number in 0..machine.opcua().extra_nodes {
            let name = format!("extra_{number}");
            VariableBuilder::new(&NodeId::new(index, name.as_str()), name.as_str(), name.as_str())
                .data_type(DataTypeId::UInt32)
                .value(number)
                .has_type_definition(VariableTypeId::BaseDataVariableType)
                .component_of(folder.clone())
                .insert(space);
        }
        MachineNodes {
            namespace: NamespaceMetadata { namespace_uri: uri, namespace_index: index, ..Default::default() },
            ids,
            encodings: machine.tags().iter().map(|tag| tag.encoding).collect(),
            machine: Arc::downgrade(&machine),
        }
    }
}

impl MachineNodes {
    fn with_tag(&self, id: &NodeId, act: impl FnOnce(&Machine, usize)) {
        if let (Some(machine), Some(tag)) =
            (self.machine.upgrade(), self.ids.iter().position(|own| own == id))
        {
            act(&machine, tag);
        }
    }
}

#[async_trait]
impl InMemoryNodeManagerImpl for MachineNodes {
    async fn init(&self, _address_space: &mut AddressSpace, _context: ServerContext) {}

    fn name(&self) -> &str {
        "machine"
    }

    fn namespaces(&self) -> Vec<NamespaceMetadata> {
        vec![self.namespace.clone()]
    }

    async fn create_value_monitored_items(
        &self,
        context: &RequestContext,
        address_space: &RwLock<AddressSpace>,
        items: &mut [&mut &mut CreateMonitoredItem],
    ) {
        for item in items.iter_mut() {
            // Before the first value is read: from here on the machine stands still until the item is registered.
            self.with_tag(&item.item_to_monitor().node_id, Machine::monitored_item_created);
            let first =
                address_space.read().read(context, item.item_to_monitor(), 0.0, TimestampsToReturn::Both);
            // Bad for nodes that do not exist or have no value, whose items must not be created.
            item.set_status(first.status());
            item.set_initial_value(first);
            item.revise_sampling_interval(SAMPLING_MS);
        }
    }

    async fn delete_monitored_items(&self, _context: &RequestContext, items: &[&MonitoredItemRef]) {
        for item in items {
            self.with_tag(item.node_id(), Machine::monitored_item_deleted);
        }
    }
}

/// Scaled registers become Double, small integers Int32, counters Int64.
fn data_type(tag: &TagSpec) -> DataTypeId {
    match tag.encoding {
        Encoding::U16 { decimals: 0 } | Encoding::I16 { decimals: 0 } => DataTypeId::Int32,
        Encoding::U32 { decimals: 0 } | Encoding::I32 { decimals: 0 } => DataTypeId::Int64,
        Encoding::U16 { .. } | Encoding::I16 { .. } | Encoding::U32 { .. } | Encoding::I32 { .. } => {
            DataTypeId::Double
        }
        Encoding::F32 { .. } => DataTypeId::Float,
        Encoding::Bit => DataTypeId::Boolean,
        Encoding::Text => DataTypeId::String,
    }
}

fn variant(encoding: Encoding, value: &Value) -> Variant {
    match (value, encoding) {
        (Value::Bool(on), _) => Variant::Boolean(*on),
        (Value::Text(text), _) => Variant::String(text.as_str().into()),
        // The catalog's one-register integers fit 32 bits by their range.
        (Value::Int(number), Encoding::U16 { .. } | Encoding::I16 { .. }) => Variant::Int32(*number as i32),
        (Value::Int(number), _) => Variant::Int64(*number),
        // Values of this encoding are single-precision numbers already.
        (Value::Float(number), Encoding::F32 { .. }) => Variant::Float(*number as f32),
        (Value::Float(number), _) => Variant::Double(*number),
    }
}

fn data_value(encoding: Encoding, value: &Value, at_us: i64) -> DataValue {
    DataValue::new_at(variant(encoding, value), DateTime::from(at_us * 10 + UNIX_EPOCH_TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_keep_their_microseconds_in_opc_ua_time() {
        let value = data_value(Encoding::Bit, &Value::Bool(true), 1_700_000_000_123_456);
        let at = value.source_timestamp.unwrap();
        assert_eq!(at.as_chrono().timestamp_micros(), 1_700_000_000_123_456);
    }
}
