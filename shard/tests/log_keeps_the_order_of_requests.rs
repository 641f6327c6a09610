//! Whatever happens in whatever order, outcomes late or bad, every request keeps the rules that make a crash harmless,
//! every request gets its outcome used once, and nothing is promised that was not committed.

mod log_support;

use conduit_shard::log::{
    Class, Completed, DiskError, DiskOutcome, GroupNumber, Location, LogLimits, LogStart, LogState, Record, SeqRange,
    Ticket,
};
use log_support::{Asked, IDENTITY, MemoryDisk, Rig, SHARD, in_words, message, records, scan_all};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Publish(usize),
    PublishWithin(usize, u64),
    Ack,
    CarryOver,
    Release,
    Read,
    Flush,
    Finish,
    Wait(u64),
    Poll,
    /// The outcome of the n-th request under way.
    Done(usize),
    Fail(usize, bool),
    /// Bytes that all files may have, in segments; 0 for no bound.
    Room(u64),
    Unknown,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..9_000).prop_map(Step::Publish),
        2 => (0usize..3_000, 0u64..100).prop_map(|(len, ms)| Step::PublishWithin(len, ms)),
        3 => Just(Step::Ack),
        2 => Just(Step::CarryOver),
        4 => Just(Step::Release),
        2 => Just(Step::Read),
        1 => Just(Step::Flush),
        1 => Just(Step::Finish),
        2 => (0u64..2_000).prop_map(Step::Wait),
        8 => Just(Step::Poll),
        16 => (0usize..8).prop_map(Step::Done),
        1 => (0usize..8, prop::bool::weighted(0.1)).prop_map(|(index, broken)| Step::Fail(index, broken)),
        1 => (0u64..6).prop_map(Step::Room),
        1 => Just(Step::Unknown),
    ]
}

struct Program {
    rig: Rig,
    under_way: Vec<Asked>,
    held: Vec<Location>,
    waiting: Vec<(u64, Location, String)>,
    committed: u64,
    seq: u64,
}

impl Program {
    fn append(&mut self, record: &Record<'_>, class: Class) {
        let (state, appended) = (self.rig.log.state(), self.rig.log.appended());
        match self.rig.append(record, class) {
            Ok(at) => {
                assert_ne!(state, LogState::Failed);
                if matches!(record, Record::Message(_)) {
                    self.rig.log.hold(at);
                    self.held.push(at);
                }
                assert!(self.rig.log.appended() > self.rig.log.committed(), "what waits is waited for");
                self.waiting.push((self.rig.log.appended(), at, in_words(record)));
            }
            Err(_) => assert_eq!(self.rig.log.appended(), appended, "a refusal changes nothing"),
        }
    }

    fn publish(&mut self, len: usize, class: Class) {
        self.seq += 1;
        let envelope = vec![b'e'; len];
        self.append(&message(self.seq, &envelope), class);
    }

    fn complete(&mut self, index: usize, failure: Option<DiskError>) {
        if self.under_way.is_empty() {
            return;
        }
        let asked = self.under_way.remove(index % self.under_way.len());
        let completed = match failure {
            Some(error) => self.rig.complete(&asked, DiskOutcome::Failed(error)),
            None => self.rig.carry_out(&asked),
        };
        if let Completed::Committed { upto, .. } = completed {
            assert!(matches!(asked, Asked::Commit(..)) && upto > self.committed);
            self.committed = upto;
        }
        assert_eq!(self.rig.log.complete(self.rig.now, asked.ticket(), DiskOutcome::Done), Completed::Nothing);
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Publish(len) => self.publish(len, Class::Publish),
            Step::PublishWithin(len, ms) => self.publish(len, Class::PublishWithin(ms)),
            Step::Ack => {
                let ranges = [SeqRange { from: 1, to: 9 }];
                self.append(&Record::Acked { group: GroupNumber(1), ranges: &ranges }, Class::Upkeep);
            }
            Step::CarryOver if self.rig.log.needs_carry_over(self.rig.now).is_some() => {
                self.append(&Record::CarriedOver, Class::Upkeep);
            }
            Step::Release if !self.held.is_empty() => {
                let at = self.held.remove(0);
                self.rig.log.release(at);
            }
            Step::Read => {
                if let Some(at) = self.held.first() {
                    let _ = self.rig.log.read(at.segment(), at.offset() / 4_096 * 4_096, 4_096);
                }
            }
            Step::Flush => self.rig.log.flush(),
            Step::Finish => self.rig.log.finish(),
            Step::Wait(ms) => self.rig.wait_ms(ms),
            Step::Poll => {
                while let Some(asked) = self.rig.poll() {
                    self.under_way.push(asked);
                }
            }
            Step::Done(index) => self.complete(index, None),
            Step::Fail(index, broken) => {
                // No room for a commit ends the log, as a broken disk does: that is to be as rare.
                let is_commit = matches!(self.under_way.get(index), Some(Asked::Commit(..)));
                if broken {
                    self.complete(index, Some(DiskError::Broken));
                } else if !is_commit && index < self.under_way.len() {
                    self.complete(index, Some(DiskError::Full));
                }
            }
            Step::Room(0) => self.rig.disk.room = None,
            Step::Room(segments) => self.rig.disk.room = Some(segments * self.rig.limits.segment_bytes),
            Step::Unknown => {
                let unknown = self.rig.log.complete(self.rig.now, Ticket(u64::MAX), DiskOutcome::Done);
                assert_eq!(unknown, Completed::Nothing);
            }
            Step::CarryOver | Step::Release => {}
        }
        assert_eq!(self.rig.log.committed(), self.committed.max(self.rig.log.committed()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn in_any_program(
        steps in prop::collection::vec(step(), 1..250),
        blocks in 8u64..20,
        log_segments in prop_oneof![Just(0u64), 4u64..8],
    ) {
        let limits = LogLimits {
            segment_bytes: blocks * 4_096,
            batch_bytes_max: 8_192,
            unsynced_bytes_max: 30_000,
            log_bytes_max: log_segments * blocks * 4_096,
            reads_max: 3,
            ..LogLimits::default()
        };
        let rig = Rig::on(MemoryDisk::default(), &limits, LogStart::empty(SHARD, IDENTITY));
        let (under_way, held, waiting) = (Vec::new(), Vec::new(), Vec::new());
        let mut program = Program { rig, under_way, held, waiting, committed: 0, seq: 0 };
        for step in &steps {
            program.run(step);
            let bytes = program.rig.log.figures().bytes_now;
            prop_assert!(limits.log_bytes_max == 0 || bytes <= limits.log_bytes_max);
        }
        let committed = program.rig.log.committed();
        let (scanned, told) = scan_all(&mut program.rig.disk, &limits);
        prop_assert_eq!(scanned.damage_count, 0);
        let found = records(&told);
        for (batch, at, record) in &program.waiting {
            let is_there = found.contains(&(*at, record.clone()));
            let is_trimmed = !program.rig.disk.files.contains_key(&at.segment());
            prop_assert!(is_there || is_trimmed || *batch > committed, "batch {batch} of {committed}");
        }
        for (at, record) in &found {
            prop_assert!(program.waiting.iter().any(|(_, place, written)| place == at && written == record));
        }
        for at in &program.held {
            let is_durable = program.waiting.iter().any(|(batch, place, _)| place == at && *batch <= committed);
            prop_assert!(!is_durable || found.iter().any(|(place, _)| place == at), "what is held stays");
        }
    }
}
