//! The few facts about the machine that a start needs. Where one cannot be read, the start goes on without it.

use conduit_config::Machine;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What this process may use.
pub(crate) fn machine() -> Machine {
    Machine { cores: cores(), memory_bytes: memory_bytes() }
}

/// CPUs that this process may use; 1 when the system does not say.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes of memory that this process may use: what the machine has, from `/proc/meminfo`, or what its control groups allow
/// (a container, a service with `MemoryMax=`), whichever is less.
pub(crate) fn memory_bytes() -> Option<u64> {
    let machine = total_of_meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let allowed = limit_files(&groups).iter().filter_map(|path| limit(&std::fs::read_to_string(path).ok()?)).min();
    Some(allowed.map_or(machine, |allowed| allowed.min(machine)))
}

/// Where the limits of this process's control groups stand: of its own group and of each above it (cgroups(7): a limit
/// holds for everything below).
fn limit_files(groups: &str) -> Vec<PathBuf> {
    // `0::PATH` is version 2; `N:...memory...:PATH` is version 1.
    let of = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let above = Path::new(path.trim_start_matches('/')).ancestors();
        Some(above.map(|group| Path::new(root).join(group).join(file)).collect::<Vec<_>>())
    };
    groups.lines().filter_map(of).flatten().collect()
}

/// A limit as the files say it; `max` is none.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
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
    fn the_limits_of_all_control_groups_above_are_looked_at() {
        let paths =
            |groups: &str| limit_files(groups).iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(
            paths("0::/system.slice/conduit.service\n"),
            [
                "/sys/fs/cgroup/system.slice/conduit.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            paths("3:cpu,memory:/docker\n2:cpuset:/docker\n"),
            ["/sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        );
        for strange in ["", "0", "0:", "nonsense\n"] {
            assert!(paths(strange).is_empty(), "{strange}");
        }
        assert_eq!((limit("1073741824\n"), limit("max\n"), limit("")), (Some(1 << 30), None, None));
    }

    #[test]
    fn total_memory_is_read_from_meminfo() {
        let meminfo = "MemTotal:       24593948 kB\nMemFree:         1000 kB\n";
        assert_eq!(total_of_meminfo(meminfo), Some(24_593_948 * 1_024));
        for strange in ["", "MemTotal: much", "MemTotal: 18446744073709551615 kB"] {
            assert_eq!(total_of_meminfo(strange), None);
        }
    }
}
