//! What a publish may ask for besides being stored: the members beside `to` and `envelope`.

use super::reader::{Broken, Reader};
use super::request::read_integer;
use super::slot::{Slot, invalid_field};
use crate::command::{NotBefore, PublishOptions};
use crate::error::Violation;
use crate::limits::Limits;
use crate::rfc3339::unix_ms_of;
use crate::time::Now;
use crate::trace_context::TraceContext;
use std::borrow::Cow;
use std::num::NonZeroU64;

/// The most urgent priority.
const PRIORITY_MAX: u64 = 3;

pub(super) const DELAY_WRONG: &str = "`delayMs` must be an integer of at least 0";
pub(super) const DELAY_TWICE: &str = "`delayMs` appears twice";
const DELAY_TOO_LONG: &str = "`delayMs` is longer than the limit";
const DELIVER_AT_WRONG: &str =
    "`deliverAt` must be a moment: a text as RFC 3339 has it, with a zone, or milliseconds since 1970 as an integer";
const DELIVER_AT_TOO_FAR: &str = "`deliverAt` is farther away than the limit of `delayMs`";
const DELAY_AND_DELIVER_AT: &str = "`delayMs` and `deliverAt` exclude each other: give one of them";
const TTL_WRONG: &str = "`ttlMs` must be an integer of at least 1";
const PRIORITY_WRONG: &str = "`priority` must be an integer of 0 to 3";
const DEDUP_ID_WRONG: &str = "`dedupId` must be a text that is not empty and within the length limit";

/// What has been found of the options of one publish.
#[derive(Debug)]
pub(super) struct OptionsWalk<'a> {
    delay_ms: Slot<u64>,
    deliver_at_unix_ms: Slot<u64>,
    ttl_ms: Slot<NonZeroU64>,
    priority: Slot<u8>,
    dedup_id: Slot<Cow<'a, str>>,
    /// Inside: absent when it is none, since such a one is ignored.
    trace: Slot<Option<TraceContext>>,
}

impl<'a> OptionsWalk<'a> {
    pub(super) const fn new() -> Self {
        Self {
            delay_ms: Slot::Absent,
            deliver_at_unix_ms: Slot::Absent,
            ttl_ms: Slot::Absent,
            priority: Slot::Absent,
            dedup_id: Slot::Absent,
            trace: Slot::Absent,
        }
    }

    /// Reads the value of the member `key`, whatever it is.
    pub(super) fn read_member<R: Reader<'a>>(
        &mut self,
        key: &[u8],
        reader: &mut R,
        limits: &Limits,
    ) -> Result<(), Broken> {
        if key == b"delayMs" {
            let delay_ms = read_integer(reader)?;
            let wrong = if delay_ms.is_some() { DELAY_TOO_LONG } else { DELAY_WRONG };
            let delay_ms = delay_ms.filter(|delay_ms| *delay_ms <= limits.delay_ms_max);
            self.delay_ms.put(delay_ms, wrong, DELAY_TWICE);
        } else if key == b"deliverAt" {
            let unix_ms = read_moment(reader)?;
            self.deliver_at_unix_ms.put(unix_ms, DELIVER_AT_WRONG, "`deliverAt` appears twice");
        } else if key == b"ttlMs" {
            let ttl_ms = read_integer(reader)?.and_then(NonZeroU64::new);
            self.ttl_ms.put(ttl_ms, TTL_WRONG, "`ttlMs` appears twice");
        } else if key == b"priority" {
            let priority = read_integer(reader)?.filter(|priority| *priority <= PRIORITY_MAX);
            self.priority.put(priority.map(|priority| priority as u8), PRIORITY_WRONG, "`priority` appears twice");
        } else if key == b"dedupId" {
            let id = reader.text()?;
            if id.is_none() {
                reader.skip()?;
            }
            let id = id.filter(|id| is_dedup_id(id, limits));
            self.dedup_id.put(id, DEDUP_ID_WRONG, "`dedupId` appears twice");
        } else if key == b"traceparent" {
            let text = reader.text()?;
            if text.is_none() {
                reader.skip()?;
            }
            let trace = text.and_then(|text| TraceContext::parse(text.as_bytes()));
            self.trace.put(Some(trace), "", "`traceparent` appears twice");
        } else {
            reader.skip()?;
        }
        Ok(())
    }

    /// What was found, if it is right; nothing is left here then.
    pub(super) fn judge(&mut self) -> Result<PublishOptions<'a>, Violation> {
        let not_before = match (self.delay_ms.take()?, self.deliver_at_unix_ms.take()?) {
            (None, None) => NotBefore::Now,
            (Some(delay_ms), None) => NotBefore::AfterMs(delay_ms),
            (None, Some(unix_ms)) => NotBefore::AtUnixMs(unix_ms),
            (Some(_), Some(_)) => return Err(invalid_field(DELAY_AND_DELIVER_AT)),
        };
        Ok(PublishOptions {
            not_before,
            ttl_ms: self.ttl_ms.take()?,
            priority: self.priority.take()?.unwrap_or(0),
            dedup_id: self.dedup_id.take()?,
            trace: self.trace.take()?.flatten(),
        })
    }
}

/// Reads any value; `None` when it names no moment.
fn read_moment<'a, R: Reader<'a>>(reader: &mut R) -> Result<Option<u64>, Broken> {
    if let Some(unix_ms) = reader.unsigned()? {
        return Ok(Some(unix_ms));
    }
    if let Some(text) = reader.text()? {
        return Ok(unix_ms_of(&text));
    }
    reader.skip()?;
    Ok(None)
}

/// `id` may be the `dedupId` of a message.
pub(crate) const fn is_dedup_id(id: &str, limits: &Limits) -> bool {
    !id.is_empty() && id.len() <= limits.dedup_id_bytes_max
}

/// Checks what decoding cannot, since it knows no time: that `deliverAt` is not farther away than the limit.
///
/// # Errors
/// `InvalidField`.
#[inline]
pub fn check_deliver_at(options: &PublishOptions<'_>, now: Now, limits: &Limits) -> Result<(), Violation> {
    match options.not_before {
        NotBefore::AtUnixMs(unix_ms) if unix_ms > now.unix_ms.saturating_add(limits.delay_ms_max) => {
            Err(invalid_field(DELIVER_AT_TOO_FAR))
        }
        _ => Ok(()),
    }
}
