//! A gateway from its first code to its last certificate, all through the command lines.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use factory_tests::api::{Api, local};
use factory_tests::factory::{
    AgentState, Backend, PlantOptions, Programs, add_user, any_port, launch_agent, launch_simulator,
};
use factory_tests::process::{Service, output, until};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::small_plant;

pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// The time of each step, printed.
struct Steps {
    began: Instant,
    last: Instant,
}

impl Steps {
    fn begin() -> Self {
        Self { began: Instant::now(), last: Instant::now() }
    }

    #[expect(clippy::print_stderr, reason = "the figures of the documentation")]
    fn took(&mut self, step: &str) {
        eprintln!("{:>6.2} s  {step}", self.last.elapsed().as_secs_f64());
        self.last = Instant::now();
    }
}

/// A factory floor with machines and a box that is to become a gateway.
pub(crate) struct Floor {
    programs: Programs,
    pub(crate) backend: Backend,
    pub(crate) folder: PathBuf,
    options: PlantOptions,
}

impl Floor {
    pub(crate) async fn start(folder: &Path, extra: &[&str]) -> Result<Self> {
        let (programs, options) = (Programs::beside_this_one()?, small_plant());
        let ports = [any_port(), any_port(), any_port()];
        let backend = Backend::start_with(&programs, &folder.join("backend"), ports, extra).await?;
        backend.admin(&["tenant", "add", "acme", "--name", "ACME"]).await?;
        Ok(Self { programs, backend, folder: folder.to_owned(), options })
    }

    fn config(&self) -> PathBuf {
        self.folder.join("etc")
    }

    fn cloud(&self) -> String {
        format!("https://{}", self.backend.state.gateways)
    }

    pub(crate) async fn invite(&self, gateway: &str, extra: &[&str]) -> Result<String> {
        let mut arguments = vec!["gateway", "invite", "--tenant", "acme", "--gateway", gateway];
        arguments.extend(extra);
        let answer = self.backend.admin(&arguments).await?;
        Ok(answer["code"].as_str().context("a code")?.to_owned())
    }

    fn arguments(&self, code: &str) -> Vec<String> {
        let (config, state) =
            (self.config().display().to_string(), self.folder.join("var").display().to_string());
        let all = ["enrol", "--cloud", &self.cloud(), "--code", code, "--config", &config, "--state", &state];
        all.map(str::to_owned).to_vec()
    }

    pub(crate) async fn enrol(&self, code: &str) -> Result<Value> {
        let mut arguments = self.arguments(code);
        arguments.push("--json".to_owned());
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(serde_json::from_slice(&output(&self.programs.edge_agent, &arguments).await?)?)
    }

    /// What the technician reads when an enrolment fails.
    async fn refusal(&self, arguments: &[String]) -> Result<String> {
        let out = Command::new(&self.programs.edge_agent).args(arguments).output().await?;
        assert!(!out.status.success(), "it must be refused");
        Ok(String::from_utf8_lossy(&out.stderr).into_owned())
    }

    /// Starts the machines.
    pub(crate) async fn machines(&self) -> Result<Service> {
        std::fs::create_dir_all(self.config())?;
        Ok(launch_simulator(&self.programs, &self.folder, &self.config(), &self.options).await?.0)
    }

    pub(crate) async fn launch(&self) -> Result<(Service, AgentState)> {
        // The port of the status page is the same on every gateway; here others run at the same time.
        let file = self.config().join("agent.toml");
        std::fs::write(&file, std::fs::read_to_string(&file)?.replace("127.0.0.1:9180", "127.0.0.1:0"))?;
        launch_agent(&self.programs.edge_agent, &self.folder, &self.config(), &[]).await
    }

    /// Samples in the store, and whether all that was committed up to the watermark is there.
    async fn stored(&self) -> Result<u64> {
        let rows = self.backend.admin(&["ledger", "--tenant", "acme"]).await?;
        let rows = rows.as_array().or_else(|| rows["items"].as_array()).context("rows")?;
        Ok(rows.iter().filter_map(|row| row["samples_stored"].as_u64()).sum())
    }

    pub(crate) async fn more_is_stored(&self) -> Result<u64> {
        let before = self.stored().await?;
        let more = || async { self.stored().await.ok().filter(|stored| *stored > before) };
        until("more samples are stored", PATIENCE, more).await
    }
}

pub(crate) async fn status(state: &AgentState) -> Option<Value> {
    local(Method::GET, state.status, "/status", None).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_becomes_a_gateway_by_one_code_and_its_machines_are_seen_in_the_cloud() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let floor = Floor::start(folder.path(), &[]).await?;
    let _machines = floor.machines().await?;
    let account = add_user(&floor.backend, "anna", &["--tenant", "acme"]).await?;
    let api = Api::sign_in(floor.backend.state.http, &account.user, &account.password).await?;
    let mut steps = Steps::begin();
    let code = floor.invite("hall-1", &[]).await?;
    steps.took("cloud-backend gateway invite");
    let enrolled = floor.enrol(&code.to_lowercase().replace('-', " ")).await?;
    steps.took("edge-agent enrol");
    assert_eq!((&enrolled["tenant"], &enrolled["gateway"]), (&json!("acme"), &json!("hall-1")));
    assert_eq!(enrolled["config_made"], true);
    let (mut agent, state) = floor.launch().await?;
    steps.took("edge-agent run: it answers");
    let seen = || async {
        let machine = api.get("/tenants/acme/gateways/hall-1/machines/mill-1").await.ok()?;
        machine["tags"].as_array()?.iter().any(|tag| !tag["latest"].is_null()).then_some(())
    };
    until("a value is seen through the API", PATIENCE, seen).await?;
    steps.took("GET …/machines/mill-1: a value");
    floor.more_is_stored().await?;
    steps.took("samples are stored, and acknowledged");
    assert!(steps.began.elapsed() < Duration::from_secs(60), "it took {:?}", steps.began.elapsed());
    let certificate = status(&state).await.context("it runs")?["certificate"].clone();
    assert!((29..=30).contains(&certificate["days_left"].as_i64().context("days")?), "{certificate}");

    let gateways = floor.backend.admin(&["gateway", "list", "--tenant", "acme"]).await?;
    assert_eq!((&gateways[0]["gateway"], &gateways[0]["state"]), (&json!("hall-1"), &json!("enrolled")));
    let shown = api.items("/tenants/acme/gateways").await?[0]["certificate"].clone();
    assert_eq!(
        (&shown["days_left"], &shown["revoked"]),
        (&certificate["days_left"], &json!(false)),
        "{shown}"
    );
    let metrics = format!("http://{}/metrics", floor.backend.state.http);
    let measured = || async {
        let text = factory_tests::api::http_client().get(&metrics).send().await.ok()?.text().await.ok()?;
        let name = "cloud_backend_gateway_certificate_expires_seconds{tenant=\"acme\",gateway=\"hall-1\"} ";
        text.lines().find_map(|line| line.strip_prefix(name)?.parse::<i64>().ok())
    };
    let end = until("the certificate is measured", PATIENCE, measured).await?;
    assert_eq!(Some(end), certificate["expires_at_ms"].as_i64().map(|ms| ms / 1_000));
    let key = std::fs::metadata(floor.folder.join("var/identity/gateway.pem"))?;
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&key.permissions()) & 0o777, 0o600);

    // Replaced hardware: another key, the same gateway, the same history.
    let stored = floor.more_is_stored().await?;
    agent.kill().await?;
    let code = floor.invite("hall-1", &[]).await?;
    assert_eq!(floor.enrol(&code).await?["config_made"], false);
    let (_agent, _) = floor.launch().await?;
    assert!(floor.more_is_stored().await? > stored);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn e3_e4_certificates_are_renewed_under_way_and_after_their_end_and_a_revoked_one_is_cut_off()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    // Two thirds of it are one connection; its end comes while the agent runs and while it does not.
    let mut floor = Floor::start(folder.path(), &["--certificate-lifetime", "15s"]).await?;
    std::fs::create_dir_all(floor.config())?;
    floor.enrol(&floor.invite("hall-1", &[]).await?).await?;
    let _machines = launch_simulator(&floor.programs, &floor.folder, &floor.config(), &floor.options).await?;
    let (mut agent, state) = floor.launch().await?;
    let renewed = |least: u64| {
        let state = state.clone();
        move || {
            let state = state.clone();
            async move {
                let certificate = status(&state).await?["certificate"].clone();
                (certificate["renewals"].as_u64()? >= least && certificate["error"].is_null()).then_some(())
            }
        }
    };
    until("two renewals", PATIENCE, renewed(2)).await?;
    floor.more_is_stored().await?;

    // While the backend is away a renewal fails, and what works stays in place.
    floor.backend.service.kill().await?;
    let failed = || async {
        status(&state).await.filter(|status| !status["certificate"]["error"].is_null()).map(|_| ())
    };
    until("a renewal fails", PATIENCE, failed).await?;
    agent.kill().await?;
    // The certificate has ended when both are back, as after a season in a cupboard.
    tokio::time::sleep(Duration::from_secs(10)).await;
    floor.backend.restart().await?;
    let (mut agent, state) = floor.launch().await?;
    floor.more_is_stored().await?;

    floor.backend.admin(&["gateway", "revoke", "--tenant", "acme", "--gateway", "hall-1"]).await?;
    let revoked_at = Instant::now();
    let cut = || async { status(&state).await.filter(|s| s["uplink"]["connected"] == false).map(|_| ()) };
    until("the connection is cut", PATIENCE, cut).await?;
    assert!(revoked_at.elapsed() < Duration::from_secs(5), "{:?}", revoked_at.elapsed());
    let stored = floor.stored().await?;
    let committed = |status: Value| status["samples"]["committed"].as_u64();
    let before = status(&state).await.and_then(committed).context("it runs")?;
    let goes_on = || async { status(&state).await.and_then(committed).filter(|now| *now > before + 20) };
    until("the floor is read on", PATIENCE, goes_on).await?;
    assert_eq!(floor.stored().await?, stored, "nothing of a revoked gateway is taken");

    // Enrolled again, it delivers what it has kept.
    agent.kill().await?;
    floor.enrol(&floor.invite("hall-1", &[]).await?).await?;
    let (_agent, _) = floor.launch().await?;
    floor.more_is_stored().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_that_is_not_good_is_refused_with_the_reason_and_the_way_out() -> Result<()> {
    let (folder, elsewhere) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let floor = Floor::start(folder.path(), &[]).await?;
    let other = Floor::start(elsewhere.path(), &[]).await?;
    let good = floor.invite("hall-1", &[]).await?;
    let told = |code: &str| {
        let arguments = floor.arguments(code);
        let floor = &floor;
        async move { floor.refusal(&arguments).await }
    };

    let wrong = if good.starts_with('Z') { "Y" } else { "Z" };
    assert!(told(&format!("{wrong}{}", &good[1..])).await?.contains("mistyped"));
    assert!(told(&good[..30]).await?.contains("is all of it there?"));
    let foreign = other.invite("hall-1", &[]).await?;
    let refused = told(&foreign).await?;
    assert!(refused.contains("another authority") && refused.contains("nothing was sent"), "{refused}");
    let mut nowhere = floor.arguments(&good);
    nowhere[2] = "https://127.0.0.1:9".to_owned();
    assert!(floor.refusal(&nowhere).await?.contains("cannot be reached"));
    nowhere[2] = "http://127.0.0.1".to_owned();
    assert!(floor.refusal(&nowhere).await?.contains("https://HOST"));

    let short = floor.invite("hall-2", &["--valid", "1s"]).await?;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert!(told(&short).await?.contains("was good until"));
    let withdrawn = floor.invite("hall-3", &[]).await?;
    floor.invite("hall-3", &[]).await?;
    assert!(told(&withdrawn).await?.contains("replaced by a newer one"));
    assert!(!floor.config().join("agent.toml").exists(), "nothing was written");

    floor.enrol(&good).await?;
    let used = told(&good).await?;
    assert!(used.contains("was used at") && used.contains("ask for a new one"), "{used}");
    let for_another = floor.invite("hall-4", &[]).await?;
    let refused = told(&for_another).await?;
    assert!(refused.contains("acme/hall-4") && refused.contains("acme/hall-1"), "{refused}");
    Ok(())
}

/// A minute and more: the shares of a certificate's life are waited for, and the last tenth must be long enough that its
/// alarm is delivered on a busy machine before the connection ends with the certificate.
#[tokio::test(flavor = "multi_thread")]
async fn e3_a_certificate_that_is_not_renewed_raises_both_alarms_in_the_cloud_before_it_ends() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let floor = Floor::start(folder.path(), &["--certificate-lifetime", "80s"]).await?;
    let _machines = floor.machines().await?;
    floor.enrol(&floor.invite("hall-1", &[]).await?).await?;
    // Bound and not listening: whoever asks for a renewal is refused, and nobody else gets the port.
    let nobody = tokio::net::TcpSocket::new_v4()?;
    nobody.bind("127.0.0.1:0".parse()?)?;
    let file = floor.config().join("agent.toml");
    let elsewhere = format!("https://{}", nobody.local_addr()?);
    let text = std::fs::read_to_string(&file)?;
    assert!(text.contains(&floor.cloud()), "{text}");
    std::fs::write(&file, text.replace(&floor.cloud(), &elsewhere))?;
    let (_agent, state) = floor.launch().await?;
    let account = add_user(&floor.backend, "anna", &["--tenant", "acme"]).await?;
    let api = Api::sign_in(floor.backend.state.http, &account.user, &account.password).await?;
    for (alarm, priority) in [("certificate_ending", "high"), ("certificate_at_its_end", "critical")] {
        let raised = || async {
            let active = api.items("/tenants/acme/alarms?limit=100").await.ok()?;
            active.into_iter().find(|row| row["alarm"] == alarm && row["machine"] == "gateway")
        };
        let raised = until(alarm, Duration::from_secs(120), raised).await?;
        assert_eq!((&raised["priority"], &raised["state"]), (&json!(priority), &json!("UNACK")), "{raised}");
    }
    let error = status(&state).await.context("it runs")?["certificate"]["error"].clone();
    assert!(error.as_str().is_some_and(|error| !error.is_empty()), "why it is not renewed is told: {error}");
    Ok(())
}
