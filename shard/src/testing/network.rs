//! Connections as bytes see them: two pipes of limited size, in which bytes travel in pieces, arrive in order at times
//! that chance decides, and of which a cut may lose any tail.

use super::random::Random;
use std::collections::VecDeque;

/// Names one connection for both of its ends, for the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireId(pub u32);

/// How a network behaves. Times are virtual.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Nanoseconds that a piece travels, at most.
    pub latency_ns_max: u64,
    /// Bytes that one pipe holds, written and not yet read.
    pub pipe_bytes_max: usize,
    /// Writes in a thousand that are cut into pieces.
    pub split_per_mille: u64,
}

/// What a read came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    /// Nothing has arrived.
    Nothing,
    /// So many bytes were appended.
    Bytes(usize),
    /// There will be nothing more.
    End,
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub struct Pipe {
    pieces: VecDeque<(u64, Vec<u8>)>,
    held_bytes: usize,
    /// No piece arrives before this: pieces stay in order.
    last_ns: u64,
    end_ns: Option<u64>,
}

impl Pipe {
    /// Bytes that may be written now.
    #[must_use]
    pub fn room(&self, habits: &Habits) -> usize {
        if self.end_ns.is_some() { 0 } else { habits.pipe_bytes_max.saturating_sub(self.held_bytes) }
    }

    /// Writes as much as there is room for, and tells how much that was.
    pub fn write(&mut self, now_ns: u64, bytes: &[u8], habits: &Habits, random: &mut Random) -> usize {
        let taken = bytes.len().min(self.room(habits));
        let mut rest = &bytes[..taken];
        while !rest.is_empty() {
            let piece =
                if random.chance(habits.split_per_mille) { random.between(1, rest.len() as u64) } else { u64::MAX };
            let (piece, later) = rest.split_at((piece as usize).min(rest.len()));
            self.last_ns = self.last_ns.max(now_ns + random.magnitude(1, habits.latency_ns_max));
            self.pieces.push_back((self.last_ns, piece.to_vec()));
            rest = later;
        }
        self.held_bytes += taken;
        taken
    }

    /// When there is something to read next: bytes, or the end.
    #[must_use]
    pub fn next_ns(&self) -> Option<u64> {
        self.pieces.front().map(|(arrives_ns, _)| *arrives_ns).or(self.end_ns)
    }

    /// Appends what has arrived to `into`, up to `bytes_max`.
    pub fn read(&mut self, now_ns: u64, bytes_max: usize, into: &mut Vec<u8>) -> Got {
        let before = into.len();
        while let Some((arrives_ns, piece)) = self.pieces.front_mut()
            && *arrives_ns <= now_ns
            && into.len() - before < bytes_max
        {
            let taken = piece.len().min(bytes_max - (into.len() - before));
            into.extend(piece.drain(..taken));
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        let got = into.len() - before;
        self.held_bytes -= got;
        if got > 0 {
            Got::Bytes(got)
        } else if self.pieces.is_empty() && self.end_ns.is_some_and(|end_ns| end_ns <= now_ns) {
            Got::End
        } else {
            Got::Nothing
        }
    }

    /// The writer has said everything: the end comes behind what was written.
    pub fn close(&mut self, now_ns: u64) {
        self.end_ns.get_or_insert(now_ns.max(self.last_ns));
    }

    /// The connection broke: some tail of what was written never arrives, perhaps all of it.
    pub fn cut(&mut self, now_ns: u64, random: &mut Random) {
        let kept = random.between(0, self.pieces.len() as u64) as usize;
        self.pieces.truncate(kept);
        if kept > 0
            && let Some((_, piece)) = self.pieces.back_mut()
        {
            piece.truncate(random.between(1, piece.len() as u64) as usize);
        }
        self.held_bytes = self.pieces.iter().map(|(_, piece)| piece.len()).sum();
        let last_ns = self.pieces.back().map_or(now_ns, |(arrives_ns, _)| *arrives_ns);
        self.end_ns = Some(last_ns.max(now_ns));
    }

    /// The reader is gone: what is written from now on goes nowhere, and what was never arrives.
    pub fn abandon(&mut self, now_ns: u64) {
        self.pieces.clear();
        self.held_bytes = 0;
        self.end_ns = Some(now_ns);
    }

    /// No more can be written.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.end_ns.is_some()
    }
}

/// A connection.
#[derive(Debug)]
pub struct Wire {
    /// Which client opened it.
    pub client: usize,
    /// From the client to the server.
    pub up: Pipe,
    /// From the server to the client.
    pub down: Pipe,
}

/// All connections there ever were.
#[derive(Debug)]
pub struct Network {
    /// How it behaves.
    pub habits: Habits,
    random: Random,
    wires: Vec<Wire>,
    /// Opened and not yet accepted, with the shard whose listener the kernel chose.
    knocking: VecDeque<(usize, WireId)>,
}

impl Network {
    /// A network without connections.
    #[must_use]
    pub const fn new(habits: Habits, random: Random) -> Self {
        Self { habits, random, wires: Vec::new(), knocking: VecDeque::new() }
    }

    /// Opens a connection to a shard's listener.
    pub fn open(&mut self, client: usize, shard: usize) -> WireId {
        let id = WireId(self.wires.len() as u32);
        self.wires.push(Wire { client, up: Pipe::default(), down: Pipe::default() });
        self.knocking.push_back((shard, id));
        id
    }

    /// The next connection for a shard's listener.
    pub fn accept(&mut self, shard: usize) -> Option<WireId> {
        let at = self.knocking.iter().position(|(whose, _)| *whose == shard)?;
        self.knocking.remove(at).map(|(_, id)| id)
    }

    /// A connection waits to be accepted by a shard.
    #[must_use]
    pub fn is_knocking(&self, shard: usize) -> bool {
        self.knocking.iter().any(|(whose, _)| *whose == shard)
    }

    /// A connection.
    pub fn wire(&mut self, id: WireId) -> &mut Wire {
        &mut self.wires[id.0 as usize]
    }

    /// Writes towards the server: how much was taken.
    pub fn write_up(&mut self, now_ns: u64, id: WireId, bytes: &[u8]) -> usize {
        self.wires[id.0 as usize].up.write(now_ns, bytes, &self.habits, &mut self.random)
    }

    /// Writes towards the client: how much was taken.
    pub fn write_down(&mut self, now_ns: u64, id: WireId, bytes: &[u8]) -> usize {
        self.wires[id.0 as usize].down.write(now_ns, bytes, &self.habits, &mut self.random)
    }

    /// Bytes that may be written towards the client.
    #[must_use]
    pub fn room_down(&self, id: WireId) -> usize {
        self.wires[id.0 as usize].down.room(&self.habits)
    }

    /// Bytes that may be written towards the server.
    #[must_use]
    pub fn room_up(&self, id: WireId) -> usize {
        self.wires[id.0 as usize].up.room(&self.habits)
    }

    /// A connection breaks in the middle, for both ends.
    pub fn cut(&mut self, now_ns: u64, id: WireId) {
        let wire = &mut self.wires[id.0 as usize];
        wire.up.cut(now_ns, &mut self.random);
        wire.down.cut(now_ns, &mut self.random);
    }

    /// The server is gone, with all its ends.
    pub fn server_gone(&mut self, now_ns: u64) {
        self.knocking.clear();
        for wire in &mut self.wires {
            wire.up.abandon(now_ns);
            if !wire.down.is_ended() {
                wire.down.cut(now_ns, &mut self.random);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(pipe_bytes_max: usize) -> Network {
        let habits = Habits { latency_ns_max: 1_000, pipe_bytes_max, split_per_mille: 900 };
        Network::new(habits, Random::new(5))
    }

    fn read_all(network: &mut Network, id: WireId) -> (Vec<u8>, Got) {
        let mut bytes = Vec::new();
        loop {
            match network.wire(id).up.read(u64::MAX, 7, &mut bytes) {
                Got::Bytes(_) => {}
                end => return (bytes, end),
            }
        }
    }

    #[test]
    fn bytes_arrive_whole_in_order_and_not_before_their_time() {
        let mut network = network(10_000);
        let id = network.open(0, 1);
        assert_eq!((network.accept(0), network.accept(1), network.accept(1)), (None, Some(id), None));
        let text: Vec<u8> = (0..=255).collect();
        assert_eq!(network.write_up(50, id, &text), 256);
        let mut bytes = Vec::new();
        assert_eq!(network.wire(id).up.read(50, 1_000, &mut bytes), Got::Nothing);
        let mut last_ns = 0;
        while let Some(next_ns) = network.wire(id).up.next_ns() {
            assert!(next_ns >= last_ns);
            last_ns = next_ns;
            assert!(matches!(network.wire(id).up.read(next_ns, 1_000, &mut bytes), Got::Bytes(_)));
        }
        assert_eq!(bytes, text);
        network.wire(id).up.close(last_ns);
        assert_eq!(network.wire(id).up.read(last_ns, 1, &mut bytes), Got::End);
    }

    #[test]
    fn a_full_pipe_takes_no_more_until_it_is_read() {
        let mut network = network(10);
        let id = network.open(0, 0);
        assert_eq!(network.write_up(0, id, &[1; 25]), 10);
        assert_eq!((network.write_up(0, id, &[1; 15]), network.room_up(id)), (0, 0));
        let mut bytes = Vec::new();
        assert_eq!(network.wire(id).up.read(u64::MAX, 4, &mut bytes), Got::Bytes(4));
        assert_eq!(network.write_up(0, id, &[1; 15]), 4);
    }

    #[test]
    fn a_cut_loses_a_tail_and_nothing_else() {
        let text: Vec<u8> = (0..200).collect();
        let mut lengths = std::collections::BTreeSet::new();
        for _ in 0..50 {
            let mut network = network(1_000);
            network.random = Random::new(lengths.len() as u64);
            let id = network.open(0, 0);
            network.write_up(0, id, &text);
            network.cut(10, id);
            assert_eq!(network.write_up(11, id, b"x"), 0);
            let (bytes, end) = read_all(&mut network, id);
            assert_eq!((end, bytes.as_slice()), (Got::End, &text[..bytes.len()]));
            lengths.insert(bytes.len());
        }
        assert!(lengths.len() > 5, "{lengths:?}");
    }

    #[test]
    fn without_a_server_nothing_goes_up_and_what_was_sent_down_may_still_come() {
        let mut network = network(1_000);
        let id = network.open(0, 0);
        network.write_up(0, id, b"up");
        network.server_gone(5);
        assert_eq!(read_all(&mut network, id), (Vec::new(), Got::End));
        assert!(network.wire(id).down.is_ended() && !network.is_knocking(0));
    }
}
