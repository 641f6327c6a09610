//! The judge: which messages came, came twice, came late, or never came.
//!
//! One [`StreamLedger`] per stream belongs to the one thread that drives all the consumers of that stream, so nothing is
//! shared. Per pair of producer and stream it keeps a [`Sequence`]; per consumer it keeps the last number seen, because
//! order is promised to each consumer (competing consumers see the stream's messages interleaved).

use crate::layout::Layout;
use crate::message::{MessageId, SentAt};
use std::collections::VecDeque;

/// How many numbers a [`Sequence`] looks ahead of its first gap (8 MiB of bits). A gap older than this is written off.
const AHEAD_MAX: u64 = 1 << 26;

/// Gaps of a [`Sequence`] that are listed one by one; more are only counted.
const WRITTEN_OFF_LISTED_MAX: usize = 1_000;

/// Which numbers of one (producer, stream) pair have come. Costs one comparison while they come in order.
#[derive(Debug, Default)]
pub struct Sequence {
    /// Every number below has come or is written off.
    next: u64,
    /// Bit `i` of the whole says that `next + i` has come. Bit 0 is never set.
    ahead: VecDeque<u64>,
    /// Gaps that were given up to bound memory.
    written_off: Vec<u64>,
    written_off_count: u64,
}

impl Sequence {
    /// Notes that `number` has come; false when it had come before.
    pub fn take(&mut self, number: u64) -> bool {
        if number == self.next && self.ahead.is_empty() {
            self.next += 1;
            return true;
        }
        self.take_out_of_order(number)
    }

    fn take_out_of_order(&mut self, number: u64) -> bool {
        if number < self.next {
            return self.take_written_off(number);
        }
        while number - self.next > AHEAD_MAX {
            self.write_off_next();
        }
        let distance = number - self.next;
        let (word, bit) = ((distance / 64) as usize, distance % 64);
        if word >= self.ahead.len() {
            self.ahead.resize(word + 1, 0);
        }
        if self.ahead[word] >> bit & 1 == 1 {
            return false;
        }
        self.ahead[word] |= 1 << bit;
        self.settle();
        true
    }

    /// A late number whose gap was given up is not a duplicate.
    fn take_written_off(&mut self, number: u64) -> bool {
        let Some(at) = self.written_off.iter().position(|gap| *gap == number) else { return false };
        self.written_off.swap_remove(at);
        self.written_off_count -= 1;
        true
    }

    fn write_off_next(&mut self) {
        if self.written_off.len() < WRITTEN_OFF_LISTED_MAX {
            self.written_off.push(self.next);
        }
        self.written_off_count += 1;
        if self.ahead.is_empty() {
            self.next += 1;
        } else {
            self.ahead[0] |= 1;
            self.settle();
        }
    }

    /// Moves `next` past everything that has come.
    fn settle(&mut self) {
        while let Some(first) = self.ahead.front().copied() {
            let run = first.trailing_ones();
            if run == 64 {
                self.ahead.pop_front();
                self.next += 64;
                continue;
            }
            if run > 0 {
                self.drop_bits(run);
            }
            break;
        }
        // Trailing words without bits would keep the quick path closed.
        while self.ahead.back() == Some(&0) {
            self.ahead.pop_back();
        }
    }

    /// Shifts the bits down by `count` (1 to 63).
    fn drop_bits(&mut self, count: u32) {
        self.next += u64::from(count);
        for at in 0..self.ahead.len() {
            let above = self.ahead.get(at + 1).copied().unwrap_or(0);
            self.ahead[at] = self.ahead[at] >> count | above << (64 - count);
        }
    }

    /// How many different numbers have come.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.next - self.written_off_count + self.ahead.iter().map(|word| u64::from(word.count_ones())).sum::<u64>()
    }

    /// Numbers below `end` that have not come and are not in `excused` (sorted): the first `listed_max` of them, and how
    /// many there are.
    #[must_use]
    pub fn missing(&self, end: u64, excused: &[u64], listed_max: usize) -> (Vec<u64>, u64) {
        let mut listed = Vec::new();
        let mut count = self.written_off_count - self.written_off.len() as u64;
        let late = (self.next..end).filter(|number| {
            let distance = number - self.next;
            self.ahead.get((distance / 64) as usize).is_none_or(|word| word >> (distance % 64) & 1 == 0)
        });
        for number in self.written_off.iter().copied().filter(|number| *number < end).chain(late) {
            if excused.binary_search(&number).is_ok() {
                continue;
            }
            count += 1;
            if listed.len() < listed_max {
                listed.push(number);
            }
        }
        (listed, count)
    }
}

/// What one delivery is, in the eyes of the judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// New and in order.
    First,
    /// A redelivery of something that had come; allowed, because it says so.
    Redelivered,
    /// Attempt 1 of something that had come.
    Duplicate,
    /// New, but a later number of the same producer came to this consumer before.
    Reordered,
    /// Of another run, or not one of our messages.
    Foreign,
    /// Ours, but of another stream or of a producer that does not publish here.
    Misrouted,
}

/// One consumer's memory of the order: the next number it may see first, for each producer of its stream.
#[derive(Debug, Default)]
pub struct OrderSeen {
    next: Vec<u64>,
}

/// The judge of one stream.
#[derive(Debug)]
pub struct StreamLedger {
    layout: Layout,
    run: u16,
    stream: u32,
    pairs: Vec<Sequence>,
}

impl StreamLedger {
    /// An empty ledger of `stream`.
    #[must_use]
    pub fn new(layout: Layout, run: u16, stream: u32) -> Self {
        let pairs = (0..layout.producers_of(stream)).map(|_| Sequence::default()).collect();
        Self { layout, run, stream, pairs }
    }

    /// A fresh memory of order for one more consumer of this stream.
    #[must_use]
    pub fn order(&self) -> OrderSeen {
        OrderSeen { next: vec![0; self.pairs.len()] }
    }

    /// Judges one delivery to the consumer that `order` belongs to.
    pub fn judge(&mut self, order: &mut OrderSeen, id: MessageId, sent: SentAt, attempt: u64) -> Judgement {
        if id.run != self.run {
            return Judgement::Foreign;
        }
        let place = match self.layout.place_of(id.producer, id.stream) {
            Some(place) if id.stream == self.stream => place,
            _ => return Judgement::Misrouted,
        };
        let is_new = self.pairs[place].take(id.number);
        if attempt > 1 {
            return if is_new { Judgement::First } else { Judgement::Redelivered };
        }
        if !is_new {
            return Judgement::Duplicate;
        }
        // A message that was refused and sent again may rightly come behind later ones.
        if sent.retried {
            return Judgement::First;
        }
        if id.number < order.next[place] {
            return Judgement::Reordered;
        }
        order.next[place] = id.number + 1;
        Judgement::First
    }

    /// The stream's number.
    #[must_use]
    pub const fn stream(&self) -> u32 {
        self.stream
    }

    /// Different messages that came, of all producers.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.pairs.iter().map(Sequence::received).sum()
    }

    /// What never came, per producer, given what each producer published.
    pub fn missing<'a>(&'a self, published: &'a [Published]) -> impl Iterator<Item = Missing> + 'a {
        self.pairs.iter().enumerate().filter_map(move |(place, sequence)| {
            let producer = self.layout.producer_at(self.stream, place as u32);
            let published = &published[producer as usize];
            let end = self.layout.count_in(producer, self.stream, published.tickets);
            let excused: Vec<u64> = published
                .uncertain
                .iter()
                .map(|ticket| self.layout.place_of_ticket(producer, *ticket))
                .filter(|(turn, _)| self.layout.stream_at(producer, *turn) == self.stream)
                .map(|(_, number)| number)
                .collect();
            let (numbers, count) = sequence.missing(end, &excused, MISSING_LISTED_MAX);
            (count > 0).then_some(Missing { producer, stream: self.stream, numbers, count })
        })
    }
}

/// Lost numbers that are listed for one pair.
const MISSING_LISTED_MAX: usize = 10;

/// What one producer has published when the run ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// Tickets 0 to this, exclusive, were sent at least once.
    pub tickets: u64,
    /// Tickets whose fate is unknown or that the server refused for good: they may come and may not. Sorted.
    pub uncertain: Vec<u64>,
    /// Messages the server refused without saying which (WebSocket publishes without `ref`): that many may be missing.
    pub refused_unnamed: u64,
}

/// Messages of one pair that never came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Who published them.
    pub producer: u32,
    /// Where to.
    pub stream: u32,
    /// The first of them.
    pub numbers: Vec<u64>,
    /// All of them.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout = Layout { producers: 2, streams: 1 };
    const SENT: SentAt = SentAt { intended_ns: 0, retried: false };

    fn id(producer: u32, number: u64) -> MessageId {
        MessageId { run: 9, producer, stream: 0, number }
    }

    fn published(tickets: u64, uncertain: &[u64]) -> [Published; 2] {
        let one = Published { tickets, uncertain: uncertain.to_vec(), refused_unnamed: 0 };
        [one.clone(), one]
    }

    #[test]
    fn a_clean_run_is_clean() {
        let mut ledger = StreamLedger::new(LAYOUT, 9, 0);
        let mut order = ledger.order();
        for number in 0..1_000 {
            for producer in 0..2 {
                assert_eq!(ledger.judge(&mut order, id(producer, number), SENT, 1), Judgement::First);
            }
        }
        assert_eq!(ledger.received(), 2_000);
        assert_eq!(ledger.missing(&published(1_000, &[])).count(), 0);
    }

    #[test]
    fn a_lost_message_is_named() {
        let mut ledger = StreamLedger::new(LAYOUT, 9, 0);
        let mut order = ledger.order();
        for number in (0..200).filter(|number| *number != 130) {
            ledger.judge(&mut order, id(0, number), SENT, 1);
            ledger.judge(&mut order, id(1, number), SENT, 1);
        }
        ledger.judge(&mut order, id(1, 130), SENT, 1);
        let missing: Vec<_> = ledger.missing(&published(201, &[])).collect();
        assert_eq!(missing[0], Missing { producer: 0, stream: 0, numbers: vec![130, 200], count: 2 });
        assert_eq!(missing[1], Missing { producer: 1, stream: 0, numbers: vec![200], count: 1 });
        assert_eq!(ledger.received(), 399);
    }

    #[test]
    fn an_uncertain_message_is_excused_and_no_other() {
        let ledger = StreamLedger::new(LAYOUT, 9, 0);
        let missing: Vec<_> = ledger.missing(&published(2, &[1])).collect();
        assert_eq!(missing[0].numbers, [0]);
    }

    #[test]
    fn a_duplicate_is_told_from_a_redelivery() {
        let mut ledger = StreamLedger::new(LAYOUT, 9, 0);
        let mut order = ledger.order();
        assert_eq!(ledger.judge(&mut order, id(0, 0), SENT, 1), Judgement::First);
        assert_eq!(ledger.judge(&mut order, id(0, 0), SENT, 2), Judgement::Redelivered);
        assert_eq!(ledger.judge(&mut order, id(0, 0), SENT, 1), Judgement::Duplicate);
        assert_eq!(
            ledger.judge(&mut order, id(0, 5), SENT, 2),
            Judgement::First,
            "attempt 1 went to a consumer that died"
        );
        assert_eq!(ledger.judge(&mut order, id(0, 5), SENT, 1), Judgement::Duplicate);
    }

    #[test]
    fn a_step_back_is_a_reordering_for_one_consumer_but_not_between_two() {
        let mut ledger = StreamLedger::new(LAYOUT, 9, 0);
        let (mut one, mut other) = (ledger.order(), ledger.order());
        assert_eq!(ledger.judge(&mut one, id(0, 1), SENT, 1), Judgement::First);
        assert_eq!(ledger.judge(&mut other, id(0, 0), SENT, 1), Judgement::First);
        assert_eq!(ledger.judge(&mut one, id(0, 3), SENT, 1), Judgement::First);
        assert_eq!(ledger.judge(&mut one, id(0, 2), SENT, 1), Judgement::Reordered);
        let retried = SentAt { intended_ns: 0, retried: true };
        assert_eq!(ledger.judge(&mut other, id(0, 7), SENT, 1), Judgement::First);
        assert_eq!(ledger.judge(&mut other, id(0, 6), retried, 1), Judgement::First);
    }

    #[test]
    fn strangers_are_named_as_such() {
        let mut ledger = StreamLedger::new(LAYOUT, 9, 0);
        let mut order = ledger.order();
        assert_eq!(ledger.judge(&mut order, MessageId { run: 8, ..id(0, 0) }, SENT, 1), Judgement::Foreign);
        assert_eq!(ledger.judge(&mut order, MessageId { stream: 1, ..id(0, 0) }, SENT, 1), Judgement::Misrouted);
        assert_eq!(ledger.judge(&mut order, id(2, 0), SENT, 1), Judgement::Misrouted);
        assert_eq!(ledger.received(), 0);
    }

    #[test]
    fn a_gap_beyond_the_look_ahead_is_written_off_and_still_reported() {
        let mut sequence = Sequence::default();
        assert!(sequence.take(1));
        assert!(sequence.take(AHEAD_MAX), "at the limit");
        assert_eq!(sequence.next, 0);
        assert!(sequence.take(AHEAD_MAX + 1), "limit and one: the gap at 0 is given up");
        assert_eq!(sequence.next, 2);
        assert_eq!(sequence.missing(2, &[], 10), (vec![0], 1));
        assert!(sequence.take(0), "it came after all");
        assert!(!sequence.take(0));
        assert_eq!(sequence.missing(2, &[], 10), (vec![], 0));
    }
}
