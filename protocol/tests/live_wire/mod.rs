//! A client of event streams as the HTML standard has it (section 9.2.6), and a connection that has become one.
//! A test that takes it takes `http_wire` too.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use crate::http_wire::{Answering, Peer, Response, get};
use conduit_protocol::streams::Subscribed;
use conduit_protocol::{Answer, Delivery, Encoding, Limits, Now, Seq, TraceContext};

/// One event as `EventSource` gives it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: String,
    pub(crate) data: String,
    /// The last event id at that time.
    pub(crate) id: String,
}

/// What a stream of events comes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) events: Vec<Event>,
    pub(crate) comments: Vec<String>,
    /// What the client would send as `Last-Event-ID`.
    pub(crate) last_id: String,
    /// How long it would wait before it connects again.
    pub(crate) retry_ms: Option<u64>,
}

/// Reads a stream of events, strictly by the standard's algorithm; what it would ignore is an error here.
pub(crate) fn hear(bytes: &[u8]) -> Heard {
    let text = std::str::from_utf8(bytes).expect("UTF-8");
    assert!(!text.contains('\r') && (text.is_empty() || text.ends_with('\n')), "lines end with LF: {text:?}");
    let mut heard = Heard::default();
    let (mut kind, mut data) = (String::new(), Vec::new());
    for line in text.lines() {
        if line.is_empty() {
            if !data.is_empty() {
                let kind = if kind.is_empty() { "message".to_owned() } else { kind };
                heard.events.push(Event { kind, data: data.join("\n"), id: heard.last_id.clone() });
            }
            (kind, data) = (String::new(), Vec::new());
        } else if let Some(comment) = line.strip_prefix(':') {
            heard.comments.push(comment.trim_start().to_owned());
        } else {
            let (field, value) = line.split_once(": ").expect("a field and its value");
            match field {
                "event" => kind = value.to_owned(),
                "data" => data.push(value.to_owned()),
                "id" => heard.last_id = value.to_owned(),
                "retry" => heard.retry_ms = Some(value.parse().expect("digits")),
                other => panic!("no field of an event: {other}"),
            }
        }
    }
    assert!(data.is_empty() && kind.is_empty(), "the last event is complete");
    heard
}

/// What a subscription is told.
pub(crate) fn subscribed(group: &str, last: u64, next: u64) -> Answer<'static> {
    let (stream, group) = ("s".to_owned(), group.to_owned());
    Answer::Subscribed(Some(Box::new(Subscribed { stream, group, epoch: 7, first: 1, last, next })))
}

/// A connection that reads a stream: what it was answered, and what came after the head.
pub(crate) struct Reader {
    pub(crate) peer: Peer,
    pub(crate) head: Response,
    head_bytes: usize,
}

impl Reader {
    pub(crate) fn open(target: &str, headers: &str, answer: &Answer<'_>) -> Self {
        Self::with(Limits::default(), target, headers, answer)
    }

    pub(crate) fn with(limits: Limits, target: &str, headers: &str, answer: &Answer<'_>) -> Self {
        Self::over(Peer::with(limits, Answering::OnDemand), &get(target, headers), answer)
    }

    pub(crate) fn over(mut peer: Peer, request: &[u8], answer: &Answer<'_>) -> Self {
        peer.feed(request);
        if !peer.unanswered.is_empty() {
            let (token, _) = peer.unanswered.remove(0);
            peer.give(token, answer);
        }
        // What owners do after every answer.
        peer.feed("");
        let (head_bytes, head) = Response::parse_head(&peer.out);
        Self { peer, head, head_bytes }
    }

    pub(crate) fn heard(&self) -> Heard {
        hear(&self.peer.out[self.head_bytes..])
    }

    /// What came since the last call, as bytes.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        let taken = self.peer.out.split_off(self.head_bytes);
        self.peer.out.clear();
        self.head_bytes = 0;
        taken
    }

    pub(crate) fn deliver(&mut self, seq: u64, envelope: &[u8]) {
        self.deliver_traced(seq, envelope, None);
    }

    pub(crate) fn deliver_traced(&mut self, seq: u64, envelope: &[u8], trace: Option<TraceContext>) {
        let delivery = Delivery {
            id: b"m",
            seq: Seq(seq),
            attempt: 1,
            published: Now::default(),
            trace: trace.as_ref().map(TraceContext::bytes),
            encoding: Encoding::Json,
            envelope,
        };
        self.peer.with_context(|session, context| session.deliver(&delivery, context));
    }
}
