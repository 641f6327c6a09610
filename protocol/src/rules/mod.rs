//! Rules: what an operator lets the server answer, beside and in place of its own endpoints.
//!
//! A rule says when it applies (`when`), what it makes of the request (`map`, `assert`) and what it does (`send`): answer, or
//! say one frame to the broker and answer with what came of it. The `config` crate reads rules from YAML and compiles them
//! into [`Rules`]; everything here is pure: no file, no clock, no YAML. `docs/rules.md` describes the language.
//!
//! # The run-loop contract
//!
//! For an HTTP request, after the checks that come before rules (credentials, rates, bounds of the head):
//!
//! ```text
//! 1 select   candidates = rules.request(&head)            from the head alone. `is_empty()`: no rule can apply; go on to
//!                                                         the built-in endpoints. Without rules this is one branch.
//! 2 settle   candidates.certain()                         the rule that answers whatever the body says, if there is one:
//!                                                         its `auth_required()` and `rate()` can be enforced before the
//!                                                         body is read.
//!                                                         `is_plain()`: the built-in answers and nothing is asked before,
//!                                                         so the same head need not be looked at again.
//! 3 read     candidates.needs_body()                      only then does the body have to be read, and decoded to a
//!                                                         `serde_json::Value`, before step 4. Otherwise run at once with
//!                                                         `Body::Absent`; the session still reads the body off the wire.
//!                                                         While it waits, `KeptHead::of(&head)` outlives the inbox.
//! 4 run      outcome = candidates.run(&head, body)
//!              NoMatch           go on to the built-in endpoints with the same bytes, then 404
//!              Native { rule }   go on to the built-in endpoint; `rule` is for the log, `auth_required()` and `rate()`
//!              Respond { rule, response, then }   answer it, then say the frames of `then`
//!              Frame { rule, request, continuation }   step 5
//!            `auth_required()` and `rate()` of `rule` are enforced here unless step 2 has done it: nothing has happened
//!            yet. A refusal of the edge is put in the rule's words by `rule.refuse(error, &head)`.
//! 5 do       the session turns `request` into a `Command` (see `FrameRequest`) and holds `continuation` until the answer
//! 6 finish   finished = continuation.finish(Ok(result) | Err(error))
//!              finished.response is answered; finished.then are frames to say afterwards, whose outcome nobody hears
//! ```
//!
//! For a WebSocket: step 1 is `rules.connect(&head)` once, during the handshake, with `needs_body()` always false; an empty
//! or `NoMatch` outcome means the built-in path. `rules.messages(&head)` is asked once per connection: `None` (nearly always)
//! means that no rule looks at its messages, and costs nothing per message. Otherwise the session keeps the
//! [`MessageRules`] and calls `run(message, now)` for every message before it decodes it itself; the outcomes are those of
//! step 4, with `NoMatch` and `Native` meaning that the built-in operation decides. After a reload,
//! `MessageRules::renewed(&rules)` gives what the new rules say.
//!
//! Guarantees: evaluation is total. It never panics, never loops, and takes time and memory bounded by [`limits`] and by the
//! size of the request. Of several rules that match, the first in the order of the file wins, a tenant's own before the
//! common ones. The same request and the same `now` give the same outcome.

pub mod builtin;
pub mod condition;
pub mod decision;
pub mod engine;
pub mod expression;
pub mod failure;
pub mod frame;
pub mod glob;
mod keep;
pub mod limits;
pub mod matcher;
mod moment;
pub mod path;
pub mod pattern;
pub mod reply;
pub mod ruleset;
mod scope;
pub mod selector;
pub mod syntax;
pub mod template;
pub mod view;

pub use decision::{
    Close, Continuation, Continuations, Finished, FrameKind, FrameRequest, Outcome, Reply, ReplyBody, Response,
};
pub use engine::{Candidates, MessageRules, Rule, Rules};
pub use failure::RuleError;
pub use ruleset::{RateBy, RuleRate};
pub use view::{Body, HeadView, Headers, KeptHead, Message, OwnedFields};
