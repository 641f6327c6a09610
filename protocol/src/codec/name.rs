//! What streams and groups may be called.

use crate::error::{ErrorCode, Violation};
use crate::limits::Limits;

/// Names that start with it belong to the server (`$audit`, `$alerts`).
const RESERVED_PREFIX: char = '$';

/// Checks a stream's name: 1 to `stream_name_bytes_max` bytes, no control characters, not reserved.
///
/// # Errors
/// `InvalidStream` for the first two, `Forbidden` for a name that starts with `$`.
pub fn check_stream_name(name: &str, limits: &Limits) -> Result<(), Violation> {
    if name.is_empty() {
        return Err(Violation::new(ErrorCode::InvalidStream, "the stream name is empty"));
    }
    if name.len() > limits.stream_name_bytes_max {
        let message =
            format!("the stream name has {} bytes, at most {} are allowed", name.len(), limits.stream_name_bytes_max);
        return Err(Violation::new(ErrorCode::InvalidStream, message));
    }
    if has_control(name) {
        return Err(Violation::new(ErrorCode::InvalidStream, "the stream name has control characters"));
    }
    if name.starts_with(RESERVED_PREFIX) {
        return Err(Violation::new(ErrorCode::Forbidden, "stream names that start with $ are reserved for the server"));
    }
    Ok(())
}

/// Checks a group's name: 1 to `group_name_bytes_max` bytes, no control characters.
///
/// # Errors
/// `InvalidField`.
pub fn check_group_name(name: &str, limits: &Limits) -> Result<(), Violation> {
    if name.is_empty() {
        return Err(Violation::new(ErrorCode::InvalidField, "the group's name is empty"));
    }
    if name.len() > limits.group_name_bytes_max {
        let (bytes, max) = (name.len(), limits.group_name_bytes_max);
        let message = format!("the group's name has {bytes} bytes, at most {max} are allowed");
        return Err(Violation::new(ErrorCode::InvalidField, message));
    }
    if has_control(name) {
        return Err(Violation::new(ErrorCode::InvalidField, "the group's name has control characters"));
    }
    Ok(())
}

/// The stream that a connection named last. Producers name the same one again and again, and comparing a name costs less
/// than checking it.
#[derive(Debug, Default)]
pub struct LastStream {
    /// A checked name; empty before the first.
    name: String,
}

impl LastStream {
    /// The name that `bytes` spell, remembered from now on. `None` when it may not be used: [`check_stream_name`] tells why.
    #[inline]
    pub(super) fn check(&mut self, bytes: &[u8], limits: &Limits) -> Option<&str> {
        if self.name.is_empty() || self.name.as_bytes() != bytes {
            self.change(bytes, limits)?;
        }
        Some(&self.name)
    }

    #[inline(never)]
    fn change(&mut self, bytes: &[u8], limits: &Limits) -> Option<()> {
        let name = std::str::from_utf8(bytes).ok().filter(|name| check_stream_name(name, limits).is_ok())?;
        self.name.clear();
        self.name.push_str(name);
        Some(())
    }
}

/// Printable ASCII, which nearly all names are, is recognised eight bytes at a time and without decoding characters.
fn has_control(name: &str) -> bool {
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let printable_ascii = words.iter().all(|word| is_printable(u64::from_le_bytes(*word)))
        && rest.iter().all(|byte| (0x20..0x7f).contains(byte));
    !printable_ascii && name.chars().any(char::is_control)
}

/// Each of the eight bytes is in `0x20..0x7f`.
const fn is_printable(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let below_space = word.wrapping_sub(ONES * 0x20);
    let above_tilde = word.wrapping_add(ONES) | word;
    (below_space | above_tilde) & (ONES * 0x80) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(name: &str) -> Option<ErrorCode> {
        check_stream_name(name, &Limits::default()).err().map(|violation| violation.code)
    }

    #[test]
    fn ordinary_names_pass() {
        for name in ["a", "agents/user123/inbox", "größe", "日本", "a b", "a$b", "-"] {
            assert_eq!(code(name), None, "{name}");
        }
    }

    #[test]
    fn empty_and_control_characters_are_invalid() {
        for name in ["", "a\n", "\0", "a\u{7f}b", "x\u{85}y"] {
            assert_eq!(code(name), Some(ErrorCode::InvalidStream), "{name:?}");
        }
    }

    #[test]
    fn a_name_is_remembered_only_when_it_may_be_used() {
        let limits = Limits { stream_name_bytes_max: 5, ..Limits::default() };
        let mut last = LastStream::default();
        for _ in 0..2 {
            assert_eq!(last.check(b"", &limits), None);
            assert_eq!(last.check(b"orders", &limits), None);
            assert_eq!(last.check(b"order", &limits), Some("order"));
            assert_eq!(last.check(b"\xff", &limits), None);
            assert_eq!(last.check(b"$x", &limits), None);
            assert_eq!(last.check(b"order", &limits), Some("order"));
            assert_eq!(last.check(b"other", &limits), Some("other"));
        }
    }

    #[test]
    fn a_reserved_name_is_forbidden() {
        assert_eq!(code("$audit"), Some(ErrorCode::Forbidden));
    }

    #[test]
    fn groups_have_names_within_bounds() {
        let limits = Limits { group_name_bytes_max: 4, ..Limits::default() };
        for good in ["a", "$a", "a/b", "éé", "a b", ".."] {
            assert_eq!(check_group_name(good, &limits), Ok(()), "{good}");
        }
        for bad in ["", "abcde", "ééé", "a\n", "\u{7f}"] {
            let code = check_group_name(bad, &limits).map_err(|violation| violation.code);
            assert_eq!(code, Err(ErrorCode::InvalidField), "{bad:?}");
        }
    }

    #[test]
    fn length_is_bounded_in_bytes() {
        let max = Limits::default().stream_name_bytes_max;
        assert_eq!(code(&"x".repeat(max)), None);
        assert_eq!(code(&"x".repeat(max + 1)), Some(ErrorCode::InvalidStream));
        assert_eq!(code(&"é".repeat(max / 2 + 1)), Some(ErrorCode::InvalidStream));
    }
}
