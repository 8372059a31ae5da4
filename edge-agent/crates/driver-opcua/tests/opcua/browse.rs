//! A technician's look at a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use driver_opcua::{Access, Identity, NodeKind, Probe};
use opcua::types::Variant;
use plant_model::{DataType, GatewayId, Quality, Value};
use tokio_util::sync::CancellationToken;

use crate::limits::crowd;
use crate::support::Server;

fn identity() -> Arc<Identity> {
    Arc::new(Identity::new("/nonexistent".into(), GatewayId::new("gateway-1").expect("valid")))
}

async fn open(server: &Server) -> Probe {
    let access = Access {
        endpoint: format!("opc.tcp://{}", server.address),
        security: acquisition::OpcUaSecurity::None,
        user: None,
    };
    Probe::open(&access, &identity()).await.expect("a session")
}

#[tokio::test]
async fn c11_a_hundred_thousand_nodes_are_browsed_within_a_minute() {
    let (server, _) = crowd(100_000, |builder| builder);
    let mut probe = open(&server).await;
    let begun = Instant::now();
    let mut ours = 0;
    let summary = probe
        .browse(None, &CancellationToken::new(), |node| {
            ours += u32::from(node.node.starts_with("nsu=urn:lathe;s=n"));
        })
        .await
        .expect("browsed");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!((ours, summary.is_complete), (100_000, true));
    probe.close().await;
}

#[tokio::test]
async fn c11_a_browse_can_be_cancelled_and_the_session_used_on() {
    let (server, _) = crowd(20, |builder| builder);
    let mut probe = open(&server).await;
    let cancel = CancellationToken::new();
    let summary = probe.browse(None, &cancel, |_| cancel.cancel()).await.expect("cancelled");
    assert!(!summary.is_complete);
    let all = probe.browse(None, &CancellationToken::new(), |_| ()).await.expect("browsed");
    assert!(all.is_complete && all.nodes > summary.nodes);
    probe.close().await;
}

#[tokio::test]
async fn what_browse_tells_of_a_node_can_be_configured_and_read() {
    let server = Server::start(&[("speed", Variant::from(1.5_f64)), ("order", Variant::from("0042"))]);
    let mut probe = open(&server).await;
    let mut found = Vec::new();
    probe.browse(None, &CancellationToken::new(), |node| found.push(node)).await.expect("browsed");
    for (name, data_type, value) in
        [("speed", DataType::Float, Value::Float(1.5)), ("order", DataType::Text, Value::Text("0042".into()))]
    {
        let node = found.iter().find(|node| node.path.as_ref() == name).expect(name);
        assert_eq!((node.kind, node.data_type), (NodeKind::Variable, Some(data_type)));
        let reference = node.node.parse().expect("as in a configuration");
        let sample = probe.read(&reference, data_type).await.expect("read");
        assert_eq!((sample.value, sample.quality), (Some(value), Quality::GOOD));
    }
    let unknown = "nsu=urn:nowhere;s=x".parse().expect("valid");
    let sample = probe.read(&unknown, DataType::Int).await.expect("answered");
    assert_eq!(sample.quality, Quality::BAD_NODE_ID_UNKNOWN);
    probe.close().await;
}

#[tokio::test]
async fn the_endpoints_of_a_server_are_told_without_a_session() {
    let server = Server::start(&[]);
    let endpoints =
        driver_opcua::endpoints(&format!("opc.tcp://{}", server.address)).await.expect("answered");
    assert!(endpoints.iter().any(|e| e.protection.contains("None/None for Anonymous")), "{endpoints:?}");
    assert_eq!(server.sessions().1, 0);
}
