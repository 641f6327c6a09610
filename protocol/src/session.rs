//! One connection's decoder and encoder: HTTP at first, then WebSocket after an upgrade, or events after a request for them.

use crate::access_log::AccessLog;
use crate::answer::{Answer, Delivery};
use crate::command::Command;
use crate::context::Context;
use crate::error::Violation;
use crate::http::{Carried, HttpSession, LiveSession};
use crate::ids::{Seq, TenantId, Token};
use crate::inbox::Inbox;
use crate::limiter::Gate;
use crate::telemetry::Telemetry;
use crate::time::Now;
use crate::ws::WsSession;

/// What a call to [`Session::next`] came to.
#[derive(Debug)]
pub enum Step<'s> {
    /// A complete operation for the shard.
    Command {
        /// Comes back with the answer; [`Token::NONE`] when only a failure is to be answered.
        token: Token,
        /// On whose behalf: whose streams it is about.
        tenant: TenantId,
        /// The operation. Borrows from the session and the inbox.
        command: Command<'s>,
    },
    /// Every complete unit has been taken; `inbox.rest()` is the start of an incomplete one. Keep it in front of the
    /// next read. It is always shorter than the head limit plus a frame header: larger units are taken into the session.
    NeedBytes,
    /// Too many requests wait for answers: call `next` again with the same rest after an answer has been given.
    Wait,
    /// The session changed state (an upgrade, a finished batch): call `next` again at once.
    Again,
    /// The session is over: its last words are in the outbox. Write them, then close the socket.
    Close,
}

/// One connection's state.
#[derive(Debug)]
pub struct Session {
    state: State,
}

#[derive(Debug)]
enum State {
    Http(Box<HttpSession>),
    Ws(Box<WsSession>),
    Live(Box<LiveSession>),
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A fresh connection: HTTP.
    #[must_use]
    pub fn new() -> Self {
        Self { state: State::Http(Box::default()) }
    }

    /// A connection that comes from another shard, with the request that moved it: HTTP.
    #[must_use]
    pub fn carried(carried: Carried) -> Self {
        Self { state: State::Http(Box::new(HttpSession::carried(carried))) }
    }

    /// What goes with the connection to another shard. This session is not used any more.
    pub fn carry(&mut self, telemetry: &mut Telemetry) -> Carried {
        match &mut self.state {
            State::Http(http) => http.carry(telemetry),
            // They live where their streams do.
            State::Ws(_) | State::Live(_) => Carried::default(),
        }
    }

    /// Decodes the next unit. See the contract at the top of the crate.
    pub fn next<'s>(&'s mut self, inbox: &'s mut Inbox<'_>, context: &mut Context<'_>) -> Step<'s> {
        // A connection that only publishes, and one that gets only heartbeats, leaves HTTP without asking the shard.
        self.leave_http(context);
        match &mut self.state {
            State::Http(http) => http.next(inbox, context),
            State::Ws(ws) => ws.next(inbox, context),
            State::Live(live) => live.next(inbox),
        }
    }

    /// Becomes what the last request asked for, if it was answered so.
    #[inline(always)]
    fn leave_http(&mut self, context: &mut Context<'_>) {
        if let State::Http(http) = &self.state
            && http.is_over()
        {
            self.become_what_was_asked_for(context);
        }
    }

    #[cold]
    fn become_what_was_asked_for(&mut self, context: &mut Context<'_>) {
        let State::Http(http) = &mut self.state else { return };
        if http.is_upgraded() {
            self.state = State::Ws(Box::new(http.upgrade(context)));
        } else if let Some(live) = http.take_live(context) {
            self.state = State::Live(live);
        }
    }

    /// Encodes the answer to the request that `token` names into the outbox, in the order that the wire demands.
    /// An answer to a request that is not waiting is ignored.
    pub fn answer(&mut self, token: Token, answer: &Answer<'_>, context: &mut Context<'_>) {
        match &mut self.state {
            State::Http(http) => {
                http.answer(token, answer, context);
                self.leave_http(context);
            }
            State::Ws(ws) => ws.answer(token, answer, context),
            // Its only request has been answered.
            State::Live(_) => {}
        }
    }

    /// Encodes one delivery into the outbox. Only consumers get deliveries.
    pub fn deliver(&mut self, delivery: &Delivery<'_>, context: &mut Context<'_>) {
        match &mut self.state {
            State::Http(_) => debug_assert!(false, "a delivery to a connection that never subscribed"),
            State::Ws(ws) => ws.deliver(delivery, context),
            State::Live(live) => live.deliver(delivery, context),
        }
    }

    /// Tells a consumer that these messages of its stream were lost, both ends included.
    pub fn gap(&mut self, from: Seq, to: Seq, context: &mut Context<'_>) {
        match &mut self.state {
            State::Http(_) => debug_assert!(false, "a gap told to a connection that never subscribed"),
            State::Ws(ws) => ws.gap(from, to, context),
            State::Live(live) => live.gap(from, to, context),
        }
    }

    /// Tells a WebSocket that the server is going away, and where else to go. It goes on until it is closed.
    pub fn announce_drain(&mut self, context: &mut Context<'_>) {
        match &mut self.state {
            State::Http(_) => {}
            State::Ws(ws) => ws.announce_drain(context),
            // It is told when it is closed, which is soon: nothing of it is in flight at the client.
            State::Live(_) => {}
        }
    }

    /// Another policy is in force: ends what lasts if it would not be let in any more (then [`Self::is_closing`]).
    pub fn recheck(&mut self, context: &mut Context<'_>) {
        match &mut self.state {
            State::Http(_) => {}
            State::Ws(ws) => ws.recheck(context),
            State::Live(live) => live.recheck(context),
        }
    }

    /// Ends the session from our side: the last words go to the outbox. After it, [`Self::is_closing`].
    pub fn close(&mut self, violation: &Violation, context: &mut Context<'_>) {
        match &mut self.state {
            State::Http(http) => http.close(violation, context),
            State::Ws(ws) => ws.close(violation, context),
            State::Live(live) => live.close(violation, context),
        }
    }

    /// Our side is done: once the outbox is written and [`Self::is_finished`], the socket may be closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        match &self.state {
            State::Http(http) => http.is_closing(),
            State::Ws(ws) => ws.is_closing(),
            State::Live(live) => live.is_closing(),
        }
    }

    /// Nothing more is expected in either direction (for WebSocket: both close frames have been seen).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        match &self.state {
            State::Http(http) => http.is_closing(),
            State::Ws(ws) => ws.is_finished(),
            State::Live(live) => live.is_closing(),
        }
    }

    /// No request waits for its answer and none is half received: a drain may end this connection now.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match &self.state {
            State::Http(http) => http.is_idle(),
            State::Ws(ws) => ws.is_idle(),
            State::Live(_) => true,
        }
    }

    /// There is something to say to the broker whether or not bytes come: [`Self::next`] is to be called.
    #[must_use]
    pub fn has_more(&self) -> bool {
        match &self.state {
            State::Http(http) => http.has_follow_ups(),
            State::Ws(ws) => ws.has_more(),
            _ => false,
        }
    }

    /// A complete request waits for its answer: the connection is of use even when the peer sends nothing more.
    #[must_use]
    pub fn owes_answer(&self) -> bool {
        match &self.state {
            State::Http(http) => http.owes_answer(),
            State::Ws(ws) => ws.owes_answer(),
            State::Live(_) => false,
        }
    }

    /// When [`Self::handle_deadline`] wants to be called, in `Now::mono_ns`; it may be asked after any other call. Its
    /// value may lie earlier than needed (the call then does nothing): owners need only check it now and then.
    #[must_use]
    pub fn deadline_ns(&self, limits: &crate::Limits) -> Option<u64> {
        match &self.state {
            State::Http(http) => http.deadline_ns(limits),
            State::Ws(ws) => ws.deadline_ns(limits),
            State::Live(live) => live.deadline_ns(limits),
        }
    }

    /// As [`Self::deadline_ns`], of what the server owes alone: the client's time stands still while it is not listened to,
    /// ours does not.
    #[must_use]
    pub fn answer_due_ns(&self, limits: &crate::Limits) -> Option<u64> {
        match &self.state {
            State::Http(http) => http.answer_due_ns(limits),
            State::Ws(_) | State::Live(_) => None,
        }
    }

    /// Time has passed: sends a ping or a heartbeat, or gives up on the peer (then [`Self::is_closing`]).
    pub fn handle_deadline(&mut self, context: &mut Context<'_>) {
        match &mut self.state {
            State::Http(http) => http.handle_deadline(context),
            State::Ws(ws) => ws.handle_deadline(context),
            State::Live(live) => live.handle_deadline(context),
        }
    }

    /// The socket is gone, whichever side ended it: gauges of open connections go down, and the access log
    /// gets the last line of one that lasted. Owners call it once they drop the
    /// connection; calling it again, or after the session finished by itself, changes nothing.
    pub fn disconnected(&mut self, now: Now, telemetry: &mut Telemetry, log: &mut AccessLog, gate: &mut dyn Gate) {
        match &mut self.state {
            State::Http(http) => http.disconnected(telemetry, gate),
            State::Ws(ws) => ws.disconnected(now, telemetry, log, gate),
            State::Live(live) => live.disconnected(now, telemetry, log, gate),
        }
    }

    /// This is a reader of events.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }

    /// The handshake is done and this is a WebSocket.
    #[must_use]
    pub const fn is_websocket(&self) -> bool {
        matches!(self.state, State::Ws(_))
    }
}
