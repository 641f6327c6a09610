//! What rules come to: an answer, or a frame for the broker and what to do with its result.

use super::engine::Rule;
use super::failure::RuleError;
use super::limits;
use crate::ids::Token;
use serde_json::Value;

/// What the rules say about one request, handshake or message.
#[derive(Debug)]
pub enum Outcome {
    /// No rule applies: the built-in endpoints decide.
    NoMatch,
    /// A rule applies and leaves the answer to the built-in endpoint: because it says so, or because it says what the
    /// built-in does anyhow.
    Native {
        /// The rule.
        rule: Rule,
    },
    /// Answer this.
    Respond {
        /// The rule.
        rule: Rule,
        /// Its answer.
        response: Response,
        /// Frames to say once it is given (`onComplete`). Nobody hears what comes of them: count what fails.
        then: Vec<FrameRequest>,
    },
    /// Say this to the broker.
    Frame {
        /// The rule.
        rule: Rule,
        /// The frame.
        request: FrameRequest,
        /// What to do with its result.
        continuation: Continuation,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// What to say.
    pub reply: Reply,
    /// The error that it tells of, for counters and logs.
    pub error: Option<RuleError>,
}

/// What to say to the peer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// An HTTP response.
    Http {
        /// 200 to 599.
        status: u16,
        /// Fields beside `content-type`, `content-length` and `date`; names in lower case, values without control
        /// characters. `retry-after` is among them where the error says when. A `content-type` is among them only if the
        /// rule sets it; otherwise it follows from the body.
        headers: Vec<(String, String)>,
        /// The body. The session leaves it out for HEAD.
        body: ReplyBody,
    },
    /// A message on the WebSocket, a close, both or nothing.
    Ws {
        /// The message, in the encoding of the connection.
        body: Option<Value>,
        /// Then close.
        close: Option<Close>,
    },
}

/// The body of an HTTP response.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyBody {
    /// None.
    Empty,
    /// A value, encoded as negotiated.
    Value(Value),
    /// Text that goes out as it is: the rule set a content type that is neither JSON nor MessagePack.
    Text(String),
}

/// A close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The close code.
    pub code: u16,
    /// The reason; at most 123 bytes.
    pub reason: String,
}

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// Store a message.
    Enqueue,
    /// Figures of a stream.
    Stats,
    /// A view of the server.
    Snapshot,
    /// Figures of the server.
    Metrics,
    /// Who the server is.
    Hello,
    /// Grant credit.
    Grant,
    /// Ack messages.
    Ack,
    /// Nack messages.
    Nack,
    /// Subscribe to a stream.
    Subscribe,
}

/// A frame, checked as far as its form goes. What the built-in endpoints check about values is left to the same code.
#[derive(Debug, Clone, PartialEq)]
pub enum FrameRequest {
    /// Store a message. `publish` is JSON text of the form of a `POST /v1/enqueue` body: decode it with
    /// `decode_publish(Encoding::Json, ..)`, which says what is wrong with it in the usual words. `Idempotency-Key` of an
    /// HTTP request names it as usual. `$result`: the built-in answer (`id`, `stream`, `seq`, ..).
    Enqueue {
        /// `{"to":..,"envelope":..}` and the other members of a publish.
        publish: Vec<u8>,
    },
    /// `$result`: the answer of `GET /v1/stats`.
    Stats {
        /// The stream as it was written; check it like a query parameter.
        stream: String,
    },
    /// `$result`: the answer of `GET /v1/snapshot`. An unknown view is the error `UnknownView`.
    Snapshot {
        /// The view.
        view: String,
    },
    /// `$result`: the answer of `GET /v1/metrics`.
    Metrics,
    /// `$result`: `{"version":..,"features":[..]}`.
    Hello,
    /// On a WebSocket: grant credit. Over HTTP there is no consumer: the result is [`FrameRequest::echo`].
    Grant {
        /// How much; at least 1.
        credit: u64,
    },
    /// On a WebSocket: ack. Over HTTP as for `Grant`. `frame` is the JSON text of the built-in operation, `{"ack":..}`.
    Ack {
        /// Decode it like a message of a WebSocket.
        frame: Vec<u8>,
    },
    /// On a WebSocket: nack. Over HTTP as for `Grant`. `frame` is the JSON text of the built-in operation, `{"nack":..}`.
    Nack {
        /// Decode it like a message of a WebSocket.
        frame: Vec<u8>,
    },
    /// On the connect of a WebSocket: subscribe. Over HTTP as for `Grant`.
    Subscribe {
        /// The query of `/v1/subscribe`, `stream=..&group=..`, with escapes: read it like that of a handshake.
        query: String,
    },
}

/// The rest of a rule that has said a frame: owned, so that it can wait for the broker's answer.
#[derive(Debug)]
pub struct Continuation(pub(super) Box<super::engine::Waiting>);

impl Continuation {
    /// The rule that goes on.
    #[must_use]
    pub fn rule(&self) -> &Rule {
        self.0.rule()
    }

    /// The answer to give now that the frame was answered.
    #[must_use]
    pub fn finish(self, result: Result<Value, RuleError>) -> Finished {
        self.0.finish(result)
    }
}

/// The rules of one connection that wait for the broker, each under the token that its answer will name.
#[derive(Debug, Default)]
pub struct Continuations {
    waiting: Vec<(Token, Continuation)>,
    /// Bytes of the values that they keep.
    kept_bytes: usize,
}

impl Continuations {
    /// Keeps one. Without one, nobody hears what comes.
    pub fn keep(&mut self, token: Token, continuation: Option<Continuation>) {
        let Some(continuation) = continuation else { return };
        self.kept_bytes += continuation.0.kept_bytes;
        self.waiting.push((token, continuation));
    }

    /// The one that an answer is for.
    pub fn take(&mut self, token: Token) -> Option<Continuation> {
        let at = self.waiting.iter().position(|(waiting, _)| *waiting == token)?;
        let (_, continuation) = self.waiting.swap_remove(at);
        self.kept_bytes = self.kept_bytes.saturating_sub(continuation.0.kept_bytes);
        Some(continuation)
    }

    /// They keep so much that no more may come before one of them is done.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.kept_bytes >= limits::KEPT_BYTES_MAX
    }
}

/// The end of a rule.
#[derive(Debug)]
pub struct Finished {
    /// Answer this.
    pub response: Response,
    /// Then say these (`onComplete`). Nobody hears what comes of them: count what fails.
    pub then: Vec<FrameRequest>,
}
