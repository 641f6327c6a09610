//! The few facts about the machine that a start needs. Where one cannot be read, the start goes on without it.

use std::ffi::OsString;

/// CPUs that this process may use; 1 when the system does not say.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes of memory of this machine, from `/proc/meminfo`.
pub(crate) fn memory_bytes() -> Option<u64> {
    total_of_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

/// The environment that the configuration sees.
///
/// # Errors
/// In builds for crash tests: a sentence when the variable of failpoints names none.
pub(crate) fn environment() -> Result<Vec<(String, String)>, String> {
    #[cfg_attr(not(feature = "failpoints"), expect(unused_mut, reason = "only crash tests take something out"))]
    let mut variables: Vec<_> = std::env::vars_os().map(lossy).collect();
    #[cfg(feature = "failpoints")]
    if let Some(at) = variables.iter().position(|(name, _)| name == conduit_io::failpoint::VARIABLE) {
        conduit_io::failpoint::arm(&variables.swap_remove(at).1)?;
    }
    Ok(variables)
}

/// An environment variable as text. Bytes that are not UTF-8 become a mark that no setting accepts.
fn lossy((name, value): (OsString, OsString)) -> (String, String) {
    (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
}

fn total_of_meminfo(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_memory_is_read_from_meminfo() {
        let meminfo = "MemTotal:       24593948 kB\nMemFree:         1000 kB\n";
        assert_eq!(total_of_meminfo(meminfo), Some(24_593_948 * 1_024));
        for strange in ["", "MemTotal: much", "MemTotal: 18446744073709551615 kB"] {
            assert_eq!(total_of_meminfo(strange), None);
        }
    }
}
