//! Asks a server for its endpoints and chooses the one a session uses.
//!
//! The answer to `GetEndpoints` is not authenticated. It is only used to learn what the server calls
//! its anonymous login; the address dialled stays the configured one, because a server announces
//! names that often do not resolve on the gateway's side.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use opcua::client::transport::{SecureChannelEventLoop, TcpTransport, TransportPollResult};
use opcua::client::{AsyncSecureChannel, ClientBuilder, ClientConfig, IdentityToken, SessionBuilder};
use opcua::core::ResponseMessage;
use opcua::crypto::{CertificateStore, SecurityPolicy};
use opcua::sync::RwLock;
use opcua::types::{
    DateTime, EndpointDescription, Error, GetEndpointsRequest, MessageSecurityMode, NodeId, RequestHeader,
    StatusCode, UAString, UserTokenType,
};
use tokio::time::timeout;

use crate::connector::DeadlineConnector;
use crate::error::OpcUaError;

/// What discovery may take, from the connection to its end.
const DISCOVERY_LIMIT: Duration = Duration::from_secs(4);

/// What one request may take.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// How long a server keeps a session whose client vanished, in milliseconds: short, because small
/// servers allow few sessions and an abandoned one blocks its successor.
const SESSION_TIMEOUT_MS: u32 = 20_000;

/// The library's settings for one machine: its own reconnecting is off, and times are not corrected
/// by the server's clock (the library does that when told to ignore a clock skew).
pub(crate) fn configuration(machine: &str, publishing_interval: Duration) -> ClientConfig {
    ClientBuilder::new()
        .application_name("edge-agent")
        .application_uri("urn:edge-agent")
        .product_uri("urn:edge-agent")
        .session_name(format!("edge-agent {machine}"))
        .session_timeout(SESSION_TIMEOUT_MS)
        .session_retry_limit(0)
        .recreate_subscriptions(false)
        .ignore_clock_skew(false)
        .request_timeout(REQUEST_LIMIT)
        .min_publish_interval(publishing_interval)
        .into_config()
}

/// A store without certificates: security None needs none, and nothing is read or written.
pub(crate) fn no_certificates() -> Arc<RwLock<CertificateStore>> {
    Arc::new(RwLock::new(CertificateStore::new(Path::new("/nonexistent"))))
}

/// The endpoint for security None and anonymous users, with the address it is reached at.
pub(crate) async fn find_endpoint(
    config: &ClientConfig,
    url: &str,
) -> Result<EndpointDescription, OpcUaError> {
    let offered = match timeout(DISCOVERY_LIMIT, get_endpoints(config, url)).await {
        Ok(Ok(offered)) => offered,
        Ok(Err(cause)) => return Err(OpcUaError::Connect { endpoint: url.to_owned(), cause }),
        Err(_) => {
            let step = "its list of endpoints";
            return Err(OpcUaError::Deadline { endpoint: url.to_owned(), step, limit: DISCOVERY_LIMIT });
        }
    };
    choose(offered, url)
}

fn choose(offered: Vec<EndpointDescription>, url: &str) -> Result<EndpointDescription, OpcUaError> {
    let names: Vec<String> = offered.iter().map(describe).collect();
    match offered.into_iter().find(is_open) {
        Some(found) => Ok(EndpointDescription { endpoint_url: UAString::from(url), ..found }),
        None => Err(OpcUaError::NoEndpoint { endpoint: url.to_owned(), offered: names.join(", ") }),
    }
}

fn is_open(endpoint: &EndpointDescription) -> bool {
    endpoint.security_mode == MessageSecurityMode::None
        && SecurityPolicy::from_uri(endpoint.security_policy_uri.as_ref()) == SecurityPolicy::None
        && endpoint.find_policy(UserTokenType::Anonymous).is_some()
}

fn describe(endpoint: &EndpointDescription) -> String {
    let policy = SecurityPolicy::from_uri(endpoint.security_policy_uri.as_ref());
    let logins =
        endpoint.user_identity_tokens.iter().flatten().map(|token| format!("{:?}", token.token_type));
    format!("{policy}/{:?} for {}", endpoint.security_mode, logins.collect::<Vec<_>>().join("+"))
}

/// Uses a channel of its own, which it closes.
async fn get_endpoints(config: &ClientConfig, url: &str) -> Result<Vec<EndpointDescription>, Error> {
    let channel = SessionBuilder::new(config)
        .user_identity_token(IdentityToken::Anonymous)
        .connect_to_endpoint_directly(EndpointDescription::from(url))?
        .build_channel(no_certificates())?;
    let mut events = channel.connect_no_retry(&DeadlineConnector { url: url.to_owned() }).await?;
    let endpoints = tokio::select! {
        answer = ask(&channel, url) => answer?,
        status = until_closed(&mut events) => return Err(Error::new(status, "closed while it was asked")),
    };
    channel.close_channel().await;
    until_closed(&mut events).await;
    Ok(endpoints)
}

async fn ask(channel: &AsyncSecureChannel, url: &str) -> Result<Vec<EndpointDescription>, Error> {
    let request = GetEndpointsRequest {
        request_header: RequestHeader::new(&NodeId::null(), &DateTime::now(), channel.request_handle()),
        endpoint_url: UAString::from(url),
        locale_ids: None,
        profile_uris: None,
    };
    let response = channel.send(request, REQUEST_LIMIT).await?;
    let status = response.response_header().service_result;
    if status.is_bad() {
        return Err(Error::new(status, "the list of endpoints was refused"));
    }
    let ResponseMessage::GetEndpoints(answer) = response else {
        return Err(Error::new(StatusCode::BadUnknownResponse, "the answer is no list of endpoints"));
    };
    Ok(answer.endpoints.unwrap_or_default())
}

async fn until_closed(events: &mut SecureChannelEventLoop<TcpTransport>) -> StatusCode {
    loop {
        if let TransportPollResult::Closed(status) = events.poll().await {
            return status;
        }
    }
}

#[cfg(test)]
mod tests {
    use opcua::types::UserTokenPolicy;

    use super::*;

    fn endpoint(
        policy: SecurityPolicy,
        mode: MessageSecurityMode,
        login: UserTokenType,
    ) -> EndpointDescription {
        EndpointDescription {
            endpoint_url: "opc.tcp://announced-name:4840/".into(),
            security_policy_uri: policy.to_uri().into(),
            security_mode: mode,
            user_identity_tokens: Some(vec![UserTokenPolicy { token_type: login, ..Default::default() }]),
            ..Default::default()
        }
    }

    #[test]
    fn the_open_endpoint_is_chosen_and_dialled_at_the_configured_address() {
        let secure = endpoint(
            SecurityPolicy::Basic256Sha256,
            MessageSecurityMode::SignAndEncrypt,
            UserTokenType::Anonymous,
        );
        let open = endpoint(SecurityPolicy::None, MessageSecurityMode::None, UserTokenType::Anonymous);
        let chosen = choose(vec![secure, open], "opc.tcp://10.0.0.1:4840").expect("the second");
        assert_eq!(chosen.endpoint_url.as_ref(), "opc.tcp://10.0.0.1:4840");
        assert_eq!(chosen.security_mode, MessageSecurityMode::None);
    }

    #[test]
    fn a_server_without_an_open_endpoint_is_refused_and_what_it_offers_named() {
        let login = endpoint(SecurityPolicy::None, MessageSecurityMode::None, UserTokenType::UserName);
        let error = choose(vec![login], "opc.tcp://plc:4840").expect_err("anonymous is not allowed");
        assert!(error.to_string().contains("for UserName"), "{error}");
    }
}
