//! Trace context (W3C, "Trace Context", section 3.2): who called whom, as a header and as a member of requests.

/// Bytes of a `traceparent`: version, trace id, parent id and flags, with dashes between them.
pub const TRACEPARENT_BYTES: usize = 55;

/// Where its trace id is.
pub const TRACE_ID: std::ops::Range<usize> = 3..35;

/// A valid `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceParent<'a>(&'a str);

impl<'a> TraceParent<'a> {
    /// Reads the value of a header or of a member. `None`: it is none, and to be treated as if it were not there
    /// (section 3.2.2.3). What a later version puts behind the four parts is left out (section 3.2.4).
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (parent, rest) = value.split_at_checked(TRACEPARENT_BYTES)?;
        let is_hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let has_dashes = parent[2] == b'-' && parent[35] == b'-' && parent[52] == b'-';
        let (version, trace_id, parent_id, flags) = (&parent[..2], &parent[TRACE_ID], &parent[36..52], &parent[53..]);
        let is_valid = has_dashes
            && [version, trace_id, parent_id, flags].into_iter().all(is_hex)
            && version != b"ff"
            && trace_id.iter().any(|byte| *byte != b'0')
            && parent_id.iter().any(|byte| *byte != b'0');
        let is_end = rest.is_empty() || (version != b"00" && rest[0] == b'-');
        if is_valid && is_end { std::str::from_utf8(parent).ok().map(Self) } else { None }
    }

    /// The four parts.
    #[must_use]
    pub const fn text(self) -> &'a str {
        self.0
    }

    /// The trace that it belongs to.
    #[must_use]
    pub fn trace_id(self) -> &'a str {
        &self.0[TRACE_ID]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specifications_examples_are_read() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent = TraceParent::parse(text.as_bytes()).unwrap();
        assert_eq!((parent.text(), parent.trace_id()), (text, "4bf92f3577b34da6a3ce929d0e0e4736"));
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like";
        assert_eq!(TraceParent::parse(later.as_bytes()).unwrap().text(), &later[..TRACEPARENT_BYTES]);
    }

    #[test]
    fn anything_else_is_none() {
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473\u{fc}-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
