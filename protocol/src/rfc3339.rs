//! Moments as clients write them: RFC 3339, section 5.6.

/// Days from 0000-03-01 to 1970-01-01. Years are counted from March, so that the leap day is the last of its year.
const DAYS_BEFORE_1970: i64 = 719_468;

/// The milliseconds since 1970 (UTC) that `text` names, such as `2026-11-22T18:59:00.5+01:00`.
///
/// Exactly the `date-time` of the RFC: four digits of the year, `T` and `Z` in either case, always a zone. Digits of a
/// second beyond milliseconds are cut. A leap second counts as the second after it. What lies before 1970 is 0. `None`
/// when the text is no such moment.
#[must_use]
pub fn unix_ms_of(text: &str) -> Option<u64> {
    let (date_time, rest) = text.as_bytes().split_first_chunk::<19>()?;
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T' | b't', h1, h2, b':', n1, n2, b':', s1, s2] = date_time
    else {
        return None;
    };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[n1, n2])?, number(&[s1, s2])?);
    let is_date = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (ms, rest) = fraction_ms(rest)?;
    let zone_s = zone_s(rest)?;
    let unix_s = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - zone_s;
    // Leap seconds are inserted at the end of a day in UTC, and nowhere else.
    if second == 60 && unix_s.rem_euclid(86_400) != 0 {
        return None;
    }
    Some(u64::try_from(unix_s * 1_000 + ms).unwrap_or(0))
}

/// The value of some digits, few enough to fit.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

/// The milliseconds of `.123456`, if that is here, and what follows.
fn fraction_ms(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', fraction)) = rest.split_first() else { return Some((0, rest)) };
    let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let digit = |at: usize| if at < length { i64::from(fraction[at] - b'0') } else { 0 };
    Some((digit(0) * 100 + digit(1) * 10 + digit(2), &fraction[length..]))
}

/// Seconds that the zone is ahead of UTC.
fn zone_s(zone: &[u8]) -> Option<i64> {
    match *zone {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[h1, h2])?, number(&[m1, m2])?);
            let ahead_s = hours * 3_600 + minutes * 60;
            (hours <= 23 && minutes <= 59).then_some(if sign == b'-' { -ahead_s } else { ahead_s })
        }
        _ => None,
    }
}

const fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// A date of the Gregorian calendar as days; negative before 1970.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let years = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    // Months from March on have 31, 30, 31, 30, 31 days, twice over: 153 days to five months.
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let leap_days = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    years * 365 + leap_days + day_of_year - DAYS_BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_read() {
        for (text, unix_ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.001z", 1),
            ("1985-04-12t23:20:50.52Z", 482_196_050_520),
            ("1996-12-19T16:39:57-08:00", 851_042_397_000),
            ("1937-01-01T12:00:27.87+00:20", 0),
            ("0000-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00Z", 951_782_400_000),
            ("2024-02-29T12:34:56.007Z", 1_709_210_096_007),
            ("2024-02-29T12:34:56.0079999999999999999999999999999Z", 1_709_210_096_007),
            ("2024-02-29T18:04:56.007+05:30", 1_709_210_096_007),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
            ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
            ("1990-12-31T23:59:60Z", 662_688_000_000),
            ("1990-12-31T15:59:60-08:00", 662_688_000_000),
        ] {
            assert_eq!(unix_ms_of(text), Some(unix_ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2024-02-29",
            "2024-02-29T12:34:56",
            "2024-02-29T12:34Z",
            "2024-02-29 12:34:56Z",
            "2024-02-29T12:34:56 Z",
            "2024-02-29T12:34:56Zx",
            "2024-02-29T12:34:56.Z",
            "2024-02-29T12:34:56,5Z",
            "2024-02-29T12:34:56+0100",
            "2024-02-29T12:34:56+24:00",
            "2024-02-29T12:34:56+01:60",
            "2024-02-29T12:34:56+1:00",
            "2023-02-29T12:34:56Z",
            "1900-02-29T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-04-31T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:61Z",
            "2024-01-01T12:00:60Z",
            "+024-01-01T00:00:00Z",
            "12024-01-01T00:00:00Z",
            "２０２４-01-01T00:00:00Z",
            "2024-01-01T00:00:00\u{ff3a}",
        ] {
            assert_eq!(unix_ms_of(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut expected_ms = 0;
        for year in 1970..2500 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month) {
                    let text = format!("{year:04}-{month:02}-{day:02}T00:00:00Z");
                    assert_eq!(unix_ms_of(&text), Some(expected_ms), "{text}");
                    expected_ms += 86_400_000;
                }
            }
        }
    }
}
