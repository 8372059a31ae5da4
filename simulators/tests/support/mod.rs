//! What the integration tests share: small plants and bounded waits.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test program uses its share")]

use std::time::Duration;

use simulators::{Kind, MachineConfig, Plant, PlantConfig, Protocol, UaOptions};
use tokio::time::{sleep, timeout};

/// Longest wait for anything; a test that needs it all has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A plant of one machine `m-1`.
pub async fn plant_of(kind: Kind, protocol: Protocol) -> Plant {
    plant_with(kind, protocol, UaOptions::default()).await
}

/// A plant of one machine `m-1` whose OPC UA server has options.
pub async fn plant_with(kind: Kind, protocol: Protocol, opcua: UaOptions) -> Plant {
    let machine = MachineConfig { opcua, ..MachineConfig::new("m-1", kind, protocol) };
    let host = "127.0.0.1".parse().unwrap();
    let config =
        PlantConfig { name: "Test".into(), seed: 42, host, lines: Vec::new(), machines: vec![machine] };
    Plant::start(config).await.expect("a machine on a free port starts")
}

/// A plant from the blocks of a plant file.
pub async fn plant_from(blocks: &str) -> Plant {
    let text = format!("version = 1\nname = \"Test\"\nseed = 42\n{blocks}");
    let config = PlantConfig::parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
    Plant::start(config).await.expect("the plant starts")
}

/// Waits until the condition holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}
