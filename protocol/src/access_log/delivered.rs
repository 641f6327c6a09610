//! When the messages were delivered that a connection has not acked yet, of those whose delivery has a line: the line of the
//! ack tells how long the client took.

use crate::answer::Delivery;
use crate::command::MessageRef;
use crate::ids::Seq;
use crate::time::Now;
use xxhash_rust::xxh3::xxh3_64;

/// Deliveries of one connection that are remembered. Of more the acks do not say how long they took.
const DELIVERIES_MAX: usize = 64;

/// As many as are remembered for a start.
const DELIVERIES_MIN: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Entry {
    seq: u64,
    /// Of the id, which acks may name in place of the seq. Two ids with one hash cost a wrong time in a log.
    id_hash: u64,
    at_ns: u64,
}

/// The deliveries, in no order.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    entries: Vec<Entry>,
    /// Where the next one goes when there is no room.
    oldest: usize,
}

impl Delivered {
    /// Remembers a delivery. One of the same message before it is over.
    pub(super) fn note(&mut self, now: Now, delivery: &Delivery<'_>) {
        let entry = Entry { seq: delivery.seq.0, id_hash: xxh3_64(delivery.id), at_ns: now.mono_ns };
        if delivery.attempt > 1
            && let Some(earlier) = self.entries.iter_mut().find(|earlier| earlier.seq == entry.seq)
        {
            *earlier = entry;
        } else if self.entries.len() < DELIVERIES_MAX {
            if self.entries.capacity() == 0 {
                self.entries.reserve_exact(DELIVERIES_MIN);
            }
            self.entries.push(entry);
        } else {
            self.entries[self.oldest] = entry;
            self.oldest = (self.oldest + 1) % DELIVERIES_MAX;
        }
    }

    /// When a message was delivered, which is over now.
    pub(super) fn take(&mut self, target: &MessageRef<'_>) -> Option<u64> {
        let at = match target {
            MessageRef::Seq(seq) => self.entries.iter().position(|entry| entry.seq == seq.0),
            MessageRef::Id(_) if self.entries.is_empty() => None,
            MessageRef::Id(id) => {
                let id_hash = xxh3_64(id.as_bytes());
                // Ids may come twice; which of them an ack means is told by the first that is left.
                let named = self.entries.iter().enumerate().filter(|(_, entry)| entry.id_hash == id_hash);
                named.min_by_key(|(_, entry)| entry.seq).map(|(at, _)| at)
            }
        };
        at.map(|at| self.entries.swap_remove(at).at_ns)
    }

    /// The same for all messages up to one; tells of that one.
    pub(super) fn take_up_to(&mut self, seq: Seq) -> Option<u64> {
        let at_ns = self.entries.iter().find(|entry| entry.seq == seq.0).map(|entry| entry.at_ns);
        self.entries.retain(|entry| entry.seq > seq.0);
        at_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Encoding;

    fn note(delivered: &mut Delivered, at_ns: u64, seq: u64, attempt: u32) {
        let id = format!("m-{seq}");
        let now = Now { mono_ns: at_ns, unix_ms: 0 };
        let delivery = Delivery {
            id: id.as_bytes(),
            seq: Seq(seq),
            attempt,
            published: Now::default(),
            trace: None,
            encoding: Encoding::Json,
            envelope: b"{}",
        };
        delivered.note(now, &delivery);
    }

    #[test]
    fn a_delivery_is_told_once_by_seq_or_id() {
        let mut delivered = Delivered::default();
        (1..=4).for_each(|seq| note(&mut delivered, seq * 10, seq, 1));
        assert_eq!(delivered.take(&MessageRef::Seq(Seq(2))), Some(20));
        assert_eq!(delivered.take(&MessageRef::Seq(Seq(2))), None);
        assert_eq!(delivered.take(&MessageRef::Id("m-3".into())), Some(30));
        assert_eq!(delivered.take(&MessageRef::Id("m-3".into())), None);
        assert_eq!(delivered.take(&MessageRef::Id("m-9".into())), None);
        note(&mut delivered, 99, 4, 2);
        assert_eq!(delivered.take_up_to(Seq(4)), Some(99), "the last time counts");
        assert!(delivered.entries.is_empty());
    }

    #[test]
    fn the_oldest_are_forgotten_beyond_the_limit() {
        let mut delivered = Delivered::default();
        let max = DELIVERIES_MAX as u64;
        (1..=max).for_each(|seq| note(&mut delivered, seq, seq, 1));
        assert_eq!(delivered.entries.len(), DELIVERIES_MAX);
        note(&mut delivered, max + 1, max + 1, 1);
        assert_eq!(delivered.entries.len(), DELIVERIES_MAX);
        assert_eq!(delivered.take(&MessageRef::Seq(Seq(1))), None);
        assert_eq!(delivered.take(&MessageRef::Seq(Seq(2))), Some(2));
        assert_eq!(delivered.take_up_to(Seq(max)), Some(max));
        assert_eq!(delivered.take(&MessageRef::Id(format!("m-{}", max + 1).into())), Some(max + 1));
    }
}
