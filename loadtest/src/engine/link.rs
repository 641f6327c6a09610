//! One connection: its socket, what is not yet written, and the start of what has not come whole.

use super::role::{OUTBOX_BYTES, Role};
use super::world::World;
use mio::net::TcpStream;
use std::io::{ErrorKind, Read, Write};

/// Bytes asked for in one read.
const READ_BYTES: usize = 128 * 1024;

/// A connection and its role.
pub(crate) struct Link {
    pub(crate) socket: TcpStream,
    pub(crate) role: Box<dyn Role>,
    /// The start of a unit that has not come whole.
    rest: Vec<u8>,
    outbox: Vec<u8>,
    written: usize,
    pub(crate) is_open: bool,
}

/// How a read went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadEnd {
    /// There may be more to read.
    More,
    /// Everything that had come has been read.
    Drained,
    /// The connection is over, with the reason.
    Lost(String),
}

impl Link {
    /// A connection that has already received `rest`.
    pub(crate) fn new(socket: TcpStream, rest: Vec<u8>, role: Box<dyn Role>) -> Self {
        Self { socket, role, rest, outbox: Vec::new(), written: 0, is_open: true }
    }

    /// Nothing waits to be written.
    pub(crate) fn is_written(&self) -> bool {
        self.outbox.is_empty()
    }

    /// Reads once and lets the role work through it; then writes what it answered.
    pub(crate) fn read(&mut self, scratch: &mut Vec<u8>, world: &mut World) -> ReadEnd {
        let start = self.rest.len();
        let wanted = start + READ_BYTES;
        if scratch.len() < wanted {
            scratch.resize(wanted, 0);
        }
        scratch[..start].copy_from_slice(&self.rest);
        let count = match self.socket.read(&mut scratch[start..wanted]) {
            Ok(0) => return ReadEnd::Lost("the server closed the connection".into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return ReadEnd::Drained,
            Err(error) if error.kind() == ErrorKind::Interrupted => return ReadEnd::More,
            Err(error) => return ReadEnd::Lost(format!("read: {error}")),
        };
        world.tally.counts.bytes_in += count as u64;
        if let Err(reason) = self.take(&scratch[..start + count], world) {
            return ReadEnd::Lost(reason);
        }
        if count == READ_BYTES { ReadEnd::More } else { ReadEnd::Drained }
    }

    /// Works through what came with the handshake.
    pub(crate) fn take_rest(&mut self, world: &mut World) -> Result<(), String> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() { Ok(()) } else { self.take(&rest, world) }
    }

    fn take(&mut self, bytes: &[u8], world: &mut World) -> Result<(), String> {
        let now_ns = world.shared.now_ns();
        let taken = self.role.receive(bytes, now_ns, &mut self.outbox, world);
        world.end_run();
        let used = taken.map_err(|fault| fault.to_string())?;
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[used..]);
        self.write(world)
    }

    /// Writes what waits, as far as the socket takes it.
    pub(crate) fn write(&mut self, world: &mut World) -> Result<(), String> {
        while self.written < self.outbox.len() {
            match self.socket.write(&self.outbox[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    world.tally.counts.bytes_out += count as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("write: {error}")),
            }
        }
        self.outbox.clear();
        self.written = 0;
        Ok(())
    }

    /// Lets the role send, batch after batch, until it has nothing more to send or the socket takes no more.
    pub(crate) fn fill(&mut self, world: &mut World) -> Result<(), String> {
        // The bound keeps one busy producer from starving the other connections; the caller comes back.
        for _ in 0..BATCHES_MAX {
            if self.outbox.len() - self.written >= OUTBOX_BYTES {
                return self.write(world);
            }
            let now_ns = world.shared.now_ns();
            let before = self.outbox.len();
            self.role.fill(now_ns, &mut self.outbox, world);
            let has_filled = self.outbox.len() - before >= OUTBOX_BYTES;
            self.write(world)?;
            if !has_filled {
                return Ok(());
            }
        }
        world.runnable.push_back(world.current);
        Ok(())
    }

    /// Appends the role's last words of a phase and writes them.
    pub(crate) fn say(&mut self, world: &mut World, speak: impl FnOnce(&mut dyn Role, &mut Vec<u8>, &mut World)) {
        speak(self.role.as_mut(), &mut self.outbox, world);
        // A connection that breaks here shows itself at the next read.
        let _ = self.write(world);
    }
}

/// Batches that one connection may write in one turn.
const BATCHES_MAX: u32 = 8;
