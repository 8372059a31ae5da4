//! A live OPC UA server with a machine, protected or not, and a folder of files around it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use opcua::crypto::{CertificateStore, PrivateKey, SecurityPolicy, X509};
use opcua::server::address_space::Variable;
use opcua::server::diagnostics::NamespaceMetadata;
use opcua::server::node_manager::memory::{SimpleNodeManager, simple_node_manager};
use opcua::server::{ServerBuilder, ServerEndpoint, ServerUserToken};
use opcua::types::{DataTypeId, MessageSecurityMode, NodeId, Variant};
use rcgen::{CertificateParams, DnType, KeyPair, KeyUsagePurpose, SanType, date_time_ymd};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) const NAMESPACE: &str = "urn:lathe";
const SERVER_URI: &str = "urn:lathe-server";

/// How the server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    None,
    /// Encrypted only; its certificate is good until 2099.
    Encrypted,
    /// Its certificate ended in 2021.
    Expired,
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) files: TempDir,
    runtime: Option<Runtime>,
}

impl Server {
    /// A server with the folder `Machine` of variables `speed`, `parts`, `running`, `order`.
    pub(crate) fn start(protection: Protection) -> Self {
        Self::start_with(protection, 0)
    }

    /// The same with a crowd of further variables.
    pub(crate) fn start_with(protection: Protection, crowd: u32) -> Self {
        let files = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let _inside = runtime.enter();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener can");
        let listener = TcpListener::from_std(listener).expect("inside the runtime");
        let address = listener.local_addr().expect("bound");
        let builder = protect(builder(address, files.path()), protection, files.path());
        let metadata =
            NamespaceMetadata { namespace_uri: NAMESPACE.to_owned(), ..NamespaceMetadata::default() };
        let (server, handle) = builder
            .with_node_manager(simple_node_manager(metadata, "lathe"))
            .build()
            .expect("a valid server");
        let manager = handle.node_managers().get_by_name::<SimpleNodeManager>("lathe").expect("just added");
        let namespace = handle.get_namespace_index(NAMESPACE).expect("registered");
        runtime.spawn(server.run_with(listener));
        fill(&manager, namespace, crowd);
        Self { address, files, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("opc.tcp://{}", self.address)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Makes the server trust a client.
    pub(crate) fn trust(&self, certificate: &Path) {
        let der = std::fs::read(certificate).expect("there");
        let name = CertificateStore::cert_file_name(&X509::from_der(&der).expect("a certificate"));
        let (trusted, rejected) = (self.file("pki").join("trusted"), self.file("pki").join("rejected"));
        std::fs::create_dir_all(&trusted).expect("made");
        std::fs::write(trusted.join(&name), der).expect("written");
        // Whom the server once refused it refuses until this is gone.
        let _ = std::fs::remove_file(rejected.join(name));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn builder(address: SocketAddr, files: &Path) -> ServerBuilder {
    ServerBuilder::new_anonymous("lathe")
        .application_uri(SERVER_URI)
        .product_uri(SERVER_URI)
        .host(address.ip().to_string())
        .port(address.port())
        .pki_dir(files.join("pki"))
}

fn protect(builder: ServerBuilder, protection: Protection, files: &Path) -> ServerBuilder {
    let end = match protection {
        Protection::None => return builder,
        Protection::Encrypted => 2099,
        Protection::Expired => 2021,
    };
    let certificate = files.join("server.der");
    certify(&certificate, "server", SERVER_URI, end);
    let mut builder = builder
        .certificate_path(&certificate)
        .private_key_path(key_file("server"))
        .trust_client_certs(false)
        .add_user_token("operator", ServerUserToken::user_pass("operator", "s3cret"));
    builder.config_mut().endpoints.clear();
    let (policy, mode) = (SecurityPolicy::Basic256Sha256, MessageSecurityMode::SignAndEncrypt);
    builder.add_endpoint("protected", ServerEndpoint::new("/", policy, mode, &["operator".to_owned()]))
}

fn fill(manager: &Arc<SimpleNodeManager>, namespace: u16, crowd: u32) {
    let folder = NodeId::new(namespace, "Machine");
    let mut space = manager.address_space().write();
    space.add_folder(&folder, "Machine", "Machine", &NodeId::objects_folder_id());
    let mut values = vec![
        ("speed".to_owned(), Variant::from(1.5_f64), DataTypeId::Double),
        ("parts".to_owned(), Variant::from(7_u32), DataTypeId::UInt32),
        ("running".to_owned(), Variant::from(true), DataTypeId::Boolean),
        ("order".to_owned(), Variant::from("0042"), DataTypeId::String),
    ];
    values.extend((0..crowd).map(|n| (format!("n{n}"), Variant::from(n), DataTypeId::UInt32)));
    let variables = values.into_iter().map(|(name, value, data_type)| {
        let mut variable = Variable::new(&NodeId::new(namespace, name.as_str()), &*name, &*name, value);
        variable.set_data_type(data_type);
        variable
    });
    space.add_variables(variables.collect(), &folder);
}

/// A key by name. It takes a while to make one, so it is kept beside the build for the next test.
fn key_file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pem"));
    if !path.exists() {
        let key = PrivateKey::new(2048).expect("a key");
        let key = KeyPair::try_from(key.to_der().expect("encodes").as_bytes()).expect("the same key");
        let draft = path.with_extension(format!("{}", std::process::id()));
        std::fs::write(&draft, key.serialize_pem()).expect("writable");
        // Of tests that make it at the same time, the first one's stays: others may have used it already.
        if let Err(error) = std::fs::hard_link(&draft, &path) {
            assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{error}");
        }
        std::fs::remove_file(&draft).expect("the draft was there");
    }
    path
}

/// Writes a certificate for the key of that name, valid until the year `end`.
fn certify(path: &Path, key: &str, uri: &str, end: i32) {
    let pem = std::fs::read_to_string(key_file(key)).expect("just made");
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name.push(DnType::CommonName, key);
    parameters.subject_alt_names = vec![SanType::URI(uri.try_into().expect("a URI"))];
    parameters.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DataEncipherment,
    ];
    (parameters.not_before, parameters.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(end, 1, 1));
    let certificate = parameters.self_signed(&KeyPair::from_pem(&pem).expect("a key"));
    std::fs::write(path, certificate.expect("a certificate").der()).expect("writable");
}

/// The certificate and key of an agent, as it keeps them; answers the certificate.
pub(crate) fn agent_identity(folder: &Path) -> PathBuf {
    let own = folder.join("own");
    std::fs::create_dir_all(&own).expect("made");
    std::fs::copy(key_file("gateway"), own.join("key.pem")).expect("copied");
    let certificate = own.join("certificate.der");
    certify(&certificate, "gateway", "urn:edge-agent:gateway-1", 2099);
    certificate
}
