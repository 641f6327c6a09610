//! Addresses, threads, and what the process does.

use super::{SHARDS_MAX, measure, row};
use crate::config::{LogFormat, LogLevel};
use crate::setting::{Bounds, Group, Setting, Slot, Unit};

/// The rows.
pub(super) const ROWS: &[Setting] = &[
    row(
        "bind",
        "CONDUIT_BIND",
        "listen.bind",
        Group::Listen,
        Bounds::Form("an IPv4 or IPv6 address, such as 127.0.0.1, 0.0.0.0 or ::"),
        |config| Slot::Ip(&mut config.bind),
        "Address that both ports listen on. There is no TLS: beyond the loopback set tokens, and put a proxy in front.",
    ),
    row(
        "http-port",
        "CONDUIT_HTTP_PORT",
        "listen.httpPort",
        Group::Listen,
        Bounds::Range(0, 65_535),
        |config| Slot::U16(&mut config.http_port),
        "First port; 0 takes any free one. Every port serves HTTP and WebSocket alike.",
    ),
    row(
        "ws-port",
        "CONDUIT_WS_PORT",
        "listen.wsPort",
        Group::Listen,
        Bounds::Range(0, 65_535),
        |config| Slot::U16(&mut config.ws_port),
        "Second port; 0 takes any free one.",
    ),
    row(
        "max-global-connections",
        "CONDUIT_MAX_GLOBAL_CONNECTIONS",
        "listen.maxConnections",
        Group::Listen,
        Bounds::Range(1, 10_000_000),
        |config| Slot::Usize(&mut config.connections_max),
        "Connections of the whole server, shared out evenly among the shards. Beyond its share a shard answers 503 TooManyConnections and closes.",
    ),
    row(
        "shards",
        "CONDUIT_SHARDS",
        "threads.shards",
        Group::Threads,
        Bounds::Range(1, SHARDS_MAX as u64),
        |config| Slot::U16(&mut config.shards),
        "Threads that own streams and sockets. More shards than cores is allowed: they run unpinned, and slower.",
    ),
    row(
        "cpus",
        "CONDUIT_CPUS",
        "threads.cpus",
        Group::Threads,
        Bounds::Form("CPU numbers and ranges such as 0,2-5, one CPU for each shard"),
        |config| Slot::Cpus(&mut config.cpus),
        "CPUs to pin the shards to, in shard order. Without --shards it also sets their number.",
    ),
    measure(
        ("spin-us", "CONDUIT_SPIN_US", "threads.spinUs"),
        Group::Threads,
        Unit::Us,
        (0, 1_000),
        |config| Slot::U64(&mut config.spin_us),
        "How long a shard looks for work before it sleeps. 20 to 50 saves a wake-up of about 30 us and costs idle CPU.",
    ),
    row(
        "mesh-capacity",
        "CONDUIT_MESH_CAPACITY",
        "threads.meshCapacity",
        Group::Threads,
        Bounds::Range(16, 65_536),
        |config| Slot::Usize(&mut config.mesh_capacity),
        "Messages on the way from one shard to another. Full: the source connections are not read until there is room.",
    ),
    measure(
        ("shutdown-timeout-ms", "CONDUIT_SHUTDOWN_TIMEOUT_MS", "process.shutdownTimeoutMs"),
        Group::Process,
        Unit::Ms,
        (0, 3_600_000),
        |config| Slot::U64(&mut config.shutdown_timeout_ms),
        "Longest shutdown. The server stops as soon as it is idle; 0 cuts everything off at once.",
    ),
    row(
        "log-level",
        "CONDUIT_LOG_LEVEL",
        "process.logLevel",
        Group::Process,
        Bounds::Choice(LogLevel::TEXTS),
        |config| Slot::Level(&mut config.log_level),
        "The least severe diagnostic written to standard error. Messages are never logged.",
    )
    .live(),
    row(
        "log-format",
        "CONDUIT_LOG_FORMAT",
        "process.logFormat",
        Group::Process,
        Bounds::Choice(LogFormat::TEXTS),
        |config| Slot::Format(&mut config.log_format),
        "Diagnostics as lines for people or as JSON lines.",
    ),
];
