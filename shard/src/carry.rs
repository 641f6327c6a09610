//! Names in the log: every segment says which streams and groups its records are about, and one after the other the
//! streams that nothing happens to are carried over into the newest segment, so that older ones can go.

use crate::group::Group;
use crate::held::Held;
use crate::journal::{Journal, Refusal};
use crate::lanes::Lanes;
use crate::log::{
    Class, GroupNumber, GroupRecord, Outstanding, Record, Refused, SeqRange, StreamRecord, encoded_bytes,
};
use crate::shard::Shard;
use crate::stream::Stream;
use conduit_protocol::command::{StreamAction, StreamCommand};
use conduit_protocol::streams::{Durability, GroupSettings};
use conduit_protocol::{ErrorCode, Now, TenantId};

/// Streams carried over, or looked at, in one go.
const CARRIED_AT_ONCE: u32 = 64;
/// Seqs that a stream which is written within an interval reserves ahead.
const RESERVED_SEQS: u64 = 1 << 16;

/// What groups have outstanding is bounded so that it fits, but not where segments were larger when it was given out. What they
/// are done with out of turn is not bounded: millions of urgent messages that stood between others.
const NAMES_TOO_LARGE: Refusal = (
    ErrorCode::StorageFull,
    "what the stream's groups have outstanding, or got out of turn, leaves no room for the message in a segment of the log; retry \
     when some of it was acked, or make segments larger",
);

/// One group's part of the names, on its own.
pub(crate) struct GroupNames {
    group: GroupNumber,
    name: Box<str>,
    cursor: u64,
    settings: Vec<u8>,
    outstanding: Vec<Outstanding>,
    done: Vec<SeqRange>,
}

impl GroupNames {
    pub(crate) fn of(group: &Group, number: GroupNumber, lanes: Option<&Lanes>, held: &Held) -> Self {
        let (cursor, done) = group.progress(lanes, held);
        let settings = match &group.settings {
            settings if *settings == GroupSettings::default() && !group.is_put => Vec::new(),
            settings => serde_json::to_vec(settings).unwrap_or_default(),
        };
        Self {
            group: number,
            name: group.name.clone(),
            cursor,
            settings,
            outstanding: group.flights.iter().map(|(seq, attempts)| Outstanding { seq, attempts }).collect(),
            done,
        }
    }

    pub(crate) fn record(&self, stream: crate::log::StreamNumber) -> Record<'_> {
        Record::Group(GroupRecord {
            group: self.group,
            stream,
            name: &self.name,
            cursor: self.cursor,
            settings: &self.settings,
            outstanding: &self.outstanding,
            done: &self.done,
        })
    }
}

impl Shard {
    /// Sees to it that the segment in which the next `bytes` of a stream's records land knows the stream.
    ///
    /// # Errors
    /// When the log takes nothing.
    #[inline]
    pub(crate) fn name_in_log(&mut self, now: Now, key: u32, bytes: u64, class: Class) -> Result<(), Refusal> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let Some(stream) = self.streams.at(key) else { return Ok(()) };
        let Some(in_log) = &stream.log else { return Ok(()) };
        let segment = journal.log.segment_for(now, bytes, class).map_err(Journal::refusal)?;
        let needs_reserve = matches!(stream.durability, Durability::Interval(_))
            && stream.next_seq() + RESERVED_SEQS / 2 >= in_log.reserved;
        if in_log.named_in == segment && !needs_reserve {
            Ok(())
        } else {
            self.name(now, key, bytes, class, needs_reserve)
        }
    }

    /// Writes a stream and its groups as they are now, so that `bytes` more fit behind them in the same segment.
    #[cold]
    fn name(&mut self, now: Now, key: u32, bytes: u64, class: Class, reserves: bool) -> Result<(), Refusal> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let Some(stream) = self.streams.at_mut(key) else { return Ok(()) };
        for index in 0..stream.groups.slots() {
            if let Some(group) = stream.groups.at_mut(index)
                && !group.is_ephemeral
                && group.number.is_none()
            {
                group.number = Some(GroupNumber(journal.next_group));
                journal.next_group += 1;
            }
        }
        let (lanes, held) = (stream.lanes.as_deref(), &stream.held);
        let groups: Vec<GroupNames> = stream
            .groups
            .iter()
            .filter_map(|group| group.number.map(|number| GroupNames::of(group, number, lanes, held)))
            .collect();
        let settings = stream.settings.to_json();
        let Some(in_log) = &mut stream.log else { return Ok(()) };
        let number = in_log.number;
        let next_seq = stream.held.next_seq();
        let is_interval = matches!(stream.durability, Durability::Interval(_));
        let reserved = if reserves { next_seq + RESERVED_SEQS } else { in_log.reserved };
        let record = Record::Stream(StreamRecord {
            stream: number,
            tenant: stream.tenant,
            name: &stream.name,
            epoch: stream.epoch,
            next_seq: if is_interval { reserved.max(next_seq) } else { next_seq },
            settings: &settings,
            gaps: &stream.gaps,
        });
        let all: u64 =
            encoded_bytes(&record) + groups.iter().map(|group| encoded_bytes(&group.record(number))).sum::<u64>();
        let refusal = |refused| if refused == Refused::TooLarge { NAMES_TOO_LARGE } else { Journal::refusal(refused) };
        let segment = journal.log.segment_for(now, all + bytes, class).map_err(refusal)?;
        journal.log.append(now, &record, class).map_err(Journal::refusal)?;
        for group in &groups {
            journal.log.append(now, &group.record(number), class).map_err(Journal::refusal)?;
        }
        in_log.named_in = segment;
        if reserves {
            in_log.reserved = reserved;
            self.note_reserved(key, reserved);
        }
        Ok(())
    }

    /// A command has changed a stream or a group: the log is told. True when the stream is kept in the log, and the command's
    /// answer is to wait for that.
    ///
    /// # Errors
    /// When the log takes nothing. The change is made all the same, and may be asked for again.
    pub(crate) fn log_change(
        &mut self,
        now: Now,
        tenant: TenantId,
        command: &StreamCommand<'_>,
    ) -> Result<bool, Refusal> {
        if self.journal.is_none() {
            return Ok(false);
        }
        let found = self.streams.find(tenant, &command.stream, &self.seeded);
        let is_in_log = |key: &u32| self.streams.at(*key).is_some_and(|stream| stream.log.is_some());
        let Some(key) = found.filter(is_in_log) else {
            // Only a deletion leaves no stream: it has told the log itself.
            return Ok(found.is_none() && matches!(command.action, StreamAction::Delete));
        };
        match command.action {
            StreamAction::Put(_) | StreamAction::PutGroup { .. } => self.name(now, key, 0, Class::Upkeep, false)?,
            StreamAction::Purge | StreamAction::Redrive { .. } => {
                if !self.tell_log(now)
                    && let Some(journal) = &self.journal
                {
                    return Err(journal.what_is_wrong());
                }
            }
            StreamAction::DeleteGroup { .. } | StreamAction::Delete => {}
            StreamAction::Describe | StreamAction::Peek { .. } | StreamAction::DescribeGroup { .. } => {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A group was made: the log is told, if it takes it; a later record of the stream says it anyway.
    pub(crate) fn log_group(&mut self, now: Now, key: u32) {
        let is_in_log = self.streams.at(key).is_some_and(|stream| stream.log.is_some());
        if is_in_log {
            let _ = self.name(now, key, 0, Class::Upkeep, false);
        }
    }

    /// A stream is about to be deleted.
    ///
    /// # Errors
    /// When the log takes nothing: then the stream stays.
    pub(crate) fn log_stream_deleted(&mut self, now: Now, key: u32) -> Result<(), Refusal> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let Some(in_log) = self.streams.at_mut(key).and_then(|stream| stream.log.as_mut()) else { return Ok(()) };
        let record = Record::StreamDeleted { stream: in_log.number };
        journal.log.append(now, &record, Class::Upkeep).map_err(Journal::refusal)?;
        journal.untold.forget(&in_log.released);
        Ok(())
    }

    /// A group is about to be deleted.
    ///
    /// # Errors
    /// When the log takes nothing: then the group stays.
    pub(crate) fn log_group_deleted(&mut self, now: Now, key: u32, index: u32) -> Result<(), Refusal> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let Some(group) = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(index)) else {
            return Ok(());
        };
        let Some(number) = group.number else { return Ok(()) };
        journal.log.append(now, &Record::GroupDeleted { group: number }, Class::Upkeep).map_err(Journal::refusal)?;
        journal.untold.forget(&group.acked);
        Ok(())
    }

    /// Carries some more streams over into the newest segment, if an older one could go by it.
    pub(crate) fn carry_over(&mut self, now: Now) {
        let Some(journal) = &mut self.journal else { return };
        let Some(segment) = journal.log.needs_carry_over(now) else { return };
        if journal.carrying != Some(segment) {
            journal.carrying = Some(segment);
            journal.carry_at = 0;
        }
        let slots = self.streams.slots() as u32;
        for _ in 0..CARRIED_AT_ONCE {
            let Some(journal) = &mut self.journal else { return };
            let key = journal.carry_at;
            if key >= slots {
                if journal.log.append(now, &Record::CarriedOver, Class::CarryOver).is_ok() {
                    journal.carrying = None;
                }
                return;
            }
            let is_older = |stream: &Stream| stream.log.as_ref().is_some_and(|log| log.named_in < segment);
            if self.streams.at(key).is_some_and(is_older) && self.name(now, key, 0, Class::CarryOver, false).is_err() {
                return;
            }
            if let Some(journal) = &mut self.journal {
                journal.carry_at += 1;
            }
        }
    }

    /// The shard stops in order: streams that reserved seqs say which they used.
    pub(crate) fn release_reserved(&mut self, now: Now) {
        for key in 0..self.streams.slots() as u32 {
            let Some(stream) = self.streams.at_mut(key) else { continue };
            let next_seq = stream.held.next_seq();
            let Some(in_log) = &mut stream.log else { continue };
            if in_log.reserved > next_seq {
                in_log.reserved = next_seq;
                // When the log takes it no more, the seqs stay reserved: a gap is told for nothing, and nothing is lost.
                let _ = self.name(now, key, 0, Class::Upkeep, false);
            }
        }
    }
}
