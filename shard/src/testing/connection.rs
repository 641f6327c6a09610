//! What a host keeps for one connection, and the table of them.

use super::network::WireId;
use conduit_protocol::{ConnectionId, Session};

/// One connection as its host sees it.
#[derive(Debug)]
pub struct Connection {
    /// Its bytes.
    pub wire: WireId,
    /// Its decoder and encoder.
    pub session: Session,
    /// Encoded and not yet written.
    pub outbox: Vec<u8>,
    /// Read and not yet decoded.
    pub rest: Vec<u8>,
    /// Since when the peer has not taken what is written.
    pub blocked_since_ns: Option<u64>,
    /// Once `closing`: when to give up on a peer that does not take its last words.
    pub close_by_ns: u64,
    /// What is in `rest` may be decoded now.
    pub resumed: bool,
    /// A stream that it publishes to is nearly full.
    pub paused: bool,
    /// The session waits for answers before it decodes more.
    pub waiting: bool,
    /// Deliveries were encoded since the core was last told that the outbox is empty.
    pub delivered: bool,
    /// It is a consumer of the core.
    pub consumer: bool,
    /// It sends no acks.
    pub is_reader: bool,
    /// The peer has said that it will send no more.
    pub read_closed: bool,
    /// Nothing more is to be decoded: write the outbox, then close.
    pub closing: bool,
}

impl Connection {
    /// A connection that just came, perhaps from another shard with bytes in both directions.
    #[must_use]
    pub fn new(wire: WireId, rest: Vec<u8>, outbox: Vec<u8>) -> Self {
        Self {
            wire,
            session: Session::new(),
            is_reader: false,
            outbox,
            rest,
            blocked_since_ns: None,
            close_by_ns: u64::MAX,
            resumed: false,
            paused: false,
            waiting: false,
            delivered: false,
            consumer: false,
            read_closed: false,
            closing: false,
        }
    }

    /// Its bytes must not be decoded now: it waits for an answer, for room in a stream, or for its peer to read.
    #[must_use]
    pub const fn is_held(&self, outbox_bytes_max: usize) -> bool {
        self.paused || self.waiting || self.outbox.len() > outbox_bytes_max
    }
}

/// The table of connections. A slot's generation rises when it is freed, so an old id finds nothing.
#[derive(Debug, Default)]
pub struct Connections {
    slots: Vec<(u32, Option<Box<Connection>>)>,
    live: usize,
}

impl Connections {
    /// Takes the lowest free slot.
    pub fn insert(&mut self, connection: Connection) -> ConnectionId {
        let free = self.slots.iter().position(|(_, connection)| connection.is_none());
        let slot = free.unwrap_or_else(|| {
            self.slots.push((1, None));
            self.slots.len() - 1
        });
        self.live += 1;
        let (generation, place) = &mut self.slots[slot];
        *place = Some(Box::new(connection));
        ConnectionId::new(slot as u32, *generation)
    }

    /// The connection of an id, if it still is there.
    pub fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        let (generation, connection) = self.slots.get_mut(id.slot() as usize)?;
        if ConnectionId::new(id.slot(), *generation) == id { connection.as_deref_mut() } else { None }
    }

    /// Frees a slot.
    pub fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        self.find(id)?;
        let (generation, connection) = &mut self.slots[id.slot() as usize];
        *generation += 1;
        self.live -= 1;
        connection.take().map(|connection| *connection)
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.live
    }

    /// All of them, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (ConnectionId, &Connection)> {
        self.slots.iter().enumerate().filter_map(|(slot, (generation, connection))| {
            connection.as_deref().map(|connection| (ConnectionId::new(slot as u32, *generation), connection))
        })
    }

    /// Their ids, by slot.
    #[must_use]
    pub fn ids(&self) -> Vec<ConnectionId> {
        self.iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_id_finds_nothing() {
        let mut connections = Connections::default();
        let first = connections.insert(Connection::new(WireId(1), Vec::new(), Vec::new()));
        let second = connections.insert(Connection::new(WireId(2), Vec::new(), Vec::new()));
        assert_eq!((connections.count(), connections.ids()), (2, vec![first, second]));
        assert!(connections.remove(first).is_some() && connections.remove(first).is_none());
        let third = connections.insert(Connection::new(WireId(3), Vec::new(), Vec::new()));
        assert_eq!(third.slot(), first.slot());
        assert!(connections.find(first).is_none());
        assert_eq!(connections.find(third).map(|connection| connection.wire), Some(WireId(3)));
    }
}
