//! What the log wants done to its directory, and what came of it.
//!
//! Every request is finished by exactly one outcome with the same ticket, in any order. Requests are steps that a crash
//! can come between; the order in which the log asks for them is what makes it safe, so owners neither reorder, merge
//! nor retry them.

use super::SegmentId;

/// Names one request until its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// One step. Offsets and lengths of writes are multiples of 4,096.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskRequest<'a> {
    /// Create the segment under its *preparing* name (replacing what is there), fill it with `bytes` zeros, and sync the
    /// file. The new directory entry is durable only after a later `SyncDirectory`.
    Prepare {
        /// Comes back.
        ticket: Ticket,
        /// Which one.
        segment: SegmentId,
        /// Its size for life.
        bytes: u64,
    },
    /// Rename a prepared segment to its proper name.
    Install {
        /// Comes back.
        ticket: Ticket,
        /// Which one.
        segment: SegmentId,
    },
    /// Make the directory's entries durable.
    SyncDirectory {
        /// Comes back.
        ticket: Ticket,
    },
    /// Write these bytes into the segment and make them durable: the outcome comes after both.
    Commit {
        /// Comes back.
        ticket: Ticket,
        /// Which one.
        segment: SegmentId,
        /// Where.
        offset: u64,
        /// What. Owners that finish later copy them.
        bytes: &'a [u8],
    },
    /// Sync the segment's file. Only a planted bug asks for it: a failed sync is final (see `docs/guarantees.md`).
    Sync {
        /// Comes back.
        ticket: Ticket,
        /// Which one.
        segment: SegmentId,
    },
    /// Read `len` bytes of the segment; the outcome carries as many as there are.
    Read {
        /// Comes back.
        ticket: Ticket,
        /// Which one.
        segment: SegmentId,
        /// Where; a multiple of 4,096.
        offset: u64,
        /// How many; a multiple of 4,096.
        len: u32,
    },
    /// Remove the segment. Not durable before a later `SyncDirectory`.
    Remove {
        /// Comes back.
        ticket: Ticket,
        /// Which one.
        segment: SegmentId,
    },
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskOutcome<'a> {
    /// It is done.
    Done,
    /// The bytes of a `Read`.
    Read(&'a [u8]),
    /// It is not done, or nobody knows.
    Failed(DiskError),
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskError {
    /// There is no room (ENOSPC, EDQUOT).
    Full,
    /// Anything else (EIO and worse).
    Broken,
}
