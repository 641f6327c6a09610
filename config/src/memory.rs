//! What the limits add up to: the most memory a server can be made to use.

use crate::config::Config;

/// Bytes of bookkeeping for one connection that is idle: an upper estimate, the kernel's socket not included.
const CONNECTION_IDLE_BYTES: u64 = 4 * 1024;

/// Bytes of one shard's disk: aligned copies of what is being written and read, and the zeros of new segments.
const DISK_BYTES: u64 = 32 << 20;

/// Bytes of one row of a list of streams, groups or consumers: an upper estimate, with the longest names.
const ROW_BYTES: u64 = 2 * 1024;

/// Bytes of the answer to one publish: an upper estimate, with the longest names.
const ANSWER_BYTES: u64 = 2_560;

/// How much longer text can be as JSON than in MessagePack: a control character takes six bytes.
const ESCAPED: u64 = 6;

/// The memory bound of a configuration. Sums saturate: a bound beyond 16 EiB is no bound anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryBound {
    /// Messages of all shards, with everything the broker keeps about them, streams and consumers. With a data directory,
    /// what is on its way to the disk and back comes on top.
    pub messages_bytes: u64,
    /// One connection at its very worst: a request being received while its outbox is full of deliveries and of answers
    /// that its peer does not read, answers wait for an earlier one, and the largest one of all has come last.
    pub connection_bytes: u64,
    /// One idle connection.
    pub connection_idle_bytes: u64,
}

impl MemoryBound {
    /// The bound that follows from the limits.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let shard = &config.shard;
        let request = config.protocol.body_bytes_max.max(config.protocol.message_bytes_max);
        // The largest answers are lists of everything, messages to look at, and the results of a batch.
        let rows = (shard.snapshot_streams_max as u64).saturating_mul(u64::from(config.shards));
        let list = rows.saturating_mul(ROW_BYTES);
        let messages = shard.outbox_bytes_max.max(request as u64).saturating_mul(ESCAPED);
        let batch = (config.protocol.batch_lines_max as u64).saturating_mul(ANSWER_BYTES);
        let documents = list.max(messages).saturating_mul(config.protocol.documents_max as u64);
        let log = if config.data_dir.is_some() { config.log.memory_bytes_max().saturating_add(DISK_BYTES) } else { 0 };
        Self {
            messages_bytes: shard.memory_bytes_max().saturating_add(log).saturating_mul(u64::from(config.shards)),
            connection_bytes: CONNECTION_IDLE_BYTES
                .saturating_add(request as u64)
                .saturating_add(shard.outbox_bytes_max.saturating_mul(2))
                .saturating_add(config.protocol.head_bytes_max as u64)
                // Twice: what has left is squeezed out of it only now and then.
                .saturating_add((config.protocol.early_bytes_max as u64).saturating_mul(2))
                .saturating_add((config.protocol.unanswered_max as u64).saturating_mul(ANSWER_BYTES))
                // Twice: it is copied once on its way.
                .saturating_add(documents.max(batch).saturating_mul(2)),
            connection_idle_bytes: CONNECTION_IDLE_BYTES,
        }
    }
}

/// A number of bytes for people: `4.0 GiB`.
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let power = (63 - bytes.leading_zeros()) / 10;
    let whole = bytes as f64 / (1u64 << (10 * power)) as f64;
    format!("{whole:.1} {}", UNITS[power as usize - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_grows_with_the_shards_and_never_overflows() {
        let mut config = Config::new(1);
        let one = MemoryBound::of(&config);
        config.shards = 2;
        assert_eq!(MemoryBound::of(&config).messages_bytes, one.messages_bytes * 2);
        config.shards = u16::MAX;
        config.shard.shard_bytes_max = 1 << 50;
        assert_eq!(MemoryBound::of(&config).messages_bytes, u64::MAX);
    }

    #[test]
    fn a_log_counts_only_where_there_is_one() {
        let mut config = Config::new(2);
        let without = MemoryBound::of(&config).messages_bytes;
        config.data_dir = Some("data".into());
        let log = config.log.memory_bytes_max() + DISK_BYTES;
        assert_eq!(MemoryBound::of(&config).messages_bytes, without + 2 * log);
    }

    #[test]
    fn the_largest_answer_counts() {
        let mut config = Config::new(1);
        let usual = MemoryBound::of(&config).connection_bytes;
        config.protocol.documents_max += 1;
        assert!(MemoryBound::of(&config).connection_bytes > usual);
        config.protocol.documents_max -= 1;
        config.protocol.early_bytes_max += 1;
        assert_eq!(MemoryBound::of(&config).connection_bytes, usual + 2);
        config.shard.snapshot_streams_max = usize::MAX;
        assert_eq!(MemoryBound::of(&config).connection_bytes, u64::MAX);
    }

    #[test]
    fn bytes_are_told_in_powers_of_1024() {
        for (bytes, text) in
            [(0, "0 B"), (1_023, "1023 B"), (1_024, "1.0 KiB"), (10 << 20, "10.0 MiB"), (4 << 30, "4.0 GiB")]
        {
            assert_eq!(bytes_text(bytes), text);
        }
        assert_eq!(bytes_text(u64::MAX), "16.0 EiB");
    }
}
