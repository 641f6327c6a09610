//! What time does: pauses end, ack deadlines pass, delayed messages come back, unused streams are forgotten, and work
//! that was left over goes on.

use crate::settle::Settlement;
use crate::shard::Shard;
use crate::shares::Shared;
use crate::{Effect, Effects, Mutant};
use conduit_protocol::{Now, time::NS_PER_MS};

/// What a timer of the wheel is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The oldest delivery of a consumer may have passed its ack deadline.
    AckWait {
        /// Index of the consumer.
        consumer: u32,
    },
    /// A delayed message of a group is due.
    Delayed {
        /// Key of the stream.
        stream: u32,
        /// Index of the group.
        group: u32,
    },
    /// The oldest message of a log may be too old.
    Age {
        /// Key of the stream.
        stream: u32,
    },
    /// The time of a message that a group put aside has come.
    Scheduled {
        /// Key of the stream.
        stream: u32,
        /// Index of the group.
        group: u32,
    },
    /// A message of a stream has expired.
    Expiry {
        /// Key of the stream.
        stream: u32,
    },
    /// Dedup ids of a stream may have left their window.
    Dedup {
        /// Key of the stream.
        stream: u32,
    },
    /// Dead letters that could not be stored are to be tried again.
    DeadLetters,
    /// Some streams may have been unused for too long.
    Sweep,
}

/// Work that one call left to the next deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// A stream has messages left to release.
    Trim {
        /// Key of the stream.
        stream: u32,
    },
    /// Dead letters are left to be written.
    DeadLetters,
    /// Deleted streams have messages left to give up.
    Bury,
}

/// The tick that has begun.
pub(crate) const fn tick_of(now: Now) -> u64 {
    now.mono_ns / NS_PER_MS
}

/// The first tick at which a time has come.
pub(crate) const fn tick_at(ns: u64) -> u64 {
    ns.div_ceil(NS_PER_MS)
}

/// Streams looked at by one sweep.
const SWEEP_STREAMS: usize = 256;
/// A sweep of all streams takes this part of the time that a stream may be unused.
const SWEEP_SHARE: u64 = 4;
/// Deliveries of one group, or releases of one stream, before the next unfinished one has its turn.
const TURN: usize = 64;

impl Shard {
    pub(crate) fn deadline(&mut self, now: Now, effects: &mut Effects) {
        for origin in std::iter::from_fn(|| self.paused.expire(now)).take(self.limits.work_max) {
            effects.push(Effect::Resume { origin });
        }
        let mut work = self.limits.work_max;
        while work > 0
            && let Some(timer) = self.timers.expire(tick_of(now))
        {
            match timer {
                Timer::AckWait { consumer } => self.expire_acks(now, consumer, &mut work),
                Timer::Delayed { stream, group } => self.return_delayed(now, stream, group, &mut work),
                Timer::Age { stream } => self.age(now, stream, &mut work, effects),
                Timer::Scheduled { stream, group } => self.return_scheduled(now, stream, group, &mut work),
                Timer::Expiry { stream } => self.expire_messages(now, stream, &mut work, effects),
                Timer::Dedup { stream } => self.expire_ids(now, stream, &mut work),
                Timer::DeadLetters => self.retry_letters(now),
                Timer::Sweep => self.sweep(now),
            }
            // Counted last, so that every timer gets at least one thing done.
            work = work.saturating_sub(1);
        }
        self.go_on(now, effects);
    }

    /// Those with work left take turns: first what may release messages, then what delivers them.
    fn go_on(&mut self, now: Now, effects: &mut Effects) {
        let mut work = self.limits.work_max;
        while work > 0
            && let Some(unfinished) = self.unfinished.pop_front()
        {
            let mut turn = work.min(TURN);
            work -= turn;
            match unfinished {
                Unfinished::Trim { stream: key } => {
                    self.trim_some(now, key, &mut turn);
                    self.resume_when_roomy(key, effects);
                }
                Unfinished::DeadLetters => {
                    self.write_letters(now, &mut turn, effects);
                }
                Unfinished::Bury => self.bury_some(&mut turn, effects),
            }
            work += turn;
            // A turn that found nothing to do is not free: many of them in a row end the call too.
            work = work.saturating_sub(1);
        }
        let mut work = self.limits.work_max;
        while work > 0
            && let Some((key, group)) = self.next_undelivered()
        {
            let mut turn = work.min(TURN);
            work -= turn;
            self.deliver_some(now, key, group, &mut turn, effects);
            work += turn;
            work = work.saturating_sub(1);
        }
        self.is_feeding = false;
    }

    /// Puts all groups of a stream into the queue of those with deliveries left to make.
    pub(crate) fn queue_all(&mut self, key: u32) {
        let slots = self.streams.at(key).map_or(0, |stream| stream.groups.slots());
        for group in 0..slots {
            self.queue(key, group);
        }
    }

    /// The group whose turn it is to be delivered to. One that starves goes first when it can be fed.
    fn next_undelivered(&mut self) -> Option<(u32, u32)> {
        let is_fed = !self.starved.is_empty() && !self.memory.is_out_of_flights();
        self.is_feeding = is_fed;
        let (key, index) = if is_fed { self.starved.pop_front() } else { self.undelivered.pop_front() }?;
        if let Some(group) = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(index)) {
            *(if is_fed { &mut group.is_starved } else { &mut group.is_queued }) = false;
        }
        Some((key, index))
    }

    /// Puts a group into the queue of those with deliveries left to make.
    pub(crate) fn queue(&mut self, key: u32, index: u32) {
        if let Some(stream) = self.streams.at_mut(key)
            && let Some(group) = stream.groups.at_mut(index)
            && !group.is_queued
            && group.has_backlog(&stream.held)
            && !group.ready.is_empty()
        {
            group.is_queued = true;
            self.undelivered.push_back((key, index));
        }
    }

    /// Takes back a consumer's deliveries whose ack deadline has passed, and sets its timer for the next one.
    fn expire_acks(&mut self, now: Now, index: u32, work: &mut usize) {
        let Some(consumer) = self.consumers.at_mut(index) else { return };
        consumer.ack_timer = None;
        if self.limits.planted.has(Mutant::IgnoreAckDeadline) {
            return;
        }
        let (key, group, ack_wait_ns) = (consumer.stream, consumer.group, consumer.ack_wait_ns);
        let mut next_ns = None;
        while let Some(seq) = self.consumers.at(index).and_then(|consumer| consumer.flights.head()) {
            let flights = self.streams.at(key).and_then(|stream| Some(&stream.groups.at(group)?.flights));
            let Some(flight) = flights.and_then(|flights| flights.at(seq)) else { break };
            let due_ns = flight.delivered_ns.saturating_add(ack_wait_ns);
            if due_ns > now.mono_ns || *work == 0 {
                next_ns = Some(due_ns);
                break;
            }
            *work -= 1;
            self.settle(now, index, seq, Settlement::Return);
            self.totals.ack_timeouts += 1;
        }
        if let Some(next_ns) = next_ns {
            let timer = self.timers.add(tick_of(now), tick_at(next_ns), Timer::AckWait { consumer: index });
            if let Some(consumer) = self.consumers.at_mut(index) {
                consumer.ack_timer = Some(timer);
            }
        }
        self.refresh(index);
        self.queue(key, group);
    }

    /// Brings back a group's delayed messages that are due, and sets its timer for the next one.
    fn return_delayed(&mut self, now: Now, key: u32, index: u32, work: &mut usize) {
        let Some(group) = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(index)) else { return };
        group.delay_timer = None;
        while *work > 0 && group.return_delayed(now.mono_ns) {
            *work -= 1;
        }
        self.set_delay_timer(now, key, index);
        self.queue(key, index);
    }

    /// Looks at the next streams and forgets those that have been unused for too long.
    fn sweep(&mut self, now: Now) {
        self.is_sweeping = false;
        let idle_ns = self.limits.stream_idle_ms.saturating_mul(NS_PER_MS);
        for _ in 0..SWEEP_STREAMS.min(self.streams.slots()) {
            let key = self.streams.next_swept();
            let is_idle = self
                .streams
                .at(key)
                .is_some_and(|stream| stream.is_unused() && stream.used_ns.saturating_add(idle_ns) <= now.mono_ns);
            if is_idle {
                self.forget_stream(key);
            }
        }
        self.start_sweeping(now);
    }

    /// Takes a stream without consumers out of the tables, with its groups and timers. What it held is given up bit by bit.
    pub(crate) fn forget_stream(&mut self, key: u32) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        if let Some((timer, _)) = stream.age_timer.take() {
            self.timers.remove(timer);
        }
        if let Some((timer, _)) = stream.expiry.take().and_then(|expiry| expiry.timer) {
            self.timers.remove(timer);
        }
        for index in 0..stream.groups.slots() {
            self.forget_group(key, index);
        }
        self.forget_all_ids(key);
        let Some(stream) = self.streams.at(key) else { return };
        if stream.is_trimming {
            self.unfinished.retain(|unfinished| *unfinished != Unfinished::Trim { stream: key });
        }
        let Some(stream) = self.streams.remove(key) else { return };
        self.shares.remove(stream.tenant, Shared::Streams, 1);
        if stream.held.len() > 0 {
            if self.buried.is_empty() {
                self.unfinished.push_back(Unfinished::Bury);
            }
            self.buried.push_back(stream.held);
        }
    }

    /// Takes a group without consumers out of its stream, with its timer.
    pub(crate) fn forget_group(&mut self, key: u32, index: u32) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        let Some(mut group) = stream.groups.remove(index) else { return };
        group.flights.clear_some(u64::MAX, &mut self.memory.flights);
        self.totals.groups_now -= 1;
        self.shares.remove(stream.tenant, Shared::Groups, 1);
        for (timer, _) in [group.delay_timer, group.scheduled.timer].into_iter().flatten() {
            self.timers.remove(timer);
        }
        self.forget_given_up_by(key, index);
        if group.is_queued {
            self.undelivered.retain(|queued| *queued != (key, index));
        }
        if group.is_starved {
            self.starved.retain(|queued| *queued != (key, index));
        }
    }

    /// Puts the next sweep on the wheel, if there is anything to look at.
    pub(crate) fn start_sweeping(&mut self, now: Now) {
        if self.is_sweeping || self.limits.stream_idle_ms == 0 || self.streams.len() == 0 {
            return;
        }
        let slices = self.streams.slots().div_ceil(SWEEP_STREAMS) as u64;
        let pause_ms = (self.limits.stream_idle_ms / SWEEP_SHARE / slices.max(1)).max(1);
        let due_ns = now.mono_ns.saturating_add(pause_ms.saturating_mul(NS_PER_MS));
        self.timers.add(tick_of(now), tick_at(due_ns), Timer::Sweep);
        self.is_sweeping = true;
    }
}
