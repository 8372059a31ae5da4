//! A transport that lets only the answer to the last request pass.
//!
//! A Modbus TCP frame begins with the MBAP header: transaction id, protocol id 0 and length (two bytes
//! each, most significant first), where the length counts what follows, the unit id included. The
//! client on top gives up a request at its deadline, but its answer can still come. Without this
//! filter that late frame would be read as the answer to the next request, and so on for ever. The
//! filter notes the transaction id of each outgoing frame, assembles whole incoming frames, passes on
//! the one that carries the noted id and drops the others.
//!
//! It also ends a connection early that talks something else: a header that cannot be one is an error
//! at once, not a wait for bytes that never come. The end of the stream is an error too, with a text
//! that says what happened.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use acquisition::Counter;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::incoming;

/// Transaction id, protocol id and length.
const HEADER_BYTES: usize = 6;

/// What the length field may say: unit id and function code at least, unit id and 253 bytes at most.
const LENGTHS: std::ops::RangeInclusive<usize> = 2..=254;

/// The filter around a transport. At most one frame and one read are buffered.
pub(crate) struct StaleFilter<T> {
    inner: T,
    outgoing: Outgoing,
    /// The transaction id whose answer is awaited.
    wanted: Option<u16>,
    /// Received, not yet a whole frame.
    pending: BytesMut,
    /// The rest of the wanted frame.
    ready: BytesMut,
    dropped: Arc<Counter>,
}

impl<T> StaleFilter<T> {
    pub(crate) fn new(inner: T, dropped: Arc<Counter>) -> Self {
        let (pending, ready) = (BytesMut::with_capacity(512), BytesMut::new());
        Self { inner, outgoing: Outgoing::default(), wanted: None, pending, ready, dropped }
    }

    /// A new request was sent: what is left of an older answer is worthless.
    fn expect(&mut self, transaction: u16) {
        self.wanted = Some(transaction);
        self.ready.clear();
    }

    /// Moves the wanted frame from `pending` to `ready`, if it is there, and drops others before it.
    fn sort(&mut self) -> io::Result<()> {
        while self.ready.is_empty() {
            let Some(size) = frame_size(&self.pending)? else { return Ok(()) };
            let frame = self.pending.split_to(size);
            if self.wanted == Some(u16::from_be_bytes([frame[0], frame[1]])) {
                self.wanted = None;
                self.ready = frame;
            } else {
                self.dropped.increment();
            }
        }
        Ok(())
    }
}

/// The size of the frame at the beginning of `bytes`; `None` while it is not complete.
fn frame_size(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[2..4] != [0, 0] || !LENGTHS.contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what the machine sent is not Modbus TCP"));
    }
    Ok((bytes.len() >= HEADER_BYTES + length).then_some(HEADER_BYTES + length))
}

/// Finds the frames in what is written, in whatever pieces it is written.
#[derive(Default)]
struct Outgoing {
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    body_left: usize,
}

impl Outgoing {
    /// Takes the bytes written; answers the transaction id of the last frame that began in them.
    fn take(&mut self, mut written: &[u8]) -> Option<u16> {
        let mut transaction = None;
        while !written.is_empty() {
            let skipped = self.body_left.min(written.len());
            self.body_left -= skipped;
            written = &written[skipped..];
            let taken = (HEADER_BYTES - self.header_filled).min(written.len());
            self.header[self.header_filled..self.header_filled + taken].copy_from_slice(&written[..taken]);
            self.header_filled += taken;
            written = &written[taken..];
            if self.header_filled == HEADER_BYTES {
                self.header_filled = 0;
                self.body_left = usize::from(u16::from_be_bytes([self.header[4], self.header[5]]));
                transaction = Some(u16::from_be_bytes([self.header[0], self.header[1]]));
            }
        }
        transaction
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for StaleFilter<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            this.sort()?;
            if !this.ready.is_empty() {
                incoming::hand_on(&mut this.ready, buf);
                return Poll::Ready(Ok(()));
            }
            let closed = "the machine closed the connection";
            ready!(incoming::poll_receive(&mut this.inner, cx, &mut this.pending, closed))?;
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for StaleFilter<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let size = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        if let Some(transaction) = self.outgoing.take(&buf[..size]) {
            self.expect(transaction);
        }
        Poll::Ready(Ok(size))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<T> fmt::Debug for StaleFilter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaleFilter").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn frame(transaction: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short");
        [&transaction.to_be_bytes()[..], &[0, 0], &length.to_be_bytes(), body].concat()
    }

    fn filtered() -> (StaleFilter<DuplexStream>, DuplexStream, Arc<Counter>) {
        let (near, far) = duplex(4096);
        let counters = Arc::new(Counter::default());
        (StaleFilter::new(near, Arc::clone(&counters)), far, counters)
    }

    async fn received(filter: &mut StaleFilter<DuplexStream>, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        filter.read_exact(&mut bytes).await.expect("the frame comes");
        bytes
    }

    #[tokio::test]
    async fn only_the_answer_to_the_last_request_passes() {
        let (mut filter, mut machine, counters) = filtered();
        filter.write_all(&frame(7, &[1, 3, 0, 0, 0, 1])).await.expect("written");
        filter.write_all(&frame(8, &[1, 3, 0, 9, 0, 1])).await.expect("written");
        let (late, wanted) = (frame(7, &[1, 3, 2, 0, 70]), frame(8, &[1, 3, 2, 0, 80]));
        machine.write_all(&[late.clone(), late, wanted.clone()].concat()).await.expect("answered");
        assert_eq!(received(&mut filter, wanted.len()).await, wanted);
        assert_eq!(counters.get(), 2);
    }

    #[tokio::test]
    async fn a_frame_in_single_bytes_is_assembled_and_a_repeated_one_dropped() {
        let (mut filter, mut machine, counters) = filtered();
        filter.write_all(&frame(1, &[1, 3, 0, 0, 0, 1])).await.expect("written");
        let answer = frame(1, &[1, 3, 2, 0, 5]);
        for byte in [answer.clone(), answer.clone()].concat() {
            machine.write_all(&[byte]).await.expect("answered");
        }
        assert_eq!(received(&mut filter, answer.len()).await, answer);
        filter.write_all(&frame(2, &[1, 3, 0, 0, 0, 1])).await.expect("written");
        let next = frame(2, &[1, 3, 2, 0, 6]);
        machine.write_all(&next).await.expect("answered");
        assert_eq!(received(&mut filter, next.len()).await, next);
        assert_eq!(counters.get(), 1);
    }

    #[tokio::test]
    async fn the_rest_of_an_abandoned_answer_is_forgotten() {
        let (mut filter, mut machine, _) = filtered();
        filter.write_all(&frame(1, &[1, 3, 0, 0, 0, 1])).await.expect("written");
        machine.write_all(&frame(1, &[1, 3, 2, 0, 5])).await.expect("answered");
        assert_eq!(received(&mut filter, 3).await, [0, 1, 0]);
        filter.write_all(&frame(2, &[1, 3, 0, 0, 0, 1])).await.expect("written");
        let next = frame(2, &[1, 3, 2, 0, 6]);
        machine.write_all(&next).await.expect("answered");
        assert_eq!(received(&mut filter, next.len()).await, next);
    }

    #[tokio::test]
    async fn what_cannot_be_a_header_fails_at_once() {
        for garbage in [[0xFF; 6], [0, 1, 0, 0, 0, 1], [0, 1, 0, 0, 0, 255]] {
            let (mut filter, mut machine, _) = filtered();
            machine.write_all(&garbage).await.expect("sent");
            let error = filter.read_u8().await.expect_err("not Modbus");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{garbage:?}");
        }
    }

    #[tokio::test]
    async fn the_end_of_the_stream_says_who_closed_it() {
        let (mut filter, machine, _) = filtered();
        drop(machine);
        let error = filter.read_u8().await.expect_err("closed");
        assert_eq!(error.to_string(), "the machine closed the connection");
    }

    #[test]
    fn outgoing_frames_are_found_in_any_pieces() {
        let stream = [frame(300, &[1, 3, 0, 0, 0, 1]), frame(301, &[1, 3, 0, 0, 0, 1])].concat();
        for piece in 1..=stream.len() {
            let mut outgoing = Outgoing::default();
            let found: Vec<u16> = stream.chunks(piece).filter_map(|bytes| outgoing.take(bytes)).collect();
            assert_eq!(found.last(), Some(&301), "pieces of {piece}");
            assert!(piece > 12 || found.first() == Some(&300), "pieces of {piece}: {found:?}");
        }
    }
}
