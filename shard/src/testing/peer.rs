//! The client's end of a connection: it writes HTTP requests and WebSocket messages as bytes, and reads what comes back.
//! It understands only what the server may say, and tells what it does not understand.

use super::network::{Got, Network, WireId};
use super::random::Random;
use conduit_protocol::{Encoding, codec};
use serde_json::Value;

/// Something that came from the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A response to the oldest request that has none: its status and its body.
    Response(u16, Value),
    /// The connection speaks WebSocket from here on.
    Upgraded,
    /// A message.
    Message(Value),
    /// An event with a message, and its seq if it is told.
    Event(Option<u64>, Value),
    /// A close frame with its code.
    Close(u16),
    /// The connection is over.
    End,
    /// Bytes that are no HTTP response and no frame of ours.
    Nonsense(String),
}

/// One connection of a client, or none.
#[derive(Debug)]
pub struct Peer {
    wire: Option<WireId>,
    /// The encoding of every message in both directions.
    pub encoding: Encoding,
    is_websocket: bool,
    /// Its response is a stream of events.
    is_events: bool,
    /// Header fields of every request: who it is.
    credentials: String,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
}

impl Peer {
    /// Not connected.
    #[must_use]
    pub const fn new(encoding: Encoding) -> Self {
        Self {
            wire: None,
            encoding,
            is_websocket: false,
            is_events: false,
            credentials: String::new(),
            outbox: Vec::new(),
            inbox: Vec::new(),
        }
    }

    /// From now on it shows a token with every request.
    pub fn show(&mut self, token: &str) {
        self.credentials = format!("Authorization: Bearer {token}\r\n");
    }

    /// Its connection.
    #[must_use]
    pub const fn wire(&self) -> Option<WireId> {
        self.wire
    }

    /// Opens a connection.
    pub fn connect(&mut self, client: usize, shard: usize, network: &mut Network) {
        let credentials = std::mem::take(&mut self.credentials);
        *self = Self { wire: Some(network.open(client, shard)), credentials, ..Self::new(self.encoding) };
    }

    /// Leaves without a word, and in the middle of one.
    pub fn cut(&mut self, now_ns: u64, network: &mut Network) {
        if let Some(wire) = self.wire.take() {
            network.cut(now_ns, wire);
        }
        self.outbox.clear();
    }

    /// Says that it leaves, and leaves when that is on its way.
    pub fn leave(&mut self, now_ns: u64, network: &mut Network, random: &mut Random) {
        if self.is_websocket {
            self.frame(0x8, &1000_u16.to_be_bytes(), true, random);
        }
        self.write(now_ns, network);
        if let Some(wire) = self.wire.take() {
            let wire = network.wire(wire);
            wire.up.close(now_ns);
            wire.down.abandon(now_ns);
        }
    }

    /// Bytes that wait for room in the network.
    #[must_use]
    pub const fn unwritten(&self) -> usize {
        self.outbox.len()
    }

    /// Asks for a WebSocket.
    pub fn upgrade(&mut self, target: &str) {
        let codec = if self.encoding == Encoding::MessagePack { "codec=msgpack" } else { "codec=json" };
        let joint = if target.contains('?') { '&' } else { '?' };
        let request = format!(
            "GET {target}{joint}{codec} HTTP/1.1\r\nHost: sim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            self.credentials
        );
        self.outbox.extend_from_slice(request.as_bytes());
    }

    /// Sends a request with a body in the connection's encoding.
    pub fn request(&mut self, method: &str, target: &str, headers: &str, body: Option<&str>) {
        let (codec, body) = match body {
            None => (String::new(), Vec::new()),
            Some(text) => {
                let mut body = Vec::new();
                codec::transcode(Encoding::Json, self.encoding, text.as_bytes(), &mut body);
                let kind = if self.encoding == Encoding::MessagePack { "msgpack" } else { "json" };
                (format!("Content-Type: application/{kind}\r\nContent-Length: {}\r\n", body.len()), body)
            }
        };
        let credentials = &self.credentials;
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: sim\r\nX-Codec: json\r\n{headers}{credentials}{codec}\r\n");
        self.outbox.extend_from_slice(head.as_bytes());
        self.outbox.extend_from_slice(&body);
    }

    /// Sends a WebSocket message, sometimes in fragments.
    pub fn message(&mut self, text: &str, random: &mut Random) {
        let mut payload = Vec::new();
        codec::transcode(Encoding::Json, self.encoding, text.as_bytes(), &mut payload);
        let opcode = if self.encoding == Encoding::MessagePack { 0x2 } else { 0x1 };
        if random.chance(30) && payload.len() > 1 {
            let (first, rest) = payload.split_at(random.between(1, payload.len() as u64 - 1) as usize);
            self.frame(opcode, first, false, random);
            if random.chance(300) {
                self.frame(0x9, b"in between", true, random);
            }
            self.frame(0x0, rest, true, random);
        } else {
            self.frame(opcode, &payload, true, random);
        }
    }

    fn frame(&mut self, opcode: u8, payload: &[u8], is_final: bool, random: &mut Random) {
        self.outbox.push(opcode | if is_final { 0x80 } else { 0 });
        match payload.len() {
            len @ 0..=125 => self.outbox.push(0x80 | len as u8),
            len @ 126..=0xffff => {
                self.outbox.push(0x80 | 126);
                self.outbox.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                self.outbox.push(0x80 | 127);
                self.outbox.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        let mask = (random.bits() as u32).to_ne_bytes();
        self.outbox.extend_from_slice(&mask);
        self.outbox.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    }

    /// When it could read or write.
    #[must_use]
    pub fn next_ns(&self, now_ns: u64, network: &mut Network) -> Option<u64> {
        let wire = self.wire?;
        if !self.outbox.is_empty() && network.room_up(wire) > 0 {
            return Some(now_ns);
        }
        network.wire(wire).down.next_ns()
    }

    /// Writes as much as the network takes.
    pub fn write(&mut self, now_ns: u64, network: &mut Network) {
        if let Some(wire) = self.wire
            && !self.outbox.is_empty()
        {
            let written = network.write_up(now_ns, wire, &self.outbox);
            self.outbox.drain(..written);
        }
    }

    /// Reads what has arrived, up to so many bytes.
    pub fn read(&mut self, now_ns: u64, bytes_max: usize, network: &mut Network, random: &mut Random) -> Vec<Heard> {
        let Some(wire) = self.wire else { return Vec::new() };
        let got = network.wire(wire).down.read(now_ns, bytes_max, &mut self.inbox);
        let mut heard = Vec::new();
        loop {
            match self.parse(random) {
                Ok(Some(one)) => heard.extend(one),
                Ok(None) => break,
                Err(what) => {
                    heard.push(Heard::Nonsense(what));
                    self.inbox.clear();
                    break;
                }
            }
        }
        if got == Got::End {
            network.wire(wire).up.abandon(now_ns);
            self.wire = None;
            self.outbox.clear();
            heard.push(Heard::End);
        }
        heard
    }

    /// Takes one response or frame from the inbox. `Ok(None)`: there is none that is whole; `Ok(Some(None))`: one that
    /// needs no mention.
    fn parse(&mut self, random: &mut Random) -> Result<Option<Option<Heard>>, String> {
        match () {
            () if self.is_websocket => self.parse_frame(random),
            () if self.is_events => self.parse_event(),
            () => self.parse_response(),
        }
    }

    fn parse_response(&mut self) -> Result<Option<Option<Heard>>, String> {
        let Some(head_end) = self.inbox.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let head = std::str::from_utf8(&self.inbox[..head_end]).map_err(|_| "a head that is not text".to_owned())?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
        let status: u16 =
            status.and_then(|digits| digits.parse().ok()).ok_or_else(|| format!("no status in {head}"))?;
        let field = |name: &str| {
            let mut fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
            fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
        };
        let body_from = head_end + 4;
        if status == 101 {
            self.is_websocket = true;
            self.inbox.drain(..body_from);
            return Ok(Some(Some(Heard::Upgraded)));
        }
        if status == 200 && field("content-type").is_some_and(|kind| kind.starts_with("text/event-stream")) {
            self.is_events = true;
            self.inbox.drain(..body_from);
            return Ok(Some(Some(Heard::Upgraded)));
        }
        let length = field("content-length").and_then(|text| text.parse::<usize>().ok());
        let length = length.ok_or_else(|| format!("no length in {head}"))?;
        if self.inbox.len() < body_from + length {
            return Ok(None);
        }
        let body: Vec<u8> = self.inbox.drain(..body_from + length).skip(body_from).collect();
        let body = serde_json::from_slice(&body).map_err(|error| format!("{error} in {}", body.escape_ascii()))?;
        Ok(Some(Some(Heard::Response(status, body))))
    }

    fn parse_event(&mut self) -> Result<Option<Option<Heard>>, String> {
        let Some(end) = self.inbox.windows(2).position(|window| window == b"\n\n") else { return Ok(None) };
        let bytes: Vec<u8> = self.inbox.drain(..end + 2).collect();
        let text = std::str::from_utf8(&bytes).map_err(|_| "an event that is not text".to_owned())?;
        let (mut id, mut kind, mut data) = (None, "message", String::new());
        for line in text.lines() {
            match line.split_once(": ") {
                Some(("id", seq)) => id = Some(seq.parse().map_err(|_| format!("an id that is no seq: {line}"))?),
                Some(("event", of)) => kind = of,
                Some(("data", of)) => data += of,
                _ => {}
            }
        }
        if data.is_empty() {
            // A comment.
            return Ok(Some(None));
        }
        let value: Value = serde_json::from_str(&data).map_err(|error| format!("{error} in {data}"))?;
        Ok(Some(match kind {
            "message" => Some(Heard::Event(id, value)),
            "gap" => Some(Heard::Message(serde_json::json!({ "gap": value }))),
            _ => None,
        }))
    }

    fn parse_frame(&mut self, random: &mut Random) -> Result<Option<Option<Heard>>, String> {
        let inbox = &self.inbox;
        let (Some(first), Some(second)) = (inbox.first().copied(), inbox.get(1).copied()) else { return Ok(None) };
        let (from, len) = match second {
            0..=125 => (2, usize::from(second)),
            126 => match inbox.get(2..4) {
                Some(length) => (4, usize::from(length[0]) << 8 | usize::from(length[1])),
                None => return Ok(None),
            },
            127 => match inbox.get(2..10) {
                Some(length) => (10, length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))),
                None => return Ok(None),
            },
            _ => return Err("a masked frame from the server".to_owned()),
        };
        if inbox.len() < from + len {
            return Ok(None);
        }
        let payload: Vec<u8> = self.inbox.drain(..from + len).skip(from).collect();
        let expected = if self.encoding == Encoding::MessagePack { 0x82 } else { 0x81 };
        match first {
            _ if first == expected => {
                let mut text = Vec::new();
                codec::transcode(self.encoding, Encoding::Json, &payload, &mut text);
                let value = serde_json::from_slice(&text);
                let value = value.map_err(|error| format!("{error} in {}", text.escape_ascii()))?;
                Ok(Some(Some(Heard::Message(value))))
            }
            0x88 => {
                let code = payload.first_chunk::<2>().map_or(0, |code| u16::from_be_bytes(*code));
                Ok(Some(Some(Heard::Close(code))))
            }
            0x89 => {
                self.frame(0xa, &payload, true, random);
                Ok(Some(None))
            }
            0x8a => Ok(Some(None)),
            _ => Err(format!("a frame that begins with {first:#x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::network::Habits;
    use conduit_protocol::http::HttpDate;
    use conduit_protocol::{
        Answer, Command, Context, Delivery, Inbox, Limits, Now, Promise, Seq, Session, Step, Telemetry,
    };

    /// A peer and a session with a network between them that hides nothing and breaks nothing.
    struct Pair {
        network: Network,
        random: Random,
        peer: Peer,
        session: Session,
        telemetry: Telemetry,
        date: HttpDate,
        limits: Limits,
    }

    impl Pair {
        fn new(encoding: Encoding) -> Self {
            let habits = Habits { latency_ns_max: 1, pipe_bytes_max: 1 << 20, split_per_mille: 500 };
            let mut network = Network::new(habits, Random::new(1));
            let mut peer = Peer::new(encoding);
            peer.connect(0, 0, &mut network);
            let (telemetry, date) = (Telemetry::default(), HttpDate::default());
            let session = Session::new();
            Self { network, random: Random::new(2), peer, session, telemetry, date, limits: Limits::default() }
        }

        /// Lets the session decode what the peer sent, answer every publish, and deliver to whoever subscribes.
        fn serve(&mut self) -> usize {
            self.peer.write(0, &mut self.network);
            let wire = self.peer.wire().unwrap();
            let (mut bytes, mut out, mut commands) = (Vec::new(), Vec::new(), 0);
            while self.network.wire(wire).up.read(u64::MAX, 1_000, &mut bytes) != Got::Nothing {}
            let mut inbox = Inbox::new(&mut bytes);
            loop {
                let mut context = Context {
                    now: Now::default(),
                    limits: &self.limits,
                    policy: &conduit_protocol::Policy::default(),
                    gate: &mut conduit_protocol::OpenGate,
                    log: &mut conduit_protocol::AccessLog::default(),
                    peer: core::net::Ipv4Addr::LOCALHOST.into(),
                    telemetry: &mut self.telemetry,
                    out: &mut out,
                    date: &mut self.date,
                    draining: false,
                    resting: false,
                };
                let (token, is_consumer) = match self.session.next(&mut inbox, &mut context) {
                    Step::Command { token, command, .. } => (token, matches!(command, Command::Subscribe(_))),
                    Step::Again => continue,
                    _ => break,
                };
                commands += 1;
                if is_consumer {
                    self.session.answer(token, &Answer::Subscribed(None), &mut context);
                    let mut envelope = Vec::new();
                    codec::transcode(Encoding::Json, self.peer.encoding, br#"{"n":1}"#, &mut envelope);
                    let encoding = self.peer.encoding;
                    let delivery = Delivery {
                        id: b"m",
                        seq: Seq(3),
                        attempt: 1,
                        published: Now::default(),
                        trace: None,
                        encoding,
                        envelope: &envelope,
                    };
                    self.session.deliver(&delivery, &mut context);
                } else {
                    let promise = Promise::Unsaid;
                    let answer = Answer::Published { id: "m", stream: "s", seq: Seq(1), promise, duplicate: false };
                    self.session.answer(token, &answer, &mut context);
                }
            }
            assert_eq!(self.network.write_down(0, wire, &out), out.len());
            commands
        }

        fn hear(&mut self) -> Vec<Heard> {
            self.peer.read(u64::MAX, usize::MAX, &mut self.network, &mut self.random)
        }
    }

    #[test]
    fn the_server_understands_requests_and_is_understood_in_both_encodings() {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let mut pair = Pair::new(encoding);
            for _ in 0..2 {
                let body = r#"{"to":"s","envelope":{"id":"m"}}"#;
                pair.peer.request("POST", "/v1/enqueue", "", Some(body));
            }
            assert_eq!(pair.serve(), 2);
            let answer = serde_json::json!({"id":"m","stream":"s","seq":1});
            assert_eq!(pair.hear(), [Heard::Response(200, answer.clone()), Heard::Response(200, answer)]);
        }
    }

    #[test]
    fn a_websocket_carries_messages_both_ways_in_both_encodings() {
        for encoding in [Encoding::Json, Encoding::MessagePack] {
            let mut pair = Pair::new(encoding);
            pair.peer.upgrade("/v1/subscribe?stream=s&credit=1");
            assert_eq!(pair.serve(), 1);
            let delivery = serde_json::json!({"deliver":{"n":1},"id":"m","seq":3,"attempt":1});
            assert_eq!(pair.hear(), [Heard::Upgraded, Heard::Message(delivery)]);
            let padding = "x".repeat(200);
            for _ in 0..100 {
                let text = format!(r#"{{"enqueue":{{"to":"s","envelope":{{"pad":"{padding}"}}}},"ref":7}}"#);
                pair.peer.message(&text, &mut pair.random);
            }
            assert_eq!(pair.serve(), 100);
            let heard = pair.hear();
            assert_eq!(heard.len(), 100);
            assert!(heard.iter().all(|one| matches!(one, Heard::Message(value) if value["ref"] == 7)));
            pair.peer.leave(0, &mut pair.network, &mut pair.random);
            assert_eq!(pair.peer.wire(), None);
        }
    }

    #[test]
    fn what_cannot_be_understood_is_told() {
        let mut pair = Pair::new(Encoding::Json);
        let wire = pair.peer.wire().unwrap();
        pair.network.write_down(0, wire, b"HTTP/1.1 2x0 OK\r\n\r\n");
        assert!(matches!(pair.hear().as_slice(), [Heard::Nonsense(_)]));
        pair.network.cut(0, wire);
        assert_eq!(pair.hear(), [Heard::End]);
        assert_eq!(pair.peer.wire(), None);
    }
}
