//! Asks a server for its endpoints and chooses the one a session uses.
//!
//! The answer to `GetEndpoints` is not authenticated. What matters in it is checked against the
//! configuration: the protection must be the configured one, and the certificate a trusted one. The
//! address dialled stays the configured one, because a server announces names that often do not
//! resolve on the gateway's side.

use std::sync::Arc;
use std::time::Duration;

use acquisition::{OpcUaSecurity, SecurityMode};
use opcua::client::transport::{SecureChannelEventLoop, TcpTransport, TransportPollResult};
use opcua::client::{AsyncSecureChannel, ClientBuilder, ClientConfig, IdentityToken, SessionBuilder};
use opcua::core::ResponseMessage;
use opcua::crypto::SecurityPolicy;
use opcua::sync::RwLock;
use opcua::types::{
    DateTime, EndpointDescription, Error, GetEndpointsRequest, MessageSecurityMode, NodeId, RequestHeader,
    StatusCode, UAString, UserTokenType,
};
use tokio::time::timeout;

use crate::access::{Access, no_certificates};
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
pub(crate) fn configuration(
    machine: &str,
    application_uri: &str,
    publishing_interval: Duration,
) -> ClientConfig {
    ClientBuilder::new()
        .application_name("edge-agent")
        .application_uri(application_uri)
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

/// All endpoints of the server at `url`.
pub(crate) async fn list_endpoints(
    config: &ClientConfig,
    url: &str,
) -> Result<Vec<EndpointDescription>, OpcUaError> {
    match timeout(DISCOVERY_LIMIT, get_endpoints(config, url)).await {
        Ok(Ok(offered)) => Ok(offered),
        Ok(Err(cause)) => Err(OpcUaError::Connect { endpoint: url.to_owned(), cause }),
        Err(_) => {
            let step = "its list of endpoints";
            Err(OpcUaError::Deadline { endpoint: url.to_owned(), step, limit: DISCOVERY_LIMIT })
        }
    }
}

/// The endpoint with exactly the configured protection and kind of user, with the address it is
/// reached at.
pub(crate) async fn find_endpoint(
    config: &ClientConfig,
    access: &Access,
) -> Result<EndpointDescription, OpcUaError> {
    choose(list_endpoints(config, &access.endpoint).await?, access)
}

fn choose(offered: Vec<EndpointDescription>, access: &Access) -> Result<EndpointDescription, OpcUaError> {
    let (policy, mode) = protection(&access.security);
    let names: Vec<String> = offered.iter().map(describe).collect();
    let login = if access.user.is_some() { UserTokenType::UserName } else { UserTokenType::Anonymous };
    let fits = |endpoint: &EndpointDescription| {
        endpoint.security_mode == mode
            && SecurityPolicy::from_uri(endpoint.security_policy_uri.as_ref()) == policy
            && endpoint.find_policy(login).is_some()
    };
    match offered.into_iter().find(fits) {
        Some(found) => Ok(EndpointDescription { endpoint_url: UAString::from(&*access.endpoint), ..found }),
        None => Err(OpcUaError::NoEndpoint {
            endpoint: access.endpoint.clone(),
            wanted: format!("{policy}/{mode:?} for {login:?}"),
            offered: names.join(", "),
        }),
    }
}

fn protection(security: &OpcUaSecurity) -> (SecurityPolicy, MessageSecurityMode) {
    match security {
        OpcUaSecurity::None => (SecurityPolicy::None, MessageSecurityMode::None),
        OpcUaSecurity::Protected { policy, mode, .. } => {
            let policy = match policy {
                acquisition::SecurityPolicy::Basic256Sha256 => SecurityPolicy::Basic256Sha256,
                acquisition::SecurityPolicy::Aes128Sha256RsaOaep => SecurityPolicy::Aes128Sha256RsaOaep,
                acquisition::SecurityPolicy::Aes256Sha256RsaPss => SecurityPolicy::Aes256Sha256RsaPss,
            };
            let mode = match mode {
                SecurityMode::Sign => MessageSecurityMode::Sign,
                SecurityMode::SignAndEncrypt => MessageSecurityMode::SignAndEncrypt,
            };
            (policy, mode)
        }
    }
}

/// Protection and kinds of users of an endpoint, for people.
pub(crate) fn describe(endpoint: &EndpointDescription) -> String {
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
        .build_channel(Arc::new(RwLock::new(no_certificates())))?;
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
    use acquisition::{OpcUaUser, ServerTrust};
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

    fn access(security: OpcUaSecurity, user: Option<&str>) -> Access {
        let user = user.map(|name| OpcUaUser { name: name.to_owned(), password_file: "/x".into() });
        Access { endpoint: "opc.tcp://10.0.0.1:4840".to_owned(), security, user }
    }

    fn protected(mode: SecurityMode) -> OpcUaSecurity {
        OpcUaSecurity::Protected {
            policy: acquisition::SecurityPolicy::Basic256Sha256,
            mode,
            trust: ServerTrust::Certificate("/x".into()),
        }
    }

    fn offer() -> Vec<EndpointDescription> {
        let (policy, user) = (SecurityPolicy::Basic256Sha256, UserTokenType::UserName);
        vec![
            endpoint(policy, MessageSecurityMode::SignAndEncrypt, user),
            endpoint(SecurityPolicy::None, MessageSecurityMode::None, UserTokenType::Anonymous),
        ]
    }

    #[test]
    fn the_configured_endpoint_is_chosen_and_dialled_at_the_configured_address() {
        let chosen = choose(offer(), &access(OpcUaSecurity::None, None)).expect("the second");
        assert_eq!(chosen.endpoint_url.as_ref(), "opc.tcp://10.0.0.1:4840");
        assert_eq!(chosen.security_mode, MessageSecurityMode::None);
        let security = protected(SecurityMode::SignAndEncrypt);
        let chosen = choose(offer(), &access(security, Some("operator"))).expect("the first");
        assert_eq!(chosen.security_mode, MessageSecurityMode::SignAndEncrypt);
    }

    #[test]
    fn c10_nothing_less_than_the_configured_protection_is_taken() {
        for (security, user) in [
            (protected(SecurityMode::Sign), Some("operator")),
            (protected(SecurityMode::SignAndEncrypt), None),
            (OpcUaSecurity::None, Some("operator")),
        ] {
            let error = choose(offer(), &access(security, user)).expect_err("not offered").to_string();
            assert!(error.contains("Basic256Sha256/SignAndEncrypt for UserName"), "{error}");
            assert!(error.contains("None/None for Anonymous"), "{error}");
        }
    }
}
