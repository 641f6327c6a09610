//! The header fields that matter here, and the strict reading of those that frame the message (RFC 9112, sections 3.2,
//! 6 and 9; RFC 9110, sections 7.6.1, 7.8 and 10.1.1).

use super::handshake::Handshake;
use super::head::{bad, is_token_byte};
use super::negotiate::{Accept, Content};
use crate::Encoding;
use crate::error::{ErrorCode, Violation};

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// No body.
    None,
    /// This many bytes, at least 1.
    Length(u64),
    /// Chunks until the last one.
    Chunked,
}

/// What the client wants to hear before it sends the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expectation {
    None,
    /// `100-continue`.
    Continue,
    /// Something that we cannot meet.
    Unknown,
}

/// What was done to the body before it was sent (RFC 9110, section 8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Coding {
    /// Nothing.
    #[default]
    Identity,
    /// It was compressed, once.
    Gzip,
    /// Something that we cannot undo.
    Unknown,
}

impl Coding {
    /// Takes one `Content-Encoding` field into account. Codings are listed in the order in which they were applied.
    fn add(&mut self, value: &[u8]) {
        for coding in list(value) {
            let is_gzip = coding.eq_ignore_ascii_case(b"gzip") || coding.eq_ignore_ascii_case(b"x-gzip");
            *self = match *self {
                same if coding.eq_ignore_ascii_case(b"identity") => same,
                Self::Identity if is_gzip => Self::Gzip,
                _ => Self::Unknown,
            };
        }
    }
}

/// What the fields of one request say.
#[derive(Debug)]
pub(super) struct Fields<'b> {
    pub(super) framing: Framing,
    /// The value of `Content-Length`; empty when there is none.
    pub(super) length_text: &'b [u8],
    pub(super) keep_alive: bool,
    pub(super) expectation: Expectation,
    pub(super) content: Content,
    pub(super) coding: Coding,
    /// The value of `Idempotency-Key`.
    pub(super) idempotency_key: Option<&'b [u8]>,
    /// The value of `traceparent`; empty when there are several, so that it is none.
    pub(super) traceparent: Option<&'b [u8]>,
    /// The value of `Last-Event-ID`.
    pub(super) last_event_id: Option<&'b [u8]>,
    /// The encoding that the client wants its answer in; `None`: it leaves that to us.
    pub(super) encoding: Option<Encoding>,
    /// Refusals may come as problem details (RFC 9457).
    pub(super) takes_problems: bool,
    pub(super) handshake: Handshake<'b>,
}

/// Says that a field may come once.
fn once<T>(slot: &mut Option<T>, value: T, message: &'static str) -> Result<(), Violation> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(bad(message)),
    }
}

impl<'b> Fields<'b> {
    /// Reads the fields in order.
    ///
    /// # Errors
    /// `BadFraming`, `UnsupportedTransferCoding`.
    pub(super) fn read(headers: &[httparse::Header<'b>], is_http10: bool) -> Result<Self, Violation> {
        let mut host = None;
        let mut length = None;
        let mut length_text = &[][..];
        let mut chunked = None;
        let mut content = None;
        let mut coding = Coding::Identity;
        let mut x_codec = None;
        let mut idempotency_key = None;
        let mut traceparent = None;
        let mut last_event_id = None;
        let mut accept = Accept::default();
        let mut expectation = Expectation::None;
        let (mut says_close, mut says_keep_alive) = (false, false);
        let mut handshake = Handshake::default();

        for header in headers {
            let (name, value) = (header.name, header.value);
            // The length sorts out nearly everything before a byte of a name is compared.
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => once(&mut host, value, "there are two Host fields")?,
                6 if name.eq_ignore_ascii_case("accept") => accept.add(value),
                6 if name.eq_ignore_ascii_case("expect") => {
                    let met = value.eq_ignore_ascii_case(b"100-continue") && expectation != Expectation::Unknown;
                    expectation = if met { Expectation::Continue } else { Expectation::Unknown };
                }
                7 if name.eq_ignore_ascii_case("x-codec") => x_codec = Some(value),
                7 if name.eq_ignore_ascii_case("upgrade") => handshake.add_upgrade(value),
                // What nearly every client sends says nothing new.
                10 if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case(b"keep-alive") => {
                    says_keep_alive = true;
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    for token in list(value) {
                        says_close |= token.eq_ignore_ascii_case(b"close");
                        says_keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
                        handshake.says_upgrade |= token.eq_ignore_ascii_case(b"upgrade");
                    }
                }
                11 if name.eq_ignore_ascii_case("traceparent") => {
                    traceparent = Some(if traceparent.is_none() { value } else { b"" });
                }
                12 if name.eq_ignore_ascii_case("content-type") => {
                    once(&mut content, Content::of(value), "there are two Content-Type fields")?;
                }
                13 if name.eq_ignore_ascii_case("last-event-id") => {
                    once(&mut last_event_id, value, "there are two Last-Event-ID fields")?;
                }
                14 if name.eq_ignore_ascii_case("content-length") => {
                    once(&mut length, parse_length(value)?, "there are two Content-Length fields")?;
                    length_text = value;
                }
                15 if name.eq_ignore_ascii_case("idempotency-key") => {
                    once(&mut idempotency_key, value, "there are two Idempotency-Key fields")?;
                }
                16 if name.eq_ignore_ascii_case("content-encoding") => coding.add(value),
                17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                    check_transfer_coding(value)?;
                    once(&mut chunked, (), "the body is chunked twice")?;
                }
                17 if name.eq_ignore_ascii_case("sec-websocket-key") => {
                    once(&mut handshake.key, value, "there are two Sec-WebSocket-Key fields")?;
                }
                21 if name.eq_ignore_ascii_case("sec-websocket-version") => {
                    once(&mut handshake.version, value, "there are two Sec-WebSocket-Version fields")?;
                }
                22 if name.eq_ignore_ascii_case("sec-websocket-protocol") => handshake.add_protocols(value),
                _ => {}
            }
        }

        match host {
            Some(value) => check_host(value)?,
            None if is_http10 => {}
            None => return Err(bad("HTTP/1.1 needs a Host field")),
        }
        let framing = match (length, chunked) {
            (Some(_), Some(())) => return Err(bad("the body has both a length and chunks")),
            // RFC 9112, section 6.1: such a message has been tampered with.
            (None, Some(())) if is_http10 => return Err(bad("HTTP/1.0 has no transfer codings")),
            (None, Some(())) => Framing::Chunked,
            (None | Some(0), None) => Framing::None,
            (Some(length), None) => Framing::Length(length),
        };
        if is_http10 {
            // RFC 9110, sections 7.8 and 10.1.1: both are ignored in HTTP/1.0.
            handshake = Handshake::default();
            if expectation == Expectation::Continue {
                expectation = Expectation::None;
            }
        }
        let encoding = x_codec.and_then(Encoding::named).or_else(|| accept.choice());
        Ok(Self {
            framing,
            length_text,
            keep_alive: !says_close && (!is_http10 || says_keep_alive),
            expectation,
            content: content.unwrap_or(Content::Json),
            coding,
            idempotency_key,
            traceparent,
            last_event_id,
            encoding,
            takes_problems: accept.takes_problems(),
            handshake,
        })
    }
}

/// The elements of a comma-separated field, white space around them removed.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// RFC 9112, section 6.3: digits and nothing else. A list of equal lengths could be repaired, and is not.
fn parse_length(value: &[u8]) -> Result<u64, Violation> {
    let digits_only = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let length = digits_only.then(|| std::str::from_utf8(value).ok()?.parse().ok()).flatten();
    length.ok_or_else(|| bad("Content-Length is not a number, or one that nobody can mean"))
}

/// Accepts exactly `chunked` (RFC 9112, sections 6.1 and 7).
fn check_transfer_coding(value: &[u8]) -> Result<(), Violation> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let mut others = 0;
    for coding in value.split(|byte| *byte == b',') {
        let coding = coding.trim_ascii();
        if coding.is_empty() || !coding.iter().all(|byte| is_token_byte(*byte)) {
            return Err(bad("Transfer-Encoding is malformed"));
        }
        others += usize::from(!coding.eq_ignore_ascii_case(b"chunked"));
    }
    if others == 0 {
        return Err(bad("the body is chunked twice"));
    }
    Err(Violation::new(ErrorCode::UnsupportedTransferCoding, "the only transfer coding here is `chunked`"))
}

/// Bytes of a host and its port (RFC 3986, section 3.2.2), by value: asked for every byte of every request's host.
const HOST_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' | b'!'
            | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=' | b':' | b'[' | b']');
        byte += 1;
    }
    table
};

/// RFC 9110, section 7.2: a host with an optional port. Empty is a value too.
fn check_host(value: &[u8]) -> Result<(), Violation> {
    if value.iter().all(|byte| HOST_BYTES[usize::from(*byte)]) {
        Ok(())
    } else {
        Err(bad("the Host field is not a host"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_gzip_can_be_undone_and_nothing_else() {
        let coding = |values: &[&str]| {
            let mut coding = Coding::default();
            values.iter().for_each(|value| coding.add(value.as_bytes()));
            coding
        };
        for identity in [&[][..], &[""], &["identity"], &["Identity, identity"]] {
            assert_eq!(coding(identity), Coding::Identity, "{identity:?}");
        }
        for gzip in [&["gzip"][..], &["x-gzip"], &["GZip"], &["identity", "gzip"], &["gzip, identity"]] {
            assert_eq!(coding(gzip), Coding::Gzip, "{gzip:?}");
        }
        for unknown in
            [&["br"][..], &["deflate"], &["gzip, gzip"], &["gzip", "br"], &["br, gzip"], &["gzip;q=1"], &["*"]]
        {
            assert_eq!(coding(unknown), Coding::Unknown, "{unknown:?}");
        }
    }
}
