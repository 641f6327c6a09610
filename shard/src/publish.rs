//! Publish: a message is checked against the limits, stored, answered, and offered to the consumers.

use crate::agenda::Agenda;
use crate::dedup::{First, Repeated};
use crate::group::Group;
use crate::message::{Extras, Message, text_of};
use crate::pause::marks_of;
use crate::shard::{Shard, refuse};
use crate::shares::Shared;
use crate::stream::Stream;
use crate::{Effect, Effects, Limits};
use conduit_protocol::command::{NotBefore, PublishOptions};
use conduit_protocol::{Encoding, Envelope, EnvelopeId, ErrorCode, Now, Origin, Publish, TenantId, codec};

/// Everything that is stored of a message: what the log writes of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewMessage<'a> {
    /// Its id, in UTF-8.
    pub(crate) id: &'a [u8],
    /// How the envelope is encoded.
    pub(crate) encoding: Encoding,
    /// Its envelope, which has the id as a member unless that was impossible.
    pub(crate) envelope: &'a [u8],
    /// Its priority, times and trace context.
    pub(crate) extras: Extras,
    /// What repeats of it are recognised by; empty for none.
    pub(crate) dedup_id: &'a str,
    /// It is a dead letter, which takes the place of a message that the shard holds.
    pub(crate) is_letter: bool,
}

/// What became of a publish.
enum Stored {
    /// It is a new message.
    New { stream: u32, seq: u64 },
    /// It was accepted before.
    Repeated(Repeated),
}

/// Why a message was not stored.
struct Refused {
    code: ErrorCode,
    message: &'static str,
    /// The stream that it was meant for, if it exists.
    stream: Option<u32>,
}

/// A scratch buffer that grew beyond this is given up after use.
const SCRATCH_BYTES_KEPT: usize = 1 << 20;
/// The highest priority.
const PRIORITY_MAX: u8 = crate::lanes::LANES as u8;

impl Shard {
    pub(crate) fn publish(
        &mut self,
        now: Now,
        origin: &Origin,
        tenant: TenantId,
        publish: &Publish<'_>,
        effects: &mut Effects,
    ) {
        let stream = match self.store(now, tenant, publish) {
            Ok(Stored::New { stream, seq }) => {
                self.answer_published(origin, stream, seq, effects);
                Some(stream)
            }
            Ok(Stored::Repeated(repeated)) => {
                self.totals.duplicates += 1;
                let Repeated { stream, seq, id } = repeated;
                self.answer_repeated(origin, stream, seq, id, effects);
                return;
            }
            Err(Refused { code, message, stream }) => {
                let is_load = code == ErrorCode::Backpressure;
                if is_load {
                    self.totals.refused_backpressure += 1;
                } else {
                    self.totals.refused_other += 1;
                }
                refuse(effects, origin, code, message, is_load.then_some(self.limits.retry_after_ms));
                stream
            }
        };
        let Some(stream) = stream else { return };
        if publish.pausable {
            self.pause_when_nearly_full(now, origin, stream, effects);
        }
        self.deliver_all(now, stream, effects);
    }

    /// Stores a message, unless it was stored before.
    #[inline(always)]
    fn store(&mut self, now: Now, tenant: TenantId, publish: &Publish<'_>) -> Result<Stored, Refused> {
        let found = self.streams.find(tenant, &publish.stream, &self.seeded);
        // Nearly every message has its id and asks for nothing: the compiler leaves out what those do not need.
        if let EnvelopeId::Given(id) = &publish.envelope.id
            && is_plain(&publish.options)
            && self.journal.is_none()
        {
            let Envelope { encoding, bytes: envelope, .. } = publish.envelope;
            let message =
                NewMessage { id, encoding, envelope, extras: Extras::default(), dedup_id: "", is_letter: false };
            let appended = self.append::<false>(now, tenant, &publish.stream, found, &message);
            return self.stored(publish, found, appended);
        }
        self.store_with_options(now, tenant, publish, found)
    }

    /// The same for a message in any form.
    #[inline(never)]
    fn store_with_options(
        &mut self,
        now: Now,
        tenant: TenantId,
        publish: &Publish<'_>,
        found: Option<u32>,
    ) -> Result<Stored, Refused> {
        let (mut extras, mut dedup_id) = (Extras::default(), "");
        if !is_plain(&publish.options) {
            dedup_id = publish.options.dedup_id.as_deref().unwrap_or_default();
            if let Some(first) = self.first_under(now, found, dedup_id) {
                return Ok(Stored::Repeated(first));
            }
            let refused = |(code, message)| Refused { code, message, stream: found };
            extras = self.extras_of(now, &publish.options).map_err(refused)?;
        }
        let encoding = publish.envelope.encoding;
        let mut scratch = std::mem::take(&mut self.scratch);
        let made;
        let (id, envelope) = match &publish.envelope.id {
            EnvelopeId::Given(id) => (&**id, publish.envelope.bytes),
            EnvelopeId::Absent => {
                made = self.ids.next(now.unix_ms);
                scratch.clear();
                codec::insert_id(encoding, publish.envelope.bytes, made.as_str(), &mut scratch);
                (made.as_str().as_bytes(), scratch.as_slice())
            }
            EnvelopeId::Unusable => {
                made = self.ids.next(now.unix_ms);
                (made.as_str().as_bytes(), publish.envelope.bytes)
            }
        };
        let message = NewMessage { id, encoding, envelope, extras, dedup_id, is_letter: false };
        let appended = self.append_message(now, tenant, &publish.stream, found, &message);
        self.keep_scratch(scratch);
        self.stored(publish, found, appended)
    }

    #[inline(always)]
    fn stored(
        &mut self,
        publish: &Publish<'_>,
        found: Option<u32>,
        appended: Result<(u32, u64), (ErrorCode, &'static str)>,
    ) -> Result<Stored, Refused> {
        match appended {
            Ok((stream, seq)) => {
                self.totals.published += 1;
                self.totals.published_bytes += publish.envelope.bytes.len() as u64;
                Ok(Stored::New { stream, seq })
            }
            Err((code, message)) => Err(Refused { code, message, stream: found }),
        }
    }

    /// Gives the scratch buffer back, unless it grew too long.
    #[inline]
    pub(crate) fn keep_scratch(&mut self, scratch: Vec<u8>) {
        if scratch.capacity() <= SCRATCH_BYTES_KEPT {
            self.scratch = scratch;
        }
    }

    /// Stores a message in the stream of a name, which `found` is if it exists: its key and the message's seq.
    #[inline(never)]
    pub(crate) fn append_message(
        &mut self,
        now: Now,
        tenant: TenantId,
        name: &str,
        found: Option<u32>,
        new: &NewMessage<'_>,
    ) -> Result<(u32, u64), (ErrorCode, &'static str)> {
        self.append::<true>(now, tenant, name, found, new)
    }

    /// The same; `LOGS` is false where there is no log. Every message that is stored comes through here: published ones, dead
    /// letters, and those that are redriven. Inlined, so that what is known of a message costs nothing.
    #[inline(always)]
    fn append<const LOGS: bool>(
        &mut self,
        now: Now,
        tenant: TenantId,
        name: &str,
        found: Option<u32>,
        new: &NewMessage<'_>,
    ) -> Result<(u32, u64), (ErrorCode, &'static str)> {
        let size = Message::size_for(new.id, new.envelope, &new.extras);
        self.check_room(found, size.bytes(), new.is_letter)?;
        if !new.dedup_id.is_empty() {
            self.check_dedup_room(now, tenant, found, new.dedup_id)?;
        }
        if !Message::can_be(new.id, new.envelope) {
            return Err(TOO_LARGE);
        }
        let key = match found {
            Some(key) => key,
            None => self.create(now, tenant, name)?,
        };
        let location = if LOGS { self.log_message(now, key, new)? } else { None };
        let Some(stream) = self.streams.at_mut(key) else {
            return Err((ErrorCode::Internal, "the stream is gone"));
        };
        let (waits, is_log) = (LOGS && stream.waits_for_commit(), stream.settings.is_log());
        let seq = stream.append(now, new, size, waits, &mut self.memory);
        if let Some(location) = location {
            self.note_logged(key, seq, location, waits);
        }
        if !new.extras.is_plain() {
            self.note_extras(now, key, seq, &new.extras);
        }
        if !new.dedup_id.is_empty() {
            self.remember(now, key, new.dedup_id, First { seq, id: text_of(new.id) });
        }
        if is_log {
            self.trim_log(now, key);
        }
        Ok((key, seq))
    }

    /// Notes that a message which is held now is urgent, or expires.
    #[cold]
    pub(crate) fn note_extras(&mut self, now: Now, key: u32, seq: u64, extras: &Extras) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        let (len, held) = (stream.held.len(), &stream.held);
        if extras.priority > 0 {
            stream.lanes.get_or_insert_default().add(extras.priority, seq, len, |seq| held.is_held(seq));
            stream.groups.iter_mut().for_each(Group::meet_urgent);
        }
        if extras.expires_unix_ms > 0 {
            let expiry = stream.expiry.get_or_insert_with(|| Box::new(Agenda::new()));
            expiry.add(extras.expires_unix_ms, seq, len, |seq| held.is_held(seq));
            self.set_expiry_timer(now, key);
        }
    }

    /// What a publish asks for, within the bounds.
    fn extras_of(&self, now: Now, options: &PublishOptions<'_>) -> Result<Extras, (ErrorCode, &'static str)> {
        if options.priority > PRIORITY_MAX {
            return Err((ErrorCode::InvalidField, "priority must be 0 to 3"));
        }
        let latest = now.unix_ms.saturating_add(self.limits.delay_ms_max);
        let not_before = match options.not_before {
            NotBefore::Now => 0,
            NotBefore::AfterMs(ms) => now.unix_ms.saturating_add(ms),
            NotBefore::AtUnixMs(unix_ms) => unix_ms,
        };
        Ok(Extras {
            priority: options.priority,
            not_before_unix_ms: if not_before <= now.unix_ms { 0 } else { not_before.min(latest) },
            expires_unix_ms: options.ttl_ms.map_or(0, |ttl_ms| now.unix_ms.saturating_add(ttl_ms.get())),
            trace: options.trace,
        })
    }

    /// Is there room for one more message of this size, in its stream and in the shard?
    ///
    /// A dead letter may go beyond the maximum of the shard, by a bounded number: its message goes by it, and with that
    /// often many others that all groups but the one which gives it up are done with. Would the letter wait for room, and
    /// the room for the letter, nothing would ever move.
    #[inline(always)]
    pub(crate) fn check_room(
        &self,
        stream: Option<u32>,
        size: u64,
        is_letter: bool,
    ) -> Result<(), (ErrorCode, &'static str)> {
        let limits = &self.limits;
        match stream.and_then(|key| self.streams.at(key)) {
            None if size > limits.stream_bytes_max => return Err(TOO_LARGE),
            None => {}
            Some(stream) => {
                let Bounds { message_bytes, messages, bytes } = bounds_of(stream, limits);
                if size > message_bytes {
                    return Err(TOO_LARGE);
                }
                if stream.messages_held() >= messages {
                    return Err((ErrorCode::Backpressure, "the stream holds as many messages as it may; retry later"));
                }
                if stream.bytes_held().saturating_add(size) > bytes {
                    return Err((ErrorCode::Backpressure, "the stream holds as many bytes as it may; retry later"));
                }
            }
        }
        let (spare_messages, spare_bytes) = if is_letter { limits.spare_for_letters() } else { (0, 0) };
        if self.memory.messages_held >= limits.shard_messages_max.saturating_add(spare_messages) {
            return Err((ErrorCode::Backpressure, "the shard holds as many messages as it may; retry later"));
        }
        if self.memory.bytes_held.saturating_add(size) > limits.shard_bytes_max.saturating_add(spare_bytes) {
            return Err((ErrorCode::Backpressure, "the shard holds as many bytes as it may; retry later"));
        }
        if self.memory.is_index_full() {
            return Err((
                ErrorCode::Backpressure,
                "the shard's index is full of messages that were never acked; retry later",
            ));
        }
        Ok(())
    }

    /// Makes a stream that does not exist yet.
    pub(crate) fn create(&mut self, now: Now, tenant: TenantId, name: &str) -> Result<u32, (ErrorCode, &'static str)> {
        if self.streams.len() >= self.limits.streams_max {
            return Err((ErrorCode::TooManyStreams, "the shard holds as many streams as it may; use existing ones"));
        }
        self.shares.check(tenant, Shared::Streams, &self.limits)?;
        let key = self.streams.add(now, tenant, name, &self.seeded);
        self.shares.add(tenant, Shared::Streams, 1);
        self.enter_log(key);
        self.start_sweeping(now);
        Ok(key)
    }

    /// Pauses a publisher whose stream, or whose shard, is nearly full.
    fn pause_when_nearly_full(&mut self, now: Now, origin: &Origin, key: u32, effects: &mut Effects) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        let marks = marks_of(stream, &self.limits, self.stream_marks);
        stream.is_pausing = marks.is_pausing(stream.is_pausing, stream.messages_held(), stream.bytes_held());
        let (messages, bytes) = (self.memory.messages_held, self.memory.bytes_held);
        self.is_pausing = self.shard_marks.is_pausing(self.is_pausing, messages, bytes);
        if (stream.is_pausing || self.is_pausing)
            && self.paused.add(now, *origin, key, self.limits.pause_ms_max, self.limits.paused_max)
        {
            self.totals.pauses += 1;
            effects.push(Effect::Pause { origin: *origin });
        }
    }

    /// Messages of a stream were released: resumes publishers when that made enough room.
    #[inline]
    pub(crate) fn resume_when_roomy(&mut self, key: u32, effects: &mut Effects) {
        if !self.paused.is_empty() {
            self.resume_those_with_room(key, effects);
        }
    }

    #[cold]
    fn resume_those_with_room(&mut self, key: u32, effects: &mut Effects) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        let (stream_was, shard_was) = (stream.is_pausing, self.is_pausing);
        let marks = marks_of(stream, &self.limits, self.stream_marks);
        stream.is_pausing = marks.is_pausing(stream_was, stream.messages_held(), stream.bytes_held());
        let (messages, bytes) = (self.memory.messages_held, self.memory.bytes_held);
        self.is_pausing = self.shard_marks.is_pausing(shard_was, messages, bytes);
        // Only the end of a shortage makes anybody free, so the queue is walked at no other moment.
        let is_over = (stream_was && !stream.is_pausing) || (shard_was && !self.is_pausing);
        if is_over && !self.is_pausing {
            let streams = &self.streams;
            self.paused.resume(
                |key| streams.at(key).is_none_or(|stream| !stream.is_pausing),
                |origin| effects.push(Effect::Resume { origin }),
            );
        }
    }
}

/// What a stream takes.
struct Bounds {
    message_bytes: u64,
    messages: u64,
    bytes: u64,
}

#[inline(always)]
fn bounds_of(stream: &Stream, limits: &Limits) -> Bounds {
    if stream.settings.has_bounds() {
        return own_bounds_of(stream, limits);
    }
    Bounds {
        message_bytes: limits.stream_bytes_max,
        messages: limits.stream_messages_max,
        bytes: limits.stream_bytes_max,
    }
}

#[cold]
fn own_bounds_of(stream: &Stream, limits: &Limits) -> Bounds {
    let (messages_max, bytes_max) = (stream.messages_max(limits), stream.bytes_max(limits));
    // A log that keeps so much lets its oldest go for the new one; how far it may be behind with that has an end.
    let is_kept_short = stream.settings.kept_messages(limits).is_some();
    let spare_messages = if is_kept_short { limits.work_max as u64 } else { 0 };
    let lets_go = stream.settings.kept_bytes(limits).is_some();
    let spare_bytes = if lets_go { bytes_max } else { 0 };
    Bounds {
        message_bytes: bytes_max,
        messages: messages_max.saturating_add(spare_messages),
        bytes: bytes_max.saturating_add(spare_bytes),
    }
}

/// It asks for nothing besides being stored.
#[inline]
fn is_plain(options: &PublishOptions<'_>) -> bool {
    options.not_before == NotBefore::Now
        && options.ttl_ms.is_none()
        && options.priority == 0
        && options.dedup_id.is_none()
        && options.trace.is_none()
}

const TOO_LARGE: (ErrorCode, &str) = (ErrorCode::PayloadTooLarge, "the message is larger than a stream may be");
