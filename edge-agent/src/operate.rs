//! Alarm commands from the status page, for the technician who stands in front of the machine.
//!
//! Off unless `status.alarm_commands` says so: the page has no sign-in, whoever can reach the loopback
//! address of this gateway may use it, and the journal has the name that was typed in, marked as `local:`.
//!
//! What another site makes a browser send is refused: a form that changes something must come from a page
//! of this very address (`Origin`), under a name of this gateway itself (`Host`; else a foreign name that
//! resolves to loopback would do).

use std::sync::Arc;
use std::time::Duration;

use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use plant_model::{AlarmCommand, AlarmId, CommandId, MachineId, OperatorAction, Timestamp};
use protocol::{Command, CommandOutcome, CommandResult};
use serde::Deserialize;
use tokio::sync::oneshot;

use crate::page;
use crate::status::Observed;

/// What carrying out may take: microseconds, unless the drivers' scheduler hangs.
const ANSWER: Duration = Duration::from_secs(5);

/// A form is answered at once; what waited longer is not wanted any more.
const LIFETIME: Duration = Duration::from_secs(60);

/// The longest time that can be typed in: a week. The definition of the alarm sets the real limit.
const MINUTES_MAX: u64 = 7 * 24 * 60;

/// A form as the browser sends it: every field is there, perhaps empty.
#[derive(Debug, Deserialize)]
pub(crate) struct Fields {
    /// Made with the page, so that sending it twice does it once.
    id: String,
    verb: String,
    #[serde(default)]
    occurrence: String,
    #[serde(default)]
    minutes: String,
    #[serde(default)]
    actor: String,
    #[serde(default)]
    comment: String,
}

/// The form for one alarm.
pub(crate) async fn form(
    State(observed): State<Arc<Observed>>,
    Path((machine, alarm)): Path<(String, String)>,
) -> Response {
    let found = observed.board.machine(&machine);
    let Some(((definition, standing), machine)) = found.as_ref().and_then(|m| Some((m.alarm(&alarm)?, m)))
    else {
        let text = format!("there is no alarm {alarm} of a machine {machine}; / lists all\n");
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let id = format!("local-{:032x}", rand::random::<u128>());
    page::guarded(page::operate(machine, definition, standing.as_ref(), &id)).into_response()
}

/// Carries out what a form asks for.
pub(crate) async fn submit(
    State(observed): State<Arc<Observed>>,
    Path((machine, alarm)): Path<(String, String)>,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Response {
    if !is_own_page(&headers) {
        let text = "a command must come from the status page of this gateway, opened under 127.0.0.1, [::1] or localhost\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    let command = match read(&machine, &alarm, &fields, observed.clock.wall()) {
        Ok(command) => command,
        Err(wrong) => return told(StatusCode::BAD_REQUEST, &wrong),
    };
    let (reply, answer) = oneshot::channel();
    // The browser may have gone; then nobody reads the answer.
    observed.desk.give(command, Box::new(move |result| drop(reply.send(result))));
    match tokio::time::timeout(ANSWER, answer).await {
        Ok(Ok(result)) => shown(&result),
        Ok(Err(_)) | Err(_) => told(
            StatusCode::SERVICE_UNAVAILABLE,
            "there is no answer: look at the alarm before you try again",
        ),
    }
}

fn shown(result: &CommandResult) -> Response {
    match &result.outcome {
        CommandOutcome::Done if result.repeated => told(StatusCode::OK, "It was done before."),
        CommandOutcome::Done => told(StatusCode::OK, "Done."),
        CommandOutcome::Refused { reason } => told(StatusCode::CONFLICT, reason),
        CommandOutcome::Expired => told(StatusCode::CONFLICT, "it came too late; nothing has changed"),
    }
}

fn told(status: StatusCode, text: &str) -> Response {
    (status, page::guarded(page::answer(text))).into_response()
}

/// Whether a form comes from a page of ours.
pub(crate) fn is_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(host), Some(origin)) = (text(header::HOST), text(header::ORIGIN)) else { return false };
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(n, _)| n);
    let is_loopback = ["127.0.0.1", "[::1]", "localhost"].contains(&name);
    is_loopback && origin.strip_prefix("http://") == Some(host)
}

/// The command that a form asks for, or what is wrong with it.
fn read(machine: &str, alarm: &str, fields: &Fields, now: Timestamp) -> Result<Command, String> {
    let wrong = |error: plant_model::IdError| error.to_string();
    let name = fields.actor.trim();
    if name.is_empty() {
        return Err("your name is missing".to_owned());
    }
    let occurrence = match fields.occurrence.as_str() {
        "" => None,
        number => Some(number.parse().map_err(|_| format!("occurrence {number:?} is no whole number"))?),
    };
    let command = Command {
        machine: MachineId::new(machine).map_err(wrong)?,
        alarm: AlarmId::new(alarm).map_err(wrong)?,
        occurrence,
        request: request(fields)?,
        operation: OperatorAction {
            command: CommandId::new(&fields.id).map_err(wrong)?,
            actor: format!("local:{name}"),
            comment: fields.comment.trim().to_owned(),
        },
        issued_at: now,
        expires_at: now.plus(LIFETIME),
    };
    // The same limits as for a command that came from far away.
    Command::decode(&command.encode()).map_err(|error| error.to_string())
}

fn request(fields: &Fields) -> Result<AlarmCommand, String> {
    Ok(match fields.verb.as_str() {
        "acknowledge" => AlarmCommand::Acknowledge,
        "reset" => AlarmCommand::Reset,
        "shelve" => AlarmCommand::Shelve { duration: minutes(&fields.minutes)? },
        "unshelve" => AlarmCommand::Unshelve,
        "take_out_of_service" => AlarmCommand::TakeOutOfService { review_at: None },
        "return_to_service" => AlarmCommand::ReturnToService,
        other => return Err(format!("there is no command {other:?}")),
    })
}

fn minutes(text: &str) -> Result<Duration, String> {
    let number = text.trim().parse::<u64>().ok().filter(|n| (1..=MINUTES_MAX).contains(n));
    let number =
        number.ok_or_else(|| format!("{text:?} is no whole number of minutes from 1 to {MINUTES_MAX}"))?;
    Ok(Duration::from_secs(number * 60))
}

/// A page of ours: it loads nothing, runs nothing, is shown in no frame and sends forms only here.
pub(crate) type Page = ([(header::HeaderName, &'static str); 1], Html<String>);

#[cfg(test)]
mod tests;
