//! The trace context that is kept with a message: a `traceparent` (W3C, "Trace Context", section 3.2) in 25 bytes.

use crate::trace::{TRACEPARENT_BYTES, TraceParent};

/// Bytes of a trace id.
const TRACE_ID: usize = 16;
/// Bytes of the parent's id.
const PARENT_ID: usize = 8;

/// Which trace a message belongs to, and which step of it published the message. It is carried as it came: the broker adds
/// no step of its own.
///
/// Version 00 is the only one kept. Of a later version what 00 knows is taken, as section 3.2.4 asks of those who know
/// only 00.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext([u8; Self::BYTES]);

impl TraceContext {
    /// Bytes of one: trace id, parent id, flags.
    pub const BYTES: usize = TRACE_ID + PARENT_ID + 1;

    /// Reads the value of a header or of a member. `None`: it is none, and to be treated as if it were not there
    /// (section 3.2.2.3).
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        const SAMPLED: u8 = 1;
        let text = TraceParent::parse(value)?.text().as_bytes();
        let mut bytes = [0; Self::BYTES];
        let (ids, flags) = bytes.split_at_mut(TRACE_ID + PARENT_ID);
        let (trace_id, parent_id) = ids.split_at_mut(TRACE_ID);
        read_hex(&text[3..35], trace_id);
        read_hex(&text[36..52], parent_id);
        read_hex(&text[53..], flags);
        if !text.starts_with(b"00") {
            flags[0] &= SAMPLED;
        }
        Some(Self(bytes))
    }

    /// What [`Self::bytes`] gave.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Trace id, parent id, flags.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The `traceparent`: 55 bytes of ASCII.
    #[must_use]
    pub fn text(&self) -> [u8; TRACEPARENT_BYTES] {
        let mut text = [b'-'; TRACEPARENT_BYTES];
        text[..2].copy_from_slice(b"00");
        let (ids, flags) = self.0.split_at(TRACE_ID + PARENT_ID);
        let (trace_id, parent_id) = ids.split_at(TRACE_ID);
        write_hex(trace_id, &mut text[3..35]);
        write_hex(parent_id, &mut text[36..52]);
        write_hex(flags, &mut text[53..]);
        text
    }
}

impl std::fmt::Display for TraceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl std::fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Reads lower-case hexadecimal digits that have been checked.
fn read_hex(digits: &[u8], out: &mut [u8]) {
    let value = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit.wrapping_sub(b'a' - 10) & 0x0f };
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0]) << 4 | value(pair[1]);
    }
}

fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0x0f)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8; TRACEPARENT_BYTES] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_was_read_is_written() {
        let context = TraceContext::parse(TEXT).unwrap();
        assert_eq!(&context.text(), TEXT);
        assert_eq!(TraceContext::from_bytes(*context.bytes()), context);
        assert_eq!(format!("{context:?}").as_bytes(), TEXT);
        let flags = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe";
        assert_eq!(&TraceContext::parse(flags).unwrap().text(), flags);
    }

    #[test]
    fn a_later_version_becomes_what_this_one_knows_of_it() {
        let later = b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what-the-future-will-be-like";
        assert_eq!(&TraceContext::parse(later).unwrap().text(), TEXT);
    }

    #[test]
    fn what_is_none_is_none() {
        for none in [&b""[..], b"00", &TEXT[..54], b"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"] {
            assert_eq!(TraceContext::parse(none), None);
        }
    }

    proptest! {
        #[test]
        fn every_context_comes_back(bytes in prop::array::uniform32(any::<u8>())) {
            let context = TraceContext::from_bytes(*bytes.first_chunk().unwrap());
            match TraceContext::parse(&context.text()) {
                Some(read) => prop_assert_eq!(read, context),
                None => prop_assert!(bytes[..16] == [0; 16] || bytes[16..24] == [0; 8]),
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = TraceContext::parse(&bytes);
        }
    }
}
