//! JSON by hand: members of one line, appended to bytes. Whatever a client sent, a line stays one line and valid JSON.

use core::net::IpAddr;
use std::io::Write;

/// Appends a JSON string without its quotation marks.
#[inline]
pub(super) fn append_escaped(out: &mut Vec<u8>, text: &[u8]) {
    // One pass that the compiler can do many bytes at a time: nearly every name and id is plain.
    let special = text
        .iter()
        .fold(false, |special, byte| special | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\') | (*byte >= 0x7f));
    if special {
        append_special(out, text);
    } else {
        out.extend_from_slice(text);
    }
}

/// The same for text with something in it that JSON, or a line, cannot have as it is. What is not UTF-8 becomes the
/// replacement character.
#[cold]
fn append_special(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
                // Controls, and what editors and terminals take for line ends or commands.
                '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                    // Writing to memory does not fail.
                    let _ = write!(out, "\\u{:04x}", character as u32);
                }
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends `,"name":"text"`.
#[inline]
pub(super) fn append_text(out: &mut Vec<u8>, name: &str, text: &[u8]) {
    append_name(out, name);
    out.push(b'"');
    append_escaped(out, text);
    out.push(b'"');
}

/// Appends `,"name":number`.
#[inline]
pub(super) fn append_number(out: &mut Vec<u8>, name: &str, number: u64) {
    append_name(out, name);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends `,"name":1.234`: nanoseconds as milliseconds.
#[inline]
pub(super) fn append_ms(out: &mut Vec<u8>, name: &str, ns: u64) {
    append_name(out, name);
    append_ms_value(out, ns);
}

/// Appends nanoseconds as milliseconds with three digits behind the point.
pub(super) fn append_ms_value(out: &mut Vec<u8>, ns: u64) {
    let us = ns / 1_000;
    out.extend_from_slice(itoa::Buffer::new().format(us / 1_000).as_bytes());
    let rest = us % 1_000;
    let digit = |unit: u64| b'0' + (rest / unit % 10) as u8;
    out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
}

/// Appends `,"name":"address"`. An IPv4 address in the clothes of IPv6 is an IPv4 address.
pub(super) fn append_ip(out: &mut Vec<u8>, name: &str, ip: IpAddr) {
    append_name(out, name);
    // Writing to memory does not fail.
    let _ = write!(out, "\"{}\"", ip.to_canonical());
}

/// Appends `,"name":`.
#[inline]
pub(super) fn append_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        append_escaped(&mut out, text);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn what_a_line_cannot_hold_is_escaped() {
        assert_eq!(escaped(b"a/b-1 ~"), "a/b-1 ~");
        assert_eq!(escaped(b"\"\\\n\x00\x1f\x7f"), r#"\"\\\u000a\u0000\u001f\u007f"#);
        assert_eq!(escaped("gr\u{fc}n \u{2028}\u{85}".as_bytes()), "gr\u{fc}n \\u2028\\u0085");
        assert_eq!(escaped(b"a\xffb\xc3"), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn times_have_three_digits_behind_the_point() {
        let ms = |ns| {
            let mut out = Vec::new();
            append_ms(&mut out, "m", ns);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(ms(0), r#","m":0.000"#);
        assert_eq!(ms(1_999), r#","m":0.001"#);
        assert_eq!(ms(12_345_678), r#","m":12.345"#);
        assert_eq!(ms(u64::MAX), r#","m":18446744073709.551"#);
    }

    #[test]
    fn an_address_is_written_in_its_shortest_form() {
        let ip = |text: &str| {
            let mut out = Vec::new();
            append_ip(&mut out, "ip", text.parse().unwrap());
            String::from_utf8(out).unwrap()
        };
        assert_eq!(ip("127.0.0.1"), r#","ip":"127.0.0.1""#);
        assert_eq!(ip("::ffff:10.0.0.1"), r#","ip":"10.0.0.1""#);
        assert_eq!(ip("2001:db8:0:0::1"), r#","ip":"2001:db8::1""#);
    }

    proptest! {
        #[test]
        fn any_bytes_become_one_valid_string(bytes: Vec<u8>) {
            let json = format!("\"{}\"", escaped(&bytes));
            prop_assert!(!json.contains('\n'));
            let value: Value = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(value.as_str().unwrap(), String::from_utf8_lossy(&bytes));
        }
    }
}
