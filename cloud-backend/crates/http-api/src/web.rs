//! The dashboard's files, built into the binary, and every address that no route of the API claims.
//!
//! Files under `assets/` carry a hash of their content in their name and may be kept for ever; all others
//! are asked for again each time, by entity tag. A `.br` or `.gz` beside a file is sent instead of it to a
//! client that understands it; nothing is compressed at run time.

use std::borrow::Cow;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

use crate::problem::Problem;

#[derive(RustEmbed)]
#[folder = "dashboard/dist"]
struct Dashboard;

const FOR_EVER: &str = "public, max-age=31536000, immutable";
const ASK_AGAIN: &str = "no-cache";

/// What a browser sees when the binary was built without the dashboard.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Dashboard not built</title>\
<h1>The dashboard is not part of this build</h1><p>Run <code>cargo xtask dashboard</code> and build again. \
The <a href=\"/api/v1/openapi.json\">API</a> is complete without it.</p></html>\n";

/// One file, and the digest that its entity tag is made of.
struct File {
    bytes: Cow<'static, [u8]>,
    digest: [u8; 32],
}

/// Answers everything that is no route.
pub(crate) async fn fallback(request: Request) -> Response {
    answer(request.method(), request.uri().path(), request.headers(), &embedded)
}

fn embedded(path: &str) -> Option<File> {
    let file = Dashboard::get(path)?;
    Some(File { digest: file.metadata.sha256_hash(), bytes: file.data })
}

fn answer(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    files: &dyn Fn(&str) -> Option<File>,
) -> Response {
    let name = path.trim_start_matches('/');
    if name == "api" || name.starts_with("api/") || !matches!(*method, Method::GET | Method::HEAD) {
        return Problem::not_found().into_response();
    }
    let is_variant = name.ends_with(".br") || name.ends_with(".gz");
    if !name.is_empty() && !is_variant && files(name).is_some() {
        return send(name, headers, files);
    }
    if name.contains('.') || !accepts_html(headers) {
        return Problem::not_found().into_response();
    }
    if files("index.html").is_some() { send("index.html", headers, files) } else { not_built() }
}

fn not_built() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (StatusCode::SERVICE_UNAVAILABLE, kind, NOT_BUILT).into_response()
}

fn accepts_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.contains("text/html"))
}

fn send(name: &str, headers: &HeaderMap, files: &dyn Fn(&str) -> Option<File>) -> Response {
    let Some((file, encoding)) = best_variant(name, headers, files) else {
        return Problem::not_found().into_response();
    };
    let tag = entity_tag(&file.digest);
    let caching = if name.starts_with("assets/") { FOR_EVER } else { ASK_AGAIN };
    let common: [(HeaderName, HeaderValue); 3] = [
        (header::ETAG, tag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::VARY, HeaderValue::from_static("Accept-Encoding")),
    ];
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, content_type(name))];
    let mut response = (common, kind, file.bytes).into_response();
    if let Some(encoding) = encoding {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

fn best_variant(
    name: &str,
    headers: &HeaderMap,
    files: &dyn Fn(&str) -> Option<File>,
) -> Option<(File, Option<&'static str>)> {
    let variants = [("br", ".br"), ("gzip", ".gz")];
    let accepted = variants.into_iter().filter(|(encoding, _)| accepts_encoding(headers, encoding));
    for (encoding, suffix) in accepted {
        if let Some(file) = files(&format!("{name}{suffix}")) {
            return Some((file, Some(encoding)));
        }
    }
    files(name).map(|file| (file, None))
}

/// Whether `Accept-Encoding` names the encoding with a weight above zero (RFC 9110, 12.5.3).
fn accepts_encoding(headers: &HeaderMap, encoding: &str) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|item| {
        let mut parts = item.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
        named && weight.is_ok_and(|weight| weight > 0.0)
    })
}

fn entity_tag(digest: &[u8; 32]) -> HeaderValue {
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{hex}\"")).expect("hexadecimal digits are a header value")
}

/// The media types of what the dashboard's build writes; anything else is offered as a download.
fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(name: &str) -> Option<File> {
        let known = ["index.html", "index.html.br", "index.html.gz", "assets/app-1.js", "favicon.svg"];
        let position = known.iter().position(|known| *known == name)?;
        Some(File { bytes: Cow::Owned(name.as_bytes().to_vec()), digest: [u8::try_from(position).ok()?; 32] })
    }

    fn get(path: &str, headers: &[(HeaderName, &str)]) -> Response {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).expect("value")));
        answer(&Method::GET, path, &headers.collect(), &files)
    }

    fn header_of(response: &Response, name: HeaderName) -> &str {
        response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    const HTML: (HeaderName, &str) = (header::ACCEPT, "text/html,*/*");

    #[test]
    fn a_deep_link_of_the_dashboard_gets_the_page() {
        for path in ["/", "/t/acme/machines/gw-1/press-1"] {
            let response = get(path, &[HTML]);
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert_eq!(header_of(&response, header::CACHE_CONTROL), ASK_AGAIN);
            assert_eq!(header_of(&response, header::CONTENT_TYPE), "text/html; charset=utf-8");
        }
    }

    #[test]
    fn unknown_files_and_addresses_of_the_api_never_get_the_page() {
        for path in
            ["/favicon.ico", "/api/v1/nothing", "/api", "/assets/gone.js", "/../secret.txt", "/index.html.br"]
        {
            assert_eq!(get(path, &[HTML]).status(), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(get("/somewhere", &[]).status(), StatusCode::NOT_FOUND, "no browser asked");
    }

    #[test]
    fn assets_are_kept_for_ever() {
        let response = get("/assets/app-1.js", &[]);
        assert_eq!(header_of(&response, header::CACHE_CONTROL), FOR_EVER);
        assert_eq!(header_of(&response, header::CONTENT_TYPE), "text/javascript; charset=utf-8");
    }

    #[test]
    fn the_smallest_variant_the_client_understands_is_sent() {
        for (accept, expected) in
            [("gzip, deflate, br", "br"), ("gzip", "gzip"), ("br;q=0, gzip;q=0.5", "gzip"), ("", "")]
        {
            let response = get("/", &[HTML, (header::ACCEPT_ENCODING, accept)]);
            assert_eq!(header_of(&response, header::CONTENT_ENCODING), expected, "{accept}");
            assert_eq!(header_of(&response, header::VARY), "Accept-Encoding");
        }
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let tag = header_of(&get("/favicon.svg", &[]), header::ETAG).to_owned();
        assert_eq!(get("/favicon.svg", &[(header::IF_NONE_MATCH, &tag)]).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(get("/", &[HTML, (header::IF_NONE_MATCH, &tag)]).status(), StatusCode::OK);
    }

    #[test]
    fn without_the_dashboard_a_plain_page_says_what_to_do() {
        let headers = HeaderMap::from_iter([(HTML.0, HeaderValue::from_static(HTML.1))]);
        let response = answer(&Method::GET, "/", &headers, &|_| None);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn a_release_that_requires_the_dashboard_has_it() {
        if option_env!("REQUIRE_DASHBOARD").is_some() {
            assert!(embedded("index.html").is_some());
        }
    }
}
