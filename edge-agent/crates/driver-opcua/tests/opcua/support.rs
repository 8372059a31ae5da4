//! A sink that remembers, a server that can be killed and a line to it that can be frozen.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use acquisition::{DriverCounters, LinkState, MachineSink, OpcUaConnection, OpcUaItem, Reading};
use opcua::server::address_space::{MethodBuilder, Variable};
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{SimpleNodeManager, simple_node_manager};
use opcua::server::{ServerBuilder, ServerHandle};
use opcua::types::{
    Argument, AttributeId, DataTypeId, DataValue, DateTime, NodeId, StatusCode, VariableId, Variant,
};
use plant_model::{DataType, GatewayId, MachineId, Quality, Value};
use service_kit::Clock;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come. It only matters to a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const NAMESPACE: &str = "urn:lathe";

/// Everything a sink was told, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) readings: Vec<Reading>,
    pub(crate) links: Vec<LinkState>,
    /// How often the sink heard that the machine is alive and had nothing to say.
    pub(crate) greetings: usize,
}

impl Told {
    pub(crate) fn of(&self, tag: u16) -> impl Iterator<Item = &Reading> {
        self.readings.iter().filter(move |r| r.tag.0 == tag)
    }

    pub(crate) fn last(&self, tag: u16) -> Option<(Option<Value>, Quality)> {
        self.of(tag).last().map(|r| (r.sample.value.clone(), r.sample.quality))
    }

    pub(crate) fn has(&self, tag: u16, value: &Value) -> bool {
        self.last(tag).is_some_and(|(last, _)| last.as_ref() == Some(value))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.links.last() == Some(&LinkState::Up)
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.links.last(), Some(LinkState::Down { .. }))
    }

    pub(crate) fn bad(&self) -> Vec<(u16, Quality)> {
        let bad = self.readings.iter().filter(|r| !r.sample.quality.is_good());
        bad.map(|r| (r.tag.0, r.sample.quality)).collect()
    }
}

struct Sink(watch::Sender<Told>);

impl MachineSink for Sink {
    fn accept(&mut self, readings: &[Reading]) {
        self.0.send_modify(|told| {
            told.readings.extend_from_slice(readings);
            told.greetings += usize::from(readings.is_empty());
        });
    }

    fn link(&mut self, link: LinkState) {
        self.0.send_modify(|told| told.links.push(link));
    }
}

/// Items of the test's namespace.
pub(crate) fn items(nodes: &[(&str, DataType)]) -> Vec<OpcUaItem> {
    let item = |(name, data_type): &(&str, DataType)| {
        OpcUaItem::new(format!("nsu={NAMESPACE};s={name}").parse().expect("valid"), *data_type)
    };
    nodes.iter().map(item).collect()
}

/// A connection without protection, sampled every 50 ms and published every 100 ms.
pub(crate) fn connection(address: SocketAddr, items: Vec<OpcUaItem>) -> OpcUaConnection {
    let (sampling, publishing) = (Duration::from_millis(50), Duration::from_millis(100));
    OpcUaConnection::new(&format!("opc.tcp://{address}"), sampling, publishing, items).expect("valid")
}

/// A driver under test.
pub(crate) struct Running {
    told: watch::Receiver<Told>,
    pub(crate) counters: Arc<DriverCounters>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Watches these nodes of the test's namespace.
    pub(crate) fn start(address: SocketAddr, nodes: &[(&str, DataType)]) -> Self {
        Self::start_items(address, items(nodes))
    }

    pub(crate) fn start_items(address: SocketAddr, items: Vec<OpcUaItem>) -> Self {
        Self::start_connection(connection(address, items), Path::new("/nonexistent"))
    }

    /// A driver whose certificates lie in `state`.
    pub(crate) fn start_connection(connection: OpcUaConnection, state: &Path) -> Self {
        Self::start_with_writes(connection, state, driver_opcua::WriteQueue::default())
    }

    pub(crate) fn start_with_writes(
        connection: OpcUaConnection,
        state: &Path,
        queue: driver_opcua::WriteQueue,
    ) -> Self {
        let gateway = GatewayId::new("gateway-1").expect("valid");
        let identity = Arc::new(driver_opcua::Identity::new(state.to_owned(), gateway));
        let (sender, told) = watch::channel(Told::default());
        let counters = Arc::new(DriverCounters::default());
        let shutdown = CancellationToken::new();
        let driver = driver_opcua::run_with_writes(
            connection,
            MachineId::new("lathe-1").expect("valid"),
            identity,
            Box::new(Sink(sender)),
            queue,
            Clock::start(),
            Arc::clone(&counters),
            shutdown.clone(),
        );
        Self { told, counters, shutdown, task: tokio::spawn(driver) }
    }

    /// Waits until what was told satisfies `condition`.
    pub(crate) async fn until(&mut self, what: &str, condition: impl FnMut(&Told) -> bool) -> Told {
        let seen = tokio::time::timeout(PATIENCE, self.told.wait_for(condition)).await;
        match seen.map(|seen| seen.map(|told| told.clone())) {
            Ok(Ok(told)) => told,
            Ok(Err(_)) => panic!("the driver ended before {what}"),
            Err(_) => panic!("not seen: {what}; {:?}, {:?}", self.counters, self.told.borrow()),
        }
    }

    /// Ends the driver as the end of its process would: nobody is told.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let ended = self.task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
    }

    /// Stops the driver; answers what it told in all and how long it took to stop.
    pub(crate) async fn stop(self) -> (Told, Duration) {
        let begun = Instant::now();
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the driver ends").expect("it does not panic");
        (self.told.borrow().clone(), begun.elapsed())
    }
}

/// A server in a runtime of its own, so that it can be killed like a process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
    handle: ServerHandle,
    manager: Arc<SimpleNodeManager>,
    _pki: TempDir,
}

impl Server {
    /// A server on a free port.
    pub(crate) fn start(nodes: &[(&str, Variant)]) -> Self {
        Self::start_with("127.0.0.1:0".parse().expect("an address"), nodes, |builder| builder)
    }

    pub(crate) fn start_with(
        address: SocketAddr,
        nodes: &[(&str, Variant)],
        change: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _inside = runtime.enter();
        let listener = std::net::TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("a listener can");
        let listener = TcpListener::from_std(listener).expect("inside the runtime");
        let address = listener.local_addr().expect("bound");
        let pki = tempfile::tempdir().expect("a directory");
        let (server, handle) = change(builder(address, &pki))
            .with_node_manager(simple_node_manager(namespace(NAMESPACE), "lathe"))
            .build()
            .expect("a valid server");
        let manager = handle.node_managers().get_by_name::<SimpleNodeManager>("lathe").expect("just added");
        runtime.spawn(server.run_with(listener));
        let server = Self { address, runtime: Some(runtime), handle, manager, _pki: pki };
        server.add(nodes);
        server
    }

    pub(crate) fn node(&self, name: &str) -> NodeId {
        NodeId::new(self.handle.get_namespace_index(NAMESPACE).expect("registered"), name)
    }

    /// How many sessions there are, and how many were ever created.
    pub(crate) fn sessions(&self) -> (u32, u32) {
        let summary = self.handle.info().summary();
        let number = |variable| match summary.get(variable).and_then(|value| value.value) {
            Some(Variant::UInt32(number)) => number,
            other => panic!("{other:?}"),
        };
        let now = VariableId::Server_ServerDiagnostics_ServerDiagnosticsSummary_CurrentSessionCount;
        let ever = VariableId::Server_ServerDiagnostics_ServerDiagnosticsSummary_CumulatedSessionCount;
        (number(now), number(ever))
    }

    /// Adds a node with a value that has its own time.
    pub(crate) fn add_with(&self, name: &str, value: DataValue) {
        let any = value.value.clone().expect("a value");
        let mut variable = Variable::new(&self.node(name), name, name, any);
        variable.set_data_value(value);
        self.manager.address_space().write().add_variables(vec![variable], &NodeId::objects_folder_id());
    }

    pub(crate) fn add(&self, nodes: &[(&str, Variant)]) {
        // The server takes its locks in another order while it starts: no lock is held for the ids.
        let variable =
            |(name, value): &(&str, Variant)| Variable::new(&self.node(name), *name, *name, value.clone());
        let variables = nodes.iter().map(variable).collect();
        self.manager.address_space().write().add_variables(variables, &NodeId::objects_folder_id());
    }

    /// Adds nodes that clients may write.
    pub(crate) fn add_writable(&self, nodes: &[(&str, Variant)]) {
        let variable = |(name, value): &(&str, Variant)| {
            let mut variable = Variable::new(&self.node(name), *name, *name, value.clone());
            variable.set_writable(true);
            variable.set_user_access_level(variable.access_level());
            variable
        };
        let variables = nodes.iter().map(variable).collect();
        self.manager.address_space().write().add_variables(variables, &NodeId::objects_folder_id());
    }

    /// Has writes of a node end here; it keeps its value.
    pub(crate) fn on_write(
        &self,
        name: &str,
        take: impl Fn(DataValue) -> StatusCode + Send + Sync + 'static,
    ) {
        self.manager.inner().add_write_callback(self.node(name), move |value, _| take(value));
    }

    /// Adds a method of the objects folder; `take` gets what it is called with.
    pub(crate) fn add_method(
        &self,
        name: &str,
        arguments: &[(&str, DataTypeId)],
        take: impl Fn(&[Variant]) -> StatusCode + Send + Sync + 'static,
    ) {
        let argument = |(name, data_type): &(&str, DataTypeId)| Argument {
            name: (*name).into(),
            data_type: (*data_type).into(),
            value_rank: -1,
            ..Argument::default()
        };
        let arguments: Vec<Argument> = arguments.iter().map(argument).collect();
        let (id, arguments_id) = (self.node(name), self.node(&format!("{name}.arguments")));
        let mut space = self.manager.address_space().write();
        let method = MethodBuilder::new(&id, name, name).component_of(NodeId::objects_folder_id());
        let method = match arguments.is_empty() {
            true => method,
            false => method.input_args(&mut *space, &arguments_id, &arguments),
        };
        method.executable(true).user_executable(true).insert(&mut *space);
        let done = move |values: &[Variant]| match take(values) {
            status if status.is_bad() => Err(status),
            _ => Ok(Vec::new()),
        };
        self.manager.inner().add_method_callback(id, done);
    }

    /// Sets a value from anywhere.
    pub(crate) fn setter(&self, name: &str) -> impl Fn(Variant) + Send + Sync + 'static {
        let (subscriptions, manager) = (Arc::clone(self.handle.subscriptions()), Arc::clone(&self.manager));
        let node = self.node(name);
        move |value| {
            manager
                .set_value(&subscriptions, &node, None, DataValue::value_only(value))
                .expect("it is there");
        }
    }

    pub(crate) fn set(&self, name: &str, value: DataValue) {
        let subscriptions = Arc::clone(self.handle.subscriptions());
        self.manager.set_value(&subscriptions, &self.node(name), None, value).expect("the node is there");
    }

    /// Reports a change of a node that another node manager owns.
    pub(crate) fn report(&self, node: &NodeId, value: DataValue) {
        self.handle.subscriptions().notify_data_change([(value, node, AttributeId::Value)].into_iter());
    }

    /// Sets a value that was measured at a time in microseconds since 1970.
    pub(crate) fn set_at(&self, name: &str, value: impl Into<Variant>, micros: i64) {
        let ticks = 116_444_736_000_000_000 + micros * 10;
        let time = Some(DateTime::from(ticks));
        let value =
            DataValue { source_timestamp: time, server_timestamp: time, ..DataValue::value_only(value) };
        self.set(name, value);
    }

    /// All sockets close at once; nobody is told.
    pub(crate) fn kill(mut self) -> SocketAddr {
        self.runtime.take().expect("it is killed once").shutdown_background();
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn namespace(uri: &str) -> NamespaceMetadata {
    NamespaceMetadata { namespace_uri: uri.to_owned(), ..NamespaceMetadata::default() }
}

fn builder(address: SocketAddr, pki: &TempDir) -> ServerBuilder {
    let mut builder = ServerBuilder::new_anonymous("lathe")
        .application_uri("urn:lathe-server")
        .product_uri("urn:lathe-server")
        .host(address.ip().to_string())
        .port(address.port())
        .pki_dir(pki.path())
        .subscription_poll_interval_ms(10)
        .diagnostics_enabled(true);
    let limits = &mut builder.limits_mut().subscriptions;
    limits.min_publishing_interval_ms = 10.0;
    limits.min_sampling_interval_ms = 10.0;
    limits.max_monitored_item_queue_size = 1000;
    builder
}

/// A line to a server that can be frozen: connections stay open, nothing passes.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    frozen: watch::Sender<bool>,
    passed: Arc<AtomicUsize>,
}

impl Line {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (frozen, state) = watch::channel(false);
        let passed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&passed);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let Ok(far) = TcpStream::connect(server).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(pass(near_in, far_out, state.clone()));
                tokio::spawn(pass(far_in, near_out, state.clone()));
            }
        });
        Self { address, frozen, passed }
    }

    /// How many connections were made over it.
    pub(crate) fn connections(&self) -> usize {
        self.passed.load(Ordering::Relaxed)
    }

    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    pub(crate) fn thaw(&self) {
        self.frozen.send_replace(false);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = from.read(&mut buffer).await {
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&buffer[..size]).await.is_err() {
            return;
        }
    }
}
