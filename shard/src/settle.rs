//! Settle: a consumer says what became of its deliveries.

use crate::dead_letter::Reason;
use crate::expire::{Timer, tick_at, tick_of};
use crate::shard::Shard;
use crate::{Effects, Mutant};
use conduit_protocol::command::{Nack, Targets};
use conduit_protocol::{ConnectionId, MessageRef, Now, Seq, time::NS_PER_MS};

/// How a delivery ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Settlement {
    /// Done: the message goes.
    Ack,
    /// To be delivered again at once.
    Return,
    /// To be delivered again at this time, in `Now::mono_ns`.
    ReturnAt(u64),
    /// Not to be delivered again: it goes to the dead letters.
    Dead,
}

impl Shard {
    pub(crate) fn ack(&mut self, now: Now, connection: ConnectionId, targets: &Targets<'_>, effects: &mut Effects) {
        let settled = self.settle_all(now, connection, targets, Settlement::Ack, None, effects);
        self.totals.acks_ignored += targets.len() as u64 - settled;
    }

    /// As [`Self::ack`], for one message that is named by its seq.
    pub(crate) fn ack_seq(&mut self, now: Now, connection: ConnectionId, seq: Seq, effects: &mut Effects) {
        match self.consumers.find(connection) {
            Some(index) if self.settle(now, index, seq.0, Settlement::Ack) => self.after_settling(now, index, effects),
            _ => self.totals.acks_ignored += 1,
        }
    }

    pub(crate) fn nack(&mut self, now: Now, connection: ConnectionId, nack: &Nack<'_>, effects: &mut Effects) {
        let settlement = match nack.delay_ms.min(self.limits.nack_delay_ms_max) {
            0 => Settlement::Return,
            _ if self.limits.planted.has(Mutant::IgnoreNackDelay) => Settlement::Return,
            delay_ms => Settlement::ReturnAt(now.mono_ns.saturating_add(delay_ms.saturating_mul(NS_PER_MS))),
        };
        let settlement = if nack.dead && self.can_give_up(connection) { Settlement::Dead } else { settlement };
        let settled = self.settle_all(now, connection, &nack.targets, settlement, nack.error.as_deref(), effects);
        self.totals.nacked += settled;
        self.totals.nacks_ignored += nack.targets.len() as u64 - settled;
    }

    /// Acks everything in flight at a consumer up to and including a seq.
    pub(crate) fn ack_up_to(&mut self, now: Now, connection: ConnectionId, up_to: Seq, effects: &mut Effects) {
        let Some(index) = self.consumers.find(connection) else {
            self.totals.acks_ignored += 1;
            return;
        };
        let Some(consumer) = self.consumers.at(index) else { return };
        let (key, group) = (consumer.stream, consumer.group);
        let may_stop_early = consumer.flights.is_ordered();
        let mut next = consumer.flights.head();
        while let Some(seq) = next {
            next = self.streams.at(key).and_then(|stream| stream.groups.at(group)?.flights.after(seq));
            if seq <= up_to.0 {
                self.settle(now, index, seq, Settlement::Ack);
            } else if may_stop_early {
                break;
            }
        }
        self.after_settling(now, index, effects);
    }

    /// Settles what the targets name; how many of them were in flight.
    fn settle_all(
        &mut self,
        now: Now,
        connection: ConnectionId,
        targets: &Targets<'_>,
        settlement: Settlement,
        error: Option<&str>,
        effects: &mut Effects,
    ) -> u64 {
        let Some(index) = self.consumers.find(connection) else { return 0 };
        let mut settled = 0;
        for target in targets {
            let seq = match target {
                MessageRef::Seq(seq) => Some(seq.0),
                MessageRef::Id(id) => self.seq_of(index, id),
            };
            let Some(seq) = seq else { continue };
            if !self.settle(now, index, seq, settlement) {
                continue;
            }
            settled += 1;
            if let Some(error) = error {
                self.tell_error(index, seq, error);
            }
        }
        if settled > 0 {
            self.after_settling(now, index, effects);
        }
        settled
    }

    /// The lowest seq in flight at a consumer whose message has this id.
    fn seq_of(&mut self, index: u32, id: &str) -> Option<u64> {
        let consumer = self.consumers.at_mut(index)?;
        let stream = self.streams.at(consumer.stream)?;
        let group = stream.groups.at(consumer.group)?;
        if consumer.ids.is_none() {
            // The first ack by id: what is in flight is indexed now, and every later delivery as it is made.
            let mut ids = Box::<crate::id_index::IdIndex>::default();
            let mut next = consumer.flights.head();
            while let Some(seq) = next {
                if let Some(message) = stream.message(seq) {
                    ids.insert(self.seeded.hash(0, message.id_bytes()), seq);
                }
                next = group.flights.after(seq);
            }
            consumer.ids = Some(ids);
        }
        let mut seqs = consumer.ids.as_ref()?.seqs(self.seeded.hash(0, id.as_bytes()));
        seqs.find(|seq| stream.message(*seq).is_some_and(|message| message.id_bytes() == id.as_bytes()))
    }

    /// Ends one delivery, if it is in flight at this consumer.
    #[inline(always)]
    pub(crate) fn settle(&mut self, now: Now, index: u32, seq: u64, settlement: Settlement) -> bool {
        let Some(consumer) = self.consumers.at_mut(index) else { return false };
        let (key, group_index) = (consumer.stream, consumer.group);
        let Some(stream) = self.streams.at_mut(key) else { return false };
        let Some(group) = stream.groups.at_mut(group_index) else { return false };
        let ended = match settlement {
            Settlement::Ack => group.flights.finish(seq, (index, consumer), &mut self.memory.flights),
            Settlement::Return | Settlement::ReturnAt(_) | Settlement::Dead => {
                group.flights.give_back(seq, (index, consumer))
            }
        };
        let Some(flight) = ended else { return false };
        self.totals.inflight_now -= 1;
        if let Some(ids) = &mut consumer.ids
            && let Some(message) = stream.held.message(seq)
        {
            ids.remove(self.seeded.hash(0, message.id_bytes()), seq);
        }
        // However a delivery ends, its credit comes back: a window that only acks refill would shrink with every
        // nack and every missed deadline, until its consumer starves.
        if consumer.refill(self.limits.credit_max) {
            group.credit += 1;
            self.totals.credit_now += 1;
            self.totals.credit_refilled += 1;
            self.totals.reader_credit += u64::from(consumer.is_auto_acked);
        }
        match settlement {
            Settlement::Ack => {
                let latency_ns = now.mono_ns.saturating_sub(flight.delivered_ns);
                stream.figures.acked += 1;
                stream.figures.rate_out.count(now);
                stream.figures.latencies_mut().ack.record(latency_ns);
                self.deliver_to_ack.record(latency_ns);
                self.totals.acked += 1;
                if stream.ack_releases(seq) {
                    self.release_message(key, seq);
                } else {
                    self.note_done(now, key, group_index, seq);
                }
            }
            Settlement::Return => self.come_back(now, key, group_index, seq, None),
            Settlement::ReturnAt(due_ns) => self.come_back(now, key, group_index, seq, Some(due_ns)),
            Settlement::Dead => self.give_up(key, group_index, seq, Reason::Dead),
        }
        true
    }

    /// A message came back from a consumer and waits: it is to be delivered again, at once or at `due_ns`, unless that was
    /// its last delivery.
    pub(crate) fn come_back(&mut self, now: Now, key: u32, group: u32, seq: u64, due_ns: Option<u64>) {
        if self.is_exhausted(key, group, seq) {
            self.give_up(key, group, seq, Reason::MaxDeliver);
            return;
        }
        let Some(waiting) = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(group)) else { return };
        match due_ns {
            None => waiting.give_back(seq),
            Some(due_ns) => {
                waiting.give_back_at(due_ns, seq);
                self.set_delay_timer(now, key, group);
            }
        }
    }

    /// What ended deliveries make possible: publishers go on, the consumer can take more, its group delivers.
    #[inline(always)]
    fn after_settling(&mut self, now: Now, index: u32, effects: &mut Effects) {
        let Some((key, group_index)) = self.consumers.at(index).map(|consumer| (consumer.stream, consumer.group))
        else {
            return;
        };
        self.resume_when_roomy(key, effects);
        let Some(stream) = self.streams.at_mut(key) else { return };
        let Some(group) = stream.groups.at_mut(group_index) else { return };
        self.consumers.refresh(index, &mut group.ready, self.limits.outbox_bytes_max);
        if !group.ready.is_empty() && group.has_backlog(&stream.held) {
            let mut work = self.limits.work_max;
            self.deliver_backlog(now, key, group_index, &mut work, effects);
        }
    }

    /// Makes sure that the wheel wakes a group for its earliest delayed message.
    pub(crate) fn set_delay_timer(&mut self, now: Now, key: u32, index: u32) {
        let Some(group) = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(index)) else { return };
        let Some(due_ns) = group.next_delayed_ns() else { return };
        if let Some((timer, set_ns)) = group.delay_timer {
            if set_ns <= due_ns {
                return;
            }
            self.timers.remove(timer);
        }
        let timer = self.timers.add(tick_of(now), tick_at(due_ns), Timer::Delayed { stream: key, group: index });
        group.delay_timer = Some((timer, due_ns));
    }
}
