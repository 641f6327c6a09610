//! How long a commit takes and what it costs its shard's CPU, by either method, beside the disk's own write and sync.
//! Run by hand, on a quiet machine:
//!
//! ```text
//! cargo nextest run --release -p conduit-io --run-ignored only --no-capture commits_take
//! ```

use super::scratch::Scratch;
use super::*;
use std::time::{Duration, Instant};

const SEGMENT: SegmentId = SegmentId(1);
const SEGMENT_BYTES: u64 = 64 << 20;
const COMMITS: usize = 2_000;

struct Figures {
    waits: Vec<Duration>,
    cpu: Duration,
}

impl Figures {
    fn tell(mut self, what: &str, bytes: usize) {
        self.waits.sort_unstable();
        let at = |per_mille: usize| self.waits[self.waits.len() * per_mille / 1_000].as_micros();
        let cpu_us = self.cpu.as_secs_f64() * 1e6 / self.waits.len() as f64;
        eprintln!("{what:34} {bytes:8} B  p50 {:5} us  p99 {:6} us  shard's CPU {cpu_us:6.1} us", at(500), at(990));
    }
}

/// What this thread has used of its CPU.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds"))
}

fn await_one(disk: &mut Disk, readiness: &mut Readiness) {
    let mut ready = Vec::new();
    while disk.in_flight() > 0 {
        readiness.take(&mut ready, 1_000_000_000);
        disk.take(|_, outcome| assert_eq!(outcome, DiskOutcome::Done));
    }
}

fn through_disk(method: Method, bytes: usize, is_beside_preparing: bool) -> Figures {
    let scratch = Scratch::new();
    let mut readiness = Readiness::new().expect("a set");
    let folder = Folder::open(scratch.path()).expect("a folder");
    let mut disk = Disk::open_with(folder, 0, &readiness, method).expect("a disk");
    for request in [
        DiskRequest::Prepare { ticket: Ticket(0), segment: SEGMENT, bytes: SEGMENT_BYTES },
        DiskRequest::Install { ticket: Ticket(0), segment: SEGMENT },
        DiskRequest::SyncDirectory { ticket: Ticket(0) },
    ] {
        disk.submit(request);
        await_one(&mut disk, &mut readiness);
    }
    let batch = vec![0x5a; bytes];
    let slots = SEGMENT_BYTES / bytes as u64;
    let (mut waits, before) = (Vec::with_capacity(COMMITS), cpu());
    let mut preparing = 2;
    let mut ready = Vec::new();
    for at in 0..COMMITS {
        if is_beside_preparing && disk.in_flight() == 0 {
            let segment = SegmentId(preparing);
            disk.submit(DiskRequest::Prepare { ticket: Ticket(1), segment, bytes: SEGMENT_BYTES });
            preparing = 5 - preparing;
        }
        let begun = Instant::now();
        let offset = at as u64 % slots * bytes as u64;
        disk.submit(DiskRequest::Commit { ticket: Ticket(2), segment: SEGMENT, offset, bytes: &batch });
        let mut done = false;
        while !done {
            readiness.take(&mut ready, 1_000_000_000);
            disk.take(|ticket, outcome| {
                assert_eq!(outcome, DiskOutcome::Done);
                done |= ticket == Ticket(2);
            });
        }
        waits.push(begun.elapsed());
    }
    Figures { waits, cpu: cpu() - before }
}

/// The same writes by plain calls, one after the other: what the disk itself takes.
fn by_plain_calls(bytes: usize) -> Figures {
    let scratch = Scratch::new();
    let folder = Folder::open(scratch.path()).expect("a folder");
    filling::fill(&folder, SEGMENT, SEGMENT_BYTES, Access::Direct).expect("filled");
    folder.install(SEGMENT).expect("installed");
    let file = folder.open_segment(SEGMENT, Access::Direct).expect("opened");
    let batch = aligned::AlignedBuffer::zeroed(bytes);
    let (mut waits, before) = (Vec::with_capacity(COMMITS), cpu());
    for at in 0..COMMITS {
        let begun = Instant::now();
        let offset = at as u64 % (SEGMENT_BYTES / bytes as u64) * bytes as u64;
        keeper::write_all(&file, offset, batch.bytes()).expect("written");
        rustix::fs::fdatasync(&file).expect("synced");
        waits.push(begun.elapsed());
    }
    Figures { waits, cpu: cpu() - before }
}

#[test]
#[ignore = "a measurement, and not a property"]
fn commits_take_little_more_than_the_disk() {
    for bytes in [4_096, 65_536, 262_144] {
        by_plain_calls(bytes).tell("write + fdatasync", bytes);
        through_disk(Method::Direct, bytes, false).tell("ring", bytes);
        through_disk(Method::Direct, bytes, true).tell("ring, beside preparing", bytes);
        through_disk(Method::Buffered, bytes, false).tell("keeper, buffered", bytes);
        through_disk(Method::Buffered, bytes, true).tell("keeper, buffered, beside preparing", bytes);
    }
}

#[test]
#[ignore = "a measurement, and not a property"]
fn a_gibibyte_is_read_in_less_than_a_second() {
    use conduit_shard::log::Storage;
    let scratch = Scratch::new();
    let folder = Folder::open(scratch.path()).expect("a folder");
    for segment in 1..=16 {
        filling::fill(&folder, SegmentId(segment), SEGMENT_BYTES, Access::Direct).expect("filled");
        folder.install(SegmentId(segment)).expect("installed");
    }
    for chunk in [1 << 20, 4 << 20] {
        let mut files = Files::open(scratch.path()).expect("a directory");
        let mut buffer = vec![0; chunk];
        let (begun, before) = (Instant::now(), cpu());
        for segment in 1..=16 {
            for offset in (0..SEGMENT_BYTES).step_by(chunk) {
                files.read(SegmentId(segment), offset, &mut buffer).expect("read");
            }
        }
        eprintln!("1 GiB by {chunk}: {:?}, CPU {:?}", begun.elapsed(), cpu() - before);
    }
}
