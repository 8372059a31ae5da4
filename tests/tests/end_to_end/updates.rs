//! Updates of the agent by real programs: installed, judged, taken back, and interrupted at every step. Some take half a
//! minute: a version that does not answer is waited for as long as a slow one may take.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use factory_tests::factory::Programs;
use factory_tests::host::{Host, until_runs};
use factory_tests::process::{output, until};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
/// A window that nothing has to happen in.
const SHORT_S: u32 = 2;
/// A window in which a test does something, on a busy machine too.
const LONG_S: u32 = 15;

/// A gateway with one machine that does not answer, and its host.
struct Gateway {
    host: Host,
    config: PathBuf,
    programs: Programs,
    _folder: TempDir,
}

impl Gateway {
    async fn start() -> Result<Self> {
        let (folder, programs) = (tempfile::tempdir()?, Programs::beside_this_one()?);
        let mut host = Host::set(folder.path(), &programs.edge_agent)?;
        for step in 1..=2 {
            host.publish(&host.later(step))?;
        }
        let config = folder.path().join("etc");
        configure(&config, &host)?;
        host.start(&config);
        until_runs(&host, &host.version).await?;
        Ok(Self { host, config, programs, _folder: folder })
    }

    /// What the agent would leave if the backend wanted this version.
    fn ask(&self, revision: u32, version: &str) -> Result<()> {
        self.ask_at(revision, version, now_us()?)
    }

    fn ask_at(&self, revision: u32, version: &str, at_us: i64) -> Result<()> {
        let request = json!({
            "format": 1, "revision": revision, "version": version, "channel": "stable",
            "running": self.host.version, "requested_at_us": at_us, "deadline_us": at_us + 3_600_000_000,
        });
        self.leave(&request.to_string())
    }

    fn leave(&self, request: &str) -> Result<()> {
        let file = self.host.request_file();
        std::fs::create_dir_all(file.parent().context("a folder")?)?;
        Ok(std::fs::write(file, request)?)
    }

    /// How it ended, by the installer's exit code and its journal.
    fn assert_ended(&self, code: i32, wanted: i32, phase: &str) -> Result<String> {
        let result = self.host.result();
        assert_eq!((code, &result["phase"]), (wanted, &json!(phase)), "{result:#}\n{}", self.host.log());
        assert!(!self.host.request_file().exists(), "a request that was taken would be taken again");
        let copy = self.host.result_file().with_file_name("installer");
        assert!(!copy.exists(), "the copy of the installer is there while an update is under way only");
        Ok(result["detail"].as_str().context("a detail")?.to_owned())
    }

    /// As a technician asks.
    async fn shown(&self) -> Result<String> {
        let config = self.config.display().to_string();
        let status = ["update", "status", "--config", &config];
        Ok(String::from_utf8(output(&self.programs.edge_agent, &status).await?)?)
    }
}

fn configure(config: &Path, host: &Host) -> Result<()> {
    std::fs::create_dir_all(config.join("machines.d"))?;
    let buffer = config.join("buffer.db").display().to_string();
    let agent = json!({
        "version": 1, "tenant": "acme", "gateway": "hall-1",
        "buffer": { "path": buffer, "max_mib": 16 },
        "status": { "listen": "127.0.0.1:0" },
        "update": { "request_file": host.request_file(), "result_file": host.result_file() },
    });
    std::fs::write(config.join("agent.toml"), toml::to_string(&agent)?)?;
    // Port 1 of this host: nobody listens there.
    let machine = "version = 1\nid = \"press\"\n[modbus_tcp]\nhost = \"127.0.0.1\"\nport = 1\n[[tags]]\nid = \"speed\"\n\
        data_type = \"int\"\nholding_register = 0\nformat = \"u16\"\n";
    Ok(std::fs::write(config.join("machines.d/press.toml"), machine)?)
}

fn now_us() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_installed_although_the_installer_is_killed_after_each_of_its_steps() -> Result<()> {
    let gateway = Gateway::start().await?;
    let (host, old, new) = (&gateway.host, gateway.host.version.clone(), gateway.host.later(1));
    gateway.ask(1, &new)?;
    host.kill_after(&[format!("fetch {old}"), format!("install {new}"), format!("restart {new}")])?;
    let (code, kills) = host.install(&gateway.config, SHORT_S).await?;
    gateway.assert_ended(code, 0, "done")?;
    assert_eq!(kills, 3, "{:?}", host.calls());
    until_runs(host, &new).await?;
    let shown = gateway.shown().await?;
    assert!(shown.contains(&format!("last update, {old} to {new}: runs and does well")), "{shown}");

    let calls = host.calls();
    std::fs::copy(&gateway.programs.edge_agent, host.result_file().with_file_name("installer"))?;
    assert_eq!(host.install(&gateway.config, SHORT_S).await?, (0, 0), "nothing is asked for");
    gateway.assert_ended(0, 0, "done")?;
    gateway.ask(1, &new)?;
    assert_eq!(host.install(&gateway.config, SHORT_S).await?, (0, 0), "this was done already");
    assert!(!host.request_file().exists() && host.calls() == calls, "{:?}", host.calls());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_ends_at_once_is_taken_back_and_not_tried_again_until_that_is_wished_for_anew()
-> Result<()> {
    let gateway = Gateway::start().await?;
    let (host, old, bad) = (&gateway.host, gateway.host.version.clone(), gateway.host.later(3));
    host.publish_script(&bad, "#!/bin/sh\necho 'this version is broken' >&2\nexit 1\n")?;
    gateway.ask(7, &bad)?;
    let (code, _) = host.install(&gateway.config, SHORT_S).await?;
    let why = gateway.assert_ended(code, 3, "rolled_back")?;
    assert!(why.contains(&format!("version {bad} did not answer within")), "{why}");
    until_runs(host, &old).await?;

    let calls = host.calls();
    gateway.ask(7, &bad)?;
    assert_eq!(host.install(&gateway.config, SHORT_S).await?, (0, 0));
    assert_eq!(host.calls(), calls, "the same wish is not followed twice");
    let good = host.later(1);
    gateway.ask(8, &good)?;
    let (code, _) = host.install(&gateway.config, SHORT_S).await?;
    gateway.assert_ended(code, 0, "done")?;
    until_runs(host, &good).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_is_gone_to_its_end_although_the_installer_is_killed_on_it() -> Result<()> {
    let gateway = Gateway::start().await?;
    let (host, old, new) = (&gateway.host, gateway.host.version.clone(), gateway.host.later(1));
    gateway.ask(1, &new)?;
    host.refuse(&format!("install {new}"))?;
    host.kill_after(&[format!("fetch {new}"), format!("install {old}"), format!("restart {old}")])?;
    let (code, kills) = host.install(&gateway.config, SHORT_S).await?;
    let why = gateway.assert_ended(code, 3, "rolled_back")?;
    assert!(why.contains("exit status: 100") && why.contains(&format!("no room for {new}")), "{why}");
    assert_eq!(kills, 3, "{:?}", host.calls());
    until_runs(host, &old).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_while_a_version_is_watched_does_not_leave_it_unjudged_and_there_is_one_installer()
-> Result<()> {
    let gateway = Gateway::start().await?;
    let (host, new) = (&gateway.host, gateway.host.later(1));
    gateway.ask(1, &new)?;
    let mut first = host.installer(&gateway.config, LONG_S)?;
    let watched = || async { (host.result()["phase"] == "verifying").then_some(()) };
    until("the new version is watched", PATIENCE, watched).await.with_context(|| host.log())?;
    let second = host.installer(&gateway.config, LONG_S)?.wait().await?;
    assert_eq!(second.code(), Some(1));
    assert!(host.log().contains("another installer is at work"), "{}", host.log());
    first.kill().await?;
    assert_eq!(host.result()["phase"], "verifying");
    let (code, _) = host.install(&gateway.config, SHORT_S).await?;
    gateway.assert_ended(code, 0, "done")?;
    until_runs(host, &new).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_installed_on_a_request_that_is_none_or_is_old_or_for_a_package_that_is_not_there()
-> Result<()> {
    let gateway = Gateway::start().await?;
    let (host, old) = (&gateway.host, gateway.host.version.clone());
    let secret = "root:$6$secret:19000:0:99999:7:::";
    let injected =
        json!({ "format": 1, "revision": 1, "version": "1.0; reboot", "channel": "stable" }).to_string();
    for none in [secret, "", "{}", &injected] {
        gateway.leave(none)?;
        assert_eq!(host.install(&gateway.config, SHORT_S).await?, (1, 0), "{none}");
        assert!(!host.request_file().exists(), "it would be read again and again");
    }
    let shadow = host.request_file().with_file_name("shadow");
    std::fs::write(&shadow, secret)?;
    std::os::unix::fs::symlink(&shadow, host.request_file())?;
    assert_eq!(host.install(&gateway.config, SHORT_S).await?, (1, 0), "a link is not followed");
    assert!(shadow.exists() && !host.log().contains("secret"), "{}", host.log());
    gateway.ask_at(1, &host.later(1), now_us()? - 7_200_000_000)?;
    assert_eq!(host.install(&gateway.config, SHORT_S).await?, (1, 0), "it is two hours old");
    assert_eq!((host.calls(), host.result()), (Vec::new(), Value::Null));

    gateway.ask(2, &host.later(5))?;
    let (code, _) = host.install(&gateway.config, SHORT_S).await?;
    let why = gateway.assert_ended(code, 3, "failed")?;
    assert!(why.contains("nothing was changed") && why.contains("repository"), "{why}");
    assert_eq!(
        host.calls(),
        ["refresh".to_owned(), format!("fetch {old}"), format!("fetch {}", host.later(5))]
    );
    until_runs(host, &old).await.map(drop)
}
