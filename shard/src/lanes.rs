//! Urgent messages: those with a priority above 0 are found by lanes, and a guard lets the others through.
//!
//! A stream has a lane for each priority from 1 to 3: the seqs of its messages, rising. A group has a place in each lane,
//! as it has a cursor for the messages of priority 0; the cursor passes over what is in a lane. What a group is given
//! next, the first that there is: what came back, priority 3, 2, 1, then 0. A class that was chosen [`GUARD`] times while
//! something waited below it lets the classes below it have the next turn.

use std::collections::VecDeque;

/// Lanes of a stream; the highest priority.
pub(crate) const LANES: usize = 3;
/// Classes that a group chooses from: what came back, one for each lane, the rest.
pub(crate) const CLASSES: usize = LANES + 2;
/// Turns of a class while something waits below it, until it is passed over once.
const GUARD: u8 = 16;
/// So many places are kept whether or not their messages are still there.
const STALE_KEPT: u64 = 64;
/// A lane that has room for more than this gives its memory back when it is empty.
const ROOM_KEPT: usize = 128;

/// What empty lanes may hold, in bytes, and so those with places of messages that went only.
pub(crate) const KEPT_BYTES: u64 = (size_of::<Lanes>() + LANES * ROOM_KEPT * size_of::<u64>()) as u64;

/// The urgent messages of one stream.
///
/// It is not told when a message goes: that is found out at the front of a lane, and everywhere in it when there are more
/// places than messages. See [`Lanes::add`].
#[derive(Debug, Default)]
pub(crate) struct Lanes {
    /// That of the lowest priority first.
    lanes: [VecDeque<u64>; LANES],
}

impl Lanes {
    /// Adds the message of a new seq, of a priority from 1 to 3; a higher one counts as 3. `held` is the number of messages
    /// that are there, and `is_held` says which: a lane never has more than twice as many places and [`STALE_KEPT`].
    pub(crate) fn add(&mut self, priority: u8, seq: u64, held: u64, is_held: impl Fn(u64) -> bool) {
        let Some(index) = usize::from(priority).min(LANES).checked_sub(1) else { return };
        let lane = &mut self.lanes[index];
        debug_assert!(lane.back().is_none_or(|last| *last < seq), "seqs rise");
        if lane.len() as u64 >= held.saturating_mul(2).saturating_add(STALE_KEPT) {
            lane.retain(|seq| is_held(*seq));
        }
        lane.push_back(seq);
    }

    /// Takes what has gone from the fronts of the lanes. Work done here is work that need not be done again.
    pub(crate) fn trim(&mut self, is_held: impl Fn(u64) -> bool) {
        for lane in &mut self.lanes {
            while lane.front().is_some_and(|seq| !is_held(*seq)) {
                lane.pop_front();
            }
            if lane.is_empty() && lane.capacity() > ROOM_KEPT {
                *lane = VecDeque::new();
            }
        }
    }

    /// No message is urgent.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }

    /// A message is urgent.
    #[cfg(test)]
    fn has(&self, seq: u64) -> bool {
        self.lanes.iter().any(|lane| lane.binary_search(&seq).is_ok())
    }

    /// The first place in a lane from a seq on. `lane` counts from 0, the lowest priority.
    pub(crate) fn next(&self, lane: usize, from: u64) -> Option<u64> {
        let lane = self.lanes.get(lane)?;
        lane.get(lane.partition_point(|seq| *seq < from)).copied()
    }

    /// Where the run of urgent messages that begins at a seq ends: the seq itself when it is not urgent. What follows a
    /// run of one lane may be in another.
    pub(crate) fn run_end(&self, seq: u64) -> u64 {
        for lane in &self.lanes {
            if let Ok(at) = lane.binary_search(&seq) {
                // Seqs rise by at least one from place to place: those of the run by exactly one.
                let run = partition(at, lane.len(), |place| lane[place] - seq == (place - at) as u64);
                return seq + (run - at) as u64;
            }
        }
        seq
    }
}

/// The first place of a range for which `is_before` does not hold; it holds for none after that.
fn partition(mut low: usize, mut high: usize, is_before: impl Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// How far a group has come in the lanes of its stream, and whose turn it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneCursors {
    /// The first seq of each lane that was never delivered; that of the lowest priority first.
    next: [u64; LANES],
    /// The first message of each lane that was never delivered, as far as is known; `NONE` for none.
    waiting: [u64; LANES],
    guard: Guard,
}

/// No message: no seq is as high.
const NONE: u64 = u64::MAX;

impl LaneCursors {
    /// Of a group that begins at this seq.
    pub(crate) const fn at(seq: u64) -> Self {
        Self { next: [seq; LANES], waiting: [NONE; LANES], guard: Guard::new() }
    }

    /// The lowest urgent message that was passed by the cursor and never delivered; `u64::MAX` when there is none. It may be
    /// told too low until the next choice, when messages went meanwhile.
    #[inline]
    pub(crate) fn floor(&self) -> u64 {
        self.waiting.iter().copied().fold(NONE, u64::min)
    }

    /// Some urgent message was never delivered, visible or not, as far as was known at the last choice.
    pub(crate) fn has_waiting(&self) -> bool {
        self.floor() != NONE
    }

    /// What is next. It stays next until [`Self::take`].
    pub(crate) fn choose(
        &mut self,
        lanes: &Lanes,
        visible: u64,
        has_returned: bool,
        has_fresh: bool,
    ) -> Option<Choice> {
        self.look(lanes);
        let [low, middle, high] = self.waiting.map(|seq| seq < visible);
        let class = self.guard.choose([has_returned, high, middle, low, has_fresh])?;
        match class {
            0 => Some(Choice::Returned),
            1..=LANES => {
                let lane = LANES - class;
                let seq = self.waiting[lane];
                Some(Choice::Urgent { seq, lane, after: lanes.next(lane, seq + 1).unwrap_or(NONE) })
            }
            _ => Some(Choice::Fresh),
        }
    }

    /// Finds the first message of each lane that was never delivered.
    pub(crate) fn look(&mut self, lanes: &Lanes) {
        self.waiting = std::array::from_fn(|lane| lanes.next(lane, self.next[lane]).unwrap_or(NONE));
    }

    /// There are no urgent messages.
    pub(crate) const fn find_none(&mut self) {
        self.waiting = [NONE; LANES];
    }

    /// Which urgent messages below a group's cursor were never delivered, and which at or above it were; each lane by
    /// itself.
    pub(crate) fn tell_apart(&self, lanes: &Lanes, cursor: u64, waiting: &mut Vec<u64>, taken: &mut Vec<u64>) {
        for (lane, next) in lanes.lanes.iter().zip(self.next) {
            let place = |seq: u64| lane.partition_point(|place| *place < seq);
            let (at_next, at_cursor) = (place(next), place(cursor));
            if at_next < at_cursor {
                waiting.extend(lane.range(at_next..at_cursor));
            } else {
                taken.extend(lane.range(at_cursor..at_next));
            }
        }
    }

    /// What [`Self::choose`] named is being delivered.
    pub(crate) fn take(&mut self, choice: Choice) {
        let class = match choice {
            Choice::Returned => 0,
            Choice::Urgent { seq, lane, after } => {
                self.next[lane] = seq + 1;
                self.waiting[lane] = after;
                LANES - lane
            }
            Choice::Fresh => CLASSES - 1,
        };
        self.guard.take(class);
    }

    /// The message that was next is not there any more: its turn costs nobody anything.
    pub(crate) const fn pass(&mut self, seq: u64, lane: usize) {
        self.next[lane] = seq + 1;
    }
}

/// What a group is given next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// What came back, the lowest seq first.
    Returned,
    /// This urgent message.
    Urgent {
        /// Its seq.
        seq: u64,
        /// Its lane, counted from 0.
        lane: usize,
        /// The next message of the lane.
        after: u64,
    },
    /// The message at the cursor.
    Fresh,
}

/// Lets nobody starve.
#[derive(Debug, Clone, Copy)]
struct Guard {
    /// Turns that each class had while something waited below it, since it was passed over.
    turns: [u8; CLASSES - 1],
    /// Which classes had something at the last choice.
    has: [bool; CLASSES],
}

impl Guard {
    const fn new() -> Self {
        Self { turns: [0; CLASSES - 1], has: [false; CLASSES] }
    }

    /// The class whose turn it is, of those that have something: the first one that was not chosen too often.
    fn choose(&mut self, has: [bool; CLASSES]) -> Option<usize> {
        self.has = has;
        let last = has.iter().rposition(|has| *has)?;
        (0..last).find(|class| has[*class] && self.turns[*class] < GUARD).or(Some(last))
    }

    /// The class that was chosen has its turn.
    fn take(&mut self, class: usize) {
        // Those above it were passed over once, and begin anew.
        for above in 0..class {
            if self.has[above] {
                self.turns[above] = 0;
            }
        }
        if class + 1 < CLASSES && self.has[class + 1..].contains(&true) {
            self.turns[class] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The next turn.
    fn turn(guard: &mut Guard, has: [bool; CLASSES]) -> Option<usize> {
        let class = guard.choose(has);
        assert_eq!(guard.choose(has), class, "what is next stays next");
        class.inspect(|class| guard.take(*class))
    }

    #[test]
    fn a_class_lets_the_next_one_have_every_seventeenth_turn() {
        let mut guard = Guard::new();
        for round in 0..5 {
            for nth in 0..GUARD {
                assert_eq!(turn(&mut guard, [false, true, false, false, true]), Some(1), "{round} {nth}");
            }
            assert_eq!(turn(&mut guard, [false, true, false, false, true]), Some(4), "{round}");
        }
    }

    #[test]
    fn nobody_starves_when_all_classes_have_something() {
        let mut guard = Guard::new();
        let mut turns = [0_u64; CLASSES];
        let share = u64::from(GUARD) + 1;
        for _ in 0..share.pow(4) {
            turns[turn(&mut guard, [true; CLASSES]).unwrap()] += 1;
        }
        let guard = u64::from(GUARD);
        assert_eq!(turns, [guard * share.pow(3), guard * share.pow(2), guard * share, guard, 1]);
    }

    #[test]
    fn turns_without_anybody_below_do_not_count() {
        let mut guard = Guard::new();
        for _ in 0..1_000 {
            assert_eq!(turn(&mut guard, [false, false, true, false, false]), Some(2));
        }
        for _ in 0..GUARD {
            assert_eq!(turn(&mut guard, [false, false, true, true, false]), Some(2));
        }
        assert_eq!(turn(&mut guard, [false, false, true, true, false]), Some(3));
        assert_eq!(turn(&mut guard, [false; CLASSES]), None);
    }

    #[test]
    fn a_run_ends_where_its_lane_has_a_gap() {
        let mut lanes = Lanes::default();
        for (priority, seq) in [(1, 3), (1, 4), (2, 5), (1, 6), (3, 8)] {
            lanes.add(priority, seq, 9, |_| true);
        }
        assert_eq!([1, 3, 4, 5, 6, 7, 8].map(|seq| lanes.run_end(seq)), [1, 5, 5, 6, 7, 7, 9]);
        assert!(lanes.has(5) && !lanes.has(7));
    }

    #[test]
    fn what_is_not_visible_is_not_chosen_and_what_waits_is_known() {
        let mut lanes = Lanes::default();
        for (priority, seq) in [(1, 3), (2, 5), (1, 6), (3, 8)] {
            lanes.add(priority, seq, 9, |_| true);
        }
        let mut cursors = LaneCursors::at(4);
        assert_eq!(cursors.floor(), NONE, "nothing is known yet");
        assert_eq!(cursors.choose(&lanes, 5, false, false), None);
        assert_eq!(cursors.floor(), 5);
        let choice = cursors.choose(&lanes, 8, false, false).unwrap();
        assert_eq!(choice, Choice::Urgent { seq: 5, lane: 1, after: NONE });
        cursors.take(choice);
        assert_eq!(cursors.floor(), 6);
        assert_eq!(cursors.choose(&lanes, 9, false, false), Some(Choice::Urgent { seq: 8, lane: 2, after: NONE }));
    }

    #[test]
    fn priorities_above_the_highest_count_as_that_and_0_is_not_urgent() {
        let mut lanes = Lanes::default();
        lanes.add(0, 1, 9, |_| true);
        assert!(lanes.is_empty());
        lanes.add(200, 2, 9, |_| true);
        assert_eq!(lanes.next(LANES - 1, 0), Some(2));
        lanes.trim(|_| false);
        assert!(lanes.is_empty());
    }

    #[test]
    fn places_of_messages_that_went_never_pile_up() {
        let mut lanes = Lanes::default();
        // The first message stays, so the front of the lane says nothing.
        let mut held = vec![1];
        for seq in 1..10_000 {
            lanes.add(2, seq, held.len() as u64, |seq| held.contains(&seq));
            held.truncate(1);
            held.push(seq);
            lanes.trim(|seq| held.contains(&seq));
            assert!(lanes.lanes[1].len() as u64 <= 2 * 2 + STALE_KEPT + 1);
        }
        lanes.trim(|_| false);
        assert!(lanes.is_empty());
    }

    proptest! {
        /// Publishes, turns and acks in any order: each message is taken once, each class in the order of its seqs.
        #[test]
        fn every_urgent_message_is_taken_once_and_in_order(steps in proptest::collection::vec((0u8..8, 0u64..40), 1..400)) {
            let mut lanes = Lanes::default();
            let mut cursors = LaneCursors::at(1);
            let mut held: BTreeMap<u64, u8> = BTreeMap::new();
            let mut waiting: BTreeMap<u64, u8> = BTreeMap::new();
            let mut next = 1;
            for (step, value) in steps {
                match step {
                    0..=3 => {
                        let priority = step;
                        held.insert(next, priority);
                        lanes.add(priority, next, held.len() as u64, |seq| held.contains_key(&seq));
                        waiting.insert(next, priority);
                        next += 1;
                    }
                    4 => {
                        // Gone, delivered or not.
                        let seq = held.keys().nth(value as usize % held.len().max(1)).copied();
                        if let Some(seq) = seq {
                            held.remove(&seq);
                            waiting.remove(&seq);
                        }
                        lanes.trim(|seq| held.contains_key(&seq));
                    }
                    _ => {
                        let chosen = cursors.choose(&lanes, next, false, false);
                        let Some(choice @ Choice::Urgent { seq, .. }) = chosen else {
                            prop_assert_eq!(chosen, None);
                            prop_assert!(waiting.values().all(|priority| *priority == 0));
                            continue;
                        };
                        cursors.take(choice);
                        // What went while it was not at the front may still be offered: its receiver looks.
                        if held.contains_key(&seq) {
                            let priority = waiting.remove(&seq);
                            prop_assert!(priority.is_some(), "taken once");
                            let first = waiting.iter().find(|(_, of)| **of == priority.unwrap());
                            prop_assert!(first.is_none_or(|(other, _)| *other > seq));
                        }
                    }
                }
                for seq in 1..next + 1 {
                    let urgent = held.get(&seq).is_some_and(|priority| *priority > 0);
                    prop_assert!(!urgent || lanes.has(seq));
                    prop_assert_eq!(lanes.run_end(seq) > seq, lanes.has(seq));
                    prop_assert!((seq..lanes.run_end(seq)).all(|seq| lanes.has(seq)));
                }
            }
        }
    }
}
