//! What requests mean, for both encodings: the members that count, their types and bounds.
//!
//! The bytes are walked once, to the end, before anything is judged: what is no valid value is told as that and not as
//! a wrong field. Members that are not known are ignored; one that is known and appears twice is an error.

use super::reader::{Broken, Reader};
use super::{Encoding, Frame, FrameError, check_stream_name};
use crate::command::{Envelope, EnvelopeId, MessageRef, Publish, Targets};
use crate::error::{ErrorCode, Violation};
use crate::ids::Seq;
use crate::limits::Limits;
use std::borrow::Cow;

const CREDIT_WRONG: &str = "`credit` must be an integer of at least 1";
const ACK_UP_TO_WRONG: &str = "`ackUpTo` must be a seq: an integer of at least 1";
const DELAY_WRONG: &str = "`delayMs` must be an integer of at least 0";
const TARGET_WRONG: &str = "a message is named by its id (a text within the length limit), its seq (an integer of at least 1), or an array of these";
const TARGETS_TOO_MANY: &str = "the array names more messages than the limit";
const REFERENCE_TOO_LONG: &str = "`ref` is longer than the limit";
const ENQUEUE_WRONG: &str = "`enqueue` must be an object with `to` and `envelope`";
/// The text of facts 4.2, which existing clients compare.
const ENVELOPE_WRONG: &str = "Envelope must be an object";
const TO_WRONG: &str = "`to` must be the name of a stream";
const UNKNOWN_OP: &str = "expected an object with one of credit, ack, ackUpTo, nack, enqueue";

/// A member that counts, as far as it has been seen.
#[derive(Debug)]
enum Slot<T> {
    Absent,
    Is(T),
    /// It was there and was not right; why.
    Wrong(&'static str),
}

impl<T> Slot<T> {
    fn new(value: Option<T>, wrong: &'static str) -> Self {
        value.map_or(Self::Wrong(wrong), Self::Is)
    }

    /// Keeps a value that was just read; `twice` is the complaint if there was one before.
    fn put(&mut self, value: Self, twice: &'static str) {
        *self = if matches!(self, Self::Absent) { value } else { Self::Wrong(twice) };
    }

    /// The value, or an `InvalidField`; `None` when the member was not there.
    fn taken(self) -> Option<Result<T, Violation>> {
        match self {
            Self::Absent => None,
            Self::Is(value) => Some(Ok(value)),
            Self::Wrong(why) => Some(Err(Violation::new(ErrorCode::InvalidField, why))),
        }
    }
}

/// A `{"to","envelope"}` object, walked and not yet judged.
#[derive(Debug)]
struct Draft<'a> {
    to: Slot<Cow<'a, str>>,
    envelope: Slot<EnvelopeDraft<'a>>,
}

#[derive(Debug)]
struct EnvelopeDraft<'a> {
    bytes: &'a [u8],
    id: EnvelopeId<'a>,
}

/// Reads the one `{"to","envelope"}` object that is all of the input.
pub(super) fn publish<'a, R: Reader<'a>>(
    reader: &mut R,
    encoding: Encoding,
    limits: &Limits,
) -> Result<Publish<'a>, Violation> {
    match whole_draft(reader, limits) {
        Ok(Some(draft)) => draft.judge(encoding, limits),
        Ok(None) => Err(Violation::new(ErrorCode::InvalidField, "the body must be an object with `to` and `envelope`")),
        Err(broken) => Err(reader.violation(broken)),
    }
}

fn whole_draft<'a, R: Reader<'a>>(reader: &mut R, limits: &Limits) -> Result<Option<Draft<'a>>, Broken> {
    let draft = read_draft(reader, limits)?;
    if draft.is_none() {
        reader.skip()?;
    }
    reader.finish()?;
    Ok(draft)
}

/// `None`, and nothing read, when the next value is no object.
fn read_draft<'a, R: Reader<'a>>(reader: &mut R, limits: &Limits) -> Result<Option<Draft<'a>>, Broken> {
    let Some(mut members) = reader.members()? else { return Ok(None) };
    let mut draft = Draft { to: Slot::Absent, envelope: Slot::Absent };
    while let Some(key) = reader.next_key(&mut members)? {
        if R::key_is(key, "to") {
            let to = reader.text()?;
            if to.is_none() {
                reader.skip()?;
            }
            draft.to.put(Slot::new(to, TO_WRONG), "`to` appears twice");
        } else if R::key_is(key, "envelope") {
            let envelope = read_envelope(reader, limits)?;
            if envelope.is_none() {
                reader.skip()?;
            }
            draft.envelope.put(Slot::new(envelope, ENVELOPE_WRONG), "`envelope` appears twice");
        } else {
            reader.skip()?;
        }
    }
    Ok(Some(draft))
}

/// `None`, and nothing read, when the next value is no object. Of two `id` members the last counts, as it does for
/// nearly every parser that a consumer may use.
fn read_envelope<'a, R: Reader<'a>>(reader: &mut R, limits: &Limits) -> Result<Option<EnvelopeDraft<'a>>, Broken> {
    let mark = reader.mark();
    let Some(mut members) = reader.members()? else { return Ok(None) };
    let mut id = EnvelopeId::Absent;
    while let Some(key) = reader.next_key(&mut members)? {
        if !R::key_is(key, "id") {
            reader.skip()?;
            continue;
        }
        id = match reader.text()? {
            Some(text) if (1..=limits.message_id_bytes_max).contains(&text.len()) => EnvelopeId::Given(text),
            Some(_) => EnvelopeId::Unusable,
            None => {
                reader.skip()?;
                EnvelopeId::Unusable
            }
        };
    }
    Ok(Some(EnvelopeDraft { bytes: reader.since(mark), id }))
}

impl<'a> Draft<'a> {
    fn judge(self, encoding: Encoding, limits: &Limits) -> Result<Publish<'a>, Violation> {
        let envelope = match self.envelope {
            Slot::Is(envelope) => envelope,
            Slot::Absent | Slot::Wrong(ENVELOPE_WRONG) => {
                return Err(Violation::new(ErrorCode::InvalidEnvelope, ENVELOPE_WRONG));
            }
            Slot::Wrong(why) => return Err(Violation::new(ErrorCode::InvalidField, why)),
        };
        let stream = match self.to {
            Slot::Is(to) => to,
            Slot::Absent => return Err(Violation::new(ErrorCode::InvalidField, TO_WRONG)),
            Slot::Wrong(why) => return Err(Violation::new(ErrorCode::InvalidField, why)),
        };
        check_stream_name(&stream, limits)?;
        let envelope = Envelope { encoding, bytes: envelope.bytes, id: envelope.id };
        Ok(Publish { stream, envelope, pausable: false })
    }
}

/// A WebSocket message, walked and not yet judged.
#[derive(Debug)]
struct FrameDraft<'a> {
    credit: Slot<u64>,
    ack: Slot<Targets<'a>>,
    ack_up_to: Slot<u64>,
    nack: Slot<Targets<'a>>,
    delay_ms: Slot<u64>,
    enqueue: Slot<Draft<'a>>,
    reference: Slot<&'a [u8]>,
}

/// Reads the one WebSocket message that is all of the input.
pub(super) fn frame<'a, R: Reader<'a>>(
    reader: &mut R,
    encoding: Encoding,
    limits: &Limits,
) -> Result<Frame<'a>, FrameError<'a>> {
    match whole_frame(reader, limits) {
        Ok(Some(draft)) => draft.judge(encoding, limits),
        Ok(None) => Err(FrameError::Fatal(Violation::new(ErrorCode::UnknownOp, UNKNOWN_OP))),
        Err(broken) => Err(FrameError::Fatal(reader.violation(broken))),
    }
}

fn whole_frame<'a, R: Reader<'a>>(reader: &mut R, limits: &Limits) -> Result<Option<FrameDraft<'a>>, Broken> {
    let draft = read_frame(reader, limits)?;
    if draft.is_none() {
        reader.skip()?;
    }
    reader.finish()?;
    Ok(draft)
}

fn read_frame<'a, R: Reader<'a>>(reader: &mut R, limits: &Limits) -> Result<Option<FrameDraft<'a>>, Broken> {
    let Some(mut members) = reader.members()? else { return Ok(None) };
    let mut draft = FrameDraft {
        credit: Slot::Absent,
        ack: Slot::Absent,
        ack_up_to: Slot::Absent,
        nack: Slot::Absent,
        delay_ms: Slot::Absent,
        enqueue: Slot::Absent,
        reference: Slot::Absent,
    };
    while let Some(key) = reader.next_key(&mut members)? {
        if R::key_is(key, "ack") {
            let ack = read_targets(reader, limits)?;
            draft.ack.put(ack, "`ack` appears twice");
        } else if R::key_is(key, "credit") {
            let credit = read_integer(reader, 1, CREDIT_WRONG)?;
            draft.credit.put(credit, "`credit` appears twice");
        } else if R::key_is(key, "enqueue") {
            let enqueue = read_draft(reader, limits)?;
            if enqueue.is_none() {
                reader.skip()?;
            }
            draft.enqueue.put(Slot::new(enqueue, ENQUEUE_WRONG), "`enqueue` appears twice");
        } else if R::key_is(key, "ref") {
            let mark = reader.mark();
            reader.skip()?;
            let reference = Some(reader.since(mark)).filter(|bytes| bytes.len() <= limits.ref_bytes_max);
            draft.reference.put(Slot::new(reference, REFERENCE_TOO_LONG), "`ref` appears twice");
        } else if R::key_is(key, "ackUpTo") {
            let seq = read_integer(reader, 1, ACK_UP_TO_WRONG)?;
            draft.ack_up_to.put(seq, "`ackUpTo` appears twice");
        } else if R::key_is(key, "nack") {
            let nack = read_targets(reader, limits)?;
            draft.nack.put(nack, "`nack` appears twice");
        } else if R::key_is(key, "delayMs") {
            let delay = read_integer(reader, 0, DELAY_WRONG)?;
            draft.delay_ms.put(delay, "`delayMs` appears twice");
        } else {
            reader.skip()?;
        }
    }
    Ok(Some(draft))
}

fn read_integer<'a, R: Reader<'a>>(reader: &mut R, min: u64, wrong: &'static str) -> Result<Slot<u64>, Broken> {
    let value = reader.unsigned()?;
    if value.is_none() {
        reader.skip()?;
    }
    Ok(Slot::new(value.filter(|&value| value >= min), wrong))
}

/// One message or an array of them. Past a mistake the array is still walked to its end, but nothing more is kept.
fn read_targets<'a, R: Reader<'a>>(reader: &mut R, limits: &Limits) -> Result<Slot<Targets<'a>>, Broken> {
    let Some(mut elements) = reader.elements()? else {
        let target = read_target(reader, limits)?;
        return Ok(Slot::new(target.map(|target| Targets::from_buf([target])), TARGET_WRONG));
    };
    let mut targets = Slot::Is(Targets::new());
    while reader.next_element(&mut elements)? {
        let target = read_target(reader, limits)?;
        let Slot::Is(kept) = &mut targets else { continue };
        match target {
            None => targets = Slot::Wrong(TARGET_WRONG),
            Some(_) if kept.len() == limits.ack_array_max => targets = Slot::Wrong(TARGETS_TOO_MANY),
            Some(target) => kept.push(target),
        }
    }
    Ok(targets)
}

/// Reads any value; `None` when it names no message.
fn read_target<'a, R: Reader<'a>>(reader: &mut R, limits: &Limits) -> Result<Option<MessageRef<'a>>, Broken> {
    if let Some(seq) = reader.unsigned()? {
        return Ok((seq >= 1).then_some(MessageRef::Seq(Seq(seq))));
    }
    if let Some(id) = reader.text()? {
        return Ok((1..=limits.message_id_bytes_max).contains(&id.len()).then_some(MessageRef::Id(id)));
    }
    reader.skip()?;
    Ok(None)
}

impl<'a> FrameDraft<'a> {
    /// The first operation that is there counts, in the order of facts 11.2.
    fn judge(self, encoding: Encoding, limits: &Limits) -> Result<Frame<'a>, FrameError<'a>> {
        if let Some(credit) = self.credit.taken() {
            return credit.map(Frame::Credit).map_err(FrameError::Fatal);
        }
        if let Some(targets) = self.ack.taken() {
            return targets.map(Frame::Ack).map_err(FrameError::Fatal);
        }
        if let Some(seq) = self.ack_up_to.taken() {
            return seq.map(|seq| Frame::AckUpTo(Seq(seq))).map_err(FrameError::Fatal);
        }
        if let Some(targets) = self.nack.taken() {
            let targets = targets.map_err(FrameError::Fatal)?;
            let delay_ms = self.delay_ms.taken().unwrap_or(Ok(0)).map_err(FrameError::Fatal)?;
            return Ok(Frame::Nack { targets, delay_ms });
        }
        if let Some(draft) = self.enqueue.taken() {
            let reference = self.reference.taken().transpose().map_err(FrameError::Fatal)?;
            return match draft.and_then(|draft| draft.judge(encoding, limits)) {
                Ok(publish) => Ok(Frame::Enqueue { publish, reference }),
                Err(violation) => Err(FrameError::Refused { violation, reference }),
            };
        }
        Err(FrameError::Fatal(Violation::new(ErrorCode::UnknownOp, UNKNOWN_OP)))
    }
}
