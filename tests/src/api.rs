//! A client of the backend's API.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use reqwest::header::{COOKIE, SET_COOKIE};
use serde_json::{Value, json};

/// A signed-in session.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    cookie: String,
}

/// An event of a live stream.
#[derive(Debug, Clone)]
pub struct LiveEvent {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Value,
    /// When it arrived, in microseconds since 1970.
    pub arrived_at_us: i64,
}

/// A client of plain HTTP. With TLS among its features the library asks for a provider of cryptography all the same.
///
/// # Panics
/// The system gives no random bytes.
#[must_use]
pub fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let built = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build();
    built.expect("a client of plain HTTP needs nothing that could be missing")
}

impl Api {
    /// Signs in.
    ///
    /// # Errors
    /// The backend does not answer, or refuses.
    pub async fn sign_in(address: SocketAddr, user: &str, password: &str) -> Result<Self> {
        let http = http_client();
        let base = format!("http://{address}/api/v1");
        let answer = http
            .post(format!("{base}/session"))
            .header("X-Requested-With", "fetch")
            .json(&json!({ "username": user, "password": password }))
            .send()
            .await?;
        if !answer.status().is_success() {
            bail!("signing in as {user} failed: {} {}", answer.status(), answer.text().await?);
        }
        let cookie = answer
            .headers()
            .get(SET_COOKIE)
            .and_then(|c| c.to_str().ok())
            .and_then(|c| c.split(';').next())
            .context("no session cookie")?
            .to_owned();
        Ok(Self { http, base, cookie })
    }

    /// GET of a path below `/api/v1`.
    ///
    /// # Errors
    /// The request fails or is not answered with success.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = self.http.get(format!("{}{path}", self.base)).header(COOKIE, &self.cookie);
        let answer =
            request.timeout(Duration::from_secs(60)).send().await.with_context(|| path.to_owned())?;
        if !answer.status().is_success() {
            bail!("GET {path}: {} {}", answer.status(), answer.text().await?);
        }
        Ok(answer.json().await?)
    }

    /// POST of a command below `/api/v1`, under its key; status and body of the answer.
    ///
    /// # Errors
    /// There is no answer, or it is no JSON.
    pub async fn command(&self, path: &str, key: &str, body: &Value) -> Result<(u16, Value)> {
        let request = self.http.post(format!("{}{path}", self.base)).header(COOKIE, &self.cookie);
        let request = request.header("X-Requested-With", "fetch").header("Idempotency-Key", key);
        let answer = request.json(body).timeout(Duration::from_secs(60)).send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    }

    /// The items of a list.
    ///
    /// # Errors
    /// As [`Self::get`], or the answer is no list.
    pub async fn items(&self, path: &str) -> Result<Vec<Value>> {
        let mut answer = self.get(path).await?;
        let items = answer["items"].take();
        let Value::Array(items) = items else { bail!("GET {path}: items is {items}") };
        Ok(items)
    }

    /// Follows the live stream of a tenant and hands each event to `take`, until the stream ends.
    ///
    /// # Errors
    /// The stream cannot be opened.
    pub async fn follow(&self, tenant: &str, mut take: impl FnMut(LiveEvent)) -> Result<()> {
        let url = format!("{}/tenants/{tenant}/live", self.base);
        let answer = self.http.get(url).header(COOKIE, &self.cookie).send().await?;
        if !answer.status().is_success() {
            bail!("the live stream of {tenant} is not to be had: {}", answer.status());
        }
        let mut body = answer.bytes_stream();
        let mut buffer = String::new();
        while let Some(Ok(chunk)) = body.next().await {
            let arrived_at_us = now_us();
            buffer.push_str(&String::from_utf8_lossy(&chunk));
            while let Some(end) = buffer.find("\n\n") {
                let block: String = buffer.drain(..end + 2).collect();
                if let Some(event) = parse(&block, arrived_at_us) {
                    take(event);
                }
            }
        }
        Ok(())
    }
}

fn parse(block: &str, arrived_at_us: i64) -> Option<LiveEvent> {
    let field = |name: &str| {
        block.lines().find_map(|l| l.strip_prefix(name).map(|v| v.trim_start_matches(' ').to_owned()))
    };
    let name = field("event:")?;
    let data = serde_json::from_str(&field("data:")?).ok()?;
    Some(LiveEvent { name, data, arrived_at_us })
}

/// The wall clock in microseconds since 1970.
#[must_use]
pub fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A plain JSON request to a local interface of a simulator or an agent.
///
/// # Errors
/// The request fails or is not answered with success.
pub async fn local(
    method: reqwest::Method,
    address: SocketAddr,
    path: &str,
    body: Option<Value>,
) -> Result<Value> {
    let mut request =
        http_client().request(method, format!("http://{address}{path}")).timeout(Duration::from_secs(10));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.with_context(|| path.to_owned())?;
    if !answer.status().is_success() {
        bail!("{path}: {} {}", answer.status(), answer.text().await?);
    }
    Ok(answer.json().await?)
}
