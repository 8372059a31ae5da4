//! The OPC UA server of a machine: security None and anonymous unless its options say otherwise, one variable `ns=<uri>;s=<tag>` per tag.
//!
//! The server samples nothing by itself: the machine publishes each change at once, all changes of a tick with the
//! same source timestamp.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
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
    types::{
        DataTypeId, DataValue, DateTime, NodeId, ObjectId, StatusCode, TimestampsToReturn, VariableTypeId,
        Variant,
    },
};
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::error;

use crate::{
    catalog::{Encoding, TagSpec},
    error::SimulatorError,
    machine::{Machine, Published},
    ua_options::{self, Filters, UaClock, UaOptions},
    value::Value,
    wall_clock::now_us,
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
/// 2000-01-01T00:00:00Z, where the clock of a controller with an empty battery begins.
const YEAR_2000_US: i64 = 946_684_800_000_000;
/// 100 ns ticks between 1601-01-01, the epoch of OPC UA, and 1970-01-01.
const UNIX_EPOCH_TICKS: i64 = 116_444_736_000_000_000;

type Nodes = InMemoryNodeManager<MachineNodes>;

/// The server of a machine, which can be stopped and started again.
pub(crate) struct UaServer {
    machine: Arc<Machine>,
    /// Where its key and certificate are.
    folder: PathBuf,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    address: SocketAddr,
    life: Option<Life>,
}

/// One run of a server.
struct Life {
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl UaServer {
    /// A server that is not started. It ends when the token is cancelled.
    pub(crate) fn new(
        machine: &Arc<Machine>,
        folder: &Path,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        Self {
            machine: Arc::clone(machine),
            folder: folder.join(machine.id()),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            life: None,
        }
    }

    /// Its private address, once it is started.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the server on a private port. Its key and certificate are made at the first start.
    pub(crate) async fn start(&mut self) -> Result<(), SimulatorError> {
        let machine = Arc::clone(&self.machine);
        let failed = |reason: String| SimulatorError::UaServer { machine: machine.id().to_owned(), reason };
        let private = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(private).await.map_err(|error| failed(error.to_string()))?;
        self.address = listener.local_addr().map_err(|error| failed(error.to_string()))?;
        let end = self.shutdown.child_token();
        let (building, token, folder) = (Arc::clone(&machine), end.clone(), self.folder.clone());
        // A key may have to be made, which takes seconds.
        let built = tokio::task::spawn_blocking(move || build(&building, &folder, token)).await;
        let (server, handle) = built.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
        connect_publisher(&machine, &handle).map_err(failed)?;
        let id = machine.id().to_owned();
        let task = self.tasks.spawn(async move {
            if let Err(reason) = server.run_with(listener).await {
                error!(machine.id = id, reason, "the OPC UA server ended");
            }
        });
        self.life = Some(Life { end, task });
        announce_public_port(&machine, &handle).await.map_err(failed)
    }

    /// Ends the server; its sessions and subscriptions are forgotten.
    pub(crate) async fn stop(&mut self) {
        let Some(Life { end, task }) = self.life.take() else { return };
        end.cancel();
        // It has no result; a panic was reported by the runtime.
        let _ = task.await;
        self.machine.subscribers_gone();
    }
}

fn build(
    machine: &Arc<Machine>,
    folder: &Path,
    shutdown: CancellationToken,
) -> Result<(Server, ServerHandle), String> {
    let uri = machine.kind().namespace_uri();
    let application_uri = format!("{uri}:{}", machine.id());
    let options = machine.opcua();
    let address = machine.address().ok_or("an OPC UA machine has an address of its own")?;
    let builder = ServerBuilder::new_anonymous(format!("{} ({})", machine.kind().title(), machine.id()))
        .application_uri(&application_uri)
        .product_uri("urn:machine-simulator")
        .host(dialled_host(address.ip()))
        .port(address.port())
        // The server insists on a directory for certificates, even though security None uses none.
        .pki_dir(folder.join("pki"))
        .subscription_poll_interval_ms(TIMER_MS)
        .max_sessions(SESSIONS_MAX)
        .token(shutdown)
        .with_node_manager(InMemoryNodeManagerBuilder::new(node_builder(Arc::clone(machine))));
    let mut builder = ua_options::apply(builder, options, &application_uri, folder)?;
    let limits = &mut builder.limits_mut().subscriptions;
    limits.min_publishing_interval_ms = TIMER_MS as f64;
    limits.min_sampling_interval_ms = TIMER_MS as f64;
    limits.max_monitored_item_queue_size = ITEM_QUEUE_MAX;
    limits.max_queued_notifications = QUEUED_NOTIFICATIONS_MAX;
    limits.max_pending_publish_requests = PUBLISH_REQUESTS_MAX;
    limits.max_publish_requests_per_subscription = PUBLISH_REQUESTS_MAX;
    options.limits.narrow(builder.limits_mut());
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
    let clock = nodes.inner().clock;
    let values = changes.iter().map(|change| {
        (&ids[change.tag], None, data_value(encodings[change.tag], &change.value, clock.shown(change.at_us)))
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
    let address = machine.address().ok_or("an OPC UA machine has an address of its own")?;
    handle.info().port.store(address.port(), Ordering::Relaxed);
    Ok(())
}

/// The machine's variables; the machine keeps the values, and this the nodes that show them.
struct MachineNodes {
    machine: Weak<Machine>,
    namespace: NamespaceMetadata,
    ids: Vec<NodeId>,
    encodings: Vec<Encoding>,
    clock: Clock,
    filters: Filters,
}

/// The clock of the machine's controller.
#[derive(Debug, Clone, Copy)]
struct Clock {
    behind_us: i64,
}

impl Clock {
    /// One that is right, or one that stood at the beginning of 2000 when the server was made.
    fn of(options: &UaOptions) -> Self {
        let behind_us = match options.clock {
            UaClock::Right => 0,
            UaClock::Year2000 => now_us() - YEAR_2000_US,
        };
        Self { behind_us }
    }

    fn shown(self, at_us: i64) -> i64 {
        at_us - self.behind_us
    }
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
        let clock = Clock::of(machine.opcua());
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
                variable.set_data_value(data_value(tag.encoding, &value, clock.shown(at_us)));
            }
        }
        add_extra_nodes(space, index, &folder, machine.opcua());
        MachineNodes {
            namespace: NamespaceMetadata { namespace_uri: uri, namespace_index: index, ..Default::default() },
            ids,
            encodings: machine.tags().iter().map(|tag| tag.encoding).collect(),
            machine: Arc::downgrade(&machine),
            clock,
            filters: machine.opcua().filters,
        }
    }
}

/// A crowd of nodes, spread evenly over folders or all in the machine's own.
fn add_extra_nodes(space: &mut AddressSpace, index: u16, folder: &NodeId, options: &UaOptions) {
    let folders: Vec<_> = (0..options.extra_folders)
        .map(|number| {
            let name = format!("extra_folder_{number}");
            let id = NodeId::new(index, name.as_str());
            space.add_folder(&id, name.as_str(), name.as_str(), folder);
            id
        })
        .collect();
    for number in 0..options.extra_nodes {
        let name = format!("extra_{number}");
        let parent =
            number.checked_rem(options.extra_folders).map_or(folder, |chosen| &folders[chosen as usize]);
        VariableBuilder::new(&NodeId::new(index, name.as_str()), name.as_str(), name.as_str())
            .data_type(DataTypeId::UInt32)
            .value(number)
            .has_type_definition(VariableTypeId::BaseDataVariableType)
            .component_of(parent.clone())
            .insert(space);
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
            // The type of a filter has no public name, but a text.
            if self.filters == Filters::None && format!("{:?}", item.filter()) != "None" {
                item.set_status(StatusCode::BadFilterNotAllowed);
                continue;
            }
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
