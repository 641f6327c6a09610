//! A log written step by step: every request is done before the next one is made. For writing a whole log at once, when
//! streams move to another number of shards.

use super::disk::{DiskOutcome, DiskRequest, Ticket};
use super::{Class, DiskError, Location, Log, LogLimits, LogStart, Record, Refused, SegmentId, Storage, StorageError};
use conduit_protocol::Now;

/// Does a request, and says what came of it. Bytes of a `Read` go to `buffer`.
pub fn perform<'b>(
    storage: &mut dyn Storage,
    request: &DiskRequest<'_>,
    buffer: &'b mut Vec<u8>,
) -> (Ticket, Result<DiskOutcome<'b>, StorageError>) {
    let (ticket, result) = match *request {
        DiskRequest::Prepare { ticket, segment, bytes } => (ticket, storage.prepare(segment, bytes)),
        DiskRequest::Install { ticket, segment } => (ticket, storage.install(segment)),
        DiskRequest::SyncDirectory { ticket } => (ticket, storage.sync_directory()),
        DiskRequest::Commit { ticket, segment, offset, bytes } => (ticket, storage.commit(segment, offset, bytes)),
        DiskRequest::Sync { ticket, segment } => (ticket, storage.sync(segment)),
        DiskRequest::Remove { ticket, segment } => (ticket, storage.remove(segment)),
        DiskRequest::Read { ticket, segment, offset, len } => {
            buffer.clear();
            buffer.resize(len as usize, 0);
            let read = storage.read(segment, offset, buffer).map(|count| buffer.truncate(count));
            return (ticket, read.map(move |()| DiskOutcome::Read(buffer.as_slice())));
        }
    };
    (ticket, result.map(|()| DiskOutcome::Done))
}

/// Writes a log through a [`Storage`].
pub struct StorageWriter<'s> {
    log: Log,
    storage: &'s mut dyn Storage,
    now: Now,
}

/// Why the log could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A step failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A record does not fit into a segment.
    #[error("a record of {bytes} bytes does not fit into a segment")]
    TooLarge {
        /// What it takes.
        bytes: u64,
    },
    /// There may not be as many segments as it takes.
    #[error("the log has no room for more: raise its bound, or free room on the disk")]
    Full,
}

impl<'s> StorageWriter<'s> {
    /// A writer that goes on where a log ends, or begins one. Nothing takes time here, so all of it is written at `now`.
    #[must_use]
    pub fn new(limits: LogLimits, start: LogStart, storage: &'s mut dyn Storage, now: Now) -> Self {
        Self { log: Log::new(limits, start), storage, now }
    }

    /// The segment in which records of so many bytes together will lie, if they are what is appended next.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn segment_for(&mut self, bytes: u64) -> Result<SegmentId, WriteError> {
        self.when_there_is_room(bytes, |log, now| log.segment_for(now, bytes, Class::Publish))
    }

    /// Appends a record. It is durable after [`StorageWriter::finish`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, record: &Record<'_>) -> Result<Location, WriteError> {
        let bytes = super::encoded_bytes(record);
        self.when_there_is_room(bytes, |log, now| log.append(now, record, Class::Publish))
    }

    fn when_there_is_room<T>(
        &mut self,
        bytes: u64,
        mut attempt: impl FnMut(&mut Log, Now) -> Result<T, Refused>,
    ) -> Result<T, WriteError> {
        for _ in 0..2 {
            match attempt(&mut self.log, self.now) {
                Ok(done) => return Ok(done),
                Err(Refused::TooLarge) => return Err(WriteError::TooLarge { bytes }),
                Err(Refused::Busy | Refused::Full | Refused::Failed) => self.drive()?,
            }
        }
        Err(WriteError::Full)
    }

    /// Does everything that the log wants done.
    fn drive(&mut self) -> Result<(), WriteError> {
        let mut buffer = Vec::new();
        while let Some(request) = self.log.poll_disk(self.now) {
            let (ticket, result) = perform(self.storage, &request, &mut buffer);
            let outcome = match result {
                Ok(outcome) => outcome,
                Err(error) if error.error == DiskError::Full => {
                    self.log.complete(self.now, ticket, DiskOutcome::Failed(DiskError::Full));
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            self.log.complete(self.now, ticket, outcome);
        }
        Ok(())
    }

    /// Makes everything durable, and ends the log as it should be.
    ///
    /// # Errors
    /// When that fails.
    pub fn finish(mut self) -> Result<(), WriteError> {
        self.log.finish();
        self.drive()?;
        let is_written = self.log.is_idle() && self.log.state() != super::LogState::Failed;
        if is_written { Ok(()) } else { Err(WriteError::Full) }
    }
}
