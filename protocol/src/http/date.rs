//! The `date` header (RFC 9110, section 6.6.1), formatted once a second.

use crate::time::Now;
use std::io::Write as _;
use std::time::{Duration, UNIX_EPOCH};

/// Bytes of an IMF-fixdate (RFC 9110, section 5.6.7).
const DATE_BYTES: usize = 29;

/// The last second that an IMF-fixdate can say: the end of the year 9999.
const SECOND_MAX: u64 = 253_402_300_799;

/// The `date` header's text of one second. One per shard; it renews itself.
#[derive(Debug, Clone)]
pub struct HttpDate {
    /// Seconds since the Unix epoch that `text` says; past [`SECOND_MAX`] when there is no text yet.
    second: u64,
    text: [u8; DATE_BYTES],
}

impl Default for HttpDate {
    fn default() -> Self {
        Self { second: u64::MAX, text: [b' '; DATE_BYTES] }
    }
}

impl HttpDate {
    /// The text for `now`.
    pub fn text(&mut self, now: Now) -> &[u8; DATE_BYTES] {
        let second = (now.unix_ms / 1_000).min(SECOND_MAX);
        if second != self.second {
            self.second = second;
            let date = httpdate::HttpDate::from(UNIX_EPOCH + Duration::from_secs(second));
            // The text always has the same length, so this cannot fail; if it did, a blank date would be sent.
            let _ = write!(&mut self.text[..], "{date}");
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_follows_the_second() {
        let mut date = HttpDate::default();
        let mut at = |unix_ms| String::from_utf8(date.text(Now { mono_ns: 0, unix_ms }).to_vec()).unwrap();
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(at(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
