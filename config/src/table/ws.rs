//! WebSocket connections.

use super::access::BOOLEANS;
use super::{DAY_MS, measure, row};
use crate::setting::{Bounds, Group, Setting, Slot, Unit};

/// The rows.
pub(super) const ROWS: &[Setting] = &[
    row(
        "codecs-ws",
        "CONDUIT_CODECS_WS",
        "codecs.ws",
        Group::WebSocket,
        Bounds::Choice(BOOLEANS),
        |config| Slot::Bool(&mut config.codecs.ws),
        "WebSocket messages may be MessagePack, by ?codec= or subprotocol. false: they are JSON.",
    )
    .live(),
    measure(
        ("ws-max-message-size", "CONDUIT_WS_MAX_MESSAGE_SIZE", "ws.maxMessageSize"),
        Group::WebSocket,
        Unit::Bytes,
        (1_024, 1 << 30),
        |config| Slot::Usize(&mut config.protocol.message_bytes_max),
        "One WebSocket message, all fragments together. More: close 1009.",
    ),
    row(
        "ws-ack-array-max",
        "CONDUIT_WS_ACK_ARRAY_MAX",
        "ws.ackArrayMax",
        Group::WebSocket,
        Bounds::Range(1, 1_000_000),
        |config| Slot::Usize(&mut config.protocol.ack_array_max),
        "Messages that one ack or nack frame may name. More: close 1003.",
    ),
    measure(
        ("ws-ping-ms", "CONDUIT_WS_PING_MS", "ws.pingMs"),
        Group::WebSocket,
        Unit::Ms,
        (0, DAY_MS),
        |config| Slot::U64(&mut config.protocol.ping_ms),
        "Silence after which the server pings a peer; 0 never pings.",
    ),
    measure(
        ("ws-pong-ms", "CONDUIT_WS_PONG_MS", "ws.pongMs"),
        Group::WebSocket,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.protocol.pong_ms),
        "Silence after a ping. Then close 1001.",
    ),
    measure(
        ("ws-close-ms", "CONDUIT_WS_CLOSE_MS", "ws.closeMs"),
        Group::WebSocket,
        Unit::Ms,
        (1, DAY_MS),
        |config| Slot::U64(&mut config.protocol.close_ms),
        "Wait for the peer's half of the closing handshake. Then the socket is closed.",
    ),
    measure(
        ("write-stall-ms", "CONDUIT_WRITE_STALL_MS", "ws.writeStallMs"),
        Group::WebSocket,
        Unit::Ms,
        (100, DAY_MS),
        |config| Slot::U64(&mut config.protocol.write_stall_ms),
        "Time in which a peer, of HTTP too, takes not one byte of what waits for it. Then its socket is closed.",
    ),
];
