use std::sync::Mutex;

use http_api::{CommandLine, SendError};
use plant_model::{GatewayId, Timestamp};
use protocol::{
    ConfigurationFiles, ConfigurationReport, ConfigurationState, ConfigurationVersion, FilesDigest,
    Instruction,
};
use store_sqlite::SqliteStore;
use tenancy::{NewConfiguration, ReceivedReport, Tenant};

use super::*;

/// Takes commands for the gateways that are connected.
#[derive(Default)]
struct Line {
    connected: Mutex<Vec<&'static str>>,
    sent: Mutex<Vec<String>>,
}

impl CommandLine for Line {
    fn send(&self, _: &TenantId, gateway: &GatewayId, command: &Instruction) -> Result<(), SendError> {
        if !self.connected.lock().expect("whole").contains(&gateway.as_str()) {
            return Err(SendError::Offline);
        }
        assert!(matches!(command, Instruction::Gateway(c) if c.verb == GatewayVerb::PullConfiguration));
        self.sent.lock().expect("whole").push(gateway.to_string());
        Ok(())
    }
}

struct Scene {
    store: Arc<SqliteStore>,
    line: Arc<Line>,
    nudging: Nudging,
    known: Known,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn with(gateways: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Arc::new(SqliteStore::open(folder.path()).expect("opens"));
        let acme = Tenant { id: tenant(), name: "ACME".to_owned() };
        store.add_tenant(acme).await.expect("works");
        for id in gateways {
            store.add_gateway(tenant(), gateway(id)).await.expect("works");
        }
        let line = Arc::<Line>::default();
        let nudging = Nudging {
            tenants: store.clone(),
            wishes: vec![Box::new(NewConfigurations(store.clone()))],
            commands: Commands::new(line.clone()),
            clock: Clock::start(),
        };
        Self { store, line, nudging, known: vec![HashMap::new()], _folder: folder }
    }

    fn connect(&self, gateways: &[&'static str]) {
        *self.line.connected.lock().expect("whole") = gateways.to_vec();
    }

    async fn push(&self, id: &str, replaces: Option<u32>) {
        let files = ConfigurationFiles::new([("m.toml", format!("# after {replaces:?}"))]).expect("a file");
        let new = NewConfiguration {
            tenant: tenant(),
            gateway: gateway(id),
            replaces: replaces.and_then(ConfigurationVersion::new),
            files,
            accept_drift: None,
            restores: None,
            author: "anna".to_owned(),
            comment: String::new(),
            created_at: Timestamp::from_micros(1),
        };
        self.store.save_configuration(new).await.expect("works").expect("no conflict");
    }

    /// The gateway says that it runs a version.
    async fn runs(&self, id: &str, version: u32) {
        let report = ConfigurationReport {
            state: ConfigurationState::Current,
            version: ConfigurationVersion::new(version),
            applied: ConfigurationVersion::new(version),
            detail: String::new(),
            drift: Vec::new(),
            files_digest: FilesDigest([0; 32]),
            agent_version: "0.1.0".to_owned(),
        };
        let received = ReceivedReport { report, received_at: Timestamp::from_micros(2) };
        self.store.save_configuration_report(tenant(), gateway(id), received).await.expect("works");
    }

    /// Who is told at the next look.
    async fn look(&mut self) -> Vec<String> {
        self.nudging.look(&mut self.known).await.expect("works");
        std::mem::take(&mut *self.line.sent.lock().expect("whole"))
    }
}

fn tenant() -> TenantId {
    TenantId::new("acme").expect("valid")
}

fn gateway(id: &str) -> GatewayId {
    GatewayId::new(id).expect("valid")
}

#[tokio::test]
async fn a_version_that_somebody_else_put_into_the_store_is_passed_on_once() {
    let mut scene = Scene::with(&["gw-1", "gw-2"]).await;
    scene.connect(&["gw-1", "gw-2"]);
    assert!(scene.look().await.is_empty(), "nothing is desired");
    scene.push("gw-1", None).await;
    assert_eq!(scene.look().await, ["gw-1"]);
    assert!(scene.look().await.is_empty(), "it is told once");
    scene.push("gw-1", Some(1)).await;
    assert_eq!(scene.look().await, ["gw-1"], "another version is another wish");
}

#[tokio::test]
async fn a_gateway_that_is_away_is_told_when_it_is_there() {
    let mut scene = Scene::with(&["gw-1"]).await;
    scene.push("gw-1", None).await;
    assert!(scene.look().await.is_empty());
    assert!(scene.look().await.is_empty());
    scene.connect(&["gw-1"]);
    assert_eq!(scene.look().await, ["gw-1"]);
}

#[tokio::test]
async fn after_a_start_only_those_are_told_who_have_not_answered() {
    let mut scene = Scene::with(&["gw-1", "gw-2"]).await;
    scene.connect(&["gw-1", "gw-2"]);
    scene.push("gw-1", None).await;
    scene.push("gw-2", None).await;
    scene.runs("gw-1", 1).await;
    assert_eq!(scene.look().await, ["gw-2"]);
    scene.push("gw-1", Some(1)).await;
    assert_eq!(scene.look().await, ["gw-1"], "what it said was about another version");
}
