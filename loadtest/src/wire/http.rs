//! HTTP/1.1 as a client (RFC 9112): request heads, and responses cut out of the bytes of a pipelined connection.

use super::{Codec, WireFault};

/// The largest response head that is taken.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The media type of a `POST /v1/enqueue`.
#[must_use]
pub const fn content_type(codec: Codec, is_batch: bool) -> &'static str {
    match (is_batch, codec) {
        (true, _) => "application/x-ndjson",
        (false, Codec::Json) => "application/json",
        (false, Codec::Msgpack) => "application/msgpack",
    }
}

/// The head of a publish. Five headers, as a plain client sends them; answers are asked for in JSON. `authorization` is one
/// more with its line end, or nothing.
#[must_use]
pub fn enqueue_head(host: &str, authorization: &str, content_type: &str, body_bytes: usize) -> Vec<u8> {
    format!(
        "POST /v1/enqueue HTTP/1.1\r\nHost: {host}\r\nUser-Agent: conduit-loadtest\r\nAccept: application/json\r\n\
         {authorization}Content-Type: {content_type}\r\nContent-Length: {body_bytes}\r\n\r\n"
    )
    .into_bytes()
}

/// One response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
    /// Bytes of the whole response.
    pub bytes: usize,
    /// The server will close the connection after it.
    pub is_last: bool,
}

/// The first whole response of `bytes`, or `None` when there is none yet. Interim (1xx) responses are the caller's to skip.
///
/// # Errors
/// A [`WireFault`] when the bytes are not a response with `Content-Length` (every server measured here sends it).
pub fn split_response(bytes: &[u8]) -> Result<Option<Response<'_>>, WireFault> {
    let Some(head_end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(fault(bytes, "a head without end")) } else { Ok(None) };
    };
    let head = &bytes[..head_end];
    let status = match head {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', _, b' ', a, b, c, ..]
            if a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit() =>
        {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return Err(fault(bytes, "no HTTP/1.x status line")),
    };
    let mut body_bytes = None;
    let mut is_last = false;
    for line in lines(head) {
        if let Some(value) = value_of(line, b"content-length") {
            let (length, rest) =
                super::envelope::split_decimal(value).ok_or_else(|| fault(bytes, "a bad Content-Length"))?;
            if !rest.is_empty() {
                return Err(fault(bytes, "a bad Content-Length"));
            }
            body_bytes = Some(length as usize);
        } else if let Some(value) = value_of(line, b"connection") {
            is_last = value.eq_ignore_ascii_case(b"close");
        }
    }
    let body_start = head_end + 4;
    let body_bytes = match body_bytes {
        Some(length) => length,
        None if status < 200 || status == 204 || status == 304 => 0,
        None => return Err(fault(bytes, "a response without Content-Length")),
    };
    let end = body_start.saturating_add(body_bytes);
    Ok(bytes.get(body_start..end).map(|body| Response { status, body, bytes: end, is_last }))
}

fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = head;
    std::iter::from_fn(move || {
        let at = memchr::memchr(b'\n', rest)?;
        rest = &rest[at + 1..];
        let end = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
        Some(&rest[..end])
    })
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    head.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn fault(bytes: &[u8], what: &str) -> WireFault {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    WireFault::new(format!("{what}: {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Target;

    #[test]
    fn pipelined_responses_are_cut_apart() {
        let bytes = b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 2\r\n\r\nhiHTTP/1.1 429 No\r\nContent-Length:0\r\nConnection: close\r\n\r\n";
        let first = split_response(bytes).expect("valid").expect("whole");
        assert_eq!((first.status, first.body, first.is_last), (200, b"hi".as_slice(), false));
        let second = split_response(&bytes[first.bytes..]).expect("valid").expect("whole");
        assert_eq!((second.status, second.body, second.is_last), (429, b"".as_slice(), true));
        assert_eq!(first.bytes + second.bytes, bytes.len());
    }

    #[test]
    fn a_response_is_never_given_before_it_is_whole() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        for end in 0..bytes.len() {
            assert_eq!(split_response(&bytes[..end]), Ok(None), "cut at {end}");
        }
        assert!(split_response(bytes).is_ok_and(|response| response.is_some()));
    }

    #[test]
    fn what_is_not_a_response_is_a_fault() {
        for bytes in
            [&b"SSH-2.0\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n"]
        {
            assert!(split_response(bytes).is_err());
        }
    }

    #[test]
    fn a_request_head_says_its_length() {
        let head = String::from_utf8(enqueue_head("h:1", "", content_type(Codec::Json, false), 12)).expect("text");
        assert!(head.contains("Content-Length: 12\r\n") && head.ends_with("\r\n\r\n"));
    }

    #[test]
    fn a_token_is_one_more_header() {
        let target = Target::loopback(1).with_token(Some("t0k".into()));
        let head = enqueue_head(&target.host, &target.authorization(), "application/json", 2);
        let head = String::from_utf8(head).expect("text");
        assert!(head.contains("\r\nAuthorization: Bearer t0k\r\nContent-Type: "), "{head}");
        assert!(!head.contains("\r\n\r\n\r\n"));
    }
}
