//! The table of settings: the only place where a setting is declared.

use crate::config::{Config, LogFormat, LogLevel};
use crate::setting::{Bounds, Group, Setting, Slot, Unit};

/// Most shards of one server.
pub const SHARDS_MAX: usize = 1_024;

/// A day in milliseconds: the longest any wait may be set to.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The largest byte bound that makes sense on one machine: 64 TiB.
const BYTES_MAX: u64 = 1 << 46;

type Place = fn(&mut Config) -> Slot<'_>;

/// A row whose unit is its name, such as a count or a port.
const fn row(
    flag: &'static str,
    env: &'static str,
    group: Group,
    bounds: Bounds,
    slot: Place,
    doc: &'static str,
) -> Setting {
    Setting { flag, env, group, bounds, unit: Unit::None, slot, doc }
}

/// A row that counts bytes or time.
const fn measure(
    (flag, env): (&'static str, &'static str),
    group: Group,
    unit: Unit,
    (min, max): (u64, u64),
    slot: Place,
    doc: &'static str,
) -> Setting {
    Setting { flag, env, group, bounds: Bounds::Range(min, max), unit, slot, doc }
}

/// Every setting, grouped, in the order of the help text.
pub static SETTINGS: &[Setting] = &[
    row(
        "bind",
        "CONDUIT_BIND",
        Group::Listen,
        Bounds::Form("an IPv4 or IPv6 address, such as 127.0.0.1, 0.0.0.0 or ::"),
        |config| Slot::Ip(&mut config.bind),
        "Address that both ports listen on. There is no TLS and no login yet: leave it on the loopback, or put a proxy in front.",
    ),
    row(
        "http-port",
        "CONDUIT_HTTP_PORT",
        Group::Listen,
        Bounds::Range(0, 65_535),
        |config| Slot::U16(&mut config.http_port),
        "First port; 0 takes any free one. Every port serves HTTP and WebSocket alike.",
    ),
    row(
        "ws-port",
        "CONDUIT_WS_PORT",
        Group::Listen,
        Bounds::Range(0, 65_535),
        |config| Slot::U16(&mut config.ws_port),
        "Second port; 0 takes any free one.",
    ),
    row(
        "max-global-connections",
        "CONDUIT_MAX_GLOBAL_CONNECTIONS",
        Group::Listen,
        Bounds::Range(1, 10_000_000),
        |config| Slot::Usize(&mut config.connections_max),
        "Connections of the whole server, shared out evenly among the shards. Beyond its share a shard answers 503 TooManyConnections and closes.",
    ),
    row(
        "shards",
        "CONDUIT_SHARDS",
        Group::Threads,
        Bounds::Range(1, SHARDS_MAX as u64),
        |config| Slot::U16(&mut config.shards),
        "Threads that own streams and sockets. More shards than cores is allowed: they run unpinned, and slower.",
    ),
    row(
        "cpus",
        "CONDUIT_CPUS",
        Group::Threads,
        Bounds::Form("CPU numbers and ranges such as 0,2-5, one CPU for each shard"),
        |config| Slot::Cpus(&mut config.cpus),
        "CPUs to pin the shards to, in shard order. Without --shards it also sets their number.",
    ),
    measure(
        ("spin-us", "CONDUIT_SPIN_US"),
        Group::Threads,
        Unit::Us,
        (0, 1_000),
        |config| Slot::U64(&mut config.spin_us),
        "How long a shard looks for work before it sleeps. 20 to 50 saves a wake-up of about 30 us and costs idle CPU.",
    ),
    row(
        "mesh-capacity",
        "CONDUIT_MESH_CAPACITY",
        Group::Threads,
        Bounds::Range(16, 65_536),
        |config| Slot::Usize(&mut config.mesh_capacity),
        "Messages on the way from one shard to another. Full: the source connections are not read until there is room.",
    ),
    measure(
        ("shutdown-timeout-ms", "CONDUIT_SHUTDOWN_TIMEOUT_MS"),
        Group::Process,
        Unit::Ms,
        (0, 3_600_000),
        |config| Slot::U64(&mut config.shutdown_timeout_ms),
        "Longest shutdown. The server stops as soon as it is idle; 0 cuts everything off at once.",
    ),
    row(
        "log-level",
        "CONDUIT_LOG_LEVEL",
        Group::Process,
        Bounds::Choice(LogLevel::TEXTS),
        |config| Slot::Level(&mut config.log_level),
        "The least severe diagnostic written to standard error. Messages are never logged.",
    ),
    row(
        "log-format",
        "CONDUIT_LOG_FORMAT",
        Group::Process,
        Bounds::Choice(LogFormat::TEXTS),
        |config| Slot::Format(&mut config.log_format),
        "Diagnostics as lines for people or as JSON lines.",
    ),
    measure(
        ("max-request-line", "CONDUIT_MAX_REQUEST_LINE"),
        Group::Http,
        Unit::Bytes,
        (256, 32_768),
        |config| Slot::Usize(&mut config.protocol.request_line_bytes_max),
        "Request line. More: 414 and close.",
    ),
    measure(
        ("max-header-size", "CONDUIT_MAX_HEADER_SIZE"),
        Group::Http,
        Unit::Bytes,
        (1_024, 32_768),
        |config| Slot::Usize(&mut config.protocol.head_bytes_max),
        "Request line and header section together. More: 431 and close.",
    ),
    row(
        "max-headers",
        "CONDUIT_MAX_HEADERS",
        Group::Http,
        Bounds::Range(8, 128),
        |config| Slot::Usize(&mut config.protocol.headers_max),
        "Header fields of a request. More: 431 and close.",
    ),
    measure(
        ("max-json-size", "CONDUIT_MAX_JSON_SIZE"),
        Group::Http,
        Unit::Bytes,
        (1_024, 1 << 30),
        |config| Slot::Usize(&mut config.protocol.body_bytes_max),
        "Request body of any type, chunking removed. More: 413 and close.",
    ),
    row(
        "max-batch-lines",
        "CONDUIT_MAX_BATCH_LINES",
        Group::Http,
        Bounds::Range(1, 1_000_000),
        |config| Slot::Usize(&mut config.protocol.batch_lines_max),
        "Lines of one application/x-ndjson body. More: 413 and nothing is stored.",
    ),
    measure(
        ("keepalive-timeout-ms", "CONDUIT_KEEPALIVE_TIMEOUT_MS"),
        Group::Http,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.protocol.keep_alive_ms),
        "Idle time between requests. Then the connection is closed.",
    ),
    measure(
        ("headers-timeout-ms", "CONDUIT_HEADERS_TIMEOUT_MS"),
        Group::Http,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.protocol.headers_ms),
        "From a request's first byte to the end of its headers. Then 408 and close.",
    ),
    measure(
        ("request-timeout-ms", "CONDUIT_REQUEST_TIMEOUT_MS"),
        Group::Http,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.protocol.request_ms),
        "From a request's first byte to the end of its body. Then 408 and close.",
    ),
    row(
        "codec-max-depth",
        "CONDUIT_CODEC_MAX_DEPTH",
        Group::Http,
        Bounds::Range(1, 128),
        |config| Slot::Usize(&mut config.protocol.depth_max),
        "Nesting of a decoded value, on HTTP and WebSocket: a scalar is 0, each object or array adds 1. More: 400 or 1007.",
    ),
    row(
        "unanswered-max",
        "CONDUIT_UNANSWERED_MAX",
        Group::Http,
        Bounds::Range(1, 65_536),
        |config| Slot::Usize(&mut config.protocol.unanswered_max),
        "Requests of one connection that wait for their answer. At the limit its bytes are not read until one comes.",
    ),
    measure(
        ("ws-max-message-size", "CONDUIT_WS_MAX_MESSAGE_SIZE"),
        Group::WebSocket,
        Unit::Bytes,
        (1_024, 1 << 30),
        |config| Slot::Usize(&mut config.protocol.message_bytes_max),
        "One WebSocket message, all fragments together. More: close 1009.",
    ),
    row(
        "ws-ack-array-max",
        "CONDUIT_WS_ACK_ARRAY_MAX",
        Group::WebSocket,
        Bounds::Range(1, 1_000_000),
        |config| Slot::Usize(&mut config.protocol.ack_array_max),
        "Messages that one ack or nack frame may name. More: close 1003.",
    ),
    measure(
        ("ws-ping-ms", "CONDUIT_WS_PING_MS"),
        Group::WebSocket,
        Unit::Ms,
        (0, DAY_MS),
        |config| Slot::U64(&mut config.protocol.ping_ms),
        "Silence after which the server pings a peer; 0 never pings.",
    ),
    measure(
        ("ws-pong-ms", "CONDUIT_WS_PONG_MS"),
        Group::WebSocket,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.protocol.pong_ms),
        "Silence after a ping. Then close 1001.",
    ),
    measure(
        ("ws-close-ms", "CONDUIT_WS_CLOSE_MS"),
        Group::WebSocket,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.protocol.close_ms),
        "Wait for the peer's half of the closing handshake. Then the socket is closed.",
    ),
    measure(
        ("write-stall-ms", "CONDUIT_WRITE_STALL_MS"),
        Group::WebSocket,
        Unit::Ms,
        (100, DAY_MS),
        |config| Slot::U64(&mut config.protocol.write_stall_ms),
        "Time in which a peer, of HTTP too, takes not one byte of what waits for it. Then its socket is closed.",
    ),
    row(
        "streams-max",
        "CONDUIT_STREAMS_MAX",
        Group::Streams,
        Bounds::Range(1, 10_000_000),
        |config| Slot::Usize(&mut config.shard.streams_max),
        "Streams of one shard. More: 503 TooManyStreams.",
    ),
    row(
        "stream-messages-max",
        "CONDUIT_STREAM_MESSAGES_MAX",
        Group::Streams,
        Bounds::Range(1, 1_000_000_000),
        |config| Slot::U64(&mut config.shard.stream_messages_max),
        "Messages one stream holds, delivered and not yet acked ones included. More: 429 Backpressure.",
    ),
    measure(
        ("stream-bytes-max", "CONDUIT_STREAM_BYTES_MAX"),
        Group::Streams,
        Unit::Bytes,
        (1_024, BYTES_MAX),
        |config| Slot::U64(&mut config.shard.stream_bytes_max),
        "Bytes one stream holds. More: 429 Backpressure.",
    ),
    row(
        "shard-messages-max",
        "CONDUIT_SHARD_MESSAGES_MAX",
        Group::Streams,
        Bounds::Range(1, 1_000_000_000),
        |config| Slot::U64(&mut config.shard.shard_messages_max),
        "Messages one shard holds. More: 429 Backpressure.",
    ),
    measure(
        ("shard-bytes-max", "CONDUIT_SHARD_BYTES_MAX"),
        Group::Streams,
        Unit::Bytes,
        (1_024, BYTES_MAX),
        |config| Slot::U64(&mut config.shard.shard_bytes_max),
        "Bytes of messages one shard holds. More: 429 Backpressure. Times the shards, it is the bulk of the memory bound.",
    ),
    measure(
        ("stream-idle-ms", "CONDUIT_STREAM_IDLE_MS"),
        Group::Streams,
        Unit::Ms,
        (0, 365 * DAY_MS),
        |config| Slot::U64(&mut config.shard.stream_idle_ms),
        "An empty stream without consumers is forgotten after this long without use, its figures and seq with it; 0 keeps it.",
    ),
    row(
        "pause-at-per-mille",
        "CONDUIT_PAUSE_AT_PER_MILLE",
        Group::Streams,
        Bounds::Range(1, 1_000),
        |config| Slot::U64(&mut config.shard.pause_at_per_mille),
        "Fill of a stream or shard at which connections that only publish are no longer read.",
    ),
    row(
        "resume-at-per-mille",
        "CONDUIT_RESUME_AT_PER_MILLE",
        Group::Streams,
        Bounds::Range(0, 999),
        |config| Slot::U64(&mut config.shard.resume_at_per_mille),
        "Fill below which they are read again.",
    ),
    measure(
        ("pause-ms-max", "CONDUIT_PAUSE_MS_MAX"),
        Group::Streams,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.shard.pause_ms_max),
        "Longest pause of a publisher. Then it is read again and may be answered Backpressure.",
    ),
    measure(
        ("retry-after-ms", "CONDUIT_RETRY_AFTER_MS"),
        Group::Streams,
        Unit::Ms,
        (1, 3_600_000),
        |config| Slot::U32(&mut config.shard.retry_after_ms),
        "What Backpressure tells a publisher to wait.",
    ),
    row(
        "paused-max",
        "CONDUIT_PAUSED_MAX",
        Group::Streams,
        Bounds::Range(0, 10_000_000),
        |config| Slot::Usize(&mut config.shard.paused_max),
        "Publishers of one shard that may be paused at once. Further ones are read on and may be answered Backpressure.",
    ),
    measure(
        ("free-bytes-max", "CONDUIT_FREE_BYTES_MAX"),
        Group::Streams,
        Unit::Bytes,
        (0, BYTES_MAX),
        |config| Slot::U64(&mut config.shard.free_bytes_max),
        "Free message buffers that one shard keeps for reuse. What is above goes back to the system.",
    ),
    row(
        "snapshot-streams-max",
        "CONDUIT_SNAPSHOT_STREAMS_MAX",
        Group::Streams,
        Bounds::Range(0, 10_000_000),
        |config| Slot::Usize(&mut config.shard.snapshot_streams_max),
        "Streams of one shard that the metrics list by name. Further ones count in the totals only.",
    ),
    row(
        "consumers-max",
        "CONDUIT_CONSUMERS_MAX",
        Group::Consumers,
        Bounds::Range(1, 10_000_000),
        |config| Slot::Usize(&mut config.shard.consumers_max),
        "Consumers of one shard. More: 503 TooManyConnections.",
    ),
    row(
        "consumer-inflight-max",
        "CONDUIT_CONSUMER_INFLIGHT_MAX",
        Group::Consumers,
        Bounds::Range(1, 10_000_000),
        |config| Slot::U32(&mut config.shard.consumer_inflight_max),
        "Deliveries of one consumer that wait for their ack. A larger maxInflight is cut to it.",
    ),
    row(
        "credit-max",
        "CONDUIT_CREDIT_MAX",
        Group::Consumers,
        Bounds::Range(1, 1_000_000_000),
        |config| Slot::U64(&mut config.shard.credit_max),
        "Credit one consumer may hold. A grant beyond it is cut to it.",
    ),
    measure(
        ("outbox-bytes-max", "CONDUIT_OUTBOX_BYTES_MAX"),
        Group::Consumers,
        Unit::Bytes,
        (1_024, 1 << 30),
        |config| Slot::U64(&mut config.shard.outbox_bytes_max),
        "Bytes delivered to one connection and not yet taken by the kernel. At the limit deliveries to it wait.",
    ),
    measure(
        ("ack-wait-ms", "CONDUIT_ACK_WAIT_MS"),
        Group::Consumers,
        Unit::Ms,
        (1, 365 * DAY_MS),
        |config| Slot::U64(&mut config.shard.ack_wait_ms_default),
        "Ack deadline of a subscription that names none with ackWaitMs. Past it the message is delivered again.",
    ),
    measure(
        ("ack-wait-ms-min", "CONDUIT_ACK_WAIT_MS_MIN"),
        Group::Consumers,
        Unit::Ms,
        (1, 365 * DAY_MS),
        |config| Slot::U64(&mut config.shard.ack_wait_ms_min),
        "Shortest ack deadline a subscription may ask for. A shorter one is cut to it.",
    ),
    measure(
        ("ack-wait-ms-max", "CONDUIT_ACK_WAIT_MS_MAX"),
        Group::Consumers,
        Unit::Ms,
        (1, 365 * DAY_MS),
        |config| Slot::U64(&mut config.shard.ack_wait_ms_max),
        "Longest ack deadline a subscription may ask for. A longer one is cut to it.",
    ),
    measure(
        ("nack-delay-ms-max", "CONDUIT_NACK_DELAY_MS_MAX"),
        Group::Consumers,
        Unit::Ms,
        (0, 365 * DAY_MS),
        |config| Slot::U64(&mut config.shard.nack_delay_ms_max),
        "Longest delayMs of a nack. A longer one is cut to it.",
    ),
    row(
        "work-max",
        "CONDUIT_WORK_MAX",
        Group::Consumers,
        Bounds::Range(1, 65_536),
        |config| Slot::Usize(&mut config.shard.work_max),
        "Deliveries a shard makes before it looks at its sockets again.",
    ),
];

/// The setting of a flag.
#[must_use]
pub fn by_flag(flag: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.flag == flag)
}

/// The setting of an environment variable.
#[must_use]
pub fn by_env(env: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.env == env)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn flag_and_variable_are_one_name() {
        for setting in SETTINGS {
            let from_flag = format!("CONDUIT_{}", setting.flag.replace('-', "_").to_uppercase());
            assert_eq!(setting.env, from_flag, "the names of --{} differ", setting.flag);
        }
    }

    #[test]
    fn names_are_unique_and_groups_stand_together() {
        let names: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.env).collect();
        assert_eq!(names.len(), SETTINGS.len());
        let order: Vec<_> =
            SETTINGS.iter().map(|setting| Group::ALL.iter().position(|group| *group == setting.group)).collect();
        assert!(order.is_sorted(), "a setting stands under another group's heading");
    }

    #[test]
    fn every_bound_fits_its_place_and_one_beyond_is_refused() {
        for setting in SETTINGS {
            let Bounds::Range(min, max) = setting.bounds else { continue };
            for inside in [min, max] {
                let mut config = Config::new(1);
                setting.set(&mut config, &inside.to_string()).expect("a bound is inclusive");
                assert_eq!(setting.show(&config), inside.to_string(), "--{} lost its value", setting.flag);
            }
            let mut config = Config::new(1);
            assert!(setting.set(&mut config, &(max + 1).to_string()).is_err(), "--{} takes max + 1", setting.flag);
            if min > 0 {
                assert!(setting.set(&mut config, &(min - 1).to_string()).is_err(), "--{} takes min - 1", setting.flag);
            }
        }
    }

    #[test]
    fn every_default_is_within_its_own_bounds() {
        for setting in SETTINGS {
            if setting.flag == "cpus" {
                continue; // Its default is the absence of a list, which is not a text.
            }
            let mut config = Config::new(4);
            let text = setting.show(&config);
            setting.set(&mut config, &text).unwrap_or_else(|_| panic!("--{} refuses its default {text}", setting.flag));
        }
    }

    #[test]
    fn no_two_settings_share_a_place() {
        for setting in SETTINGS {
            let Bounds::Range(min, max) = setting.bounds else { continue };
            let mut config = Config::new(1);
            let before: Vec<_> = SETTINGS.iter().map(|other| other.show(&config)).collect();
            let other_value = if setting.show(&config) == max.to_string() { min } else { max };
            setting.set(&mut config, &other_value.to_string()).expect("a bound is inclusive");
            let changed = SETTINGS.iter().zip(&before).filter(|(other, was)| other.show(&config) != **was).count();
            assert_eq!(changed, 1, "--{} changes {changed} values", setting.flag);
        }
    }
}
