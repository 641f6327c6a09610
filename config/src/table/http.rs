//! HTTP requests.

use super::access::BOOLEANS;
use super::{DAY_MS, measure, row};
use crate::config::CODECS;
use crate::setting::{Bounds, Group, Setting, Slot, Unit};

/// The rows.
pub(super) const ROWS: &[Setting] = &[
    measure(
        ("max-request-line", "CONDUIT_MAX_REQUEST_LINE", "http.maxRequestLine"),
        Group::Http,
        Unit::Bytes,
        (256, 32_768),
        |config| Slot::Usize(&mut config.protocol.request_line_bytes_max),
        "Request line. More: 414 and close.",
    ),
    measure(
        ("max-header-size", "CONDUIT_MAX_HEADER_SIZE", "http.maxHeaderSize"),
        Group::Http,
        Unit::Bytes,
        (1_024, 32_768),
        |config| Slot::Usize(&mut config.protocol.head_bytes_max),
        "Request line and header section together. More: 431 and close.",
    ),
    row(
        "max-headers",
        "CONDUIT_MAX_HEADERS",
        "http.maxHeaders",
        Group::Http,
        Bounds::Range(8, 128),
        |config| Slot::Usize(&mut config.protocol.headers_max),
        "Header fields of a request. More: 431 and close.",
    ),
    measure(
        ("max-json-size", "CONDUIT_MAX_JSON_SIZE", "http.maxJsonSize"),
        Group::Http,
        Unit::Bytes,
        (1_024, 1 << 30),
        |config| Slot::Usize(&mut config.protocol.body_bytes_max),
        "Request body of any type, chunking removed. More: 413 and close.",
    ),
    measure(
        ("max-body", "CONDUIT_MAX_BODY", "http.maxBody"),
        Group::Http,
        Unit::Bytes,
        (1_024, 1 << 30),
        |config| Slot::Usize(&mut config.guards.ruled_body_bytes_max),
        "Request body that rules look into, unpacked. More: 413. Of this and --max-json-size the smaller counts. Bodies of built-in endpoints of which rules see only the head may be larger.",
    )
    .live(),
    row(
        "max-batch-lines",
        "CONDUIT_MAX_BATCH_LINES",
        "http.maxBatchLines",
        Group::Http,
        Bounds::Range(1, 1_000_000),
        |config| Slot::Usize(&mut config.protocol.batch_lines_max),
        "Lines of one application/x-ndjson body. More: 413 and nothing is stored.",
    ),
    measure(
        ("keepalive-timeout-ms", "CONDUIT_KEEPALIVE_TIMEOUT_MS", "http.keepaliveTimeoutMs"),
        Group::Http,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.protocol.keep_alive_ms),
        "Idle time between requests. Then the connection is closed.",
    ),
    measure(
        ("headers-timeout-ms", "CONDUIT_HEADERS_TIMEOUT_MS", "http.headersTimeoutMs"),
        Group::Http,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.protocol.headers_ms),
        "From a request's first byte to the end of its headers. Then 408 and close.",
    ),
    measure(
        ("request-timeout-ms", "CONDUIT_REQUEST_TIMEOUT_MS", "http.requestTimeoutMs"),
        Group::Http,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.protocol.request_ms),
        "From a request's first byte to the end of its body. Then 408 and close.",
    ),
    measure(
        ("max-cookie-length", "CONDUIT_MAX_COOKIE_LENGTH", "http.maxCookieLength"),
        Group::Http,
        Unit::Bytes,
        (0, 32_768),
        |config| Slot::Usize(&mut config.guards.cookie_bytes_max),
        "Cookies of a request. More: 431 CookieTooLarge. Cookies are not read.",
    )
    .live(),
    measure(
        ("large-threshold", "CONDUIT_LARGE_THRESHOLD", "http.largeThreshold"),
        Group::Http,
        Unit::Bytes,
        (1_024, 1 << 40),
        |config| Slot::U64(&mut config.guards.large_bytes),
        "Body, by its Content-Length, of a request that is no upload. More: 413 PayloadTooLarge before the body is read. Of this and --max-json-size the smaller counts.",
    )
    .live(),
    measure(
        ("sse-heartbeat-ms", "CONDUIT_SSE_HEARTBEAT_MS", "http.sseHeartbeatMs"),
        Group::Http,
        Unit::Ms,
        (100, DAY_MS),
        |config| Slot::U64(&mut config.protocol.heartbeat_ms),
        "Time between two heartbeats on /v1/live: a comment is sent, so that proxies keep the connection.",
    ),
    row(
        "codecs-http",
        "CONDUIT_CODECS_HTTP",
        "codecs.http",
        Group::Http,
        Bounds::Choice(BOOLEANS),
        |config| Slot::Bool(&mut config.codecs.http),
        "HTTP bodies and answers may be MessagePack, by Content-Type, Accept and X-Codec. false: they are JSON whatever the headers say.",
    )
    .live(),
    row(
        "default-codec",
        "CONDUIT_DEFAULT_CODEC",
        "codecs.default",
        Group::Http,
        Bounds::Choice(CODECS),
        |config| Slot::Codec(&mut config.codecs.default),
        "Answers where the client does not say what it prefers.",
    )
    .live(),
    measure(
        ("codec-max-decoded-size", "CONDUIT_CODEC_MAX_DECODED_SIZE", "codecs.maxDecodedSize"),
        Group::Http,
        Unit::Bytes,
        (1_024, 1 << 40),
        |config| Slot::U64(&mut config.guards.decoded_bytes_max),
        "A decoded value, on HTTP and WebSocket: texts and keys count their bytes, numbers 8, booleans 1. More: 400 or 1007.",
    )
    .live(),
    row(
        "codec-max-depth",
        "CONDUIT_CODEC_MAX_DEPTH",
        "codecs.maxDepth",
        Group::Http,
        Bounds::Range(1, 128),
        |config| Slot::Usize(&mut config.protocol.depth_max),
        "Nesting of a decoded value, on HTTP and WebSocket: a scalar is 0, each object or array adds 1. More: 400 or 1007.",
    ),
    row(
        "unanswered-max",
        "CONDUIT_UNANSWERED_MAX",
        "http.unansweredMax",
        Group::Http,
        Bounds::Range(1, 65_536),
        |config| Slot::Usize(&mut config.protocol.unanswered_max),
        "Requests of one connection that wait for their answer. At the limit its bytes are not read until one comes.",
    ),
];
