//! One session, from its connection to its end.
//!
//! The library runs a session as a stream of events that must be polled; whatever the session does
//! happens inside that poll. Values are handed to a callback there. It puts them in an inbox, which is
//! emptied right after each event, so that it never holds more than one notification message.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use opcua::client::{
    ClientConfig, MonitoredItemMap, OnSubscriptionNotificationCore, Session, SessionBuilder,
    SessionPollResult, SubscriptionActivity,
};
use opcua::types::{
    DataChangeNotification, DataValue, Error, NotificationMessage, StatusChangeNotification, StatusCode,
};
use tokio::time::timeout;

use crate::access::Entrance;
use crate::connector::DeadlineSource;
use crate::error::OpcUaError;
use crate::limits::is_too_large;

/// What closing a session may take; a server that does not answer forgets it by itself.
const CLOSE_LIMIT: Duration = Duration::from_millis(300);

/// A value and the client handle of its monitored item.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) handle: u32,
    pub(crate) value: DataValue,
}

/// What the session did.
#[derive(Debug)]
pub(crate) enum Activity {
    /// It is connected and activated.
    Connected,
    /// The server published; without values it only says that it is alive.
    Published(Vec<Arrived>),
    /// Something that needs no action.
    Other,
}

type Events = Pin<Box<dyn Stream<Item = Result<SessionPollResult, StatusCode>> + Send>>;

/// A session and its events.
pub(crate) struct Link {
    pub(crate) session: Arc<Session>,
    events: Events,
    inbox: Inbox,
    pub(crate) shows_chain: bool,
    was_connected: bool,
    has_ended: bool,
}

impl Link {
    /// A session that connects when its events are polled.
    pub(crate) fn new(config: &ClientConfig, entrance: Entrance) -> Result<Self, Error> {
        let shows_chain = entrance.shows_chain;
        let (session, events) = SessionBuilder::new(config)
            .user_identity_token(entrance.user)
            .connect_to_endpoint_directly(entrance.endpoint)?
            .with_connector(DeadlineSource)
            .build(entrance.store)?;
        let (events, inbox) = (Box::pin(events.enter()), Inbox::default());
        Ok(Self { session, events, inbox, shows_chain, was_connected: false, has_ended: false })
    }

    /// What takes the notifications of a subscription of this session.
    pub(crate) fn inbox(&self) -> impl OnSubscriptionNotificationCore + 'static {
        self.inbox.clone()
    }

    /// What the session does next. Can be cancelled without loss.
    pub(crate) async fn next(&mut self) -> Result<Activity, OpcUaError> {
        match self.events.next().await {
            Some(Ok(SessionPollResult::Reconnected(_))) => {
                self.was_connected = true;
                Ok(Activity::Connected)
            }
            Some(Ok(SessionPollResult::Subscription(SubscriptionActivity::Publish))) => self.inbox.empty(),
            Some(Ok(SessionPollResult::Subscription(SubscriptionActivity::PublishFailed(status))))
                if is_subscription_gone(status) =>
            {
                Err(OpcUaError::Subscription { status })
            }
            Some(Ok(SessionPollResult::Subscription(SubscriptionActivity::PublishFailed(status))))
                if is_too_large(status) =>
            {
                Err(OpcUaError::TooMany { status })
            }
            Some(Ok(SessionPollResult::Subscription(SubscriptionActivity::FatalFailure(status)))) => {
                Err(OpcUaError::Subscription { status })
            }
            // Polled on, the stream would connect anew on its own account.
            Some(Ok(SessionPollResult::ConnectionLost(status)) | Err(status)) => self.end(status),
            None => self.end(StatusCode::BadConnectionClosed),
            Some(Ok(_)) => Ok(Activity::Other),
        }
    }

    /// Whether the session was ever connected and activated.
    pub(crate) const fn was_connected(&self) -> bool {
        self.was_connected
    }

    fn end(&mut self, status: StatusCode) -> Result<Activity, OpcUaError> {
        self.has_ended = true;
        Err(OpcUaError::Lost { status })
    }

    /// Closes the session, so that the server does not keep it until its time-out.
    pub(crate) async fn close(mut self) {
        if self.has_ended {
            return;
        }
        let session = Arc::clone(&self.session);
        let events = async {
            while !self.has_ended {
                let _ = self.next().await;
            }
        };
        let closing = async { tokio::join!(session.disconnect(), events) };
        // A server that does not let go in time is left alone; its session times out.
        let _ = timeout(CLOSE_LIMIT, closing).await;
    }
}

/// Publishing again would fail again: the subscription or the session is gone on the server.
fn is_subscription_gone(status: StatusCode) -> bool {
    [
        StatusCode::BadNoSubscription,
        StatusCode::BadSubscriptionIdInvalid,
        StatusCode::BadSessionIdInvalid,
        StatusCode::BadSessionClosed,
        StatusCode::BadSecureChannelIdInvalid,
    ]
    .contains(&status)
}

#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    values: Vec<Arrived>,
    /// The server changed the state of the subscription, which it only does to end it.
    ended: Option<StatusCode>,
}

impl Inbox {
    fn empty(&self) -> Result<Activity, OpcUaError> {
        let contents = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        match contents.ended {
            Some(status) if status.is_bad() => Err(OpcUaError::Subscription { status }),
            Some(_) | None => Ok(Activity::Published(contents.values)),
        }
    }
}

impl OnSubscriptionNotificationCore for Inbox {
    fn on_subscription_notification(&mut self, message: NotificationMessage, _: MonitoredItemMap<'_>) {
        let mut contents = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for part in message.notification_data.into_iter().flatten() {
            if part.inner_is::<DataChangeNotification>() {
                let change = part.into_inner_as::<DataChangeNotification>();
                for item in change.into_iter().flat_map(|c| c.monitored_items.into_iter().flatten()) {
                    contents.values.push(Arrived { handle: item.client_handle, value: item.value });
                }
            } else if let Some(change) = part.inner_as::<StatusChangeNotification>() {
                contents.ended = Some(change.status);
            }
        }
    }
}
