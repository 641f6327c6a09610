//! Commits and reads on a ring of the shard's own. Only this file names `io-uring`.
//!
//! A commit is one write with `RWF_DSYNC` from an aligned copy of its bytes: one system call to submit it, none to learn of
//! its end. While a completion waits to be taken, the ring's descriptor is readable: that is what wakes a sleeping shard.

use super::aligned::{AlignedBuffer, BLOCK_BYTES};
use conduit_shard::log::{SegmentId, Ticket};
use io_uring::{IoUring, cqueue, opcode, types};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

/// Operations at once. The log has one commit and a few reads under way.
pub(crate) const OPERATIONS_MAX: usize = 128;
/// Buffers kept for the next operation, and the largest that is.
const SPARE_BUFFERS_MAX: usize = 8;
const SPARE_BYTES_MAX: usize = 4 << 20;
/// How long a kernel without memory for a submission is asked again before the operation counts as failed.
const SUBMIT_TRIES: u32 = 1_000;
const SUBMIT_PAUSE: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Commit,
    Read,
}

/// One write or read that the kernel works on, with the memory that it works with.
#[derive(Debug)]
struct Operation {
    ticket: Ticket,
    kind: Kind,
    segment: SegmentId,
    file: Rc<OwnedFd>,
    buffer: AlignedBuffer,
    offset: u64,
    len: usize,
    /// Bytes written or read so far: a short write or read is continued.
    done: usize,
    /// The kernel would not take it, which has been told.
    refused: bool,
}

impl Operation {
    fn failure(&self, errno: Errno) -> Failure {
        let what = if self.kind == Kind::Commit { "commit to" } else { "read" };
        Failure { what, segment: self.segment, errno }
    }
}

/// An open segment.
pub(crate) type File = (SegmentId, Rc<OwnedFd>);

/// A finished operation.
#[derive(Debug)]
pub(crate) enum Finished<'a> {
    Committed,
    /// What there was to read.
    Read(&'a [u8]),
    Failed(Failure),
}

/// What could not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    /// "commit to" or "read".
    pub(crate) what: &'static str,
    pub(crate) segment: SegmentId,
    pub(crate) errno: Errno,
}

/// The ring and what is under way on it.
pub(crate) struct Ring {
    uring: IoUring,
    operations: Vec<Option<Operation>>,
    under_way: usize,
    /// Operations that the kernel would not take, with the reason; told with the completions.
    refused: Vec<(Ticket, Failure)>,
    /// An operation was refused, so that nobody knows what a completion would mean.
    broken: bool,
    spare: Vec<AlignedBuffer>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("under_way", &self.under_way).finish_non_exhaustive()
    }
}

impl Ring {
    pub(crate) fn new() -> io::Result<Self> {
        let entries = OPERATIONS_MAX as u32;
        // Without interrupts of the shard's core for each completion, where the kernel can (5.19 and 6.0).
        let uring = IoUring::builder().setup_coop_taskrun().setup_single_issuer().build(entries);
        let uring = uring.or_else(|_| IoUring::new(entries))?;
        let mut operations = Vec::new();
        operations.resize_with(OPERATIONS_MAX, || None);
        Ok(Self { uring, operations, under_way: 0, refused: Vec::new(), broken: false, spare: Vec::new() })
    }

    /// There is room for one more operation.
    pub(crate) fn has_room(&self) -> bool {
        self.under_way < OPERATIONS_MAX
    }

    /// There are operations that the kernel did not take: they have no completion to wake anyone.
    pub(crate) fn has_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Writes bytes and makes them durable.
    pub(crate) fn commit(&mut self, ticket: Ticket, (segment, file): File, offset: u64, bytes: &[u8]) {
        let mut buffer = self.buffer(bytes.len());
        buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        let (kind, len) = (Kind::Commit, bytes.len());
        self.start(Operation { ticket, kind, segment, file, buffer, offset, len, done: 0, refused: false });
    }

    /// Reads up to `len` bytes.
    pub(crate) fn read(&mut self, ticket: Ticket, (segment, file): File, offset: u64, len: usize) {
        let (kind, buffer) = (Kind::Read, self.buffer(len));
        self.start(Operation { ticket, kind, segment, file, buffer, offset, len, done: 0, refused: false });
    }

    /// Tells `each` of everything that has finished. Makes no system call unless something must be continued.
    pub(crate) fn take(&mut self, mut each: impl FnMut(Ticket, Finished<'_>)) {
        for (ticket, failure) in std::mem::take(&mut self.refused) {
            each(ticket, Finished::Failed(failure));
        }
        while let Some(entry) = self.next_completion() {
            let slot = entry.user_data() as usize;
            let Some(mut operation) = self.operations.get_mut(slot).and_then(Option::take) else { continue };
            self.under_way -= 1;
            if operation.refused {
                continue;
            }
            let errno = match progress(&mut operation, entry.result()) {
                Progress::Ended => None,
                Progress::Failed(errno) => Some(errno),
                Progress::Unfinished => {
                    self.start(operation);
                    continue;
                }
            };
            if let Some(errno) = errno {
                each(operation.ticket, Finished::Failed(operation.failure(errno)));
            }
            let Operation { ticket, kind, buffer, done, .. } = operation;
            match (errno, kind) {
                (Some(_), _) => {}
                (None, Kind::Commit) => each(ticket, Finished::Committed),
                (None, Kind::Read) => each(ticket, Finished::Read(&buffer.bytes()[..done])),
            }
            self.keep(buffer);
        }
        for (ticket, failure) in std::mem::take(&mut self.refused) {
            each(ticket, Finished::Failed(failure));
        }
    }

    /// Sleeps until something has finished, if anything is under way.
    pub(crate) fn wait(&self) -> io::Result<()> {
        if self.under_way == 0 {
            return Ok(());
        }
        match self.uring.submitter().submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.uring.completion().next()
    }

    fn buffer(&mut self, bytes: usize) -> AlignedBuffer {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.make_room(bytes);
        buffer
    }

    fn keep(&mut self, buffer: AlignedBuffer) {
        if self.spare.len() < SPARE_BUFFERS_MAX && buffer.len() <= SPARE_BYTES_MAX {
            self.spare.push(buffer);
        }
    }

    /// Gives what is left of an operation to the kernel.
    fn start(&mut self, operation: Operation) {
        let Some(slot) = self.operations.iter().position(Option::is_none) else {
            self.refused.push((operation.ticket, operation.failure(Errno::AGAIN)));
            return;
        };
        let operation = self.operations[slot].insert(operation);
        let file = types::Fd(operation.file.as_raw_fd());
        let left = &mut operation.buffer.bytes_mut()[operation.done..operation.len];
        // A length beyond what one call takes is written in several: the kernel stops short by itself.
        let (pointer, len) = (left.as_mut_ptr(), left.len().min(CALL_BYTES_MAX) as u32);
        let offset = operation.offset + operation.done as u64;
        let entry = match operation.kind {
            Kind::Commit => opcode::Write::new(file, pointer, len).offset(offset).rw_flags(WRITE_THROUGH).build(),
            Kind::Read => opcode::Read::new(file, pointer, len).offset(offset).build(),
        };
        // SAFETY: buffer and file stay in the operation's slot until the kernel has posted its completion; a ring that is
        // dropped earlier waits for it, or leaks them.
        let pushed = unsafe { self.uring.submission().push(&entry.user_data(slot as u64)) };
        self.under_way += 1;
        let refusal = match pushed {
            Ok(()) => self.submit().err(),
            Err(_) => Some(Errno::AGAIN),
        };
        if let (Some(errno), Some(operation)) = (refusal, &mut self.operations[slot]) {
            // Its slot stays taken: should the kernel have it after all, its memory is still there.
            operation.refused = true;
            self.refused.push((operation.ticket, operation.failure(errno)));
            self.broken = true;
        }
    }

    fn submit(&self) -> Result<(), Errno> {
        for _ in 0..SUBMIT_TRIES {
            match self.uring.submit() {
                Ok(_) => return Ok(()),
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::INTR) => {}
                    Some(Errno::AGAIN | Errno::BUSY) => std::thread::sleep(SUBMIT_PAUSE),
                    errno => return Err(errno.unwrap_or(Errno::IO)),
                },
            }
        }
        Err(Errno::AGAIN)
    }
}

/// The data is on the disk when the write completes.
const WRITE_THROUGH: i32 = rustix::io::ReadWriteFlags::DSYNC.bits().cast_signed();

/// What one write or read call takes at most, in whole blocks.
const CALL_BYTES_MAX: usize = 1 << 30;

enum Progress {
    Ended,
    Unfinished,
    Failed(Errno),
}

/// What a completion's result means for its operation.
fn progress(operation: &mut Operation, result: i32) -> Progress {
    match u32::try_from(result) {
        Ok(0) if operation.kind == Kind::Read => Progress::Ended,
        Ok(n) => {
            let n = n as usize;
            let left = operation.len - operation.done;
            if n >= left {
                operation.done = operation.len;
                return Progress::Ended;
            }
            if operation.kind == Kind::Read && !n.is_multiple_of(BLOCK_BYTES) {
                // The end of the file.
                operation.done += n;
                return Progress::Ended;
            }
            // Direct I/O goes on at a block. A write of less than one tells that there is no room for more.
            let whole = n - n % BLOCK_BYTES;
            operation.done += whole;
            if whole == 0 { Progress::Failed(Errno::NOSPC) } else { Progress::Unfinished }
        }
        Err(_) => match Errno::from_raw_os_error(-result) {
            Errno::INTR | Errno::AGAIN => Progress::Unfinished,
            errno => Progress::Failed(errno),
        },
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as the ring lives, which the borrow does not outlive.
        unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) }
    }
}

impl Drop for Ring {
    /// The kernel may still write into the buffers of what is under way.
    fn drop(&mut self) {
        while self.under_way > 0 {
            if self.broken || self.wait().is_err() {
                self.operations.drain(..).for_each(std::mem::forget);
                return;
            }
            while let Some(entry) = self.next_completion() {
                if self.operations.get_mut(entry.user_data() as usize).and_then(Option::take).is_some() {
                    self.under_way -= 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(kind: Kind, len: usize, done: usize) -> Operation {
        let file = Rc::new(rustix::event::eventfd(0, rustix::event::EventfdFlags::empty()).expect("a descriptor"));
        let buffer = AlignedBuffer::zeroed(len);
        Operation { ticket: Ticket(1), kind, segment: SegmentId(1), file, buffer, offset: 0, len, done, refused: false }
    }

    /// What a result makes of an operation of three blocks of which one is done: `None` for "go on", and how much is done.
    fn after(kind: Kind, result: i32) -> (Option<Result<(), Errno>>, usize) {
        let mut operation = operation(kind, 3 * BLOCK_BYTES, BLOCK_BYTES);
        let outcome = match progress(&mut operation, result) {
            Progress::Ended => Some(Ok(())),
            Progress::Failed(errno) => Some(Err(errno)),
            Progress::Unfinished => None,
        };
        (outcome, operation.done)
    }

    #[test]
    fn a_short_write_goes_on_at_a_block_and_a_whole_one_ends() {
        const BLOCK: i32 = BLOCK_BYTES as i32;
        assert_eq!(after(Kind::Commit, 2 * BLOCK), (Some(Ok(())), 3 * BLOCK_BYTES));
        assert_eq!(after(Kind::Commit, 2 * BLOCK - 1), (None, 2 * BLOCK_BYTES));
        assert_eq!(after(Kind::Commit, BLOCK), (None, 2 * BLOCK_BYTES));
        for less_than_a_block in [0, 512, BLOCK - 1] {
            assert_eq!(after(Kind::Commit, less_than_a_block), (Some(Err(Errno::NOSPC)), BLOCK_BYTES));
        }
    }

    #[test]
    fn a_short_read_goes_on_unless_the_file_ends_there() {
        const BLOCK: i32 = BLOCK_BYTES as i32;
        assert_eq!(after(Kind::Read, 2 * BLOCK), (Some(Ok(())), 3 * BLOCK_BYTES));
        assert_eq!(after(Kind::Read, BLOCK), (None, 2 * BLOCK_BYTES));
        assert_eq!(after(Kind::Read, BLOCK + 512), (Some(Ok(())), 2 * BLOCK_BYTES + 512));
        assert_eq!(after(Kind::Read, 0), (Some(Ok(())), BLOCK_BYTES));
    }

    #[test]
    fn an_interruption_is_tried_again_and_any_other_error_is_final() {
        for kind in [Kind::Commit, Kind::Read] {
            for errno in [Errno::INTR, Errno::AGAIN] {
                assert_eq!(after(kind, -errno.raw_os_error()), (None, BLOCK_BYTES));
            }
            for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::INVAL, Errno::CANCELED] {
                assert_eq!(after(kind, -errno.raw_os_error()), (Some(Err(errno)), BLOCK_BYTES));
            }
        }
    }
}
