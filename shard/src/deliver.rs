//! Deliver: while a group has a backlog and a consumer that can take it, they are brought together.

use crate::dead_letter::{is_last, is_log_full};
use crate::expire::{Timer, tick_at, tick_of};
use crate::group::{Next, Source};
use crate::pool::Size;
use crate::shard::Shard;
use crate::{Effect, Effects, Mutant, StreamKey};
use conduit_protocol::{ConnectionId, Delivery, Encoding, Now, Seq, codec};
use std::num::NonZeroU32;

/// A scratch buffer that grew beyond this is given up at its next use.
const SCRATCH_BYTES_KEPT: usize = 1 << 20;

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

    #[inline(never)]
    fn deliver_backlog(&mut self, now: Now, key: u32, group: u32, work: &mut usize, effects: &mut Effects) {
        if let Some(stream) = self.streams.at_mut(key)
            && stream.lanes.is_some()
        {
            stream.trim_lanes();
        }
        while let Some((seq, source)) = self.deliver_run(now, key, group, work, effects) {
            self.put_aside(now, key, group, seq, source);
        }
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
        effects: &mut Effects,
    ) -> Option<(u64, Source)> {
        let stream = self.streams.at_mut(key)?;
        let outstanding_max = match (&stream.log, &self.journal) {
            (Some(_), Some(journal)) if stream.groups.keepers() <= 1 => journal.outstanding_max,
            (Some(_), Some(journal)) => journal.outstanding_max / u64::from(stream.groups.keepers()),
            _ => u64::MAX,
        };
        let group = stream.groups.at_mut(group_index)?;
        let outstanding_max = if group.is_ephemeral { u64::MAX } else { outstanding_max };
        while let Some(index) = group.ready.first() {
            if *work == 0 {
                if group.has_backlog(&stream.held) && !group.is_queued {
                    group.is_queued = true;
                    self.undelivered.push_back((key, group_index));
                }
                return None;
            }
            if !group.has_backlog(&stream.held) {
                return None;
            }
            let usual = if stream.lanes.is_none() { group.next_if_usual(&stream.held) } else { None };
            let (seq, attempt, source, message) = if let Some((seq, message)) = usual {
                (seq, NonZeroU32::MIN, Source::Fresh, message)
            } else {
                let lanes = stream.lanes.as_deref().filter(|lanes| !lanes.is_empty());
                let next = group.next(&stream.held, lanes, &stream.gaps);
                let Next::Message { seq, attempt, source } = next else {
                    *work -= 1;
                    match next {
                        Next::Nothing | Next::Message { .. } => return None,
                        Next::Passed => {}
                        Next::Gap(gap) => {
                            if let Some(consumer) = self.consumers.at(index) {
                                let connection = consumer.connection;
                                effects.push(Effect::Gap { connection, from: Seq(gap.from), to: Seq(gap.to) });
                            }
                        }
                    }
                    continue;
                };
                let Some(message) = stream.held.message(seq) else {
                    self.want_message(key, seq);
                    return None;
                };
                (seq, attempt, source, message)
            };
            let is_held_back = group.flights.len() >= outstanding_max;
            let must_wait = self.memory.is_out_of_flights() || !(self.starved.is_empty() || self.is_feeding);
            let (seq, attempt, source, message) = if (must_wait || is_held_back) && !group.flights.has_block_of(seq) {
                let Some((seq, attempt)) = group.next_returned(&stream.held) else {
                    group.is_held_back |= is_held_back;
                    // Until some group is done with something nothing fresh is given out, and then to the first that
                    // waited.
                    if must_wait && !group.is_starved {
                        group.is_starved = true;
                        self.starved.push_back((key, group_index));
                    }
                    return None;
                };
                // It is outstanding already, and would wait behind what is more urgent, or fresh, for ever.
                let Some(message) = stream.held.message(seq) else {
                    self.want_message(key, seq);
                    return None;
                };
                (seq, attempt, Source::Returned, message)
            } else {
                (seq, attempt, source, message)
            };
            let attempt = if self.limits.planted.has(Mutant::AttemptNotCounted) { NonZeroU32::MIN } else { attempt };
            *work -= 1;
            if (message.has_times() && !message.may_be_delivered(now.unix_ms))
                || (attempt.get() > 1
                    && is_last(attempt.get() - 1, &stream.name, &stream.settings, group, &self.limits)
                    && !is_log_full(self.journal.as_deref()))
            {
                return Some((seq, source));
            }
            let consumer = self.consumers.at_mut(index)?;
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
            effects.push(Effect::Deliver { connection, stream: StreamKey(key), seq: Seq(seq), attempt: attempt.get() });
        }
        None
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
            trace: message.trace(),
            encoding,
            envelope,
        }
    }
}
