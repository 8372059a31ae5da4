//! The frame of the OpenAPI 3.1 document; the routes fill it.

use utoipa::OpenApi as Document;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response, ResponseBuilder};

use crate::access::SCHEME;
use crate::problem::ProblemBody;
use crate::token::COOKIE;

#[derive(Document)]
#[openapi(
    info(
        title = "Factory-floor gateway backend",
        description = "Times are RFC 3339 in UTC with milliseconds unless a field says milliseconds since 1970. Every \
                       error is a problem (RFC 9457). A tenant, gateway or machine that is unknown and one that the \
                       user may not see are both 404. A request that changes something needs the header \
                       `X-Requested-With: fetch`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ProblemBody)),
    tags(
        (name = "session", description = "Signing in and out"),
        (name = "fleet", description = "Tenants, gateways, machines and their samples"),
        (name = "alarms", description = "Alarms in the words of ISA-18.2"),
        (name = "configuration", description = "What gateways are to run, in versions, and what they say about it"),
        (name = "gateways", description = "Commands to gateways themselves"),
        (name = "updates", description = "Versions of the agent, in waves"),
        (name = "ledger", description = "What became of everything that gateways sent"),
        (name = "live", description = "What changes, as it changes"),
        (name = "operations", description = "For those who run the backend")
    )
)]
pub(crate) struct ApiDocument;

/// Adds what all operations share: the session cookie and the shape of errors.
pub(crate) fn finish(mut document: OpenApi) -> OpenApi {
    let components = document.components.get_or_insert_default();
    let cookie = ApiKeyValue::with_description(COOKIE, "Set by POST /api/v1/session");
    components.add_security_scheme(SCHEME, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    for item in document.paths.paths.values_mut() {
        for operation in
            [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().flatten()
        {
            operation.responses.responses.insert("default".to_owned(), RefOr::T(problem()));
        }
    }
    document
}

fn problem() -> Response {
    let content = Content::new(Some(Ref::from_schema_name("Problem")));
    ResponseBuilder::new().description("What went wrong").content("application/problem+json", content).build()
}
