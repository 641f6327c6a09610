//! Both ends of a WebSocket in memory: frames as a client writes them, a server session, and what it says.
#![allow(dead_code, unreachable_pub, reason = "every test file is its own crate and uses its own part of this")]

use conduit_protocol::http::HttpDate;
use conduit_protocol::ws::{INBOX_REST_BYTES_MAX, Role, WsSession};
use conduit_protocol::{
    Answer, Context, Delivery, Encoding, Inbox, Limits, Now, Seq, Step, Telemetry, Token, Violation,
};

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

/// A masked frame as a client sends it.
pub fn client_frame(is_final: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked_frame(is_final, opcode, [0x37, 0xFA, 0x21, 0x3D], payload)
}

/// The same, under a mask of choice.
pub fn masked_frame(is_final: bool, opcode: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![if is_final { 0x80 } else { 0 } | opcode];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(0xFE);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0xFF);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]));
    frame
}

/// One whole text message.
pub fn text(payload: impl AsRef<[u8]>) -> Vec<u8> {
    client_frame(true, TEXT, payload.as_ref())
}

/// One frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFrame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl ServerFrame {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("the server's text is UTF-8")
    }

    pub fn close_code(&self) -> Option<u16> {
        assert_eq!(self.opcode, CLOSE);
        self.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }
}

/// Reads everything that the server wrote, insisting on its rules: unfragmented, unmasked, shortest length form.
pub fn server_frames(mut bytes: &[u8]) -> Vec<ServerFrame> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        assert_eq!(bytes[0] & 0xF0, 0x80, "FIN and no reserved bit");
        let (length, header) = match bytes[1] {
            126 => (usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), 4),
            127 => (u64::from_be_bytes(*bytes[2..].first_chunk().expect("8 bytes of length")) as usize, 10),
            short => {
                assert!(short < 126, "no mask");
                (usize::from(short), 2)
            }
        };
        assert_eq!(
            header,
            if length < 126 {
                2
            } else if length < 65_536 {
                4
            } else {
                10
            }
        );
        frames.push(ServerFrame { opcode: bytes[0] & 0x0F, payload: bytes[header..header + length].to_vec() });
        bytes = &bytes[header + length..];
    }
    frames
}

/// How a call to [`Server::receive`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    NeedBytes,
    Wait,
    Close,
}

/// A server session and its surroundings, driven as the `io` crate does.
pub struct Server {
    pub session: WsSession,
    pub limits: Limits,
    pub policy: conduit_protocol::Policy,
    pub telemetry: Telemetry,
    pub now: Now,
    pub draining: bool,
    /// What has been written and not read by [`Self::said`].
    pub out: Vec<u8>,
    /// Commands so far, each as `token command`.
    pub commands: Vec<String>,
    /// Tokens of the commands so far.
    pub tokens: Vec<Token>,
    /// On whose behalf each of them came.
    pub tenants: Vec<conduit_protocol::TenantId>,
    date: HttpDate,
    rest: Vec<u8>,
}

macro_rules! context {
    ($server:expr) => {
        Context {
            now: $server.now,
            limits: &$server.limits,
            policy: &$server.policy,
            gate: &mut conduit_protocol::OpenGate,
            log: &mut conduit_protocol::AccessLog::default(),
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
            telemetry: &mut $server.telemetry,
            out: &mut $server.out,
            date: &mut $server.date,
            draining: $server.draining,
            resting: false,
        }
    };
}

impl Server {
    pub fn new(role: Role, encoding: Encoding) -> Self {
        Self::with_limits(role, encoding, Limits::default())
    }

    pub fn consumer() -> Self {
        Self::new(Role::Consumer, Encoding::Json)
    }

    pub fn publisher() -> Self {
        Self::new(Role::Publisher, Encoding::Json)
    }

    pub fn with_limits(role: Role, encoding: Encoding, limits: Limits) -> Self {
        let (mut telemetry, mut out, mut date) = (Telemetry::default(), Vec::new(), HttpDate::default());
        let now = Now { mono_ns: 1_000_000_000, unix_ms: 0 };
        let mut context = Context {
            now,
            limits: &limits,
            policy: &conduit_protocol::Policy::default(),
            gate: &mut conduit_protocol::OpenGate,
            log: &mut conduit_protocol::AccessLog::default(),
            peer: std::net::Ipv4Addr::LOCALHOST.into(),
            telemetry: &mut telemetry,
            out: &mut out,
            date: &mut date,
            draining: false,
            resting: false,
        };
        let session = WsSession::new(role, encoding, &mut context);
        Self {
            session,
            limits,
            policy: conduit_protocol::Policy::default(),
            telemetry,
            now,
            draining: false,
            out,
            commands: Vec::new(),
            tokens: Vec::new(),
            tenants: Vec::new(),
            date,
            rest: Vec::new(),
        }
    }

    /// Hands the session one read's bytes and takes every command there is.
    pub fn receive(&mut self, bytes: &[u8]) -> End {
        self.rest.extend_from_slice(bytes);
        let mut inbox = Inbox::new(&mut self.rest);
        let mut context = context!(self);
        // Each step takes a frame, so there are fewer steps than bytes.
        for _ in 0..inbox.len() + 2 {
            let end = match self.session.next(&mut inbox, &mut context) {
                Step::Command { token, tenant, command } => {
                    self.tenants.push(tenant);
                    self.commands.push(format!("{token:?} {command:?}"));
                    self.tokens.push(token);
                    continue;
                }
                Step::Again => continue,
                Step::NeedBytes => End::NeedBytes,
                Step::Wait => End::Wait,
                Step::Close => End::Close,
            };
            let consumed = inbox.consumed();
            self.rest.drain(..consumed);
            if end == End::NeedBytes {
                assert!(self.rest.len() <= INBOX_REST_BYTES_MAX, "{} bytes left", self.rest.len());
            }
            return end;
        }
        panic!("the session does not come to an end");
    }

    /// The connection acts for somebody from here on.
    pub fn act_for(&mut self, principal: &conduit_protocol::Principal) {
        self.session.act_for(principal, Vec::new(), &mut context!(self));
    }

    /// The socket is gone.
    pub fn hang_up(&mut self) {
        let log = &mut conduit_protocol::AccessLog::default();
        self.session.disconnected(self.now, &mut self.telemetry, log, &mut conduit_protocol::OpenGate);
    }

    /// Bytes that the session left in the inbox.
    pub fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    pub fn answer(&mut self, token: Token, answer: &Answer<'_>) {
        self.session.answer(token, answer, &mut context!(self));
    }

    pub fn deliver(&mut self, delivery: &Delivery<'_>) {
        self.session.deliver(delivery, &mut context!(self));
    }

    pub fn gap(&mut self, from: Seq, to: Seq) {
        self.session.gap(from, to, &mut context!(self));
    }

    pub fn close(&mut self, violation: &Violation) {
        self.session.close(violation, &mut context!(self));
    }

    pub fn handle_deadline(&mut self) {
        self.session.handle_deadline(&mut context!(self));
    }

    pub fn deadline_ns(&self) -> Option<u64> {
        self.session.deadline_ns(&self.limits)
    }

    /// Reads the outbox empty.
    pub fn said(&mut self) -> Vec<ServerFrame> {
        server_frames(&std::mem::take(&mut self.out))
    }

    /// The close code of what was said, which must be an error frame with `code` and then a close frame, and no more.
    pub fn said_error_and_close(&mut self, code: &str) -> u16 {
        let said = self.said();
        let [error, close] = &said[..] else { panic!("expected an error and a close: {said:?}") };
        assert!(error.text().starts_with(&format!(r#"{{"error":{{"code":"{code}","message":""#)), "{}", error.text());
        close.close_code().expect("a close with a code")
    }
}
