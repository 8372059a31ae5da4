//! Who may call what. Every route is in one table, and a route gets into the table only with the access it
//! demands: there is no other way to make a [`Route`].
//!
//! A tenant that is unknown and a tenant of somebody else are the same answer, 404.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, RawPathParams, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use plant_model::TenantId;
use tenancy::{Permission, TokenDigest, User};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::problem::Problem;
use crate::state::App;
use crate::token::Token;

/// The name of the security scheme in the OpenAPI document.
pub(crate) const SCHEME: &str = "session";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Anyone.
    Public,
    /// Anyone who is signed in.
    SignedIn,
    /// Users whose role has the permission and reaches the tenant in the path.
    Needs(Permission),
}

/// A path, its methods and the access they demand.
pub(crate) struct Route {
    access: Access,
    methods: UtoipaMethodRouter<Arc<App>>,
}

/// A route that needs a permission.
pub(crate) fn guarded(permission: Permission, methods: UtoipaMethodRouter<Arc<App>>) -> Route {
    Route { access: Access::Needs(permission), methods }
}

/// A route about the caller's own session.
pub(crate) fn signed_in(methods: UtoipaMethodRouter<Arc<App>>) -> Route {
    Route { access: Access::SignedIn, methods }
}

/// A route that anyone may call, signed in or not.
pub(crate) fn public(methods: UtoipaMethodRouter<Arc<App>>) -> Route {
    Route { access: Access::Public, methods }
}

impl Route {
    /// Lets bodies have up to so many bytes.
    pub(crate) fn taking(mut self, body_bytes: usize) -> Self {
        self.methods.2 = self.methods.2.layer(DefaultBodyLimit::max(body_bytes));
        self
    }

    /// Adds the route to the description of the API.
    pub(crate) fn describe(mut self, router: OpenApiRouter<Arc<App>>) -> OpenApiRouter<Arc<App>> {
        if self.access != Access::Public {
            let operations = self.methods.1.paths.values_mut().flat_map(operations);
            operations
                .for_each(|o| o.security = Some(vec![SecurityRequirement::new::<_, _, &str>(SCHEME, [])]));
        }
        router.routes(self.methods)
    }

    /// Adds the route, behind its guard, to the router.
    pub(crate) fn install(self, router: Router<Arc<App>>, app: &Arc<App>) -> Router<Arc<App>> {
        let (_, paths, methods) = self.methods;
        let methods = match self.access {
            Access::Public => methods,
            Access::SignedIn => {
                methods.layer(from_fn_with_state(Gate { app: Arc::clone(app), permission: None }, guard))
            }
            Access::Needs(permission) => {
                let gate = Gate { app: Arc::clone(app), permission: Some(permission) };
                methods.layer(from_fn_with_state(gate, guard))
            }
        };
        paths.paths.keys().fold(router, |router, path| router.route(path, methods.clone()))
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
}

/// Who is calling.
#[derive(Debug, Clone)]
pub(crate) struct Principal {
    pub(crate) user: User,
    pub(crate) token: TokenDigest,
}

/// The tenant in the path: it exists and the caller may see it.
#[derive(Debug, Clone)]
pub(crate) struct Scope(pub(crate) TenantId);

#[derive(Clone)]
struct Gate {
    app: Arc<App>,
    permission: Option<Permission>,
}

async fn guard(
    State(gate): State<Gate>,
    params: RawPathParams,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let principal = authenticate(&gate.app, request.headers()).await?;
    check_same_site(request.method(), request.headers())?;
    let tenant = params.iter().find(|(name, _)| *name == "tenant").map(|(_, text)| text);
    if let Some(text) = tenant {
        let tenant = visible_tenant(&gate.app, &principal, text).await?;
        request.extensions_mut().insert(Scope(tenant));
    }
    if gate.permission.is_some_and(|permission| !principal.user.role.allows(permission)) {
        return Err(Problem::forbidden());
    }
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Principal, Problem> {
    let token = Token::from_headers(headers).ok_or_else(Problem::unauthenticated)?;
    let token = TokenDigest(token.digest());
    let found = app.outside.tenancy.find_session(token).await?;
    let (session, user) = found.ok_or_else(Problem::unauthenticated)?;
    if !session.is_valid(app.outside.clock.wall()) {
        return Err(Problem::unauthenticated());
    }
    Ok(Principal { user, token })
}

/// Another site can make a browser send our cookie with a form, but not this header (without our consent,
/// which we never give: there is no CORS here).
fn check_same_site(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let is_ours = headers.get("x-requested-with").is_some_and(|value| value == "fetch");
    if method.is_safe() || is_ours { Ok(()) } else { Err(Problem::cross_site()) }
}

async fn visible_tenant(app: &App, principal: &Principal, text: &str) -> Result<TenantId, Problem> {
    let tenant = TenantId::new(text).map_err(|_| Problem::not_found())?;
    if !principal.user.role.reaches(&tenant) {
        return Err(Problem::not_found());
    }
    match app.outside.tenancy.tenant(&tenant).await? {
        Some(_) => Ok(tenant),
        None => Err(Problem::not_found()),
    }
}
