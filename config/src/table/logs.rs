//! Reload, drain, and the access logs.

use super::access::BOOLEANS;
use super::{measure, row};
use crate::setting::{Bounds, Group, Setting, Slot, Unit};

/// The rows.
pub(super) const ROWS: &[Setting] = &[
    row(
        "watch",
        "CONDUIT_WATCH",
        "reload.watch",
        Group::Reload,
        Bounds::Choice(BOOLEANS),
        |config| Slot::Bool(&mut config.watch),
        "Reload when one of the configuration's files changes. SIGHUP, mkctl reload and POST /v1/admin/reload do it always.",
    ),
    measure(
        ("reload-drain-timeout-ms", "CONDUIT_RELOAD_DRAIN_TIMEOUT_MS", "reload.drainTimeoutMs"),
        Group::Reload,
        Unit::Ms,
        (0, 3_600_000),
        |config| Slot::U64(&mut config.drain.after_reload_ms),
        "So long after a reload /health answers 503 draining, for load balancers that should give the server a rest. No connection is closed. 0: not at all.",
    )
    .live(),
    row(
        "drain-reject-new",
        "CONDUIT_DRAIN_REJECT_NEW",
        "drain.rejectNew",
        Group::Reload,
        Bounds::Choice(BOOLEANS),
        |config| Slot::Bool(&mut config.drain.reject_new),
        "While the server drains, requests that only read are answered 503 ServerDraining too.",
    )
    .live(),
    measure(
        ("drain-retry-after-ms", "CONDUIT_DRAIN_RETRY_AFTER_MS", "drain.retryAfterMs"),
        Group::Reload,
        Unit::Ms,
        (0, 3_600_000),
        |config| Slot::U32(&mut config.drain.retry_after_ms),
        "When clients of a draining server are told to connect again.",
    )
    .live(),
    row(
        "drain-alternates",
        "CONDUIT_DRAIN_ALTERNATES",
        "drain.alternates",
        Group::Reload,
        Bounds::Form("addresses of other servers, such as wss://b.example.com/v1/subscribe, separated by commas"),
        |config| Slot::Urls(&mut config.drain.alternates),
        "Where clients of a draining server are told to go.",
    )
    .live(),
    row(
        "http-log",
        "CONDUIT_HTTP_LOG",
        "logs.http",
        Group::Logs,
        Bounds::Form("a file, made with its directory when it does not exist, or none"),
        |config| Slot::Path(&mut config.access_log.http),
        "JSON lines about HTTP requests, appended; never a body, a token or a cookie. SIGUSR1 and SIGHUP open it anew.",
    ),
    row(
        "ws-log",
        "CONDUIT_WS_LOG",
        "logs.ws",
        Group::Logs,
        Bounds::Form("a file, made with its directory when it does not exist, or none"),
        |config| Slot::Path(&mut config.access_log.ws),
        "JSON lines about WebSocket connections and their messages, appended; never a payload or a token.",
    ),
    row(
        "http-log-lines-per-s",
        "CONDUIT_HTTP_LOG_LINES_PER_S",
        "logs.httpLinesPerS",
        Group::Logs,
        Bounds::Range(0, 10_000_000),
        |config| Slot::U32(&mut config.access_log.budgets.requests.lines_per_s),
        "Lines about HTTP requests that one shard writes in a second, one and all; 0: only the sample.",
    )
    .live(),
    row(
        "http-log-sample",
        "CONDUIT_HTTP_LOG_SAMPLE",
        "logs.httpSample",
        Group::Logs,
        Bounds::Range(0, 1_000_000_000),
        |config| Slot::U32(&mut config.access_log.budgets.requests.sample),
        "Of what is beyond --http-log-lines-per-s, one request in so many is written; 0: none, 1: all.",
    )
    .live(),
    row(
        "ws-log-lines-per-s",
        "CONDUIT_WS_LOG_LINES_PER_S",
        "logs.wsLinesPerS",
        Group::Logs,
        Bounds::Range(0, 10_000_000),
        |config| Slot::U32(&mut config.access_log.budgets.messages.lines_per_s),
        "Lines about messages (deliver, credit, ack, nack) that one shard writes in a second, one and all; 0: only the sample. Lines about connections are always written.",
    )
    .live(),
    row(
        "ws-log-sample",
        "CONDUIT_WS_LOG_SAMPLE",
        "logs.wsSample",
        Group::Logs,
        Bounds::Range(0, 1_000_000_000),
        |config| Slot::U32(&mut config.access_log.budgets.messages.sample),
        "Of what is beyond --ws-log-lines-per-s, one message in so many is written; 0: none, 1: all.",
    )
    .live(),
    measure(
        ("access-log-queue-bytes-max", "CONDUIT_ACCESS_LOG_QUEUE_BYTES_MAX", "logs.queueBytesMax"),
        Group::Logs,
        Unit::Bytes,
        (65_536, 1 << 30),
        |config| Slot::Usize(&mut config.access_log.queue_bytes_max),
        "Access-log lines of all shards that wait for the disk. More: dropped and counted, never waited for.",
    ),
];
