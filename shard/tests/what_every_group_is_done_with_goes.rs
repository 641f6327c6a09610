//! A message that every group of a work stream is done with goes, and makes room, whatever else happens: a restart, or a
//! loss that groups have to be told of first.

mod common;
mod log_support;
mod logged;

use common::{limits, subscription};
use conduit_protocol::streams::Durability;
use conduit_protocol::{Command, Now, ShardId, Subscribe, TenantId};
use conduit_shard::log::{
    GroupNumber, GroupRecord, LogStart, MessageRecord, Record, SeqRange, StorageWriter, StreamNumber, StreamRecord,
};
use log_support::{IDENTITY, MemoryDisk, message, small_limits};
use logged::Logged;

const NOW: Now = Now { mono_ns: 77_000_000, unix_ms: 1_700_000_000_000 };

/// A stream with two groups that were given nothing, as its log begins.
fn begun(records: &[Record<'_>]) -> Logged {
    let mut disk = MemoryDisk::default();
    let start = LogStart::empty(ShardId(0), IDENTITY);
    let mut writer = StorageWriter::new(small_limits(), start, &mut disk, NOW);
    let stream = StreamRecord {
        stream: StreamNumber(1),
        tenant: TenantId::DEFAULT,
        name: "s",
        epoch: 1,
        next_seq: 1,
        settings: b"",
        gaps: &[],
    };
    writer.append(&Record::Stream(stream)).unwrap();
    for (number, name) in [(1, "a"), (2, "b")] {
        let group = GroupRecord {
            group: GroupNumber(number),
            stream: StreamNumber(1),
            name,
            cursor: 1,
            settings: b"",
            outstanding: &[],
            done: &[],
        };
        writer.append(&Record::Group(group)).unwrap();
    }
    for record in records {
        writer.append(record).unwrap();
    }
    writer.finish().unwrap();
    Logged::on(disk, NOW, (limits(), small_limits(), Durability::Commit))
}

fn acked(group: u32, from: u64, to: u64) -> Record<'static> {
    let ranges: &'static [SeqRange] = Box::leak(Box::new([SeqRange { from, to }]));
    Record::Acked { group: GroupNumber(group), ranges }
}

fn urgent(seq: u64) -> Record<'static> {
    let Record::Message(plain) = message(seq, b"{}") else { unreachable!("it is a message") };
    Record::Message(MessageRecord { priority: 2, ..plain })
}

fn join(logged: &mut Logged, slot: u32, group: &'static str, credit: u64) -> Vec<u64> {
    let subscribe = Subscribe { group: Some(group.into()), ..subscription("s", credit) };
    let mut outcome = logged.bench.command(slot, Command::Subscribe(subscribe));
    outcome.merge(logged.run_ms(100));
    outcome.seqs()
}

fn held(logged: &Logged) -> u64 {
    logged.bench.shard.totals().messages_now
}

#[test]
fn at_the_start_when_nobody_is_left_to_ack_it() {
    let logged = begun(&[message(1, b"{}"), message(2, b"{}"), acked(1, 1, 2), acked(2, 1, 2)]);
    assert_eq!(held(&logged), 0);
}

#[test]
fn when_the_last_one_that_kept_it_is_acked() {
    let messages = [message(1, b"{}"), message(2, b"{}"), message(3, b"{}")];
    let mut logged = begun(&[&messages[..], &[acked(1, 2, 3), acked(2, 1, 3)]].concat());
    assert_eq!(held(&logged), 3);
    assert_eq!(join(&mut logged, 1, "a", 10), [1]);
    logged.bench.ack(1, 1);
    logged.run_ms(100);
    assert_eq!(held(&logged), 0);
}

#[test]
fn when_its_group_comes_past_it_without_an_ack() {
    let messages = [message(1, b"{}"), message(2, b"{}"), message(3, b"{}")];
    let mut logged = begun(&[&messages[..], &[acked(1, 2, 3), acked(2, 1, 3)]].concat());
    assert_eq!(join(&mut logged, 1, "a", 1), [1]);
    logged.bench.ack(1, 1);
    logged.run_ms(100);
    assert_eq!(held(&logged), 2, "it has not looked at them: nobody asks it for more");
    logged.bench.credit(1, 1);
    logged.run_ms(100);
    assert_eq!(held(&logged), 0);
}

#[test]
fn behind_a_gap_that_its_groups_had_to_be_told_of() {
    let mut logged = begun(&[message(1, b"{}"), urgent(3)]);
    for (slot, group) in [(1, "a"), (2, "b")] {
        assert_eq!(join(&mut logged, slot, group, 2), [3, 1]);
        logged.bench.ack(slot, 3);
        logged.bench.ack(slot, 1);
    }
    // Both come past the gap now, and past what is done behind it.
    for slot in [1, 2] {
        let mut outcome = logged.bench.credit(slot, 1);
        outcome.merge(logged.run_ms(100));
        assert_eq!(outcome.gaps.iter().map(|(from, to, _)| (*from, *to)).collect::<Vec<_>>(), [(2, 2)]);
    }
    assert_eq!(held(&logged), 0);
}
