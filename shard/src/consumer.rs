//! Consumers: one subscription each, with its credit window, its byte window and its place in the rotation.

use crate::flight::FlightList;
use crate::id_index::IdIndex;
use crate::wheel::TimerId;
use conduit_protocol::{ConnectionId, Encoding};

const NONE: u32 = u32::MAX;

/// One subscription.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) connection: ConnectionId,
    /// The stream's key.
    pub(crate) stream: u32,
    /// The group's index in its stream.
    pub(crate) group: u32,
    pub(crate) encoding: Encoding,
    /// A settled delivery gives its credit back.
    pub(crate) is_refilled: bool,
    /// Its deliveries are acked when its outbox has been drained: it has no ack deadline.
    pub(crate) is_auto_acked: bool,
    pub(crate) ack_wait_ns: u64,
    pub(crate) inflight_max: u32,
    /// Deliveries that it may still be given.
    pub(crate) credit: u64,
    /// Bytes delivered since the outbox was last drained.
    pub(crate) outbox_bytes: u64,
    pub(crate) flights: FlightList,
    /// Runs whenever something is in flight; it may fire early, and is then set again.
    pub(crate) ack_timer: Option<TimerId>,
    /// From the first ack or nack by id on.
    pub(crate) ids: Option<Box<IdIndex>>,
    is_ready: bool,
    ready_prev: u32,
    ready_next: u32,
}

impl Consumer {
    /// A consumer without credit.
    pub(crate) fn new(connection: ConnectionId, stream: u32, group: u32, encoding: Encoding) -> Self {
        Self {
            connection,
            stream,
            group,
            encoding,
            is_refilled: false,
            is_auto_acked: false,
            ack_wait_ns: 0,
            inflight_max: 0,
            credit: 0,
            outbox_bytes: 0,
            flights: FlightList::default(),
            ack_timer: None,
            ids: None,
            is_ready: false,
            ready_prev: NONE,
            ready_next: NONE,
        }
    }

    /// A delivery has ended: one credit comes back, if the consumer wants it so and may hold it.
    #[inline]
    pub(crate) const fn refill(&mut self, credit_max: u64) -> bool {
        let refilled = self.is_refilled && self.credit < credit_max;
        self.credit += refilled as u64;
        refilled
    }

    /// It may be delivered to: it has credit, room in flight, and room in its byte window.
    #[inline]
    pub(crate) const fn is_eligible(&self, outbox_bytes_max: u64) -> bool {
        self.credit > 0 && self.flights.len() < self.inflight_max && self.outbox_bytes < outbox_bytes_max
    }
}

/// The consumers of a group that may be delivered to, the next one first. Links are in the consumers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadyList {
    first: u32,
    last: u32,
}

impl ReadyList {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { first: NONE, last: NONE }
    }

    /// Whose turn it is.
    #[inline]
    pub(crate) const fn first(&self) -> Option<u32> {
        if self.first == NONE { None } else { Some(self.first) }
    }

    /// Nobody can be delivered to.
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.first == NONE
    }
}

/// The consumers of one shard, by a dense index, found by connection without hashing.
#[derive(Debug)]
pub(crate) struct Consumers {
    list: Vec<Option<Consumer>>,
    free: Vec<u32>,
    /// By connection slot: index of the consumer, or `NONE`.
    by_slot: Vec<u32>,
    len: usize,
}

impl Consumers {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { list: Vec::new(), free: Vec::new(), by_slot: Vec::new(), len: 0 }
    }

    /// How many.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// The consumer of a connection.
    #[inline]
    pub(crate) fn find(&self, connection: ConnectionId) -> Option<u32> {
        let index = *self.by_slot.get(connection.slot() as usize)?;
        // An older connection of the same slot is not this one.
        (self.list.get(index as usize)?.as_ref()?.connection == connection).then_some(index)
    }

    /// The slot is taken by a consumer, of this connection or of one whose end was never told.
    pub(crate) fn is_slot_taken(&self, connection: ConnectionId) -> bool {
        self.by_slot.get(connection.slot() as usize).is_some_and(|index| *index != NONE)
    }

    /// The indices of all consumers, of free places too.
    pub(crate) fn indices(&self) -> std::ops::Range<u32> {
        0..self.list.len() as u32
    }

    /// The consumer at an index.
    #[inline]
    pub(crate) fn at(&self, index: u32) -> Option<&Consumer> {
        self.list.get(index as usize)?.as_ref()
    }

    /// The consumer at an index, to be changed.
    #[inline]
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut Consumer> {
        self.list.get_mut(index as usize)?.as_mut()
    }

    /// Credit and deliveries in flight of those that send no acks. Looks at every consumer of the shard.
    pub(crate) fn held_by_readers(&self) -> (u64, u64) {
        let readers = self.list.iter().flatten().filter(|consumer| consumer.is_auto_acked);
        readers.fold((0, 0), |(credit, inflight), reader| {
            (credit + reader.credit, inflight + u64::from(reader.flights.len()))
        })
    }

    /// Indices of the consumers of a stream, or of one group of it. Looks at every consumer of the shard: deletions are rare.
    pub(crate) fn of(&self, stream: u32, group: Option<u32>) -> Vec<u32> {
        let is_of =
            |consumer: &Consumer| consumer.stream == stream && group.is_none_or(|group| consumer.group == group);
        let found = self.list.iter().enumerate().filter(|(_, consumer)| consumer.as_ref().is_some_and(is_of));
        found.map(|(index, _)| index as u32).collect()
    }

    /// Adds a consumer whose slot is free.
    pub(crate) fn add(&mut self, consumer: Consumer) -> u32 {
        let slot = consumer.connection.slot() as usize;
        let index = if let Some(index) = self.free.pop() {
            self.list[index as usize] = Some(consumer);
            index
        } else {
            self.list.push(Some(consumer));
            (self.list.len() - 1) as u32
        };
        if self.by_slot.len() <= slot {
            self.by_slot.resize(slot + 1, NONE);
        }
        self.by_slot[slot] = index;
        self.len += 1;
        index
    }

    /// Takes a consumer out; it is in no ready list any more.
    pub(crate) fn remove(&mut self, index: u32) -> Option<Consumer> {
        let consumer = self.list.get_mut(index as usize)?.take()?;
        debug_assert!(!consumer.is_ready, "a consumer leaves the rotation before it leaves");
        self.by_slot[consumer.connection.slot() as usize] = NONE;
        self.free.push(index);
        self.len -= 1;
        Some(consumer)
    }

    /// Puts a consumer at the end of the rotation or takes it out, as its state demands.
    #[inline]
    pub(crate) fn refresh(&mut self, index: u32, ready: &mut ReadyList, outbox_bytes_max: u64) {
        let Some(consumer) = self.at(index) else { return };
        match (consumer.is_eligible(outbox_bytes_max), consumer.is_ready) {
            (true, false) => self.join(index, ready),
            (false, true) => self.leave(index, ready),
            _ => {}
        }
    }

    /// The first of the rotation has had its turn: it goes to the end, or out.
    #[inline]
    pub(crate) fn rotate(&mut self, index: u32, ready: &mut ReadyList, outbox_bytes_max: u64) {
        let Some(consumer) = self.at(index) else { return };
        let is_eligible = consumer.is_eligible(outbox_bytes_max);
        if is_eligible && ready.first == ready.last {
            return;
        }
        self.leave(index, ready);
        if is_eligible {
            self.join(index, ready);
        }
    }

    /// Takes a consumer out of the rotation.
    pub(crate) fn leave(&mut self, index: u32, ready: &mut ReadyList) {
        let Some(consumer) = self.at_mut(index) else { return };
        if !consumer.is_ready {
            return;
        }
        consumer.is_ready = false;
        let (prev, next) = (consumer.ready_prev, consumer.ready_next);
        match self.at_mut(prev) {
            Some(prev) => prev.ready_next = next,
            None => ready.first = next,
        }
        match self.at_mut(next) {
            Some(next) => next.ready_prev = prev,
            None => ready.last = prev,
        }
    }

    fn join(&mut self, index: u32, ready: &mut ReadyList) {
        let last = ready.last;
        if let Some(consumer) = self.at_mut(index) {
            consumer.is_ready = true;
            consumer.ready_prev = last;
            consumer.ready_next = NONE;
        }
        match self.at_mut(last) {
            Some(last) => last.ready_next = index,
            None => ready.first = index,
        }
        ready.last = index;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer(slot: u32, generation: u32) -> Consumer {
        let mut consumer = Consumer::new(ConnectionId::new(slot, generation), 0, 0, Encoding::Json);
        consumer.credit = 10;
        consumer.inflight_max = 10;
        consumer
    }

    fn order(consumers: &Consumers, ready: ReadyList) -> Vec<u32> {
        std::iter::successors(ready.first(), |index| {
            Some(consumers.at(*index)?.ready_next).filter(|next| *next != NONE)
        })
        .collect()
    }

    #[test]
    fn a_connection_of_another_generation_is_not_found() {
        let mut consumers = Consumers::new();
        let index = consumers.add(consumer(7, 1));
        assert_eq!(consumers.find(ConnectionId::new(7, 1)), Some(index));
        assert_eq!(consumers.find(ConnectionId::new(7, 2)), None);
        assert_eq!(consumers.find(ConnectionId::new(8, 1)), None);
        consumers.remove(index);
        assert_eq!(consumers.find(ConnectionId::new(7, 1)), None);
        assert_eq!(consumers.len(), 0);
    }

    #[test]
    fn the_rotation_gives_everybody_a_turn() {
        let mut consumers = Consumers::new();
        let mut ready = ReadyList::new();
        for slot in 0..3 {
            let index = consumers.add(consumer(slot, 1));
            consumers.refresh(index, &mut ready, 1);
        }
        assert_eq!(order(&consumers, ready), [0, 1, 2]);
        consumers.rotate(0, &mut ready, 1);
        assert_eq!(order(&consumers, ready), [1, 2, 0]);
        consumers.at_mut(1).unwrap().credit = 0;
        consumers.rotate(1, &mut ready, 1);
        assert_eq!(order(&consumers, ready), [2, 0]);
        consumers.leave(0, &mut ready);
        consumers.rotate(2, &mut ready, 1);
        assert_eq!(order(&consumers, ready), [2]);
        consumers.leave(2, &mut ready);
        assert!(ready.is_empty());
    }
}
