//! `gateway command`: asks a gateway for something over the API of the running backend, as a user with a role. So it is
//! allowed, audited and answered as any command is.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::header::{COOKIE, SET_COOKIE};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Map, Value as Json, json};

use crate::admin::{print, read_password};
use crate::cli::GatewayCommandArgs;

/// How long one request may take: the API waits five seconds for the gateway.
const REQUEST: Duration = Duration::from_secs(30);

/// How long `--wait` waits: what has no answer by then has expired at the gateway.
const WAIT: Duration = Duration::from_secs(70);

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// `gateway command`
pub(crate) async fn run(args: GatewayCommandArgs) -> anyhow::Result<()> {
    let client = Client::builder().timeout(REQUEST).build().context("cannot make an HTTP client")?;
    let base = format!("{}/api/v1", args.url.trim_end_matches('/'));
    let cookie = sign_in(&client, &base, &args).await?;
    let commands = format!("{base}/tenants/{}/gateways/{}/commands", args.which.tenant, args.which.gateway);
    let id = args.id.clone().unwrap_or_else(|| format!("cli-{:032x}", rand::random::<u128>()));
    let post = client.post(&commands).header("x-requested-with", "fetch").header("idempotency-key", &id);
    let mut answer = answered(post.header(COOKIE, &cookie).json(&body(&args))).await?;
    let until = tokio::time::Instant::now() + WAIT;
    while args.wait && answer["state"] == "waiting" && tokio::time::Instant::now() < until {
        tokio::time::sleep(LOOK_AGAIN).await;
        answer = answered(client.get(format!("{commands}/{id}")).header(COOKIE, &cookie)).await?;
    }
    told(&answer, args.json)
}

async fn sign_in(client: &Client, base: &str, args: &GatewayCommandArgs) -> anyhow::Result<String> {
    let credentials = json!({ "username": args.user, "password": read_password()? });
    let request =
        client.post(format!("{base}/session")).header("x-requested-with", "fetch").json(&credentials);
    let answer =
        request.send().await.with_context(|| format!("the backend at {} does not answer", args.url))?;
    if answer.status() != StatusCode::OK && answer.status() != StatusCode::CREATED {
        bail!("{} cannot sign in at {}: {}", args.user, args.url, problem(answer).await);
    }
    let cookie = answer.headers().get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok());
    let cookie = cookie.and_then(|cookie| cookie.split(';').next());
    cookie.map(str::to_owned).context("the backend gave no session")
}

/// The fields that were given; the API says which an action needs.
fn body(args: &GatewayCommandArgs) -> Json {
    let mut body = Map::new();
    body.insert("action".to_owned(), args.verb.as_str().into());
    body.insert("comment".to_owned(), args.comment.as_str().into());
    let texts = [
        ("machine", &args.machine),
        ("tag", &args.tag),
        ("stream", &args.stream),
        ("version", &args.to_version),
    ];
    for (name, text) in texts {
        body.extend(text.as_ref().map(|text| (name.to_owned(), Json::from(text.as_str()))));
    }
    body.extend(args.first.map(|first| ("first".to_owned(), first.into())));
    body.extend(args.last.map(|last| ("last".to_owned(), last.into())));
    body.extend(args.value.as_deref().map(|text| ("value".to_owned(), value(text))));
    body.into()
}

/// A truth value or a number as JSON writes them; everything else is a text.
fn value(text: &str) -> Json {
    match serde_json::from_str(text) {
        Ok(value @ (Json::Bool(_) | Json::Number(_))) => value,
        Ok(Json::Null | Json::String(_) | Json::Array(_) | Json::Object(_)) | Err(_) => text.into(),
    }
}

async fn answered(request: RequestBuilder) -> anyhow::Result<Json> {
    let answer = request.send().await.context("the backend does not answer")?;
    if !answer.status().is_success() {
        bail!("the backend refuses: {}", problem(answer).await);
    }
    answer.json().await.context("the backend's answer is no JSON")
}

/// What is wrong, in the words of the API.
async fn problem(answer: reqwest::Response) -> String {
    let status = answer.status();
    let body: Json = answer.json().await.unwrap_or_default();
    let field = body["errors"][0]["pointer"]
        .as_str()
        .map(|pointer| format!(" ({pointer}: {})", body["errors"][0]["detail"].as_str().unwrap_or_default()));
    let detail = body["detail"].as_str().map_or_else(|| status.to_string(), str::to_owned);
    format!("{detail}{}", field.unwrap_or_default())
}

/// Prints what became of it; what was not done is a failure.
fn told(answer: &Json, as_json: bool) -> anyhow::Result<()> {
    let text = |field: &str| answer[field].as_str().unwrap_or_default();
    let id = text("id");
    if as_json {
        print(&format!("{answer}\n"))?;
    }
    match text("state") {
        "done" if as_json => Ok(()),
        "done" => {
            let before = if answer["repeated"] == true { " (it was done before)" } else { "" };
            print(&format!("{id}: done{before}\n{}\n", text("output")))
        }
        "refused" => bail!("{id}: the gateway refused: {}", text("reason")),
        "expired" => bail!("{id}: it came too late by the clock of the gateway; nothing has changed"),
        _ => bail!("{id}: there is no answer yet; ask again with --id {id} --wait"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_truth_values_are_told_from_texts() {
        assert_eq!([value("41.5"), value("-3"), value("true")], [json!(41.5), json!(-3), json!(true)]);
        assert_eq!(
            [value("CAP-28"), value("[1]"), value("null")],
            [json!("CAP-28"), json!("[1]"), json!("null")]
        );
    }
}
