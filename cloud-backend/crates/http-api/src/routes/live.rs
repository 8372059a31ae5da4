//! Live values as server-sent events (WHATWG HTML, 9.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt as _};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::access::Scope;
use crate::body::{GatewayEvent, ResyncEvent, Transition, ValuesEvent};
use crate::feed::FeedEvent;
use crate::problem::Problem;
use crate::state::App;

/// Comments between events, so that proxies and browsers see the connection alive.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A stream ends after an hour; the browser opens the next by itself, and its session is checked anew.
const STREAM_LIFETIME: Duration = Duration::from_secs(3_600);
/// Streams at the same time: half of the connections, so that streams never shut out requests.
const STREAMS_MAX: u64 = 512;

/// What changes, as it changes
///
/// Begins with the latest values of every machine. Events: `values` (data: ValuesEvent), `alarm` (Transition: at
/// once with `stored_at` null while the gateway is connected, and again after it was stored), `gateway` (GatewayEvent), and `resync` (ResyncEvent), after which everything is to be
/// fetched again. Without events a comment is sent every ten seconds.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}/live", tag = "live",
    params(("tenant" = String, Path, description = "The tenant")),
    responses((
        status = 200, description = "A stream of events; the schemas are those of their data",
        content(
            (LiveEvent = "text/event-stream")
        )
    ))
)]
pub(crate) async fn live(
    State(app): State<Arc<App>>,
    Extension(Scope(tenant)): Extension<Scope>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let open = OpenStream::new(&app)?;
    let subscription = app.outside.live.subscribe(&tenant);
    let following = stream::unfold((subscription.events, open), next);
    let events = stream::iter(subscription.snapshot).chain(following).map(|event| Ok(to_sse(&event)));
    let end = end_of_stream(app.shutdown.clone());
    Ok(Sse::new(events.take_until(Box::pin(end))).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// The data of an event of the live stream.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = LiveEvent)]
#[expect(dead_code, reason = "for the description only")]
enum LiveEvent {
    Values(ValuesEvent),
    Alarm(Transition),
    Gateway(GatewayEvent),
    Resync(ResyncEvent),
}

async fn end_of_stream(shutdown: tokio_util::sync::CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(STREAM_LIFETIME) => {}
    }
}

type Following = (broadcast::Receiver<FeedEvent>, OpenStream);

async fn next((mut events, open): Following) -> Option<(FeedEvent, Following)> {
    let event = match events.recv().await {
        Ok(event) => event,
        Err(RecvError::Lagged(_)) => {
            open.app.metrics.resynced();
            FeedEvent::resync()
        }
        Err(RecvError::Closed) => return None,
    };
    Some((event, (events, open)))
}

fn to_sse(event: &FeedEvent) -> Event {
    Event::default().event(event.name).data(&event.data)
}

/// Counts a stream while it is open.
struct OpenStream {
    app: Arc<App>,
}

impl OpenStream {
    fn new(app: &Arc<App>) -> Result<Self, Problem> {
        if app.metrics.streams_open() >= STREAMS_MAX {
            return Err(Problem::unavailable("too many live streams are open; try again in a moment", None));
        }
        app.metrics.stream_opened();
        Ok(Self { app: Arc::clone(app) })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.app.metrics.stream_closed();
    }
}
