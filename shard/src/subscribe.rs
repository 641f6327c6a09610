//! Consumers come, grant credit, drain their outbox, and go.

use crate::consumer::Consumer;
use crate::shard::{Shard, refuse};
use crate::{AnswerValue, Effect, Effects};
use conduit_protocol::{ConnectionId, ErrorCode, Now, Origin, Subscribe, TenantId, Token, time::NS_PER_MS};

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
            Ok(stream) => {
                if origin.token != Token::NONE {
                    effects.push(Effect::Answer { origin: *origin, answer: AnswerValue::Subscribed(None) });
                }
                if subscribe.credit > 0 {
                    self.grant(now, origin.connection, subscribe.credit, effects);
                }
                debug_assert!(self.streams.at(stream).is_some(), "a stream with a consumer stays");
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
    ) -> Result<u32, (ErrorCode, &'static str)> {
        let limits = &self.limits;
        if self.consumers.is_slot_taken(connection) {
            return Err((ErrorCode::InvalidField, "this connection is a consumer already; open one for each stream"));
        }
        if self.consumers.len() >= limits.consumers_max || connection.slot() >= limits.connection_slots_max {
            return Err((ErrorCode::TooManyConnections, "the shard has as many consumers as it may; retry later"));
        }
        let ack_wait_ms = subscribe
            .ack_wait_ms
            .unwrap_or(limits.ack_wait_ms_default)
            .min(limits.ack_wait_ms_max)
            .max(limits.ack_wait_ms_min);
        let inflight_max = subscribe.max_inflight.unwrap_or(limits.consumer_inflight_max);
        let inflight_max = inflight_max.min(limits.consumer_inflight_max).max(1);
        let key = match self.streams.find(tenant, &subscribe.stream, &self.seeded) {
            Some(key) => key,
            None => self.create(now, tenant, &subscribe.stream)?,
        };
        let mut consumer = Consumer::new(connection, key, subscribe.encoding);
        consumer.refill = subscribe.refill_on_ack;
        consumer.ack_wait_ns = ack_wait_ms.saturating_mul(NS_PER_MS);
        consumer.inflight_max = inflight_max;
        self.consumers.add(consumer);
        if let Some(stream) = self.streams.at_mut(key) {
            stream.group.consumers += 1;
            stream.used_ns = now.mono_ns;
        }
        Ok(key)
    }

    /// Adds to a consumer's window.
    pub(crate) fn grant(&mut self, now: Now, connection: ConnectionId, credit: u64, effects: &mut Effects) {
        let Some(index) = self.consumers.find(connection) else { return };
        let Some(consumer) = self.consumers.at_mut(index) else { return };
        let granted = credit.min(self.limits.credit_max.saturating_sub(consumer.credit));
        consumer.credit += granted;
        let key = consumer.stream;
        if let Some(stream) = self.streams.at_mut(key) {
            stream.group.credit += granted;
        }
        self.totals.credit_granted += granted;
        self.totals.credit_now += granted;
        self.refresh(index, key);
        self.deliver_all(now, key, effects);
    }

    /// The outbox has been handed to the kernel: the byte window is whole again.
    pub(crate) fn drained(&mut self, now: Now, connection: ConnectionId, effects: &mut Effects) {
        let Some(index) = self.consumers.find(connection) else { return };
        let Some(consumer) = self.consumers.at_mut(index) else { return };
        consumer.outbox_bytes = 0;
        let key = consumer.stream;
        self.refresh(index, key);
        self.deliver_all(now, key, effects);
    }

    /// The connection is gone: what was in flight there goes back to the front, in order.
    pub(crate) fn disconnected(&mut self, now: Now, connection: ConnectionId, effects: &mut Effects) {
        // Taking everything back is not cut into pieces: until it is done nobody else may be given any of it, or the
        // order would be lost. It is a few instructions for each of at most `consumer_inflight_max` deliveries.
        self.paused.forget(Origin { shard: self.id, connection, token: Token::NONE });
        let Some(index) = self.consumers.find(connection) else { return };
        let Some(key) = self.consumers.at(index).map(|consumer| consumer.stream) else { return };
        let Some(stream) = self.streams.at_mut(key) else { return };
        self.consumers.leave(index, &mut stream.group.ready);
        let Some(mut consumer) = self.consumers.remove(index) else { return };
        while let Some(seq) = consumer.flights.head() {
            let taken = stream.group.flights.take(seq, (index, &mut consumer), &mut self.memory.flights);
            let Some(flight) = taken else { break };
            stream.group.give_back(seq, flight.attempt);
            self.totals.inflight_now -= 1;
            self.totals.returned += 1;
        }
        if let Some(timer) = consumer.ack_timer {
            self.timers.remove(timer);
        }
        stream.group.consumers -= 1;
        stream.group.credit -= consumer.credit;
        stream.used_ns = now.mono_ns;
        self.totals.credit_now -= consumer.credit;
        self.deliver_all(now, key, effects);
    }

    /// A consumer's credit, in-flight or byte window changed: it joins or leaves the rotation.
    #[inline]
    pub(crate) fn refresh(&mut self, index: u32, stream: u32) {
        if let Some(stream) = self.streams.at_mut(stream) {
            self.consumers.refresh(index, &mut stream.group.ready, self.limits.outbox_bytes_max);
        }
    }
}
