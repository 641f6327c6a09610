//! How often, and how many at a time.

use super::access::BOOLEANS;
use super::{DAY_MS, measure, row};
use crate::setting::{Bounds, Group, Setting, Slot, Unit};

/// Most of anything in one window.
const RATE_MAX: u64 = 1_000_000_000;

/// The names of a rate, what it counts, and where its value is.
macro_rules! rate {
    ($flag:literal, $env:literal, $yaml:literal, $place:ident, $doc:literal) => {
        row(
            $flag,
            $env,
            $yaml,
            Group::Rates,
            Bounds::Range(0, RATE_MAX),
            |config| Slot::U32(&mut config.rates.$place),
            $doc,
        )
        .live()
    };
}

/// A window that a rate is counted in.
macro_rules! window {
    ($flag:literal, $env:literal, $yaml:literal, $place:ident, $doc:literal) => {
        measure(
            ($flag, $env, $yaml),
            Group::Rates,
            Unit::Ms,
            (1, DAY_MS),
            |config| Slot::U32(&mut config.rates.$place),
            $doc,
        )
        .live()
    };
}

/// The rows.
pub(super) const ROWS: &[Setting] = &[
    row(
        "http-rate-limit-enabled",
        "CONDUIT_HTTP_RATE_LIMIT_ENABLED",
        "rates.http.enabled",
        Group::Rates,
        Bounds::Choice(BOOLEANS),
        |config| Slot::Bool(&mut config.rates.http_enabled),
        "The rates of HTTP requests by address hold. Each address has one account for each endpoint, the whole server over. /health, /perf and /ui cost nothing.",
    )
    .live(),
    rate!(
        "http-rate-limit-per-ip",
        "CONDUIT_HTTP_RATE_LIMIT_PER_IP",
        "rates.http.perIp",
        http_per_ip,
        "HTTP requests of one address to one endpoint in a window, where the endpoint has no rate of its own. More: 429 RateLimitExceeded with Retry-After."
    ),
    window!(
        "http-rate-limit-window-ms",
        "CONDUIT_HTTP_RATE_LIMIT_WINDOW_MS",
        "rates.http.windowMs",
        http_window_ms,
        "The window of the HTTP rates. They fill up evenly within it."
    ),
    rate!(
        "http-rate-limit-enqueue",
        "CONDUIT_HTTP_RATE_LIMIT_ENQUEUE",
        "rates.http.enqueue",
        http_enqueue,
        "Requests to /v1/enqueue in a window; 0: as --http-rate-limit-per-ip."
    ),
    rate!(
        "http-rate-limit-stats",
        "CONDUIT_HTTP_RATE_LIMIT_STATS",
        "rates.http.stats",
        http_stats,
        "Requests to /v1/stats in a window; 0: as --http-rate-limit-per-ip."
    ),
    rate!(
        "http-burst-limit-enqueue",
        "CONDUIT_HTTP_BURST_LIMIT_ENQUEUE",
        "rates.http.burst.enqueue",
        http_burst_enqueue,
        "Requests to /v1/enqueue that an idle address may make at once; 0: as its rate."
    ),
    rate!(
        "http-burst-limit-stats",
        "CONDUIT_HTTP_BURST_LIMIT_STATS",
        "rates.http.burst.stats",
        http_burst_stats,
        "Requests to /v1/stats that an idle address may make at once; 0: as its rate."
    ),
    rate!(
        "max-inflight-requests",
        "CONDUIT_MAX_INFLIGHT_REQUESTS",
        "rates.http.inflightMax",
        http_inflight_max,
        "HTTP requests of the whole server in progress, /v1/live included; 0: no limit. More: 503 TooManyConnections with Retry-After 10."
    ),
    rate!(
        "ws-message-rate-limit",
        "CONDUIT_WS_MESSAGE_RATE_LIMIT",
        "rates.ws.messages",
        ws_messages,
        "Messages from one WebSocket connection in a window, credit and acks included; 0: no limit. More: RateLimitExceeded and close 1008."
    ),
    window!(
        "ws-rate-window-ms",
        "CONDUIT_WS_RATE_WINDOW_MS",
        "rates.ws.messagesWindowMs",
        ws_messages_window_ms,
        "The window of --ws-message-rate-limit."
    ),
    rate!(
        "ws-conn-rate-limit",
        "CONDUIT_WS_CONN_RATE_LIMIT",
        "rates.ws.connections",
        ws_connections,
        "New WebSocket connections of one address in a window; 0: no limit. More: ConnectionRateLimitExceeded and close 1008."
    ),
    window!(
        "ws-conn-rate-window-ms",
        "CONDUIT_WS_CONN_RATE_WINDOW_MS",
        "rates.ws.connectionsWindowMs",
        ws_connections_window_ms,
        "The window of --ws-conn-rate-limit."
    ),
];
