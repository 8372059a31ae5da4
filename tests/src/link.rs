//! A TCP link between agent and backend that can be cut and held.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkMode {
    /// Bytes pass.
    Open,
    /// Every connection is reset, and new ones are refused.
    Cut,
}

/// A link. It ends when dropped.
#[derive(Debug)]
pub struct Link {
    /// Where to dial.
    pub address: SocketAddr,
    mode: watch::Sender<LinkMode>,
    task: JoinHandle<()>,
}

impl Link {
    /// A link that leads to `target`.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mode, seen) = watch::channel(LinkMode::Open);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, target, seen.clone()));
            }
        });
        Ok(Self { address, mode, task })
    }

    /// Changes the link.
    pub fn set(&self, mode: LinkMode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
        self.mode.send_replace(LinkMode::Cut);
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr, mut mode: watch::Receiver<LinkMode>) {
    if *mode.borrow() == LinkMode::Cut {
        return;
    }
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    // A cut in the middle of a transfer drops both ends with whatever was under way.
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = mode.wait_for(|m| *m == LinkMode::Cut) => {}
    }
}
