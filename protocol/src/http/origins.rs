//! The origins whose pages ask over one connection: a response names the one that asked (the Fetch standard, section 3.2.3).
//! And what a page may not do that comes from elsewhere: a browser sends its handshakes and its plain posts without asking
//! first, so where nobody needs a token, only the origin tells somebody else's page from a client.

use super::edge::Halt;
use super::head::{Method, RequestHead};
use super::response::Extra;
use crate::error::ErrorCode;
use crate::policy::{Cors, Identity, Policy};
use crate::surface::http::Route;
use crate::telemetry::Endpoint;

/// Origins of one connection. A browser's connection has one; a proxy may mix a few.
const ORIGINS_MAX: usize = 8;

/// Bytes of an origin that is kept. Longer ones get no answer that they may read.
pub(super) const ORIGIN_BYTES_MAX: usize = 256;

/// Where the origin of a request is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Responses do not depend on it.
    Off,
    /// There is none, or none that may read the response: but another one might.
    Unnamed,
    /// This one may read it.
    Kept(u8),
}

/// The origins of the requests that wait for their answers, and of some before them.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<Box<str>>);

impl Origins {
    /// Keeps an origin that may read the response. `is_alone`: no earlier request waits for its answer, so none of the
    /// others is needed. `None`: there is no room until earlier requests have been answered.
    pub(super) fn keep(&mut self, origin: &str, is_alone: bool) -> Option<Origin> {
        if let Some(known) = self.0.iter().position(|known| **known == *origin) {
            return Some(Origin::Kept(known as u8));
        }
        if self.0.len() >= ORIGINS_MAX {
            if !is_alone {
                return None;
            }
            self.0.clear();
        }
        self.0.push(origin.into());
        Some(Origin::Kept((self.0.len() - 1) as u8))
    }

    /// The text of an origin.
    pub(super) fn text(&self, origin: Origin) -> Option<&str> {
        match origin {
            Origin::Off | Origin::Unnamed => None,
            Origin::Kept(position) => self.0.get(usize::from(position)).map(|origin| &**origin),
        }
    }
}

/// Whether a request does more than a page of any origin may: it consumes, changes streams, or changes the server.
pub(super) fn is_for_friends(head: &RequestHead<'_, '_>, route: Option<Route>) -> bool {
    match route.map(Route::endpoint) {
        Some(Endpoint::Admin) => true,
        Some(Endpoint::Streams) => !matches!(head.method, Method::Get | Method::Head),
        // Whoever reads a stream's events acks them by reading.
        Some(Endpoint::Live) => !head.target.query.is_empty(),
        _ => false,
    }
}

/// Keeps pages of other origins away from what is open to everybody. Whoever shows a token, or needs one, is judged by that.
///
/// # Errors
/// `OriginNotAllowed`.
pub(super) fn check_origin(head: &RequestHead<'_, '_>, identity: Identity, policy: &Policy) -> Result<(), Halt> {
    if matches!(identity, Identity::Known(_)) || !policy.access.is_open() || !is_foreign(head, &policy.cors) {
        return Ok(());
    }
    let message = "the page that asks is of another origin, and nobody needs a token here: allow its origin (`--cors-origins`), \
                   or let the server ask for tokens";
    Err(Halt::because(ErrorCode::OriginNotAllowed, message, Extra::None))
}

/// Some `Origin` of the head is neither that of the server itself nor allowed.
fn is_foreign(head: &RequestHead<'_, '_>, cors: &Cors) -> bool {
    let values = |name: &'static str| {
        head.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    };
    let host = values("host").next().unwrap_or_default();
    values("origin").any(|origin| {
        let is_allowed = std::str::from_utf8(origin).is_ok_and(|origin| cors.allows(origin));
        !is_allowed && !is_of_host(origin, host)
    })
}

/// Whether an origin (RFC 6454, section 6.2) names the host that the request was sent to. A proxy may speak TLS in our
/// place, so the scheme says only which port is meant where none is written.
fn is_of_host(origin: &[u8], host: &[u8]) -> bool {
    let (authority, usual_port): (_, &[u8]) = match (origin.strip_prefix(b"http://"), origin.strip_prefix(b"https://"))
    {
        (Some(authority), _) => (authority, b"80"),
        (_, Some(authority)) => (authority, b"443"),
        _ => return false,
    };
    let (name, port) = split_port(authority);
    let (host_name, host_port) = split_port(host);
    !name.is_empty()
        && name.eq_ignore_ascii_case(host_name)
        && port.unwrap_or(usual_port) == host_port.unwrap_or(usual_port)
}

/// A host and its port, if one is written. The colons of an IPv6 address stand in brackets.
fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memrchr(b':', authority) {
        Some(at) if !authority[at..].contains(&b']') => {
            let port = &authority[at + 1..];
            (&authority[..at], (!port.is_empty()).then_some(port))
        }
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_that_of_the_host_with_its_port_said_or_not() {
        for (origin, host) in [
            ("http://a:9087", "a:9087"),
            ("https://a:9087", "a:9087"),
            ("http://A.example", "a.Example"),
            ("http://a", "a:80"),
            ("http://a:80", "a"),
            ("https://a", "a:443"),
            ("https://a", "a:"),
            ("http://[::1]:9087", "[::1]:9087"),
            ("http://[::1]", "[::1]"),
        ] {
            assert!(is_of_host(origin.as_bytes(), host.as_bytes()), "{origin} {host}");
        }
        for (origin, host) in [
            ("null", "null"),
            ("", ""),
            ("http://", ""),
            ("http://:80", ""),
            ("a:9087", "a:9087"),
            ("file://a", "a"),
            ("http://a", "b"),
            ("http://a:9087", "a"),
            ("http://a", "a:9087"),
            ("http://a", "a:443"),
            ("https://a", "a:80"),
            ("http://a.evil", "a"),
            ("http://evil@a", "a"),
            ("http://a/", "a"),
            ("http://[::1]:9087", "[::1]"),
            ("http://[::2]", "[::1]"),
        ] {
            assert!(!is_of_host(origin.as_bytes(), host.as_bytes()), "{origin} {host}");
        }
    }
}
