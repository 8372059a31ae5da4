//! Signing in and out.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tenancy::{SessionRecord, TokenDigest, User, UserName};

use crate::access::Principal;
use crate::body::{Credentials, Permission, Role, Session, TenantName};
use crate::password::Match;
use crate::problem::Problem;
use crate::state::App;
use crate::token::{CookieSecurity, Token, clear_cookie};

/// A shift and the way home; then the password is asked for again.
const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 3_600);

/// No user name is longer; what is counted must not grow with what is sent.
const COUNTED_CHARS_MAX: usize = 64;

/// Sign in
///
/// The session cookie is `HttpOnly` and `SameSite=Strict`. After five failed attempts the user name has to
/// wait before the next, twice as long each time.
#[utoipa::path(
    post, path = "/api/v1/session", tag = "session", request_body = Credentials,
    responses((status = 200, body = Session, description = "Signed in; the session cookie is set"))
)]
pub(crate) async fn sign_in(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    credentials: Result<Json<Credentials>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(credentials) = credentials.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let user = verify(&app, credentials).await.inspect_err(|_| app.metrics.sign_in_failed())?;
    let token = Token::generate().map_err(|cause| Problem::internal(cause.to_string()))?;
    app.outside.tenancy.add_session(record(&app, &token, &user)).await?;
    tracing::info!(user.name = %user.name, "signed in");
    let cookie = token.set_cookie(SESSION_LIFETIME.as_secs(), CookieSecurity::of(&headers));
    Ok(([(header::SET_COOKIE, cookie)], Json(describe(&app, &user).await?)).into_response())
}

/// Who is signed in
#[utoipa::path(
    get, path = "/api/v1/session", tag = "session",
    responses((status = 200, body = Session, description = "The session of the cookie"))
)]
pub(crate) async fn current(
    State(app): State<Arc<App>>,
    Extension(principal): Extension<Principal>,
) -> Result<Json<Session>, Problem> {
    Ok(Json(describe(&app, &principal.user).await?))
}

/// Sign out
#[utoipa::path(
    delete, path = "/api/v1/session", tag = "session",
    responses((status = 204, description = "The session has ended and its cookie is taken away"))
)]
pub(crate) async fn sign_out(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Extension(principal): Extension<Principal>,
) -> Result<Response, Problem> {
    app.outside.tenancy.remove_session(principal.token).await?;
    let cookie = clear_cookie(CookieSecurity::of(&headers));
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

async fn verify(app: &App, credentials: Credentials) -> Result<User, Problem> {
    // A text that is no user name is counted and checked like a name that nobody has.
    let name = UserName::new(&credentials.username).ok();
    let counted: String = credentials.username.chars().take(COUNTED_CHARS_MAX).collect();
    count_attempt(app, &counted)?;
    let user = match &name {
        Some(name) => app.outside.tenancy.find_user(name).await?,
        None => None,
    };
    let hash = user.as_ref().map(|user| user.password_hash.as_phc());
    match (app.outside.passwords.check(credentials.password, hash).await, user) {
        (Match::Right, Some(user)) => {
            app.login_guard().succeeded(&counted);
            Ok(user)
        }
        (Match::Right | Match::Wrong, _) => Err(Problem::wrong_credentials()),
    }
}

/// Counts the attempt as failed before it is made; success takes it back. Counted afterwards, any number of
/// attempts made at the same time would pass.
fn count_attempt(app: &App, name: &str) -> Result<(), Problem> {
    let now = app.outside.clock.now();
    let mut guard = app.login_guard();
    guard.check(name, now).map_err(|refused| Problem::locked_out(refused.wait.as_secs().max(1)))?;
    guard.failed(name, now);
    Ok(())
}

fn record(app: &App, token: &Token, user: &User) -> SessionRecord {
    let now = app.outside.clock.wall();
    SessionRecord {
        token_sha256: TokenDigest(token.digest()),
        user: user.name.clone(),
        created_at: now,
        expires_at: now.plus(SESSION_LIFETIME),
    }
}

async fn describe(app: &App, user: &User) -> Result<Session, Problem> {
    let tenants = app.outside.tenancy.tenants().await?;
    let visible = tenants.into_iter().filter(|tenant| user.role.reaches(&tenant.id));
    Ok(Session {
        username: user.name.to_string(),
        display_name: user.display_name.clone(),
        role: match user.role {
            tenancy::Role::PlatformOperator => Role::PlatformOperator,
            tenancy::Role::Manager { .. } => Role::Manager,
        },
        permissions: Permission::of(&user.role),
        tenants: visible.map(|tenant| TenantName { id: tenant.id.to_string(), name: tenant.name }).collect(),
    })
}
