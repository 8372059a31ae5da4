//! Updates of agents in waves: begun on the command line, told to gateways over real TLS and MQTT, stopped by what they
//! report.

use std::collections::HashMap;

use protocol::{GatewayVerb, Instruction, UPDATE_PATH, UPDATE_REPORT_PATH};
use serde_json::{Value as Json, json};

use crate::configuration::Caller;
use crate::support::{Backend, Gateway, Installation, within};

/// Three gateways, `gw-1` to `gw-3`, that are connected; each says what it runs.
struct Plant {
    installation: Installation,
    backend: Backend,
    gateways: HashMap<&'static str, (Caller, Gateway)>,
}

impl Plant {
    async fn start() -> Self {
        let installation = Installation::new();
        for name in ["gw-2", "gw-3"] {
            installation.add_gateway(name);
        }
        let backend = installation.serve().await;
        let ca = installation.credentials().join("ca.crt");
        let mut gateways = HashMap::new();
        for name in ["gw-1", "gw-2", "gw-3"] {
            let caller = Caller::new(&backend, &ca, Some(&installation.folder().join(name)));
            let connection = Gateway::connect_as(name, &installation, &backend).await;
            gateways.insert(name, (caller, connection));
        }
        let plant = Self { installation, backend, gateways };
        for name in ["gw-1", "gw-2", "gw-3"] {
            plant.report(name, "1.0.0", "idle", &Json::Null).await;
        }
        plant
    }

    fn rollout(&self, arguments: &[&str]) -> Json {
        let all = [&["rollout"], arguments, &["--json"]].concat();
        serde_json::from_str(&self.installation.done(&all)).expect("JSON")
    }

    async fn fetch(&self, name: &str) -> (u16, Json) {
        let (status, tag, body) = self.gateways[name].0.ask("GET", UPDATE_PATH, "", "").await;
        let body: Json = serde_json::from_slice(&body).unwrap_or_default();
        let expected = body["revision"].as_u64().map(|revision| format!("\"{revision}\""));
        assert_eq!(tag, expected, "{body}");
        (status, body)
    }

    async fn report(&self, name: &str, running: &str, state: &str, desired: &Json) {
        let report = json!({
            "running": running, "channel": "stable", "desired": desired, "state": state, "at_us": 1,
            "detail": format!("{name} says {state}"),
        });
        let (status, ..) =
            self.gateways[name].0.ask("PUT", UPDATE_REPORT_PATH, "", &report.to_string()).await;
        assert_eq!(status, 204);
    }

    /// Waits until a version is desired of a gateway and answers what it is told.
    async fn told(&self, name: &str, version: &str) -> Json {
        within("the gateway is told", async {
            loop {
                let (status, desired) = self.fetch(name).await;
                if status == 200 && desired["version"] == version {
                    return desired;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        })
        .await
    }

    /// Waits until the rollout is as wanted.
    async fn rollout_is(&self, wanted: impl Fn(&Json) -> bool) -> Json {
        within("the rollout is as wanted", async {
            loop {
                let shown = self.rollout(&["show", "1"]);
                if wanted(&shown) {
                    return shown;
                }
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        })
        .await
    }
}

/// Takes some twelve seconds: each of four waves is watched for a second, and time that has passed is seen at the next
/// look, two seconds apart.
#[tokio::test]
async fn a_version_comes_in_waves_stops_at_a_rollback_and_goes_back_on_demand() {
    let mut plant = Plant::start().await;
    assert_eq!(plant.fetch("gw-1").await.0, 204, "nothing is desired yet");
    let begun = plant.rollout(&["start", "2.0.0", "--tenant", "acme", "--waves", "1,100%", "--soak", "1s"]);
    assert_eq!((&begun["id"], &begun["gateways"]), (&json!(1), &json!(3)));

    let desired = plant.told("gw-1", "2.0.0").await;
    assert_eq!(desired, json!({ "revision": 1, "version": "2.0.0", "channel": "stable" }));
    let (_, connection) = plant.gateways.get_mut("gw-1").expect("it is there");
    let Instruction::Gateway(command) = connection.instruction().await else { panic!("to the gateway") };
    assert!(
        matches!(&command.verb, GatewayVerb::Update { version } if version.as_str() == "2.0.0"),
        "{command:?}"
    );
    assert_eq!(plant.fetch("gw-2").await.0, 204, "the first wave is one gateway");
    let (status, tag, _) =
        plant.gateways["gw-1"].0.ask("GET", UPDATE_PATH, "if-none-match: \"1\"\r\n", "").await;
    assert_eq!((status, tag.as_deref()), (304, Some("\"1\"")));
    let behind = |text: &str| text.contains("\ncloud_backend_gateways_not_at_desired_version 1\n");
    plant.backend.answers("/metrics", |_, text| behind(text)).await;

    plant.report("gw-1", "2.0.0", "done", &desired).await;
    let (second, third) = (plant.told("gw-2", "2.0.0").await, plant.told("gw-3", "2.0.0").await);
    plant.report("gw-2", "1.0.0", "rolled_back", &second).await;
    plant.report("gw-3", "2.0.0", "done", &third).await;
    let paused = plant.rollout_is(|shown| shown["state"] == "paused").await;
    let reason = paused["reason"].as_str().expect("text");
    assert_eq!(reason, "1 failed, 0 may: acme/gw-2: it rolled back: gw-2 says rolled_back");
    let listed = plant.backend.json("/api/v1/tenants/acme/gateways").await;
    let update = |row: usize| listed["items"][row]["update"].clone();
    assert_eq!((&update(0)["state"], &update(1)["state"]), (&json!("done"), &json!("rolled_back")));
    let rows = plant.installation.done(&["gateway", "list", "--tenant", "acme"]);
    let second = rows.lines().find(|line| line.starts_with("gw-2")).expect("a row");
    assert!(
        second.contains(" 1.0.0 ") && second.contains(" 2.0.0 ") && second.contains(" rolled_back "),
        "{rows}"
    );

    let back = plant.rollout(&["rollback", "1", "--author", "olga"]);
    assert_eq!((&back["direction"], &back["reason"]), (&json!("back"), &json!("rolled back by olga")));
    for name in ["gw-1", "gw-2", "gw-3"] {
        let desired = plant.told(name, "1.0.0").await;
        assert_eq!(desired["revision"], 2);
        plant.report(name, "1.0.0", "done", &desired).await;
    }
    let done = plant.rollout_is(|shown| shown["state"] == "completed").await;
    assert_eq!(done["reason"], "3 done", "{done}");
    let refused = plant.installation.cli(&["rollout", "pause", "1"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rollout 1 is completed"), "{refused:?}");
}

#[tokio::test]
async fn nobody_is_told_while_it_is_paused_and_an_abort_leaves_everyone_what_runs() {
    let plant = Plant::start().await;
    plant.rollout(&[
        "start",
        "2.0.0",
        "--gateway",
        "acme/gw-3",
        "--gateway",
        "acme/gw-1",
        "--waves",
        "1,100%",
    ]);
    let desired = plant.told("gw-3", "2.0.0").await;
    plant.report("gw-3", "1.0.0", "installing", &desired).await;
    assert_eq!(plant.rollout(&["pause", "1"])["state"], "paused");
    let taken = plant.installation.cli(&["rollout", "start", "3.0.0", "--all"]);
    let told = String::from_utf8_lossy(&taken.stderr).into_owned();
    assert!(!taken.status.success() && told.contains("belongs to rollout 1"), "{told}");
    let nobody = plant.installation.cli(&["rollout", "start", "3.0.0"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("--all"), "{nobody:?}");
    assert_eq!(plant.rollout(&["abort", "1"])["state"], "aborted");
    let kept = plant.told("gw-3", "1.0.0").await;
    assert_eq!(kept["revision"], 2);
    assert_eq!(plant.fetch("gw-1").await.0, 204);
    let list = plant.rollout(&["list"]);
    assert_eq!((&list[0]["state"], &list[0]["told"]), (&json!("aborted"), &json!(1)));
    plant.rollout(&["start", "3.0.0", "--all"]);
    let (status, ..) = Caller::new(&plant.backend, &plant.installation.credentials().join("ca.crt"), None)
        .ask("GET", UPDATE_PATH, "", "")
        .await;
    assert_eq!(status, 401);
}
