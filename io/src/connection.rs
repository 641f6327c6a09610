//! The sockets of one shard and what each needs between two reads.

use conduit_protocol::{ConnectionId, Session};
use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// One socket. No task belongs to it: a delivery to any connection is a look-up.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: OwnedFd,
    /// The address that it comes from.
    pub(crate) peer: IpAddr,
    /// When it was accepted, by whichever shard. `Now::mono_ns`.
    pub(crate) opened_ns: u64,
    pub(crate) session: Session,
    /// Encoded and not yet written.
    pub(crate) outbox: Vec<u8>,
    /// Of `outbox`, how much the kernel has taken.
    pub(crate) written: usize,
    /// Read and not yet decoded: the start of an incomplete unit, or everything while decoding waits.
    pub(crate) rest: Vec<u8>,
    /// While `blocked`: since when, in `Now::mono_ns`.
    pub(crate) blocked_since_ns: u64,
    /// Once `closing`: when to give up on a peer that does not take its last words, in `Now::mono_ns`.
    pub(crate) close_by_ns: u64,
    /// The kernel has something for us.
    pub(crate) readable: bool,
    /// The end of the stream (or an error) has been told: reading goes on until it is met, since it is told only once.
    pub(crate) ended: bool,
    /// In the host's list of turns.
    pub(crate) queued: bool,
    /// What is in `rest` may be decoded now, without waiting for more bytes.
    pub(crate) resumed: bool,
    /// In the host's list of outboxes to write.
    pub(crate) dirty: bool,
    /// The kernel's buffer is full; readiness tells when it has room.
    pub(crate) blocked: bool,
    /// In the host's list of connections that wait until the mesh has room.
    pub(crate) held: bool,
    /// A stream that it publishes to is nearly full.
    pub(crate) paused: bool,
    /// The session waits for answers before it decodes more.
    pub(crate) waiting: bool,
    /// Deliveries were encoded since the shard was last told that the outbox is empty.
    pub(crate) delivered: bool,
    /// It is a consumer of the shard.
    pub(crate) consumer: bool,
    /// The peer has said that it will send no more.
    pub(crate) read_closed: bool,
    /// Nothing more is to be decoded: write the outbox, then close.
    pub(crate) closing: bool,
    /// Once `closing`: our side of the socket has been shut, what still comes is thrown away.
    pub(crate) shut: bool,
    /// The slot is to be freed at its next turn: the socket broke, or moved to another shard.
    pub(crate) gone: bool,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd, peer: IpAddr, opened_ns: u64, rest: Vec<u8>) -> Self {
        Self {
            socket,
            peer,
            opened_ns,
            session: Session::new(),
            outbox: Vec::new(),
            written: 0,
            rest,
            blocked_since_ns: 0,
            close_by_ns: u64::MAX,
            readable: false,
            ended: false,
            queued: false,
            resumed: false,
            dirty: false,
            blocked: false,
            held: false,
            paused: false,
            waiting: false,
            delivered: false,
            consumer: false,
            read_closed: false,
            closing: false,
            shut: false,
            gone: false,
        }
    }

    /// Bytes encoded and not yet taken by the kernel.
    pub(crate) fn unwritten(&self) -> usize {
        self.outbox.len() - self.written
    }

    /// Its bytes must not be decoded now: it waits for an answer, for room in a stream, or for its peer to read.
    pub(crate) fn is_held(&self, outbox_bytes_max: usize) -> bool {
        self.paused || self.waiting || self.unwritten() > outbox_bytes_max
    }

    /// Tells the peer that nothing more comes. What it still sends is read and thrown away for a while: closing a
    /// socket with unread bytes would destroy the last words on their way (RFC 9112, section 9.6).
    pub(crate) fn shut_write(&mut self) {
        self.shut = true;
        if rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write).is_err() {
            self.gone = true;
        }
    }
}

/// The table of connections. A slot's generation rises when it is freed, so an old id finds nothing.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

impl Connections {
    pub(crate) fn insert(&mut self, connection: Connection) -> ConnectionId {
        self.live += 1;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None });
            (self.slots.len() - 1) as u32
        });
        let place = &mut self.slots[slot as usize];
        place.connection = Some(Box::new(connection));
        ConnectionId::new(slot, place.generation)
    }

    pub(crate) fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let slot = self.slots.get_mut(id.slot() as usize)?;
        if ConnectionId::new(id.slot(), slot.generation) == id { slot.connection.as_deref_mut() } else { None }
    }

    /// Frees a slot and gives its connection out; dropping it closes the socket.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        self.find(id)?;
        let slot = &mut self.slots[id.slot() as usize];
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot());
        self.live -= 1;
        slot.connection.take()
    }

    pub(crate) const fn len(&self) -> usize {
        self.live
    }

    /// Slots ever used: the range of [`Self::id_at`].
    pub(crate) const fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The live connection in a slot.
    pub(crate) fn id_at(&self, slot: usize) -> Option<ConnectionId> {
        let place = self.slots.get(slot)?;
        place.connection.as_ref().map(|_| ConnectionId::new(slot as u32, place.generation))
    }
}
