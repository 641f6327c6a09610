//! The journal: the shard's log, who waits for a commit of it, and what it has not been told yet.
//!
//! A publish to a stream that is kept in the log goes there before it is held in memory ([`Shard::log_message`]); for the
//! durability `commit` its answer and its deliveries wait in `waiting` until the commit that covers it is done
//! ([`Shard::disk_done`], the only place that makes a [`Durable`]). Acks and releases are gathered (`untold.rs`) and join
//! the next batch.

use crate::effect::Accepted;
use crate::log::{
    Class, Completed, DiskOutcome, DiskRequest, Durable, Location, Log, LogState, MessageRecord, Record, Refused,
    SegmentId, StreamNumber, Ticket, encoded_bytes,
};
use crate::message::text_of;
use crate::placement::DEAD_LETTERS;
use crate::publish::NewMessage;
use crate::shard::{Shard, refuse};
use crate::snapshot::LogSnapshot;
use crate::spill::Reads;
use crate::timeline::Timeline;
use crate::untold::{Ranges, Untold};
use crate::{AnswerValue, Effect, Effects, Mutant, StreamKey};
use conduit_protocol::streams::Durability;
use conduit_protocol::{ErrorCode, Now, Origin, Seq, Token};
use std::collections::VecDeque;

/// Says what accepted messages of a stream survive, for streams that were told nothing else.
pub type DurabilityOf = Box<dyn Fn(&str) -> Durability + Send>;

/// Why a log does not take a message, as the publisher hears it.
pub(crate) type Refusal = (ErrorCode, &'static str);

const FAILED: Refusal = (
    ErrorCode::StorageFailed,
    "a write to this shard's log failed; it stores nothing durable until the server is started again",
);
const FULL: Refusal = (
    ErrorCode::StorageFull,
    "the disk, or the room that the log may take on it, is full; retry when messages were consumed or room was made",
);
const BUSY: Refusal = (ErrorCode::Backpressure, "the disk is behind by as much as it may be; retry later");
const TOO_LARGE: Refusal = (ErrorCode::PayloadTooLarge, "the message does not fit into a segment of the log");

/// The log of one shard and what goes with it.
pub(crate) struct Journal {
    pub(crate) log: Log,
    pub(crate) durability_of: DurabilityOf,
    /// Whom the coming commits concern, in the order of their batches.
    waiting: VecDeque<Waiting>,
    pub(crate) untold: Untold,
    pub(crate) reads: Reads,
    pub(crate) next_stream: u32,
    pub(crate) next_group: u32,
    /// Messages that the groups of one stream may have outstanding, in equal shares: see [`LogLimits::outstanding_max`].
    pub(crate) outstanding_max: u64,
    /// The next stream to be carried over into the newest segment.
    pub(crate) carry_at: u32,
    /// The segment that they are being carried into.
    pub(crate) carrying: Option<SegmentId>,
    /// Streams that a commit has made something visible of; kept for its allocation.
    touched: Vec<u32>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("log", &self.log).field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// Something that is told when a batch is durable.
#[derive(Debug)]
struct Waiting {
    /// The batch.
    batch: u64,
    /// Who is to be answered, if anybody.
    origin: Option<Origin>,
    what: What,
}

impl Waiting {
    /// It waits only until seqs of a stream up to `below` are reserved.
    fn is_reserved(&self, key: u32, below: u64) -> bool {
        matches!(self.what, What::Published { stream, seq } | What::Repeated { stream, seq, .. } if stream == key && seq < below)
    }
}

#[derive(Debug)]
enum What {
    /// A message of a stream: it becomes visible, and its publisher is answered.
    Published { stream: u32, seq: u64 },
    /// A repeat of a message that waits itself.
    Repeated { stream: u32, seq: u64, id: Box<str> },
    /// Seqs that a stream which is written within an interval may give out from then on.
    Reserved { stream: u32, below: u64 },
    /// A change of a stream or group.
    Changed(Box<AnswerValue>),
}

/// What the log knows of a stream.
#[derive(Debug)]
pub(crate) struct InLog {
    pub(crate) number: StreamNumber,
    /// The newest segment that has its record; 0 for none.
    pub(crate) named_in: SegmentId,
    /// Released, and not told yet.
    pub(crate) released: Ranges,
    /// A read of its messages is under way, or waits until the log takes one.
    pub(crate) is_reading: bool,
    /// Bytes that the next read asks for.
    pub(crate) read_bytes: u32,
    /// Of a stream that is written within an interval: the end of the seqs that the log was told to be taken, and of those
    /// that it says durably. Only the latter are given out before their commit.
    pub(crate) reserved: u64,
    /// See `reserved`.
    pub(crate) reserved_durable: u64,
    /// When its messages were published, and how much they are.
    pub(crate) timeline: Timeline,
    is_touched: bool,
}

impl InLog {
    pub(crate) fn new(number: StreamNumber) -> Self {
        Self {
            number,
            named_in: SegmentId(0),
            released: Ranges::new(),
            is_reading: false,
            read_bytes: crate::spill::READ_BYTES_MIN,
            reserved: 0,
            reserved_durable: 0,
            timeline: Timeline::default(),
            is_touched: false,
        }
    }
}

impl Journal {
    pub(crate) fn new(log: Log, outstanding_max: u64, durability_of: DurabilityOf) -> Self {
        Self {
            log,
            outstanding_max,
            durability_of,
            waiting: VecDeque::new(),
            untold: Untold::default(),
            reads: Reads::default(),
            next_stream: 1,
            next_group: 1,
            carry_at: 0,
            carrying: None,
            touched: Vec::new(),
        }
    }

    /// How a refusal of the log is told.
    pub(crate) const fn refusal(refused: Refused) -> Refusal {
        match refused {
            Refused::Busy => BUSY,
            Refused::Full => FULL,
            Refused::Failed => FAILED,
            Refused::TooLarge => TOO_LARGE,
        }
    }

    /// Why the log has just not taken something small.
    pub(crate) const fn what_is_wrong(&self) -> Refusal {
        match self.log.state() {
            LogState::Failed => FAILED,
            LogState::Full => FULL,
            LogState::Open => BUSY,
        }
    }
}

impl Shard {
    /// A stream has no messages yet: it is kept in the log from now on, if that is what its durability says and the shard
    /// has a log.
    pub(crate) fn enter_log(&mut self, key: u32) {
        let Some(journal) = &mut self.journal else { return };
        let Some(stream) = self.streams.at_mut(key) else { return };
        // Dead letters are as safe as the stream that they come from: a letter takes its message's place.
        let name = stream.name.trim_end_matches(DEAD_LETTERS);
        stream.durability = stream.settings.durability().unwrap_or_else(|| (journal.durability_of)(name));
        if stream.durability != Durability::Memory && stream.log.is_none() {
            stream.log = Some(Box::new(InLog::new(StreamNumber(journal.next_stream))));
            journal.next_stream += 1;
        }
    }

    /// Puts a message into the log as the next one of its stream, if the stream is kept there: where it lies now.
    ///
    /// # Errors
    /// What the publisher is told when the log does not take it. Nothing has changed then.
    pub(crate) fn log_message(
        &mut self,
        now: Now,
        key: u32,
        message: &NewMessage<'_>,
    ) -> Result<Option<Location>, Refusal> {
        let Some(stream) = self.streams.at(key) else { return Ok(None) };
        let Some(in_log) = &stream.log else { return Ok(None) };
        let class = match stream.durability {
            // It is what a full log can be worked empty with: until it is there, its message stays.
            _ if message.is_letter => Class::Letter,
            Durability::Interval(interval_ms) if !stream.waits_for_commit() => Class::PublishWithin(interval_ms),
            _ => Class::Publish,
        };
        let extras = &message.extras;
        let record = Record::Message(MessageRecord {
            stream: in_log.number,
            seq: stream.next_seq(),
            unix_ms: now.unix_ms,
            encoding: message.encoding,
            priority: extras.priority,
            not_before_unix_ms: extras.not_before_unix_ms,
            expires_unix_ms: extras.expires_unix_ms,
            trace: extras.trace,
            dedup_id: message.dedup_id,
            id: text_of(message.id),
            envelope: message.envelope,
        });
        self.name_in_log(now, key, encoded_bytes(&record), class)?;
        let Some(journal) = &mut self.journal else { return Ok(None) };
        let location = journal.log.append(now, &record, class).map_err(Journal::refusal)?;
        journal.log.hold(location);
        if !message.dedup_id.is_empty()
            && let Some(stream) = self.streams.at(key)
        {
            let window_ms = stream.settings.dedup_window_ms(&self.limits);
            journal.log.hold_until(location, now.unix_ms.saturating_add(window_ms));
        }
        Ok(Some(location))
    }

    /// A message was stored, and is in the log at `location`: what it waits for is noted.
    #[inline]
    pub(crate) fn note_logged(&mut self, key: u32, seq: u64, location: Location, waits: bool) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        stream.held.also_at(seq, location, &mut self.memory);
        if let (Some(in_log), Some(message)) = (&mut stream.log, stream.held.message(seq)) {
            let (unix_ms, bytes) = (message.published.unix_ms, message.held_bytes());
            in_log.timeline.note(seq, unix_ms, bytes, stream.held.first().unwrap_or(seq));
        }
        if waits && let Some(journal) = &mut self.journal {
            let batch = journal.log.appended();
            journal.waiting.push_back(Waiting { batch, origin: None, what: What::Published { stream: key, seq } });
        }
        self.note_stored_in_log(key);
    }

    /// The message stored last is answered: now, or when the commit that covers it is done.
    #[inline]
    pub(crate) fn answer_published(&mut self, origin: &Origin, key: u32, seq: u64, effects: &mut Effects) {
        let accepted = match &mut self.journal {
            None => Accepted::InMemory,
            Some(journal) => {
                if self.streams.at(key).is_some_and(|stream| seq >= stream.held.visible())
                    && let Some(waiting) = journal.waiting.back_mut()
                {
                    if self.limits.planted.has(Mutant::AckBeforeSync) && origin.token != Token::NONE {
                        let durability = self.streams.at(key).map_or(Durability::Memory, |stream| stream.durability);
                        let accepted = accepted_of(durability, true);
                        let answer = AnswerValue::Published { stream: StreamKey(key), seq: Seq(seq), accepted };
                        effects.push(Effect::Answer { origin: *origin, answer });
                        return;
                    }
                    waiting.origin = (origin.token != Token::NONE).then_some(*origin);
                    return;
                }
                Accepted::Volatile
            }
        };
        if origin.token != Token::NONE {
            let answer = AnswerValue::Published { stream: StreamKey(key), seq: Seq(seq), accepted };
            effects.push(Effect::Answer { origin: *origin, answer });
        }
    }

    /// A publish was recognised as a repeat: it gets the answer of the first one, when that one has it.
    pub(crate) fn answer_repeated(&mut self, origin: &Origin, key: u32, seq: u64, id: Box<str>, effects: &mut Effects) {
        if origin.token == Token::NONE {
            return;
        }
        let accepted = match (&mut self.journal, self.streams.at(key)) {
            (None, _) | (_, None) => Accepted::InMemory,
            (Some(journal), Some(stream)) if seq >= stream.held.visible() => {
                let what = What::Repeated { stream: key, seq, id };
                let batch = journal.log.appended();
                journal.waiting.push_back(Waiting { batch, origin: Some(*origin), what });
                return;
            }
            // It was never durable, or may be, and nobody knows: what is told of a failed log must not be a promise.
            (Some(journal), Some(stream)) if journal.log.state() == LogState::Failed && stream.log.is_some() => {
                let (code, message) = FAILED;
                refuse(effects, origin, code, message, None);
                return;
            }
            // It is visible, so the commit that covers it is done.
            (Some(_), Some(stream)) => accepted_of(stream.durability, stream.log.is_some()),
        };
        let seq = if self.limits.planted.has(Mutant::DuplicateOtherSeq) { seq + 1 } else { seq };
        let answer = AnswerValue::Duplicate { stream: StreamKey(key), seq: Seq(seq), id, accepted };
        effects.push(Effect::Answer { origin: *origin, answer });
    }

    /// A stream reserved seqs in the batch that is being filled.
    pub(crate) fn note_reserved(&mut self, key: u32, below: u64) {
        if let Some(journal) = &mut self.journal {
            let batch = journal.log.appended();
            journal.waiting.push_back(Waiting { batch, origin: None, what: What::Reserved { stream: key, below } });
        }
    }

    /// A stream or group was changed: that is told when the log has it, which may be now when there was nothing to note.
    pub(crate) fn answer_changed(
        &mut self,
        origin: &Origin,
        answer: AnswerValue,
        is_logged: bool,
        effects: &mut Effects,
    ) {
        match &mut self.journal {
            Some(journal) if is_logged && journal.log.appended() > journal.log.committed() => {
                if journal.log.state() == LogState::Failed {
                    let (code, message) = FAILED;
                    refuse(effects, origin, code, message, None);
                    return;
                }
                let batch = journal.log.appended();
                let what = What::Changed(Box::new(answer));
                journal.waiting.push_back(Waiting { batch, origin: Some(*origin), what });
                journal.log.flush();
            }
            _ => effects.push(Effect::Answer { origin: *origin, answer }),
        }
    }

    /// A stream is deleted: whoever waits for a message of it is told so.
    pub(crate) fn answer_those_of_deleted(&mut self, key: u32, effects: &mut Effects) {
        let Some(journal) = &mut self.journal else { return };
        journal.waiting.retain(|waiting| {
            let is_of = match waiting.what {
                What::Published { stream, .. } | What::Repeated { stream, .. } | What::Reserved { stream, .. } => {
                    stream == key
                }
                What::Changed(_) => false,
            };
            if is_of && let Some(origin) = &waiting.origin {
                refuse(effects, origin, ErrorCode::StreamDeleted, "the stream was deleted meanwhile", None);
            }
            !is_of
        });
    }

    /// What is to be done on the disk now; call it again until there is nothing. Every request is answered by one
    /// [`crate::Input::Disk`]. Call it when the effects of every input have been drained.
    pub fn poll_disk(&mut self, now: Now) -> Option<DiskRequest<'_>> {
        self.journal.as_ref()?;
        self.prepare_log(now);
        self.journal.as_mut()?.log.poll_disk(now)
    }

    /// What goes along with the batch that is about to leave.
    fn prepare_log(&mut self, now: Now) {
        self.spill();
        self.carry_over(now);
        let Some(journal) = &self.journal else { return };
        if journal.log.is_about_to_seal(now) || journal.untold.is_due(now) {
            // What is left is told another time.
            let _ = self.tell_log(now);
        }
    }

    /// The shard is about to stop: what the log has not been told is told, and everything leaves.
    pub fn close_log(&mut self, now: Now) {
        self.release_reserved(now);
        // What a full disk does not take is redelivered after the next start.
        let _ = self.tell_log(now);
        if let Some(journal) = &mut self.journal {
            journal.log.finish();
        }
    }

    /// Nothing waits for a commit, or none will come.
    #[must_use]
    pub fn is_log_idle(&self) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.log.is_idle())
    }

    /// A write to this shard's log failed: the process is to end with an error once it is told to end.
    #[must_use]
    pub fn has_log_failed(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.log.state() == LogState::Failed)
    }

    pub(crate) fn log_snapshot(&self) -> Option<LogSnapshot> {
        let journal = self.journal.as_ref()?;
        Some(LogSnapshot { state: journal.log.state(), figures: journal.log.figures() })
    }

    /// When the log wants [`Self::poll_disk`] to be called again, in `Now::mono_ns`.
    pub(crate) fn log_deadline(&self) -> Option<u64> {
        let journal = self.journal.as_ref()?;
        if journal.log.state() == LogState::Failed {
            return None;
        }
        [journal.log.next_deadline(), journal.untold.due_ns()].into_iter().flatten().min()
    }

    /// Takes what came of a request.
    pub(crate) fn disk_done(&mut self, now: Now, ticket: Ticket, outcome: DiskOutcome<'_>, effects: &mut Effects) {
        let Some(journal) = &mut self.journal else {
            debug_assert!(false, "a shard without a log asks nothing of a disk");
            return;
        };
        match journal.log.complete(now, ticket, outcome) {
            Completed::Committed { upto, took_ns } => {
                self.commit_latency.record(took_ns);
                self.committed(now, upto, effects);
            }
            Completed::Failed => self.log_failed(effects),
            Completed::Read => {
                let bytes = if let DiskOutcome::Read(bytes) = outcome { bytes } else { &[] };
                self.read_done(now, ticket, Some(bytes), effects);
            }
            Completed::ReadFailed(_) => self.read_done(now, ticket, None, effects),
            Completed::RoomAgain => self.resume_all_when_roomy(effects),
            Completed::Nothing => {}
        }
    }

    /// A commit is done: what it covers is visible and answered.
    fn committed(&mut self, now: Now, upto: u64, effects: &mut Effects) {
        let Some(journal) = &mut self.journal else { return };
        while journal.waiting.front().is_some_and(|waiting| waiting.batch <= upto)
            && let Some(Waiting { origin, what, .. }) = journal.waiting.pop_front()
        {
            let answer = match what {
                What::Published { stream: key, seq } => {
                    let Some(stream) = self.streams.at_mut(key) else { continue };
                    stream.held.show_to(seq + 1);
                    let accepted = accepted_of(stream.durability, true);
                    if let Some(in_log) = &mut stream.log
                        && !std::mem::replace(&mut in_log.is_touched, true)
                    {
                        journal.touched.push(key);
                    }
                    AnswerValue::Published { stream: StreamKey(key), seq: Seq(seq), accepted }
                }
                What::Repeated { stream: key, seq, id } => {
                    let Some(stream) = self.streams.at(key) else { continue };
                    let accepted = accepted_of(stream.durability, true);
                    AnswerValue::Duplicate { stream: StreamKey(key), seq: Seq(seq), id, accepted }
                }
                What::Reserved { stream: key, below } => {
                    if let Some(in_log) = self.streams.at_mut(key).and_then(|stream| stream.log.as_mut()) {
                        in_log.reserved_durable = in_log.reserved_durable.max(below);
                    }
                    // Messages after them wait for nothing now, and would go first.
                    for waiting in &mut journal.waiting {
                        waiting.batch =
                            waiting.batch.min(if waiting.is_reserved(key, below) { upto } else { u64::MAX });
                    }
                    journal.waiting.make_contiguous().sort_by_key(|waiting| waiting.batch);
                    continue;
                }
                What::Changed(answer) => *answer,
            };
            if let Some(origin) = origin {
                effects.push(Effect::Answer { origin, answer });
            }
        }
        let mut touched = std::mem::take(&mut journal.touched);
        for key in touched.drain(..) {
            if let Some(in_log) = self.streams.at_mut(key).and_then(|stream| stream.log.as_mut()) {
                in_log.is_touched = false;
            }
            self.deliver_all(now, key, effects);
        }
        if let Some(journal) = &mut self.journal {
            journal.touched = touched;
        }
        self.resume_all_when_roomy(effects);
    }

    /// The log is lost for this process: those who wait are told, and what was never durable is gone.
    #[cold]
    fn log_failed(&mut self, effects: &mut Effects) {
        let Some(journal) = &mut self.journal else { return };
        let (code, message) = FAILED;
        for Waiting { origin, what, .. } in std::mem::take(&mut journal.waiting) {
            if let Some(origin) = origin {
                refuse(effects, &origin, code, message, None);
            }
            if let What::Published { stream: key, seq } = what
                && let Some(stream) = self.streams.at_mut(key)
            {
                // Whether it is on the disk is not known. It is not delivered; a restart may find it.
                stream.held.release(seq, &mut self.memory);
                stream.held.show_to(seq + 1);
            }
        }
        self.totals.log_failures += 1;
        self.resume_all_when_roomy(effects);
    }
}

/// What is promised of a message of a stream, once the commit that covers it is done where the stream waits for it: this
/// is called for no other.
const fn accepted_of(durability: Durability, is_in_log: bool) -> Accepted {
    match durability {
        Durability::Commit if is_in_log => Accepted::Durable(Durable::by_commit(())),
        Durability::Commit | Durability::Interval(_) | Durability::Memory => Accepted::Volatile,
    }
}
