//! What stands between the quotes of a JSON string (RFC 8259, section 7): finding its end, its escapes, writing it;
//! and the writing of integers.

use super::reader::NAMES;

/// The position of the first byte from `at` on that ends a run of plain string content: a quote, a backslash or a
/// control character (RFC 8259, section 7); the length of `bytes` when there is none.
///
/// Most names end within eight bytes: that much is looked at where it is called.
#[inline(always)]
pub(super) fn plain_end(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        Some(word) => match stops_in(word) {
            0 => plain_end_beyond(bytes, at + 8),
            stops => at + stops.trailing_zeros() as usize / 8,
        },
        None => plain_end_of_few(bytes, at),
    }
}

/// The same for longer ones: two more words for an id or a stream's name, then large blocks. The eight bytes before `at`
/// are plain.
#[inline(never)]
fn plain_end_beyond(bytes: &[u8], mut at: usize) -> usize {
    if let Some(stop) = plain_end_in_words(bytes, &mut at, 2) {
        return stop;
    }
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<64>) {
        if !is_plain(block) {
            break;
        }
        at += 64;
    }
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<32>) {
        if !is_plain(block) {
            break;
        }
        at += 32;
    }
    plain_end_in_words(bytes, &mut at, 4).unwrap_or_else(|| plain_end_in_last_word(bytes))
}

/// The same where less than a word is left, and what the last word of all has of the bytes before is plain.
#[inline(always)]
fn plain_end_in_last_word(bytes: &[u8]) -> usize {
    match bytes.last_chunk().map_or(0, stops_in) {
        0 => bytes.len(),
        stops => bytes.len() - 8 + stops.trailing_zeros() as usize / 8,
    }
}

/// Looks at so many words of eight bytes, as far as there are any, and moves `at` past those that are plain.
#[inline(always)]
fn plain_end_in_words(bytes: &[u8], at: &mut usize, words: usize) -> Option<usize> {
    for _ in 0..words {
        let word = bytes.get(*at..)?.first_chunk()?;
        match stops_in(word) {
            0 => *at += 8,
            stops => return Some(*at + stops.trailing_zeros() as usize / 8),
        }
    }
    None
}

#[inline(never)]
fn plain_end_of_few(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(|&byte| byte >= 0x20 && byte != b'"' && byte != b'\\') {
        at += 1;
    }
    at
}

/// All bytes of a block are plain. Written so that the compiler does it with vector instructions: what stops a string
/// makes a 0, and the least of all is looked at once.
#[inline(always)]
fn is_plain<const N: usize>(block: &[u8; N]) -> bool {
    let least_of = |byte: u8| byte.saturating_sub(0x1f).min(byte ^ b'"').min(byte ^ b'\\');
    block.iter().fold(u8::MAX, |least, &byte| least.min(least_of(byte))) > 0
}

/// 0 when all eight bytes are plain, else a word whose lowest bit that is set lies in the first that is not.
#[inline(always)]
const fn stops_in(word: &[u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = ONES * 0x80;
    let word = u64::from_le_bytes(*word);
    // Each subtraction sets the top bit of a byte that is below the subtrahend, and maybe of bytes above that one.
    // A quote, 0x22, becomes 0x20 by its `xor` and joins the control characters, which stay among themselves.
    let control_or_quote = (word ^ (ONES * 2)).wrapping_sub(ONES * 0x21);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    (control_or_quote | backslash) & !word & TOPS
}

/// Decodes the escape that `bytes` begins with: the character and the length of the escape. `None` if it is none.
pub(super) fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    let character = match bytes.get(1)? {
        b'"' => '"',
        b'\\' => '\\',
        b'/' => '/',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return unicode_escape(bytes),
        _ => return None,
    };
    Some((character, 2))
}

/// A `u` and four hex digits, or two such escapes that make a surrogate pair.
fn unicode_escape(bytes: &[u8]) -> Option<(char, usize)> {
    let unit = hex4(bytes.get(2..6)?)?;
    if !(0xd800..0xdc00).contains(&unit) {
        return Some((char::from_u32(unit)?, 6));
    }
    if bytes.get(6..8)? != b"\\u" {
        return None;
    }
    let low = hex4(bytes.get(8..12)?)?;
    if !(0xdc00..0xe000).contains(&low) {
        return None;
    }
    Some((char::from_u32(0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?, 12))
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

/// The name that means something and that the escaped string content `raw` stands for; empty if there is none.
#[cold]
pub(super) fn known_name(raw: &[u8]) -> &'static [u8] {
    NAMES.into_iter().find(|name| escaped_is(raw, name)).unwrap_or_default()
}

/// Does the escaped string `raw` say `name`? Without building it.
pub(super) fn escaped_is(raw: &[u8], name: &[u8]) -> bool {
    let mut at = 0;
    for &wanted in name {
        let (found, length) = match raw.get(at) {
            Some(b'\\') => match escape(&raw[at..]) {
                Some(escaped) => escaped,
                None => return false,
            },
            Some(&byte) if byte.is_ascii() => (char::from(byte), 1),
            _ => return false,
        };
        if found != char::from(wanted) {
            return false;
        }
        at += length;
    }
    at == raw.len()
}

/// The text that the checked string content `raw` stands for.
#[cold]
pub(super) fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(backslash) = rest.find('\\') {
        text.push_str(&rest[..backslash]);
        let Some((character, length)) = escape(&rest.as_bytes()[backslash..]) else { break };
        text.push(character);
        rest = rest.get(backslash + length..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// Appends `text` as a JSON string.
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    put_text_content(text.as_bytes(), out);
    out.push(b'"');
}

/// Appends the text `bytes` with what a JSON string needs escaped, without the quotes.
pub(super) fn put_text_content(bytes: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    loop {
        let end = plain_end(bytes, at);
        out.extend_from_slice(&bytes[at..end]);
        let Some(&byte) = bytes.get(end) else { return };
        put_escape(byte, out);
        at = end + 1;
    }
}

#[cold]
fn put_escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let letter = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', letter]);
}

/// Bytes that [`put_text_content`] appends.
pub(super) fn text_content_len(bytes: &[u8]) -> usize {
    let end = plain_end(bytes, 0);
    if end == bytes.len() { end } else { end + escaped_len(&bytes[end..]) }
}

#[cold]
fn escaped_len(bytes: &[u8]) -> usize {
    let len = |byte: &u8| match byte {
        b'"' | b'\\' | 0x08 | 0x0c | b'\n' | b'\r' | b'\t' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    bytes.iter().map(len).sum()
}

/// Appends an integer.
pub(super) fn put_integer(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_plain(byte: u8) -> bool {
        byte >= 0x20 && byte != b'"' && byte != b'\\'
    }

    #[test]
    fn the_end_of_a_plain_run_is_found_wherever_it_is() {
        // Every byte at every place of texts around the widths that are looked at together.
        for length in [0, 1, 7, 8, 9, 15, 16, 31, 32, 33, 39, 40, 41, 63, 64, 72, 100] {
            for stop in 0..length {
                for byte in 0..=255 {
                    let mut text = vec![b'x'; length];
                    text[stop] = byte;
                    let wanted = if is_plain(byte) { length } else { stop };
                    assert_eq!(plain_end(&text, 0), wanted, "{byte:#x} at {stop} of {length}");
                }
            }
        }
    }

    #[test]
    fn the_first_of_several_ends_counts() {
        let ends = [0x00, 0x1f, b'"', b'\\'];
        for at in 0..48 {
            for first in ends {
                for after in [0x00, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x5b, 0x5c, 0x5d, 0x7f, 0x80, 0xff] {
                    let mut text = vec![0xff; 64];
                    text[at] = first;
                    text[at + 1..].fill(after);
                    assert_eq!(plain_end(&text, 0), at, "{first:#x}, then {after:#x}");
                    assert_eq!(plain_end(&text, at), at);
                }
            }
        }
        assert_eq!(plain_end(b"ab", 5), 5);
    }

    #[test]
    fn a_text_is_written_so_that_it_reads_back() {
        for character in ('\0'..='\u{3000}').chain(['\u{2028}', '\u{ffff}', '\u{1f600}', '\u{10ffff}']) {
            let text = format!("0123456789{character}{character}");
            let mut out = Vec::new();
            put_text(&text, &mut out);
            assert_eq!(serde_json::from_slice::<String>(&out).ok().as_ref(), Some(&text));
            assert_eq!(out.len() - 2, text_content_len(text.as_bytes()), "{text:?}");
            let raw = std::str::from_utf8(&out[1..out.len() - 1]).unwrap_or_default();
            assert_eq!(unescape(raw), text);
        }
    }

    #[test]
    fn escapes_are_those_of_the_grammar() {
        assert_eq!(unescape(r#"\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00x"#), "\"\\/\u{8}\u{c}\n\r\té😀x");
        for wrong in [
            "\\",
            "\\x",
            "\\U0041",
            "\\u004",
            "\\u00g0",
            "\\u+041",
            "\\ud800",
            "\\ud800\\n",
            "\\ud800\\u0041",
            "\\udc00",
        ] {
            assert_eq!(escape(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_known_name_is_known_under_any_escapes() {
        assert_eq!(known_name(br"\u0061ckUpTo"), b"ackUpTo");
        assert_eq!(known_name(br"\u0074\u006F"), b"to");
        for other in [&br"\u0061c"[..], br"\u0061ckk", br"\u0061ck\n", br"\u0100ck", "\\u0061é".as_bytes(), b""] {
            assert_eq!(known_name(other), b"");
        }
    }
}
