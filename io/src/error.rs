//! Why the server could not start or had to stop, each with what to do about it.

use std::io;
use std::net::SocketAddr;

/// A failure of the whole server. Its text says what, where, and how to fix it.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener could not be bound.
    #[error("cannot listen on {address}: {reason}\n  remedy: {remedy}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// `io_uring` cannot be used here.
    #[error("cannot set up io_uring: {reason}\n  remedy: {remedy}")]
    Uring {
        /// What failed.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The process may not lock enough memory for its rings.
    #[error(
        "the locked-memory limit is {limit_bytes} bytes, a shard's rings need {needed_bytes}\n  remedy: raise it: `LimitMEMLOCK=8M` in the systemd unit, `ulimit -l 8192` in a shell, or `--ulimit memlock=8388608` for a container"
    )]
    MemLock {
        /// The limit in force.
        limit_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// Fewer open files are allowed than the shards themselves need.
    #[error(
        "the limit on open files is {limit}, {shards} shard(s) need {needed} to start\n  remedy: raise it: `LimitNOFILE=65536` in the systemd unit, `ulimit -n 65536` in a shell; every connection needs one more"
    )]
    OpenFiles {
        /// The limit in force.
        limit: u64,
        /// Shards to start.
        shards: u16,
        /// What they need.
        needed: u64,
    },
    /// A setting names something that this machine does not have.
    #[error("{setting} = {value}: {reason}\n  remedy: {remedy}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// Its value.
        value: String,
        /// Why it cannot be honoured.
        reason: String,
        /// What to do.
        remedy: &'static str,
    },
    /// A thread or a pipe could not be made.
    #[error("cannot start: {0}\n  remedy: raise the limits on processes and open files (`ulimit -u`, `ulimit -n`)")]
    Start(#[from] io::Error),
}

impl ServeError {
    pub(crate) fn bind(address: SocketAddr, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process has this port (`ss -ltnp` names it): stop it, or choose another with --http-port / --ws-port"
            }
            io::ErrorKind::AddrNotAvailable => {
                "no interface of this machine has that address: choose another with --bind"
            }
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need CAP_NET_BIND_SERVICE: choose a higher one, or grant the capability"
            }
            _ => "check --bind, --http-port and --ws-port",
        };
        Self::Bind { address, reason: error.to_string(), remedy }
    }

    /// The process's exit code (sysexits.h): 69 unavailable, 71 operating system, 78 configuration.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Bind { .. } => 69,
            Self::Uring { .. } | Self::MemLock { .. } | Self::OpenFiles { .. } | Self::Start(_) => 71,
            Self::Setting { .. } => 78,
        }
    }
}
