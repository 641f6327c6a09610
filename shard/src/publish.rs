//! Publish: a message is checked against the limits, stored, answered, and offered to the consumers.

use crate::effect::Accepted;
use crate::message::Message;
use crate::pause::marks_of;
use crate::shard::{Shard, refuse};
use crate::{AnswerValue, Effect, Effects, StreamKey};
use conduit_protocol::{EnvelopeId, ErrorCode, Now, Origin, Publish, Seq, TenantId, Token, codec};

/// Why a message was not stored.
struct Refused {
    code: ErrorCode,
    message: &'static str,
    /// The stream that it was meant for, if it exists.
    stream: Option<u32>,
}

/// A scratch buffer that grew beyond this is given up after use.
const SCRATCH_BYTES_KEPT: usize = 1 << 20;

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
            Ok((stream, seq)) => {
                if origin.token != Token::NONE {
                    effects.push(Effect::Answer {
                        origin: *origin,
                        answer: AnswerValue::Published {
                            stream: StreamKey(stream),
                            seq: Seq(seq),
                            accepted: Accepted::InMemory,
                        },
                    });
                }
                Some(stream)
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

    /// Stores a message: its stream's key and its seq.
    fn store(&mut self, now: Now, tenant: TenantId, publish: &Publish<'_>) -> Result<(u32, u64), Refused> {
        let mut scratch = std::mem::take(&mut self.scratch);
        // A delivery that was too much to be stored has left its transcoded bytes.
        scratch.clear();
        let stored = self.store_with(now, tenant, publish, &mut scratch);
        scratch.clear();
        if scratch.capacity() <= SCRATCH_BYTES_KEPT {
            self.scratch = scratch;
        }
        stored
    }

    fn store_with(
        &mut self,
        now: Now,
        tenant: TenantId,
        publish: &Publish<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(u32, u64), Refused> {
        let found = self.streams.find(tenant, &publish.stream, &self.seeded);
        let encoding = publish.envelope.encoding;
        let made;
        let (id, envelope) = match &publish.envelope.id {
            EnvelopeId::Given(id) => (&**id, publish.envelope.bytes),
            EnvelopeId::Absent => {
                made = self.ids.next(now.unix_ms);
                codec::insert_id(encoding, publish.envelope.bytes, made.as_str(), scratch);
                (made.as_str(), scratch.as_slice())
            }
            EnvelopeId::Unusable => {
                made = self.ids.next(now.unix_ms);
                (made.as_str(), publish.envelope.bytes)
            }
        };
        if let Err((code, message)) = self.check_room(found, Message::size_for(id, envelope).bytes()) {
            return Err(Refused { code, message, stream: found });
        }
        let Some(message) = Message::new(now, id, encoding, envelope, &mut self.memory.buffers) else {
            let (code, message) = TOO_LARGE;
            return Err(Refused { code, message, stream: found });
        };
        let key = match found {
            Some(key) => key,
            None => self.create(now, tenant, &publish.stream).map_err(|(code, message)| Refused {
                code,
                message,
                stream: None,
            })?,
        };
        let Some(stream) = self.streams.at_mut(key) else {
            return Err(Refused { code: ErrorCode::Internal, message: "the stream is gone", stream: None });
        };
        let seq = stream.append(now, message, false, &mut self.memory);
        self.trim_log(now, key);
        self.totals.published += 1;
        self.totals.published_bytes += publish.envelope.bytes.len() as u64;
        Ok((key, seq))
    }

    /// Is there room for one more message of this size, in its stream and in the shard?
    fn check_room(&self, stream: Option<u32>, size: u64) -> Result<(), (ErrorCode, &'static str)> {
        let limits = &self.limits;
        let stream = stream.and_then(|key| self.streams.at(key));
        if size > stream.map_or(limits.stream_bytes_max, |stream| stream.bytes_max(limits)) {
            return Err(TOO_LARGE);
        }
        if let Some(stream) = stream {
            if stream.messages_held() >= stream.messages_max(limits) {
                return Err((ErrorCode::Backpressure, "the stream holds as many messages as it may; retry later"));
            }
            if stream.bytes_held().saturating_add(size) > stream.bytes_max(limits) {
                return Err((ErrorCode::Backpressure, "the stream holds as many bytes as it may; retry later"));
            }
        }
        if self.memory.messages_held >= limits.shard_messages_max {
            return Err((ErrorCode::Backpressure, "the shard holds as many messages as it may; retry later"));
        }
        if self.memory.bytes_held.saturating_add(size) > limits.shard_bytes_max {
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
        let key = self.streams.add(now, tenant, name, &self.seeded);
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

const TOO_LARGE: (ErrorCode, &str) = (ErrorCode::PayloadTooLarge, "the message is larger than a stream may be");
