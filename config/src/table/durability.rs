//! What is on the disk.

use super::{BYTES_MAX, measure, row};
use crate::setting::{Bounds, Group, Setting, Slot, Unit};

/// The rows.
pub(super) const ROWS: &[Setting] = &[
    row(
        "data-dir",
        "CONDUIT_DATA_DIR",
        "storage.dataDir",
        Group::Durability,
        Bounds::Form("a directory, made when it does not exist, or none"),
        |config| Slot::Path(&mut config.data_dir),
        "Where streams are kept through a restart, a crash and a power cut. Without it they live in memory.",
    ),
    row(
        "durability",
        "CONDUIT_DURABILITY",
        "storage.durability",
        Group::Durability,
        Bounds::Form(
            "commit, interval(MS) or memory, for all streams or by name: orders/*=commit,metrics*=interval(50),*=memory",
        ),
        |config| Slot::Durability(&mut config.durability),
        "What an accepted message survives where its stream says nothing else. commit: answered when it is on the disk. interval(MS): answered at once, on the disk within that time. memory: lost with the process. The first pattern that matches counts; * stands for any characters; a name that none matches gets commit.",
    ),
    measure(
        ("segment-bytes", "CONDUIT_SEGMENT_BYTES", "storage.segmentBytes"),
        Group::Durability,
        Unit::Bytes,
        (65_536, 1 << 30),
        |config| Slot::U64(&mut config.log.segment_bytes),
        "One file of a shard's log, a multiple of 4,096, at least four times the largest message. Room on the disk comes back in such pieces; each shard has two more than it has filled.",
    ),
    measure(
        ("log-bytes-max", "CONDUIT_LOG_BYTES_MAX", "storage.logBytesMax"),
        Group::Durability,
        Unit::Bytes,
        (0, BYTES_MAX),
        |config| Slot::U64(&mut config.log.log_bytes_max),
        "Files of one shard's log together, at least four segments; 0 for no bound but the disk. More: 507 storage_full until something was consumed.",
    ),
    measure(
        ("log-batch-bytes-max", "CONDUIT_LOG_BATCH_BYTES_MAX", "storage.logBatchBytesMax"),
        Group::Durability,
        Unit::Bytes,
        (4_096, 64 << 20),
        |config| Slot::U64(&mut config.log.batch_bytes_max),
        "One write of the log. What comes in while one is under way goes into the next.",
    ),
    measure(
        ("log-unsynced-bytes-max", "CONDUIT_LOG_UNSYNCED_BYTES_MAX", "storage.logUnsyncedBytesMax"),
        Group::Durability,
        Unit::Bytes,
        (4_096, 1 << 30),
        |config| Slot::U64(&mut config.log.unsynced_bytes_max),
        "What one shard has accepted for its log and the disk has not confirmed. More: 429 Backpressure.",
    ),
    measure(
        ("ack-log-ms", "CONDUIT_ACK_LOG_MS", "storage.ackLogMs"),
        Group::Durability,
        Unit::Ms,
        (0, 60_000),
        |config| Slot::U64(&mut config.log.upkeep_ms),
        "How long acks wait for a publish to be written together with. After a crash, what was acked within this time may be delivered again.",
    ),
    measure(
        ("log-full-retry-ms", "CONDUIT_LOG_FULL_RETRY_MS", "storage.logFullRetryMs"),
        Group::Durability,
        Unit::Ms,
        (1, 3_600_000),
        |config| Slot::U64(&mut config.log.full_retry_ms),
        "How often a shard whose disk was full looks whether there is room again.",
    ),
];
