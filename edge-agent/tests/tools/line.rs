//! A machine on a serial line, which is a pair of pseudo terminals; written against the specification
//! and not against our driver.
//!
//! A pseudo terminal carries bytes whatever bit rate is set. What a real line would garble, this one
//! tells: the machine reads the setting of the other end with `tcgetattr` before it answers, and its
//! script answers only at the setting that is its own. Linux clears the parity bit itself on a pseudo
//! terminal; the number of stop bits (two without parity) and "odd" are kept, and tell the three apart.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc::O_NOCTTY;
use nix::sys::termios::{ControlFlags, tcgetattr};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_serial::{SerialPort as _, SerialStream};

/// A request for registers as it came. For a single write the quantity is the value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) unit: u8,
    pub(crate) function: u8,
    pub(crate) address: u16,
    pub(crate) quantity: u16,
}

impl Asked {
    /// Answers with registers that hold what `value` says.
    pub(crate) fn registers(&self, value: impl Fn(u16) -> u16) -> Vec<u8> {
        let mut body = vec![self.unit, self.function, u8::try_from(self.quantity * 2).expect("at most 125")];
        body.extend((0..self.quantity).flat_map(|n| value(self.address + n).to_be_bytes()));
        sealed(body)
    }

    pub(crate) fn exception(&self, code: u8) -> Vec<u8> {
        sealed(vec![self.unit, self.function | 0x80, code])
    }

    /// Confirms a write of one register.
    pub(crate) fn confirmation(&self) -> Vec<u8> {
        let ([a, b], [c, d]) = (self.address.to_be_bytes(), self.quantity.to_be_bytes());
        sealed(vec![self.unit, self.function, a, b, c, d])
    }
}

fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let mut sum = 0xFFFF_u16;
    for byte in &body {
        sum ^= u16::from(*byte);
        for _ in 0..8 {
            sum = if sum % 2 == 1 { (sum / 2) ^ 0xA001 } else { sum / 2 };
        }
    }
    body.extend(sum.to_le_bytes());
    body
}

/// How the other end is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) baud_rate: u32,
    two_stop_bits: bool,
    odd: bool,
}

impl Setting {
    pub(crate) fn of(baud_rate: u32, parity: &str) -> Self {
        Self { baud_rate, two_stop_bits: parity == "none", odd: parity == "odd" }
    }

    /// Of the end `near`, which the end `far` shares.
    fn read(far: &SerialStream, near: &File) -> Self {
        let baud_rate = far.baud_rate().expect("it is a terminal");
        let flags = tcgetattr(near).expect("it is a terminal").control_flags;
        let (two_stop_bits, odd) =
            (flags.contains(ControlFlags::CSTOPB), flags.contains(ControlFlags::PARODD));
        Self { baud_rate, two_stop_bits, odd }
    }
}

/// Answers what its script says, and nothing where the script says nothing. Ends with the test's
/// runtime.
pub(crate) struct TestLine {
    name: String,
}

impl TestLine {
    pub(crate) fn start(script: impl FnMut(Asked, Setting) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let (far, near) = SerialStream::pair().expect("a pseudo terminal");
        let name = near.name().expect("a name");
        // The library locks the line for itself; a plain handle keeps it alive and shows its setting.
        let held = File::options().read(true).write(true).custom_flags(O_NOCTTY).open(&name);
        drop(near);
        let held = held.expect("the line");
        tokio::spawn(serve(far, move |far: &SerialStream| Setting::read(far, &held), script));
        Self { name }
    }

    /// The same frames in a TCP stream, whose far end has no setting; answers on the port it tells.
    pub(crate) async fn over_tcp(mut script: impl FnMut(Asked) -> Option<Vec<u8>> + Send + 'static) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, |_| Setting::of(0, "even"), |asked, _| script(asked)).await;
            }
        });
        port
    }

    pub(crate) fn device(&self) -> String {
        self.name.clone()
    }
}

async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    mut far: T,
    setting: impl Fn(&T) -> Setting,
    mut script: impl FnMut(Asked, Setting) -> Option<Vec<u8>>,
) {
    let mut request = [0; 8];
    while far.read_exact(&mut request).await.is_ok() {
        let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
        let asked = Asked { unit: request[0], function: request[1], address: word(2), quantity: word(4) };
        assert_eq!(sealed(request[..6].to_vec()), request, "a whole request with its checksum");
        let Some(frame) = script(asked, setting(&far)) else { continue };
        if far.write_all(&frame).await.is_err() {
            return;
        }
    }
}
