use super::*;
use conduit_protocol::access_log::{LogSettings, Outcome};
use conduit_protocol::{AccessLog, Encoding, Now};
use std::fs;
use std::net::Ipv4Addr;

const OUTCOME: Outcome<'static> = Outcome {
    status: 200,
    error: None,
    own_error: "",
    reason: "",
    cap: None,
    is_admin: false,
    rule: "",
    decoded_ns: 0,
    bytes_in: 0,
    bytes_out: 0,
    codec: Encoding::Json,
    is_gzip: false,
};

fn request(log: &mut AccessLog, mono_ns: u64) {
    log.request(Now { mono_ns, unix_ms: 0 }, None, Ipv4Addr::LOCALHOST.into(), &OUTCOME);
}

fn shared(bytes_max: usize) -> Arc<Shared> {
    Arc::new(Shared::new(2, bytes_max).expect("an event"))
}

fn lane(shared: &Arc<Shared>, shard: u16) -> Lane {
    Lane::new(shared.clone(), shard)
}

#[test]
fn lines_are_handed_over_when_full_or_due_and_not_before() {
    let shared = shared(1 << 20);
    let mut lane = lane(&shared, 1);
    let mut log = AccessLog::new(1, &LogSettings::default());
    lane.look(0, &mut log);
    assert_eq!(lane.due_ns(), u64::MAX);
    request(&mut log, 5);
    lane.look(6, &mut log);
    assert_eq!((lane.due_ns(), shared.filled.len()), (5 + 100_000_000, 0));
    lane.look(lane.due_ns() - 1, &mut log);
    assert_eq!(shared.filled.len(), 0);
    lane.look(lane.due_ns(), &mut log);
    assert_eq!((shared.filled.len(), lane.due_ns()), (1, u64::MAX));
    let bytes = shared.filled.pop().unwrap().batch.bytes.len();
    assert_eq!(shared.waiting_bytes.load(Ordering::Relaxed), bytes);
    for _ in 0..64 * 1024 / bytes + 1 {
        assert_eq!(shared.filled.len(), 0);
        request(&mut log, 7);
        lane.look(7, &mut log);
    }
    assert_eq!((shared.filled.len(), log.since_ns()), (1, u64::MAX));
}

#[test]
fn without_room_lines_stay_with_the_shard_and_are_dropped_beyond_its_own_bound() {
    let shared = shared(100_000);
    let mut lane = lane(&shared, 0);
    let mut log = AccessLog::new(0, &LogSettings::default());
    let mut now_ns = 1;
    let mut written = 0;
    while log.figures(LogFile::Http).dropped == 0 {
        request(&mut log, now_ns);
        lane.look(now_ns, &mut log);
        now_ns += 1;
        written += 1;
    }
    // One buffer is on the way. The rest waits, up to what a shard keeps, and looks for room ten times a second.
    assert_eq!(shared.filled.len(), 1);
    assert!(log.waiting_bytes(LogFile::Http) < 300_000);
    assert!(lane.due_ns() > now_ns);
    let first = shared.filled.pop().unwrap();
    shared.release(first.batch.bytes.len());
    lane.look(lane.due_ns(), &mut log);
    let second = shared.filled.pop().unwrap();
    assert_eq!(u64::from(first.batch.lines + second.batch.lines) + 1, written);
    assert_eq!(log.figures(LogFile::Http).lines, written - 1);
}

#[test]
fn every_line_handed_over_is_in_the_file_and_buffers_come_back() {
    let folder = std::env::temp_dir().join(format!("conduit-log-writer-{}", std::process::id()));
    let settings = AccessLogSettings {
        http: Some(folder.join("http")),
        ws: None,
        queue_bytes_max: 1 << 20,
        ..AccessLogSettings::default()
    };
    let writer = LogWriter::start(&settings, 2).unwrap().expect("one file is on");
    let shards: Vec<_> = (0..2)
        .map(|shard| {
            let mut lane = writer.lane(shard);
            thread::spawn(move || {
                let mut log = AccessLog::new(shard, &LogSettings::default());
                for mono_ns in 0..5_000 {
                    request(&mut log, mono_ns);
                    lane.look(mono_ns, &mut log);
                    if mono_ns % 1_000 == 0 {
                        lane.finish(&mut log);
                    }
                }
                lane.finish(&mut log);
                log.figures(LogFile::Http)
            })
        })
        .collect();
    let lane = writer.lane(0);
    for shard in shards {
        let figures = shard.join().unwrap();
        assert_eq!((figures.lines, figures.dropped), (5_000, 0));
    }
    let shared = writer.shared.clone();
    writer.finish();
    assert_eq!(shared.waiting_bytes.load(Ordering::Relaxed), 0);
    assert_eq!((lane.lost(LogFile::Http), lane.is_failing(LogFile::Http)), (0, false));
    assert!(shared.spares.iter().any(|spares| !spares.is_empty()));
    let text = fs::read_to_string(folder.join("http")).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with('{') && line.ends_with('}')).count(), 10_000);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn nothing_is_started_when_nothing_is_written() {
    let settings = AccessLogSettings { http: None, ws: None, ..AccessLogSettings::default() };
    assert!(LogWriter::start(&settings, 1).unwrap().is_none());
    let unusable = AccessLogSettings { http: Some("/dev/null/log".into()), ..settings };
    let error = LogWriter::start(&unusable, 1).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("--http-log = /dev/null/log"), "{error}");
}
