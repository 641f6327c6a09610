//! Every bound of the wire in one place. A limit is inclusive: the value itself passes, one more does not.

/// Bounds on what a connection may send and keep. What happens past each is said beside it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the request line. More: 414 and close.
    pub request_line_bytes_max: usize,
    /// Bytes of request line and header section together. More: 431 and close.
    pub head_bytes_max: usize,
    /// Header fields. More: 431 and close.
    pub headers_max: usize,
    /// Bytes of a request body, after removing chunking, and again after unpacking. More: 413, and close unless it was read.
    pub body_bytes_max: usize,
    /// Bytes that a compressed body may become for each of its own, from `unpacked_bytes_free` on: what unpacking costs is then
    /// bounded by what was sent. More: 413.
    pub unpacked_ratio_max: usize,
    /// Bytes that a compressed body may become however few it has.
    pub unpacked_bytes_free: usize,
    /// Lines of one `application/x-ndjson` body. More: 413, nothing stored.
    pub batch_lines_max: usize,
    /// Bytes of one WebSocket message, all fragments together. More: close 1009.
    pub message_bytes_max: usize,
    /// Nesting of a decoded value: a scalar is 0, each object or array adds 1. More: 400 / 1007.
    pub depth_max: usize,
    /// Bytes of a stream name, in UTF-8. More: 400 / 1008.
    pub stream_name_bytes_max: usize,
    /// Bytes of a message identifier. A longer `id` in an envelope is left alone and not used.
    pub message_id_bytes_max: usize,
    /// Bytes of a group name, in UTF-8. More: 400 / 1003.
    pub group_name_bytes_max: usize,
    /// Bytes of a `dedupId` or `Idempotency-Key`. More: 400 / 1003.
    pub dedup_id_bytes_max: usize,
    /// Bytes of a nack's `error`. More: it is cut.
    pub error_bytes_max: usize,
    /// Longest `delayMs`, and farthest `deliverAt`, in milliseconds from now. More: 400 / 1003.
    pub delay_ms_max: u64,
    /// Messages that one look into a stream returns. A larger `limit` is cut to it.
    pub peek_max: u32,
    /// Bytes of the settings of a stream or group, counted likewise. More: 413, and close when they come in chunks.
    pub settings_bytes_max: usize,
    /// Elements of one ack or nack array. More: 1003.
    pub ack_array_max: usize,
    /// Credit that one connection may hold. A grant beyond it is cut to it.
    pub credit_max: u64,
    /// Requests of one connection that wait for their answer. At the limit the session stops decoding until one comes.
    pub unanswered_max: usize,
    /// Requests of one connection for documents (figures, lists, messages to look at) that wait for their answer: one can be
    /// megabytes. At the limit the session stops decoding until one comes.
    pub documents_max: usize,
    /// Milliseconds in which a document has to come. Then 504 in its place.
    pub document_ms: u64,
    /// Bytes of a connection's responses that wait for an earlier one. Above it the session stops decoding until they leave.
    pub early_bytes_max: usize,
    /// Bytes of an `enqueue` frame's `ref`. More: 1003.
    pub ref_bytes_max: usize,
    /// Milliseconds an HTTP connection may be idle between requests. Then it is closed.
    pub keep_alive_ms: u64,
    /// Milliseconds from the first byte of a request to the end of its header section. Then 408 and close.
    pub headers_ms: u64,
    /// Milliseconds from the first byte of a request to the end of its body. Then 408 and close.
    pub request_ms: u64,
    /// Milliseconds of silence after which the server pings a WebSocket peer. 0: never.
    pub ping_ms: u64,
    /// Milliseconds after a ping without any byte from the peer. Then close 1001.
    pub pong_ms: u64,
    /// Milliseconds between two heartbeats of an event stream. 0: none.
    pub heartbeat_ms: u64,
    /// Milliseconds to wait for the peer's close frame after ours. Then the socket is closed.
    pub close_ms: u64,
    /// Milliseconds in which a peer takes not one byte of what waits for it. Then the socket is closed, without a word:
    /// it could not be said (`SlowConsumer` in the figures).
    pub write_stall_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line_bytes_max: 8 * 1024,
            head_bytes_max: 16 * 1024,
            headers_max: 64,
            body_bytes_max: 10 * 1024 * 1024,
            unpacked_ratio_max: 100,
            unpacked_bytes_free: 1024 * 1024,
            batch_lines_max: 10_000,
            message_bytes_max: 1024 * 1024,
            depth_max: 32,
            stream_name_bytes_max: 255,
            message_id_bytes_max: 256,
            group_name_bytes_max: 128,
            dedup_id_bytes_max: 256,
            error_bytes_max: 1_024,
            delay_ms_max: 365 * 24 * 60 * 60 * 1000,
            peek_max: 100,
            settings_bytes_max: 64 * 1024,
            ack_array_max: 10_000,
            credit_max: 1_000_000,
            unanswered_max: 4_096,
            documents_max: 1,
            document_ms: 30_000,
            early_bytes_max: 1 << 20,
            ref_bytes_max: 1_024,
            keep_alive_ms: 65_000,
            headers_ms: 60_000,
            request_ms: 300_000,
            ping_ms: 30_000,
            pong_ms: 20_000,
            heartbeat_ms: 15_000,
            close_ms: 2_000,
            write_stall_ms: 60_000,
        }
    }
}
