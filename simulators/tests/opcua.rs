//! An OPC UA client against a simulated machine.
#![allow(clippy::unwrap_used, reason = "a helper of a test that fails here fails the test")]

mod support;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use opcua::{
    client::{ClientBuilder, DataChangeCallback, IdentityToken, MonitoredItem, Session},
    crypto::SecurityPolicy,
    types::{
        BrowseDescription, BrowseDirection, DataChangeFilter, DataChangeTrigger, DataValue, DeadbandType,
        EndpointDescription, ExtensionObject, MessageSecurityMode, MonitoredItemCreateRequest,
        MonitoringMode, MonitoringParameters, NodeId, ReferenceTypeId, TimestampsToReturn, UserTokenPolicy,
        VariableId, Variant,
    },
};
use simulators::{
    Filters, Kind, Machine, MachineConfig, Mode, Plant, PlantConfig, Protocol, UaCertificate, UaClock,
    UaLimits, UaMode, UaOptions, UaPolicy, UaSecurity, UaUser, Value,
};
use support::{PATIENCE, eventually, plant_of, plant_with};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

const KIND: Kind = Kind::Furnace;

/// What arrived for one tag: value and source timestamp in microseconds.
type Received = (String, Variant, i64);

struct Subscriber {
    session: Arc<Session>,
    notifications: mpsc::Receiver<Received>,
    events: JoinHandle<opcua::types::StatusCode>,
    _pki: tempfile::TempDir,
}

impl Subscriber {
    async fn connect(machine: &Machine) -> Self {
        let pki = tempfile::tempdir().unwrap();
        let client = ClientBuilder::new()
            .application_name("test")
            .application_uri("urn:test")
            .pki_dir(pki.path())
            .session_retry_limit(0)
            .client()
            .unwrap();
        let endpoint = machine.endpoint();
        let endpoint = EndpointDescription::from((
            endpoint.as_str(),
            SecurityPolicy::None.to_str(),
            MessageSecurityMode::None,
            UserTokenPolicy::anonymous(),
        ));
        let mut client = client;
        let (session, events) =
            client.connect_to_endpoint_directly(endpoint, IdentityToken::Anonymous).unwrap();
        let events = events.spawn();
        let connected = timeout(PATIENCE, session.wait_for_connection()).await.expect("the server answers");
        assert!(connected, "the server accepts the session");
        let (_, notifications) = mpsc::channel(1);
        Self { session, notifications, events, _pki: pki }
    }

    async fn subscribe(machine: &Machine) -> Self {
        let mut subscriber = Self::connect(machine).await;
        let (sender, receiver) = mpsc::channel(10_000);
        subscriber.notifications = receiver;
        let callback = DataChangeCallback::new(move |value: DataValue, item: &MonitoredItem| {
            let at_us = value.source_timestamp.unwrap().as_chrono().timestamp_micros();
            let tag = item.item_to_monitor().node_id.identifier.to_string();
            let tag = tag.trim_start_matches("s=").to_owned();
            sender.try_send((tag, value.value.unwrap(), at_us)).expect("the test reads fast enough");
        });
        let session = &subscriber.session;
        let index = session.get_namespace_index(&KIND.namespace_uri()).await.unwrap();
        let subscription = session
            .create_subscription(Duration::from_millis(50), 1000, 10, 0, 0, true, callback)
            .await
            .unwrap();
        let items =
            machine.tags().iter().enumerate().map(|(handle, tag)| item(index, tag.id, handle)).collect();
        let created =
            session.create_monitored_items(subscription, TimestampsToReturn::Both, items).await.unwrap();
        assert!(created.iter().all(|item| item.result.status_code.is_good()), "{created:?}");
        subscriber
    }

    async fn next(&mut self) -> Received {
        timeout(PATIENCE, self.notifications.recv())
            .await
            .expect("a notification")
            .expect("a live subscription")
    }

    /// Receives until as many notifications have come as the machine owes.
    async fn receive(&mut self, count: u64) -> Vec<Received> {
        let mut received = Vec::new();
        while (received.len() as u64) < count {
            received.push(self.next().await);
        }
        received
    }

    async fn leave(self) {
        let _ = timeout(Duration::from_secs(1), self.session.disconnect()).await;
        self.events.abort();
    }
}

fn item(namespace: u16, tag: &str, handle: usize) -> MonitoredItemCreateRequest {
    MonitoredItemCreateRequest {
        item_to_monitor: NodeId::new(namespace, tag).into(),
        monitoring_mode: MonitoringMode::Reporting,
        requested_parameters: MonitoringParameters {
            client_handle: handle as u32,
            sampling_interval: 50.0,
            queue_size: 1000,
            discard_oldest: true,
            ..Default::default()
        },
    }
}

async fn start() -> Plant {
    plant_of(KIND, Protocol::Opcua).await
}

#[tokio::test]
async fn a_subscriber_receives_exactly_what_the_machine_says_it_owes() {
    let plant = start().await;
    let machine = &plant.machines()[0];
    let mut subscriber = Subscriber::subscribe(machine).await;
    let ticks = machine.report().ticks;
    eventually("four ticks", || machine.report().ticks >= ticks + 4).await;
    plant.pause();
    let detail = machine.detail();
    let received = subscriber.receive(detail.machine.produced.notifications_due).await;
    let mut per_tag = BTreeMap::new();
    for (tag, _, _) in &received {
        *per_tag.entry(tag.as_str()).or_insert(0_u64) += 1;
    }
    for tag in &detail.tags {
        assert_eq!(per_tag.get(tag.id), Some(&tag.notifications_due), "{}", tag.id);
        assert_eq!(tag.notifications_due, tag.initial_values + tag.changes_since_subscribed, "{}", tag.id);
    }
    sleep(Duration::from_millis(200)).await;
    assert!(subscriber.notifications.try_recv().is_err(), "more than owed");
    subscriber.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn scan_count_rises_by_one_per_tick_and_a_tick_has_one_source_timestamp() {
    let plant = start().await;
    let machine = &plant.machines()[0];
    let mut subscriber = Subscriber::subscribe(machine).await;
    subscriber.receive(20).await;
    let mut ticks: BTreeMap<i64, Vec<Received>> = BTreeMap::new();
    while ticks.len() < 4 {
        let received = subscriber.next().await;
        ticks.entry(received.2).or_default().push(received);
    }
    let counts: Vec<i64> = ticks
        .values()
        .flatten()
        .filter(|(tag, _, _)| tag == "scan_count")
        .map(|(_, value, _)| {
            let Variant::Int64(count) = value else { panic!("scan_count is {value:?}") };
            *count
        })
        .collect();
    assert!(counts.len() >= 3, "{counts:?}");
    assert!(counts.windows(2).all(|pair| pair[1] == pair[0] + 1), "{counts:?}");
    let first = ticks.values().next().unwrap();
    assert!(first.len() > 5, "a tick changes several tags at one instant: {first:?}");
    subscriber.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn types_follow_the_catalog() {
    let plant = start().await;
    let machine = &plant.machines()[0];
    let mut subscriber = Subscriber::subscribe(machine).await;
    let first: BTreeMap<_, _> =
        subscriber.receive(20).await.into_iter().map(|(tag, value, _)| (tag, value)).collect();
    for (tag, expected) in [
        ("zone_1_temperature", "Double"),
        ("gas_flow", "Float"),
        ("chamber_temperature", "Int32"),
        ("parts_count", "Int64"),
        ("burner_on", "Boolean"),
        ("recipe", "String"),
    ] {
        let value = format!("{:?}", first[tag]);
        assert!(value.starts_with(expected), "{tag} = {value}, not {expected}");
    }
    subscriber.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn a_set_value_is_pushed_at_once_with_its_instant() {
    let plant = start().await;
    plant.pause();
    let machine = &plant.machines()[0];
    let mut subscriber = Subscriber::subscribe(machine).await;
    subscriber.receive(20).await;
    let at_us = machine.set("gas_pressure", &Value::Float(50.5), None).await.unwrap();
    assert_eq!(subscriber.next().await, ("gas_pressure".into(), Variant::Double(50.5), at_us));
    let at_us = machine.release("gas_pressure").await.unwrap();
    let (tag, _, released_at_us) = subscriber.next().await;
    assert_eq!((tag.as_str(), released_at_us), ("gas_pressure", at_us));
    subscriber.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn items_of_a_session_that_leaves_are_owed_nothing_more() {
    let plant = start().await;
    plant.pause();
    let machine = &plant.machines()[0];
    let mut subscriber = Subscriber::subscribe(machine).await;
    subscriber.receive(20).await;
    assert!(machine.detail().tags.iter().all(|tag| tag.monitored_items == 1));
    subscriber.leave().await;
    eventually("no items", || machine.detail().tags.iter().all(|tag| tag.monitored_items == 0)).await;
    let due = machine.report().produced.notifications_due;
    machine.set("gas_pressure", &Value::Float(50.5), None).await.unwrap();
    assert_eq!(machine.report().produced.notifications_due, due);
    plant.stop().await;
}

#[tokio::test]
async fn a_refusing_machine_drops_its_session_and_comes_back_on_the_same_port() {
    let plant = start().await;
    let machine = &plant.machines()[0];
    let subscriber = Subscriber::connect(machine).await;
    machine.set_mode(Mode::Refuse).await.unwrap();
    timeout(PATIENCE, subscriber.events).await.expect("the session ends").unwrap();
    let refused = tokio::net::TcpStream::connect(machine.address().unwrap()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    machine.set_mode(Mode::Healthy).await.unwrap();
    Subscriber::connect(machine).await.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn a_silent_machine_freezes_and_later_delivers_what_it_owes() {
    let plant = start().await;
    plant.pause();
    let machine = &plant.machines()[0];
    let mut subscriber = Subscriber::subscribe(machine).await;
    subscriber.receive(20).await;
    machine.set_mode(Mode::Silent).await.unwrap();
    machine.set("gas_pressure", &Value::Float(50.5), None).await.unwrap();
    sleep(Duration::from_millis(300)).await;
    assert!(subscriber.notifications.try_recv().is_err(), "a silent machine says nothing");
    machine.set_mode(Mode::Healthy).await.unwrap();
    let (tag, value, _) = subscriber.next().await;
    assert_eq!((tag.as_str(), value), ("gas_pressure", Variant::Double(50.5)));
    subscriber.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn an_item_on_an_unknown_node_is_refused_and_owed_nothing() {
    let plant = start().await;
    plant.pause();
    let machine = &plant.machines()[0];
    let subscriber = Subscriber::connect(machine).await;
    let session = &subscriber.session;
    let index = session.get_namespace_index(&KIND.namespace_uri()).await.unwrap();
    let callback = DataChangeCallback::new(|_, _| {});
    let subscription =
        session.create_subscription(Duration::from_millis(50), 1000, 10, 0, 0, true, callback).await.unwrap();
    let items = vec![item(index, "no_such_tag", 0), item(index, "state", 1)];
    let created =
        session.create_monitored_items(subscription, TimestampsToReturn::Both, items).await.unwrap();
    assert_eq!(created[0].result.status_code, opcua::types::StatusCode::BadNodeIdUnknown);
    assert!(created[1].result.status_code.is_good(), "{created:?}");
    assert_eq!(machine.report().produced.initial_values, 1);
    subscriber.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn a_protected_machine_offers_nothing_plain_and_nobody_anonymous() {
    let options = UaOptions {
        security: Some(UaSecurity { policy: UaPolicy::Basic256Sha256, mode: UaMode::SignAndEncrypt }),
        user: Some(UaUser { name: "operator".into(), password: "secret".into() }),
        ..UaOptions::default()
    };
    let plant = plant_with(KIND, Protocol::Opcua, options).await;
    let client = ClientBuilder::new().application_name("test").application_uri("urn:test").client().unwrap();
    let url = plant.machines()[0].endpoint();
    let endpoints = timeout(PATIENCE, client.get_server_endpoints_from_url(url)).await.unwrap().unwrap();
    assert_eq!(endpoints.len(), 1, "{endpoints:?}");
    assert_eq!(endpoints[0].security_mode, MessageSecurityMode::SignAndEncrypt);
    assert_eq!(endpoints[0].security_policy_uri.as_ref(), SecurityPolicy::Basic256Sha256.to_uri());
    assert!(!endpoints[0].server_certificate.is_null_or_empty());
    assert!(endpoints[0].find_policy(opcua::types::UserTokenType::UserName).is_some());
    assert!(endpoints[0].find_policy(opcua::types::UserTokenType::Anonymous).is_none());
    plant.stop().await;
}

#[tokio::test]
async fn extra_nodes_lie_beside_the_tags() {
    let options = UaOptions { extra_nodes: 100, ..UaOptions::default() };
    let plant = plant_with(KIND, Protocol::Opcua, options).await;
    let subscriber = Subscriber::connect(&plant.machines()[0]).await;
    let index = subscriber.session.get_namespace_index(&KIND.namespace_uri()).await.unwrap();
    let node = opcua::types::ReadValueId::from(NodeId::new(index, "extra_99"));
    let values = subscriber.session.read(&[node], TimestampsToReturn::Neither, 0.0).await.unwrap();
    assert_eq!(values[0].value, Some(Variant::UInt32(99)));
    subscriber.leave().await;
    plant.stop().await;
}

async fn subscription(subscriber: &Subscriber) -> (u32, u16) {
    let session = &subscriber.session;
    let index = session.get_namespace_index(&KIND.namespace_uri()).await.unwrap();
    let callback = DataChangeCallback::new(|_, _| {});
    let id =
        session.create_subscription(Duration::from_millis(50), 1000, 10, 0, 0, true, callback).await.unwrap();
    (id, index)
}

#[tokio::test]
async fn a_restarted_server_has_forgotten_its_sessions_and_owes_nobody_anything() {
    let plant = start().await;
    let machine = &plant.machines()[0];
    let subscriber = Subscriber::subscribe(machine).await;
    machine.set_mode(Mode::Restart { down_ms: 200 }).await.unwrap();
    assert!(tokio::net::TcpStream::connect(machine.address().unwrap()).await.is_err(), "down for a while");
    timeout(PATIENCE, subscriber.events).await.expect("the session ends").unwrap();
    eventually("the end of the restart", || machine.mode() == Mode::Healthy).await;
    assert!(machine.detail().tags.iter().all(|tag| tag.monitored_items == 0));
    let back = async {
        while tokio::net::TcpStream::connect(machine.address().unwrap()).await.is_err() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, back).await.expect("the port is open again");
    let mut again = Subscriber::subscribe(machine).await;
    assert_eq!(again.receive(20).await.len(), 20);
    again.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn limits_hold_and_are_announced() {
    let limits =
        UaLimits { monitored_items_per_call: Some(5), nodes_per_read: Some(3), ..UaLimits::default() };
    let plant = plant_with(KIND, Protocol::Opcua, UaOptions { limits, ..UaOptions::default() }).await;
    let machine = &plant.machines()[0];
    let subscriber = Subscriber::connect(machine).await;
    let (id, index) = subscription(&subscriber).await;
    let items = |count: usize| {
        machine
            .tags()
            .iter()
            .take(count)
            .enumerate()
            .map(|(n, tag)| item(index, tag.id, n))
            .collect::<Vec<_>>()
    };
    let session = &subscriber.session;
    assert!(session.create_monitored_items(id, TimestampsToReturn::Both, items(6)).await.is_err());
    assert!(session.create_monitored_items(id, TimestampsToReturn::Both, items(5)).await.is_ok());
    let nodes = |count: usize| {
        machine.tags().iter().take(count).map(|tag| NodeId::new(index, tag.id).into()).collect::<Vec<_>>()
    };
    assert!(session.read(&nodes(4), TimestampsToReturn::Neither, 0.0).await.is_err());
    assert!(session.read(&nodes(3), TimestampsToReturn::Neither, 0.0).await.is_ok());
    let announced = [
        VariableId::Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
        VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    ]
    .map(|id| NodeId::from(id).into());
    let values = session.read(&announced, TimestampsToReturn::Neither, 0.0).await.unwrap();
    let values: Vec<_> = values.into_iter().map(|value| value.value).collect();
    assert_eq!(values, [Some(Variant::UInt32(5)), Some(Variant::UInt32(3))]);
    subscriber.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn a_server_without_filters_refuses_items_that_have_one() {
    let options = UaOptions { filters: Filters::None, ..UaOptions::default() };
    let plant = plant_with(KIND, Protocol::Opcua, options).await;
    let subscriber = Subscriber::connect(&plant.machines()[0]).await;
    let (id, index) = subscription(&subscriber).await;
    let mut filtered = item(index, "gas_pressure", 0);
    filtered.requested_parameters.filter = ExtensionObject::from_message(DataChangeFilter {
        trigger: DataChangeTrigger::StatusValue,
        deadband_type: DeadbandType::Absolute as u32,
        deadband_value: 1.0,
    });
    let items = vec![filtered, item(index, "state", 1)];
    let session = &subscriber.session;
    let created = session.create_monitored_items(id, TimestampsToReturn::Both, items).await.unwrap();
    assert_eq!(created[0].result.status_code, opcua::types::StatusCode::BadFilterNotAllowed);
    assert!(created[1].result.status_code.is_good(), "{created:?}");
    assert_eq!(plant.machines()[0].report().produced.initial_values, 1, "nothing is owed to a refused item");
    subscriber.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn a_controller_without_a_battery_shows_the_year_2000() {
    let options = UaOptions { clock: UaClock::Year2000, ..UaOptions::default() };
    let plant = plant_with(KIND, Protocol::Opcua, options).await;
    let mut subscriber = Subscriber::subscribe(&plant.machines()[0]).await;
    let day_us = 86_400_000_000;
    let (begin, mut latest) = (946_684_800_000_000, i64::MIN);
    for (tag, _, at_us) in subscriber.receive(25).await {
        assert!((begin - day_us..begin + day_us).contains(&at_us), "{tag}: {at_us}");
        latest = latest.max(at_us);
    }
    assert!(latest > begin, "its clock goes on: {latest}");
    subscriber.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn extra_nodes_can_lie_in_folders() {
    let options = UaOptions { extra_nodes: 100, extra_folders: 10, ..UaOptions::default() };
    let plant = plant_with(KIND, Protocol::Opcua, options).await;
    let subscriber = Subscriber::connect(&plant.machines()[0]).await;
    let index = subscriber.session.get_namespace_index(&KIND.namespace_uri()).await.unwrap();
    let folder = BrowseDescription {
        node_id: NodeId::new(index, "extra_folder_3"),
        browse_direction: BrowseDirection::Forward,
        reference_type_id: ReferenceTypeId::HasComponent.into(),
        include_subtypes: true,
        node_class_mask: 0,
        result_mask: 63,
    };
    let results = subscriber.session.browse(&[folder], 0, None).await.unwrap();
    let references = results[0].references.as_ref().unwrap();
    assert_eq!(references.len(), 10, "{references:?}");
    assert!(references.iter().any(|reference| reference.browse_name.name.as_ref() == "extra_13"));
    subscriber.leave().await;
    plant.stop().await;
}

#[tokio::test]
async fn an_issued_certificate_names_the_authority_that_lies_beside_it() {
    let security = Some(UaSecurity { policy: UaPolicy::Basic256Sha256, mode: UaMode::Sign });
    let options = UaOptions { security, certificate: UaCertificate::Issued, ..UaOptions::default() };
    let keys = tempfile::tempdir().unwrap();
    let machine = MachineConfig { opcua: options, ..MachineConfig::new("m-1", KIND, Protocol::Opcua) };
    let config = PlantConfig { machines: vec![machine], ..PlantConfig::example() };
    let plant = Plant::start_in(config.clone(), keys.path()).await.unwrap();
    let file = plant.state("127.0.0.1:1".parse().unwrap()).machines[0].certificate.clone().unwrap();
    let certificate = std::fs::read(&file).unwrap();
    let issuer = b"Machine simulator authority";
    assert!(certificate.windows(issuer.len()).any(|window| window == issuer));
    assert!(file.with_file_name("authority.der").exists());
    plant.stop().await;
    let plant = Plant::start_in(config, keys.path()).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), certificate, "the key is kept for the next start");
    plant.stop().await;
}
