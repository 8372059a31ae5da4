//! A lathe that speaks OPC UA: a lamp that can be written, and a lock that a method moves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use opcua::server::address_space::{MethodBuilder, Variable};
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{SimpleNodeManager, simple_node_manager};
use opcua::server::{ServerBuilder, ServerHandle};
use opcua::types::{
    Argument, DataTypeId, DataValue, NodeId, NumericRange, StatusCode, TimestampsToReturn, Variant,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const NAMESPACE: &str = "urn:lathe";

/// A node of the lathe as configurations write it.
pub(crate) fn node(name: &str) -> String {
    format!("nsu={NAMESPACE};s={name}")
}

pub(crate) struct Lathe {
    address: SocketAddr,
    manager: Arc<SimpleNodeManager>,
    handle: ServerHandle,
    namespace: u16,
    /// Whether the stubborn lamp takes what is written and keeps what it has.
    is_stubborn: Arc<AtomicBool>,
    runtime: Option<Runtime>,
    _pki: TempDir,
}

impl Lathe {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _inside = runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener can");
        let listener = TcpListener::from_std(listener).expect("inside the runtime");
        let address = listener.local_addr().expect("bound");
        let pki = tempfile::tempdir().expect("a folder");
        let metadata =
            NamespaceMetadata { namespace_uri: NAMESPACE.to_owned(), ..NamespaceMetadata::default() };
        let (server, handle) = ServerBuilder::new_anonymous("lathe")
            .application_uri("urn:lathe-server")
            .product_uri("urn:lathe-server")
            .host(address.ip().to_string())
            .port(address.port())
            .pki_dir(pki.path())
            .with_node_manager(simple_node_manager(metadata, "lathe"))
            .build()
            .expect("a valid server");
        let manager = handle.node_managers().get_by_name::<SimpleNodeManager>("lathe").expect("just added");
        let namespace = handle.get_namespace_index(NAMESPACE).expect("registered");
        runtime.spawn(server.run_with(listener));
        let is_stubborn = Arc::default();
        let lathe =
            Self { address, manager, handle, namespace, is_stubborn, runtime: Some(runtime), _pki: pki };
        lathe.fill();
        lathe
    }

    fn id(&self, name: &str) -> NodeId {
        NodeId::new(self.namespace, name)
    }

    fn fill(&self) {
        let variable = |name: &str| {
            let mut variable = Variable::new(&self.id(name), name, name, false);
            variable.set_writable(true);
            variable.set_user_access_level(variable.access_level());
            variable
        };
        let argument = Argument {
            name: "closed".into(),
            data_type: DataTypeId::Boolean.into(),
            value_rank: -1,
            ..Argument::default()
        };
        let mut space = self.manager.address_space().write();
        space.add_variables(
            ["lamp", "door_lock", "stubborn_lamp"].map(variable).into(),
            &NodeId::objects_folder_id(),
        );
        MethodBuilder::new(&self.id("lock"), "lock", "lock")
            .component_of(NodeId::objects_folder_id())
            .input_args(&mut *space, &self.id("lock.arguments"), &[argument])
            .executable(true)
            .user_executable(true)
            .insert(&mut *space);
        drop(space);
        let set = self.setter("door_lock");
        self.manager.inner().add_method_callback(self.id("lock"), move |values| match values {
            [closed @ Variant::Boolean(_)] => {
                set(closed.clone());
                Ok(Vec::new())
            }
            _ => Err(StatusCode::BadInvalidArgument),
        });
        self.fill_stubborn();
    }

    /// The callbacks of the server run under its locks: this lamp has its value here.
    fn fill_stubborn(&self) {
        let (keeps, value) = (Arc::clone(&self.is_stubborn), Arc::new(AtomicBool::new(false)));
        let shown = Arc::clone(&value);
        let node = self.id("stubborn_lamp");
        self.manager.inner().add_write_callback(node.clone(), move |written, _| {
            if !keeps.load(Ordering::Relaxed) {
                value.store(written.value == Some(Variant::Boolean(true)), Ordering::Relaxed);
            }
            StatusCode::Good
        });
        self.manager
            .inner()
            .add_read_callback(node, move |_, _, _| Ok(DataValue::new_now(shown.load(Ordering::Relaxed))));
    }

    fn setter(&self, name: &str) -> impl Fn(Variant) + Send + Sync + 'static {
        let (subscriptions, manager) = (Arc::clone(self.handle.subscriptions()), Arc::clone(&self.manager));
        let node = self.id(name);
        move |value| {
            manager
                .set_value(&subscriptions, &node, None, DataValue::value_only(value))
                .expect("it is there");
        }
    }

    /// Whether the stubborn lamp keeps what it has, whatever is written.
    pub(crate) fn be_stubborn(&self, is_stubborn: bool) {
        self.is_stubborn.store(is_stubborn, Ordering::Relaxed);
    }

    /// What one of its variables is.
    pub(crate) fn is(&self, name: &str) -> bool {
        let space = self.manager.address_space().read();
        let Some(opcua::server::address_space::NodeType::Variable(variable)) = space.find(&self.id(name))
        else {
            panic!("{name} is a variable");
        };
        let value = variable.value(
            TimestampsToReturn::Neither,
            &NumericRange::None,
            &opcua::types::DataEncoding::Binary,
            0.0,
        );
        value.value == Some(Variant::Boolean(true))
    }

    /// Its machine file.
    pub(crate) fn file(&self) -> String {
        let tag =
            |id: &str| format!("[[tags]]\nid = \"{id}\"\ndata_type = \"bool\"\nnode_id = \"{}\"\n", node(id));
        format!(
            "version = 1\nid = \"lathe-1\"\n[opcua]\nendpoint = \"opc.tcp://{}\"\n{}",
            self.address,
            ["lamp", "door_lock", "stubborn_lamp"].map(tag).concat()
        )
    }
}

impl Drop for Lathe {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
