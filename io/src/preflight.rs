//! What must be true of the machine before the first shard starts. Found out here, a problem has a sentence; found out
//! inside an executor it would be a panic.

use crate::disk::OPEN_SEGMENTS_MAX;
use crate::error::ServeError;
use crate::placement::allowed_cpus;
use conduit_config::Config;
use glommio::{LocalExecutorBuilder, Placement};
use rustix::io::Errno;
use rustix::io_uring::{io_uring_params, io_uring_setup};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What glommio demands of `RLIMIT_MEMLOCK`.
const MEMLOCK_BYTES: u64 = 512 * 1024;
/// Descriptors without which a start fails half-way, inside glommio and with a panic: about 17 for the process and 10 for
/// each shard, and a few to serve with.
const fn fds_to_start(shards: u16, is_durable: bool) -> u64 {
    32 + (12 + if is_durable { LOG_FDS } else { 0 }) * shards as u64
}

/// What the log of a shard needs: its directory, ring and bell, the segments that are open, and one or two at work.
const LOG_FDS: u64 = 8 + OPEN_SEGMENTS_MAX as u64;

/// Checks the machine against the configuration.
pub(crate) fn check(config: &Config) -> Result<(), ServeError> {
    check_cpus(config)?;
    check_memlock()?;
    raise_open_files(config)?;
    check_uring()
}

pub(crate) fn check_cpus(config: &Config) -> Result<(), ServeError> {
    let allowed = allowed_cpus();
    if let Some(cpus) = &config.cpus
        && let Some(missing) = cpus.iter().find(|cpu| !allowed.contains(cpu))
    {
        return Err(ServeError::Setting {
            setting: "--cpus",
            value: missing.to_string(),
            reason: format!("this process may run on CPUs {allowed:?} only"),
            remedy: "name CPUs from that list, or widen the affinity (`taskset -c`, `AllowedCPUs=`)",
        });
    }
    Ok(())
}

fn check_memlock() -> Result<(), ServeError> {
    let limit = getrlimit(Resource::Memlock);
    let Some(current) = limit.current else { return Ok(()) };
    if current >= MEMLOCK_BYTES {
        return Ok(());
    }
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.maximum.is_none_or(|maximum| maximum >= MEMLOCK_BYTES) && setrlimit(Resource::Memlock, raised).is_ok() {
        return Ok(());
    }
    Err(ServeError::MemLock { limit_bytes: current, needed_bytes: MEMLOCK_BYTES })
}

/// Lifts the soft limit on open files to the hard one, and says so when connections could still run out of them. Too few
/// for the shards themselves are an error.
fn raise_open_files(config: &Config) -> Result<(), ServeError> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit on open files could not be raised");
        }
    }
    let Some(have) = getrlimit(Resource::Nofile).current else { return Ok(()) };
    let needed = fds_to_start(config.shards, config.data_dir.is_some());
    if have < needed {
        return Err(ServeError::OpenFiles { limit: have, shards: config.shards, needed });
    }
    let wanted = config.connections_max as u64 + needed;
    if have < wanted {
        tracing::info!(
            open_files = have,
            wanted,
            "fewer open files than connections are allowed: LimitNOFILE={wanted} would serve them all"
        );
    }
    Ok(())
}

/// Asks the kernel for a small ring by hand: glommio answers a refusal with a panic that says nothing of its cause.
fn check_uring() -> Result<(), ServeError> {
    let mut params = io_uring_params::default();
    // SAFETY: the kernel writes to `params` only during the call; the ring is closed at once and never mapped.
    let probed = unsafe { io_uring_setup(PROBE_ENTRIES, &mut params) };
    let failed = |errno: Errno| ServeError::Uring { reason: errno.to_string(), remedy: uring_remedy(errno) };
    drop(probed.map_err(failed)?);
    LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 * 1024)
        .make()
        .map(drop)
        .map_err(|error| ServeError::Uring { reason: error.to_string(), remedy: uring_remedy(Errno::NOMEM) })
}

/// Entries of the ring that is only tried.
const PROBE_ENTRIES: u32 = 2;

fn uring_remedy(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM | Errno::ACCESS => {
            "io_uring is forbidden here: set `sysctl kernel.io_uring_disabled=0`, and allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile"
        }
        Errno::NOSYS => {
            "this kernel has no io_uring, or a seccomp profile hides it: Conduit needs Linux 5.8 or newer, with io_uring_setup, io_uring_enter and io_uring_register allowed"
        }
        _ => "check the limits on locked memory and open files (`ulimit -l`, `ulimit -n`)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_of_a_ring_has_its_own_remedy() {
        assert!(uring_remedy(Errno::PERM).contains("kernel.io_uring_disabled=0"));
        assert!(uring_remedy(Errno::NOSYS).contains("5.8"));
        assert!(uring_remedy(Errno::NOMEM).contains("ulimit -l"));
        assert!(check_uring().is_ok(), "these tests need io_uring");
    }
}
