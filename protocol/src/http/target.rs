//! The request target (RFC 9112, section 3.2), its percent escapes (RFC 3986, section 2.1) and its query.

use super::head::bad;
use crate::error::{ErrorCode, Violation};
use std::borrow::Cow;

/// Path and query as they came, escapes and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target<'b> {
    pub(super) path: &'b str,
    /// Without its question mark; empty when there is none.
    pub(super) query: &'b str,
    /// There is a percent sign in it.
    pub(super) has_escapes: bool,
}

/// What a byte of a target is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Percent,
    /// Not for a target. What RFC 3986 forbids but browsers send raw (`{`, `|`, ...) does no harm here and is plain.
    Wrong,
}

/// The kinds by byte: asked for every byte of every request's target.
const KINDS: [Kind; 256] = {
    let mut table = [Kind::Wrong; 256];
    let mut byte = 0x21;
    while byte <= 0x7e {
        table[byte] = match byte as u8 {
            b'%' => Kind::Percent,
            b'"' | b'<' | b'>' | b'#' => Kind::Wrong,
            _ => Kind::Plain,
        };
        byte += 1;
    }
    table
};

/// Splits a target in origin form or absolute form. Asterisk form passes as the path `*`; authority form is for
/// proxies, which this is not.
///
/// # Errors
/// `BadFraming`.
pub(super) fn parse(target: &str) -> Result<Target<'_>, Violation> {
    let mut has_escapes = false;
    for byte in target.bytes() {
        match KINDS[usize::from(byte)] {
            Kind::Plain => {}
            Kind::Percent => has_escapes = true,
            Kind::Wrong => return Err(bad_byte()),
        }
    }
    let local = if target.starts_with('/') {
        target
    } else if target == "*" {
        return Ok(Target { path: target, query: "", has_escapes });
    } else {
        strip_authority(target).ok_or_else(|| bad("the target is neither a path nor an http URI"))?
    };
    let (path, query) = match memchr::memchr(b'?', local.as_bytes()) {
        Some(at) => (&local[..at], &local[at + 1..]),
        None => (local, ""),
    };
    Ok(Target { path: if path.is_empty() { "/" } else { path }, query, has_escapes })
}

/// What follows scheme and authority of an absolute URI.
fn strip_authority(target: &str) -> Option<&str> {
    let scheme_end = target.find("://")?;
    let scheme = &target[..scheme_end];
    if !["http", "https", "ws", "wss"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let rest = &target[scheme_end + 3..];
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    let authority = &rest[..authority_end];
    // User information in an http URI is an error (RFC 9110, section 4.2.4).
    (!authority.is_empty() && !authority.contains('@')).then(|| &rest[authority_end..])
}

pub(super) fn bad_byte() -> Violation {
    bad("the target has a byte that a URI cannot have: escape it")
}

/// Decodes `%XX`, and `+` as a space when `plus_is_space` (in queries, as forms and browsers write them).
///
/// # Errors
/// `InvalidField` for an escape that is not two hexadecimal digits, or when the result is not UTF-8.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> Result<Cow<'_, str>, Violation> {
    if !text.bytes().any(|byte| byte == b'%' || (plus_is_space && byte == b'+')) {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let (high, low) = (bytes.next().and_then(hex_value), bytes.next().and_then(hex_value));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(Violation::new(
                        ErrorCode::InvalidField,
                        "a percent escape is not two hexadecimal digits",
                    ));
                };
                high << 4 | low
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| Violation::new(ErrorCode::InvalidField, "an escaped part of the target is not UTF-8"))
}

/// The value of a hexadecimal digit.
pub(super) const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The value of the parameter `name`, decoded; `None` when it is absent. `name` itself needs no escapes.
///
/// # Errors
/// `InvalidField` for a bad escape, or when the parameter comes twice: guessing which one is meant helps nobody.
pub(crate) fn parameter<'q>(query: &'q str, name: &str) -> Result<Option<Cow<'q, str>>, Violation> {
    let mut found = None;
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if percent_decode(key, true)? == name {
            if found.is_some() {
                return Err(Violation::new(ErrorCode::InvalidField, format!("parameter `{name}` is given twice")));
            }
            found = Some(percent_decode(value, true)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_and_absolute_form_name_the_same_target() {
        let expected = Target { path: "/v1/stats", query: "stream=a", has_escapes: false };
        for target in ["/v1/stats?stream=a", "http://host:9087/v1/stats?stream=a", "HTTP://h/v1/stats?stream=a"] {
            assert_eq!(parse(target).unwrap(), expected, "{target}");
        }
        assert_eq!(parse("http://host").unwrap().path, "/");
        assert_eq!(parse("http://host?q").unwrap(), Target { path: "/", query: "q", has_escapes: false });
        assert!(parse("/a?b=%20").unwrap().has_escapes);
        assert_eq!(parse("*").unwrap().path, "*");
    }

    #[test]
    fn other_forms_are_refused() {
        for target in [
            "",
            "host:80",
            "v1/stats",
            "http:///x",
            "http://a@b/",
            "ftp://h/",
            "/a#b",
            "/a\"b",
            "/<",
            "/\u{e9}",
            "/a b",
            "**",
        ] {
            assert_eq!(parse(target).unwrap_err().code, ErrorCode::BadFraming, "{target}");
        }
    }

    #[test]
    fn escapes_are_decoded_once_and_strictly() {
        assert_eq!(percent_decode("a%2Fb%2fc%25%32%35", false).unwrap(), "a/b/c%25");
        assert_eq!(percent_decode("a+b", false).unwrap(), "a+b");
        assert_eq!(percent_decode("a+b%2B", true).unwrap(), "a b+");
        for bad in ["%", "%4", "%zz", "%4g", "a%", "%%41", "%+1", "%ff", "%c3%28"] {
            assert_eq!(percent_decode(bad, true).unwrap_err().code, ErrorCode::InvalidField, "{bad}");
        }
    }

    #[test]
    fn a_parameter_is_found_by_its_decoded_name() {
        assert_eq!(parameter("x=1&stream=a%2Fb", "stream").unwrap().unwrap(), "a/b");
        assert_eq!(parameter("%73tream=a", "stream").unwrap().unwrap(), "a");
        assert_eq!(parameter("stream", "stream").unwrap().unwrap(), "");
        assert_eq!(parameter("streams=a", "stream").unwrap(), None);
        assert_eq!(parameter("stream=a&stream=b", "stream").unwrap_err().code, ErrorCode::InvalidField);
    }
}
