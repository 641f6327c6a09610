//! A WebSocket that waits: one thread, one connection.

use super::said::Said;
use crate::engine::connect::begin_websocket;
use crate::plan::Target;
use crate::wire::frame::{FrameReader, Incoming, MaskKeys, append};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The connection is over, with the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(pub(crate) String);

/// An open WebSocket that speaks JSON.
pub(crate) struct Socket {
    stream: TcpStream,
    frames: FrameReader,
    /// Read and not yet taken.
    inbox: Vec<u8>,
    /// Queued and not yet written.
    outbox: Vec<u8>,
    keys: MaskKeys,
}

impl Socket {
    /// Connects and shakes hands.
    pub(crate) fn open(target: &Target, path: &str) -> Result<Self, Broken> {
        let handshake = begin_websocket(target, path).and_then(|handshake| handshake.finish(target));
        let (stream, inbox) = handshake.map_err(|fault| Broken(fault.to_string()))?;
        let seed = inbox.len() as u64 ^ 0x51_7c_c1_b7_27_22_0a_95;
        Ok(Self { stream, frames: FrameReader::default(), inbox, outbox: Vec::new(), keys: MaskKeys::new(seed) })
    }

    /// Queues one message.
    pub(crate) fn queue(&mut self, text: &str) {
        append(&mut self.outbox, OpCode::Data(Data::Text), text.as_bytes(), self.keys.draw());
    }

    /// Bytes queued.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.outbox.len()
    }

    /// Writes what is queued.
    pub(crate) fn flush(&mut self) -> Result<(), Broken> {
        let written = self.stream.write_all(&self.outbox).map_err(|error| Broken(format!("write: {error}")));
        self.outbox.clear();
        written
    }

    /// Waits for messages, at most for `wait`, and hands over each that has come. False when none has.
    pub(crate) fn read(&mut self, wait: Duration, mut take: impl FnMut(&Said<'_>)) -> Result<bool, Broken> {
        let mut chunk = [0; 64 * 1024];
        // A time-out of nothing would mean none at all.
        let wait = wait.max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(wait)).map_err(|error| Broken(error.to_string()))?;
        // What came with the handshake is taken before anything is waited for.
        if self.inbox.is_empty() {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Broken("the server closed the connection".into())),
                Ok(count) => self.inbox.extend_from_slice(&chunk[..count]),
                Err(error) if is_pause(&error) => return Ok(false),
                Err(error) => return Err(Broken(format!("read: {error}"))),
            }
        }
        if self.take(&mut take)? {
            return Ok(true);
        }
        // Only the start of a message is there; it is waited for as for a new one.
        match self.stream.read(&mut chunk) {
            Ok(0) => return Err(Broken("the server closed the connection".into())),
            Ok(count) => self.inbox.extend_from_slice(&chunk[..count]),
            Err(error) if is_pause(&error) => return Ok(false),
            Err(error) => return Err(Broken(format!("read: {error}"))),
        }
        self.take(&mut take)
    }

    /// Hands over every whole message of the inbox.
    fn take(&mut self, take: &mut impl FnMut(&Said<'_>)) -> Result<bool, Broken> {
        let (mut used, mut has_come) = (0, false);
        let mut pongs = Vec::new();
        while let Some((incoming, length)) =
            self.frames.next(&self.inbox[used..]).map_err(|fault| Broken(fault.to_string()))?
        {
            used += length;
            match incoming {
                Incoming::Message(message) => {
                    let said = serde_json::from_slice(message).map_err(|error| {
                        let text = String::from_utf8_lossy(message);
                        Broken(format!("not a message of the protocol ({error}): {}", crate::wire::answer::clip(&text)))
                    })?;
                    take(&said);
                    has_come = true;
                }
                Incoming::Ping(payload) => pongs.push(payload.to_vec()),
                Incoming::Close(code, reason) => return Err(Broken(format!("closed: {code} {reason}"))),
                Incoming::Pong | Incoming::Fragment => {}
            }
        }
        self.inbox.drain(..used);
        for pong in pongs {
            append(&mut self.outbox, OpCode::Control(Control::Pong), &pong, self.keys.draw());
        }
        Ok(has_come)
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
