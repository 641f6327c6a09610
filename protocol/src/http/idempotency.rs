//! The `Idempotency-Key` field: the `dedupId` of a publish for clients that set it for every request.

use crate::codec::is_dedup_id;
use crate::command::PublishOptions;
use crate::error::{ErrorCode, Violation};
use crate::limits::Limits;
use std::borrow::Cow;

/// Reads the value of the field into `key`, whose memory is used again and again. One in double quotes is a string as
/// structured fields have it (RFC 8941, section 3.3.3), which is what the field's draft wants; anything else stands for
/// itself, which is what many clients send.
///
/// # Errors
/// `InvalidField` for a key that is empty, longer than `dedup_id_bytes_max`, or no text.
pub(super) fn read_key(value: &[u8], limits: &Limits, key: &mut String) -> Result<(), Violation> {
    key.clear();
    let is_read = match value {
        [b'"', quoted @ ..] => unquote(quoted, key),
        plain => std::str::from_utf8(plain).map(|plain| key.push_str(plain)).is_ok(),
    };
    if is_read && is_dedup_id(key, limits) {
        return Ok(());
    }
    let message = "`Idempotency-Key` must be a text that is not empty and within the length limit";
    Err(Violation::new(ErrorCode::InvalidField, message))
}

/// Gives a publish the key of its request.
///
/// # Errors
/// `InvalidField` when its `dedupId` is another one: which of them is meant?
pub(super) fn name<'k>(options: &mut PublishOptions<'k>, key: &'k str) -> Result<(), Violation> {
    if options.dedup_id.as_deref().is_some_and(|id| id != key) {
        let message = "`dedupId` and `Idempotency-Key` differ: give one of them";
        return Err(Violation::new(ErrorCode::InvalidField, message));
    }
    options.dedup_id = Some(Cow::Borrowed(key));
    Ok(())
}

/// Reads what follows an opening quote, up to the closing one, which must be the end.
fn unquote(quoted: &[u8], key: &mut String) -> bool {
    let mut bytes = quoted.iter();
    loop {
        match bytes.next() {
            Some(b'"') => return bytes.as_slice().is_empty(),
            Some(b'\\') => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => key.push(char::from(*escaped)),
                _ => return false,
            },
            Some(plain @ b' '..=b'~') => key.push(char::from(*plain)),
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_plain_or_quoted() {
        let limits = Limits { dedup_id_bytes_max: 8, ..Limits::default() };
        // What an earlier request left in the buffer does not count.
        let read = |value: &[u8]| {
            let mut key = "earlier".to_owned();
            read_key(value, &limits, &mut key).ok().map(|()| key)
        };
        for (value, key) in [
            (&b"abc"[..], "abc"),
            (b"12345678", "12345678"),
            (b"\"12345678\"", "12345678"),
            (b"\"a b\"", "a b"),
            (br#""a\"\\b""#, "a\"\\b"),
            (br"a\b", r"a\b"),
            (b"a\"b", "a\"b"),
            ("é".as_bytes(), "é"),
        ] {
            assert_eq!(read(value).as_deref(), Some(key));
        }
        for wrong in [
            &b""[..],
            b"123456789",
            b"\"123456789\"",
            b"\"\"",
            b"\"",
            b"\"a",
            b"\"a\"b",
            b"\"a\\\"",
            br#""a\b""#,
            b"\"\xc3\xa9\"",
            b"\xff",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
