//! One hierarchical timer wheel for everything that waits in a shard.
//!
//! Ticks are milliseconds. Level 0 has a slot for each of the next 64 ticks, each level above it slots 64 times as
//! wide; a timer moves down a level when its slot is reached. Adding, removing and firing cost the same whatever the
//! number of timers, an occupied-bit per slot makes jumps over empty time free, and timers of one tick fire in the
//! order in which they reached their slot, which depends on the inputs alone.

use std::num::NonZeroU32;

const SLOTS: usize = 64;
const SLOT_BITS: u32 = 6;
/// 8 levels of 6 bits cover 2^48 ms; a `u64` of nanoseconds is less than 2^45 ms.
const LEVELS: usize = 8;
const NONE: u32 = u32::MAX;

/// Names a timer of the wheel, from `add` until it fires or is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimerId(NonZeroU32);

impl TimerId {
    /// One more than the index, so that an optional timer takes no more room than a timer.
    const fn new(index: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    const fn index(self) -> u32 {
        self.0.get() - 1
    }
}

#[derive(Debug, Clone, Copy)]
struct Node<K> {
    key: K,
    tick: u64,
    prev: u32,
    next: u32,
    /// Level and slot whose list it is in; `NONE` when the node is free.
    list: u32,
}

#[derive(Debug, Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

/// The wheel. `K` says what a timer is for.
#[derive(Debug)]
pub(crate) struct Wheel<K> {
    nodes: Vec<Node<K>>,
    free: u32,
    len: usize,
    /// Everything before this tick has fired.
    tick: u64,
    lists: Vec<List>,
    occupied: [u64; LEVELS],
}

impl<K: Copy> Wheel<K> {
    /// An empty wheel.
    pub(crate) fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            len: 0,
            tick: 0,
            lists: vec![List { head: NONE, tail: NONE }; LEVELS * SLOTS],
            occupied: [0; LEVELS],
        }
    }

    /// Timers that wait.
    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Adds a timer; one whose tick has passed fires at the next `expire`.
    pub(crate) fn add(&mut self, now_tick: u64, tick: u64, key: K) -> TimerId {
        if self.len == 0 {
            // Nothing waits, so the time since the last timer can be skipped: new timers land on low levels.
            self.tick = self.tick.max(now_tick);
        }
        let node =
            Node { key, tick: tick.min((1 << (LEVELS as u32 * SLOT_BITS)) - 1), prev: NONE, next: NONE, list: NONE };
        let index = if self.free == NONE {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        } else {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            self.nodes[index as usize] = node;
            index
        };
        self.link(index);
        self.len += 1;
        TimerId::new(index)
    }

    /// Takes a timer off. Its id is worth nothing afterwards.
    pub(crate) fn remove(&mut self, id: TimerId) {
        if self.nodes.get(id.index() as usize).is_none_or(|node| node.list == NONE) {
            return;
        }
        self.unlink(id.index());
        self.release(id.index());
    }

    /// Fires the next timer that is due at `now_tick`. Call it until it gives none.
    pub(crate) fn expire(&mut self, now_tick: u64) -> Option<K> {
        while let Some((level, slot, tick)) = self.next_list() {
            if tick > now_tick {
                break;
            }
            self.tick = self.tick.max(tick);
            let list = level * SLOTS + slot;
            if level == 0 {
                let head = self.lists[list].head;
                let key = self.nodes[head as usize].key;
                self.unlink(head);
                self.release(head);
                return Some(key);
            }
            // The slot of a higher level is reached: all of its timers move down before any of them fires.
            while self.lists[list].head != NONE {
                let head = self.lists[list].head;
                self.unlink(head);
                self.link(head);
            }
        }
        self.tick = self.tick.max(now_tick);
        None
    }

    /// The tick at which `expire` has something to do: never later than the first timer's.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        self.next_list().map(|(_, _, tick)| tick)
    }

    /// The occupied slot that comes first: the lowest occupied level has it, since all timers of a level come before
    /// the next change of the level above.
    fn next_list(&self) -> Option<(usize, usize, u64)> {
        if self.len == 0 {
            return None;
        }
        for (level, &occupied) in self.occupied.iter().enumerate() {
            if occupied == 0 {
                continue;
            }
            let shift = level as u32 * SLOT_BITS;
            // Slots of this level never lie before the current one: bits are compared from it upwards.
            let current = (self.tick >> shift) as usize % SLOTS;
            let slot = (occupied >> current << current).trailing_zeros() as usize % SLOTS;
            let round = self.tick >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
            return Some((level, slot, round + ((slot as u64) << shift)));
        }
        None
    }

    /// Puts a node at the end of the list of its tick.
    fn link(&mut self, index: u32) {
        let tick = self.nodes[index as usize].tick.max(self.tick);
        // The level is that of the highest bit in which the tick differs from now.
        let differing = (tick ^ self.tick) | (SLOTS as u64 - 1);
        let level = (differing.ilog2() / SLOT_BITS) as usize;
        let slot = (tick >> (level as u32 * SLOT_BITS)) as usize % SLOTS;
        let list = level * SLOTS + slot;
        let tail = self.lists[list].tail;
        let node = &mut self.nodes[index as usize];
        node.prev = tail;
        node.next = NONE;
        node.list = list as u32;
        if tail == NONE {
            self.lists[list].head = index;
            self.occupied[level] |= 1 << slot;
        } else {
            self.nodes[tail as usize].next = index;
        }
        self.lists[list].tail = index;
    }

    fn unlink(&mut self, index: u32) {
        let Node { prev, next, list, .. } = self.nodes[index as usize];
        let list = list as usize;
        if prev == NONE {
            self.lists[list].head = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next == NONE {
            self.lists[list].tail = prev;
        } else {
            self.nodes[next as usize].prev = prev;
        }
        if self.lists[list].head == NONE {
            self.occupied[list / SLOTS] &= !(1 << (list % SLOTS));
        }
        self.nodes[index as usize].list = NONE;
    }

    fn release(&mut self, index: u32) {
        self.nodes[index as usize].next = self.free;
        self.free = index;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(wheel: &mut Wheel<u64>, tick: u64) -> Vec<u64> {
        std::iter::from_fn(|| wheel.expire(tick)).collect()
    }

    #[test]
    fn a_timer_fires_at_its_tick_and_not_before() {
        for tick in [0, 1, 63, 64, 65, 4_095, 4_096, 30_000, 86_400_000, (1 << 45) + 7] {
            let mut wheel = Wheel::new();
            wheel.add(0, tick, tick);
            if tick > 0 {
                assert!(fired(&mut wheel, tick - 1).is_empty());
            }
            assert_eq!(fired(&mut wheel, tick), [tick]);
            assert_eq!((fired(&mut wheel, tick + 1_000), wheel.len(), wheel.next_tick()), (vec![], 0, None));
        }
    }

    #[test]
    fn timers_of_one_tick_fire_in_the_order_they_were_added() {
        let mut wheel = Wheel::new();
        for key in 0..100 {
            wheel.add(0, 5_000, key);
        }
        assert_eq!(fired(&mut wheel, 5_000), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_timer_of_the_past_fires_at_once() {
        let mut wheel = Wheel::new();
        wheel.add(0, 1_000, 1);
        assert!(fired(&mut wheel, 900).is_empty());
        wheel.add(900, 10, 2);
        assert!(wheel.next_tick().unwrap() <= 900);
        assert_eq!(fired(&mut wheel, 900), [2]);
    }

    proptest::proptest! {
        #[test]
        fn the_wheel_is_a_sorted_list(steps in proptest::collection::vec((0u8..4, 0u64..200_000), 1..300)) {
            let mut wheel = Wheel::new();
            let mut model: Vec<(u64, u64, TimerId)> = Vec::new();
            let mut now = 0;
            for (key, (step, n)) in steps.into_iter().enumerate() {
                let key = key as u64;
                match step {
                    0 | 1 => {
                        let tick = now + n;
                        let id = wheel.add(now, tick, key);
                        model.push((tick, key, id));
                    }
                    2 if !model.is_empty() => {
                        let (_, _, id) = model.remove(n as usize % model.len());
                        wheel.remove(id);
                    }
                    _ => {
                        let first = model.iter().map(|timer| timer.0).min();
                        if let (Some(next), Some(first)) = (wheel.next_tick(), first) { assert!(next <= first); }
                        now += n / 4;
                        let mut due: Vec<(u64, u64)> =
                            model.iter().filter(|timer| timer.0 <= now).map(|timer| (timer.0, timer.1)).collect();
                        model.retain(|timer| timer.0 > now);
                        due.sort_unstable();
                        let mut got = Vec::new();
                        while let Some(key) = wheel.expire(now) { got.push(key); }
                        // Equal ticks may fire in the order they reached their slot: compare as sets of one tick.
                        let ticks: std::collections::HashMap<u64, u64> = due.iter().map(|(tick, key)| (*key, *tick)).collect();
                        let mut got: Vec<(u64, u64)> = got.into_iter().map(|key| (ticks[&key], key)).collect();
                        assert!(got.is_sorted_by_key(|timer| timer.0));
                        got.sort_unstable();
                        assert_eq!(got, due);
                    }
                }
                assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
