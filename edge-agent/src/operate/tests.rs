use axum::body::{Body, to_bytes};
use axum::http::Request;
use hyper_util::rt::TokioIo;
use plant_model::AlarmState;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::*;
use crate::board::tests::transition;
use crate::commands::{CommandDesk, Order};
use crate::status::tests::{observed, served};

const FORM: &str = "/machines/lathe-1/alarms/fast";

/// A gateway whose machine answers nothing by itself: the test reads its orders.
struct Gateway {
    address: std::net::SocketAddr,
    orders: mpsc::Receiver<Order>,
}

async fn gateway(alarm_commands: bool) -> Gateway {
    let mut observed = observed();
    let desk = CommandDesk::new(observed.clock);
    let orders = desk.open(MachineId::new("lathe-1").expect("valid"));
    (observed.desk, observed.alarm_commands) = (Arc::new(desk), alarm_commands);
    observed.board.shown().machines[0].alarm_moved(&transition(AlarmState::Unacknowledged));
    Gateway { address: served(observed).await, orders }
}

impl Gateway {
    async fn send(&self, request: Request<Body>) -> (StatusCode, String) {
        let stream = TcpStream::connect(self.address).await.expect("listens");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status();
        let body = to_bytes(Body::new(response.into_body()), 1 << 20).await.expect("whole");
        (status, String::from_utf8(body.to_vec()).expect("text"))
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).header("host", self.address.to_string());
        self.send(request.body(Body::empty()).expect("a request")).await
    }

    async fn post(&self, host: &str, origin: Option<&str>, form: &str) -> (StatusCode, String) {
        let mut request = Request::post(FORM)
            .header("host", host)
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        self.send(request.body(Body::from(form.to_owned())).expect("a request")).await
    }

    /// As a browser does it that shows our page.
    async fn fill_in(&self, form: &str) -> (StatusCode, String) {
        let host = self.address.to_string();
        self.post(&host, Some(&format!("http://{host}")), form).await
    }
}

const ACKNOWLEDGE: &str = "id=local-1&verb=acknowledge&occurrence=1&minutes=30&actor=Anna+B.&comment=seen";

#[tokio::test]
async fn without_permission_there_is_no_form_and_no_way_to_it() {
    let gateway = gateway(false).await;
    assert_eq!(gateway.get(FORM).await.0, StatusCode::NOT_FOUND);
    assert_eq!(gateway.fill_in(ACKNOWLEDGE).await.0, StatusCode::NOT_FOUND);
    assert!(!gateway.get("/").await.1.contains(FORM));
}

#[tokio::test]
async fn a_technician_acknowledges_from_the_page_under_a_name_marked_as_local() {
    let mut gateway = gateway(true).await;
    assert!(gateway.get("/").await.1.contains(FORM), "the alarm leads to its form");
    let (status, page) = gateway.get(FORM).await;
    assert!(
        status.is_success() && page.contains("value=\"acknowledge\"") && !page.contains("refresh"),
        "{page}"
    );
    assert!(page.contains("name=\"occurrence\" value=\"1\"") && !page.contains("value=\"reset\""), "{page}");
    let answering = async {
        let order = gateway.orders.recv().await.expect("a command");
        let command = order.command;
        (order.reply)(CommandResult {
            command: command.operation.command.clone(),
            outcome: CommandOutcome::Done,
            repeated: false,
            decided_at: Timestamp::default(),
            output: String::new(),
        });
        command
    };
    let host = gateway.address.to_string();
    let other = Gateway { address: gateway.address, orders: mpsc::channel(1).1 };
    let origin = format!("http://{host}");
    let (command, (status, page)) = tokio::join!(answering, other.post(&host, Some(&origin), ACKNOWLEDGE));
    assert!(status.is_success() && page.contains("Done."), "{page}");
    assert_eq!((command.request, command.occurrence), (AlarmCommand::Acknowledge, Some(1)));
    assert_eq!(
        (command.operation.actor.as_str(), command.operation.comment.as_str()),
        ("local:Anna B.", "seen")
    );
}

#[tokio::test]
async fn a_form_of_another_site_or_under_a_foreign_name_is_refused() {
    let mut gateway = gateway(true).await;
    let own = gateway.address.to_string();
    let foreign = format!("evil.example:{}", gateway.address.port());
    for (host, origin) in [
        (own.as_str(), None),
        (&own, Some("http://evil.example".to_owned())),
        (&own, Some("null".to_owned())),
        (&foreign, Some(format!("http://{foreign}"))),
    ] {
        let (status, _) = gateway.post(host, origin.as_deref(), ACKNOWLEDGE).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{host} {origin:?}");
    }
    assert!(gateway.orders.try_recv().is_err(), "nothing reached the machine");
}

#[tokio::test]
async fn what_is_missing_or_wrong_in_a_form_is_said_in_words() {
    let gateway = gateway(true).await;
    for (form, word) in [
        ("id=a&verb=acknowledge&occurrence=1&actor=+", "name"),
        ("id=a&verb=acknowledge&occurrence=&actor=b", "occurrence"),
        ("id=a&verb=acknowledge&occurrence=x&actor=b", "whole number"),
        ("id=a&verb=shelve&minutes=0&actor=b", "minutes from 1 to 10080"),
        ("id=a&verb=silence&actor=b", "no command"),
        ("id=a+b&verb=unshelve&actor=b", "command id"),
    ] {
        let (status, page) = gateway.fill_in(form).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{form}");
        assert!(page.contains(word), "{form}: {page}");
    }
}
