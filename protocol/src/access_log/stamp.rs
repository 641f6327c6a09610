//! The text of the time. It changes in three digits for a second long: the rest is kept.

/// `1970-01-01T00:00:00.000Z`.
const BYTES: usize = 24;

/// The last millisecond of the year 9999: RFC 3339 has four digits of the year.
const UNIX_MS_MAX: u64 = 253_402_300_799_999;

/// RFC 3339 (section 5.6) in UTC with milliseconds.
#[derive(Debug)]
pub(super) struct Stamp {
    second: u64,
    text: [u8; BYTES],
}

impl Default for Stamp {
    fn default() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00.000Z" }
    }
}

impl Stamp {
    /// The text of a time. Times beyond the year 9999 are that year's last.
    #[inline]
    pub(super) fn text(&mut self, unix_ms: u64) -> &[u8; BYTES] {
        let unix_ms = unix_ms.min(UNIX_MS_MAX);
        let second = unix_ms / 1_000;
        if second != self.second {
            self.set_second(second);
        }
        digits(&mut self.text[20..23], unix_ms % 1_000);
        &self.text
    }

    #[cold]
    fn set_second(&mut self, second: u64) {
        self.second = second;
        let (year, month, day) = civil(second / 86_400);
        let of_day = second % 86_400;
        let parts = [(0, 4, year), (5, 7, month), (8, 10, day)];
        let clock = [(11, 13, of_day / 3_600), (14, 16, of_day / 60 % 60), (17, 19, of_day % 60)];
        for (from, to, value) in parts.into_iter().chain(clock) {
            digits(&mut self.text[from..to], value);
        }
    }
}

/// Fills a place with the last digits of a number.
fn digits(place: &mut [u8], mut value: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

/// Days since 1970-01-01 as year, month and day of the Gregorian calendar.
const fn civil(mut days: u64) -> (u64, u64, u64) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let mut year = 1970 + days / DAYS_OF_400_YEARS * 400;
    days %= DAYS_OF_400_YEARS;
    // Once a second at most, and not more than 400 steps: no need for a formula.
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if days < length {
            break;
        }
        days -= length;
        year += 1;
    }
    let mut month = 1;
    loop {
        let length = match month {
            2 if is_leap(year) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if days < length {
            return (year, month, days + 1);
        }
        days -= length;
        month += 1;
    }
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc3339::unix_ms_of;

    #[test]
    fn every_time_reads_back_as_itself() {
        let mut stamp = Stamp::default();
        let mut unix_ms: u64 = 0;
        while unix_ms <= UNIX_MS_MAX {
            let text = std::str::from_utf8(stamp.text(unix_ms)).unwrap().to_owned();
            assert_eq!(unix_ms_of(&text), Some(unix_ms), "{text}");
            // About every nine days, at ever other times of the day; some years back and forth.
            unix_ms += 777_777_777_777 / 1_000 + 13;
        }
        assert_eq!(stamp.text(0), b"1970-01-01T00:00:00.000Z");
        assert_eq!(stamp.text(951_782_399_999), b"2000-02-28T23:59:59.999Z");
        assert_eq!(stamp.text(951_782_400_000), b"2000-02-29T00:00:00.000Z");
        assert_eq!(stamp.text(UNIX_MS_MAX), b"9999-12-31T23:59:59.999Z");
        assert_eq!(stamp.text(u64::MAX), b"9999-12-31T23:59:59.999Z");
    }
}
