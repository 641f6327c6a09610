//! The smallest relay with acks that speaks enough of our wire: a floor under every figure ("a broker cannot be cheaper
//! than this"), and a peer for this crate's own tests, where it can be told to misbehave.
//!
//! It knows only the shapes that this harness sends, keeps nothing, and is no example of a server.

use crate::message::ID_BYTES;
use crate::wire::Codec;
use crate::wire::envelope::{append_msgpack_number, append_msgpack_text, split_decimal, split_msgpack_number};
use crate::wire::frame::mask;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the relay does wrong, on every `n`-th message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Misdeed {
    /// Nothing.
    #[default]
    None,
    /// Accepts and forgets.
    Lose(u64),
    /// Delivers twice as attempt 1.
    Duplicate(u64),
    /// Delivers behind the message that follows.
    Delay(u64),
    /// Changes a byte of the payload.
    Corrupt(u64),
    /// Answers `Backpressure`, honestly.
    Refuse(u64),
    /// Hangs up.
    HangUp(u64),
}

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 128 * 1024;

/// A relay on a loopback port.
pub struct Relay {
    poll: Poll,
    listener: TcpListener,
    peers: Vec<Peer>,
    streams: HashMap<Vec<u8>, Stream>,
    misdeed: Misdeed,
    count: u64,
    dirty: Vec<usize>,
    scratch: Vec<u8>,
}

struct Peer {
    socket: TcpStream,
    rest: Vec<u8>,
    outbox: Vec<u8>,
    written: usize,
    is_open: bool,
    part: Part,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Http,
    Publisher(Codec),
    Subscriber { codec: Codec, stream: Vec<u8>, credit: u64, refills: bool, acked: u64 },
}

#[derive(Debug, Default)]
struct Stream {
    seq: u64,
    backlog: VecDeque<(u64, Vec<u8>)>,
    delayed: Option<(u64, Vec<u8>)>,
    consumers: Vec<usize>,
    turn: usize,
}

/// A publish, as ranges of a request.
struct Publish<'a> {
    to: &'a [u8],
    envelope: &'a [u8],
    id: &'a [u8],
    reference: Option<&'a [u8]>,
}

/// Serves until `stop` is set.
///
/// # Errors
/// When the port is taken.
pub fn serve(port: u16, stop: &AtomicBool) -> std::io::Result<()> {
    Relay::bind(port, Misdeed::None)?.run(stop)
}

impl Relay {
    /// Listens on a loopback port; 0 takes any.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn bind(port: u16, misdeed: Misdeed) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (peers, dirty, streams) = (Vec::new(), Vec::new(), HashMap::new());
        Ok(Self { poll, listener, peers, streams, misdeed, count: 0, dirty, scratch: Vec::new() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Relays until `stop` is set.
    ///
    /// # Errors
    /// When polling fails.
    pub fn run(mut self, stop: &AtomicBool) -> std::io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        while !stop.load(Ordering::Relaxed) {
            match self.poll.poll(&mut events, Some(Duration::from_millis(20))) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                } else {
                    self.dirty.push(event.token().0);
                    if event.is_readable() {
                        self.read(event.token().0);
                    }
                }
            }
            for place in std::mem::take(&mut self.dirty) {
                self.peers[place].write();
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> std::io::Result<()> {
        while let Ok((mut socket, _)) = self.listener.accept() {
            socket.set_nodelay(true)?;
            let token = Token(self.peers.len());
            self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
            let (rest, outbox) = (Vec::new(), Vec::new());
            self.peers.push(Peer { socket, rest, outbox, written: 0, is_open: true, part: Part::Http });
        }
        Ok(())
    }

    fn read(&mut self, place: usize) {
        loop {
            let peer = &mut self.peers[place];
            if !peer.is_open {
                return;
            }
            let mut scratch = std::mem::take(&mut self.scratch);
            let start = peer.rest.len();
            scratch.resize(scratch.len().max(start + READ_BYTES), 0);
            scratch[..start].copy_from_slice(&peer.rest);
            let end = start + READ_BYTES;
            let count = match peer.socket.read(&mut scratch[start..end]) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.scratch = scratch;
                    return;
                }
                Err(_) => 0,
            };
            if count == 0 {
                self.hang_up(place);
            } else {
                let used = self.take(place, &mut scratch[..start + count]);
                let peer = &mut self.peers[place];
                peer.rest.clear();
                peer.rest.extend_from_slice(&scratch[used..start + count]);
            }
            self.scratch = scratch;
            if count < READ_BYTES {
                return;
            }
        }
    }

    fn hang_up(&mut self, place: usize) {
        let peer = &mut self.peers[place];
        peer.is_open = false;
        // A socket that is gone already is as good as closed.
        let _ = peer.socket.shutdown(std::net::Shutdown::Both);
        for stream in self.streams.values_mut() {
            stream.consumers.retain(|consumer| *consumer != place);
        }
    }

    /// Works through whole requests and frames; returns the bytes used.
    fn take(&mut self, place: usize, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        while self.peers[place].is_open {
            let step = match self.peers[place].part {
                Part::Http => self.take_request(place, &bytes[used..]),
                _ => self.take_frame(place, &mut bytes[used..]),
            };
            match step {
                Some(length) => used += length,
                None => break,
            }
        }
        used
    }

    fn take_request(&mut self, place: usize, bytes: &[u8]) -> Option<usize> {
        let head_end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
        let head = &bytes[..head_end];
        let value = |name: &str| {
            let at = memchr::memmem::find(head, name.as_bytes())? + name.len();
            Some(&head[at..at + memchr::memchr(b'\r', &head[at..])?])
        };
        let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default().to_vec();
        if let Some(key) = value("Sec-WebSocket-Key: ") {
            let accept = tungstenite::handshake::derive_accept_key(key);
            self.upgrade(place, &target, &accept);
            return Some(head_end);
        }
        let length = value("Content-Length: ").and_then(split_decimal).map_or(0, |(length, _)| length as usize);
        let body = bytes.get(head_end..head_end + length)?;
        let (status, answer) = if target == b"/health" {
            ("200 OK", b"{\"status\":\"ok\"}".to_vec())
        } else if value("Content-Type: ") == Some(b"application/x-ndjson") {
            ("200 OK", self.take_batch(body))
        } else {
            self.take_single(body)
        };
        let outbox = &mut self.peers[place].outbox;
        outbox.extend_from_slice(format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len()).as_bytes());
        outbox.extend_from_slice(&answer);
        Some(head_end + length)
    }

    fn take_single(&mut self, body: &[u8]) -> (&'static str, Vec<u8>) {
        let Some(publish) = parse_body(body) else { return ("400 Bad Request", b"{\"error\":\"bad\"}".to_vec()) };
        match self.publish(&publish) {
            Some(seq) => ("200 OK", accepted(&publish, seq)),
            None => ("429 Too Many Requests", b"{\"error\":\"Backpressure\"}".to_vec()),
        }
    }

    fn take_batch(&mut self, body: &[u8]) -> Vec<u8> {
        let (mut taken, mut failed, mut results) = (0, 0, Vec::new());
        for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let seq = parse_body(line).and_then(|publish| Some((self.publish(&publish)?, publish)));
            match seq {
                Some((seq, publish)) => {
                    taken += 1;
                    results.extend_from_slice(&accepted(&publish, seq));
                }
                None => {
                    failed += 1;
                    results.extend_from_slice(b"{\"error\":{\"code\":\"Backpressure\",\"message\":\"full\"}}");
                }
            }
            results.push(b',');
        }
        results.pop();
        let mut answer = format!("{{\"accepted\":{taken},\"failed\":{failed},\"results\":[").into_bytes();
        answer.extend_from_slice(&results);
        answer.extend_from_slice(b"]}");
        answer
    }

    fn upgrade(&mut self, place: usize, target: &[u8], accept: &str) {
        let text = String::from_utf8_lossy(target);
        let parameter = |name: &str| {
            let query = text.split_once('?').map_or("", |(_, query)| query);
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let codec = if parameter("codec") == Some("msgpack") { Codec::Msgpack } else { Codec::Json };
        self.peers[place].part = match parameter("stream") {
            Some(stream) => {
                let stream = stream.as_bytes().to_vec();
                self.streams.entry(stream.clone()).or_default().consumers.push(place);
                let credit = parameter("credit").and_then(|credit| credit.parse().ok()).unwrap_or(0);
                Part::Subscriber { codec, stream, credit, refills: parameter("refill") == Some("ack"), acked: 0 }
            }
            None => Part::Publisher(codec),
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        self.peers[place].outbox.extend_from_slice(answer.as_bytes());
    }

    fn take_frame(&mut self, place: usize, bytes: &mut [u8]) -> Option<usize> {
        let (head, length) = match &*bytes {
            [_, length, ..] if length & 0x7f < 126 => (2, usize::from(length & 0x7f)),
            [_, length, a, b, ..] if length & 0x7f == 126 => (4, usize::from(u16::from_be_bytes([*a, *b]))),
            [_, _, a, b, c, d, e, f, g, h, ..] => (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]) as usize),
            _ => return None,
        };
        let start = head + 4;
        let end = start + length;
        if bytes.len() < end {
            return None;
        }
        let key = [bytes[head], bytes[head + 1], bytes[head + 2], bytes[head + 3]];
        mask(&mut bytes[start..end], key);
        let payload = &bytes[start..end];
        match bytes[0] & 0x0f {
            1 | 2 => self.take_message(place, payload),
            8 => self.hang_up(place),
            9 => append_frame(&mut self.peers[place].outbox, 0x8a, &[payload]),
            _ => {}
        }
        Some(end)
    }

    fn take_message(&mut self, place: usize, payload: &[u8]) {
        match &mut self.peers[place].part {
            Part::Http => {}
            Part::Publisher(codec) => {
                let codec = *codec;
                let Some(publish) = parse_enqueue(codec, payload) else { return self.hang_up(place) };
                let seq = self.publish(&publish);
                if let Some(reference) = publish.reference {
                    self.answer(place, codec, reference, seq);
                }
            }
            Part::Subscriber { codec, stream, credit, refills, acked } => {
                let Some((done, granted)) = parse_window(*codec, payload, acked) else { return self.hang_up(place) };
                *credit += granted + if *refills { done } else { 0 };
                let name = std::mem::take(stream);
                self.deliver(&name);
                if let Part::Subscriber { stream, .. } = &mut self.peers[place].part {
                    *stream = name;
                }
            }
        }
    }

    fn answer(&mut self, place: usize, codec: Codec, reference: &[u8], seq: Option<u64>) {
        let outbox = &mut self.peers[place].outbox;
        let body: &[u8] = match (codec, seq) {
            (Codec::Json, Some(_)) => b"{\"ok\":{},\"ref\":\"",
            (Codec::Json, None) => b"{\"error\":{\"code\":\"Backpressure\",\"message\":\"full\"},\"ref\":\"",
            (Codec::Msgpack, Some(_)) => b"\x82\xa2ok\x80\xa3ref\xb0",
            (Codec::Msgpack, None) => b"\x82\xa5error\x82\xa4code\xacBackpressure\xa7message\xa4full\xa3ref\xb0",
        };
        let (opcode, close): (u8, &[u8]) = if codec == Codec::Json { (0x81, b"\"}") } else { (0x82, b"") };
        append_frame(outbox, opcode, &[body, reference, close]);
    }

    /// Takes one message in; its seq, or `None` when it is refused.
    fn publish(&mut self, publish: &Publish<'_>) -> Option<u64> {
        self.count += 1;
        let is_nth = |n: u64| self.count.is_multiple_of(n);
        if matches!(self.misdeed, Misdeed::Refuse(n) if is_nth(n)) {
            return None;
        }
        let misdeed = match self.misdeed {
            Misdeed::Lose(n) | Misdeed::Duplicate(n) | Misdeed::Delay(n) | Misdeed::Corrupt(n) | Misdeed::HangUp(n)
                if is_nth(n) =>
            {
                self.misdeed
            }
            _ => Misdeed::None,
        };
        if !self.streams.contains_key(publish.to) {
            self.streams.insert(publish.to.to_vec(), Stream::default());
        }
        let stream = self.streams.get_mut(publish.to)?;
        stream.seq += 1;
        let seq = stream.seq;
        if misdeed == Misdeed::None && stream.backlog.is_empty() && stream.delayed.is_none() {
            // The quick path: straight into the consumer's outbox.
            if let Some(consumer) = next_consumer(&self.peers, stream) {
                append_delivery(&mut self.peers[consumer], publish.id, publish.envelope, seq);
                self.dirty.push(consumer);
                return Some(seq);
            }
        }
        let mut envelope = publish.envelope.to_vec();
        match misdeed {
            Misdeed::Lose(_) => {}
            Misdeed::Delay(_) => stream.delayed = Some((seq, envelope)),
            Misdeed::HangUp(_) => {
                if let Some(consumer) = stream.consumers.first().copied() {
                    self.hang_up(consumer);
                }
            }
            _ => {
                if let (Misdeed::Corrupt(_), Some(byte)) = (misdeed, envelope.iter_mut().nth_back(4)) {
                    *byte ^= 1;
                }
                stream.backlog.push_back((seq, envelope));
                if matches!(misdeed, Misdeed::Duplicate(_)) {
                    let again = stream.backlog.back().cloned();
                    stream.backlog.extend(again);
                }
                let delayed = stream.delayed.take();
                stream.backlog.extend(delayed);
            }
        }
        self.deliver(publish.to);
        Some(seq)
    }

    fn deliver(&mut self, name: &[u8]) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        while !stream.backlog.is_empty()
            && let Some(consumer) = next_consumer(&self.peers, stream)
            && let Some((seq, envelope)) = stream.backlog.pop_front()
        {
            let at = memchr::memmem::find(&envelope, b"id").map_or(0, |at| at + 3);
            let at = if envelope.first() == Some(&b'{') { at + 2 } else { at };
            let id: Vec<u8> = envelope.get(at..at + ID_BYTES).unwrap_or_default().to_vec();
            append_delivery(&mut self.peers[consumer], &id, &envelope, seq);
            self.dirty.push(consumer);
        }
    }
}

/// The next consumer in turn that has credit.
fn next_consumer(peers: &[Peer], stream: &mut Stream) -> Option<usize> {
    for _ in 0..stream.consumers.len() {
        stream.turn = (stream.turn + 1) % stream.consumers.len();
        let consumer = stream.consumers[stream.turn];
        if matches!(peers[consumer].part, Part::Subscriber { credit: 1.., .. }) {
            return Some(consumer);
        }
    }
    None
}

fn append_delivery(peer: &mut Peer, id: &[u8], envelope: &[u8], seq: u64) {
    let Part::Subscriber { codec, credit, .. } = &mut peer.part else { return };
    *credit -= 1;
    match codec {
        Codec::Json => {
            let mut digits = itoa::Buffer::new();
            let seq = digits.format(seq).as_bytes();
            let parts: [&[u8]; 7] =
                [b"{\"deliver\":", envelope, b",\"id\":\"", id, b"\",\"seq\":", seq, b",\"attempt\":1}"];
            append_frame(&mut peer.outbox, 0x81, &parts);
        }
        Codec::Msgpack => {
            let mut tail = Vec::with_capacity(16);
            append_msgpack_text(&mut tail, "seq");
            append_msgpack_number(&mut tail, seq);
            let parts: [&[u8]; 6] = [b"\x84\xa7deliver", envelope, b"\xa2id\xb8", id, &tail, b"\xa7attempt\x01"];
            append_frame(&mut peer.outbox, 0x82, &parts);
        }
    }
}

fn append_frame(out: &mut Vec<u8>, first: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(first);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn accepted(publish: &Publish<'_>, seq: u64) -> Vec<u8> {
    let (id, to) = (String::from_utf8_lossy(publish.id), String::from_utf8_lossy(publish.to));
    format!("{{\"id\":\"{id}\",\"stream\":\"{to}\",\"seq\":{seq}}}").into_bytes()
}

/// `{"to":"NAME","envelope":{"id":"...",...}}`
fn parse_body(body: &[u8]) -> Option<Publish<'_>> {
    let rest = body.strip_prefix(b"{\"to\":\"")?;
    let (to, rest) = rest.split_at_checked(memchr::memchr(b'"', rest)?)?;
    let envelope = rest.strip_prefix(b"\",\"envelope\":")?.strip_suffix(b"}")?;
    let id = envelope.strip_prefix(b"{\"id\":\"")?.get(..ID_BYTES)?;
    Some(Publish { to, envelope, id, reference: None })
}

fn parse_enqueue(codec: Codec, payload: &[u8]) -> Option<Publish<'_>> {
    match codec {
        Codec::Json => {
            let rest = payload.strip_prefix(b"{\"enqueue\":")?;
            if let Some(body) = rest.strip_suffix(b"}}").filter(|rest| rest.ends_with(b"\"}")) {
                return parse_body(&rest[..=body.len()]);
            }
            let (body, reference) = rest.split_at_checked(rest.len().checked_sub(26)?)?;
            let reference = reference.strip_prefix(b",\"ref\":\"")?.strip_suffix(b"\"}")?;
            parse_body(body).map(|publish| Publish { reference: Some(reference), ..publish })
        }
        Codec::Msgpack => {
            let (first, rest) = payload.split_first()?;
            let rest = rest.strip_prefix(b"\xa7enqueue\x82\xa2to")?;
            let (to, rest) = split_short_text(rest)?;
            let rest = rest.strip_prefix(b"\xa8envelope")?;
            let has_reference = *first == 0x82;
            let end = rest.len().checked_sub(if has_reference { 21 } else { 0 })?;
            let (envelope, tail) = rest.split_at_checked(end)?;
            let id = envelope.strip_prefix(b"\x82\xa2id\xb8")?.get(..ID_BYTES)?;
            let reference = if has_reference { Some(tail.strip_prefix(b"\xa3ref\xb0")?) } else { None };
            Some(Publish { to, envelope, id, reference })
        }
    }
}

fn split_short_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, length) = match bytes {
        [first, ..] if first & 0xe0 == 0xa0 => (1, usize::from(first & 0x1f)),
        [0xd9, length, ..] => (2, usize::from(*length)),
        _ => return None,
    };
    bytes[head..].split_at_checked(length)
}

/// How many deliveries an ack finishes, and how much credit a grant brings.
fn parse_window(codec: Codec, payload: &[u8], acked: &mut u64) -> Option<(u64, u64)> {
    let number = |rest: &[u8]| match codec {
        Codec::Json => split_decimal(rest).map(|(number, _)| number),
        Codec::Msgpack => split_msgpack_number(rest).map(|(number, _)| number),
    };
    let (ack, up_to, credit): (&[u8], &[u8], &[u8]) = match codec {
        Codec::Json => (b"{\"ack\":", b"{\"ackUpTo\":", b"{\"credit\":"),
        Codec::Msgpack => (b"\x81\xa3ack", b"\x81\xa7ackUpTo", b"\x81\xa6credit"),
    };
    if let Some(rest) = payload.strip_prefix(ack) {
        return match (codec, rest.first()?) {
            (Codec::Json, b'[') => Some((memchr::memchr_iter(b',', rest).count() as u64 + 1, 0)),
            (Codec::Msgpack, first @ 0x90..=0x9f) => Some((u64::from(first & 0x0f), 0)),
            (Codec::Msgpack, 0xdc) => Some((u64::from(u16::from_be_bytes([*rest.get(1)?, *rest.get(2)?])), 0)),
            _ => number(rest).map(|_| (1, 0)),
        };
    }
    if let Some(rest) = payload.strip_prefix(up_to) {
        let last = number(rest)?;
        let done = last.saturating_sub(*acked);
        *acked = last;
        return Some((done, 0));
    }
    payload.strip_prefix(credit).and_then(number).map(|granted| (0, granted))
}

impl Peer {
    fn write(&mut self) {
        while self.is_open && self.written < self.outbox.len() {
            match self.socket.write(&self.outbox[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.is_open = false,
            }
        }
        self.outbox.clear();
        self.written = 0;
    }
}
