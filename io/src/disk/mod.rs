//! The disk of one data shard: executes what the shard's log asks for ([`DiskRequest`]) and says what came of it.
//!
//! ```text
//!             ┌ Commit, Read ──────────────▶ ring    one system call each; completions are taken without any
//! submit ─────┤
//!             └ Prepare, Install, Remove, ─▶ keeper  a thread of its own: these may block for long
//!               Sync, SyncDirectory
//! ```
//!
//! The ring's descriptor and the keeper's bell are in the shard's epoll set ([`Readiness`]): an outcome wakes the shard.

mod aligned;
pub(crate) mod directory;
mod files;
mod filling;
mod folder;
mod keeper;
pub(crate) mod layout;
mod lock;
mod ring;
#[cfg(test)]
pub(crate) mod scratch;
mod steps;

pub use files::Files;

use crate::failpoint::{self, Failpoint};
use crate::readiness::Readiness;
use conduit_shard::log::{DiskError, DiskOutcome, DiskRequest, SegmentId, Ticket};
use folder::{Access, Folder, disk_error};
use keeper::{Job, Keeper, Outcome, tell_failure};
use ring::{Failure, File, Finished, Ring};
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Segments kept open for the next commit or read. One beyond closes the one that was used longest ago.
pub(crate) const OPEN_SEGMENTS_MAX: usize = 16;

const SLOWER: &str = "commits are buffered writes with fdatasync instead, which is safe and somewhat slower";

/// How commits reach the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Direct writes on the shard's ring.
    Direct,
    /// Buffered writes and `fdatasync` on the keeper's thread: slower, and works everywhere.
    Buffered,
}

/// The executor of one shard's disk requests.
///
/// Every request that was submitted is answered exactly once by [`Disk::take`]. Answers come in any order. A disk that is
/// dropped still carries out what was submitted, except that a segment which is being prepared is left unfinished; answers
/// that were not taken are lost.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: Arc<Folder>,
    ring: Option<Ring>,
    keeper: Keeper,
    open: OpenSegments,
    /// Requests that failed before anyone else had them.
    failed: Vec<(Ticket, DiskError)>,
    in_flight: usize,
}

impl Disk {
    /// Opens the directory of one shard's log and puts the disk among what the shard sleeps on. Called on the shard's own
    /// thread. Says in the diagnostics when it has to do with buffered writes.
    ///
    /// # Errors
    /// When the directory cannot be used, or the thread not be started.
    pub(crate) fn open(path: &Path, shard: u16, readiness: &Readiness) -> io::Result<Self> {
        let folder = Folder::open(path)?;
        let method = match (folder.probe()?, Ring::new().map(drop)) {
            (Access::Direct, Ok(())) => Method::Direct,
            (Access::Buffered, _) => {
                tracing::warn!(shard, directory = %path.display(), "the file system refuses direct I/O: {SLOWER}");
                Method::Buffered
            }
            (Access::Direct, Err(error)) => {
                tracing::warn!(shard, %error, "the kernel refuses a ring for the log: {SLOWER}");
                Method::Buffered
            }
        };
        Self::open_with(folder, shard, readiness, method)
    }

    fn open_with(folder: Folder, shard: u16, readiness: &Readiness, method: Method) -> io::Result<Self> {
        let folder = Arc::new(folder);
        let (ring, access) = match method {
            Method::Direct => (Some(Ring::new()?), Access::Direct),
            Method::Buffered => (None, Access::Buffered),
        };
        let keeper = Keeper::start(folder.clone(), access, shard)?;
        readiness.watch_keeper(&keeper)?;
        if let Some(ring) = &ring {
            readiness.watch_ring(ring)?;
        }
        Ok(Self { folder, ring, keeper, open: OpenSegments::default(), failed: Vec::new(), in_flight: 0 })
    }

    /// One more request can be submitted now. (Beyond that one fails as if the disk were broken: ask first.)
    pub(crate) fn has_room(&self) -> bool {
        self.keeper.has_room() && self.ring.as_ref().is_none_or(Ring::has_room)
    }

    /// Requests that were submitted and not yet taken.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Begins one step. Bytes are copied; nothing waits.
    pub(crate) fn submit(&mut self, request: DiskRequest<'_>) {
        self.in_flight += 1;
        self.begin(request);
        if !self.failed.is_empty() || self.ring.as_ref().is_some_and(Ring::has_refused) {
            // What failed at once completes nowhere, and the shard may be about to sleep.
            self.keeper.wake();
        }
    }

    fn begin(&mut self, request: DiskRequest<'_>) {
        let (ticket, job) = match request {
            DiskRequest::Commit { ticket, segment, offset, bytes } => {
                failpoint::pass(Failpoint::AfterAppend);
                if let Some(ring) = &mut self.ring {
                    match self.open.file(&self.folder, segment) {
                        Ok(file) => {
                            ring.commit(ticket, file, offset, bytes);
                            failpoint::pass(Failpoint::BeforeSync);
                        }
                        Err(errno) => self.fail(ticket, "open", segment, errno),
                    }
                    return;
                }
                (ticket, Job::Commit { segment, offset, bytes: bytes.to_vec() })
            }
            DiskRequest::Read { ticket, segment, offset, len } => {
                if let Some(ring) = &mut self.ring {
                    match self.open.file(&self.folder, segment) {
                        Ok(file) => ring.read(ticket, file, offset, len as usize),
                        Err(errno) => self.fail(ticket, "open", segment, errno),
                    }
                    return;
                }
                (ticket, Job::Read { segment, offset, len: len as usize })
            }
            DiskRequest::Prepare { ticket, segment, bytes } => (ticket, Job::Prepare { segment, bytes }),
            DiskRequest::Install { ticket, segment } => (ticket, Job::Install { segment }),
            DiskRequest::SyncDirectory { ticket } => (ticket, Job::SyncDirectory),
            DiskRequest::Sync { ticket, segment } => (ticket, Job::Sync { segment }),
            DiskRequest::Remove { ticket, segment } => {
                // What is open keeps its room on the disk.
                self.open.forget(segment);
                (ticket, Job::Remove { segment })
            }
        };
        if !self.keeper.begin(ticket, job) {
            tracing::error!(directory = %self.folder.path().display(), "the log's thread takes no more work: this is a bug");
            self.failed.push((ticket, DiskError::Broken));
        }
    }

    /// Tells `each` of every request that has finished since the last time. Cheap when there is none: no system call.
    pub(crate) fn take(&mut self, mut each: impl FnMut(Ticket, DiskOutcome<'_>)) {
        if self.in_flight == 0 {
            return;
        }
        let in_flight = &mut self.in_flight;
        let mut tell = |ticket, outcome: DiskOutcome<'_>| {
            *in_flight -= 1;
            each(ticket, outcome);
        };
        for (ticket, error) in self.failed.drain(..) {
            tell(ticket, DiskOutcome::Failed(error));
        }
        if let Some(ring) = &mut self.ring {
            let folder = &self.folder;
            ring.take(|ticket, finished| match finished {
                Finished::Committed => {
                    failpoint::pass(Failpoint::AfterSync);
                    tell(ticket, DiskOutcome::Done);
                }
                Finished::Read(bytes) => tell(ticket, DiskOutcome::Read(bytes)),
                Finished::Failed(Failure { what, segment, errno }) => {
                    tell_failure(folder, what, segment, errno);
                    tell(ticket, DiskOutcome::Failed(disk_error(errno)));
                }
            });
        }
        while let Some((ticket, outcome)) = self.keeper.take() {
            match outcome {
                Outcome::Done => tell(ticket, DiskOutcome::Done),
                Outcome::Read(bytes) => tell(ticket, DiskOutcome::Read(&bytes)),
                Outcome::Failed(error) => tell(ticket, DiskOutcome::Failed(error)),
            }
        }
    }

    fn fail(&mut self, ticket: Ticket, what: &str, segment: SegmentId, errno: Errno) {
        tell_failure(&self.folder, what, segment, errno);
        self.failed.push((ticket, disk_error(errno)));
    }
}

/// The segments that are open, the one used last in the last place.
#[derive(Debug, Default)]
struct OpenSegments(Vec<File>);

impl OpenSegments {
    fn file(&mut self, folder: &Folder, segment: SegmentId) -> Result<File, Errno> {
        let file = match self.0.iter().position(|(open, _)| *open == segment) {
            Some(at) => self.0.remove(at),
            None => (segment, Rc::new(folder.open_segment(segment, Access::Direct)?)),
        };
        if self.0.len() == OPEN_SEGMENTS_MAX {
            self.0.remove(0);
        }
        self.0.push(file.clone());
        Ok(file)
    }

    fn forget(&mut self, segment: SegmentId) {
        self.0.retain(|(open, _)| *open != segment);
    }
}

#[cfg(test)]
mod latency;
#[cfg(test)]
mod tests;
