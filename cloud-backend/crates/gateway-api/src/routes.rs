//! Enrolment, renewal, identity; and which gateway it is that asks.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use plant_model::{GatewayId, TenantId, Timestamp};
use protocol::limits::REPORT_BYTES_MAX;
use protocol::{
    CONFIGURATION_PATH, Certified, ENROL_PATH, Enrolment, EnrolmentRequest, IDENTITY_PATH, Identity,
    RENEW_PATH, REPORT_PATH, RenewalRequest, UPDATE_PATH, UPDATE_REPORT_PATH,
};
use rollouts::RolloutStore;
use service_kit::Clock;
use tenancy::{
    ConfigurationStore, EnrolmentRefusal, GatewayCertificate, RenewalRefusal, TenancyStore, TokenDigest,
    check_renewal,
};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::configuration::{fetch, report};
use crate::problem::Problem;
use crate::update;
use crate::{Certifier, Presented, Signed};

/// Bytes of a request: a certificate request and little else.
const BODY_BYTES_MAX: usize = 32 * 1024;
/// What a wrong code costs the caller.
const WRONG_CODE_PAUSE: Duration = Duration::from_secs(1);
/// Time for an answer; the store is asked three times at most.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Where gateways reach the MQTT endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The host, if it is not the one by which this API is reached.
    pub host: Option<String>,
    /// The port.
    pub port: u16,
}

/// What the API works with. Cheap to clone.
#[derive(Clone)]
pub struct GatewayApi {
    /// Invitations and certificates.
    pub store: Arc<dyn TenancyStore>,
    /// What gateways are to run, and what they say about it.
    pub configurations: Arc<dyn ConfigurationStore>,
    /// Which versions gateways are to run, and what they say about it.
    pub updates: Arc<dyn RolloutStore>,
    /// The certificate authority.
    pub certifier: Arc<dyn Certifier>,
    /// What enrolled gateways are told.
    pub mqtt: Reach,
    /// Called when certificates were revoked.
    pub revoked: Arc<dyn Fn() + Send + Sync>,
    /// Called when a gateway said something new about its version.
    pub updated: Arc<dyn Fn() + Send + Sync>,
    /// The time.
    pub clock: Clock,
}

/// The certificate of the connection, DER, if the caller presented one.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerCertificate(pub(crate) Option<Arc<[u8]>>);

pub(crate) fn router(api: GatewayApi) -> Router {
    Router::new()
        .route(ENROL_PATH, post(enrol))
        .route(RENEW_PATH, post(renew))
        .route(IDENTITY_PATH, get(identity))
        .route(CONFIGURATION_PATH, get(fetch))
        .route(UPDATE_PATH, get(update::fetch))
        .route(UPDATE_REPORT_PATH, put(update::report))
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .route(REPORT_PATH, put(report).layer(DefaultBodyLimit::max(REPORT_BYTES_MAX)))
        .fallback(|| async { Problem::not_found() })
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, ANSWER_DEADLINE))
        .with_state(api)
}

pub(crate) type Body<T> = Result<Json<T>, JsonRejection>;

pub(crate) fn body<T>(body: Body<T>) -> Result<T, Problem> {
    body.map(|Json(body)| body).map_err(|rejection| Problem::malformed(rejection.body_text()))
}

async fn enrol(
    State(api): State<GatewayApi>,
    request: Body<EnrolmentRequest>,
) -> Result<Json<Enrolment>, Problem> {
    let request = body(request)?;
    if !api.certifier.is_pinned_by(&request.code) {
        return Err(Problem::other_installation());
    }
    let (code, now) = (TokenDigest(request.code.digest()), api.clock.wall());
    let Some(invitation) = api.store.find_invitation(code).await? else {
        tokio::time::sleep(WRONG_CODE_PAUSE).await;
        return Err(EnrolmentRefusal::Unknown.into());
    };
    invitation.check(now)?;
    let (tenant, gateway) = (&invitation.tenant, &invitation.gateway);
    let becomes = format!("{tenant}/{gateway}");
    if let Some(expected) = request.expected.filter(|expected| *expected != becomes) {
        return Err(Problem::other_gateway(&becomes, &expected));
    }
    let signed = api.certifier.sign(tenant, gateway, &request.certificate_request)?;
    api.store.enrol(code, noted(tenant, gateway, &signed, now)).await??;
    tracing::info!(tenant.id = %tenant, gateway.id = %gateway, serial = signed.serial,
        agent.version = request.agent_version, "a gateway is enrolled");
    (api.revoked)();
    Ok(Json(Enrolment {
        tenant: tenant.to_string(),
        gateway: gateway.to_string(),
        mqtt_host: api.mqtt.host.clone(),
        mqtt_port: api.mqtt.port,
        identity: certified(signed, now),
    }))
}

async fn renew(
    State(api): State<GatewayApi>,
    Extension(peer): Extension<PeerCertificate>,
    request: Body<RenewalRequest>,
) -> Result<Json<Certified>, Problem> {
    let presented = api.presented(&peer).await?;
    let request = body(request)?;
    let (tenant, gateway) = (&presented.tenant, &presented.gateway);
    let now = api.clock.wall();
    let signed = api.certifier.sign(tenant, gateway, &request.certificate_request)?;
    api.store.add_certificate(noted(tenant, gateway, &signed, now)).await?;
    tracing::info!(tenant.id = %tenant, gateway.id = %gateway, serial = signed.serial,
        agent.version = request.agent_version, "a gateway's certificate is renewed");
    Ok(Json(certified(signed, now)))
}

async fn identity(
    State(api): State<GatewayApi>,
    Extension(peer): Extension<PeerCertificate>,
) -> Result<Json<Identity>, Problem> {
    let presented = api.presented(&peer).await?;
    Ok(Json(Identity {
        tenant: presented.tenant.to_string(),
        gateway: presented.gateway.to_string(),
        expires_at: presented.expires_at.micros(),
        now: api.clock.wall().micros(),
    }))
}

impl GatewayApi {
    /// The gateway that presented a certificate, if it may go on with it.
    async fn presented(&self, peer: &PeerCertificate) -> Result<Presented, Problem> {
        let certificate = peer.0.as_deref().ok_or_else(Problem::no_certificate)?;
        let presented = self.certifier.read(certificate).map_err(Problem::no_gateway)?;
        let (tenant, gateway) = (&presented.tenant, &presented.gateway);
        if !self.store.registered_gateways(tenant).await?.contains(gateway) {
            return Err(RenewalRefusal::NotRegistered.into());
        }
        let known = self.store.certificates(tenant, gateway).await?;
        let known = known.iter().find(|known| known.serial == presented.serial);
        check_renewal(known, presented.expires_at, self.clock.wall())?;
        Ok(presented)
    }

    /// The gateway that presented a certificate which is good now.
    pub(crate) async fn presented_now(&self, peer: &PeerCertificate) -> Result<Presented, Problem> {
        let presented = self.presented(peer).await?;
        if presented.expires_at <= self.clock.wall() {
            return Err(Problem::expired(presented.expires_at));
        }
        Ok(presented)
    }
}

fn certified(signed: Signed, now: Timestamp) -> Certified {
    Certified {
        certificate: signed.chain_pem,
        roots: signed.roots_pem,
        expires_at: signed.expires_at.micros(),
        now: now.micros(),
    }
}

fn noted(tenant: &TenantId, gateway: &GatewayId, signed: &Signed, now: Timestamp) -> GatewayCertificate {
    GatewayCertificate {
        tenant: tenant.clone(),
        gateway: gateway.clone(),
        serial: signed.serial.clone(),
        issued_at: now,
        expires_at: signed.expires_at,
        revoked_at: None,
    }
}
