//! Everything that proves who is who is replaced under load: the issuer, the root, the gateway's certificates and the
//! servers'.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use factory_tests::api::Api;
use factory_tests::factory::{AgentState, Programs, add_user};
use factory_tests::oracle::{judge, obligations, stored};
use factory_tests::process::until;
use serde_json::Value;

use crate::enrolment::{Floor, status};
use crate::external_broker::configured;
use crate::mosquitto::Mosquitto;

/// The lives of certificates are seconds here: a retired root is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is asked all the time, and how it was answered.
#[derive(Default)]
struct Load {
    requests: AtomicU64,
    failed: AtomicU64,
    renewals_failed: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    /// Asks the API, and the agent about its renewals, until it is told to stop.
    #[expect(clippy::print_stderr, reason = "says what the count at the end does not")]
    async fn run(self: Arc<Self>, api: Api, state: AgentState) {
        while !self.stop.load(Ordering::Relaxed) {
            self.requests.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = api.get("/tenants/acme/gateways").await {
                eprintln!("a request failed: {error:#}");
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
            let error = status(&state).await.map(|status| status["certificate"]["error"].clone());
            if error.as_ref().is_none_or(|error| !error.is_null()) {
                eprintln!("a renewal failed: {error:?}");
                self.renewals_failed.fetch_add(1, Ordering::Relaxed);
            }
            // Some hundred a second: the load is not to starve what it judges.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn renewals(state: &AgentState) -> Option<u64> {
    status(state).await?["certificate"]["renewals"].as_u64()
}

async fn one_more_renewal(state: &AgentState) -> Result<()> {
    let before = renewals(state).await.context("it runs")?;
    until("one more renewal", PATIENCE, || async { renewals(state).await.filter(|now| *now > before) })
        .await
        .map(drop)
}

const LIVES: [&str; 4] = ["--certificate-lifetime", "15s", "--server-certificate-lifetime", "15s"];

/// It takes most of a minute: a root goes when the certificates of before it are over, and those last 15 s.
#[tokio::test(flavor = "multi_thread")]
async fn issuer_root_and_all_certificates_are_replaced_under_load_without_a_loss_or_a_failed_request()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    replace_everything(Floor::start(folder.path(), &LIVES).await?).await
}

/// The same where gateways and backend meet at Mosquitto, which is told by nobody but the backend; it takes as long.
#[tokio::test(flavor = "multi_thread")]
async fn issuer_root_and_all_certificates_are_replaced_under_load_behind_mosquitto_too() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (programs, data) = (Programs::beside_this_one()?, folder.path().join("backend/data"));
    std::fs::create_dir_all(folder.path().join("backend"))?;
    let broker = Mosquitto::start(folder.path().join("broker"), configured(&programs, &data)).await;
    let (url, certificate) = (broker.url(), broker.folder().join("server.crt"));
    let known = broker.folder().to_str().context("a path is text")?.to_owned();
    let first = std::fs::read(&certificate)?;
    let arguments = [LIVES.as_slice(), &["--broker", &url, "--broker-dir", &known]].concat();
    replace_everything(Floor::start(folder.path(), &arguments).await?).await?;
    assert_ne!(std::fs::read(&certificate)?, first, "the broker has another certificate");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "says when each step was done")]
async fn replace_everything(floor: Floor) -> Result<()> {
    let _machines = floor.machines().await?;
    floor.enrol(&floor.invite("hall-1", &[]).await?).await?;
    let (mut agent, state) = floor.launch().await?;
    let account = add_user(&floor.backend, "anna", &["--tenant", "acme"]).await?;
    let api = Api::sign_in(floor.backend.state.http, &account.user, &account.password).await?;
    floor.more_is_stored().await?;
    let load = Arc::new(Load::default());
    let loading = tokio::spawn(Arc::clone(&load).run(api, state.clone()));
    let backend = &floor.backend;
    let pki = |command: &'static str| async move { backend.admin(&["pki", command]).await };

    let began = Instant::now();
    let first = pki("status").await?;
    let issuer = pki("rotate-issuer").await?;
    assert_eq!((issuer["roots"] == first["roots"], issuer["issuer"] == first["issuer"]), (true, false));
    one_more_renewal(&state).await?;
    eprintln!("{:>6.1} s  the gateway has a certificate of the new issuer", began.elapsed().as_secs_f64());

    let overlap = pki("rotate-root").await?;
    assert_eq!(overlap["roots"].as_array().map(Vec::len), Some(2));
    assert_eq!(overlap["gateways_that_need_the_older_root"][0]["gateway"], "hall-1");
    let refused = pki("retire-root").await.expect_err("a gateway needs it").to_string();
    assert!(refused.contains("acme/hall-1") && refused.contains("gateway revoke"), "{refused}");
    one_more_renewal(&state).await?;
    eprintln!("{:>6.1} s  the gateway knows the new root", began.elapsed().as_secs_f64());

    let retired: Value =
        until("the old root goes", PATIENCE, || async { pki("retire-root").await.ok() }).await?;
    assert_eq!(retired["roots"].as_array().map(Vec::len), Some(1));
    assert_eq!(retired["roots"][0], overlap["roots"][0]);
    eprintln!("{:>6.1} s  the old root is trusted no more", began.elapsed().as_secs_f64());
    one_more_renewal(&state).await?;
    floor.more_is_stored().await?;
    eprintln!("{:>6.1} s  renewed below the new root alone", began.elapsed().as_secs_f64());

    load.stop.store(true, Ordering::Relaxed);
    loading.await?;
    let counted = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    eprintln!("{} requests, {} renewals", counted(&load.requests), renewals(&state).await.unwrap_or(0));
    assert_eq!((counted(&load.failed), counted(&load.renewals_failed)), (0, 0));
    assert!(counted(&load.requests) > 100);

    agent.terminate(Duration::from_secs(25)).await?;
    let held = stored(&floor.backend.data(), "acme", "hall-1", &state.epoch)?;
    judge(&obligations(&floor.folder.join("var/buffer.db"))?, &held)?;
    let log = std::fs::read_to_string(floor.folder.join("backend/backend.log"))?;
    assert!(
        log.matches("the servers that gateways see have a new certificate").count() >= 4,
        "three rotations, and in time"
    );
    Ok(())
}
