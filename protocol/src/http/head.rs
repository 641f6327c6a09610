//! The request head (RFC 9112, sections 2, 3, 5 and 6): request line, fields, and what they say about the body.
//!
//! `httparse` does the byte work. It is more lenient than we are (bare LF, any bytes above ASCII in a target), so what
//! it accepts is checked again here. Nothing ambiguous is repaired: two parsers that repair differently are a smuggling
//! hole, so the answer is always 400 and the end of the connection.
//!
//! The verdict on a head depends only on its bytes, never on how they were cut into reads: limits, line ends and the
//! request line are judged where they stand, everything else once the head is complete.

use super::fields::Fields;
use super::target::{self, Target};
use crate::error::{ErrorCode, Violation};
use crate::limits::Limits;
use std::mem::MaybeUninit;

/// Header fields that the parser has room for; `Limits::headers_max` above it means this.
const HEADERS_CAP: usize = 128;

/// Header fields that the quick pass has room for: more than that is no common request.
const QUICK_HEADERS_CAP: usize = 32;

/// What is asked for (RFC 9110, section 9). Methods are case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    /// Known to nobody here: every path answers 405.
    Other,
}

/// Where the parser puts the header fields of one request, for either pass. It begins as whatever is there.
pub(super) struct Room<'b> {
    quick: [MaybeUninit<httparse::Header<'b>>; QUICK_HEADERS_CAP],
    careful: [MaybeUninit<httparse::Header<'b>>; HEADERS_CAP],
}

impl Room<'_> {
    /// Room that holds nothing yet.
    pub(super) const fn new() -> Self {
        Self {
            quick: [const { MaybeUninit::uninit() }; QUICK_HEADERS_CAP],
            careful: [const { MaybeUninit::uninit() }; HEADERS_CAP],
        }
    }
}

/// One complete request head.
#[derive(Debug)]
pub(super) struct RequestHead<'h, 'b> {
    /// Bytes from the request line to the empty line, both included.
    pub(super) len: usize,
    pub(super) method: Method,
    /// The method as it came.
    pub(super) method_text: &'b str,
    pub(super) target: Target<'b>,
    /// The request is HTTP/1.0.
    pub(super) is_http10: bool,
    pub(super) fields: Fields<'b>,
    /// All fields, in order.
    pub(super) headers: &'h [httparse::Header<'b>],
}

/// How far an incomplete head has been looked at, so that bytes that trickle in are scanned once.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct HeadScan {
    /// Start of the first line that has not ended yet.
    line_start: u32,
    /// Lines before it, the request line included.
    lines: u32,
}

/// Parses the head at the start of `bytes`, which does not begin with a line end. `None`: more bytes are needed.
///
/// # Errors
/// `BadFraming`, `UriTooLong`, `HeadersTooLarge`, `UnsupportedVersion`, `UnsupportedTransferCoding`: all of them end the
/// connection.
pub(super) fn parse<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut Room<'b>,
    scan: &mut HeadScan,
    limits: &Limits,
) -> Result<Option<RequestHead<'h, 'b>>, Violation> {
    // A head that came whole is parsed in one pass. Whatever is unusual about it is left to the slow pass, so that there
    // is one place that decides what is wrong.
    if scan.is_fresh()
        && let Some(verdict) = parse_whole(bytes, &mut room.quick, limits)
    {
        return verdict.map(Some);
    }
    parse_with_care(bytes, &mut room.careful, scan, limits)
}

/// The slow pass: line by line, then all of it.
#[cold]
fn parse_with_care<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut [MaybeUninit<httparse::Header<'b>>],
    scan: &mut HeadScan,
    limits: &Limits,
) -> Result<Option<RequestHead<'h, 'b>>, Violation> {
    let Some(len) = scan.find_end(bytes, limits)? else { return Ok(None) };
    *scan = HeadScan::default();
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(&bytes[..len], room) {
        Ok(httparse::Status::Complete(parsed)) if parsed == len => read(request, len).map(Some),
        Ok(_) => Err(bad("the header section does not end where it seems to")),
        Err(httparse::Error::HeaderName) => {
            Err(bad("a header name has a bad byte, or white space before its colon, or a folded line follows it"))
        }
        Err(httparse::Error::HeaderValue) => Err(bad("a header value has a control character")),
        Err(httparse::Error::TooManyHeaders) => Err(too_many_headers()),
        Err(_) => Err(bad("the request line is malformed")),
    }
}

/// The quick pass: `None` when the head is incomplete or anything about it needs a closer look.
fn parse_whole<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut [MaybeUninit<httparse::Header<'b>>],
    limits: &Limits,
) -> Option<Result<RequestHead<'h, 'b>, Violation>> {
    let mut request = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(len)) = request.parse_with_uninit_headers(bytes, room) else {
        return None;
    };
    let line_end = request.headers.first().map_or(len - 2, |header| offset(bytes, header.name.as_bytes()));
    let within_limits = len <= limits.head_bytes_max
        && line_end <= limits.request_line_bytes_max
        && request.headers.len() <= limits.headers_max;
    // Every line ends right before a header's name or before the empty line; `httparse` has seen the LF there.
    let crlf_only = bytes[..len].ends_with(b"\r\n\r\n")
        && request.headers.iter().all(|header| {
            let name_at = offset(bytes, header.name.as_bytes());
            name_at >= 2 && bytes[name_at - 2] == b'\r'
        });
    (within_limits && crlf_only).then(|| read(request, len))
}

/// Where `part`, a slice of `whole`, begins in it.
pub(super) fn offset(whole: &[u8], part: &[u8]) -> usize {
    (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize)
}

#[expect(clippy::needless_pass_by_value, reason = "what it borrows outlives it, and it is not needed again")]
fn read<'h, 'b>(request: httparse::Request<'h, 'b>, len: usize) -> Result<RequestHead<'h, 'b>, Violation> {
    let target = target::parse(request.path.unwrap_or_default())?;
    let method = match request.method.unwrap_or_default() {
        "POST" => Method::Post,
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        _ => Method::Other,
    };
    let is_http10 = request.version == Some(0);
    let fields = Fields::read(request.headers, is_http10)?;
    let method_text = request.method.unwrap_or_default();
    Ok(RequestHead { len, method, method_text, target, is_http10, fields, headers: request.headers })
}

impl HeadScan {
    /// No line of a head has been looked at.
    pub(super) const fn is_fresh(&self) -> bool {
        self.line_start == 0
    }

    /// Nothing of a head has come, or what came fits in one unfinished line.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Looks for the empty line, checking limits and line ends on the way. Returns the length of the head.
    fn find_end(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Violation> {
        loop {
            let start = self.line_start as usize;
            let is_request_line = start == 0;
            let Some(length) = memchr::memchr(b'\n', &bytes[start..]) else {
                // The last byte may be the CR of a line that ends within the limit.
                if is_request_line && bytes.len() > limits.request_line_bytes_max + 1 {
                    return Err(line_too_long());
                }
                if bytes.len() > limits.head_bytes_max {
                    return Err(head_too_large());
                }
                return Ok(None);
            };
            let line = &bytes[start..start + length];
            let content = line.strip_suffix(b"\r");
            let end = start + length + 1;
            if is_request_line && content.unwrap_or(line).len() > limits.request_line_bytes_max {
                return Err(line_too_long());
            }
            if end > limits.head_bytes_max {
                return Err(head_too_large());
            }
            let Some(content) = content else { return Err(bare_line_feed()) };
            if content.is_empty() {
                return Ok(Some(end));
            }
            if is_request_line {
                check_request_line(content)?;
            } else if self.lines as usize > limits.headers_max.min(HEADERS_CAP) {
                return Err(too_many_headers());
            }
            self.lines += 1;
            self.line_start = end as u32;
        }
    }
}

/// Judges a request line as soon as it has come, so that a peer that speaks something else learns it at once.
fn check_request_line(line: &[u8]) -> Result<(), Violation> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad("the request line is not `METHOD TARGET VERSION` with single spaces"));
    };
    if method.is_empty() || !method.iter().all(|byte| is_token_byte(*byte)) {
        return Err(bad("the method is not a token"));
    }
    let [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] = version else {
        return Err(bad("the request line does not end with an HTTP version"));
    };
    if (*major, *minor) != (b'1', b'0') && (*major, *minor) != (b'1', b'1') {
        return Err(Violation::new(ErrorCode::UnsupportedVersion, "this server speaks HTTP/1.1 and HTTP/1.0 only"));
    }
    let target = std::str::from_utf8(target).map_err(|_| target::bad_byte())?;
    target::parse(target).map(|_| ())
}

/// Bytes of a token (RFC 9110, section 5.6.2).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-'
        | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

pub(super) fn bad(message: &'static str) -> Violation {
    Violation::new(ErrorCode::BadFraming, message)
}

pub(super) fn bare_line_feed() -> Violation {
    bad("a line ends in a bare LF: lines end in CRLF")
}

fn line_too_long() -> Violation {
    Violation::new(ErrorCode::UriTooLong, "the request line is longer than the limit")
}

fn head_too_large() -> Violation {
    Violation::new(ErrorCode::HeadersTooLarge, "the header section is larger than the limit")
}

fn too_many_headers() -> Violation {
    Violation::new(ErrorCode::HeadersTooLarge, "there are more header fields than the limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_with(bytes: &[u8], limits: &Limits) -> Result<bool, ErrorCode> {
        let parsed = parse(bytes, &mut Room::new(), &mut HeadScan::default(), limits).map(|head| head.is_some());
        parsed.map_err(|violation| violation.code)
    }

    fn code_of(bytes: &[u8]) -> ErrorCode {
        parse_with(bytes, &Limits::default()).expect_err("this head is refused")
    }

    #[test]
    fn a_whole_head_is_read() {
        let bytes = b"POST /v1/enqueue?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
        let (mut room, mut scan) = (Room::new(), HeadScan::default());
        let head = parse(bytes, &mut room, &mut scan, &Limits::default()).unwrap().unwrap();
        assert_eq!((head.method_text, head.headers.len()), ("POST", 2));
        assert_eq!(
            (head.len, head.method, head.target.path, head.target.query),
            (66 - 5, Method::Post, "/v1/enqueue", "a=b")
        );
    }

    #[test]
    fn an_incomplete_head_needs_more_bytes() {
        let whole = b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n";
        for cut in 1..whole.len() {
            assert_eq!(parse_with(&whole[..cut], &Limits::default()), Ok(false), "{cut}");
        }
    }

    #[test]
    fn other_versions_are_told_apart_from_garbage() {
        for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3.1"] {
            assert_eq!(code_of(format!("GET / {version}\r\n").as_bytes()), ErrorCode::UnsupportedVersion);
        }
        for version in ["HTTP/1", "http/1.1", "HTTP/1.1 ", "HTTP/11", "HTTPS/1.1", ""] {
            assert_eq!(code_of(format!("GET / {version}\r\n").as_bytes()), ErrorCode::BadFraming, "{version}");
        }
    }

    #[test]
    fn the_request_line_limit_is_inclusive() {
        let limits = Limits { request_line_bytes_max: 30, ..Limits::default() };
        let at = "GET /234567890123456 HTTP/1.1\r\nHost: x\r\n\r\n".replace("/2", "/22");
        assert_eq!(at.find('\r'), Some(30));
        assert_eq!(parse_with(at.as_bytes(), &limits), Ok(true));
        let over = at.replace("/2", "/22");
        assert_eq!(parse_with(over.as_bytes(), &limits), Err(ErrorCode::UriTooLong));
    }

    #[test]
    fn the_head_limit_is_inclusive() {
        let whole = b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n";
        let at = Limits { head_bytes_max: whole.len(), ..Limits::default() };
        assert_eq!(parse_with(whole, &at), Ok(true));
        let under = Limits { head_bytes_max: whole.len() - 1, ..Limits::default() };
        assert_eq!(parse_with(whole, &under), Err(ErrorCode::HeadersTooLarge));
    }

    #[test]
    fn the_field_limit_is_inclusive() {
        let whole = b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n\r\n";
        let at = Limits { headers_max: 2, ..Limits::default() };
        assert_eq!(parse_with(whole, &at), Ok(true));
        let under = Limits { headers_max: 1, ..Limits::default() };
        assert_eq!(parse_with(whole, &under), Err(ErrorCode::HeadersTooLarge));
    }
}
