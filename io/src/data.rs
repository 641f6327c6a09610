//! The data directory at the start of a server: held, made ready, and divided into as many shards as are configured.

use crate::disk::directory::{Directory, check};
use crate::disk::layout::Layout;
use crate::error::ServeError;
use conduit_config::Config;
use conduit_shard::log::LogIdentity;
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What `statfs` calls a file system in memory.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// The data directory, held until this is dropped.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) directory: Directory,
    pub(crate) layout: Layout,
}

/// The log of one shard, for the shard's thread.
#[derive(Debug, Clone)]
pub(crate) struct LogFolder {
    /// Its directory.
    pub(crate) path: PathBuf,
    /// Who the log will be if there is none yet.
    pub(crate) fresh: LogIdentity,
}

impl Data {
    /// Takes hold of the configured directory, if there is one, and makes it ready.
    pub(crate) fn open(config: &Config) -> Result<Option<Self>, ServeError> {
        let Some(path) = &config.data_dir else { return Ok(None) };
        let mut directory = Directory::open(path)?;
        warn_of_memory(path);
        let layout = match directory.layout() {
            Some(layout) => layout,
            None => {
                let layout = Layout { shards: config.shards, log_id: random()?, created_unix_ms: unix_ms() };
                directory.create(layout)?;
                layout
            }
        };
        Ok(Some(Self { directory, layout }))
    }

    /// The streams are divided into another number of shards than is configured.
    pub(crate) fn shards(&self) -> u16 {
        self.layout.shards
    }

    /// Who a new log of the directory is.
    pub(crate) fn fresh(&self) -> io::Result<LogIdentity> {
        Ok(LogIdentity { log_id: self.layout.log_id, salt: u64::from_ne_bytes(random()?) })
    }

    /// The log of a shard.
    pub(crate) fn log_of(&self, shard: u16) -> io::Result<LogFolder> {
        Ok(LogFolder { path: self.directory.shard(shard), fresh: self.fresh()? })
    }
}

/// Whether the configured data directory can be used, and what the start would do with it, in a sentence. Nothing is made,
/// changed or locked. `None` without a data directory.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn check_data_dir(config: &Config) -> Result<Option<String>, ServeError> {
    let Some(path) = &config.data_dir else { return Ok(None) };
    let path_text = path.display();
    Ok(Some(match check(path)? {
        None if path.exists() => format!("data directory {path_text}: usable, and empty"),
        None => format!("data directory {path_text}: will be made"),
        Some(layout) if layout.shards == config.shards => {
            format!("data directory {path_text}: usable, with the streams of {} shard(s)", layout.shards)
        }
        Some(layout) => format!(
            "data directory {path_text}: usable; the start moves its streams from {} to {} shard(s)",
            layout.shards, config.shards
        ),
    }))
}

fn warn_of_memory(path: &Path) {
    if rustix::fs::statfs(path).is_ok_and(|found| found.f_type == TMPFS_MAGIC) {
        tracing::warn!(
            data_dir = %path.display(),
            "the data directory is on a file system in memory: streams survive a restart of the server, and not one of the machine"
        );
    }
}

/// Bytes that nobody can guess: what they mark cannot be imitated by a message.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
