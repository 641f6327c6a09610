//! Our side of one WebSocket connection: what has been said, whether the peer still lives, and how far the closing is.

use super::{close, frame};
use crate::access_log::{AccessLog, Socket};
use crate::codec::{self, Encoding};
use crate::time::NS_PER_MS;
use crate::{Context, ErrorCode, Limits, Now, Refusal, Telemetry, TenantId, Violation};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Bytes of the outbox past which a pong waits until they are written. A peer that pings and never reads can thus not
/// make the outbox grow; of the pings that come meanwhile only the latest is answered (RFC 6455, section 5.5.3).
pub(super) const PONG_OUTBOX_BYTES_MAX: usize = 64 * 1024;

/// Room that an error frame usually needs.
const ERROR_BYTES_EXPECTED: usize = 126;

/// Everything about a connection but what it receives.
#[derive(Debug)]
pub(super) struct Link {
    encoding: Encoding,
    phase: Phase,
    /// `connections_active` includes this connection.
    is_counted: bool,
    /// When `phase` began, or in [`Phase::Open`] when the peer was last heard. `Now::mono_ns`.
    since_ns: u64,
    /// The payload of the latest ping, when its pong has to wait.
    held_pong: Option<Vec<u8>>,
    /// Whose figures include it.
    tenant: TenantId,
    /// What the access log's lines say of it; absent while that log is off.
    pub(super) socket: Option<Box<Socket>>,
}

/// How far a connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The peer has been heard.
    Open,
    /// The peer was silent, was sent a ping, and has not been heard since.
    Pinged,
    /// Our close frame is in the outbox, the peer's has not come.
    Closing,
    /// Both close frames have been seen, or there is no use in waiting for the peer's.
    Finished,
}

impl Link {
    /// A connection whose handshake is done.
    pub(super) fn new(encoding: Encoding, context: &mut Context<'_>) -> Self {
        context.telemetry.ws.connections_total += 1;
        context.telemetry.ws.connections_active += 1;
        Self {
            encoding,
            phase: Phase::Open,
            is_counted: true,
            since_ns: context.now.mono_ns,
            held_pong: None,
            tenant: TenantId::DEFAULT,
            socket: None,
        }
    }

    /// From here on it is counted for a tenant too.
    pub(super) fn belong_to(&mut self, tenant: TenantId, telemetry: &mut Telemetry) {
        self.tenant = tenant;
        telemetry.tenants.count(tenant, |tenant| {
            tenant.connections_total += 1;
            tenant.connections_active += 1;
        });
    }

    /// Messages go both ways.
    #[inline]
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Pinged)
    }

    /// Both sides are done.
    #[inline]
    pub(super) const fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished)
    }

    /// The encoding of every message in both directions.
    pub(super) const fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Bytes came: the peer lives.
    #[inline]
    pub(super) fn hear(&mut self, now: Now) {
        if self.is_open() {
            self.phase = Phase::Open;
            self.since_ns = now.mono_ns;
        }
    }

    /// Appends a message to the outbox: a text frame for JSON, a binary one for MessagePack. `expected_bytes` is a
    /// guess of its length. Nothing is said once our close frame is out (RFC 6455, section 5.5.1).
    #[inline]
    pub(super) fn say(&mut self, expected_bytes: usize, context: &mut Context<'_>, encode: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_open() {
            return;
        }
        let opcode = OpCode::Data(match self.encoding {
            Encoding::Json => Data::Text,
            Encoding::MessagePack => Data::Binary,
        });
        let payload_bytes = frame::append(context.out, opcode, expected_bytes, encode) as u64;
        let counters = &mut context.telemetry.ws;
        counters.messages_out += 1;
        counters.bytes_out += payload_bytes;
        counters.codecs[self.encoding as usize].bytes_out += payload_bytes;
    }

    /// Answers a request with an error; the connection goes on.
    pub(super) fn refuse(&mut self, refusal: &Refusal<'_>, reference: Option<&[u8]>, context: &mut Context<'_>) {
        if !self.is_open() {
            return;
        }
        if let Some(socket) = &self.socket {
            socket.refused(context.now, refusal.code, context.log);
        }
        self.tell(refusal, reference, context);
    }

    fn tell(&mut self, refusal: &Refusal<'_>, reference: Option<&[u8]>, context: &mut Context<'_>) {
        count(refusal.code, self.encoding, context.telemetry);
        context.telemetry.tenants.count(self.tenant, |tenant| tenant.errors += 1);
        let expected_bytes = ERROR_BYTES_EXPECTED + reference.map_or(0, <[u8]>::len);
        let encoding = self.encoding;
        self.say(expected_bytes, context, |out| codec::encode_error(encoding, refusal, reference, out));
    }

    /// Answers a ping, now or when the outbox has room.
    pub(super) fn pong(&mut self, payload: &[u8], context: &mut Context<'_>) {
        if !self.is_open() {
            return;
        }
        if context.out.len() >= PONG_OUTBOX_BYTES_MAX {
            let held = self.held_pong.get_or_insert_default();
            held.clear();
            held.extend_from_slice(payload);
        } else {
            self.held_pong = None;
            append_control(Control::Pong, payload, context.out);
        }
    }

    /// Messages go both ways, and no pong waits.
    #[inline]
    pub(super) const fn is_clear(&self) -> bool {
        self.is_open() && self.held_pong.is_none()
    }

    /// Appends the pong that had to wait, if there is room now.
    #[inline]
    pub(super) fn release_pong(&mut self, context: &mut Context<'_>) {
        if self.held_pong.is_some()
            && context.out.len() < PONG_OUTBOX_BYTES_MAX
            && let Some(payload) = self.held_pong.take()
        {
            self.pong(&payload, context);
        }
    }

    /// Starts the closing: the error frame, then the close frame. Does nothing if it has started.
    pub(super) fn close(&mut self, violation: &Violation, context: &mut Context<'_>) {
        let message = (&*violation.message).into();
        self.close_for(&Refusal { code: violation.code, message, retry_after_ms: None }, context);
    }

    /// The same for a reason that may pass: the error frame says when.
    pub(super) fn close_for(&mut self, refusal: &Refusal<'_>, context: &mut Context<'_>) {
        if !self.is_open() {
            return;
        }
        if let Some(socket) = &mut self.socket {
            socket.closes(refusal.code);
        }
        self.tell(refusal, None, context);
        frame::append(context.out, OpCode::Control(Control::Close), 0, |out| {
            close::append_payload(refusal.code.close_code(), &refusal.message, out);
        });
        self.phase = Phase::Closing;
        self.since_ns = context.now.mono_ns;
        self.held_pong = None;
    }

    /// Starts the closing with a close frame alone: a rule has said what there was to say.
    pub(super) fn close_with(&mut self, code: u16, reason: &str, context: &mut Context<'_>) {
        if !self.is_open() {
            return;
        }
        if let Some(socket) = &mut self.socket {
            socket.closes_with(code);
        }
        frame::append(context.out, OpCode::Control(Control::Close), 0, |out| close::append_payload(code, reason, out));
        self.phase = Phase::Closing;
        self.since_ns = context.now.mono_ns;
        self.held_pong = None;
    }

    /// The peer's close frame has come: echoes its code unless ours is out already. Nothing is expected after it.
    pub(super) fn handle_close(&mut self, code: Option<u16>, context: &mut Context<'_>) {
        if let Some(socket) = &mut self.socket {
            socket.closed_by_peer(code);
        }
        if self.is_open() {
            let code = code.map(u16::to_be_bytes);
            let payload = code.as_ref().map_or(&[][..], |code| &code[..]);
            append_control(Control::Close, payload, context.out);
        }
        self.finish(context);
    }

    /// Expects nothing more from the peer.
    pub(super) fn finish(&mut self, context: &mut Context<'_>) {
        self.phase = Phase::Finished;
        self.held_pong = None;
        self.uncount(context.now, context.telemetry, context.log);
    }

    /// The connection is gone, closed in an orderly way or not. Later calls change nothing.
    pub(super) fn uncount(&mut self, now: Now, telemetry: &mut Telemetry, log: &mut AccessLog) {
        if self.is_counted {
            self.is_counted = false;
            telemetry.ws.connections_active = telemetry.ws.connections_active.saturating_sub(1);
            telemetry.tenants.count(self.tenant, |tenant| {
                tenant.connections_active = tenant.connections_active.saturating_sub(1);
            });
        }
        if let Some(mut socket) = self.socket.take() {
            socket.disconnect(now, log);
        }
    }

    /// See `Session::deadline_ns`.
    pub(super) fn deadline_ns(&self, limits: &Limits) -> Option<u64> {
        let wait_ms = match self.phase {
            Phase::Finished => return None,
            Phase::Closing => limits.close_ms,
            // A pong that waits for the outbox is due whenever someone asks.
            _ if self.held_pong.is_some() => 0,
            Phase::Open if limits.ping_ms == 0 => return None,
            Phase::Open => limits.ping_ms,
            Phase::Pinged => limits.pong_ms,
        };
        Some(self.since_ns.saturating_add(wait_ms.saturating_mul(NS_PER_MS)))
    }

    /// See `Session::handle_deadline`. Returns whether the peer has been silent for long.
    pub(super) fn handle_deadline(&mut self, context: &mut Context<'_>) -> bool {
        self.release_pong(context);
        if self.held_pong.is_some() || self.deadline_ns(context.limits).is_none_or(|due| context.now.mono_ns < due) {
            return false;
        }
        match self.phase {
            Phase::Open => {
                append_control(Control::Ping, &[], context.out);
                self.phase = Phase::Pinged;
                self.since_ns = context.now.mono_ns;
            }
            Phase::Pinged => {
                self.close(&Violation::new(ErrorCode::PingTimeout, "no byte came after a ping"), context);
                self.finish(context);
            }
            Phase::Closing => self.finish(context),
            Phase::Finished => {}
        }
        true
    }
}

/// Appends a control frame with a payload of at most 125 bytes.
fn append_control(control: Control, payload: &[u8], out: &mut Vec<u8>) {
    frame::append(out, OpCode::Control(control), payload.len(), |out| out.extend_from_slice(payload));
}

/// Counts an error that is told to the peer.
fn count(code: ErrorCode, encoding: Encoding, telemetry: &mut Telemetry) {
    telemetry.count_ws_error(code);
    let counters = &mut telemetry.ws;
    match code {
        ErrorCode::MessageTooLarge => counters.size_cap_violations += 1,
        ErrorCode::DecodedSizeExceeded => {
            counters.size_cap_violations += 1;
            counters.codecs[encoding as usize].decode_errors += 1;
        }
        ErrorCode::DepthExceeded => {
            counters.depth_cap_violations += 1;
            counters.codecs[encoding as usize].decode_errors += 1;
        }
        ErrorCode::InvalidJson | ErrorCode::DecodeError => counters.codecs[encoding as usize].decode_errors += 1,
        _ => {}
    }
}
