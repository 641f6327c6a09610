//! What requests mean, for both encodings: the members that count, their types and bounds.
//!
//! The bytes are walked once, to the end, before anything is judged: what is no valid value is told as that and not as
//! a wrong field. Members that are not known are ignored; one that is known and appears twice is an error. What a walk
//! finds is written where it stays until it is judged, since moving it about would cost as much as finding it.

use super::options::{DELAY_TWICE, DELAY_WRONG, OptionsWalk};
use super::reader::{Broken, Reader};
use super::slot::{Slot, invalid_field};
use super::{Encoding, Frame, FrameError, check_stream_name, usual};
use crate::command::{Envelope, EnvelopeId, MessageRef, Nack, Publish, Targets};
use crate::error::{ErrorCode, Violation};
use crate::ids::Seq;
use crate::limits::Limits;
use std::borrow::Cow;
use std::mem;

const CREDIT_WRONG: &str = "`credit` must be an integer of at least 1";
const ACK_UP_TO_WRONG: &str = "`ackUpTo` must be a seq: an integer of at least 1";
const DEAD_WRONG: &str = "`dead` must be true or false";
const ERROR_WRONG: &str = "`error` must be a text";
const TARGET_WRONG: &str = "a message is named by its id (a text within the length limit), its seq (an integer of at least 1), or an array of these";
const TARGETS_TOO_MANY: &str = "the array names more messages than the limit";
const REFERENCE_TOO_LONG: &str = "`ref` is longer than the limit";
const ENQUEUE_WRONG: &str = "`enqueue` must be an object with `to` and `envelope`";
const OPERATION_TWICE: &str = "the operation appears twice";
/// The text of facts 4.2, which existing clients compare.
const ENVELOPE_WRONG: &str = "Envelope must be an object";
const TO_WRONG: &str = "`to` must be the name of a stream";
const BODY_WRONG: &str = "the body must be an object with `to` and `envelope`";
const UNKNOWN_OP: &str = "expected an object with one of credit, ack, ackUpTo, nack, enqueue";

/// Targets of an array of acks that memory is asked for at once; more double it.
const ACK_ARRAY_USUAL: usize = 64;

/// Reads the one `{"to","envelope"}` object that is all of the input.
pub(super) fn publish<'a, R: Reader<'a> + Clone>(
    reader: &mut R,
    encoding: Encoding,
    limits: &Limits,
) -> Result<Publish<'a>, Violation> {
    if let Some(publish) = usual::publish(&mut reader.clone(), encoding, limits) {
        return Ok(publish);
    }
    let mut walk = PublishWalk::new();
    match walk.read_all(reader, limits) {
        Ok(true) => walk.judge(encoding, limits),
        Ok(false) => Err(invalid_field(BODY_WRONG)),
        Err(broken) => Err(reader.violation(broken)),
    }
}

/// Reads the one WebSocket message that is all of the input, in whatever form it is, right or wrong.
#[inline(never)]
pub(super) fn frame<'a, R: Reader<'a>>(
    reader: &mut R,
    encoding: Encoding,
    limits: &Limits,
) -> Result<Frame<'a>, FrameError<'a>> {
    let mut walk = FrameWalk::new();
    match walk.read_all(reader, limits) {
        Ok(()) => walk.judge(encoding, limits),
        Err(broken) => Err(FrameError::Fatal(reader.violation(broken))),
    }
}

/// What has been found of a `{"to","envelope"}` object.
#[derive(Debug)]
struct PublishWalk<'a> {
    to: Slot<Cow<'a, str>>,
    envelope: Slot<&'a [u8]>,
    id: EnvelopeId<'a>,
    options: OptionsWalk<'a>,
}

impl<'a> PublishWalk<'a> {
    const fn new() -> Self {
        Self { to: Slot::Absent, envelope: Slot::Absent, id: EnvelopeId::Absent, options: OptionsWalk::new() }
    }

    /// Reads all of the input; `false` when it is no object.
    fn read_all<R: Reader<'a>>(&mut self, reader: &mut R, limits: &Limits) -> Result<bool, Broken> {
        let is_object = self.read(reader, limits)?;
        reader.finish()?;
        Ok(is_object)
    }

    /// Reads any value; `false` when it is no object.
    fn read<R: Reader<'a>>(&mut self, reader: &mut R, limits: &Limits) -> Result<bool, Broken> {
        let Some(mut members) = reader.members()? else {
            reader.skip()?;
            return Ok(false);
        };
        while let Some(key) = reader.next_key(&mut members)? {
            if key == b"to" {
                let to = reader.text()?;
                if to.is_none() {
                    reader.skip()?;
                }
                self.to.put(to, TO_WRONG, "`to` appears twice");
            } else if key == b"envelope" {
                let mark = reader.mark();
                let is_object = read_envelope(reader, limits, &mut self.id)?;
                let envelope = is_object.then(|| reader.since(mark));
                self.envelope.put(envelope, ENVELOPE_WRONG, "`envelope` appears twice");
            } else {
                self.options.read_member(key, reader, limits)?;
            }
        }
        Ok(true)
    }

    /// What was found, if it is right; nothing is left here then.
    #[inline(always)]
    fn judge(&mut self, encoding: Encoding, limits: &Limits) -> Result<Publish<'a>, Violation> {
        let bytes = match self.envelope {
            Slot::Is(bytes) => bytes,
            Slot::Absent | Slot::Wrong(ENVELOPE_WRONG) => {
                return Err(Violation::new(ErrorCode::InvalidEnvelope, ENVELOPE_WRONG));
            }
            Slot::Wrong(why) => return Err(invalid_field(why)),
        };
        let stream = self.to.take()?.ok_or_else(|| invalid_field(TO_WRONG))?;
        check_stream_name(&stream, limits)?;
        let options = self.options.judge()?;
        let id = mem::replace(&mut self.id, EnvelopeId::Absent);
        Ok(Publish { stream, envelope: Envelope { encoding, bytes, id }, pausable: false, options })
    }
}

/// Reads any value; `false` when it is no object. Of two `id` members the last counts, as it does for nearly every parser
/// that a consumer may use.
#[inline]
pub(super) fn read_envelope<'a, R: Reader<'a>>(
    reader: &mut R,
    limits: &Limits,
    found: &mut EnvelopeId<'a>,
) -> Result<bool, Broken> {
    let Some(mut members) = reader.members()? else {
        reader.skip()?;
        return Ok(false);
    };
    while let Some(key) = reader.next_key(&mut members)? {
        if key != b"id" {
            reader.skip()?;
            continue;
        }
        *found = match reader.text()? {
            Some(id) if is_message_id(&id, limits) => EnvelopeId::Given(id),
            Some(_) => EnvelopeId::Unusable,
            None => {
                reader.skip()?;
                EnvelopeId::Unusable
            }
        };
    }
    Ok(true)
}

const fn is_message_id(id: &str, limits: &Limits) -> bool {
    !id.is_empty() && id.len() <= limits.message_id_bytes_max
}

/// The operations in the order in which they count when a message has several (facts 11.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Credit,
    Ack,
    AckUpTo,
    Nack,
    Enqueue,
    /// None yet.
    Nothing,
}

impl Operation {
    /// Compared one by one, the frequent ones first: a comparison with a constant is one or two instructions, where a
    /// `match` goes byte by byte.
    #[inline]
    fn named(key: &[u8]) -> Option<Self> {
        if key == b"ack" {
            Some(Self::Ack)
        } else if key == b"enqueue" {
            Some(Self::Enqueue)
        } else if key == b"credit" {
            Some(Self::Credit)
        } else if key == b"ackUpTo" {
            Some(Self::AckUpTo)
        } else if key == b"nack" {
            Some(Self::Nack)
        } else {
            None
        }
    }
}

/// The messages that an ack or nack names. A single one, the common case, needs no memory of its own.
#[derive(Debug)]
enum Named<'a> {
    None,
    One(MessageRef<'a>),
    Array(Vec<MessageRef<'a>>),
}

impl<'a> Named<'a> {
    #[inline(always)]
    fn take(&mut self) -> Targets<'a> {
        match mem::replace(self, Self::None) {
            Self::None => Targets::new(),
            Self::One(target) => Targets::from_buf([target]),
            Self::Array(targets) => Targets::from_vec(targets),
        }
    }
}

/// What has been found of a WebSocket message: the operation that counts so far and what belongs to it.
#[derive(Debug)]
struct FrameWalk<'a> {
    operation: Operation,
    /// Why `operation` cannot be obeyed.
    wrong: Option<&'static str>,
    /// The credit, or the seq of `ackUpTo`.
    number: u64,
    /// What `ack` or `nack` names.
    targets: Named<'a>,
    publish: PublishWalk<'a>,
    delay_ms: Slot<u64>,
    dead: Slot<bool>,
    error: Slot<Cow<'a, str>>,
    reference: Slot<&'a [u8]>,
}

impl<'a> FrameWalk<'a> {
    fn new() -> Self {
        Self {
            operation: Operation::Nothing,
            wrong: None,
            number: 0,
            targets: Named::None,
            publish: PublishWalk::new(),
            delay_ms: Slot::Absent,
            dead: Slot::Absent,
            error: Slot::Absent,
            reference: Slot::Absent,
        }
    }

    /// Reads all of the input. What is no object has no operation.
    fn read_all<R: Reader<'a>>(&mut self, reader: &mut R, limits: &Limits) -> Result<(), Broken> {
        match reader.members()? {
            Some(mut members) => {
                while let Some(key) = reader.next_key(&mut members)? {
                    self.read_member(key, reader, limits)?;
                }
            }
            None => reader.skip()?,
        }
        reader.finish()
    }

    #[inline]
    fn read_member<R: Reader<'a>>(&mut self, key: &[u8], reader: &mut R, limits: &Limits) -> Result<(), Broken> {
        let Some(operation) = Operation::named(key) else { return self.read_modifier(key, reader, limits) };
        if operation >= self.operation {
            if operation == self.operation {
                self.wrong = Some(OPERATION_TWICE);
            }
            return reader.skip();
        }
        self.operation = operation;
        self.wrong = None;
        match operation {
            Operation::Credit => self.read_number(reader, CREDIT_WRONG),
            Operation::AckUpTo => self.read_number(reader, ACK_UP_TO_WRONG),
            Operation::Ack | Operation::Nack => self.read_targets(reader, limits),
            Operation::Enqueue | Operation::Nothing => {
                if !self.publish.read(reader, limits)? {
                    self.wrong = Some(ENQUEUE_WRONG);
                }
                Ok(())
            }
        }
    }

    fn read_number<R: Reader<'a>>(&mut self, reader: &mut R, wrong: &'static str) -> Result<(), Broken> {
        match read_integer(reader)? {
            None | Some(0) => self.wrong = Some(wrong),
            Some(number) => self.number = number,
        }
        Ok(())
    }

    /// Reads a member that is no operation.
    fn read_modifier<R: Reader<'a>>(&mut self, key: &[u8], reader: &mut R, limits: &Limits) -> Result<(), Broken> {
        if key == b"ref" {
            let mark = reader.mark();
            reader.skip()?;
            let reference = Some(reader.since(mark)).filter(|bytes| bytes.len() <= limits.ref_bytes_max);
            self.reference.put(reference, REFERENCE_TOO_LONG, "`ref` appears twice");
        } else if key == b"delayMs" {
            let delay = read_integer(reader)?;
            self.delay_ms.put(delay, DELAY_WRONG, DELAY_TWICE);
        } else if key == b"dead" {
            let dead = reader.boolean()?;
            if dead.is_none() {
                reader.skip()?;
            }
            self.dead.put(dead, DEAD_WRONG, "`dead` appears twice");
        } else if key == b"error" {
            let error = reader.text()?;
            if error.is_none() {
                reader.skip()?;
            }
            self.error.put(error, ERROR_WRONG, "`error` appears twice");
        } else {
            reader.skip()?;
        }
        Ok(())
    }

    /// Reads one message's name or an array of them. Past a mistake the array is still walked to its end, but nothing
    /// more is kept.
    fn read_targets<R: Reader<'a>>(&mut self, reader: &mut R, limits: &Limits) -> Result<(), Broken> {
        let Some(mut elements) = reader.elements()? else {
            match read_target(reader, limits)? {
                Some(target) => self.targets = Named::One(target),
                None => self.wrong = Some(TARGET_WRONG),
            }
            return Ok(());
        };
        let mut targets = Vec::new();
        while reader.next_element(&mut elements)? {
            let target = read_target(reader, limits)?;
            match target {
                _ if self.wrong.is_some() => {}
                None => self.wrong = Some(TARGET_WRONG),
                Some(_) if targets.len() == limits.ack_array_max => self.wrong = Some(TARGETS_TOO_MANY),
                Some(target) => {
                    if targets.is_empty() {
                        targets.reserve(ACK_ARRAY_USUAL);
                    }
                    targets.push(target);
                }
            }
        }
        self.targets = Named::Array(targets);
        Ok(())
    }

    /// What was found, if it is right; nothing is left here then.
    #[inline(always)]
    fn judge(&mut self, encoding: Encoding, limits: &Limits) -> Result<Frame<'a>, FrameError<'a>> {
        if self.operation == Operation::Enqueue {
            return self.judge_enqueue(encoding, limits);
        }
        if let Some(why) = self.wrong {
            return Err(FrameError::Fatal(invalid_field(why)));
        }
        match self.operation {
            Operation::Credit => Ok(Frame::Credit(self.number)),
            Operation::Ack => Ok(Frame::Ack(self.targets.take())),
            Operation::AckUpTo => Ok(Frame::AckUpTo(Seq(self.number))),
            Operation::Nack => self.judge_nack(limits).map(Frame::Nack).map_err(FrameError::Fatal),
            Operation::Enqueue | Operation::Nothing => {
                Err(FrameError::Fatal(Violation::new(ErrorCode::UnknownOp, UNKNOWN_OP)))
            }
        }
    }

    fn judge_nack(&mut self, limits: &Limits) -> Result<Nack<'a>, Violation> {
        let delay_ms = self.delay_ms.take()?.unwrap_or(0);
        let dead = self.dead.take()?.unwrap_or(false);
        let error = self.error.take()?.map(|error| cut(error, limits.error_bytes_max));
        Ok(Nack { targets: self.targets.take(), delay_ms, dead, error })
    }

    fn judge_enqueue(&mut self, encoding: Encoding, limits: &Limits) -> Result<Frame<'a>, FrameError<'a>> {
        let reference = match self.reference {
            Slot::Absent => None,
            Slot::Is(reference) => Some(reference),
            Slot::Wrong(why) => return Err(FrameError::Fatal(invalid_field(why))),
        };
        // An operation that is there twice is no well-formed enqueue: the answer to which of them would it be?
        if self.wrong == Some(OPERATION_TWICE) {
            return Err(FrameError::Fatal(invalid_field(OPERATION_TWICE)));
        }
        let judged = match self.wrong {
            None => self.publish.judge(encoding, limits),
            Some(why) => Err(invalid_field(why)),
        };
        match judged {
            Ok(publish) => Ok(Frame::Enqueue { publish, reference }),
            Err(violation) => Err(FrameError::Refused { violation, reference }),
        }
    }
}

/// The first characters of a text, as many as fit.
fn cut(text: Cow<'_, str>, bytes_max: usize) -> Cow<'_, str> {
    let end = text.floor_char_boundary(bytes_max);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

/// Reads any value; `None` when it is no integer of at least 0.
pub(super) fn read_integer<'a, R: Reader<'a>>(reader: &mut R) -> Result<Option<u64>, Broken> {
    let value = reader.unsigned()?;
    if value.is_none() {
        reader.skip()?;
    }
    Ok(value)
}

/// Reads any value; `None` when it names no message.
#[inline(always)]
fn read_target<'a, R: Reader<'a>>(reader: &mut R, limits: &Limits) -> Result<Option<MessageRef<'a>>, Broken> {
    if let Some(seq) = reader.unsigned()? {
        return Ok((seq >= 1).then_some(MessageRef::Seq(Seq(seq))));
    }
    if let Some(id) = reader.text()? {
        return Ok(is_message_id(&id, limits).then_some(MessageRef::Id(id)));
    }
    reader.skip()?;
    Ok(None)
}
