//! One HTTP connection without a socket, and a client's strict reading of what it answers.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use conduit_protocol::http::HttpDate;
use conduit_protocol::limiter::{Allowance, Bucket, Category, Subject};
use conduit_protocol::streams::{Done, StreamAnswer};
use conduit_protocol::{
    AccessLog, Answer, Charge, Command, Context, EnvelopeId, ErrorCode, Gate, Inbox, Limits, Now, Policy, Refusal,
    Scope, Seq, Session, Step, StreamStats, Telemetry, TenantId, Token, Verdict, Violation,
};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// When commands are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answering {
    /// Right after they come.
    AtOnce,
    /// When the test says so.
    OnDemand,
}

/// What a command asked for, kept until it is answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    Publish { id: String, stream: String },
    Stats,
    Document,
    Stream { stream: String },
    Subscribe,
    Charge(Charge),
}

/// Every account of the limiter, in one place or elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    buckets: HashMap<(Subject, Category), Bucket>,
    slots: HashMap<(Subject, Category), u32>,
    /// Another shard keeps all of them.
    pub(crate) are_away: bool,
    /// Everything that was taken, in order; what was asked for in vain is not among it.
    pub(crate) taken: Vec<Category>,
}

impl Accounts {
    /// Takes from an account wherever it is kept.
    pub(crate) fn take(&mut self, now: Now, charge: &Charge) -> Result<(), Refusal<'static>> {
        let key = (charge.subject, charge.category);
        match charge.allowance {
            Allowance::Rate(rate) => {
                let bucket = self.buckets.entry(key).or_insert_with(|| Bucket::full(now, rate));
                bucket.take(now, rate).map_err(|wait_ms| charge.refusal(Some(wait_ms)))?;
            }
            Allowance::Slots(slots) => {
                let taken = self.slots.entry(key).or_default();
                if *taken >= slots {
                    return Err(charge.refusal(None));
                }
                *taken += 1;
            }
        }
        self.taken.push(charge.category);
        Ok(())
    }

    /// Slots that are taken, of all accounts.
    pub(crate) fn slots_taken(&self) -> u32 {
        self.slots.values().sum()
    }
}

impl Gate for Accounts {
    fn charge(&mut self, now: Now, charge: &Charge) -> Verdict {
        if self.are_away {
            return Verdict::Away;
        }
        self.take(now, charge).map_or_else(Verdict::Refused, |()| Verdict::Granted)
    }

    fn release(&mut self, charge: &Charge) {
        let taken = self.slots.get_mut(&(charge.subject, charge.category)).expect("a slot that was taken");
        *taken = taken.checked_sub(1).expect("a slot is given back once");
    }
}

/// The server's side of one connection.
pub(crate) struct Peer {
    pub(crate) session: Session,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    pub(crate) accounts: Accounts,
    pub(crate) peer: IpAddr,
    /// On whose behalf each command came.
    pub(crate) tenants: Vec<TenantId>,
    /// What each document that was asked for may tell.
    pub(crate) scopes: Vec<Scope>,
    pub(crate) telemetry: Telemetry,
    /// Off, unless a test turns it on.
    pub(crate) log: AccessLog,
    pub(crate) now: Now,
    pub(crate) draining: bool,
    pub(crate) resting: bool,
    /// What the session wrote.
    pub(crate) out: Vec<u8>,
    /// A line for every command.
    pub(crate) commands: Vec<String>,
    /// Commands without an answer.
    pub(crate) unanswered: Vec<(Token, Asked)>,
    /// Given instead of the usual answer to publishes and subscriptions.
    pub(crate) refusal: Option<Refusal<'static>>,
    /// The session said `Close`.
    pub(crate) is_closed: bool,
    /// The session said `Wait`.
    pub(crate) is_waiting: bool,
    pub(crate) rest: Vec<u8>,
    pub(crate) date: HttpDate,
    pub(crate) answering: Answering,
    pub(crate) seq: u64,
}

impl Peer {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default(), Answering::AtOnce)
    }

    pub(crate) fn with(limits: Limits, answering: Answering) -> Self {
        Self {
            session: Session::new(),
            limits,
            policy: Policy::default(),
            accounts: Accounts::default(),
            peer: Ipv4Addr::LOCALHOST.into(),
            tenants: Vec::new(),
            scopes: Vec::new(),
            telemetry: Telemetry::default(),
            log: AccessLog::default(),
            now: Now { mono_ns: 1_000_000, unix_ms: 784_111_777_000 },
            draining: false,
            resting: false,
            out: Vec::new(),
            commands: Vec::new(),
            unanswered: Vec::new(),
            refusal: None,
            is_closed: false,
            is_waiting: false,
            rest: Vec::new(),
            date: HttpDate::default(),
            answering,
            seq: 0,
        }
    }

    /// Everything the session answers to `bytes`, given in one read.
    pub(crate) fn exchange(bytes: impl AsRef<[u8]>) -> Vec<Response> {
        let mut peer = Self::new();
        peer.feed(bytes);
        peer.responses()
    }

    /// One read.
    pub(crate) fn feed(&mut self, bytes: impl AsRef<[u8]>) {
        self.rest.extend_from_slice(bytes.as_ref());
        let mut rest = std::mem::take(&mut self.rest);
        let mut inbox = Inbox::new(&mut rest);
        self.is_waiting = false;
        let mut turns_without_progress = 0;
        loop {
            let before = (inbox.len(), self.out.len(), self.commands.len());
            let mut context = Context {
                now: self.now,
                limits: &self.limits,
                policy: &self.policy,
                gate: &mut self.accounts,
                log: &mut self.log,
                peer: self.peer,
                telemetry: &mut self.telemetry,
                out: &mut self.out,
                date: &mut self.date,
                draining: self.draining,
                resting: self.resting,
            };
            let (came, is_over) = match self.session.next(&mut inbox, &mut context) {
                Step::Command { token, tenant, command } => {
                    self.tenants.push(tenant);
                    if let Command::Report { scope, .. } = &command {
                        self.scopes.push(*scope);
                    }
                    (Some((token, line(&command), asked(&command))), false)
                }
                Step::Again => (None, false),
                Step::NeedBytes => (None, true),
                Step::Wait => {
                    self.is_waiting = true;
                    (None, true)
                }
                Step::Close => {
                    self.is_closed = true;
                    (None, true)
                }
            };
            if is_over {
                break;
            }
            if let Some((token, line, asked)) = came {
                self.commands.push(line);
                self.unanswered.push((token, asked));
                if self.answering == Answering::AtOnce {
                    self.answer_at(self.unanswered.len() - 1);
                }
            }
            let after = (inbox.len(), self.out.len(), self.commands.len());
            turns_without_progress = if before == after { turns_without_progress + 1 } else { 0 };
            assert!(turns_without_progress < 4, "the session turns in place");
        }
        let from = inbox.consumed();
        rest.drain(..from);
        self.rest = rest;
    }

    /// Answers the command at `index` of those unanswered.
    pub(crate) fn answer_at(&mut self, index: usize) {
        let (token, asked) = self.unanswered.remove(index);
        self.seq += 1;
        let seq = Seq(self.seq);
        match (&asked, self.refusal.clone()) {
            (Asked::Publish { .. } | Asked::Subscribe | Asked::Stream { .. }, Some(refusal)) => {
                self.give(token, &Answer::Refused(refusal));
            }
            (Asked::Publish { id, stream }, None) => {
                self.give(token, &Answer::Published { id, stream, seq, promise: Default::default(), duplicate: false });
            }
            (Asked::Stats, _) => self.give(token, &Answer::Stats(StreamStats::default())),
            (Asked::Document, _) => {
                let body = br#"{"status":"ok","ok":true}"#;
                self.give(token, &Answer::Document { status: 200, content_type: "application/json", body });
            }
            (Asked::Stream { stream }, None) => {
                let done = Done { stream: stream.clone(), group: None, deleted: None, redriven: None };
                self.give(token, &Answer::Stream(StreamAnswer::Done(done)));
            }
            (Asked::Subscribe, None) => self.give(token, &Answer::Subscribed(None)),
            (Asked::Charge(charge), _) => match self.accounts.take(self.now, charge) {
                Ok(()) => self.give(token, &Answer::Granted),
                Err(refusal) => self.give(token, &Answer::Refused(refusal)),
            },
        }
    }

    /// The socket is gone.
    pub(crate) fn hang_up(&mut self) {
        self.session.disconnected(self.now, &mut self.telemetry, &mut self.log, &mut self.accounts);
    }

    /// A connection to a server with this policy.
    pub(crate) fn under(policy: Policy) -> Self {
        Self { policy, ..Self::new() }
    }

    /// Gives bytes and takes the responses that they cause.
    pub(crate) fn ask(&mut self, bytes: impl AsRef<[u8]>) -> Vec<Response> {
        self.out.clear();
        self.feed(bytes);
        self.responses()
    }

    /// The same for one request.
    pub(crate) fn ask_one(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        let mut responses = self.ask(bytes);
        assert_eq!(responses.len(), 1, "{responses:?}");
        responses.remove(0)
    }

    /// Gives one answer.
    pub(crate) fn give(&mut self, token: Token, answer: &Answer<'_>) {
        self.with_context(|session, context| session.answer(token, answer, context));
    }

    pub(crate) fn close(&mut self, code: ErrorCode) {
        self.with_context(|session, context| session.close(&Violation::new(code, "the test says so"), context));
    }

    /// Moves time and lets the session look at it, as often as its deadline asks.
    pub(crate) fn pass_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ns(ms * 1_000_000);
        if self.session.deadline_ns(&self.limits).is_some_and(|deadline_ns| deadline_ns <= self.now.mono_ns) {
            self.with_context(Session::handle_deadline);
        }
    }

    pub(crate) fn with_context(&mut self, call: impl FnOnce(&mut Session, &mut Context<'_>)) {
        let mut context = Context {
            now: self.now,
            limits: &self.limits,
            policy: &self.policy,
            gate: &mut self.accounts,
            log: &mut self.log,
            peer: self.peer,
            telemetry: &mut self.telemetry,
            out: &mut self.out,
            date: &mut self.date,
            draining: self.draining,
            resting: self.resting,
        };
        call(&mut self.session, &mut context);
    }

    /// The responses written so far.
    pub(crate) fn responses(&self) -> Vec<Response> {
        Response::parse_all(&self.out)
    }

    /// Statuses of the responses written so far.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        self.responses().iter().map(|response| response.status).collect()
    }
}

fn asked(command: &Command<'_>) -> Asked {
    match command {
        Command::Publish(publish) => {
            let id = match &publish.envelope.id {
                EnvelopeId::Given(id) => String::from_utf8_lossy(id).into_owned(),
                EnvelopeId::Absent | EnvelopeId::Unusable => "made".to_owned(),
            };
            Asked::Publish { id, stream: publish.stream.to_string() }
        }
        Command::Stats { .. } => Asked::Stats,
        Command::Report { .. } | Command::Admin(_) => Asked::Document,
        Command::Charge(charge) => Asked::Charge(*charge),
        Command::Stream(command) => Asked::Stream { stream: command.stream.to_string() },
        Command::Subscribe(_) => Asked::Subscribe,
        other => panic!("HTTP has no {other:?}"),
    }
}

fn line(command: &Command<'_>) -> String {
    match command {
        Command::Publish(publish) => {
            format!("publish {} {}", publish.stream, String::from_utf8_lossy(publish.envelope.bytes))
        }
        Command::Stats { stream } => format!("stats {stream}"),
        Command::Report { report, .. } => format!("report {report:?}"),
        Command::Charge(charge) => format!("charge {charge:?}"),
        other => format!("{other:?}"),
    }
}

/// One response as a client reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// Reads responses until the bytes end; what follows a 101 becomes its body. None of them may answer HEAD.
    pub(crate) fn parse_all(bytes: &[u8]) -> Vec<Self> {
        let mut rest = bytes;
        let mut responses = Vec::new();
        while !rest.is_empty() {
            let (head_bytes, mut response) = Self::parse_head(rest);
            rest = &rest[head_bytes..];
            let length = match response.status {
                100 | 204 => 0,
                101 => rest.len(),
                _ => response.header("content-length").expect("every response has a length").parse().unwrap(),
            };
            response.body = rest[..length].to_vec();
            rest = &rest[length..];
            responses.push(response);
        }
        responses
    }

    /// Reads one head, strictly.
    pub(crate) fn parse_head(bytes: &[u8]) -> (usize, Self) {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a head ends") + 4;
        let head = std::str::from_utf8(&bytes[..end - 4]).unwrap();
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap();
        let status = status_line.strip_prefix("HTTP/1.1 ").expect("a status line")[..3].parse().unwrap();
        assert_eq!(status_line.as_bytes()[12], b' ');
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a field"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), headers.len(), "no field comes twice");
        (end, Self { status, headers, body: Vec::new() })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.split(", ").any(|token| token == "close"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().expect("a code").to_owned()
    }
}

/// A request with a body.
pub(crate) fn post(target: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut request =
        format!("POST {target} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    request.extend_from_slice(body);
    request
}

/// A publish of the message `id`.
pub(crate) fn publish(id: &str) -> Vec<u8> {
    post("/v1/enqueue", "", format!(r#"{{"to":"s","envelope":{{"id":"{id}"}}}}"#))
}

/// A request without a body.
pub(crate) fn get(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

/// A request of any method, with a body when there is one.
pub(crate) fn request(method: &str, target: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let mut request = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}

/// A complete WebSocket handshake.
pub(crate) fn upgrade(target: &str, headers: &str) -> Vec<u8> {
    get(
        target,
        &format!(
            "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}"
        ),
    )
}
