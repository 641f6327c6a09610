//! Consumers come, grant credit, drain their outbox, and go.

use crate::consumer::Consumer;
use crate::group::Group;
use crate::settings;
use crate::shard::{Shard, refuse};
use crate::shares::Shared;
use crate::{AnswerValue, Effect, Effects, Mutant};
use conduit_protocol::command::From;
use conduit_protocol::streams::Subscribed;
use conduit_protocol::{ConnectionId, ErrorCode, Now, Origin, Seq, Subscribe, TenantId, Token, time::NS_PER_MS};

/// Why not, and in which words.
type Refused = (ErrorCode, &'static str);

impl Shard {
    pub(crate) fn subscribe(
        &mut self,
        now: Now,
        origin: &Origin,
        tenant: TenantId,
        subscribe: &Subscribe<'_>,
        effects: &mut Effects,
    ) {
        match self.add_consumer(now, origin.connection, tenant, subscribe) {
            Ok((key, group)) => {
                if origin.token != Token::NONE {
                    let hello = subscribe.hello.then(|| self.hello(key, group)).flatten().map(Box::new);
                    effects.push(Effect::Answer { origin: *origin, answer: AnswerValue::Subscribed(hello) });
                }
                if subscribe.credit > 0 {
                    self.grant(now, origin.connection, subscribe.credit, effects);
                }
                debug_assert!(self.streams.at(key).is_some(), "a stream with a consumer stays");
            }
            Err((code, message)) => {
                self.totals.refused_other += 1;
                refuse(effects, origin, code, message, None);
            }
        }
    }

    fn add_consumer(
        &mut self,
        now: Now,
        connection: ConnectionId,
        tenant: TenantId,
        subscribe: &Subscribe<'_>,
    ) -> Result<(u32, u32), Refused> {
        let limits = &self.limits;
        if self.consumers.is_slot_taken(connection) {
            return Err((ErrorCode::InvalidField, "this connection is a consumer already; open one for each stream"));
        }
        if self.consumers.len() >= limits.consumers_max || connection.slot() >= limits.connection_slots_max {
            return Err((ErrorCode::TooManyConnections, "the shard has as many consumers as it may; retry later"));
        }
        let inflight_max = subscribe.max_inflight.unwrap_or(limits.consumer_inflight_max);
        let inflight_max = inflight_max.min(limits.consumer_inflight_max).max(1);
        let key = match self.streams.find(tenant, &subscribe.stream, &self.seeded) {
            Some(key) => key,
            None => {
                // A refusal leaves no stream behind.
                self.check_groups_of_shard(tenant)?;
                self.create(now, tenant, &subscribe.stream)?
            }
        };
        let group_index = self.join_group(now, key, subscribe)?;
        let Some(stream) = self.streams.at_mut(key) else {
            return Err((ErrorCode::Internal, "the stream is gone"));
        };
        let Some(group) = stream.groups.at_mut(group_index) else {
            return Err((ErrorCode::Internal, "the group is gone"));
        };
        let mut consumer = Consumer::new(connection, key, group_index, subscribe.encoding);
        let ack_wait_ms = match subscribe.ack_wait_ms {
            Some(asked) => settings::clamp_ack_wait(asked, &self.limits),
            None => settings::ack_wait_ms(&group.settings, &self.limits),
        };
        consumer.is_refilled = subscribe.refill_on_ack;
        consumer.is_auto_acked = subscribe.auto_ack;
        consumer.ack_wait_ns = ack_wait_ms.saturating_mul(NS_PER_MS);
        consumer.inflight_max = inflight_max;
        self.consumers.add(consumer);
        group.consumers += 1;
        stream.used_ns = now.mono_ns;
        Ok((key, group_index))
    }

    /// The group that a subscription joins, made if it is not there.
    fn join_group(&mut self, now: Now, key: u32, subscribe: &Subscribe<'_>) -> Result<u32, Refused> {
        let name = subscribe.group.as_deref().unwrap_or_default();
        if !subscribe.ephemeral
            && let Some(index) = self.streams.at(key).and_then(|stream| stream.groups.find(name))
        {
            return Ok(index);
        }
        let mut group = Group::new(if subscribe.ephemeral { "" } else { name }, 0);
        group.is_ephemeral = subscribe.ephemeral;
        group.settings.max_deliver = subscribe.max_deliver;
        let is_kept = !group.is_ephemeral;
        let index = self.add_group(now, key, group, subscribe.from)?;
        if is_kept {
            self.log_group(now, key);
        }
        Ok(index)
    }

    /// Adds a group to a stream, at the place that `from` says.
    pub(crate) fn add_group(&mut self, now: Now, key: u32, mut group: Group, from: From) -> Result<u32, Refused> {
        let Some(tenant) = self.streams.at(key).map(|stream| stream.tenant) else {
            return Err((ErrorCode::Internal, "the stream is gone"));
        };
        self.check_groups_of_shard(tenant)?;
        let Some(stream) = self.streams.at_mut(key) else {
            return Err((ErrorCode::Internal, "the stream is gone"));
        };
        if stream.groups.len() >= self.limits.groups_per_stream_max {
            return Err((ErrorCode::TooManyGroups, "the stream has as many groups as it may; delete one of them"));
        }
        if group.is_ephemeral || !group.name.is_empty() {
            group.latency_from_ns = now.mono_ns;
        }
        let held_back = !group.is_ephemeral;
        group.begin_at(stream.place_of(from));
        let index = stream.groups.add(group);
        self.totals.groups_now += 1;
        self.shares.add(tenant, Shared::Groups, 1);
        if held_back {
            // The first group of a stream may begin behind what was kept for it.
            self.trim_by_floors(now, key);
        }
        Ok(index)
    }

    pub(crate) fn check_groups_of_shard(&self, tenant: TenantId) -> Result<(), Refused> {
        if self.totals.groups_now >= self.limits.groups_max as u64 {
            return Err((ErrorCode::TooManyGroups, "the shard has as many groups as it may; delete some of them"));
        }
        self.shares.check(tenant, Shared::Groups, &self.limits)
    }

    /// What a consumer is told first when it asks.
    fn hello(&self, key: u32, group: u32) -> Option<Subscribed> {
        let stream = self.streams.at(key)?;
        let group = stream.groups.at(group)?;
        Some(Subscribed {
            stream: stream.name.to_string(),
            group: group.name.to_string(),
            epoch: stream.epoch,
            first: stream.first(),
            last: stream.next_seq() - 1,
            next: stream.next_for(group),
        })
    }

    /// Adds to a consumer's window.
    pub(crate) fn grant(&mut self, now: Now, connection: ConnectionId, credit: u64, effects: &mut Effects) {
        let Some(index) = self.consumers.find(connection) else { return };
        let Some(consumer) = self.consumers.at_mut(index) else { return };
        let granted = credit.min(self.limits.credit_max.saturating_sub(consumer.credit));
        let slip = u64::from(self.limits.planted.has(Mutant::CreditOffByOne));
        consumer.credit += granted + slip;
        let (key, group) = (consumer.stream, consumer.group);
        if let Some(group) = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(group)) {
            group.credit += granted + slip;
        }
        self.totals.credit_granted += granted;
        if consumer.is_auto_acked {
            self.totals.reader_credit += granted;
        }
        self.totals.credit_now += granted + slip;
        self.refresh(index);
        self.deliver_to_group(now, key, group, effects);
    }

    /// The outbox has been handed to the kernel: the byte window is whole again, and what was in it is done with where
    /// nobody sends acks.
    pub(crate) fn drained(&mut self, now: Now, connection: ConnectionId, effects: &mut Effects) {
        let Some(index) = self.consumers.find(connection) else { return };
        let Some(consumer) = self.consumers.at_mut(index) else { return };
        consumer.outbox_bytes = 0;
        if consumer.is_auto_acked && consumer.flights.len() > 0 {
            // Everything in flight there was in the outbox: deliveries are encoded before the next input.
            self.ack_up_to(now, connection, Seq(u64::MAX), effects);
            return;
        }
        let (key, group) = (consumer.stream, consumer.group);
        self.refresh(index);
        self.deliver_to_group(now, key, group, effects);
    }

    /// The connection is gone: what was in flight there goes back to the front, in order.
    pub(crate) fn disconnected(&mut self, now: Now, connection: ConnectionId, effects: &mut Effects) {
        self.paused.forget(Origin { shard: self.id, connection, token: Token::NONE });
        let Some(index) = self.consumers.find(connection) else { return };
        if self.limits.planted.has(Mutant::AckUndrained)
            && self.consumers.at(index).is_some_and(|consumer| consumer.is_auto_acked)
        {
            self.ack_up_to(now, connection, Seq(u64::MAX), effects);
        }
        let Some((key, group)) = self.remove_consumer(now, index) else { return };
        let ended =
            self.streams.at(key).and_then(|stream| stream.groups.at(group)).is_some_and(|group| group.is_ephemeral);
        if ended {
            self.forget_group(key, group);
        } else {
            self.deliver_to_group(now, key, group, effects);
        }
    }

    /// Takes a consumer out of its group, and gives back what was in flight there: which group that was.
    pub(crate) fn remove_consumer(&mut self, now: Now, index: u32) -> Option<(u32, u32)> {
        // Taking everything back is not cut into pieces: until it is done nobody else may be given any of it, or the
        // order would be lost. It is a few instructions for each of at most `consumer_inflight_max` deliveries.
        let consumer = self.consumers.at(index)?;
        let (key, group_index) = (consumer.stream, consumer.group);
        let stream = self.streams.at_mut(key)?;
        let group = stream.groups.at_mut(group_index)?;
        self.consumers.leave(index, &mut group.ready);
        let mut consumer = self.consumers.remove(index)?;
        group.consumers -= 1;
        group.credit -= consumer.credit;
        stream.used_ns = now.mono_ns;
        self.totals.credit_now -= consumer.credit;
        if let Some(timer) = consumer.ack_timer {
            self.timers.remove(timer);
        }
        while let Some(seq) = consumer.flights.head() {
            let group = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(group_index))?;
            group.flights.give_back(seq, (index, &mut consumer))?;
            self.totals.inflight_now -= 1;
            self.totals.returned += 1;
            self.come_back(now, key, group_index, seq, None);
        }
        Some((key, group_index))
    }

    /// A consumer's credit, in-flight or byte window changed: it joins or leaves the rotation.
    #[inline]
    pub(crate) fn refresh(&mut self, index: u32) {
        let Some((key, group)) = self.consumers.at(index).map(|consumer| (consumer.stream, consumer.group)) else {
            return;
        };
        if let Some(group) = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(group)) {
            self.consumers.refresh(index, &mut group.ready, self.limits.outbox_bytes_max);
        }
    }
}
