//! A transport for RTU frames that lets only the answer to the last request pass.
//!
//! An RTU frame is the unit id, the function code, the data and a CRC-16 (least significant byte
//! first); it has no transaction number and no length. The client on top would take any bytes for its
//! answer, late ones and noise included. The filter therefore throws away whatever lies on the line
//! before a request is sent, knows from the request how long its answer must be, and looks for a frame
//! of that length (or an exception) from that unit with a correct CRC, skipping all bytes before it:
//! noise, echoes, frames of other units.
//!
//! What it cannot tell from the right answer is one that comes late from the same unit to a request of
//! the same kind and length; against those the driver keeps quiet after a request without an answer.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use acquisition::Counter;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::incoming;

/// An exception: unit id, function code, exception code, CRC.
const EXCEPTION_BYTES: usize = 5;

/// The longest frame on a serial line.
const FRAME_BYTES_MAX: usize = 256;

/// The filter around a transport. At most two frames and one read are buffered.
pub(crate) struct LineFilter<T> {
    inner: T,
    wanted: Option<Wanted>,
    /// What is left to be written of the request.
    sending: usize,
    /// Received, not yet the wanted frame.
    pending: BytesMut,
    /// The rest of the wanted frame.
    ready: BytesMut,
    dropped: Arc<Counter>,
}

/// The answer to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wanted {
    unit: u8,
    function: u8,
    size: usize,
}

impl Wanted {
    /// What answers a request; `None` for a function that is not used here.
    fn by(request: &[u8]) -> Option<Self> {
        let [unit, function, _, _, high, low, ..] = *request else { return None };
        let quantity = usize::from(u16::from_be_bytes([high, low]));
        let size = match function {
            1 | 2 => 5 + quantity.div_ceil(8),
            3 | 4 => 5 + 2 * quantity,
            5 | 6 | 15 | 16 => 8,
            _ => return None,
        };
        Some(Self { unit, function, size })
    }

    /// The size of the wanted frame or exception at the beginning of `bytes`.
    fn at_start_of(self, bytes: &[u8]) -> Option<usize> {
        let [unit, function, ..] = *bytes else { return None };
        let size = if function == self.function { self.size } else { EXCEPTION_BYTES };
        let is_answer = function & 0x7F == self.function && unit == self.unit;
        (is_answer && bytes.len() >= size && is_intact(&bytes[..size])).then_some(size)
    }
}

fn is_intact(frame: &[u8]) -> bool {
    frame.split_last_chunk::<2>().is_some_and(|(body, sum)| crc(body).to_le_bytes() == *sum)
}

/// The CRC-16 of Modbus: polynomial 0x8005 reflected, beginning with all ones.
pub(crate) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xA001 } else { sum >> 1 })
    })
}

impl<T> LineFilter<T> {
    pub(crate) fn new(inner: T, dropped: Arc<Counter>) -> Self {
        let (pending, ready) = (BytesMut::with_capacity(512), BytesMut::new());
        Self { inner, wanted: None, sending: 0, pending, ready, dropped }
    }

    /// Moves the wanted frame from `pending` to `ready`, if it is there.
    fn sort(&mut self) {
        let Some(wanted) = self.wanted else { return };
        let found = (0..self.pending.len())
            .find_map(|begin| wanted.at_start_of(&self.pending[begin..]).map(|size| (begin, size)));
        if let Some((begin, size)) = found {
            self.drop_pending(begin);
            self.ready = self.pending.split_to(size);
            self.wanted = None;
        } else if self.pending.len() > 2 * FRAME_BYTES_MAX {
            self.drop_pending(self.pending.len() - FRAME_BYTES_MAX);
        }
    }

    fn drop_pending(&mut self, count: usize) {
        if count > 0 {
            self.pending.advance(count);
            self.dropped.increment();
        }
    }
}

impl<T: AsyncRead + Unpin> LineFilter<T> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        incoming::poll_receive(&mut self.inner, cx, &mut self.pending, "the other side closed the line")
    }

    /// Throws away all that has come.
    fn clear_line(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while let Poll::Ready(received) = self.poll_receive(cx) {
            received?;
            self.drop_pending(self.pending.len());
        }
        self.drop_pending(self.pending.len());
        self.ready.clear();
        Ok(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for LineFilter<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.ready.is_empty() {
            ready!(this.poll_receive(cx))?;
            this.sort();
        }
        incoming::hand_on(&mut this.ready, buf);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LineFilter<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // A request that was given up while it was written is followed by one of another length.
        if this.sending != buf.len() || this.sending == 0 {
            this.clear_line(cx)?;
            this.wanted = Wanted::by(buf);
            this.sending = buf.len();
        }
        let size = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        this.sending -= size;
        Poll::Ready(Ok(size))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<T> fmt::Debug for LineFilter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineFilter").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn sealed(body: &[u8]) -> Vec<u8> {
        [body, &crc(body).to_le_bytes()].concat()
    }

    fn filtered() -> (LineFilter<DuplexStream>, DuplexStream, Arc<Counter>) {
        let (near, far) = duplex(8192);
        let dropped = Arc::new(Counter::default());
        (LineFilter::new(near, Arc::clone(&dropped)), far, dropped)
    }

    /// Reads two holding registers of unit 7.
    fn request() -> Vec<u8> {
        sealed(&[7, 3, 0, 0, 0, 2])
    }

    async fn received(filter: &mut LineFilter<DuplexStream>, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        filter.read_exact(&mut bytes).await.expect("the frame comes");
        bytes
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // Modbus over Serial Line V1.02, appendix B: the frame 02 07 has the CRC 0x1241.
        assert_eq!(crc(&[0x02, 0x07]), 0x1241);
    }

    #[tokio::test]
    async fn b9_noise_and_frames_of_others_are_skipped() {
        let (mut filter, mut line, dropped) = filtered();
        filter.write_all(&request()).await.expect("written");
        let answer = sealed(&[7, 3, 4, 0, 1, 0, 2]);
        let foreign = sealed(&[9, 3, 4, 0, 8, 0, 9]);
        let broken = [7, 3, 4, 0, 1, 0, 2, 0, 0].to_vec();
        line.write_all(&[vec![0xFF, 7, 3, 7], foreign, broken, answer.clone()].concat()).await.expect("sent");
        assert_eq!(received(&mut filter, answer.len()).await, answer);
        assert_eq!(dropped.get(), 1);
    }

    #[tokio::test]
    async fn what_lies_on_the_line_before_a_request_is_thrown_away() {
        let (mut filter, mut line, dropped) = filtered();
        line.write_all(&sealed(&[7, 3, 4, 0, 8, 0, 9])).await.expect("a late answer");
        filter.write_all(&request()).await.expect("written");
        let answer = sealed(&[7, 3, 4, 0, 1, 0, 2]);
        line.write_all(&answer).await.expect("sent");
        assert_eq!(received(&mut filter, answer.len()).await, answer);
        assert_eq!(dropped.get(), 1);
    }

    #[tokio::test]
    async fn an_exception_is_an_answer_and_comes_in_any_pieces() {
        let (mut filter, mut line, _) = filtered();
        filter.write_all(&request()).await.expect("written");
        let answer = sealed(&[7, 0x83, 2]);
        for byte in &answer {
            line.write_all(&[*byte]).await.expect("sent");
            tokio::task::yield_now().await;
        }
        assert_eq!(received(&mut filter, answer.len()).await, answer);
    }

    proptest! {
        #[test]
        fn b9_an_answer_is_found_behind_any_noise(noise in prop::collection::vec(any::<u8>(), 0..1500)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let (mut filter, mut line, _) = filtered();
                filter.write_all(&request()).await.expect("written");
                let answer = sealed(&[7, 3, 4, 0xAB, 1, 0xCD, 2]);
                line.write_all(&[noise, answer.clone()].concat()).await.expect("sent");
                assert_eq!(received(&mut filter, answer.len()).await, answer);
            });
        }
    }
}
