//! Who may do what, and how refusals look.

use std::collections::BTreeMap;

use crate::support::{Api, PASSWORD};
use reqwest::{Method, StatusCode};
use serde_json::Value as Json;

/// The only operations that anyone may call. A new one must be added here on purpose.
const PUBLIC: [(&str, &str); 5] = [
    ("post", "/api/v1/session"),
    ("get", "/api/v1/openapi.json"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/metrics"),
];

/// Every operation of the OpenAPI document, with the ids of tenant `acme` in its path.
fn operations() -> Vec<(Method, String, String)> {
    let document: Json = serde_json::from_str(&http_api::openapi_json()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("operations").keys().filter(|key| *key != "parameters");
        methods.map(move |method| (method.clone(), path.clone()))
    });
    let concrete = |path: &str| {
        let path = path.replace("{tenant}", "acme").replace("{gateway}", "gw-1");
        path.replace("{machine}", "press-1")
            .replace("{alarm}", "hot")
            .replace("{command}", "c-1")
            .replace("{version}", "1")
            .replace("{rollout}", "1")
    };
    operations
        .map(|(method, path)| {
            let verb = Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method");
            (verb, concrete(&path), path)
        })
        .collect()
}

fn is_public(method: &Method, path: &str) -> bool {
    PUBLIC.contains(&(method.as_str().to_lowercase().as_str(), path))
}

#[tokio::test]
async fn without_a_session_all_but_the_named_public_operations_are_refused() {
    let api = Api::start().await;
    let (mut public, mut refused) = (0, 0);
    for (method, path, template) in operations() {
        let response = api.request(method.clone(), &path).send().await.expect("an answer");
        if is_public(&method, &template) {
            public += 1;
            assert_ne!(response.status(), StatusCode::UNAUTHORIZED, "{method} {template}");
        } else {
            refused += 1;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {template}");
            assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {template}");
        }
    }
    assert_eq!(public, PUBLIC.len());
    assert!(refused >= 11, "only {refused} guarded operations were found");
}

#[tokio::test]
async fn another_tenants_data_and_data_that_is_not_there_are_the_same_answer() {
    let api = Api::start().await;
    api.connect_gateway().await;
    let gus = api.sign_in("gus").await;
    let mut walked = 0;
    for (method, path, template) in
        operations().into_iter().filter(|(.., template)| template.contains("{tenant}"))
    {
        walked += 1;
        let foreign = problem(&api, &gus, &method, &path).await;
        let unknown = problem(&api, &gus, &method, &path.replace("acme", "nobody")).await;
        let malformed = problem(&api, &gus, &method, &path.replace("acme", "No%20body")).await;
        assert_eq!(foreign, unknown, "{method} {template}");
        assert_eq!(foreign, malformed, "{method} {template}");
        assert_eq!(foreign.get("status"), Some(&Json::from(404)), "{method} {template}");
    }
    assert!(walked >= 8, "only {walked} operations of a tenant were found");
}

/// The body of a refusal without the id of the request.
async fn problem(api: &Api, cookie: &str, method: &Method, path: &str) -> BTreeMap<String, Json> {
    let request = api.request(method.clone(), path).header("cookie", cookie);
    let response = request.header("x-requested-with", "fetch").send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
    let id = response.headers()["x-request-id"].to_str().expect("text").to_owned();
    let mut body: BTreeMap<String, Json> = response.json().await.expect("JSON");
    assert_eq!(body.remove("instance"), Some(Json::from(id)), "the instance is the request's id");
    body
}

#[tokio::test]
async fn a_manager_sees_the_own_tenant_and_an_operator_all() {
    let api = Api::start().await;
    let names = |json: Json| -> Vec<String> {
        let items = json["items"].as_array().or(json["tenants"].as_array()).expect("a list").clone();
        items.iter().map(|t| t["id"].as_str().expect("an id").to_owned()).collect()
    };
    for (user, expected) in
        [("anna", vec!["acme"]), ("gus", vec!["globex"]), ("olga", vec!["acme", "globex"])]
    {
        let cookie = api.sign_in(user).await;
        assert_eq!(names(api.json(&cookie, "/api/v1/tenants").await), expected, "{user}");
        let session = api.json(&cookie, "/api/v1/session").await;
        assert_eq!(session["username"], user);
        assert_eq!(session["display_name"], user.to_uppercase());
        let permissions: &[&str] = match user {
            "olga" => &["operate_alarms", "configure", "operate_gateways", "control_gateways", "administer"],
            _ => &["operate_alarms", "configure", "operate_gateways"],
        };
        assert_eq!(session["permissions"], serde_json::json!(permissions), "{user}");
        assert_eq!(names(session), expected, "{user}");
    }
    let olga = api.sign_in("olga").await;
    assert_eq!(api.get(&olga, "/api/v1/tenants/globex/machines").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_session_cookie_is_out_of_reach_for_scripts_and_other_sites() {
    let api = Api::start().await;
    let local = api.try_sign_in("anna", PASSWORD).await;
    let cookie = local.headers()["set-cookie"].to_str().expect("text");
    assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"), "{cookie}");
    assert!(cookie.contains("; Max-Age=43200") && !cookie.contains("Secure"), "{cookie}");
    let body = serde_json::json!({ "username": "anna", "password": PASSWORD });
    let public = api.request(Method::POST, "/api/v1/session").header("host", "plants.example").json(&body);
    let public = public.send().await.expect("an answer");
    assert!(public.headers()["set-cookie"].to_str().expect("text").ends_with("; Secure"));
}

#[tokio::test]
async fn signing_out_ends_the_session_and_needs_the_header_of_our_own_pages() {
    let api = Api::start().await;
    let cookie = api.sign_in("anna").await;
    let sign_out = || api.request(Method::DELETE, "/api/v1/session").header("cookie", &cookie);
    let forged = sign_out().send().await.expect("an answer");
    assert_eq!(forged.status(), StatusCode::FORBIDDEN);
    assert_eq!(api.get(&cookie, "/api/v1/session").await.status(), StatusCode::OK, "still signed in");
    let ours = sign_out().header("x-requested-with", "fetch").send().await.expect("an answer");
    assert_eq!(ours.status(), StatusCode::NO_CONTENT);
    assert!(ours.headers()["set-cookie"].to_str().expect("text").contains("mfp_session=; Path=/; Max-Age=0"));
    assert_eq!(api.get(&cookie, "/api/v1/session").await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_unknown_name_and_a_wrong_password_are_the_same_answer() {
    let api = Api::start().await;
    let mut answers = Vec::new();
    for (name, password) in [("anna", "wrong"), ("nobody", PASSWORD), ("No Name!", PASSWORD), ("anna", "")] {
        let response = api.try_sign_in(name, password).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{name}");
        assert!(response.headers().get("set-cookie").is_none(), "{name}");
        let mut body: BTreeMap<String, Json> = response.json().await.expect("JSON");
        body.remove("instance");
        answers.push(body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
}

#[tokio::test]
async fn guessing_locks_the_name_and_no_other() {
    let api = Api::start().await;
    for _ in 0..5 {
        assert_eq!(api.try_sign_in("anna", "guess").await.status(), StatusCode::UNAUTHORIZED);
    }
    let locked = api.try_sign_in("anna", PASSWORD).await;
    assert_eq!(locked.status(), StatusCode::TOO_MANY_REQUESTS, "even the right password waits");
    let wait: u64 = locked.headers()["retry-after"].to_str().expect("text").parse().expect("seconds");
    assert!((1..=300).contains(&wait), "{wait}");
    assert_eq!(api.try_sign_in("gus", PASSWORD).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn many_guesses_at_the_same_time_are_counted_too() {
    let api = Api::start().await;
    let guesses = (0..20).map(|n| {
        let api = &api;
        async move { api.try_sign_in("anna", &format!("guess {n}")).await.status() }
    });
    let answers = futures_util::future::join_all(guesses).await;
    let tried = answers.iter().filter(|status| **status == StatusCode::UNAUTHORIZED).count();
    assert_eq!(tried, 5, "{answers:?}");
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_told_why() {
    let api = Api::start().await;
    let post = |body: &'static str| {
        let request = api.request(Method::POST, "/api/v1/session").header("content-type", "application/json");
        request.body(body).send()
    };
    for body in ["", "{", "[]", r#"{"username":"a"}"#, r#"{"username":"a","password":"b","x":1}"#] {
        let response = post(body).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        let problem: Json = response.json().await.expect("JSON");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{problem}");
    }
    let form = api.request(Method::POST, "/api/v1/session").body("username=a&password=b").send();
    assert_eq!(form.await.expect("an answer").status(), StatusCode::BAD_REQUEST, "a form is no JSON");
}

#[tokio::test]
async fn every_answer_carries_the_security_headers_and_nothing_for_other_sites() {
    let api = Api::start().await;
    for path in ["/livez", "/api/v1/session", "/api/v1/nothing", "/metrics"] {
        let request = api.request(Method::GET, path).header("origin", "https://evil.example");
        let response = request.send().await.expect("an answer");
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["x-frame-options"], "DENY", "{path}");
        assert!(headers["content-security-policy"].to_str().expect("text").starts_with("default-src 'self'"));
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        assert!(headers.get("access-control-allow-origin").is_none(), "{path}");
    }
}

#[tokio::test]
async fn what_no_route_claims_is_a_problem_and_never_the_page() {
    let api = Api::start().await;
    for (method, path, status) in [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api", 404),
        ("POST", "/somewhere", 404),
        ("PUT", "/livez", 405),
    ] {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = api.request(method, path).header("accept", "text/html");
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
    }
}

#[tokio::test]
async fn a_request_id_of_the_caller_comes_back() {
    let api = Api::start().await;
    let request = api.request(Method::GET, "/api/v1/nothing").header("x-request-id", "trace-7");
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["x-request-id"], "trace-7");
    assert_eq!(response.json::<Json>().await.expect("JSON")["instance"], "trace-7");
}
