//! The head that a producer repeats.
//!
//! A producer sends the same head with every message, but for the digits of its length. A head that equals the one
//! before byte for byte, those digits aside, has already been parsed and judged: it means the same again. Comparing
//! costs a twentieth of parsing.

use super::edge::Known;
use super::response::Reply;
use crate::access_log::{Note, Notes};
use crate::context::Context;
use crate::limits::Limits;
use std::ops::Range;

/// Longer heads are not remembered: this much is kept for each connection that publishes.
const HEAD_BYTES_MAX: usize = 512;

/// More digits than this are left to the parser.
pub(super) const LENGTH_DIGITS_MAX: usize = 9;

/// The head of the last publish on this connection.
#[derive(Debug)]
pub(super) struct RecentHead {
    bytes: Vec<u8>,
    /// Where the value of `Content-Length` is in it.
    length: Range<usize>,
    reply: Reply,
    /// Who sends it.
    known: Known,
    /// What the access log's line says of it, while that log is on: the connection's own note is forgotten sooner.
    noted: Vec<u8>,
}

/// What a repeated head says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeated {
    pub(super) head_bytes: usize,
    pub(super) body_bytes: u64,
    pub(super) reply: Reply,
}

impl RecentHead {
    /// Remembers `head`, the head of a publish on a connection that stays; `length` is where its length is. Reuses
    /// `recent`. `None`: it is too long to remember.
    pub(super) fn remember(
        recent: Option<Box<Self>>,
        head: &[u8],
        length: Range<usize>,
        reply: Reply,
        known: Known,
        noted: &[u8],
    ) -> Option<Box<Self>> {
        if head.len() > HEAD_BYTES_MAX || length.is_empty() {
            return recent;
        }
        let mut recent = recent
            .unwrap_or_else(|| Box::new(Self { bytes: Vec::new(), length: 0..0, reply, known, noted: Vec::new() }));
        recent.bytes.clear();
        recent.bytes.extend_from_slice(head);
        recent.length = length;
        recent.reply = reply;
        recent.known = known;
        recent.noted.clear();
        recent.noted.extend_from_slice(noted);
        Some(recent)
    }

    /// Notes it once more for the access log: its earlier note has been forgotten. `is_alone`: no request waits.
    #[cold]
    pub(super) fn note_again(&mut self, notes: &mut Notes, is_alone: bool) -> Note {
        self.reply.note = notes.add_again(&self.noted, is_alone);
        self.reply.note
    }

    /// Who sends it.
    pub(super) const fn known(&self) -> &Known {
        &self.known
    }

    /// Compares the start of `rest` with the remembered head. `None`: it differs, or needs a closer look: also when other
    /// rules hold since, or when its token has expired.
    pub(super) fn recognise(&self, rest: &[u8], context: &Context<'_>) -> Option<Repeated> {
        let policy = context.policy;
        if self.known.generation != policy.generation || self.known.expires_unix_ms <= context.now.unix_ms {
            return None;
        }
        self.compare(rest, context.limits, policy.guards.large_bytes)
    }

    fn compare(&self, rest: &[u8], limits: &Limits, bytes_max: u64) -> Option<Repeated> {
        let rest_from_length = rest.strip_prefix(&self.bytes[..self.length.start])?;
        let after_length = &self.bytes[self.length.end..];
        let mut body_bytes = 0;
        let mut digits = 0;
        while let Some(digit @ b'0'..=b'9') = rest_from_length.get(digits) {
            if digits == LENGTH_DIGITS_MAX {
                return None;
            }
            body_bytes = body_bytes * 10 + u64::from(digit - b'0');
            digits += 1;
        }
        let head_bytes = self.bytes.len() - self.length.len() + digits;
        let is_same = digits > 0 && rest_from_length[digits..].starts_with(after_length);
        let is_within_limits = body_bytes > 0
            && body_bytes <= bytes_max.min(limits.body_bytes_max as u64)
            && head_bytes <= limits.head_bytes_max;
        (is_same && is_within_limits).then_some(Repeated { head_bytes, body_bytes, reply: self.reply })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Now, TenantId};

    const HEAD: &[u8] = b"POST /v1/enqueue HTTP/1.1\r\nContent-Length: 12\r\nHost: x\r\n\r\n";

    const KNOWN: Known = Known {
        generation: 0,
        expires_unix_ms: u64::MAX,
        tenant: TenantId::DEFAULT,
        address: core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST),
    };

    fn recent() -> Box<RecentHead> {
        let reply = Reply::to_unread(Now::default());
        RecentHead::remember(None, HEAD, 43..45, reply, KNOWN, b"").expect("short enough")
    }

    fn recognise(bytes: &str) -> Option<(usize, u64)> {
        let limits = Limits { body_bytes_max: 1_000, head_bytes_max: HEAD.len() + 1, ..Limits::default() };
        recent().compare(bytes.as_bytes(), &limits, u64::MAX).map(|repeated| (repeated.head_bytes, repeated.body_bytes))
    }

    #[test]
    fn only_the_length_may_differ() {
        let head = std::str::from_utf8(HEAD).unwrap();
        assert_eq!(&head[43..45], "12");
        assert_eq!(recognise(&(head.to_owned() + "body")), Some((HEAD.len(), 12)));
        assert_eq!(recognise(&head.replace("12", "7")), Some((HEAD.len() - 1, 7)));
        assert_eq!(recognise(&head.replace("12", "999")), Some((HEAD.len() + 1, 999)));
        for other in ["", "0", "1001", "12 ", " 12", "+12", "1x", "12\r\nContent-Length: 13", "0000000012", "1000"] {
            assert_eq!(recognise(&head.replace("12", other)), None, "{other}");
        }
        for (from, to) in [("POST", "post"), ("Host", "host"), ("x\r\n\r\n", "x\r\n"), ("x\r\n", "x\n"), ("1.1", "1.0")]
        {
            assert_eq!(recognise(&head.replacen(from, to, 1)), None, "{to}");
        }
        for cut in 0..head.len() {
            assert_eq!(recognise(&head[..cut]), None);
        }
    }

    #[test]
    fn long_heads_are_not_remembered() {
        let reply = Reply::to_unread(Now::default());
        assert!(RecentHead::remember(None, &[b'x'; HEAD_BYTES_MAX], 1..2, reply, KNOWN, b"").is_some());
        assert!(RecentHead::remember(None, &[b'x'; HEAD_BYTES_MAX + 1], 1..2, reply, KNOWN, b"").is_none());
    }
}
