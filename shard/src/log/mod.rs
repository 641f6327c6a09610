//! The log of one shard: what it writes, when it may be believed, and how it is read back. No I/O happens here: the
//! log says what it wants done ([`DiskRequest`]) and is told what came of it ([`DiskOutcome`]).
//!
//! ```text
//! append ──▶ the filling batch ──seal──▶ one commit in flight ──done──▶ durable: answers and deliveries follow
//!                 ▲                                                │
//!                 └── everything appended meanwhile ◀──────────────┘ so the batch size follows the disk's latency
//! ```
//!
//! The format is drawn byte by byte in `docs/internals/log.md`.

mod batch;
mod codec;
mod format;
mod found;
mod outline;
mod read;
mod room;
mod scan;
mod segments;
mod start;
mod storage_writer;
mod terms;
mod walk;
mod window;
mod writer;

pub mod disk;
pub mod durable;
pub mod limits;
pub mod location;
pub mod order;
pub mod record;
pub mod storage;

pub use codec::encoded_bytes;
pub use disk::{DiskError, DiskOutcome, DiskRequest, Ticket};
pub use durable::Durable;
pub use format::{BLOCK, FORMAT_VERSION, LogIdentity, SegmentHeader};
pub use found::{DAMAGE_LISTED_MAX, Damage, DamageKind, Found, ScanError, Scanned, SegmentReport, SegmentRole};
pub use limits::{LogLimits, SPARE_SEGMENTS};
pub use location::{Location, SegmentId};
pub use read::{Next, ReadRange, Records};
pub use record::{GroupNumber, GroupRecord, MessageRecord, Outstanding, Record, SeqRange, StreamNumber, StreamRecord};
pub use scan::{ScanPlan, scan};
pub use start::LogStart;
pub use storage::{Storage, StorageError};
pub use storage_writer::{StorageWriter, WriteError, perform};
pub use terms::{Class, Completed, LogFigures, LogState, Refused};
pub use writer::Log;
