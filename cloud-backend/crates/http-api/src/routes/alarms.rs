//! Alarms and their journal.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::Uri;
use fleet::{AlarmFilter, Cursor};

use crate::access::Scope;
use crate::body::{Alarm, Page, Transition};
use crate::params::Params;
use crate::problem::Problem;
use crate::state::App;

/// Most entries of one page: more than a screen, less than a second of work.
const LIMIT_MAX: u32 = 500;
const LIMIT_DEFAULT: u32 = 100;

/// Alarms of a tenant, the last raised first
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/alarms", tag = "alarms",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("state" = Option<String>, Query, description = "`active` (default), `hidden` (shelved, suppressed by design or out of service) or `all`"),
        ("limit" = Option<u32>, Query, description = "1 to 500, default 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")
    ),
    responses((status = 200, body = Page<Alarm>, description = "A page of alarms"))
)]
pub(crate) async fn alarms(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    uri: Uri,
) -> Result<Json<Page<Alarm>>, Problem> {
    let params = Params::read(&uri, &["state", "limit", "cursor"])?;
    let filter = match params.one("state")? {
        None | Some("active") => AlarmFilter::Active,
        Some("hidden") => AlarmFilter::Hidden,
        Some("all") => AlarmFilter::All,
        Some(_) => return Err(Problem::invalid("state", "allowed: active, hidden, all")),
    };
    let (limit, before) = place(&params)?;
    let rows = app.outside.fleet.alarms(&tenant, filter, limit + 1, before).await?;
    Ok(Json(page(rows, limit, |(_, cursor)| *cursor, |(row, _)| Alarm::from(row))))
}

/// The journal of alarm transitions of a tenant, the last decided first
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/alarms/transitions", tag = "alarms",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("limit" = Option<u32>, Query, description = "1 to 500, default 100"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before")
    ),
    responses((status = 200, body = Page<Transition>, description = "A page of the journal"))
)]
pub(crate) async fn transitions(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    uri: Uri,
) -> Result<Json<Page<Transition>>, Problem> {
    let (limit, before) = place(&Params::read(&uri, &["limit", "cursor"])?)?;
    let rows = app.outside.fleet.journal(&tenant, limit + 1, before).await?;
    let body = |row: &fleet::JournalRow| Transition::new(&row.gateway, &row.transition, Some(row.stored_at));
    Ok(Json(page(rows, limit, |row| row.cursor, body)))
}

fn place(params: &Params) -> Result<(u32, Option<Cursor>), Problem> {
    let limit = params.number("limit", 1, LIMIT_MAX)?.unwrap_or(LIMIT_DEFAULT);
    let cursor = params.one("cursor")?.map(str::parse::<Cursor>).transpose();
    Ok((limit, cursor.map_err(|error| Problem::invalid("cursor", error.to_string()))?))
}

/// A page of at most `limit` rows; one row more in `rows` says that there is a next page.
fn page<R, T>(rows: Vec<R>, limit: u32, cursor: impl Fn(&R) -> Cursor, body: impl Fn(&R) -> T) -> Page<T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let shown = &rows[..rows.len().min(limit)];
    let next_cursor = if rows.len() > limit { shown.last().map(|row| cursor(row).to_string()) } else { None };
    Page { items: shown.iter().map(body).collect(), next_cursor }
}

#[cfg(test)]
mod tests {
    use plant_model::Timestamp;

    use super::*;

    #[test]
    fn a_page_names_the_next_only_when_there_is_one() {
        let page_of = |rows: Vec<i64>| {
            page(rows, 2, |row| Cursor { at: Timestamp::from_micros(*row), id: 7 }, |row| *row)
        };
        assert_eq!(page_of(vec![]).next_cursor, None);
        assert_eq!(page_of(vec![9, 8]).next_cursor, None);
        let full = page_of(vec![9, 8, 5]);
        assert_eq!((full.items, full.next_cursor.as_deref()), (vec![9, 8], Some("8.7")));
    }
}
