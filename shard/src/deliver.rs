//! Deliver: while a stream has a backlog and a consumer that can take it, they are brought together.

use crate::expire::{Timer, tick_at, tick_of};
use crate::pool::Size;
use crate::shard::Shard;
use crate::{Effect, Effects, StreamKey};
use conduit_protocol::{ConnectionId, Delivery, Encoding, Now, Seq, codec};

/// A scratch buffer that grew beyond this is given up at its next use.
const SCRATCH_BYTES_KEPT: usize = 1 << 20;

impl Shard {
    /// Delivers what a stream has, as far as one call may.
    #[inline]
    pub(crate) fn deliver_all(&mut self, now: Now, key: u32, effects: &mut Effects) {
        let Some(stream) = self.streams.at(key) else { return };
        if !stream.group.ready.is_empty() && stream.has_backlog() {
            let mut work = self.limits.work_max;
            self.deliver_some(now, key, &mut work, effects);
        }
    }

    /// Delivers what a stream has, until `work` is used up; then the stream waits for the next deadline.
    pub(crate) fn deliver_some(&mut self, now: Now, key: u32, work: &mut usize, effects: &mut Effects) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        while let Some(index) = stream.group.ready.first() {
            if *work == 0 {
                if stream.has_backlog() && !stream.is_queued {
                    stream.is_queued = true;
                    self.unfinished.push_back(key);
                }
                return;
            }
            let next_seq = stream.next_seq();
            let Some((seq, attempt)) = stream.group.take_next(next_seq) else { return };
            *work -= 1;
            let Some(consumer) = self.consumers.at_mut(index) else { return };
            let Some(message) = stream.message(seq) else {
                debug_assert!(false, "what is to be delivered is stored");
                continue;
            };
            let latency_ns = now.mono_ns.saturating_sub(message.published.mono_ns);
            let envelope_bytes = message.envelope().len() as u64;
            consumer.outbox_bytes = consumer.outbox_bytes.saturating_add(message.delivery_bytes());
            consumer.credit -= 1;
            if let Some(ids) = &mut consumer.ids {
                ids.insert(self.seeded.hash(0, message.id_bytes()), seq);
            }
            if consumer.ack_timer.is_none() {
                let tick = tick_at(now.mono_ns.saturating_add(consumer.ack_wait_ns));
                consumer.ack_timer = Some(self.timers.add(tick_of(now), tick, Timer::AckWait { consumer: index }));
            }
            let connection = consumer.connection;
            let start = stream.start();
            let blocks = &mut self.memory.flights;
            stream.group.flights.add(seq, start, (index, consumer), attempt, now.mono_ns, blocks);
            stream.group.credit -= 1;
            self.consumers.rotate(index, &mut stream.group.ready, self.limits.outbox_bytes_max);

            stream.figures.delivered += 1;
            self.totals.delivered += 1;
            self.totals.delivered_bytes += envelope_bytes;
            self.totals.inflight_now += 1;
            self.totals.credit_spent += 1;
            self.totals.credit_now -= 1;
            if attempt.get() == 1 {
                stream.figures.latencies_mut().deliver.record(latency_ns);
                self.publish_to_deliver.record(latency_ns);
            } else {
                stream.figures.redelivered += 1;
                self.totals.redelivered += 1;
            }
            effects.push(Effect::Deliver { connection, stream: StreamKey(key), seq: Seq(seq), attempt: attempt.get() });
        }
    }

    /// See [`Shard::delivery`].
    pub(crate) fn delivery_bytes(
        &mut self,
        connection: ConnectionId,
        key: StreamKey,
        seq: Seq,
        attempt: u32,
    ) -> Delivery<'_> {
        /// What a stale key gets: owners that keep the contract never see it.
        const NOTHING: Delivery<'static> =
            Delivery { id: b"", seq: Seq(0), attempt: 0, encoding: Encoding::Json, envelope: b"{}" };
        let wanted = self.consumers.find(connection).and_then(|index| self.consumers.at(index));
        let Some(encoding) = wanted.map(|consumer| consumer.encoding) else {
            debug_assert!(false, "a delivery's consumer is there until the next input");
            return NOTHING;
        };
        let Some(stream) = self.streams.at_mut(key.0) else {
            debug_assert!(false, "a stream key is valid until the next input");
            return NOTHING;
        };
        let Some(message) = stream.message(seq.0) else {
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
                && stream.bytes_held().saturating_add(size) <= self.limits.stream_bytes_max;
            if is_kept && let Some(message) = stream.message_mut(seq.0) {
                let held = message.keep_transcoded(&self.scratch, &mut self.memory.buffers);
                is_kept = held > 0;
                stream.hold(held, &mut self.memory);
            }
        }
        let Some(message) = stream.message(seq.0) else { return NOTHING };
        let envelope = if message.encoding() == encoding {
            message.envelope()
        } else if is_kept && let Some(transcoded) = message.transcoded() {
            transcoded
        } else {
            &self.scratch
        };
        Delivery { id: message.id_bytes(), seq, attempt, encoding, envelope }
    }
}
