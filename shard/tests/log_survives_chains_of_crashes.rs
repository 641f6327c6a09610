//! The process ends at any moment, recovery included, a hundred times in a row: everything that was said to be durable is
//! still there, in order, and nothing is there that was not written.

mod log_support;

use conduit_shard::log::storage::Storage;
use conduit_shard::log::{Class, GroupNumber, Location, LogLimits, LogStart, Record, SegmentId, SeqRange};
use log_support::{Asked, IDENTITY, MemoryDisk, Rig, SHARD, damage, in_words, message, records, scan_all};
use std::collections::{BTreeSet, VecDeque};

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// What must be and what may be in the log, of messages.
#[derive(Default)]
struct Known {
    /// Said to be durable.
    durable: Vec<(Location, String)>,
    /// Appended since, with the number of the batch: recovery may find some of them, from the first on.
    waiting: VecDeque<(u64, Location, String)>,
    /// Segments that nobody needs: they may be there or not.
    let_go: BTreeSet<SegmentId>,
    seq: u64,
    /// How often each rare thing happened.
    found_unpromised: u64,
    ended_torn: u64,
    ended_clean: u64,
    segments_gone: u64,
}

impl Known {
    /// Compares what recovery told with what is known, and takes it as known from now on.
    fn check(&mut self, told: &[(Location, String)], disk: &MemoryDisk) {
        let found: Vec<_> = told.iter().filter(|(_, record)| record.starts_with("MessageRecord")).cloned().collect();
        self.segments_gone += self.let_go.iter().filter(|segment| !disk.files.contains_key(segment)).count() as u64;
        let may_be_gone =
            |at: &Location| self.let_go.contains(&at.segment()) && !disk.files.contains_key(&at.segment());
        self.durable.retain(|(at, _)| !may_be_gone(at));
        let (promised, more) = found.split_at(self.durable.len().min(found.len()));
        assert_eq!(promised, self.durable, "what was said to be durable is there");
        let waiting: Vec<_> = self.waiting.drain(..).map(|(_, at, record)| (at, record)).collect();
        assert!(waiting.starts_with(more), "nothing else is there but the first of what was on its way");
        self.found_unpromised += more.len() as u64;
        self.durable = found;
        self.let_go.clear();
    }

    fn committed(&mut self, upto: u64) {
        while self.waiting.front().is_some_and(|(batch, ..)| *batch <= upto) {
            self.durable.extend(self.waiting.pop_front().map(|(_, at, record)| (at, record)));
        }
    }
}

/// Does a part of what was under way: some sectors of a commit, or a step of the directory or not.
fn tear(disk: &mut MemoryDisk, asked: &Asked, dice: &mut Dice) {
    match asked {
        Asked::Commit(_, segment, offset, bytes) => {
            let is_whole = dice.below(4) == 0;
            for (index, sector) in bytes.chunks(512).enumerate() {
                if is_whole || dice.below(2) == 0 {
                    let at = *offset as usize + index * 512;
                    disk.file(segment.0)[at..at + 512].copy_from_slice(sector);
                }
            }
        }
        Asked::Prepare(_, segment, bytes) => {
            disk.prepared.insert(*segment, vec![0; dice.below(*bytes + 1) as usize]);
        }
        Asked::Install(_, segment) if dice.below(2) == 0 => disk.install(*segment).unwrap(),
        Asked::Remove(_, segment) if dice.below(2) == 0 => disk.remove(*segment).unwrap(),
        Asked::Install(..) | Asked::Remove(..) | Asked::SyncDirectory(_) | Asked::Read(..) => {}
    }
}

/// Works for a while, and ends in the middle of what is under way.
fn work_until_killed(mut rig: Rig, known: &mut Known, dice: &mut Dice) -> MemoryDisk {
    let mut under_way: Vec<Asked> = Vec::new();
    let mut held: Vec<Location> = known.durable.iter().map(|(at, _)| *at).collect();
    for &at in &held {
        rig.log.hold(at);
    }
    let finishes = dice.below(8) == 0;
    for _ in 0..dice.below(80) {
        match dice.below(10) {
            0..4 => {
                known.seq += 1;
                let envelope = vec![b'e'; dice.below(5_000) as usize];
                let record = message(known.seq, &envelope);
                if let Ok(at) = rig.append(&record, Class::Publish) {
                    rig.log.hold(at);
                    held.push(at);
                    known.waiting.push_back((rig.log.appended(), at, in_words(&record)));
                }
            }
            4 => {
                let ranges = [SeqRange { from: 1, to: known.seq.max(1) }];
                let _ = rig.append(&Record::Acked { group: GroupNumber(1), ranges: &ranges }, Class::Upkeep);
                if rig.log.needs_carry_over(rig.now).is_some() {
                    let _ = rig.append(&Record::CarriedOver, Class::Upkeep);
                }
                rig.wait_ms(dice.below(60));
            }
            5 => {
                // Only segments that are not written any more are let go of, so that their messages are all known.
                let newest = held.last().map(|at| at.segment());
                let oldest = held.first().map(|at| at.segment()).filter(|&oldest| Some(oldest) < newest);
                if let Some(oldest) = oldest.filter(|_| rig.disk.files.len() > 4) {
                    held.iter().filter(|at| at.segment() == oldest).for_each(|&at| rig.log.release(at));
                    held.retain(|at| at.segment() != oldest);
                    known.let_go.insert(oldest);
                }
            }
            _ => {
                while let Some(asked) = rig.poll() {
                    under_way.push(asked);
                }
                if !under_way.is_empty() {
                    let asked = under_way.remove(dice.below(under_way.len() as u64) as usize);
                    rig.carry_out(&asked);
                    known.committed(rig.log.committed());
                }
            }
        }
    }
    if finishes {
        under_way.drain(..).for_each(|asked| {
            rig.carry_out(&asked);
        });
        rig.log.finish();
        rig.settle();
        known.committed(rig.log.committed());
    }
    let mut disk = rig.disk;
    for asked in &under_way {
        tear(&mut disk, asked, dice);
    }
    disk
}

fn chain(seed: u64) -> Known {
    let mut dice = Dice(seed);
    let batch_bytes_max = 4_096 * (1 + dice.below(3));
    let limits = LogLimits {
        segment_bytes: 4_096 * (8 + dice.below(8)),
        batch_bytes_max,
        unsynced_bytes_max: batch_bytes_max * (1 + dice.below(4)),
        ..LogLimits::default()
    };
    let mut known = Known::default();
    let mut disk = MemoryDisk::default();
    let mut start = LogStart::empty(SHARD, IDENTITY);
    for life in 0..100 {
        disk = work_until_killed(Rig::on(disk, &limits, start), &mut known, &mut dice);
        // Recovery itself may be cut off and begun again.
        for _ in 0..dice.below(3) {
            scan_all(&mut disk, &limits);
        }
        let (scanned, told) = scan_all(&mut disk, &limits);
        assert_eq!(damage(&told), Vec::<&str>::new(), "life {life} of seed {seed}");
        known.ended_torn += u64::from(scanned.torn_bytes > 0);
        known.ended_clean += u64::from(scanned.ended_clean);
        known.check(&records(&told), &disk);
        start = scanned.start;
    }
    known
}

#[test]
fn a_hundred_lives() {
    let mut all = Known::default();
    for seed in 1..=12 {
        let known = chain(seed);
        all.found_unpromised += known.found_unpromised;
        all.ended_torn += known.ended_torn;
        all.ended_clean += known.ended_clean;
        all.segments_gone += known.segments_gone;
    }
    // Otherwise the chains prove little.
    assert!(all.found_unpromised > 50, "{}", all.found_unpromised);
    assert!(all.ended_torn > 100, "{}", all.ended_torn);
    assert!(all.ended_clean > 20, "{}", all.ended_clean);
    assert!(all.segments_gone > 50, "{}", all.segments_gone);
}
