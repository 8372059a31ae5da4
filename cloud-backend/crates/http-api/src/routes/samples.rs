//! Samples of a machine over a range of time.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::Uri;
use fleet::{SampleQuery, Shape};
use plant_model::{GatewayId, MachineId, TagId, Timestamp};

use super::fleet::MachinePath;
use crate::access::Scope;
use crate::body::Samples;
use crate::instant;
use crate::params::Params;
use crate::problem::Problem;
use crate::state::App;

/// Most raw samples of one answer: about 4 MB of JSON.
const RAW_SAMPLES_MAX: usize = 200_000;
/// Most tags of one answer: a chart shows six, an export of a machine some twenty.
const TAGS_MAX: usize = 50;
/// Bounds of the number of points: fewer say nothing, more than pixels show nothing.
const POINTS: (usize, usize) = (10, 5_000);

/// Samples of some tags of a machine in `[start, end)`
///
/// With `points`, tags that are plotted as a line are reduced to the least, the greatest and the last value
/// of so many stretches of equal length; states, truth values and texts are never reduced.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/machines/{machine}/samples", tag = "fleet",
    params(
        MachinePath,
        ("tag" = Vec<String>, Query, explode, description = "1 to 50 tags, repeated"),
        ("start" = String, Query, description = "RFC 3339; from here on"),
        ("end" = String, Query, description = "RFC 3339; up to and without this instant"),
        ("points" = Option<usize>, Query, description = "10 to 5000; raw samples, at most 200,000, without it")
    ),
    responses((status = 200, body = Samples, description = "The samples"))
)]
pub(crate) async fn samples(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Path(path): Path<MachinePath>,
    uri: Uri,
) -> Result<Json<Samples>, Problem> {
    let (gateway, machine) = path.find(&app, &tenant)?;
    let query = query(gateway, machine, &Params::read(&uri, &["tag", "start", "end", "points"])?)?;
    let (start, end) = (query.start.into(), query.end.into());
    let set = app.outside.fleet.samples(&tenant, query).await?;
    let series = set.tags.into_iter().map(Into::into).collect();
    Ok(Json(Samples { start, end, series, truncated: set.truncated }))
}

fn query(gateway: GatewayId, machine: MachineId, params: &Params) -> Result<SampleQuery, Problem> {
    let (start, end) = (time(params, "start")?, time(params, "end")?);
    if start >= end {
        return Err(Problem::invalid("end", "must be after start"));
    }
    let points = params.number("points", POINTS.0, POINTS.1)?;
    let shape = points.map_or(Shape::Raw, Shape::Buckets);
    Ok(SampleQuery { gateway, machine, tags: tags(params)?, start, end, shape, limit: RAW_SAMPLES_MAX })
}

fn time(params: &Params, name: &str) -> Result<Timestamp, Problem> {
    let text = params.one(name)?.unwrap_or_default();
    let wrong = || Problem::invalid(name, "an RFC 3339 instant is needed, for example 2026-11-22T15:00:00Z");
    instant::parse(text).ok_or_else(wrong)
}

fn tags(params: &Params) -> Result<Vec<TagId>, Problem> {
    let mut seen = HashSet::new();
    let mut tags = Vec::new();
    for text in params.all("tag") {
        let tag = TagId::new(text).map_err(|error| Problem::invalid("tag", error.to_string()))?;
        if seen.insert(tag.clone()) {
            tags.push(tag);
        }
    }
    if (1..=TAGS_MAX).contains(&tags.len()) {
        Ok(tags)
    } else {
        Err(Problem::invalid("tag", format!("{} tags are given; 1 to {TAGS_MAX} are allowed", tags.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SampleQuery, Problem> {
        let uri = format!("/x?{text}").parse().expect("an address");
        let params = Params::read(&uri, &["tag", "start", "end", "points"])?;
        query(GatewayId::new("g").expect("valid"), MachineId::new("m").expect("valid"), &params)
    }

    #[test]
    fn a_query_keeps_the_order_of_its_tags_and_names_each_once() {
        let query = read("tag=b&tag=a&tag=b&start=1970-01-01T00:00:00Z&end=1970-01-01T00:00:01Z&points=10")
            .expect("good");
        assert_eq!(query.tags.iter().map(TagId::as_str).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(query.shape, Shape::Buckets(10));
        assert_eq!((query.start.micros(), query.end.micros()), (0, 1_000_000));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let range = "start=1970-01-01T00:00:00Z&end=1970-01-01T00:00:01Z";
        let many: String = (0..51).map(|n| format!("&tag=t{n}")).collect();
        for bad in [
            range.to_owned(),
            format!("tag=a%20b&{range}"),
            format!("tag=a&{range}&points=9"),
            format!("tag=a&{range}&points=5001"),
            "tag=a&start=1970-01-01T00:00:01Z&end=1970-01-01T00:00:01Z".to_owned(),
            "tag=a&start=1970-01-01T00:00:01Z".to_owned(),
            "tag=a&start=yesterday&end=1970-01-01T00:00:01Z".to_owned(),
            format!("{range}{many}"),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
