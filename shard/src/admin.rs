//! Streams and groups as objects: they are described, made, changed, emptied, deleted and looked into.

use crate::group::Group;
use crate::settings;
use crate::shard::{Shard, refuse};
use crate::stream::Stream;
use crate::timestamp::rfc3339;
use crate::{AnswerValue, Effect, Effects, Limits};
use conduit_protocol::command::{From, StreamAction, StreamCommand};
use conduit_protocol::streams::{
    Done, Durability, Gap, GroupInfo, GroupSettings, Messages, PeekedMessage, RawJson, StreamAnswer, StreamInfo,
    StreamSettings,
};
use conduit_protocol::{Encoding, ErrorCode, Now, Origin, Seq, TenantId, codec};

/// Why not, and in which words.
type Refused = (ErrorCode, &'static str);

const UNKNOWN_STREAM: Refused =
    (ErrorCode::UnknownStream, "no such stream: it exists from its first message or subscription on, or by PUT");
const UNKNOWN_GROUP: Refused =
    (ErrorCode::UnknownGroup, "no such group: it exists from its first subscription on, or by PUT");

impl Shard {
    /// Does what a [`StreamCommand`] asks for and answers it.
    pub(crate) fn administer(
        &mut self,
        now: Now,
        origin: &Origin,
        tenant: TenantId,
        command: &StreamCommand<'_>,
        effects: &mut Effects,
    ) {
        if self.park(origin, tenant, command) {
            return;
        }
        match self.administered(now, tenant, command, effects) {
            Ok(answer) => {
                let answer = AnswerValue::Stream(Box::new(answer));
                match self.log_change(now, tenant, command) {
                    Ok(is_logged) => self.answer_changed(origin, answer, is_logged, effects),
                    Err((code, message)) => refuse(effects, origin, code, message, None),
                }
            }
            Err((code, message)) => {
                self.totals.refused_other += 1;
                let retry_after_ms = (code == ErrorCode::Backpressure).then_some(self.limits.retry_after_ms);
                refuse(effects, origin, code, message, retry_after_ms);
            }
        }
    }

    fn administered(
        &mut self,
        now: Now,
        tenant: TenantId,
        command: &StreamCommand<'_>,
        effects: &mut Effects,
    ) -> Result<StreamAnswer, Refused> {
        let name = &*command.stream;
        let found = self.streams.find(tenant, name, &self.seeded);
        let key = found.ok_or(UNKNOWN_STREAM);
        match &command.action {
            StreamAction::Describe => self.describe(key?),
            StreamAction::Put(settings) => self.put_stream(now, tenant, name, found, settings),
            StreamAction::Delete => self.delete_stream(now, key?, effects),
            StreamAction::Purge => self.purge(now, key?, effects),
            StreamAction::Peek { from, limit } => self.peek(key?, *from, *limit),
            StreamAction::Redrive { limit } => self.redrive(now, key?, *limit, effects),
            StreamAction::DescribeGroup { group } => self.describe_group(key?, group),
            StreamAction::PutGroup { group, from, settings } => {
                self.put_group(now, tenant, name, found, group, *from, settings)
            }
            StreamAction::DeleteGroup { group } => self.delete_group(now, key?, group, effects),
        }
    }

    fn describe(&self, key: u32) -> Result<StreamAnswer, Refused> {
        let stream = self.streams.at(key).ok_or(UNKNOWN_STREAM)?;
        Ok(StreamAnswer::Stream(Box::new(self.stream_info(stream))))
    }

    fn put_stream(
        &mut self,
        now: Now,
        tenant: TenantId,
        name: &str,
        found: Option<u32>,
        settings: &StreamSettings,
    ) -> Result<StreamAnswer, Refused> {
        let stream = found.and_then(|key| self.streams.at(key));
        if let Some(durability) = settings.durability {
            check_durability(durability, stream, self.journal.is_some())?;
        }
        let key = match found {
            Some(key) => key,
            None => self.create(now, tenant, name)?,
        };
        let stream = self.streams.at_mut(key).ok_or(UNKNOWN_STREAM)?;
        let was_log = stream.settings.is_log();
        stream.settings.put(settings);
        stream.used_ns = now.mono_ns;
        self.enter_log(key);
        let stream = self.streams.at_mut(key).ok_or(UNKNOWN_STREAM)?;
        if was_log && !stream.settings.is_log() {
            // What its groups are done with was kept; from now on it goes when their floors pass it.
            stream.leftovers_below = stream.next_seq();
        }
        if let Some(kept) = stream.settings.kept_messages(&self.limits)
            && let Some(kept_from) = stream.held.nth_last(kept)
        {
            // All that is too much counts as gone at once, however long it takes to release it.
            stream.held.trim_to(kept_from.min(stream.held.visible()));
        }
        self.trim_by_floors(now, key);
        self.trim_log(now, key);
        let stream = self.streams.at(key).ok_or(UNKNOWN_STREAM)?;
        let info = StreamInfo { created: found.is_none(), ..self.stream_info(stream) };
        Ok(StreamAnswer::Stream(Box::new(info)))
    }

    fn delete_stream(&mut self, now: Now, key: u32, effects: &mut Effects) -> Result<StreamAnswer, Refused> {
        self.close_consumers(now, key, None, "the stream was deleted", effects);
        let stream = self.streams.at(key).ok_or(UNKNOWN_STREAM)?;
        let done = done(stream, None, Some(stream.held.count_from(0)));
        self.log_stream_deleted(now, key)?;
        self.answer_those_of_deleted(key, effects);
        self.forget_stream(key);
        self.resume_all_when_roomy(effects);
        Ok(StreamAnswer::Done(done))
    }

    fn purge(&mut self, now: Now, key: u32, effects: &mut Effects) -> Result<StreamAnswer, Refused> {
        let stream = self.streams.at_mut(key).ok_or(UNKNOWN_STREAM)?;
        // What waits for its commit is not accepted yet: it comes after the purge.
        let to = stream.held.visible();
        let deleted = stream.held.count_from(0) - stream.held.count_from(to);
        let done = done(stream, None, Some(deleted));
        stream.used_ns = now.mono_ns;
        self.trim(now, key, to);
        self.resume_when_roomy(key, effects);
        Ok(StreamAnswer::Done(done))
    }

    fn peek(&self, key: u32, from: Seq, limit: u32) -> Result<StreamAnswer, Refused> {
        let stream = self.streams.at(key).ok_or(UNKNOWN_STREAM)?;
        let below = stream.held.visible();
        let mut next = stream.held.next_held(from.0, below);
        let mut messages = Vec::new();
        let mut bytes = 0;
        while let Some(seq) = next
            && messages.len() < (limit as usize).min(self.limits.work_max)
            && let Some(message) = stream.held.message(seq)
        {
            bytes += message.delivery_bytes();
            if bytes > self.limits.outbox_bytes_max && !messages.is_empty() {
                break;
            }
            messages.push(PeekedMessage {
                seq,
                id: message.id().to_owned(),
                ts: rfc3339(message.published.unix_ms),
                traceparent: message.trace().map(|trace| trace.to_string()),
                envelope: as_json(message.encoding(), message.envelope()),
            });
            next = stream.held.next_held(seq + 1, below);
        }
        Ok(StreamAnswer::Messages(Messages { stream: stream.name.to_string(), messages, next }))
    }

    fn describe_group(&self, key: u32, name: &str) -> Result<StreamAnswer, Refused> {
        let stream = self.streams.at(key).ok_or(UNKNOWN_STREAM)?;
        let index = stream.groups.find(name).ok_or(UNKNOWN_GROUP)?;
        let group = stream.groups.at(index).ok_or(UNKNOWN_GROUP)?;
        Ok(StreamAnswer::Group(Box::new(group_info(stream, group, &self.limits))))
    }

    #[allow(clippy::too_many_arguments, reason = "each is one part of the request")]
    fn put_group(
        &mut self,
        now: Now,
        tenant: TenantId,
        stream_name: &str,
        found: Option<u32>,
        name: &str,
        from: From,
        settings: &GroupSettings,
    ) -> Result<StreamAnswer, Refused> {
        let key = match found {
            Some(key) => key,
            None => {
                self.check_groups_of_shard(tenant)?;
                self.create(now, tenant, stream_name)?
            }
        };
        let known = self.streams.at(key).and_then(|stream| stream.groups.find(name));
        let index = match known {
            Some(index) => index,
            None => self.add_group(now, key, Group::new(name, 0), from)?,
        };
        let stream = self.streams.at_mut(key).ok_or(UNKNOWN_STREAM)?;
        stream.used_ns = now.mono_ns;
        let group = stream.groups.at_mut(index).ok_or(UNKNOWN_GROUP)?;
        group.is_put = true;
        settings::put_group(&mut group.settings, settings);
        let stream = self.streams.at(key).ok_or(UNKNOWN_STREAM)?;
        let group = stream.groups.at(index).ok_or(UNKNOWN_GROUP)?;
        let info = GroupInfo { created: known.is_none(), ..group_info(stream, group, &self.limits) };
        Ok(StreamAnswer::Group(Box::new(info)))
    }

    fn delete_group(&mut self, now: Now, key: u32, name: &str, effects: &mut Effects) -> Result<StreamAnswer, Refused> {
        let stream = self.streams.at(key).ok_or(UNKNOWN_STREAM)?;
        let index = stream.groups.find(name).ok_or(UNKNOWN_GROUP)?;
        let done = done(stream, Some(name), None);
        self.close_consumers(now, key, Some(index), "the group was deleted", effects);
        self.log_group_deleted(now, key, index)?;
        self.forget_group(key, index);
        let stream = self.streams.at_mut(key).ok_or(UNKNOWN_STREAM)?;
        stream.used_ns = now.mono_ns;
        if stream.groups.keepers() == 1 {
            // What the one that is left has acked was kept for the other: it goes when the floor passes it.
            stream.leftovers_below = stream.next_seq();
        }
        self.trim_by_floors(now, key);
        self.resume_when_roomy(key, effects);
        Ok(StreamAnswer::Done(done))
    }

    /// Ends the consumers of a stream, or of one group of it.
    fn close_consumers(
        &mut self,
        now: Now,
        key: u32,
        group: Option<u32>,
        message: &'static str,
        effects: &mut Effects,
    ) {
        for index in self.consumers.of(key, group) {
            let Some(connection) = self.consumers.at(index).map(|consumer| consumer.connection) else { continue };
            self.remove_consumer(now, index);
            effects.push(Effect::Close { connection, code: ErrorCode::StreamDeleted, message });
        }
    }

    fn stream_info(&self, stream: &Stream) -> StreamInfo {
        let limits = &self.limits;
        let keepers = stream.groups.iter().filter(|group| !group.is_ephemeral);
        StreamInfo {
            stream: stream.name.to_string(),
            created: false,
            shard: self.id.0,
            epoch: stream.epoch,
            first: stream.held.first(),
            last: stream.next_seq() - 1,
            messages: stream.held.count_from(0),
            bytes: stream.bytes_held(),
            messages_on_disk: stream.held.len() - stream.held.in_memory(),
            retention: stream.settings.retention(),
            durability: stream.durability,
            max_messages: stream.messages_max(limits),
            max_bytes: stream.bytes_max(limits),
            max_deliver: stream.settings.max_deliver(limits),
            dead_letter_expired: stream.settings.dead_letter_expired(),
            dedup_window_ms: stream.settings.dedup_window_ms(limits),
            gaps: stream.gaps.iter().map(|gap| Gap { from: gap.from, to: gap.to }).collect(),
            groups: keepers.map(|group| group_info(stream, group, limits)).collect(),
        }
    }
}

/// A stream's durability is fixed as long as it has messages, and a shard without a log keeps nothing on a disk.
fn check_durability(asked: Durability, stream: Option<&Stream>, has_log: bool) -> Result<(), Refused> {
    if asked != Durability::Memory && !has_log {
        return Err((ErrorCode::Conflict, "the server has no data directory: streams live in memory"));
    }
    match stream {
        Some(stream) if stream.durability != asked && stream.held.len() > 0 => {
            Err((ErrorCode::Conflict, "the stream has messages of another durability; purge it, or use another stream"))
        }
        Some(stream) if asked == Durability::Memory && stream.log.is_some() => {
            Err((ErrorCode::Conflict, "the stream is kept in the log; delete it before it can live in memory"))
        }
        _ => Ok(()),
    }
}

fn done(stream: &Stream, group: Option<&str>, deleted: Option<u64>) -> Done {
    Done { stream: stream.name.to_string(), group: group.map(str::to_owned), deleted, redriven: None }
}

pub(crate) fn group_info(stream: &Stream, group: &Group, limits: &Limits) -> GroupInfo {
    let next = stream.next_for(group);
    GroupInfo {
        stream: stream.name.to_string(),
        group: group.name.to_string(),
        created: false,
        next,
        backlog: stream.held.count_from(next) + group.flights.waiting(),
        inflight: group.flights.in_flight(),
        delayed: group.delayed(),
        consumers: u64::from(group.consumers),
        credit: group.credit,
        ack_wait_ms: settings::ack_wait_ms(&group.settings, limits),
        max_deliver: group.settings.max_deliver.unwrap_or_else(|| stream.settings.max_deliver(limits)),
    }
}

/// An envelope as JSON text.
fn as_json(encoding: Encoding, envelope: &[u8]) -> RawJson {
    let mut transcoded = Vec::new();
    let text = match encoding {
        Encoding::Json => envelope,
        Encoding::MessagePack => {
            codec::transcode(encoding, Encoding::Json, envelope, &mut transcoded);
            &transcoded
        }
    };
    // Every envelope was checked when it came; `null` would stand for one that was not.
    let text = std::str::from_utf8(text).unwrap_or("null").to_owned();
    RawJson(serde_json::value::RawValue::from_string(text).unwrap_or_default())
}
