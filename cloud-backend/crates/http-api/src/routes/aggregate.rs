//! Figures of tags of a machine.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use history::{Budget, Function, Subject};
use jiff::tz::TimeZone;

use super::fleet::MachinePath;
use super::samples::{lost, range, tags};
use crate::access::Scope;
use crate::body::{FigureSeries, Figures};
use crate::calendar::{Width, boundaries};
use crate::history::{Question, headers};
use crate::params::Params;
use crate::problem::Problem;
use crate::state::App;

/// Figures of some tags of a machine in stretches of `[start, end)`
///
/// Exact from whatever tier, and unless `provenance.exact` says otherwise what the samples themselves would say. A good
/// value is in force until the next sample, at most ten minutes. States and counters have no mean and no sum: that is
/// refused with what to ask for instead. Stretches that follow one another add up.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/machines/{machine}/aggregate", tag = "fleet",
    params(
        MachinePath,
        ("tag" = Vec<String>, Query, explode, description = "1 to 50 tags, repeated"),
        ("start" = String, Query, description = "RFC 3339; from here on"),
        ("end" = String, Query, description = "RFC 3339; up to and without this instant"),
        ("function" = Vec<String>, Query, explode, description = "count, min, max, mean, sum, first, last, increase, \
            time_in_state; repeated. Tags of every kind have count, first and last"),
        ("width" = Option<String>, Query, description = "A number and s, m or h: equal stretches from the start on; or \
            day, week, month of the calendar; all in one without it"),
        ("time_zone" = Option<String>, Query, description = "Whose days, weeks and months: a name of the time zone \
            database, for example Europe/Berlin; UTC without it")
    ),
    responses((status = 200, body = Figures, description = "The figures"))
)]
pub(crate) async fn aggregate(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Path(path): Path<MachinePath>,
    uri: Uri,
) -> Result<Response, Problem> {
    let (gateway, machine) = path.find(&app, &tenant)?;
    let params = Params::read(&uri, &["tag", "start", "end", "function", "width", "time_zone"])?;
    let subject = Subject { tenant, gateway, machine, tags: tags(&params)? };
    let range = range(&params)?;
    let functions = functions(&params)?;
    let boundaries = boundaries(&range, width(&params)?, &zone(&params)?)?;
    let question = Question { subject, range: range.clone(), budget: Budget::INTERACTIVE };
    let lost = lost(&app, &question).await?;
    let asked = functions.clone();
    let (found, took) = app
        .outside
        .history
        .ask(question, async move |reader| reader.figures(&boundaries, &asked).await)
        .await?;
    let series = found.tags.into_iter().map(|(tag, stretches)| FigureSeries::new(tag, stretches, &functions));
    let body = Figures {
        start: range.start.into(),
        end: range.end.into(),
        series: series.collect(),
        lost,
        provenance: (&found.report).into(),
    };
    Ok((headers(&found.report, took), Json(body)).into_response())
}

fn functions(params: &Params) -> Result<Vec<Function>, Problem> {
    let names = Function::ALL.map(Function::name).join(", ");
    let mut functions = Vec::new();
    for name in params.all("function") {
        let known = Function::from_name(name);
        let wrong = || Problem::invalid("function", format!("there is no such function; allowed: {names}"));
        functions.push(known.ok_or_else(wrong)?);
    }
    functions.dedup();
    if functions.is_empty() {
        return Err(Problem::invalid("function", format!("at least one is needed, of: {names}")));
    }
    Ok(functions)
}

fn width(params: &Params) -> Result<Width, Problem> {
    let wrong = "a number and s, m or h, for example 15m, or day, week, month";
    params
        .one("width")?
        .map_or(Ok(Width::Whole), |text| Width::parse(text).ok_or_else(|| Problem::invalid("width", wrong)))
}

fn zone(params: &Params) -> Result<TimeZone, Problem> {
    let wrong =
        |_| Problem::invalid("time_zone", "no time zone is known by this name; for example Europe/Berlin");
    params.one("time_zone")?.map_or(Ok(TimeZone::UTC), |name| TimeZone::get(name).map_err(wrong))
}
