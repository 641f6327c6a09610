//! JSON and MessagePack: decoding requests without copying them, encoding answers, and turning one into the other.
//!
//! Decoding is one pass over the bytes that checks all of them (RFC 8259, the MessagePack specification) and keeps
//! slices of them; it allocates only for a name or id with escapes and for an array of acks. The two cursors, `json`
//! and `msgpack`, implement `reader::Reader`; what a request means is written once, in `request`.
//!
//! What is accepted beyond the obvious:
//! * members that are not known are ignored; one that is known and appears twice is `InvalidField` (of two `id` members
//!   of an envelope the last counts);
//! * of several operations in one WebSocket message the first counts, in the order credit, ack, ackUpTo, nack, enqueue;
//! * an empty array of acks is a message that does nothing;
//! * `Limits::depth_max` counts for the whole message, and above [`DEPTH_CEILING`] counts as that.

mod dead_letter;
mod decoded_size;
mod encode;
mod json;
mod json_text;
mod msgpack;
mod name;
mod options;
mod reader;
mod request;
mod settings;
mod slot;
mod transcode;
mod usual;
mod value;

pub use dead_letter::{DeadLetter, dead_letter_original, encode_dead_letter};
pub(crate) use decoded_size::check as check_decoded_size;
pub use name::{LastStream, check_group_name, check_stream_name};
pub use options::check_deliver_at;
pub(crate) use options::is_dedup_id;
pub use reader::DEPTH_CEILING;

use crate::command::{From, MessageRef, Nack, Publish, Targets};
use crate::error::Violation;
use crate::ids::Seq;
use crate::limits::Limits;
use crate::policy::Drain;
use crate::streams::{GroupSettings, StreamSettings, Subscribed};
use crate::{Delivery, Receipt, Refusal, StreamStats};
use reader::Reader;
pub(crate) use usual::Usual;
pub(crate) use value::{NAME_BYTES, VALUE_BYTES, value};

/// An encoding of messages on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// JSON text: `application/json`, WebSocket text frames.
    #[default]
    Json = 0,
    /// MessagePack: `application/msgpack`, WebSocket binary frames.
    MessagePack = 1,
}

/// One decoded WebSocket message of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame<'a> {
    /// `{"credit":n}`, at least 1.
    Credit(u64),
    /// `{"ack":ID}` or an array of them.
    Ack(Targets<'a>),
    /// `{"ackUpTo":seq}`.
    AckUpTo(Seq),
    /// `{"nack":ID,"delayMs":n,"dead":bool,"error":text}`.
    Nack(Nack<'a>),
    /// `{"enqueue":{"to","envelope", and what the publish asks for},"ref":any}`.
    Enqueue {
        /// The message. `pausable` is false here; the session sets it.
        publish: Publish<'a>,
        /// The bytes of `ref`, one complete value in the frame's encoding; absent when no answer is wanted.
        reference: Option<&'a [u8]>,
    },
}

/// Decodes the body of `POST /v1/enqueue`, one `{"to","envelope", and what the publish asks for}` object (also one line of
/// an ndjson body). [`check_deliver_at`] checks what depends on the time.
///
/// # Errors
/// `InvalidJson`, `DecodeError`, `DepthExceeded`, `InvalidStream`, `Forbidden` (a reserved name), `InvalidEnvelope`, `InvalidField`.
pub fn decode_publish<'a>(encoding: Encoding, bytes: &'a [u8], limits: &Limits) -> Result<Publish<'a>, Violation> {
    match encoding {
        Encoding::Json => request::publish(&mut json::JsonReader::new(bytes, limits.depth_max)?, encoding, limits),
        Encoding::MessagePack => {
            request::publish(&mut msgpack::MsgPackReader::new(bytes, limits.depth_max), encoding, limits)
        }
    }
}

/// Decodes the body of `PUT /v1/streams/{name}`; no bytes at all stand for `{}`.
///
/// # Errors
/// `InvalidJson`, `DecodeError`, `DepthExceeded`; `InvalidField`, which names the member.
pub fn decode_stream_settings(encoding: Encoding, bytes: &[u8], limits: &Limits) -> Result<StreamSettings, Violation> {
    if bytes.is_empty() {
        return Ok(StreamSettings::default());
    }
    match encoding {
        Encoding::Json => settings::stream(&mut json::JsonReader::new(bytes, limits.depth_max)?),
        Encoding::MessagePack => settings::stream(&mut msgpack::MsgPackReader::new(bytes, limits.depth_max)),
    }
}

/// Decodes the body of `PUT /v1/streams/{name}/groups/{group}`; no bytes at all stand for `{}`.
///
/// # Errors
/// As [`decode_stream_settings`].
pub fn decode_group_settings(
    encoding: Encoding,
    bytes: &[u8],
    limits: &Limits,
) -> Result<(From, GroupSettings), Violation> {
    if bytes.is_empty() {
        return Ok(Default::default());
    }
    match encoding {
        Encoding::Json => settings::group(&mut json::JsonReader::new(bytes, limits.depth_max)?),
        Encoding::MessagePack => settings::group(&mut msgpack::MsgPackReader::new(bytes, limits.depth_max)),
    }
}

/// Decodes one WebSocket message.
///
/// # Errors
/// As [`decode_publish`], and `UnknownOp` when it is none of the operations. A violation inside `enqueue` is the
/// client's to correct: see [`FrameError`].
pub fn decode_frame<'a>(encoding: Encoding, bytes: &'a [u8], limits: &Limits) -> Result<Frame<'a>, FrameError<'a>> {
    match decode_usual(encoding, bytes, limits, None) {
        Ok(Usual::Ack(seq)) => Ok(Frame::Ack([MessageRef::Seq(seq)].into())),
        Ok(Usual::Credit(credit)) => Ok(Frame::Credit(credit)),
        Ok(Usual::Enqueue(plain)) => {
            let reference = plain.reference;
            Ok(Frame::Enqueue { publish: plain.into_publish(false), reference })
        }
        Err(unusual) => decode_unusual(unusual, limits),
    }
}

/// A WebSocket message that has none of the usual forms, at its front.
#[derive(Debug)]
pub(crate) enum Unusual<'a> {
    /// UTF-8 text.
    Json(json::JsonReader<'a>),
    /// Any bytes.
    MessagePack(msgpack::MsgPackReader<'a>),
    /// Not UTF-8, where that is demanded.
    NotUtf8(Violation),
}

/// Decodes one WebSocket message if it has one of the usual forms. `last` is the stream that was named last, where that is
/// remembered.
///
/// # Errors
/// It has another form, or something is wrong with it: [`decode_unusual`] tells.
#[inline(always)]
pub(crate) fn decode_usual<'a>(
    encoding: Encoding,
    bytes: &'a [u8],
    limits: &Limits,
    last: Option<&'a mut LastStream>,
) -> Result<Usual<'a>, Unusual<'a>> {
    if let Some(number) = usual::number(encoding, bytes, limits) {
        return Ok(number);
    }
    match encoding {
        Encoding::Json => {
            let reader = json::JsonReader::new(bytes, limits.depth_max).map_err(Unusual::NotUtf8)?;
            let plain = usual::enqueue(&mut reader.clone(), encoding, limits, last);
            plain.map(Usual::Enqueue).ok_or(Unusual::Json(reader))
        }
        Encoding::MessagePack => {
            let reader = msgpack::MsgPackReader::new(bytes, limits.depth_max);
            let plain = usual::enqueue(&mut reader.clone(), encoding, limits, last);
            plain.map(Usual::Enqueue).ok_or(Unusual::MessagePack(reader))
        }
    }
}

/// Decodes one WebSocket message in whatever form it has.
///
/// # Errors
/// As [`decode_frame`].
#[inline(never)]
pub(crate) fn decode_unusual<'a>(unusual: Unusual<'a>, limits: &Limits) -> Result<Frame<'a>, FrameError<'a>> {
    match unusual {
        Unusual::Json(mut reader) => request::frame(&mut reader, Encoding::Json, limits),
        Unusual::MessagePack(mut reader) => request::frame(&mut reader, Encoding::MessagePack, limits),
        Unusual::NotUtf8(violation) => Err(FrameError::Fatal(violation)),
    }
}

/// What is wrong with a message, and whether the connection survives it.
#[derive(Debug, Clone, PartialEq)]
pub enum FrameError<'a> {
    /// The message cannot be understood: error frame, then close.
    Fatal(Violation),
    /// A well-formed `enqueue` that cannot be accepted (bad stream name, envelope not an object): answered with an
    /// error that carries `ref`; the connection goes on.
    Refused {
        /// Why.
        violation: Violation,
        /// The bytes of `ref`, if there was one.
        reference: Option<&'a [u8]>,
    },
}

/// Appends `envelope` with `"id": id` as its first member. `envelope` is a valid object or map.
pub fn insert_id(encoding: Encoding, envelope: &[u8], id: &str, out: &mut Vec<u8>) {
    encode::insert_id(encoding, envelope, id, out);
}

/// Checks that these bytes are one value within the limits.
///
/// # Errors
/// `InvalidJson`, `DecodeError`, `DepthExceeded`.
pub(crate) fn check_value(encoding: Encoding, bytes: &[u8], limits: &Limits) -> Result<(), Violation> {
    fn walk<'a>(reader: &mut impl Reader<'a>) -> Result<(), Violation> {
        reader.mark();
        let walked = reader.skip().and_then(|()| reader.finish());
        walked.map_err(|broken| reader.violation(broken))
    }
    match encoding {
        Encoding::Json => walk(&mut json::JsonReader::new(bytes, limits.depth_max)?),
        Encoding::MessagePack => walk(&mut msgpack::MsgPackReader::new(bytes, limits.depth_max)),
    }
}

/// Appends a valid value of one encoding in the other. Total: what JSON cannot say is said as the docs tell (binary as
/// base64 text, extension types as `{"ext","data"}`, non-text keys as text, NaN and infinities as null).
pub fn transcode(from: Encoding, to: Encoding, value: &[u8], out: &mut Vec<u8>) {
    match (from, to) {
        (Encoding::Json, Encoding::MessagePack) => transcode::json_to_msgpack(value, out),
        (Encoding::MessagePack, Encoding::Json) => transcode::msgpack_to_json(value, out),
        (Encoding::Json, Encoding::Json) | (Encoding::MessagePack, Encoding::MessagePack) => {
            out.extend_from_slice(value);
        }
    }
}

/// Appends `{"id","stream","seq"(,"durable")(,"duplicate")}`: `durable` when something was promised, `duplicate` when it is
/// one.
pub fn encode_published(encoding: Encoding, receipt: &Receipt<'_>, out: &mut Vec<u8>) {
    encode::published(encoding, receipt, out);
}

/// Bytes of the members that [`encode_published`] appends beyond `id`, `stream` and `seq`.
pub(crate) fn published_extra_len(receipt: &Receipt<'_>) -> usize {
    encode::published_extra_len(receipt)
}

/// Appends `{"deliver":<envelope>,"id":ID,"seq":n,"attempt":k(,"traceparent":TEXT)}` in `delivery.encoding`.
pub fn encode_delivery(delivery: &Delivery<'_>, out: &mut Vec<u8>) {
    encode::delivery(delivery, out);
}

/// Bytes that [`encode_delivery`] would append, exactly: for writing a frame header first.
#[must_use]
pub fn delivery_len(delivery: &Delivery<'_>) -> usize {
    encode::delivery_len(delivery)
}

/// Appends `{"ok":{"id","stream","seq"(,"durable")(,"duplicate")},"ref":<reference>}`.
pub fn encode_ok(encoding: Encoding, receipt: &Receipt<'_>, reference: &[u8], out: &mut Vec<u8>) {
    encode::ok(encoding, receipt, reference, out);
}

/// Appends `{"subscribed":{"stream","group","epoch","first","last","next"}}`.
pub fn encode_subscribed(encoding: Encoding, subscribed: &Subscribed, out: &mut Vec<u8>) {
    encode::subscribed(encoding, subscribed, out);
}

/// Appends `{"gap":{"from","to"}}`.
pub fn encode_gap(encoding: Encoding, from: Seq, to: Seq, out: &mut Vec<u8>) {
    encode::gap(encoding, from, to, out);
}

/// Appends `{"drain":{"retryAfterMs","alternates"}}`.
pub fn encode_drain(encoding: Encoding, drain: &Drain, out: &mut Vec<u8>) {
    encode::drain(encoding, drain, out);
}

/// Appends `{"error":{"code","message"(,"retryAfterMs")},"ref":<reference>}`, without `ref` when there is none.
pub fn encode_error(encoding: Encoding, refusal: &Refusal<'_>, reference: Option<&[u8]>, out: &mut Vec<u8>) {
    encode::error(encoding, refusal, reference, out);
}

/// Appends the object of `GET /v1/stats`.
pub fn encode_stats(encoding: Encoding, stats: &StreamStats, out: &mut Vec<u8>) {
    encode::stats(encoding, stats, out);
}
