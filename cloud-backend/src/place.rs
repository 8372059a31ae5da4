//! The place where gateways publish: our own endpoint, or an external MQTT 5 broker.

use std::net::SocketAddr;
use std::sync::Arc;

use gateway_api::Reach;
use ingestion::{Broker, BrokerEvent};
use mqtt_broker_client::{Address, BrokerClient, Dial, Link};
use mqtt_endpoint::{Endpoint, EndpointConfig, EndpointEvent, Limits, Listener};
use pki::BACKEND_NAME;
use tls_kit::ServerTls;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::app::named;
use crate::authority::Shared;
use crate::cli::BrokerArgs;
use crate::gate::{EndpointGate, ForeignGate, Gate, MosquittoGate, OurCredentials};
use crate::ingest::Ingest;
use crate::mosquitto::Folder;

/// The place, ready and not yet at work.
pub(crate) enum Place {
    /// Our own endpoint.
    Endpoint { listener: Box<Listener>, endpoint: Endpoint, events: mpsc::Receiver<EndpointEvent> },
    /// An external broker.
    External {
        link: Box<Link>,
        client: BrokerClient,
        events: mpsc::Receiver<BrokerEvent>,
        gate: Arc<dyn Gate>,
    },
}

/// What is told of the place.
#[derive(Clone)]
pub(crate) enum Source {
    Endpoint(Endpoint),
    External(BrokerClient),
}

impl Place {
    /// Our own endpoint, listening.
    pub(crate) async fn listen(address: SocketAddr, tls: ServerTls) -> anyhow::Result<Self> {
        let config = EndpointConfig { listen: address, tls, limits: Limits::default() };
        let (listener, endpoint, events) = mqtt_endpoint::bind(config).await?;
        Ok(Self::Endpoint { listener: Box::new(listener), endpoint, events })
    }

    /// An external broker; it need not be there yet.
    pub(crate) fn dial(shared: &Shared, address: &Address, args: &BrokerArgs) -> anyhow::Result<Self> {
        let (address, ours) = (address.clone(), OurCredentials::issue(shared.clone())?);
        let client_id = BACKEND_NAME.to_owned();
        let dial = Dial { address: address.clone(), credentials: ours.credentials.clone(), client_id };
        let gate: Arc<dyn Gate> = match &args.broker_dir {
            Some(dir) => Arc::new(MosquittoGate::new(ours, Folder::open(dir)?, address)),
            None => Arc::new(ForeignGate(ours)),
        };
        let (link, client, events) = mqtt_broker_client::link(dial);
        Ok(Self::External { link: Box::new(link), client, events, gate })
    }

    /// Where it is, for people and the state file.
    pub(crate) fn address(&self) -> String {
        match self {
            Self::Endpoint { endpoint, .. } => endpoint.local_addr().to_string(),
            Self::External { client, .. } => {
                client.address().to_string().trim_start_matches("mqtts://").to_owned()
            }
        }
    }

    /// Where gateways find it.
    pub(crate) fn reach(&self) -> Reach {
        match self {
            Self::Endpoint { endpoint, .. } => Reach { host: None, port: endpoint.local_addr().port() },
            Self::External { client, .. } => {
                let Address { host, port } = client.address().clone();
                let is_here =
                    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
                Reach { host: (!is_here).then_some(host), port }
            }
        }
    }

    pub(crate) fn broker(&self) -> Arc<dyn Broker> {
        match self {
            Self::Endpoint { endpoint, .. } => Arc::new(endpoint.clone()),
            Self::External { client, .. } => Arc::new(client.clone()),
        }
    }

    pub(crate) fn gate(&self) -> Arc<dyn Gate> {
        match self {
            Self::Endpoint { endpoint, .. } => Arc::new(EndpointGate(endpoint.clone())),
            Self::External { gate, .. } => Arc::clone(gate),
        }
    }

    pub(crate) fn source(&self) -> Source {
        match self {
            Self::Endpoint { endpoint, .. } => Source::Endpoint(endpoint.clone()),
            Self::External { client, .. } => Source::External(client.clone()),
        }
    }

    /// Begins its work and that of who takes what comes.
    pub(crate) fn spawn(
        self,
        tasks: &mut JoinSet<&'static str>,
        ingest: Ingest,
        stopping: &CancellationToken,
    ) {
        match self {
            Self::Endpoint { listener, events, .. } => {
                tasks.spawn(named("mqtt listener", listener.run(stopping.clone())));
                tasks.spawn(named("ingest", ingest.run(events)));
            }
            Self::External { link, events, .. } => {
                tasks.spawn(named("link to the broker", link.run(stopping.clone())));
                tasks.spawn(named("ingest", ingest.run(events)));
            }
        }
    }
}
