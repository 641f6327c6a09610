//! What must be true of the machine before the first shard starts. Found out here, a problem has a sentence; found out
//! inside an executor it would be a panic.

use crate::error::ServeError;
use crate::placement::allowed_cpus;
use conduit_config::Config;
use glommio::{LocalExecutorBuilder, Placement};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What glommio demands of `RLIMIT_MEMLOCK`.
const MEMLOCK_BYTES: u64 = 512 * 1024;
/// Descriptors without which a start fails half-way, inside glommio and with a panic: about 17 for the process and 10 for
/// each shard, and a few to serve with.
const fn fds_to_start(shards: u16) -> u64 {
    32 + 12 * shards as u64
}

/// Checks the machine against the configuration.
pub(crate) fn check(config: &Config) -> Result<(), ServeError> {
    check_cpus(config)?;
    check_memlock()?;
    raise_open_files(config)?;
    check_uring()
}

fn check_cpus(config: &Config) -> Result<(), ServeError> {
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
    let needed = fds_to_start(config.shards);
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

fn check_uring() -> Result<(), ServeError> {
    let made = std::panic::catch_unwind(|| LocalExecutorBuilder::new(Placement::Unbound).io_memory(64 * 1024).make());
    let reason = match made {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the kernel refused the ring".to_owned(),
    };
    let remedy = if reason.contains("not permitted") || reason.contains("os error 1)") {
        "io_uring is forbidden here: set `sysctl kernel.io_uring_disabled=0`, and allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile"
    } else if reason.contains("not implemented") || reason.contains("os error 38") {
        "this kernel has no io_uring: Conduit needs Linux 5.8 or newer"
    } else {
        "check the limits on locked memory and open files (`ulimit -l`, `ulimit -n`) and that the kernel is 5.8 or newer"
    };
    Err(ServeError::Uring { reason, remedy })
}
