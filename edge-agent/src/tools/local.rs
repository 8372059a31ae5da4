//! Asks the status interface of an agent on this gateway.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::body::{Body, to_bytes};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// What an answer may take: the agent only copies numbers.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Far beyond 15 machines with 500 tags; whoever sends more is not an agent.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Fetches a path.
///
/// # Errors
/// Nobody listens, the answer takes too long, or it is not 200.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let answer = tokio::time::timeout(ANSWER_LIMIT, ask(address, path)).await;
    answer.with_context(|| format!("no answer from {address} within {ANSWER_LIMIT:?}"))?
}

async fn ask(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let stream = TcpStream::connect(address).await.with_context(|| {
        format!("no agent listens on {address}; is it running, with this [status] listen?")
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = hyper::Request::get(path).header("host", address.to_string()).body(Body::empty())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await?;
    if !status.is_success() {
        bail!("{address}{path} answers {}: {}", status.as_u16(), String::from_utf8_lossy(&body).trim_end());
    }
    Ok(body.to_vec())
}
