//! HTTP/1.1 (RFC 9112), sans-io.

use crate::answer::Answer;
use crate::ids::Token;
use crate::ws::WsSession;
use crate::{Context, Inbox, Limits, Step, Violation};

/// The `date` header of this second.
#[derive(Debug, Default)]
pub struct HttpDate {}

/// One connection as long as it speaks HTTP.
#[derive(Debug, Default)]
pub struct HttpSession {}

impl HttpSession {
    /// See `Session::next`.
    pub fn next<'s>(&'s mut self, inbox: &'s mut Inbox<'_>, context: &mut Context<'_>) -> Step<'s> {
        let _ = (inbox, context);
        unimplemented!()
    }
    /// See `Session::answer`.
    pub fn answer(&mut self, token: Token, answer: &Answer<'_>, context: &mut Context<'_>) {
        let _ = (token, answer, context);
    }
    /// The 101 response is in the outbox: the connection is a WebSocket from here on.
    #[must_use]
    pub fn is_upgraded(&self) -> bool {
        false
    }
    /// Turns into the WebSocket session that the handshake agreed on.
    pub fn upgrade(&mut self, context: &mut Context<'_>) -> WsSession {
        let _ = context;
        unimplemented!()
    }
    /// See `Session::close`.
    pub fn close(&mut self, violation: &Violation, context: &mut Context<'_>) {
        let _ = (violation, context);
    }
    /// See `Session::is_closing`.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        false
    }
    /// See `Session::is_idle`.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        true
    }
    /// See `Session::deadline_ns`.
    #[must_use]
    pub fn deadline_ns(&self, limits: &Limits) -> Option<u64> {
        let _ = limits;
        None
    }
    /// See `Session::handle_deadline`.
    pub fn handle_deadline(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }
}
