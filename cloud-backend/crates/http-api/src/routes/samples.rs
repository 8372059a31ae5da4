//! Samples of a machine over a range of time.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse as _, Response};
use history::{Budget, Subject};
use plant_model::{TagId, TenantId, Timestamp};

use super::fleet::MachinePath;
use super::sample_file;
use crate::access::Scope;
use crate::body::{SampleSeries, Samples};
use crate::export::FileFormat;
use crate::history::{Question, headers};
use crate::instant;
use crate::params::Params;
use crate::problem::Problem;
use crate::state::App;

/// Most raw samples of one answer in JSON: about 4 MB.
const RAW_SAMPLES_MAX: usize = 200_000;
/// Most tags of one answer: a chart shows six, an export of a machine some twenty.
const TAGS_MAX: usize = 50;
/// Bounds of the number of points: fewer say nothing, more than pixels show nothing.
const POINTS: (usize, usize) = (10, 5_000);

/// How samples are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// As they are, at most so many.
    Raw(usize),
    /// What they did in so many stretches.
    Curve(usize),
    /// So many of them that draw the same picture.
    Picked(usize),
    /// All of them as a file.
    File(FileFormat),
}

/// Samples of some tags of a machine in `[start, end)`
///
/// With `points`, tags that are plotted as a line are reduced to the least, the greatest and the last value of so many
/// stretches, of equal length up to six hours and of whole minutes or hours beyond; states, truth values and texts to
/// their changes and the last of each stretch. Statistics are read where they suffice, from whatever tier. Without
/// `points` samples come as they are, page by page, or all of them as CSV or Parquet. Headers: `X-Tiers`,
/// `X-Cost-Estimate` (requests and bytes of object storage), `Server-Timing`.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/gateways/{gateway}/machines/{machine}/samples", tag = "fleet",
    params(
        MachinePath,
        ("tag" = Vec<String>, Query, explode, description = "1 to 50 tags, repeated"),
        ("start" = String, Query, description = "RFC 3339; from here on"),
        ("end" = String, Query, description = "RFC 3339; up to and without this instant"),
        ("points" = Option<usize>, Query, description = "10 to 5000; samples as they are without it"),
        ("method" = Option<String>, Query, description = "With points: min_max (default), or lttb, which picks samples"),
        ("limit" = Option<usize>, Query, description = "Most samples of a page, up to 200000, which is the default"),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before, with the same query"),
        ("format" = Option<String>, Query, description = "json (default), csv or parquet; or by the header Accept")
    ),
    responses((status = 200, description = "The samples", content(
        (Samples = "application/json"), (String = "text/csv"), (Vec<u8> = "application/vnd.apache.parquet")
    )))
)]
pub(crate) async fn samples(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
    Path(path): Path<MachinePath>,
    request_headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let (gateway, machine) = path.find(&app, &tenant)?;
    let known = ["tag", "start", "end", "points", "method", "limit", "cursor", "format"];
    let params = Params::read(&uri, &known)?;
    let shape = shape(&params, accepted(&request_headers))?;
    let subject = Subject { tenant, gateway, machine, tags: tags(&params)? };
    let question = Question { subject, range: range(&params)?, budget: Budget::INTERACTIVE };
    if let Shape::File(format) = shape {
        return sample_file::answer(&app.outside.history, question, format).await;
    }
    let ((samples, report), took) =
        app.outside.history.ask(question, async move |reader| json(reader, shape).await).await?;
    Ok((headers(&report, took), Json(samples)).into_response())
}

async fn json(
    reader: history::Reader<'_>,
    shape: Shape,
) -> Result<(Samples, history::Report), history::HistoryError> {
    let range = reader.range();
    let (series, next, report) = match shape {
        Shape::Curve(points) => {
            let curve = reader.curve(points).await?;
            let series = curve.tags.iter().map(|(tag, data)| SampleSeries::of_curve(tag, data)).collect();
            (series, None, curve.report)
        }
        Shape::Picked(points) => {
            let (samples, reader) = reader.shape(points).await?;
            (series(&reader, &samples, true), None, reader.report().clone())
        }
        Shape::Raw(_) | Shape::File(_) => {
            let limit = if let Shape::Raw(limit) = shape { limit } else { RAW_SAMPLES_MAX };
            let (page, reader) = reader.page(limit).await?;
            (series(&reader, &page.samples, false), page.next, reader.report().clone())
        }
    };
    let samples = Samples {
        start: range.start.into(),
        end: range.end.into(),
        series,
        truncated: next.is_some(),
        next_cursor: next.map(|at| format!("{CURSOR}{}", at.micros())),
        provenance: (&report).into(),
    };
    Ok((samples, report))
}

fn series(
    reader: &history::Reader<'_>,
    samples: &[Vec<plant_model::Sample>],
    are_picked: bool,
) -> Vec<SampleSeries> {
    let each = reader.tags().iter().zip(samples);
    each.map(|(tag, samples)| SampleSeries::of_samples(tag, samples, are_picked)).collect()
}

/// What a cursor begins with; then the microseconds since 1970 at which the next page begins.
const CURSOR: &str = "t";

fn shape(params: &Params, accepted: Option<FileFormat>) -> Result<Shape, Problem> {
    let points = params.number("points", POINTS.0, POINTS.1)?;
    let limit = params.number("limit", 1, RAW_SAMPLES_MAX)?;
    let file = match params.one("format")? {
        None => accepted.filter(|_| points.is_none()),
        Some("json") => None,
        Some("csv") => Some(FileFormat::Csv),
        Some("parquet") => Some(FileFormat::Parquet),
        Some(_) => return Err(Problem::invalid("format", "json, csv and parquet are allowed")),
    };
    match (points, params.one("method")?, file) {
        (Some(_), _, Some(_)) => {
            Err(Problem::invalid("points", "files have samples as they are; leave points out"))
        }
        (None, None, Some(format)) => Ok(Shape::File(format)),
        (None, Some(_), _) => Err(Problem::invalid("method", "it needs points")),
        (None, None, None) => Ok(Shape::Raw(limit.unwrap_or(RAW_SAMPLES_MAX))),
        (Some(points), None | Some("min_max"), None) => Ok(Shape::Curve(points)),
        (Some(points), Some("lttb"), None) => Ok(Shape::Picked(points)),
        (Some(_), Some(_), None) => Err(Problem::invalid("method", "min_max and lttb are allowed")),
    }
}

/// The first form of a file that the caller names, if it names one before JSON.
fn accepted(headers: &HeaderMap) -> Option<FileFormat> {
    let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
    let first = accept.split(',').map(|kind| kind.split(';').next().unwrap_or("").trim()).next()?;
    match first {
        "text/csv" => Some(FileFormat::Csv),
        "application/vnd.apache.parquet" => Some(FileFormat::Parquet),
        _ => None,
    }
}

/// The range of the query, or what a cursor leaves of it.
pub(super) fn range(params: &Params) -> Result<std::ops::Range<Timestamp>, Problem> {
    let (start, end) = (time(params, "start")?, time(params, "end")?);
    if start >= end {
        return Err(Problem::invalid("end", "must be after start"));
    }
    let Some(cursor) = params.one("cursor")? else { return Ok(start..end) };
    let at = cursor.strip_prefix(CURSOR).and_then(|text| text.parse().ok()).map(Timestamp::from_micros);
    let wrong = "this is no cursor of this query; pass on the one that came with the page before, or none";
    let at = at.filter(|at| (start..end).contains(at)).ok_or_else(|| Problem::invalid("cursor", wrong))?;
    Ok(at..end)
}

fn time(params: &Params, name: &str) -> Result<Timestamp, Problem> {
    let text = params.one(name)?.unwrap_or_default();
    let wrong = || Problem::invalid(name, "an RFC 3339 instant is needed, for example 2026-11-22T15:00:00Z");
    instant::parse(text).ok_or_else(wrong)
}

pub(super) fn tags(params: &Params) -> Result<Vec<TagId>, Problem> {
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

/// A gateway's losses are read for its tenant.
pub(super) async fn lost(app: &App, question: &Question) -> Result<Vec<crate::body::Lost>, Problem> {
    let tenant: &TenantId = question.tenant();
    let rows = app.outside.fleet.ledger(tenant).await?;
    Ok(crate::body::lost(rows, &question.subject.gateway, &question.range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(text: &str) -> Params {
        let uri = format!("/x?{text}").parse().expect("an address");
        Params::read(&uri, &["tag", "start", "end", "points", "method", "limit", "cursor", "format"])
            .expect("known")
    }

    const RANGE: &str = "start=1970-01-01T00:00:00Z&end=1970-01-01T00:00:01Z";

    #[test]
    fn a_query_keeps_the_order_of_its_tags_and_names_each_once() {
        let tags = tags(&params("tag=b&tag=a&tag=b")).expect("good");
        assert_eq!(tags.iter().map(TagId::as_str).collect::<Vec<_>>(), ["b", "a"]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let many: String = (0..51).map(|n| format!("&tag=t{n}")).collect();
        for bad in [String::new(), "tag=a%20b".to_owned(), many] {
            assert!(tags(&params(&bad)).is_err(), "{bad}");
        }
        for bad in [
            "start=1970-01-01T00:00:01Z&end=1970-01-01T00:00:01Z".to_owned(),
            "start=1970-01-01T00:00:01Z".to_owned(),
            "start=yesterday&end=1970-01-01T00:00:01Z".to_owned(),
            format!("{RANGE}&cursor=x"),
            format!("{RANGE}&cursor=t1000000"),
        ] {
            assert!(range(&params(&bad)).is_err(), "{bad}");
        }
        for bad in [
            "points=9",
            "points=5001",
            "method=lttb",
            "points=10&method=mean",
            "format=xml",
            "limit=0",
            "points=10&format=csv",
            "limit=200001",
        ] {
            assert!(shape(&params(bad), None).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_shape_follows_points_method_and_format_and_a_cursor_shortens_the_range() {
        let shape = |text: &str, accepted| shape(&params(text), accepted).expect(text);
        assert_eq!(shape("", None), Shape::Raw(RAW_SAMPLES_MAX));
        assert_eq!(shape("limit=7", None), Shape::Raw(7));
        assert_eq!(shape("points=10&method=min_max", None), Shape::Curve(10));
        assert_eq!(shape("points=10&method=lttb", None), Shape::Picked(10));
        assert_eq!(shape("format=csv", None), Shape::File(FileFormat::Csv));
        assert_eq!(shape("", Some(FileFormat::Parquet)), Shape::File(FileFormat::Parquet));
        assert_eq!(shape("format=json", Some(FileFormat::Parquet)), Shape::Raw(RAW_SAMPLES_MAX));
        let rest = range(&params(&format!("{RANGE}&cursor=t400000"))).expect("good");
        assert_eq!((rest.start.micros(), rest.end.micros()), (400_000, 1_000_000));
    }
}
