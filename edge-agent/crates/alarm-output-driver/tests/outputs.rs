//! The loop of an output, against ports that misbehave, real web servers and real programs.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alarm_output::{
    AlarmFilter, AlarmKey, CommandLine, Drive, Level, Order, Outcome, Output, OutputId, OutputPort,
    OutputRule, Pacing, PortFuture, Reach, Reason, Safe, Standing, WebhookTarget, When,
};
use alarm_output_driver::{Commands, OutputBoard, OutputFeed, OutputTask, OutputView, Webhook, run};
use axum::Router;
use axum::http::StatusCode;
use axum::response::Redirect;
use axum::routing::post;
use plant_model::{AlarmId, AlarmPriority, AlarmState, MachineId};
use service_kit::Clock;
use tls_kit::TlsTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must come. It only matters to a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

fn rule() -> OutputRule {
    OutputRule {
        id: OutputId::new("horn").expect("valid"),
        filter: AlarmFilter { machines: None, alarms: None, priority: AlarmPriority::High },
        when: When::Unacknowledged,
        safe: Safe::Driven(Level::Off),
        pacing: Pacing::new(Duration::from_millis(100), 60).expect("valid"),
        refresh: None,
        heartbeat: None,
    }
}

fn alarm(number: u32) -> AlarmKey {
    let alarm = AlarmId::new(&format!("a{number}")).expect("valid");
    AlarmKey { machine: MachineId::new("press-1").expect("valid"), alarm }
}

fn drive(level: Level) -> Order {
    let standing = Standing { alarm: alarm(0), priority: AlarmPriority::Critical };
    Order::Drive(Drive { level, reason: Reason::Alarms, alarms: vec![standing], alarms_total: 1 })
}

/// Answers as it is told, and with success when nothing is left to tell.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Outcome>>,
    orders: Option<mpsc::Sender<Order>>,
    hangs: bool,
}

impl OutputPort for Scripted {
    fn carry_out<'a>(&'a self, order: &'a Order) -> PortFuture<'a> {
        Box::pin(async move {
            if let Some(orders) = &self.orders {
                orders.send(order.clone()).await.expect("the test listens");
            }
            if self.hangs {
                std::future::pending::<()>().await;
            }
            self.answers.lock().expect("unpoisoned").pop_front().unwrap_or(Outcome::Confirmed)
        })
    }
}

struct Running {
    feed: OutputFeed,
    board: Arc<OutputBoard>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(rule: OutputRule, port: impl OutputPort + 'static) -> Self {
        let (feed, stop) = (OutputFeed::default(), CancellationToken::new());
        let inbox = feed.open(&rule, Some(&alarm(0).machine));
        let output = Output::new(rule);
        let (clock, port) = (Clock::start(), Box::new(port));
        let board = Arc::new(OutputBoard::new(&output, clock.now()));
        let task = OutputTask { output, port, inbox, board: Arc::clone(&board), clock, stop: stop.clone() };
        Self { feed, board, stop, task: tokio::spawn(run(task)) }
    }

    fn alarm(&self, state: AlarmState) {
        self.feed.stands(&alarm(0), state, AlarmPriority::High);
    }

    async fn until(&self, what: &str, condition: impl Fn(&OutputView) -> bool) -> OutputView {
        let reached = async {
            while !condition(&self.board.view()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, reached).await.is_ok();
        assert!(in_time, "not seen: {what}; {:?}", self.board.view());
        self.board.view()
    }

    async fn stop(self) -> OutputView {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("it ends").expect("it does not panic");
        self.board.view()
    }
}

#[tokio::test]
async fn d7_an_output_follows_its_alarms_and_is_safe_after_a_stop() {
    let horn = Running::start(rule(), Scripted::default());
    horn.until("off at the start", |v| v.actual == Some(Level::Off)).await;
    horn.alarm(AlarmState::Unacknowledged);
    horn.until("on", |v| v.actual == Some(Level::On)).await;
    assert_eq!(horn.stop().await.actual, Some(Level::Off));
}

#[tokio::test]
async fn d7_an_output_is_driven_again_as_soon_as_its_machine_is_back() {
    let refused = Outcome::Refused { reason: "no connection".to_owned() };
    let answers = [Outcome::Confirmed, refused.clone(), refused.clone(), refused];
    let port = Scripted { answers: Mutex::new(answers.into()), ..Scripted::default() };
    let horn = Running::start(rule(), port);
    horn.until("off at the start", |v| v.actual == Some(Level::Off)).await;
    let machine = alarm(0).machine;
    horn.feed.machine_lost(&machine);
    let view = horn.until("three failures", |v| v.tally.refused == 3).await;
    assert_eq!(view.actual, None, "it may have restarted");
    // The next attempt would be made after 4 s.
    horn.feed.machine_back(&machine);
    let failed_at = view.last_failure.expect("it failed").at;
    let view = horn.until("off again", |v| v.actual == Some(Level::Off)).await;
    let took = view.confirmed_at.expect("confirmed").since(failed_at);
    assert!(took < Duration::from_secs(3), "{took:?}");
    horn.stop().await;
}

#[tokio::test]
async fn d7_a_fault_is_shown_until_the_output_follows_again() {
    let differs = Outcome::Differs { read_back: "1".to_owned() };
    let horn =
        Running::start(rule(), Scripted { answers: Mutex::new([differs].into()), ..Scripted::default() });
    let view = horn.until("a fault", |v| v.fault.is_some()).await;
    assert_eq!((view.fault.as_deref(), view.actual), (Some("it was driven off and reads 1"), None));
    let view = horn.until("no fault", |v| v.fault.is_none() && v.actual == Some(Level::Off)).await;
    let failure = view.last_failure.expect("what has failed stays to be seen");
    assert!(failure.reason.contains("reads 1") && view.confirmed_at > Some(failure.at), "{failure:?}");
    assert!(view.desired_at < failure.at, "it wanted the same all the time");
    horn.stop().await;
}

#[tokio::test]
async fn d7_a_port_that_hangs_delays_neither_decisions_nor_the_heartbeat_nor_a_stop_for_ever() {
    let (orders, mut ordered) = mpsc::channel(100);
    let beating = OutputRule { heartbeat: Some(Duration::from_secs(1)), ..rule() };
    let horn = Running::start(beating, Scripted { orders: Some(orders), hangs: true, ..Scripted::default() });
    assert_eq!(ordered.recv().await, Some(Order::Beat(1)));
    assert!(matches!(ordered.recv().await, Some(Order::Drive(_))));
    for round in 0..50_000 {
        let state = if round % 2 == 0 { AlarmState::Unacknowledged } else { AlarmState::Normal };
        horn.feed.stands(&alarm(round % 7), state, AlarmPriority::High);
    }
    horn.stop().await;
}

/// The newest body that a server got.
type Bodies = watch::Receiver<Option<serde_json::Value>>;

fn routes() -> (Router, Bodies) {
    let (sender, bodies) = watch::channel(None);
    let keep = move |body: String| async move {
        sender.send_replace(serde_json::from_str(&body).ok());
    };
    let router = Router::new()
        .route("/keep", post(keep))
        .route("/fail", post(|| async { StatusCode::SERVICE_UNAVAILABLE }))
        .route("/away", post(|| async { Redirect::temporary("/keep") }))
        .route("/hang", post(|| async { std::future::pending::<()>().await }));
    (router, bodies)
}

/// A web server; answers its port.
async fn server() -> (u16, Bodies) {
    let (router, bodies) = routes();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (port, bodies)
}

fn webhook(url: &str, ca_file: Option<&Path>) -> Webhook {
    let (url, timeout) = (url.parse().expect("valid"), Duration::from_millis(500));
    let target = WebhookTarget::new(url, ca_file.map(Into::into), Reach::Local, timeout).expect("valid");
    Webhook::new(OutputId::new("notice").expect("valid"), target, TlsTime::of(Clock::start()))
}

#[tokio::test]
async fn a_web_server_is_told_what_the_output_is_at_and_why() {
    let (port, bodies) = server().await;
    for host in ["127.0.0.1", "localhost"] {
        let hook = webhook(&format!("http://{host}:{port}/keep"), None);
        assert_eq!(hook.carry_out(&drive(Level::On)).await, Outcome::Confirmed, "{host}");
    }
    let body = bodies.borrow().clone().expect("JSON");
    assert_eq!(
        (&body["output"], &body["state"], &body["reason"]),
        (&"notice".into(), &"on".into(), &"alarms".into())
    );
    assert_eq!((&body["alarms_total"], &body["alarms"][0]["alarm"]), (&1.into(), &"a0".into()));
    assert_eq!(body["alarms"][0]["priority"], "critical");
    assert!(body["at_ms"].as_i64().is_some_and(|ms| ms > 1_700_000_000_000), "{body}");
}

#[tokio::test]
async fn a_web_server_that_fails_redirects_hangs_or_is_not_there_confirms_nothing() {
    let (port, bodies) = server().await;
    for (path, said) in
        [("fail", "answers 503"), ("away", "redirects are not followed"), ("nowhere", "answers 404")]
    {
        let outcome =
            webhook(&format!("http://127.0.0.1:{port}/{path}"), None).carry_out(&drive(Level::On)).await;
        let Outcome::Refused { reason } = outcome else { panic!("{path}: {outcome:?}") };
        assert!(reason.contains(said), "{reason}");
    }
    let outcome = webhook(&format!("http://127.0.0.1:{port}/hang"), None).carry_out(&drive(Level::On)).await;
    assert!(matches!(&outcome, Outcome::Unknown { reason } if reason.contains("500ms")), "{outcome:?}");
    let free =
        TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound").port();
    let outcome = webhook(&format!("http://127.0.0.1:{free}/keep"), None).carry_out(&drive(Level::On)).await;
    assert!(
        matches!(&outcome, Outcome::Refused { reason } if reason.contains("cannot connect")),
        "{outcome:?}"
    );
    assert_eq!(*bodies.borrow(), None, "nobody was told");
}

fn line(words: &[&str]) -> CommandLine {
    CommandLine::new(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()).expect("valid")
}

#[tokio::test]
async fn a_program_runs_for_each_level_without_shell_and_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("state").display().to_string();
    let script = "printf '%s %s\\n' \"$1\" \"$(/usr/bin/env | /usr/bin/grep -c CARGO)\" > \"$2\"";
    let word = |level| line(&["/bin/sh", "-c", script, "horn", level, &file]);
    let program = Commands::new(word("on; false"), word("off"), PATIENCE);
    for (level, written) in [(Level::On, "on; false 0\n"), (Level::Off, "off 0\n")] {
        assert_eq!(program.carry_out(&drive(level)).await, Outcome::Confirmed);
        assert_eq!(std::fs::read_to_string(&file).expect("written"), written);
    }
}

#[tokio::test]
async fn a_program_that_fails_is_missing_or_hangs_confirms_nothing_and_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pid").display().to_string();
    // The shell waits for a child, which is to go with it.
    let hang = line(&["/bin/sh", "-c", "/bin/sleep 600 & echo $! > \"$1\"; wait", "horn", &file]);
    let short = Duration::from_secs(1);
    let cases = Commands::new(line(&["/bin/false"]), line(&["/nonexistent/horn"]), short);
    let refused = |outcome: Outcome, said: &str| {
        assert!(matches!(&outcome, Outcome::Refused { reason } if reason.contains(said)), "{outcome:?}");
    };
    refused(cases.carry_out(&drive(Level::On)).await, "exit status: 1");
    refused(cases.carry_out(&drive(Level::Off)).await, "/nonexistent/horn cannot be started");
    let outcome = Commands::new(hang.clone(), hang, short).carry_out(&drive(Level::On)).await;
    assert!(matches!(&outcome, Outcome::Unknown { reason } if reason.contains("was killed")), "{outcome:?}");
    let child = std::fs::read_to_string(&file).expect("it had begun");
    let is_gone = || match std::fs::read_to_string(format!("/proc/{}/stat", child.trim())) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    let gone = async {
        while !is_gone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the child of the program is gone, too");
}

/// A TLS server that answers each request with 204; its certificate authority lies in `folder`.
async fn tls_server(folder: &Path) -> u16 {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    std::fs::write(folder.join("ca.crt"), pair.cert.pem()).expect("written");
    let key = rustls::pki_types::PrivateKeyDer::try_from(pair.signing_key.serialize_der()).expect("a key");
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .expect("fits");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let (mut request, mut chunk) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"}") {
                let n = stream.read(&mut chunk).await.expect("a whole request");
                request.extend_from_slice(&chunk[..n]);
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await.expect("writes");
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn https_trusts_the_configured_authority_and_nobody_else() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let port = tls_server(folder.path()).await;
    tls_server(other.path()).await;
    let url = format!("https://localhost:{port}/");
    let hook = |folder: &Path| webhook(&url, Some(&folder.join("ca.crt")));
    assert_eq!(hook(folder.path()).carry_out(&drive(Level::On)).await, Outcome::Confirmed);
    let refused = async |folder: &Path, said: &str| {
        let outcome = hook(folder).carry_out(&drive(Level::On)).await;
        assert!(matches!(&outcome, Outcome::Refused { reason } if reason.contains(said)), "{outcome:?}");
    };
    refused(other.path(), "no TLS connection").await;
    refused(Path::new("/nonexistent"), "/nonexistent/ca.crt holds no usable certificate").await;
}
