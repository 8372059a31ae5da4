//! The control interface over HTTP.
#![allow(clippy::unwrap_used, reason = "a helper of a test that fails here fails the test")]

mod support;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value as Json, json};
use simulators::{Kind, Plant, Protocol};
use support::plant_of;

struct Control {
    plant: Plant,
    base: String,
    http: Client,
}

impl Control {
    async fn start() -> Self {
        let plant = plant_of(Kind::Compressor, Protocol::ModbusTcp).await;
        let address = plant.serve_control("127.0.0.1:0".parse().unwrap()).await.unwrap();
        Self { plant, base: format!("http://{address}"), http: http() }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Json>) -> (StatusCode, Json) {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        (status, response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Json {
        let (status, body) = self.send(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }

    async fn post(&self, path: &str, body: Json) -> Json {
        let (status, answer) = self.send(Method::POST, path, Some(body.clone())).await;
        assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
        answer
    }

    async fn refused(&self, path: &str, body: Json, expected: StatusCode) -> String {
        let (status, answer) = self.send(Method::POST, path, Some(body)).await;
        assert_eq!(status, expected, "{answer}");
        answer["detail"].as_str().unwrap().to_owned()
    }

    async fn tag(&self, id: &str) -> Json {
        let machine = self.get("/machines/m-1").await;
        machine["tags"].as_array().unwrap().iter().find(|tag| tag["id"] == id).unwrap().clone()
    }
}

#[tokio::test]
async fn the_list_names_address_mode_and_counters() {
    let control = Control::start().await;
    let machines = control.get("/machines").await;
    let machine = &machines[0];
    assert_eq!(machine["id"], "m-1");
    assert_eq!(machine["protocol"], "modbus-tcp");
    assert_eq!(machine["mode"], "healthy");
    assert_eq!(machine["address"], control.plant.machines()[0].endpoint());
    assert_eq!(machine["produced"]["reads_served"], 0);
    control.plant.stop().await;
}

#[tokio::test]
async fn a_value_is_set_with_its_instant_and_released() {
    let control = Control::start().await;
    control.post("/pause", json!({})).await;
    let before = control.tag("tank_pressure").await["value"].clone();
    let set = control.post("/machines/m-1/set", json!({"tag": "tank_pressure", "value": 3.25})).await;
    let tag = control.tag("tank_pressure").await;
    assert_eq!((&tag["value"], &tag["held"]), (&json!(3.25), &json!(true)));
    assert_eq!(tag["changed_at_us"], set["at_us"]);
    assert!(set["at"].as_str().unwrap().ends_with('Z'), "{set}");
    let (status, _) = control.send(Method::DELETE, "/machines/m-1/set/tank_pressure", None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(control.tag("tank_pressure").await["value"], before);
    control.plant.stop().await;
}

#[tokio::test]
async fn a_mode_is_set_and_shown() {
    let control = Control::start().await;
    control.post("/machines/m-1/mode", json!({"mode": "slow", "delay_ms": 20})).await;
    let machine = control.get("/machines/m-1").await;
    assert_eq!((&machine["mode"], &machine["delay_ms"]), (&json!("slow"), &json!(20)));
    control.plant.stop().await;
}

#[tokio::test]
async fn illegal_registers_are_set_and_shown() {
    let control = Control::start().await;
    let path = "/machines/m-1/illegal_registers";
    let (status, _) = control.send(Method::PUT, path, Some(json!({"registers": [9, 30]}))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(control.get("/machines/m-1").await["illegal_registers"], json!([9, 30]));
    control.plant.stop().await;
}

#[tokio::test]
async fn pause_and_resume_show_in_the_summary() {
    let control = Control::start().await;
    assert_eq!(control.post("/pause", json!({})).await["paused"], true);
    assert_eq!(control.get("/summary").await["paused"], true);
    assert_eq!(control.post("/resume", json!({})).await["paused"], false);
    let summary = control.get("/summary").await;
    assert_eq!(
        (&summary["paused"], &summary["machines"], &summary["seed"]),
        (&json!(false), &json!(1), &json!(42))
    );
    control.plant.stop().await;
}

#[tokio::test]
async fn mistakes_are_answered_with_what_is_allowed() {
    let control = Control::start().await;
    for (path, body, status, hint) in [
        ("/machines/m-9/set", json!({"tag": "state", "value": 1}), StatusCode::NOT_FOUND, "GET /machines"),
        ("/machines/m-1/set", json!({"tag": "speed", "value": 1}), StatusCode::NOT_FOUND, "no tag \"speed\""),
        (
            "/machines/m-1/set",
            json!({"tag": "state", "value": 9}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "0 to 3",
        ),
        (
            "/machines/m-1/set",
            json!({"tag": "state", "value": null}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "a number",
        ),
        (
            "/machines/m-1/set",
            json!({"tag": "state", "value": 1, "hold_ms": 0}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "1 to 86400000",
        ),
        (
            "/machines/m-1/set",
            json!({"tags": "state"}),
            StatusCode::UNPROCESSABLE_ENTITY,
            "unknown field `tags`",
        ),
        ("/machines/m-1/mode", json!({"mode": "sleepy"}), StatusCode::UNPROCESSABLE_ENTITY, "healthy, slow"),
        ("/lines/line-9/mode", json!({"mode": "refuse"}), StatusCode::NOT_FOUND, "GET /lines"),
    ] {
        let detail = control.refused(path, body, status).await;
        assert!(detail.contains(hint), "{path}: {detail}");
    }
    control.plant.stop().await;
}

/// A client of plain HTTP.
fn http() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}
