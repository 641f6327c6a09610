//! `$now` as a text.

/// RFC 3339 in UTC with milliseconds.
pub(super) fn text_of(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // Years are counted from March, so that the leap day is the last of its year, and in eras of 400 years.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rfc3339::unix_ms_of;

    #[test]
    fn a_moment_reads_back_as_itself() {
        assert_eq!(text_of(951_782_400_007), "2000-02-29T00:00:00.007Z");
        for day in 0..60_000 {
            let moment = day * 86_400_000 + 45_296_789;
            assert_eq!(unix_ms_of(&text_of(moment)), Some(moment));
        }
        assert!(!text_of(u64::MAX).is_empty());
    }
}
