//! What both transport filters do with bytes: take in what has come, hand on what is ready.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

/// Appends what has come to `pending`. The end of the stream is an error that says `closed`.
pub(crate) fn poll_receive(
    inner: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    pending: &mut BytesMut,
    closed: &'static str,
) -> Poll<io::Result<()>> {
    let mut space = [0; 512];
    let mut read = ReadBuf::new(&mut space);
    ready!(Pin::new(inner).poll_read(cx, &mut read))?;
    if read.filled().is_empty() {
        return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, closed)));
    }
    pending.extend_from_slice(read.filled());
    Poll::Ready(Ok(()))
}

/// Moves as much of `ready` to the reader as it has room for.
pub(crate) fn hand_on(ready: &mut BytesMut, buf: &mut ReadBuf<'_>) {
    let size = ready.len().min(buf.remaining());
    buf.put_slice(&ready[..size]);
    ready.advance(size);
}
