//! Secrets: none is the same in two installations, none lies where others read it, none is shown.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use factory_tests::api::Api;
use protocol::EnrolmentCode;
use reqwest::StatusCode;

use crate::enrolment::Floor;

fn mode(path: &Path) -> Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

/// All files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => found.extend(files(&path)?),
            false => found.push(path),
        }
    }
    Ok(found)
}

/// The files below a folder that hold a private key, and what is in them.
fn keys(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let read = |path: PathBuf| {
        let text = String::from_utf8(std::fs::read(&path).ok()?).ok()?;
        text.contains("PRIVATE KEY").then_some((path, text))
    };
    Ok(files(folder)?.into_iter().filter_map(read).collect())
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread")]
async fn te_4_a_code_is_kept_as_a_digest_and_good_for_one_gateway_once() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let floor = Floor::start(folder.path(), &[]).await?;
    let code = floor.invite("hall-1", &[]).await?;
    let digest = code.parse::<EnrolmentCode>()?.digest();
    let (mut digests, bare) = (0, code.replace('-', ""));
    for path in files(&floor.backend.data())? {
        let bytes = std::fs::read(&path)?;
        for text in [&code, &bare] {
            assert!(!holds(&bytes, text.as_bytes()), "{} holds the code", path.display());
        }
        digests += usize::from(holds(&bytes, &digest));
    }
    assert!(digests > 0, "the digest is kept");
    let enrolled = floor.enrol(&code).await?;
    assert_eq!((enrolled["tenant"].as_str(), enrolled["gateway"].as_str()), (Some("acme"), Some("hall-1")));
    assert!(floor.enrol(&code).await.is_err(), "it is used");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn te_5_a_fresh_installation_has_no_user_and_keys_of_its_own_that_only_their_owner_reads() -> Result<()>
{
    let (one, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (one, other) = (Floor::start(one.path(), &[]).await?, Floor::start(other.path(), &[]).await?);
    for (user, password) in [("admin", "admin"), ("operator", "operator"), ("root", "")] {
        assert!(Api::sign_in(one.backend.state.http, user, password).await.is_err(), "{user}");
    }
    let (mut seen, mut count) = (BTreeSet::new(), 0);
    for floor in [&one, &other] {
        floor.enrol(&floor.invite("hall-1", &[]).await?).await?;
        assert_eq!(mode(&floor.backend.data())?, 0o700);
        for folder in [floor.backend.data(), floor.folder.join("var")] {
            for (path, text) in keys(&folder)? {
                assert_eq!(mode(&path)?, 0o600, "{}", path.display());
                let begin = text.find("-----BEGIN PRIVATE KEY-----").context("PKCS #8")?;
                count += 1;
                seen.insert(text[begin..].chars().take(200).collect::<String>());
            }
        }
    }
    assert!(count >= 6 && seen.len() == count, "root, issuer, gateway: {} of {count} differ", seen.len());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_the_local_interface_shows_no_secret_listens_here_only_and_takes_no_command_unasked() -> Result<()>
{
    let folder = tempfile::tempdir()?;
    let floor = Floor::start(folder.path(), &[]).await?;
    let _machines = floor.machines().await?;
    let code = floor.invite("hall-1", &[]).await?;
    floor.enrol(&code).await?;
    let configured = std::fs::read_to_string(floor.folder.join("etc/agent.toml"))?;
    assert!(configured.contains("listen = \"127.0.0.1:9180\""), "{configured}");
    let (_agent, state) = floor.launch().await?;
    assert!(state.status.ip().is_loopback());

    let pem = std::fs::read_to_string(floor.folder.join("var/identity/gateway.pem"))?;
    let secret = pem.lines().nth(1).context("a key")?.to_owned();
    let http = factory_tests::api::http_client();
    for path in ["/", "/status", "/machines", "/machines/mill-1", "/machines/gateway", "/buffer"] {
        let answer = http.get(format!("http://{}{path}", state.status)).send().await?;
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        let shown = answer.text().await?;
        for hidden in ["PRIVATE", secret.as_str(), code.as_str(), "password"] {
            assert!(!shown.contains(hidden), "{path} shows {hidden:?}");
        }
    }
    let alarm = format!("http://{}/machines/gateway/alarms/buffer_filling", state.status);
    for request in [http.get(&alarm), http.post(&alarm).body("verb=acknowledge&actor=anna")] {
        assert_eq!(request.send().await?.status(), StatusCode::NOT_FOUND);
    }
    Ok(())
}
