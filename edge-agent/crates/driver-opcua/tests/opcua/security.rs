//! Certificates, policies and users.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use acquisition::{LinkState, OpcUaSecurity, OpcUaUser, SecurityMode, SecurityPolicy, ServerTrust};
use opcua::crypto::SecurityPolicy as Policy;
use opcua::server::{ServerBuilder, ServerEndpoint, ServerUserToken};
use opcua::types::{MessageSecurityMode, Variant};
use plant_model::{DataType, Value};
use tempfile::TempDir;

use crate::certificates::{self, Flaw};
use crate::limits::has_all;
use crate::support::{Running, Server, Told, connection, items};

pub(crate) const SERVER_URI: &str = "urn:lathe-server";

/// A protected server, and the files of a gateway that is to read it.
pub(crate) struct Site {
    pub(crate) server: Server,
    files: TempDir,
}

impl Site {
    fn new(policy: Policy, mode: MessageSecurityMode, flaw: Flaw, trusts_clients: bool) -> Self {
        Self::with(policy, mode, trusts_clients, |path| certificates::make(path, SERVER_URI, flaw)).0
    }

    /// A site whose server has the certificate that `make` writes.
    pub(crate) fn with<T>(
        policy: Policy,
        mode: MessageSecurityMode,
        trusts_clients: bool,
        make: impl FnOnce(&Path) -> T,
    ) -> (Self, T) {
        let files = tempfile::tempdir().expect("a folder");
        let certificate = files.path().join("server.der");
        let made = make(&certificate);
        let users = ["ANONYMOUS".to_owned(), "operator".to_owned()];
        let protect = |builder: ServerBuilder| {
            let mut builder = builder
                .certificate_path(certificate.clone())
                .private_key_path(certificates::key_file("server"))
                .trust_client_certs(trusts_clients)
                .add_user_token("operator", ServerUserToken::user_pass("operator", "s3cret"));
            builder.config_mut().endpoints.clear();
            builder.add_endpoint("protected", ServerEndpoint::new("/", policy, mode, &users))
        };
        let any = "127.0.0.1:0".parse().expect("an address");
        let server = Server::start_with(any, &[("speed", Variant::from(1.5_f64))], protect);
        // A key is there already, because making one takes seconds.
        let own = files.path().join("state/own");
        std::fs::create_dir_all(&own).expect("made");
        std::fs::copy(certificates::key_file("gateway"), own.join("key.pem")).expect("copied");
        (Self { server, files }, made)
    }

    pub(crate) fn usual(flaw: Flaw) -> Self {
        Self::new(Policy::Basic256Sha256, MessageSecurityMode::SignAndEncrypt, flaw, true)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn user(&self, password: &str) -> OpcUaUser {
        std::fs::write(self.file("password"), format!("{password}\n")).expect("written");
        OpcUaUser { name: "operator".to_owned(), password_file: self.file("password") }
    }

    fn protection(&self) -> OpcUaSecurity {
        protection(SecurityPolicy::Basic256Sha256, SecurityMode::SignAndEncrypt, self.file("server.der"))
    }

    fn read(&self, security: OpcUaSecurity, user: Option<OpcUaUser>) -> Running {
        self.read_over(self.server.address, security, user)
    }

    /// Reads the server at another address than its own.
    pub(crate) fn read_over(
        &self,
        address: SocketAddr,
        security: OpcUaSecurity,
        user: Option<OpcUaUser>,
    ) -> Running {
        let mut connection =
            connection(address, items(&[("speed", DataType::Float)])).with_security(security);
        if let Some(user) = user {
            connection = connection.with_user(user);
        }
        Running::start_connection(connection, &self.file("state"))
    }

    /// Why the gateway cannot read the server.
    async fn refusal(&self, security: OpcUaSecurity, user: Option<OpcUaUser>) -> String {
        let mut driver = self.read(security, user);
        let told = driver.until("the refusal", Told::is_down).await;
        let Some(LinkState::Down { reason }) = told.links.first() else { panic!("{:?}", told.links) };
        let reason = reason.clone();
        driver.stop().await;
        reason
    }
}

fn protection(policy: SecurityPolicy, mode: SecurityMode, pin: PathBuf) -> OpcUaSecurity {
    OpcUaSecurity::Protected { policy, mode, trust: ServerTrust::Certificate(pin) }
}

async fn reads(site: &Site, security: OpcUaSecurity, user: Option<OpcUaUser>) {
    let mut driver = site.read(security, user);
    let told = driver.until("a value", |told| told.has(0, &Value::Float(1.5))).await;
    assert_eq!(told.links, [LinkState::Up]);
    driver.stop().await;
}

#[tokio::test]
async fn c9_a_pinned_server_is_read_encrypted_by_a_user_with_a_password() {
    let site = Site::usual(Flaw::None);
    reads(&site, site.protection(), Some(site.user("s3cret"))).await;
}

#[tokio::test]
async fn c9_every_policy_and_mode_works() {
    for (theirs, ours) in [
        (Policy::Aes128Sha256RsaOaep, SecurityPolicy::Aes128Sha256RsaOaep),
        (Policy::Aes256Sha256RsaPss, SecurityPolicy::Aes256Sha256RsaPss),
    ] {
        let site = Site::new(theirs, MessageSecurityMode::Sign, Flaw::None, true);
        let security = protection(ours, SecurityMode::Sign, site.file("server.der"));
        reads(&site, security, Some(site.user("s3cret"))).await;
    }
}

#[tokio::test]
async fn c9_an_unknown_server_certificate_is_kept_to_be_compared_and_trusted() {
    let site = Site::usual(Flaw::None);
    let pin = site.file("pinned.der");
    let security = || protection(SecurityPolicy::Basic256Sha256, SecurityMode::SignAndEncrypt, pin.clone());
    let reason = site.refusal(security(), None).await;
    let offered = site.file("state/offered/lathe-1.der");
    let fix = format!("copy {} to {}", offered.display(), pin.display());
    assert!(
        reason.contains("not trusted") && reason.contains("thumbprint") && reason.contains(&fix),
        "{reason}"
    );

    std::fs::copy(&offered, &pin).expect("the certificate that was shown");
    reads(&site, security(), None).await;
}

#[tokio::test]
async fn c9_a_folder_of_trusted_certificates_works_like_a_pin() {
    let site = Site::usual(Flaw::None);
    let folder = site.file("trusted");
    std::fs::create_dir(&folder).expect("made");
    let security = || OpcUaSecurity::Protected {
        policy: SecurityPolicy::Basic256Sha256,
        mode: SecurityMode::SignAndEncrypt,
        trust: ServerTrust::Folder(folder.clone()),
    };
    let reason = site.refusal(security(), None).await;
    assert!(reason.contains("into") && reason.contains("trusted"), "{reason}");
    std::fs::copy(site.file("server.der"), folder.join("any name.der")).expect("copied");
    reads(&site, security(), None).await;
}

#[tokio::test]
async fn c9_an_expired_server_certificate_is_named_with_its_end() {
    let site = Site::usual(Flaw::Expired);
    let reason = site.refusal(site.protection(), None).await;
    assert!(reason.contains("expired on 2021-01-01") && reason.contains("new one"), "{reason}");
}

#[tokio::test]
async fn c9_a_certificate_of_another_application_is_named_with_both_uris() {
    let site = Site::usual(Flaw::OtherApplication);
    let reason = site.refusal(site.protection(), None).await;
    assert!(reason.contains("urn:somebody-else") && reason.contains(SERVER_URI), "{reason}");
}

#[tokio::test]
async fn c9_a_wrong_password_is_named_and_not_tried_every_second() {
    let site = Site::usual(Flaw::None);
    let mut driver = site.read(site.protection(), Some(site.user("wrong")));
    let told = driver.until("the refusal", Told::is_down).await;
    let Some(LinkState::Down { reason }) = told.links.first() else { panic!("{:?}", told.links) };
    assert!(reason.contains("user and password_file"), "{reason}");
    let (_, stopped_in) = driver.stop().await;
    assert!(stopped_in.as_millis() < 1000, "{stopped_in:?}");
}

#[tokio::test]
async fn c9_a_server_that_does_not_trust_the_gateway_is_told_apart() {
    let site = Site::new(Policy::Basic256Sha256, MessageSecurityMode::SignAndEncrypt, Flaw::None, false);
    let reason = site.refusal(site.protection(), None).await;
    assert!(reason.contains("certificate.der") && reason.contains("trust"), "{reason}");
}

#[tokio::test]
async fn c10_a_server_without_the_configured_policy_is_refused_and_its_offer_named() {
    let site = Site::usual(Flaw::None);
    let pin = site.file("server.der");
    for wanted in [
        OpcUaSecurity::None,
        protection(SecurityPolicy::Aes256Sha256RsaPss, SecurityMode::SignAndEncrypt, pin.clone()),
        protection(SecurityPolicy::Basic256Sha256, SecurityMode::Sign, pin),
    ] {
        let reason = site.refusal(wanted, None).await;
        assert!(reason.contains("Basic256Sha256/SignAndEncrypt"), "{reason}");
    }
}

#[tokio::test]
async fn c12_a_thousand_encrypted_items_are_subscribed_in_chunks() {
    let site = Site::usual(Flaw::None);
    let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
    let nodes: Vec<_> = names.iter().map(|name| (name.as_str(), Variant::from(1_i32))).collect();
    site.server.add(&nodes);
    let declared: Vec<_> = names.iter().map(|name| (name.as_str(), DataType::Int)).collect();
    let connection = connection(site.server.address, items(&declared)).with_security(site.protection());
    let mut driver = Running::start_connection(connection, &site.file("state"));
    let told = driver.until("all values", |told| has_all(told, 1000)).await;
    assert!(told.bad().is_empty() && told.links == [LinkState::Up]);
    assert_eq!(driver.counters.connects.get(), 1);
    driver.stop().await;
}

/// What the doctor says of a server with this certificate: why the agent refuses it, and what others
/// may object to.
async fn diagnosis(flaw: Flaw) -> (String, String) {
    let site = Site::usual(flaw);
    let url = format!("opc.tcp://{}", site.server.address);
    let endpoints = driver_opcua::endpoints(&url).await.expect("answered");
    let shown = endpoints[0].certificate.clone().expect("shown");
    (shown.problems.join("; "), shown.hints.join("; "))
}

#[tokio::test]
async fn f7_the_doctor_names_each_problem_of_a_certificate_with_its_fix() {
    let (problems, hints) = diagnosis(Flaw::Expired).await;
    assert!(problems.contains("expired on 2021-01-01; have a new one made and pin that"), "{problems}");
    assert!(hints.contains("self-signed") && hints.contains("pin it as server_certificate_file"), "{hints}");
    assert!(hints.contains("made for the host lathe, not for \"127.0.0.1\""), "{hints}");

    let (problems, _) = diagnosis(Flaw::OtherApplication).await;
    assert!(
        problems.contains("urn:somebody-else") && problems.contains("have a certificate made"),
        "{problems}"
    );

    let (problems, hints) = diagnosis(Flaw::Usage).await;
    assert!(problems.is_empty(), "the agent itself does not mind: {problems}");
    assert!(hints.contains("to be used for dataEncipherment; have one made with"), "{hints}");

    let (problems, _) = diagnosis(Flaw::None).await;
    assert!(problems.is_empty(), "{problems}");
}
