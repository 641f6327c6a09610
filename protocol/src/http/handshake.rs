//! The server's side of the WebSocket opening handshake (RFC 6455, section 4.2).

use super::edge::Caller;
use super::fields::list;
use super::head::{Method, bad};
use crate::Encoding;
use crate::access_log::{Opening, Socket, Wire};
use crate::answer::Refusal;
use crate::context::Context;
use crate::error::Violation;
use crate::ids::Token;
use crate::policy::Principal;
use crate::policy::Scope;
use crate::rules::Continuation;
use crate::streams::Subscribed;
use crate::telemetry::{Endpoint, Telemetry};
use crate::ws::{ByRules, Role};
use base64::Engine as _;

/// The only version there is (RFC 6455, section 4.1).
const VERSION: &[u8] = b"13";

/// Bytes of the nonce behind `Sec-WebSocket-Key`.
const NONCE_BYTES: usize = 16;

/// What the fields of a request say about a handshake.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Handshake<'b> {
    /// `Connection` lists `upgrade`.
    pub(super) says_upgrade: bool,
    /// `Upgrade` lists `websocket`.
    names_websocket: bool,
    pub(super) key: Option<&'b [u8]>,
    pub(super) version: Option<&'b [u8]>,
    pub(super) offered: Offered<'b>,
}

/// What stands before the token in a subprotocol that carries one: a page of a browser has no other way to send it unseen.
const BEARER: &[u8] = b"bearer.";

/// The subprotocols that the client offers and we know: they choose the encoding, or carry a token.
#[derive(Default, Clone, Copy)]
pub(super) struct Offered<'b> {
    /// The first of those that choose the encoding.
    pub(super) first: Option<Encoding>,
    by_encoding: [bool; 2],
    /// All of the subprotocol that carries a token.
    bearer: Option<&'b [u8]>,
}

impl std::fmt::Debug for Offered<'_> {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offered").field("first", &self.first).field("bearer", &self.bearer.is_some()).finish()
    }
}

impl<'b> Offered<'b> {
    /// The subprotocol to confirm: only one that was offered, and only the one in use (RFC 6455, section 4.2.2). A browser
    /// ends a connection that confirms none of those it offered, so one that only brings a token is confirmed for that.
    pub(super) fn confirm(self, encoding: Encoding) -> Option<Box<str>> {
        if self.by_encoding[encoding as usize] {
            return Some(encoding.name().into());
        }
        self.bearer.and_then(|bearer| std::str::from_utf8(bearer).ok()).map(Box::from)
    }

    /// The token.
    pub(super) fn bearer(self) -> Option<&'b [u8]> {
        self.bearer.map(|bearer| &bearer[BEARER.len()..])
    }
}

/// What the request's wish for a WebSocket comes to.
#[derive(Debug)]
pub(super) enum Wish {
    /// It has none.
    Absent,
    /// It wants a version that does not exist here: 426 names ours.
    OtherVersion,
    /// The handshake is complete.
    Valid,
    /// The handshake is malformed.
    Malformed(Violation),
}

impl<'b> Handshake<'b> {
    /// Takes one `Upgrade` field into account. A version after the protocol's name is ignored.
    pub(super) fn add_upgrade(&mut self, value: &[u8]) {
        self.names_websocket |= list(value).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
    }

    /// Takes one `Sec-WebSocket-Protocol` field into account.
    pub(super) fn add_protocols(&mut self, value: &'b [u8]) {
        for protocol in list(value) {
            if let Some(encoding) = Encoding::named(protocol) {
                self.offered.by_encoding[encoding as usize] = true;
                self.offered.first.get_or_insert(encoding);
            } else if protocol.starts_with(BEARER) {
                self.offered.bearer.get_or_insert(protocol);
            }
        }
    }

    /// Judges the handshake (RFC 6455, section 4.2.1).
    pub(super) fn wish(&self, method: Method) -> Wish {
        if method != Method::Get || !self.says_upgrade || !self.names_websocket {
            return Wish::Absent;
        }
        if self.version != Some(VERSION) {
            return Wish::OtherVersion;
        }
        let mut nonce = [0; NONCE_BYTES + 2];
        match base64::engine::general_purpose::STANDARD.decode_slice(self.key.unwrap_or_default(), &mut nonce) {
            Ok(NONCE_BYTES) => Wish::Valid,
            _ => Wish::Malformed(bad("Sec-WebSocket-Key is not 16 bytes in base64")),
        }
    }

    /// `Sec-WebSocket-Accept` for this request's key.
    pub(super) fn accept_key(&self) -> String {
        tungstenite::handshake::derive_accept_key(self.key.unwrap_or_default())
    }
}

/// An upgrade that was asked for and, later, agreed on.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// Names the subscription that decides it.
    pub(super) token: Token,
    pub(super) accept_key: String,
    pub(super) role: Role,
    pub(super) encoding: Encoding,
    /// The subprotocol to confirm.
    pub(super) protocol: Option<Box<str>>,
    /// On whose behalf the connection acts.
    pub(super) principal: Principal,
    /// Who asks, and from where.
    pub(super) caller: Caller,
    /// The first grant, to be counted once the subscription stands.
    pub(super) credit: u64,
    /// Stream and group, when the access log's lines are to name them.
    pub(super) subject: Option<Box<(String, Option<String>)>>,
    /// What the consumer wants to hear first.
    pub(super) hello: Option<Box<Subscribed>>,
    /// What rules have made of it.
    pub(super) by_rules: Option<Box<ByRules>>,
    /// The query of the subscription that a rule asks for, then the stream that it names, and what it does afterwards.
    pub(super) subscription: Option<Box<(String, Continuation)>>,
    /// What its documents may tell.
    pub(super) scope: Scope,
    /// Ends the connection right after the handshake: a browser shows a close code, but hides a refused handshake.
    pub(super) refusal: Option<Refusal<'static>>,
}

impl Upgrade {
    /// Writes the first line of the WebSocket to the access log.
    pub(super) fn open_log(&self, context: &mut Context<'_>) -> Option<Box<Socket>> {
        let opening = Opening {
            wire: Wire::WebSocket,
            ip: self.caller.address,
            tenant: context.policy.tenants.name(self.caller.tenant()),
            stream: self.subject.as_ref().map(|subject| &*subject.0),
            group: self.subject.as_ref().and_then(|subject| subject.1.as_deref()),
            codec: self.encoding,
            credit: self.credit,
        };
        context.log.connect(context.now, &opening)
    }

    /// Appends the 101 response and counts it; one that only carries a refusal counts as an error of its path.
    pub(super) fn write_response(&self, out: &mut Vec<u8>, telemetry: &mut Telemetry) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ",
        );
        out.extend_from_slice(self.accept_key.as_bytes());
        if let Some(protocol) = &self.protocol {
            out.extend_from_slice(b"\r\nsec-websocket-protocol: ");
            out.extend_from_slice(protocol.as_bytes());
        }
        out.extend_from_slice(b"\r\n\r\n");
        *telemetry.statuses.entry(101).or_default() += 1;
        if self.refusal.is_some() {
            let endpoint = match self.role {
                Role::Consumer => Endpoint::Subscribe,
                Role::Publisher => Endpoint::Publish,
            };
            telemetry.endpoints[endpoint as usize].requests += 1;
            telemetry.endpoints[endpoint as usize].errors += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Handshake<'static> {
        let mut handshake = Handshake {
            says_upgrade: true,
            key: Some(b"dGhlIHNhbXBsZSBub25jZQ=="),
            version: Some(b"13"),
            ..Handshake::default()
        };
        handshake.add_upgrade(b"h2c, WebSocket");
        handshake
    }

    #[test]
    fn the_key_of_the_rfc_gives_the_answer_of_the_rfc() {
        assert!(matches!(valid().wish(Method::Get), Wish::Valid));
        assert_eq!(valid().accept_key(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn only_a_get_that_says_both_words_wants_a_websocket() {
        assert!(matches!(valid().wish(Method::Post), Wish::Absent));
        assert!(matches!(Handshake { says_upgrade: false, ..valid() }.wish(Method::Get), Wish::Absent));
        assert!(matches!(Handshake { names_websocket: false, ..valid() }.wish(Method::Get), Wish::Absent));
    }

    #[test]
    fn the_version_is_13() {
        for version in [None, Some(&b"8"[..]), Some(b"013"), Some(b"13, 8")] {
            assert!(matches!(Handshake { version, ..valid() }.wish(Method::Get), Wish::OtherVersion));
        }
    }

    #[test]
    fn the_key_is_16_bytes_in_base64() {
        let keys: [&[u8]; 5] =
            [b"", b"dGhlIHNhbXBsZSBub25j", b"dGhlIHNhbXBsZSBub25jZTE=", b"dGhlIHNhbXBsZSBub25jZTEy", b"!!!!"];
        for key in keys {
            assert!(matches!(Handshake { key: Some(key), ..valid() }.wish(Method::Get), Wish::Malformed(_)));
        }
        assert!(matches!(Handshake { key: None, ..valid() }.wish(Method::Get), Wish::Malformed(_)));
    }

    #[test]
    fn only_an_offered_subprotocol_is_confirmed() {
        let mut handshake = valid();
        handshake.add_protocols(b"cbor, msgpack");
        assert_eq!(handshake.offered.first, Some(Encoding::MessagePack));
        assert_eq!(handshake.offered.confirm(Encoding::MessagePack).as_deref(), Some("msgpack"));
        assert_eq!(handshake.offered.confirm(Encoding::Json), None);
    }

    #[test]
    fn a_subprotocol_may_bring_the_token() {
        let mut handshake = valid();
        handshake.add_protocols(b"bearer.a.b-c, json");
        assert_eq!(handshake.offered.bearer(), Some(&b"a.b-c"[..]));
        assert_eq!(handshake.offered.confirm(Encoding::Json).as_deref(), Some("json"));
        // Nothing that was offered is spoken, but a browser has to be told one.
        assert_eq!(handshake.offered.confirm(Encoding::MessagePack).as_deref(), Some("bearer.a.b-c"));
        assert!(!format!("{handshake:?}").contains("a.b-c"));
        handshake.add_protocols(b"bearer.other");
        assert_eq!(handshake.offered.bearer(), Some(&b"a.b-c"[..]));
        assert_eq!(valid().offered.bearer(), None);
    }
}
