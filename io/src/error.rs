//! Why the server could not start or had to stop, each with what to do about it.

use crate::disk::directory::DirectoryError;
use conduit_shard::log::ScanError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

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
    /// The data directory cannot be used.
    #[error("data directory: {0}\n  remedy: {remedy}", remedy = .0.remedy())]
    DataDir(#[from] DirectoryError),
    /// The log of a shard cannot be used. Nothing in it was changed.
    #[error("cannot recover the log in {}: {error}\n  remedy: {}", path.display(), scan_remedy(error))]
    Recovery {
        /// Its directory.
        path: PathBuf,
        /// Why.
        error: ScanError,
    },
    /// The log of a shard could be read and cannot be written.
    #[error(
        "cannot write to the log in {}: {error}\n  remedy: check that this user may write there, and the disk (`dmesg`); for `Too many open files` raise LimitNOFILE", path.display()
    )]
    Log {
        /// Its directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Streams could not be moved to the configured number of shards.
    #[error(
        "cannot move the streams to another number of shards: {0}\n  remedy: start with the number of shards that the data was written by (`conduit.json` in the data directory names it), and make room on the disk for a second copy; nothing was changed"
    )]
    Move(conduit_shard::MoveError),
    /// A write to a shard's log failed while the server ran; it has drained since.
    #[error(
        "a write to the log of a shard failed while the server ran: what was acknowledged before is safe, and later durable publishes were refused\n  remedy: check the disk (`dmesg`, SMART), then start again; `conduit log verify` reads the log through"
    )]
    LogFailed,
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

    /// The process's exit code (sysexits.h): 65 data of another version or with a part missing, 69 unavailable, 71
    /// operating system, 73 a directory that cannot be used, 74 input or output, 75 the directory is in use, 78
    /// configuration.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Bind { .. } => 69,
            Self::Uring { .. } | Self::MemLock { .. } | Self::OpenFiles { .. } | Self::Start(_) => 71,
            Self::Setting { .. } => 78,
            Self::DataDir(error) => error.exit_code(),
            Self::Recovery { .. } | Self::Log { .. } | Self::Move(_) | Self::LogFailed => 74,
        }
    }
}

fn scan_remedy(error: &ScanError) -> &'static str {
    match error {
        ScanError::Storage(_) => {
            "look for the disk's errors (`dmesg`), copy the directory while it can be read, and start on the copy"
        }
        ScanError::OtherShard { .. } | ScanError::OtherLog { .. } | ScanError::Misnamed { .. } => {
            "files were moved between log directories or renamed: put them back as they were"
        }
        ScanError::Version { .. } => "start the version of Conduit that wrote it",
        ScanError::NoHeader { .. } => {
            "the files are damaged beyond reading: restore the directory, or move it away as a whole to start empty"
        }
    }
}
