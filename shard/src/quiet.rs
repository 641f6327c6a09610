//! A shard that is about to end: what is in flight comes home, and nothing more goes out.

use crate::shard::Shard;
use conduit_protocol::ConnectionId;

impl Shard {
    /// Gives no consumer anything more; acks and nacks of what is in flight are taken on.
    pub fn quiesce(&mut self) {
        for index in self.consumers.indices() {
            let Some(consumer) = self.consumers.at_mut(index) else { continue };
            // A consumer that may have nothing in flight is never eligible, whatever it is granted.
            consumer.inflight_max = 0;
            let (stream, group) = (consumer.stream, consumer.group);
            let group = self.streams.at_mut(stream).and_then(|stream| stream.groups.at_mut(group));
            if let Some(group) = group {
                self.consumers.leave(index, &mut group.ready);
            }
        }
    }

    /// Deliveries that a connection has not acked or given back.
    #[must_use]
    pub fn inflight_of(&self, connection: ConnectionId) -> u32 {
        let consumer = self.consumers.find(connection).and_then(|index| self.consumers.at(index));
        consumer.map_or(0, |consumer| consumer.flights.len())
    }
}
