//! The forms that nearly all requests come in, recognised without a walk: compact, the members in the order of the
//! documentation, nothing else beside them.
//!
//! Nothing is judged here. What has any other form, or anything wrong with it, is `None`, and `request` walks it from the
//! front; so whatever is found here must be what the walk would have found.

use super::reader::Reader;
use super::request::read_envelope;
use super::{Encoding, LastStream, check_stream_name};
use crate::command::{Envelope, EnvelopeId, Publish, PublishOptions};
use crate::ids::Seq;
use crate::limits::Limits;
use std::borrow::Cow;

/// A WebSocket message in one of its usual forms. Small, unlike a [`super::Frame`], which is dear to move.
#[derive(Debug)]
pub(crate) enum Usual<'a> {
    /// One message, by its seq.
    Ack(Seq),
    /// At least 1.
    Credit(u64),
    /// A message to store.
    Enqueue(Plain<'a>),
}

/// A publish that asks for nothing besides being stored.
#[derive(Debug)]
pub(crate) struct Plain<'a> {
    /// A checked name.
    pub(crate) stream: Cow<'a, str>,
    /// The message.
    pub(crate) envelope: Envelope<'a>,
    /// The bytes of `ref`.
    pub(crate) reference: Option<&'a [u8]>,
}

impl<'a> Plain<'a> {
    /// The whole publish.
    #[inline(always)]
    pub(crate) fn into_publish(self, pausable: bool) -> Publish<'a> {
        Publish { stream: self.stream, envelope: self.envelope, pausable, options: PublishOptions::default() }
    }
}

/// The constant bytes of requests in their usual form.
#[derive(Debug)]
pub(super) struct Form {
    /// Up to the value of `ack`.
    ack: &'static [u8],
    /// Up to the value of `credit`.
    credit: &'static [u8],
    /// Up to the value of `to`, two levels deep.
    enqueue: &'static [u8],
    /// The same when a `ref` follows.
    enqueue_and_ref: &'static [u8],
    /// Up to the value of `to`, one level deep.
    publish: &'static [u8],
    /// Between the values of `to` and `envelope`.
    envelope: &'static [u8],
    /// Between the values of `envelope` and `ref`.
    reference: &'static [u8],
    /// What closes one object.
    end: &'static [u8],
    /// An object begins with the number of its members, so its first bytes tell whether a `ref` must follow.
    counts_members: bool,
}

/// JSON tells only at its end whether a `ref` follows.
pub(super) const JSON: Form = Form {
    ack: b"{\"ack\":",
    credit: b"{\"credit\":",
    enqueue: b"{\"enqueue\":{\"to\":",
    enqueue_and_ref: b"{\"enqueue\":{\"to\":",
    publish: b"{\"to\":",
    envelope: b",\"envelope\":",
    reference: b"},\"ref\":",
    end: b"}",
    counts_members: false,
};

/// Fixmaps with their fixstr names.
pub(super) const MSGPACK: Form = Form {
    ack: b"\x81\xa3ack",
    credit: b"\x81\xa6credit",
    enqueue: b"\x81\xa7enqueue\x82\xa2to",
    enqueue_and_ref: b"\x82\xa7enqueue\x82\xa2to",
    publish: b"\x82\xa2to",
    envelope: b"\xa8envelope",
    reference: b"\xa3ref",
    end: b"",
    counts_members: true,
};

/// `{"ack":<seq>}` or `{"credit":n}`, which have no text in them that would have to be checked.
#[inline(always)]
pub(super) fn number<'a>(encoding: Encoding, bytes: &[u8], limits: &Limits) -> Option<Usual<'a>> {
    if limits.depth_max < 1 {
        return None;
    }
    match encoding {
        Encoding::Json => {
            let (is_ack, rest) = after_name(&JSON, bytes)?;
            number_for(is_ack, json_number(rest)?)
        }
        Encoding::MessagePack => {
            let (is_ack, rest) = after_name(&MSGPACK, bytes)?;
            number_for(is_ack, msgpack_number(rest)?)
        }
    }
}

/// What follows the name of an `ack` (then it is `true`) or a `credit`. Inlined, so that each encoding compares with constants.
#[inline(always)]
fn after_name<'b>(form: &Form, bytes: &'b [u8]) -> Option<(bool, &'b [u8])> {
    if let Some(rest) = bytes.strip_prefix(form.ack) {
        return Some((true, rest));
    }
    bytes.strip_prefix(form.credit).map(|rest| (false, rest))
}

#[inline(always)]
const fn number_for<'a>(is_ack: bool, number: u64) -> Option<Usual<'a>> {
    match (number, is_ack) {
        (0, _) => None,
        (seq, true) => Some(Usual::Ack(Seq(seq))),
        (credit, false) => Some(Usual::Credit(credit)),
    }
}

/// Digits and the closing brace, of a number that fits 64 bits whatever the digits are.
#[inline(always)]
fn json_number(rest: &[u8]) -> Option<u64> {
    const DIGITS_MAX: usize = 19;
    let digits = rest.strip_suffix(JSON.end)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || digits[0] == b'0' {
        return None;
    }
    digits.iter().try_fold(0, |value: u64, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then(|| value * 10 + u64::from(digit))
    })
}

/// An integer and nothing after it.
#[inline(always)]
fn msgpack_number(rest: &[u8]) -> Option<u64> {
    match *rest {
        [small @ 0..0x80] => Some(u64::from(small)),
        [0xcc, a] => Some(u64::from(a)),
        [0xcd, a, b] => Some(u64::from(u16::from_be_bytes([a, b]))),
        [0xce, a, b, c, d] => Some(u64::from(u32::from_be_bytes([a, b, c, d]))),
        [0xcf, a, b, c, d, e, f, g, h] => Some(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

/// `{"to":…,"envelope":{…}}`. The reader is at the front.
#[inline]
pub(super) fn publish<'a, R: Reader<'a>>(reader: &mut R, encoding: Encoding, limits: &Limits) -> Option<Publish<'a>> {
    if !reader.pass_into(R::FORM.publish, 1) {
        return None;
    }
    let plain = to_and_envelope(reader, encoding, limits, None)?;
    if reader.pass_into(R::FORM.end, 0) && reader.is_at_end() { Some(plain.into_publish(false)) } else { None }
}

/// `{"enqueue":{"to":…,"envelope":{…}}}`, with or without `,"ref":…`. The reader is at the front. `last`
/// is the stream that was named last, where that is remembered.
#[inline(always)]
pub(super) fn enqueue<'a, R: Reader<'a>>(
    reader: &mut R,
    encoding: Encoding,
    limits: &Limits,
    last: Option<&'a mut LastStream>,
) -> Option<Plain<'a>> {
    let is_alone = reader.pass_into(R::FORM.enqueue, 2);
    if !is_alone && !reader.pass_into(R::FORM.enqueue_and_ref, 2) {
        return None;
    }
    let mut plain = to_and_envelope(reader, encoding, limits, last)?;
    let has_reference = reader.pass_into(R::FORM.reference, 0);
    if R::FORM.counts_members && has_reference == is_alone {
        return None;
    }
    if has_reference {
        let mark = reader.mark();
        reader.skip().ok()?;
        let reference = reader.since(mark);
        if reference.len() > limits.ref_bytes_max {
            return None;
        }
        plain.reference = Some(reference);
    } else if !reader.pass_into(R::FORM.end, 0) {
        return None;
    }
    if reader.pass_into(R::FORM.end, 0) && reader.is_at_end() { Some(plain) } else { None }
}

/// From the value of `to` to the end of the envelope.
#[inline(always)]
fn to_and_envelope<'a, R: Reader<'a>>(
    reader: &mut R,
    encoding: Encoding,
    limits: &Limits,
    last: Option<&'a mut LastStream>,
) -> Option<Plain<'a>> {
    let stream = match last {
        Some(last) => Cow::Borrowed(last.check(reader.plain_text()?, limits)?),
        None => reader.text().ok()?.filter(|name| check_stream_name(name, limits).is_ok())?,
    };
    if !reader.pass_into(R::FORM.envelope, 0) {
        return None;
    }
    let mark = reader.mark();
    let mut id = EnvelopeId::Absent;
    if read_envelope(reader, limits, &mut id) != Ok(true) {
        return None;
    }
    let envelope = Envelope { encoding, bytes: reader.since(mark), id };
    Some(Plain { stream, envelope, reference: None })
}
