//! A web server that keeps what it is told, or hangs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

#[derive(Default)]
struct Heard {
    told: Vec<Value>,
    hanging: usize,
}

type Shared = Arc<Mutex<Heard>>;

/// Serves until the runtime of its test ends.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    heard: Shared,
}

impl Web {
    pub(crate) async fn start() -> Self {
        let heard = Shared::default();
        let router = Router::new()
            .route("/keep", post(keep))
            .route("/hang", post(hang))
            .with_state(Arc::clone(&heard));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, heard }
    }

    /// How often it was told something.
    pub(crate) fn told(&self) -> usize {
        self.heard.lock().expect("unpoisoned").told.len()
    }

    /// What it was told last.
    pub(crate) fn last(&self) -> Value {
        self.heard.lock().expect("unpoisoned").told.last().cloned().unwrap_or_default()
    }

    /// How many requests it leaves without an answer.
    pub(crate) fn hanging(&self) -> usize {
        self.heard.lock().expect("unpoisoned").hanging
    }
}

async fn keep(State(heard): State<Shared>, body: String) {
    let body = serde_json::from_str(&body).expect("JSON");
    heard.lock().expect("unpoisoned").told.push(body);
}

async fn hang(State(heard): State<Shared>) {
    heard.lock().expect("unpoisoned").hanging += 1;
    std::future::pending::<()>().await;
}
