//! The CPU list of `--cpus`: `0,2-5`.

/// Highest CPU number that can be named: the size of the kernel's usual CPU mask, less one.
pub const CPU_MAX: usize = 1_023;

/// Reads numbers and ranges, separated by commas, in the order given: `0,2-5` is 0, 2, 3, 4, 5.
///
/// # Errors
/// A sentence that says what is wrong: an empty part, not a number, a range that falls, a CPU above [`CPU_MAX`], or a CPU
/// named twice.
pub fn parse(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(format!("the range `{part}` falls; write the smaller number first"));
        }
        for cpu in first..=last {
            if cpus.contains(&cpu) {
                return Err(format!("CPU {cpu} is named twice"));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

fn number(text: &str) -> Result<usize, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("a part between the commas is empty".to_owned());
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("`{text}` is not a CPU number"));
    }
    match text.parse() {
        Ok(cpu) if cpu <= CPU_MAX => Ok(cpu),
        _ => Err(format!("CPU {text} is above {CPU_MAX}")),
    }
}

/// Writes a list the way [`parse`] reads it, ascending runs as ranges.
#[must_use]
pub fn show(cpus: &[usize]) -> String {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < cpus.len() {
        let mut end = at;
        while end + 1 < cpus.len() && cpus[end + 1] == cpus[end] + 1 {
            end += 1;
        }
        parts.push(if end == at { cpus[at].to_string() } else { format!("{}-{}", cpus[at], cpus[end]) });
        at = end + 1;
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read_in_order() {
        assert_eq!(parse("0,2-5"), Ok(vec![0, 2, 3, 4, 5]));
        assert_eq!(parse("3, 1"), Ok(vec![3, 1]));
        assert_eq!(parse("7-7"), Ok(vec![7]));
    }

    #[test]
    fn the_highest_cpu_passes_and_one_more_does_not() {
        assert_eq!(parse("1023"), Ok(vec![1_023]));
        assert!(parse("1024").is_err());
        assert!(parse("0-1024").is_err());
        assert!(parse("99999999999999999999").is_err());
    }

    #[test]
    fn what_is_not_a_list_is_refused() {
        for text in ["", ",", "1,", "a", "-1", "1-", "5-2", "1,1", "0-3,2", "+1", "1 2", "0x1"] {
            assert!(parse(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_shown_list_reads_back() {
        for text in ["0", "0,2-5", "3,1", "0-7,9,11-12"] {
            let cpus = parse(text).expect("a valid list");
            assert_eq!(show(&cpus), text);
        }
    }
}
