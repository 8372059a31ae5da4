//! Commands to alarms.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use plant_model::{AlarmId, CommandId, GatewayId, MachineId, OperatorAction, TenantId};
use protocol::{Command, Instruction};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::access::{Principal, Scope};
use crate::body::{AlarmCommandRequest, CommandStatus};
use crate::commands::{GiveError, Given, SendError, audit, expiry, outcome_name};
use crate::problem::Problem;
use crate::state::App;

/// Longest comment, in bytes: what a text may have on the wire.
const COMMENT_BYTES_MAX: usize = protocol::limits::TEXT_BYTES_MAX;

/// An alarm in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct AlarmPath {
    /// The tenant
    #[expect(dead_code, reason = "taken from the guard; here for the description")]
    tenant: String,
    /// The gateway
    gateway: String,
    /// The machine
    machine: String,
    /// The alarm of that machine
    alarm: String,
}

impl AlarmPath {
    /// The alarm, if the catalogue of the gateway has it.
    fn find(&self, app: &App, tenant: &TenantId) -> Result<(GatewayId, MachineId, AlarmId), Problem> {
        let gateway = GatewayId::new(&self.gateway).map_err(|_| Problem::not_found())?;
        let machine = MachineId::new(&self.machine).map_err(|_| Problem::not_found())?;
        let alarm = AlarmId::new(&self.alarm).map_err(|_| Problem::not_found())?;
        let is_known = app.outside.live.read(tenant, |view| {
            let machine = view.machine(&gateway, &machine);
            machine.is_some_and(|m| m.definition.alarms.iter().any(|a| a.id == alarm))
        });
        if is_known { Ok((gateway, machine, alarm)) } else { Err(Problem::not_found()) }
    }
}

/// Give a command to an alarm
///
/// The gateway decides; the answer is waited for, at most five seconds. `Idempotency-Key` is the id of the
/// command: the gateway does it once, however often it is given, and an answer that is known is given again.
/// The key is remembered by this backend until 1,000 newer commands of the tenant came or it restarts, and by
/// the gateway for its last 256 commands of the machine.
#[utoipa::path(
    post, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/machines/{machine}/alarms/{alarm}/commands",
    tag = "alarms",
    params(
        AlarmPath,
        ("Idempotency-Key" = String, Header,
         description = "The id of the command, for example a UUID: 1 to 64 characters A-Z a-z 0-9 _ . -, in quotes or not")
    ),
    request_body = AlarmCommandRequest,
    responses(
        (status = 200, body = CommandStatus, description = "The gateway answered: `state` says what"),
        (status = 202, body = CommandStatus, description = "The command left; there is no answer yet"),
        (status = 422, description = "The key was used for another command"),
        (status = 503, description = "The gateway is not connected or too busy; nothing has changed")
    )
)]
pub(crate) async fn give(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Extension(principal): Extension<Principal>,
    Path(path): Path<AlarmPath>,
    headers: HeaderMap,
    body: Result<Json<AlarmCommandRequest>, JsonRejection>,
) -> Result<(StatusCode, Json<CommandStatus>), Problem> {
    let Json(body) = body.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let id = idempotency_key(&headers)?;
    let (gateway, machine, alarm) = path.find(&app, &tenant)?;
    let request = body.request()?;
    if Command::needs_occurrence(&request) && body.occurrence.is_none_or(|n| n == 0) {
        return Err(Problem::invalid("/occurrence", "which activation was seen is needed, from 1"));
    }
    let operation = operation(&principal, id, body.comment)?;
    let issued_at = app.outside.clock.wall();
    let expires_at = expiry(issued_at);
    let occurrence = body.occurrence.filter(|n| *n > 0);
    let command = Command { machine, alarm, occurrence, request, operation, issued_at, expires_at };
    let given = hand_over(&app, &tenant, &gateway, command.into()).await?;
    Ok((status_of(&given), Json(CommandStatus::from(&given).ok_or_else(Problem::not_found)?)))
}

/// The gateway answered, or not yet.
pub(super) fn status_of(given: &Given) -> StatusCode {
    if given.result.is_some() { StatusCode::OK } else { StatusCode::ACCEPTED }
}

/// What a person says about what he does.
pub(super) fn comment(comment: String) -> Result<String, Problem> {
    if comment.len() > COMMENT_BYTES_MAX {
        return Err(Problem::invalid("/comment", format!("at most {COMMENT_BYTES_MAX} bytes are allowed")));
    }
    Ok(comment)
}

/// Who gives the command, and why.
pub(super) fn operation(
    principal: &Principal,
    id: CommandId,
    said: String,
) -> Result<OperatorAction, Problem> {
    let actor = principal.user.name.to_string();
    Ok(OperatorAction { command: id, actor, comment: comment(said)? })
}

/// Gives a command, and says in the audit log who did what and how it ended.
pub(super) async fn hand_over(
    app: &App,
    tenant: &TenantId,
    gateway: &GatewayId,
    command: Instruction,
) -> Result<Given, Problem> {
    let given = app.outside.commands.give(tenant, gateway, command.clone()).await;
    let outcome = match &given {
        Ok(given) => outcome_name(given.result.as_ref().map(|r| &r.outcome)),
        Err(GiveError::IdUsed) => "key_used",
        Err(GiveError::Send(SendError::Offline)) => "gateway_offline",
        Err(GiveError::Send(SendError::Busy)) => "gateway_busy",
    };
    audit(tenant, gateway, &command, outcome, "command given");
    given.map_err(|error| match error {
        GiveError::IdUsed => Problem::key_used(),
        GiveError::Send(SendError::Offline) => Problem::gateway_offline(gateway.as_str()),
        GiveError::Send(SendError::Busy) => Problem::gateway_busy(gateway.as_str()),
    })
}

/// What became of a command to an alarm
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/commands/{command}", tag = "alarms",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("command" = String, Path, description = "Its id: the key under which it was given")
    ),
    responses((status = 200, body = CommandStatus, description = "What is known of it"))
)]
pub(crate) async fn status(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Path(path): Path<(String, String)>,
) -> Result<Json<CommandStatus>, Problem> {
    let id = CommandId::new(&path.1).map_err(|_| Problem::not_found())?;
    let given = app.outside.commands.find(&tenant, &id).ok_or_else(Problem::not_found)?;
    CommandStatus::from(&given).map(Json).ok_or_else(Problem::not_found)
}

/// The key, in the quotes of a structured field (RFC 8941, 3.3.3) or bare.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<CommandId, Problem> {
    const NAME: &str = "Idempotency-Key";
    let mut values = headers.get_all(NAME).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::invalid(
            NAME,
            "the header is needed, once: an id that you make, such as a UUID",
        ));
    };
    let text = value.to_str().unwrap_or_default().trim();
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    CommandId::new(bare).map_err(|error| Problem::invalid(NAME, error.to_string()))
}
