//! Every bound of one shard, each with its consequence.

/// Bounds of a shard. Maxima are inclusive.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Streams of one shard. More: 503 `TooManyStreams`.
    pub streams_max: usize,
    /// Messages one stream holds (backlog and in-flight). More: 429 `Backpressure`.
    pub stream_messages_max: u64,
    /// Bytes one stream holds. More: 429 `Backpressure`.
    pub stream_bytes_max: u64,
    /// Messages one shard holds. More: 429 `Backpressure`.
    pub shard_messages_max: u64,
    /// Bytes one shard holds. More: 429 `Backpressure`.
    pub shard_bytes_max: u64,
    /// Consumers of one shard. More: 503 `TooManyConnections`.
    pub consumers_max: usize,
    /// Deliveries in flight of one consumer. A larger `maxInflight` is cut to it.
    pub consumer_inflight_max: u32,
    /// Credit one consumer may hold. A grant beyond is cut to it.
    pub credit_max: u64,
    /// Bytes delivered to one connection and not yet drained. At the limit the consumer waits for `Drained`.
    pub outbox_bytes_max: u64,
    /// Shortest and longest ack deadline a subscription may ask for, in milliseconds. Outside: cut to it.
    pub ack_wait_ms_min: u64,
    /// See `ack_wait_ms_min`.
    pub ack_wait_ms_max: u64,
    /// Ack deadline of a subscription that names none, in milliseconds.
    pub ack_wait_ms_default: u64,
    /// Longest delay of a nack, in milliseconds. Longer: cut to it.
    pub nack_delay_ms_max: u64,
    /// Deliveries of one `handle` call; the rest follows at the next deadline, which is then due at once.
    pub work_max: usize,
    /// Per mille of a stream's (or the shard's) maximum at which pausable publishers are paused.
    pub pause_at_per_mille: u64,
    /// Per mille below which they are resumed.
    pub resume_at_per_mille: u64,
    /// Longest pause, in milliseconds. Then the publisher is resumed and may be answered `Backpressure`.
    pub pause_ms_max: u64,
    /// What `Backpressure` tells clients to wait, in milliseconds.
    pub retry_after_ms: u32,
    /// An empty stream without consumers is forgotten after this many milliseconds without use. 0: never.
    pub stream_idle_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams_max: 100_000,
            stream_messages_max: 10_000_000,
            stream_bytes_max: 2 << 30,
            shard_messages_max: 20_000_000,
            shard_bytes_max: 4 << 30,
            consumers_max: 100_000,
            consumer_inflight_max: 65_536,
            credit_max: 1_000_000,
            outbox_bytes_max: 1 << 20,
            ack_wait_ms_min: 100,
            ack_wait_ms_max: 12 * 60 * 60 * 1000,
            ack_wait_ms_default: 30_000,
            nack_delay_ms_max: 24 * 60 * 60 * 1000,
            work_max: 256,
            pause_at_per_mille: 875,
            resume_at_per_mille: 750,
            pause_ms_max: 1_000,
            retry_after_ms: 1_000,
            stream_idle_ms: 3_600_000,
        }
    }
}
