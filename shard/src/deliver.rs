//! Deliver: while a group has a backlog and a consumer that can take it, they are brought together.

use crate::dead_letter::{is_last, is_log_full};
use crate::expire::{Timer, tick_at, tick_of};
use crate::group::{Group, Next, Source};
use crate::journal::Journal;
use crate::pool::Size;
use crate::shard::Shard;
use crate::{Effect, Effects, Mutant, StreamKey};
use conduit_protocol::{ConnectionId, Delivery, Encoding, Now, Seq, codec};
use std::num::NonZeroU32;

/// A scratch buffer that grew beyond this is given up at its next use.
const SCRATCH_BYTES_KEPT: usize = 1 << 20;

/// What became of the next message of a group.
enum Given {
    /// It is on its way, and there may be more to deliver.
    Delivered,
    /// It is on its way, and that was all.
    DeliveredLast,
    /// It is not in memory.
    Missing,
    /// It is not to be delivered now, or not again.
    Aside,
    /// Something has to happen first.
    Later,
    /// The same, for what would be outstanding besides what is: what came back may go on.
    Held,
}

/// What became of a choice.
enum Chosen {
    /// This message was next.
    Given(u64, Source, Given),
    /// Something else was: there may be more.
    Passed,
    /// Nothing is to be delivered now.
    Nothing,
}

impl Shard {
    /// Delivers what a stream has to all of its groups, as far as one call may.
    #[inline]
    pub(crate) fn deliver_all(&mut self, now: Now, key: u32, effects: &mut Effects) {
        let Some(groups) = self.streams.at(key).map(|stream| stream.groups.slots()) else { return };
        let mut work = self.limits.work_max;
        for group in 0..groups {
            self.deliver_some(now, key, group, &mut work, effects);
        }
    }

    /// Delivers what a stream has to one of its groups, as far as one call may.
    #[inline(always)]
    pub(crate) fn deliver_to_group(&mut self, now: Now, key: u32, group: u32, effects: &mut Effects) {
        let mut work = self.limits.work_max;
        self.deliver_some(now, key, group, &mut work, effects);
    }

    /// Delivers to a group until `work` is used up; then it waits for its turn at the next deadline.
    #[inline(always)]
    pub(crate) fn deliver_some(&mut self, now: Now, key: u32, group: u32, work: &mut usize, effects: &mut Effects) {
        let Some(stream) = self.streams.at(key) else { return };
        let Some(waiting) = stream.groups.at(group) else { return };
        if !waiting.ready.is_empty() && waiting.has_backlog(&stream.held) {
            self.deliver_backlog(now, key, group, work, effects);
        }
    }

    /// The same where some consumer is ready and the group has a backlog.
    #[inline(never)]
    pub(crate) fn deliver_backlog(&mut self, now: Now, key: u32, group: u32, work: &mut usize, effects: &mut Effects) {
        let mut may_have_passed = false;
        while let Some((seq, source)) = self.deliver_run(now, key, group, work, &mut may_have_passed, effects) {
            self.put_aside(now, key, group, seq, source);
        }
        if may_have_passed {
            self.trim_what_was_passed(now, key, group);
        }
    }

    /// The cursor of a group may have passed messages that nobody needs.
    #[inline(never)]
    fn trim_what_was_passed(&mut self, now: Now, key: u32, group: u32) {
        let passed = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(group));
        if passed.is_some_and(|group| std::mem::take(&mut group.has_passed)) {
            self.trim_by_floors(now, key);
        }
    }

    /// Delivers to a group until there is nothing left to do, or until its next message must be put aside: which that is.
    #[inline(always)]
    fn deliver_run(
        &mut self,
        now: Now,
        key: u32,
        group_index: u32,
        work: &mut usize,
        may_have_passed: &mut bool,
        effects: &mut Effects,
    ) -> Option<(u64, Source)> {
        let stream = self.streams.at_mut(key)?;
        if stream.lanes.is_some() {
            stream.trim_lanes();
        }
        loop {
            let stream = self.streams.at_mut(key)?;
            let group = stream.groups.at_mut(group_index)?;
            let index = group.ready.first()?;
            let usual = if stream.lanes.is_none() { group.next_if_usual(&stream.held) } else { None };
            if usual.is_none() && !group.has_backlog(&stream.held) {
                return None;
            }
            if *work == 0 {
                if !group.is_queued {
                    group.is_queued = true;
                    self.undelivered.push_back((key, group_index));
                }
                return None;
            }
            *work -= 1;
            if let Some(seq) = usual {
                match self.give(now, key, group_index, index, (seq, NonZeroU32::MIN, Source::Fresh), effects) {
                    Given::Delivered => continue,
                    Given::DeliveredLast | Given::Later | Given::Held => return None,
                    Given::Aside => return Some((seq, Source::Fresh)),
                    // The message at the cursor is gone, or only in the log.
                    Given::Missing => {}
                }
            }
            *may_have_passed = true;
            match self.give_chosen(now, key, group_index, index, effects) {
                Chosen::Given(_, _, Given::Delivered) | Chosen::Passed => {}
                Chosen::Given(seq, source, Given::Aside) => return Some((seq, source)),
                Chosen::Given(..) | Chosen::Nothing => return None,
            }
        }
    }

    /// Chooses what a group is to deliver next, whatever there is, and delivers it to one of its consumers.
    #[inline(never)]
    fn give_chosen(&mut self, now: Now, key: u32, group_index: u32, index: u32, effects: &mut Effects) -> Chosen {
        let Some(stream) = self.streams.at_mut(key) else { return Chosen::Nothing };
        let Some(group) = stream.groups.at_mut(group_index) else { return Chosen::Nothing };
        let lanes = stream.lanes.as_deref().filter(|lanes| !lanes.is_empty());
        match group.next(&stream.held, lanes, &stream.gaps) {
            Next::Nothing => Chosen::Nothing,
            Next::Passed => Chosen::Passed,
            Next::Gap(gap) => {
                if let Some(consumer) = self.consumers.at(index) {
                    let connection = consumer.connection;
                    effects.push(Effect::Gap { connection, from: Seq(gap.from), to: Seq(gap.to) });
                }
                Chosen::Passed
            }
            Next::Message { seq, attempt, source } => {
                let mut next = (seq, attempt, source);
                loop {
                    let (seq, _, source) = next;
                    let given = self.give(now, key, group_index, index, next, effects);
                    match given {
                        Given::Missing => self.want_message(key, seq),
                        // It is outstanding already, and would wait behind what is fresh, or more urgent, for ever.
                        Given::Held if let Some((seq, attempt)) = self.next_returned(key, group_index) => {
                            next = (seq, attempt, Source::Returned);
                            continue;
                        }
                        _ => {}
                    }
                    return Chosen::Given(seq, source, given);
                }
            }
        }
    }

    fn next_returned(&mut self, key: u32, group_index: u32) -> Option<(u64, NonZeroU32)> {
        let stream = self.streams.at_mut(key)?;
        stream.groups.at_mut(group_index)?.next_returned(&stream.held)
    }

    /// Delivers the next message of a group to one of its consumers. Inlined, so that the compiler leaves out what a first
    /// delivery does not need.
    #[inline(always)]
    fn give(
        &mut self,
        now: Now,
        key: u32,
        group_index: u32,
        index: u32,
        (seq, attempt, source): (u64, NonZeroU32, Source),
        effects: &mut Effects,
    ) -> Given {
        let Some(stream) = self.streams.at_mut(key) else { return Given::Later };
        let keepers = stream.groups.keepers();
        let Some(group) = stream.groups.at_mut(group_index) else { return Given::Later };
        let Some(message) = stream.held.message(seq) else { return Given::Missing };
        let is_bounded = group.flights.len() >= self.least_share && stream.log.is_some() && !group.is_ephemeral;
        if is_bounded && !group.flights.has_block_of(seq) && has_its_share(self.journal.as_deref(), keepers, group) {
            group.is_held_back = true;
            return Given::Held;
        }
        let must_wait = self.memory.is_out_of_flights() || !(self.starved.is_empty() || self.is_feeding);
        if must_wait && !group.flights.has_block_of(seq) {
            // Until some group is done with something nothing fresh is given out, and then to the first that waited.
            if !group.is_starved {
                group.is_starved = true;
                self.starved.push_back((key, group_index));
            }
            return Given::Held;
        }
        let attempt = if self.limits.planted.has(Mutant::AttemptNotCounted) { NonZeroU32::MIN } else { attempt };
        if (message.has_times() && !message.may_be_delivered(now.unix_ms))
            || (attempt.get() > 1
                && is_last(attempt.get() - 1, &stream.name, &stream.settings, group, &self.limits)
                && !is_log_full(self.journal.as_deref()))
        {
            return Given::Aside;
        }
        let Some(consumer) = self.consumers.at_mut(index) else { return Given::Later };
        group.take(seq, source);
        let latency_ns = now.mono_ns.saturating_sub(message.published.mono_ns);
        let tells_latency =
            attempt.get() == 1 && !message.is_delayed() && message.published.mono_ns >= group.latency_from_ns;
        let envelope_bytes = message.envelope().len() as u64;
        consumer.outbox_bytes = consumer.outbox_bytes.saturating_add(message.delivery_bytes());
        consumer.credit -= 1;
        if let Some(ids) = &mut consumer.ids {
            ids.insert(self.seeded.hash(0, message.id_bytes()), seq);
        }
        if consumer.ack_timer.is_none() && !consumer.is_auto_acked {
            let tick = tick_at(now.mono_ns.saturating_add(consumer.ack_wait_ns));
            consumer.ack_timer = Some(self.timers.add(tick_of(now), tick, Timer::AckWait { consumer: index }));
        }
        let connection = consumer.connection;
        group.flights.deliver(seq, (index, consumer), attempt, now.mono_ns, &mut self.memory.flights);
        group.credit -= 1;
        self.consumers.rotate(index, &mut group.ready, self.limits.outbox_bytes_max);

        stream.figures.delivered += 1;
        self.totals.delivered += 1;
        self.totals.delivered_bytes += envelope_bytes;
        self.totals.inflight_now += 1;
        self.totals.credit_spent += 1;
        self.totals.credit_now -= 1;
        if tells_latency {
            stream.figures.latencies_mut().deliver.record(latency_ns);
            self.publish_to_deliver.record(latency_ns);
        }
        if attempt.get() > 1 {
            stream.figures.redelivered += 1;
            self.totals.redelivered += 1;
        }
        let has_more = !group.ready.is_empty() && group.has_backlog(&stream.held);
        effects.push(Effect::Deliver { connection, stream: StreamKey(key), seq: Seq(seq), attempt: attempt.get() });
        if has_more { Given::Delivered } else { Given::DeliveredLast }
    }

    /// See [`Shard::delivery`].
    pub(crate) fn delivery_bytes(
        &mut self,
        connection: ConnectionId,
        key: StreamKey,
        seq: Seq,
        attempt: u32,
    ) -> Delivery<'_> {
        const START: Now = Now { mono_ns: 0, unix_ms: 0 };
        /// What a stale key gets: owners that keep the contract never see it.
        const NOTHING: Delivery<'static> = Delivery {
            id: b"",
            seq: Seq(0),
            attempt: 0,
            published: START,
            trace: None,
            encoding: Encoding::Json,
            envelope: b"{}",
        };
        let wanted = self.consumers.find(connection).and_then(|index| self.consumers.at(index));
        let Some(encoding) = wanted.map(|consumer| consumer.encoding) else {
            debug_assert!(false, "a delivery's consumer is there until the next input");
            return NOTHING;
        };
        let Some(stream) = self.streams.at_mut(key.0) else {
            debug_assert!(false, "a stream key is valid until the next input");
            return NOTHING;
        };
        let Some(message) = stream.held.message(seq.0) else {
            debug_assert!(false, "a delivered message is stored until the next input");
            return NOTHING;
        };
        let mut is_kept = true;
        if message.encoding() != encoding && message.transcoded().is_none() {
            if self.scratch.capacity() > SCRATCH_BYTES_KEPT {
                self.scratch = Vec::new();
            }
            self.scratch.clear();
            codec::transcode(message.encoding(), encoding, message.envelope(), &mut self.scratch);
            // The copy counts like the message itself. When there is no room for it, it lives until the next one.
            let size = Size::of(self.scratch.len()).bytes();
            is_kept = !self.scratch.is_empty()
                && self.memory.bytes_held.saturating_add(size) <= self.limits.shard_bytes_max
                && stream.bytes_held().saturating_add(size) <= stream.bytes_max(&self.limits);
            if is_kept && let Some(message) = stream.held.message_mut(seq.0) {
                let held = message.keep_transcoded(&self.scratch, &mut self.memory.buffers);
                is_kept = held > 0;
                stream.held.hold_bytes(held, &mut self.memory);
            }
        }
        let Some(message) = stream.held.message(seq.0) else { return NOTHING };
        let envelope = if message.encoding() == encoding {
            message.envelope()
        } else if is_kept && let Some(transcoded) = message.transcoded() {
            transcoded
        } else {
            &self.scratch
        };
        Delivery {
            id: message.id_bytes(),
            seq,
            attempt,
            published: message.published,
            trace: message.trace_bytes(),
            encoding,
            envelope,
        }
    }
}

/// A group has its share of what so many groups of one stream may have outstanding.
#[cold]
fn has_its_share(journal: Option<&Journal>, groups: u32, group: &Group) -> bool {
    journal.is_some_and(|journal| group.flights.len() >= journal.outstanding_max / u64::from(groups.max(1)))
}
