//! WebSocket (RFC 6455), sans-io, after the handshake.

use crate::answer::{Answer, Delivery};
use crate::codec::Encoding;
use crate::ids::Token;
use crate::{Context, Inbox, Limits, Step, Violation};

/// What a WebSocket connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `/v1/subscribe`: credit, ack, nack, and enqueue.
    Consumer,
    /// `/v1/publish`: enqueue only.
    Publisher,
}

/// One WebSocket connection.
#[derive(Debug)]
pub struct WsSession {}

impl WsSession {
    /// A connection whose handshake has just been written.
    #[must_use]
    pub fn new(role: Role, encoding: Encoding, context: &mut Context<'_>) -> Self {
        let _ = (role, encoding, context);
        unimplemented!()
    }
    /// See `Session::next`.
    pub fn next<'s>(&'s mut self, inbox: &'s mut Inbox<'_>, context: &mut Context<'_>) -> Step<'s> {
        let _ = (inbox, context);
        unimplemented!()
    }
    /// See `Session::answer`.
    pub fn answer(&mut self, token: Token, answer: &Answer<'_>, context: &mut Context<'_>) {
        let _ = (token, answer, context);
    }
    /// See `Session::deliver`.
    pub fn deliver(&mut self, delivery: &Delivery<'_>, context: &mut Context<'_>) {
        let _ = (delivery, context);
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
    /// See `Session::is_finished`.
    #[must_use]
    pub fn is_finished(&self) -> bool {
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
