//! The judge: everything that is known of one stream of a trial, and what is wrong with it.

use super::payload::Mark;
use super::said::Accepted;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Wrong {
    /// A message whose publish was answered is not there.
    Lost,
    /// One message has two seqs, under one dedup id.
    StoredTwice,
    /// Two messages have had the same seq.
    SeqReused,
    /// A later message of a producer has the lower seq.
    Reordered,
    /// A stream was read back in another order than that of its seqs, or a connection got first deliveries so.
    OutOfSequence,
    /// Something was delivered that nobody published.
    Unpublished,
    /// A message came with other bytes than it was sent with.
    Corrupted,
    /// An answer did not promise what the stream's durability asks for.
    Unpromised,
    /// The stream's numbering began anew.
    Renumbered,
    /// The server reported a gap, though no byte of its disk was damaged.
    Gap,
    /// A dead letter of a message that nobody gave up.
    Undead,
    /// A publish was refused for a reason that repeating does not cure.
    Refused,
    /// The server did not do what it should in any reasonable time.
    Stalled,
    /// The server ended, or did not start, though nobody ended it.
    Died,
    /// A server that is told to end did so with the wrong exit code.
    ExitCode,
}

impl Wrong {
    /// For tables.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Lost => "acknowledged and lost",
            Self::StoredTwice => "stored twice under one dedup id",
            Self::SeqReused => "a seq given twice",
            Self::Reordered => "order of a producer",
            Self::OutOfSequence => "order of a stream",
            Self::Unpublished => "delivered, never published",
            Self::Corrupted => "other bytes than sent",
            Self::Unpromised => "answer without its promise",
            Self::Renumbered => "numbering begun anew",
            Self::Gap => "gap reported",
            Self::Undead => "dead letter, never given up",
            Self::Refused => "refused for good",
            Self::Stalled => "stalled",
            Self::Died => "ended or did not start",
            Self::ExitCode => "wrong exit code",
        }
    }
}

/// Examples kept; more are only counted.
const EXAMPLES_MAX: usize = 20;

/// What was found wrong: how often, and the first examples in words.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wrongs {
    /// How often each.
    pub counts: BTreeMap<Wrong, u64>,
    /// The first ones.
    pub examples: Vec<String>,
}

impl Wrongs {
    /// One more.
    pub fn add(&mut self, what: Wrong, example: impl FnOnce() -> String) {
        *self.counts.entry(what).or_default() += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{}: {}", what.text(), example()));
        }
    }

    /// Those of another part of the trial too.
    pub fn join(&mut self, other: &Self) {
        for (what, count) in &other.counts {
            *self.counts.entry(*what).or_default() += count;
        }
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
    }

    /// Nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How often something was.
    #[must_use]
    pub fn count(&self, what: Wrong) -> u64 {
        self.counts.get(&what).copied().unwrap_or(0)
    }
}

/// What happened, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Publishes that were answered.
    pub answered: u64,
    /// Of those, the ones that were repeats.
    pub duplicates: u64,
    /// Refusals that were tried again.
    pub refused: u64,
    /// Deliveries under load.
    pub delivered: u64,
    /// Of those, the ones that said that they were repeats.
    pub redelivered: u64,
    /// Acks sent under load.
    pub acked: u64,
    /// Messages that consumers gave up.
    pub given_up: u64,
    /// Dead letters found at the end of a round.
    pub dead_letters: u64,
    /// Messages read back at the end of a round.
    pub read_back: u64,
}

impl Figures {
    /// Both together.
    pub fn join(&mut self, other: &Self) {
        self.answered += other.answered;
        self.duplicates += other.duplicates;
        self.refused += other.refused;
        self.delivered += other.delivered;
        self.redelivered += other.redelivered;
        self.acked += other.acked;
        self.given_up += other.given_up;
        self.dead_letters += other.dead_letters;
        self.read_back += other.read_back;
    }
}

/// Groups of one stream, at most: a bit each.
pub const GROUPS_MAX: usize = 4;

/// The highest seq that is kept track of; a round gives far fewer.
const SEQ_MAX: u64 = 1 << 26;

/// What is known of one message.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    /// Its seq; 0 while unknown.
    seq: u64,
    is_answered: bool,
    was_refused: bool,
    /// It came when the stream was read back.
    is_read: bool,
    /// Groups that have acked it under load.
    acked: u8,
    /// Groups that got it when they were drained.
    drained: u8,
    /// Groups that gave it up: it may be among the dead letters.
    given_up: u8,
    /// It is among the dead letters.
    is_dead: bool,
}

/// How a stream is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// What was answered is there until each of so many groups has acked it.
    Work(usize),
    /// What was answered is there.
    Log,
    /// Nothing was promised: what is lost is only counted, and seqs are not looked at.
    Control,
}

/// Everything known of one stream.
#[derive(Debug)]
pub struct StreamTally {
    /// The stream's name.
    pub name: String,
    rule: Rule,
    /// Messages go without a dedup id: one that had to be repeated may be there twice.
    pub may_double: bool,
    producers: HashMap<u32, Vec<Cell>>,
    /// By seq: whose it is, packed; 0 for nobody's.
    owners: Vec<u64>,
    epoch: Option<u64>,
    /// The seq read back last.
    read_last: u64,
    /// What happened.
    pub figures: Figures,
    /// What is wrong.
    pub wrongs: Wrongs,
}

impl StreamTally {
    /// Of a stream of which nothing is known yet.
    #[must_use]
    pub fn new(name: String, rule: Rule) -> Self {
        Self {
            name,
            rule,
            may_double: false,
            producers: HashMap::new(),
            owners: Vec::new(),
            epoch: None,
            read_last: 0,
            figures: Figures::default(),
            wrongs: Wrongs::default(),
        }
    }

    /// How it is judged.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// A producer is about to send its next message for the first time.
    pub fn note_made(&mut self, mark: Mark) {
        let cells = self.producers.entry(mark.producer).or_default();
        if mark.number == cells.len() as u64 {
            cells.push(Cell::default());
        }
    }

    /// A publish was answered. Only answers that may be relied on are noted.
    pub(crate) fn note_answer(&mut self, mark: Mark, accepted: Accepted) {
        self.figures.answered += 1;
        self.figures.duplicates += u64::from(accepted.duplicate);
        if self.rule != Rule::Control && !accepted.durable {
            self.wrong(Wrong::Unpromised, mark, accepted.seq);
        }
        if let Some(cell) = self.cell(mark, accepted.seq) {
            cell.is_answered = true;
        }
    }

    /// A publish was refused and will be repeated: its place in the order is open now.
    pub fn note_refusal(&mut self, mark: Mark) {
        self.figures.refused += 1;
        let cells = self.producers.get_mut(&mark.producer);
        if let Some(cell) = cells.and_then(|cells| cells.get_mut(mark.number as usize)) {
            cell.was_refused = true;
        }
    }

    /// A message came under load.
    pub fn note_delivery(&mut self, mark: Mark, seq: u64, attempt: u32) {
        self.figures.delivered += 1;
        self.figures.redelivered += u64::from(attempt > 1);
        self.cell(mark, seq);
    }

    /// A consumer of a group is about to ack a message that came under load.
    pub fn note_ack(&mut self, group: usize, mark: Mark, seq: u64) {
        self.figures.acked += 1;
        if let Some(cell) = self.cell(mark, seq) {
            cell.acked |= 1 << group;
        }
    }

    /// A consumer of a group is about to give a message up.
    pub fn note_given_up(&mut self, group: usize, mark: Mark, seq: u64) {
        self.figures.given_up += 1;
        if let Some(cell) = self.cell(mark, seq) {
            cell.given_up |= 1 << group;
        }
    }

    /// A message is among the dead letters, which say what seq it had.
    pub fn note_dead(&mut self, mark: Mark, seq: u64) {
        self.figures.dead_letters += 1;
        let Some(cell) = self.cell(mark, seq) else { return };
        cell.is_dead = true;
        if cell.given_up == 0 {
            self.wrong(Wrong::Undead, mark, seq);
        }
    }

    /// A message came when a group was drained.
    pub fn note_drained(&mut self, group: usize, mark: Mark, seq: u64) {
        self.figures.read_back += 1;
        if let Some(cell) = self.cell(mark, seq) {
            cell.drained |= 1 << group;
        }
    }

    /// A message came when the whole stream was read back, lowest seq first.
    pub fn note_read(&mut self, mark: Mark, seq: u64) {
        self.figures.read_back += 1;
        if seq <= self.read_last && self.rule != Rule::Control {
            self.wrong(Wrong::OutOfSequence, mark, seq);
        }
        self.read_last = seq;
        if let Some(cell) = self.cell(mark, seq) {
            cell.is_read = true;
        }
    }

    /// A subscription was greeted with the epoch of the numbering.
    pub fn note_epoch(&mut self, epoch: u64) {
        let first = *self.epoch.get_or_insert(epoch);
        if first != epoch && self.rule != Rule::Control {
            let name = &self.name;
            self.wrongs.add(Wrong::Renumbered, || format!("{name}: epoch {first} became {epoch}"));
        }
    }

    /// Something is wrong with this stream.
    pub fn note_wrong(&mut self, what: Wrong, example: &str) {
        let name = &self.name;
        self.wrongs.add(what, || format!("{name}: {example}"));
    }

    /// The round is over and everything was read back: what is missing, and what is out of order? Returns how many
    /// answered messages are missing; of a control, those are no wrong.
    pub fn judge(&mut self) -> u64 {
        let mut lost = 0;
        let rule = self.rule;
        let (name, wrongs) = (&self.name, &mut self.wrongs);
        let mut producers: Vec<_> = self.producers.iter().collect();
        producers.sort_unstable_by_key(|(producer, _)| **producer);
        for (producer, cells) in producers {
            let mut last = 0;
            for (number, cell) in cells.iter().enumerate() {
                if cell.is_answered && !cell.is_accounted(rule) {
                    lost += 1;
                    if rule != Rule::Control {
                        wrongs.add(Wrong::Lost, || format!("{name}: {producer}-{number}, seq {}: {cell:?}", cell.seq));
                    }
                }
                if rule == Rule::Control || cell.seq == 0 || cell.was_refused {
                    continue;
                }
                if cell.seq < last {
                    let seq = cell.seq;
                    wrongs.add(Wrong::Reordered, || {
                        format!("{name}: {producer}-{number} has seq {seq}, an earlier one of its producer {last}")
                    });
                }
                last = cell.seq.max(last);
            }
        }
        lost
    }

    /// The message's cell, with its seq noted. `None` for what nobody published.
    fn cell(&mut self, mark: Mark, seq: u64) -> Option<&mut Cell> {
        let is_known = self.producers.get(&mark.producer).is_some_and(|cells| (cells.len() as u64) > mark.number);
        if !is_known {
            self.wrong(Wrong::Unpublished, mark, seq);
            return None;
        }
        if self.rule != Rule::Control {
            self.note_seq(mark, seq);
        }
        self.producers.get_mut(&mark.producer)?.get_mut(mark.number as usize)
    }

    fn note_seq(&mut self, mark: Mark, seq: u64) {
        if seq == 0 || seq > SEQ_MAX {
            return self
                .note_wrong(Wrong::Stalled, &format!("{} has seq {seq}, which no round gives", mark.dedup_id()));
        }
        if self.owners.len() <= seq as usize {
            self.owners.resize(seq as usize + 1, 0);
        }
        let packed = u64::from(mark.producer) << 40 | (mark.number + 1);
        let owner = std::mem::replace(&mut self.owners[seq as usize], packed);
        if owner != 0 && owner != packed {
            let other = Mark { producer: (owner >> 40) as u32, number: (owner & ((1 << 40) - 1)) - 1 };
            self.note_wrong(Wrong::SeqReused, &format!("{seq} is {} and {}", other.dedup_id(), mark.dedup_id()));
        }
        let cell = self.producers.get_mut(&mark.producer).and_then(|cells| cells.get_mut(mark.number as usize));
        let Some(cell) = cell else { return };
        let known = std::mem::replace(&mut cell.seq, seq);
        if known != 0 && known != seq && self.may_double {
            // Which of the two comes first says nothing about order.
            cell.was_refused = true;
        } else if known != 0 && known != seq {
            self.note_wrong(Wrong::StoredTwice, &format!("{} has seqs {known} and {seq}", mark.dedup_id()));
        }
    }

    fn wrong(&mut self, what: Wrong, mark: Mark, seq: u64) {
        self.note_wrong(what, &format!("{} with seq {seq}", mark.dedup_id()));
    }
}

impl Cell {
    fn is_accounted(&self, rule: Rule) -> bool {
        match rule {
            Rule::Work(groups) => {
                let given_up = if self.is_dead { self.given_up } else { 0 };
                (0..groups).all(|group| (self.acked | self.drained | given_up) >> group & 1 == 1)
            }
            Rule::Log | Rule::Control => self.is_read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn mark(number: u64) -> Mark {
        Mark { producer: 3, number }
    }

    const fn durable(seq: u64) -> Accepted {
        Accepted { seq, durable: true, duplicate: false }
    }

    /// Four messages, answered with seqs 1 to 4.
    fn published(rule: Rule) -> StreamTally {
        let mut tally = StreamTally::new("s".into(), rule);
        for number in 0..4 {
            tally.note_made(mark(number));
            tally.note_answer(mark(number), durable(number + 1));
        }
        tally
    }

    fn found(tally: &StreamTally) -> Vec<(Wrong, u64)> {
        tally.wrongs.counts.iter().map(|(what, count)| (*what, *count)).collect()
    }

    #[test]
    fn a_log_that_is_read_back_whole_is_right_and_one_message_less_is_a_loss() {
        let mut tally = published(Rule::Log);
        for number in 0..3 {
            tally.note_read(mark(number), number + 1);
        }
        assert_eq!(tally.judge(), 1);
        assert_eq!(found(&tally), [(Wrong::Lost, 1)]);
        let mut tally = published(Rule::Log);
        (0..4).for_each(|number| tally.note_read(mark(number), number + 1));
        assert_eq!((tally.judge(), found(&tally)), (0, vec![]));
    }

    #[test]
    fn every_group_must_have_acked_or_get_each_message_and_a_mere_delivery_is_not_enough() {
        let mut tally = published(Rule::Work(2));
        for number in 0..4 {
            tally.note_delivery(mark(number), number + 1, 1);
            tally.note_ack(0, mark(number), number + 1);
        }
        (0..3).for_each(|number| tally.note_drained(1, mark(number), number + 1));
        assert_eq!(tally.judge(), 1);
        assert_eq!(found(&tally), [(Wrong::Lost, 1)]);
    }

    #[test]
    fn what_was_given_up_must_be_drained_or_a_dead_letter_and_nothing_else_may_be_one() {
        let mut tally = published(Rule::Work(1));
        for number in 0..4 {
            tally.note_delivery(mark(number), number + 1, 1);
            tally.note_given_up(0, mark(number), number + 1);
        }
        tally.note_drained(0, mark(0), 1);
        tally.note_dead(mark(1), 2);
        tally.note_dead(mark(2), 3);
        assert_eq!(tally.judge(), 1);
        assert_eq!(found(&tally), [(Wrong::Lost, 1)]);
        let mut tally = published(Rule::Work(1));
        tally.note_dead(mark(0), 1);
        tally.note_dead(mark(1), 3);
        assert_eq!(found(&tally), [(Wrong::StoredTwice, 1), (Wrong::SeqReused, 1), (Wrong::Undead, 2)]);
    }

    #[test]
    fn what_was_never_answered_may_be_there_or_not() {
        for is_there in [false, true] {
            let mut tally = StreamTally::new("s".into(), Rule::Log);
            tally.note_made(mark(0));
            if is_there {
                tally.note_read(mark(0), 1);
            }
            assert_eq!((tally.judge(), found(&tally)), (0, vec![]));
        }
    }

    #[test]
    fn one_message_with_two_seqs_and_one_seq_with_two_messages_are_found() {
        let mut tally = published(Rule::Log);
        (0..4).for_each(|number| tally.note_read(mark(number), number + 1));
        tally.note_read(mark(0), 5);
        assert_eq!(found(&tally), [(Wrong::StoredTwice, 1)]);
        let mut tally = published(Rule::Work(1));
        tally.note_made(mark(4));
        tally.note_delivery(mark(4), 2, 1);
        assert_eq!(found(&tally), [(Wrong::SeqReused, 1)]);
    }

    #[test]
    fn without_dedup_ids_a_message_may_be_there_twice_and_is_lost_all_the_same_when_it_is_not_there() {
        let mut tally = published(Rule::Log);
        tally.may_double = true;
        (1..4).for_each(|number| tally.note_read(mark(number), number + 1));
        tally.note_read(mark(3), 5);
        assert_eq!((tally.judge(), found(&tally)), (1, vec![(Wrong::Lost, 1)]));
    }

    #[test]
    fn the_order_of_a_producer_is_kept_except_by_what_was_refused_in_between() {
        for was_refused in [false, true] {
            let mut tally = StreamTally::new("s".into(), Rule::Work(0));
            (0..3).for_each(|number| tally.note_made(mark(number)));
            tally.note_answer(mark(0), durable(1));
            tally.note_answer(mark(2), durable(2));
            if was_refused {
                tally.note_refusal(mark(1));
            }
            tally.note_answer(mark(1), durable(3));
            tally.judge();
            let expected = if was_refused { vec![] } else { vec![(Wrong::Reordered, 1)] };
            assert_eq!(found(&tally), expected);
        }
    }

    #[test]
    fn reading_back_goes_up_and_never_shows_what_nobody_made() {
        let mut tally = published(Rule::Log);
        for (number, seq) in [(1, 2), (0, 1), (2, 3), (3, 4)] {
            tally.note_read(mark(number), seq);
        }
        tally.note_read(mark(4), 5);
        tally.judge();
        assert_eq!(found(&tally), [(Wrong::OutOfSequence, 1), (Wrong::Unpublished, 1)]);
    }

    #[test]
    fn an_answer_that_promises_nothing_is_wrong_and_so_is_another_epoch() {
        let mut tally = StreamTally::new("s".into(), Rule::Work(0));
        tally.note_made(mark(0));
        tally.note_answer(mark(0), Accepted { durable: false, ..durable(1) });
        tally.note_epoch(7);
        tally.note_epoch(7);
        tally.note_epoch(8);
        assert_eq!(found(&tally), [(Wrong::Unpromised, 1), (Wrong::Renumbered, 1)]);
    }

    #[test]
    fn what_a_control_loses_is_counted_and_is_no_wrong() {
        let mut tally = StreamTally::new("s".into(), Rule::Control);
        for number in 0..4 {
            tally.note_made(mark(number));
            tally.note_answer(mark(number), Accepted { durable: false, ..durable(number + 1) });
        }
        tally.note_read(mark(0), 1);
        tally.note_read(mark(3), 1);
        assert_eq!((tally.judge(), tally.wrongs.is_empty()), (2, true));
    }
}
