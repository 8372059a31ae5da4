//! Asks the status interface of an agent on this gateway.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::body::{Body, to_bytes};
use edge_config::AgentConfig;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What an answer may take: the agent only copies numbers.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What a deed may take: outputs that are made safe and connections that end, each in its time, and the next in turn.
const DEED_LIMIT: Duration = Duration::from_secs(60);

/// Far beyond 15 machines with 500 tags; whoever sends more is not an agent.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// The address that a configuration gives the status interface.
///
/// # Errors
/// There is none, or it is chosen at the start.
pub(crate) fn configured(config: &AgentConfig, folder: &Path) -> Result<SocketAddr> {
    let file = folder.join("agent.toml");
    match config.status.listen {
        Some(address) if address.port() != 0 => Ok(address),
        Some(_) => bail!("{}: the port of status.listen is chosen at start; give --status", file.display()),
        None => bail!(
            "{}: there is no status interface; add listen = \"127.0.0.1:9180\" under [status] and restart the \
             agent, or give --status",
            file.display()
        ),
    }
}

/// Fetches a path.
///
/// # Errors
/// Nobody listens, the answer takes too long, or it is not 200.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let request = hyper::Request::get(path).header("host", address.to_string()).body(Body::empty())?;
    let answer = tokio::time::timeout(ANSWER_LIMIT, ask(address, request)).await;
    let (status, body) =
        answer.with_context(|| format!("no answer from {address} within {ANSWER_LIMIT:?}"))??;
    if !status.is_success() {
        bail!("{address}{path} answers {}: {}", status.as_u16(), String::from_utf8_lossy(&body).trim_end());
    }
    Ok(body)
}

/// Asks for something to be done, as a page of the interface does; the answer may be a refusal.
///
/// # Errors
/// Nobody listens, or the answer takes too long.
pub(crate) async fn post(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let request = hyper::Request::post(path).header("host", address.to_string());
    let request = request.header("origin", format!("http://{address}")).body(Body::empty())?;
    let answer = tokio::time::timeout(DEED_LIMIT, ask(address, request)).await;
    let (_, body) = answer.with_context(|| format!("no answer from {address} within {DEED_LIMIT:?}"))??;
    Ok(body)
}

async fn ask(address: SocketAddr, request: hyper::Request<Body>) -> Result<(hyper::StatusCode, Vec<u8>)> {
    let stream = TcpStream::connect(address).await.with_context(|| {
        format!("no agent listens on {address}; is it running, with this [status] listen?")
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await?;
    Ok((status, body.to_vec()))
}
