//! What may block for long, on a thread of its own: preparing, installing and removing segments, syncing the directory.
//! Where direct I/O or the ring is refused, commits and reads as well.
//!
//! Jobs are begun in the order in which they come. Only the zeros of a new segment are written in pieces, with whatever
//! else has come in between: nobody waits for them, and a commit must not.

use super::aligned::AlignedBuffer;
use super::filling::{Filling, PIECE_BYTES};
use super::folder::{Access, Folder, disk_error};
use crate::failpoint::{self, Failpoint};
use conduit_shard::log::{DiskError, SegmentId, Ticket};
use crossbeam_queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

/// Jobs under way at once. The log has a handful; one beyond is refused.
pub(crate) const JOBS_MAX: usize = 256;

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Job {
    Prepare { segment: SegmentId, bytes: u64 },
    Install { segment: SegmentId },
    SyncDirectory,
    Commit { segment: SegmentId, offset: u64, bytes: Vec<u8> },
    Sync { segment: SegmentId },
    Read { segment: SegmentId, offset: u64, len: usize },
    Remove { segment: SegmentId },
}

/// What came of a job.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Read(Vec<u8>),
    Failed(DiskError),
}

/// The thread, from its shard's side. Dropping it lets the thread finish what it was given, and waits for that.
#[derive(Debug)]
pub(crate) struct Keeper {
    jobs: Option<SyncSender<(Ticket, Job)>>,
    outcomes: Arc<Outcomes>,
    under_way: usize,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Outcomes {
    queue: ArrayQueue<(Ticket, Outcome)>,
    /// Rung after each outcome.
    event: OwnedFd,
}

impl Outcomes {
    fn wake(&self) {
        // It cannot fail short of 2^64 outcomes that nobody heard of.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }
}

impl Keeper {
    /// Starts the thread. `name` is the shard's number.
    pub(crate) fn start(folder: Arc<Folder>, access: Access, name: u16) -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let outcomes = Arc::new(Outcomes { queue: ArrayQueue::new(JOBS_MAX), event });
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let work = Work { folder, access, inbox, outcomes: outcomes.clone(), fillings: VecDeque::new(), zeros: None };
        let thread = std::thread::Builder::new().name(format!("keeper-{name}")).spawn(move || work.run())?;
        Ok(Self { jobs: Some(jobs), outcomes, under_way: 0, thread: Some(thread) })
    }

    /// There is room for one more job.
    pub(crate) fn has_room(&self) -> bool {
        self.under_way < JOBS_MAX
    }

    /// Hands over a job. False when there are too many, or the thread is gone.
    pub(crate) fn begin(&mut self, ticket: Ticket, job: Job) -> bool {
        let taken = self.has_room() && self.jobs.as_ref().is_some_and(|jobs| jobs.try_send((ticket, job)).is_ok());
        self.under_way += usize::from(taken);
        taken
    }

    /// Wakes the shard as a finished job does.
    pub(crate) fn wake(&self) {
        self.outcomes.wake();
    }

    /// The next finished job.
    pub(crate) fn take(&mut self) -> Option<(Ticket, Outcome)> {
        let finished = self.outcomes.queue.pop()?;
        self.under_way -= 1;
        Some(finished)
    }
}

impl AsFd for Keeper {
    /// Rung whenever a job is finished: to be watched by edge, and never read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outcomes.event.as_fd()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; and a shard that ends has nobody left to tell.
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Work {
    folder: Arc<Folder>,
    access: Access,
    inbox: Receiver<(Ticket, Job)>,
    outcomes: Arc<Outcomes>,
    /// Segments that are being prepared, first come first.
    fillings: VecDeque<(Ticket, Filling)>,
    zeros: Option<AlignedBuffer>,
}

impl Work {
    fn run(mut self) {
        leave_the_shards_cpu();
        loop {
            let next = if self.fillings.is_empty() {
                // Nothing to do: the zeros are not needed for a while either.
                self.zeros = None;
                self.inbox.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                self.inbox.try_recv()
            };
            match next {
                Ok((ticket, job)) => self.begin(ticket, job),
                Err(TryRecvError::Empty) => self.fill(),
                Err(TryRecvError::Disconnected) => return,
            }
        }
    }

    fn begin(&mut self, ticket: Ticket, job: Job) {
        let (what, segment, outcome) = match job {
            Job::Prepare { segment, bytes } => match Filling::begin(&self.folder, segment, bytes, self.access) {
                Ok(filling) => {
                    self.fillings.push_back((ticket, filling));
                    return;
                }
                Err(errno) => ("prepare", segment, Err(errno)),
            },
            Job::Install { segment } => {
                failpoint::pass(Failpoint::MidRotation);
                let installed = self.folder.install(segment);
                failpoint::pass(Failpoint::MidRotation);
                ("install", segment, installed.map(done))
            }
            Job::SyncDirectory => ("sync the directory of", SegmentId(0), self.folder.sync().map(done)),
            Job::Commit { segment, offset, bytes } => ("commit to", segment, self.commit(segment, offset, &bytes)),
            Job::Sync { segment } => ("sync", segment, self.sync(segment)),
            Job::Read { segment, offset, len } => ("read", segment, self.read(segment, offset, len)),
            Job::Remove { segment } => {
                let removed = self.folder.remove(segment);
                failpoint::pass(Failpoint::MidTrim);
                ("remove", segment, removed.map(done))
            }
        };
        self.finish(ticket, what, segment, outcome);
    }

    /// One more piece of the first segment that is being prepared.
    fn fill(&mut self) {
        let zeros = self.zeros.get_or_insert_with(|| AlignedBuffer::zeroed(PIECE_BYTES));
        let Some((_, filling)) = self.fillings.front_mut() else { return };
        let outcome = match filling.step(zeros) {
            Ok(false) => return,
            Ok(true) => Ok(Outcome::Done),
            Err(errno) => Err(errno),
        };
        let Some((ticket, filling)) = self.fillings.pop_front() else { return };
        let segment = filling.segment();
        drop(filling);
        if outcome.is_err() {
            self.folder.discard_prepared(segment);
        }
        self.finish(ticket, "prepare", segment, outcome);
    }

    fn finish(&self, ticket: Ticket, what: &str, segment: SegmentId, outcome: Result<Outcome, Errno>) {
        let outcome = outcome.unwrap_or_else(|errno| {
            tell_failure(&self.folder, what, segment, errno);
            Outcome::Failed(disk_error(errno))
        });
        // There are never more jobs than places.
        let _ = self.outcomes.queue.push((ticket, outcome));
        self.outcomes.wake();
    }

    fn commit(&self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<Outcome, Errno> {
        let file = self.folder.open_segment(segment, Access::Buffered)?;
        write_all(&file, offset, bytes)?;
        failpoint::pass(Failpoint::BeforeSync);
        rustix::fs::fdatasync(&file)?;
        failpoint::pass(Failpoint::AfterSync);
        Ok(Outcome::Done)
    }

    fn sync(&self, segment: SegmentId) -> Result<Outcome, Errno> {
        let file = self.folder.open_segment(segment, Access::Buffered)?;
        rustix::fs::fdatasync(&file).map(done)
    }

    fn read(&self, segment: SegmentId, offset: u64, len: usize) -> Result<Outcome, Errno> {
        let file = self.folder.open_to_read(segment, Access::Buffered)?;
        let mut bytes = vec![0; len];
        let read = read_full(&file, offset, &mut bytes)?;
        bytes.truncate(read);
        Ok(Outcome::Read(bytes))
    }
}

fn done((): ()) -> Outcome {
    Outcome::Done
}

/// One line for each step that failed: failures are final or wait a second, so there are few.
pub(crate) fn tell_failure(folder: &Folder, what: &str, segment: SegmentId, errno: Errno) {
    tracing::error!(
        directory = %folder.path().display(),
        segment = segment.0,
        error = %errno,
        "the log could not {what} a segment"
    );
}

/// Writes everything, however often it takes.
pub(crate) fn write_all(file: &OwnedFd, mut offset: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::NOSPC),
            Ok(n) => {
                offset += n as u64;
                bytes = &bytes[n..];
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Fills a buffer up to the end of the file and returns how many bytes there were.
pub(crate) fn read_full(file: &OwnedFd, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::pread(file, &mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// A thread inherits the one CPU that its shard is pinned to; the process's first thread still has all of them.
fn leave_the_shards_cpu() {
    let process = rustix::process::getpid();
    if let Ok(cpus) = rustix::thread::sched_getaffinity(Some(process)) {
        // Where it fails, the thread shares the shard's CPU, and works.
        let _ = rustix::thread::sched_setaffinity(None, &cpus);
    }
}
