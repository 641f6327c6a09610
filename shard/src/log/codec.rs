//! Records to bytes and back.
//!
//! Every record begins with the same 16 bytes and is padded with zeros to a multiple of eight. Its CRC covers all of it,
//! padding included, and is seeded by its place and its length: bytes that were copied elsewhere, or that somebody else
//! made, are not a record.

use super::format::{Salt, u16_at, u32_at, u64_at};
use super::location::RECORD_ALIGN;
use super::{
    GroupNumber, GroupRecord, Location, MessageRecord, Outstanding, Record, SeqRange, StreamNumber, StreamRecord,
};
use conduit_protocol::{Encoding, TenantId, TraceContext};

/// Bytes that every record begins with: CRC, length, kind, flags, mark, number.
pub(crate) const RECORD_HEADER: usize = 16;

/// Bytes of a message record before its texts; twice eight more when it has times, and those of its trace context.
const MESSAGE_FIXED: usize = 36;
const MESSAGE_TIMES: usize = 16;
const STREAM_FIXED: usize = 40;
const GROUP_FIXED: usize = 48;
const OUTSTANDING_BYTES: usize = 12;
const RANGE_BYTES: usize = 16;

const KIND_STREAM: u8 = 1;
const KIND_GROUP: u8 = 2;
const KIND_MESSAGE: u8 = 3;
const KIND_ACKED: u8 = 4;
const KIND_RELEASED: u8 = 5;
const KIND_GROUP_DELETED: u8 = 6;
const KIND_STREAM_DELETED: u8 = 7;
const KIND_CARRIED_OVER: u8 = 8;

/// A message's flags: its encoding, its priority in two bits, and whether it has times and a trace context.
const FLAG_MESSAGE_PACK: u8 = 1;
const PRIORITY_SHIFT: u8 = 1;
const FLAG_TIMES: u8 = 8;
const FLAG_TRACE: u8 = 16;

/// Bytes that a record takes in the log, header and padding included.
#[must_use]
#[inline]
pub fn encoded_bytes(record: &Record<'_>) -> u64 {
    let bytes = match record {
        Record::Message(message) => message_bytes(message),
        Record::Stream(stream) => {
            STREAM_FIXED + stream.gaps.len() * RANGE_BYTES + stream.name.len() + stream.settings.len()
        }
        Record::Group(group) => {
            let lists = group.outstanding.len() * OUTSTANDING_BYTES + group.done.len() * RANGE_BYTES;
            GROUP_FIXED + lists + group.name.len() + group.settings.len()
        }
        Record::Acked { ranges, .. } | Record::Released { ranges, .. } => RECORD_HEADER + ranges.len() * RANGE_BYTES,
        Record::GroupDeleted { .. } | Record::StreamDeleted { .. } | Record::CarriedOver => RECORD_HEADER,
    };
    (bytes as u64).next_multiple_of(RECORD_ALIGN)
}

const fn has_times(message: &MessageRecord<'_>) -> bool {
    message.not_before_unix_ms != 0 || message.expires_unix_ms != 0
}

const fn message_bytes(message: &MessageRecord<'_>) -> usize {
    let times = if has_times(message) { MESSAGE_TIMES } else { 0 };
    let trace = if message.trace.is_some() { TraceContext::BYTES } else { 0 };
    MESSAGE_FIXED + times + trace + message.id.len() + message.dedup_id.len() + message.envelope.len()
}

/// Whether every text of the record has a length that its field can say. (Limits of the wire are far below.)
pub(crate) fn is_encodable(record: &Record<'_>) -> bool {
    let fits = |len: usize| u16::try_from(len).is_ok();
    match record {
        Record::Message(message) => fits(message.id.len()) && fits(message.dedup_id.len()),
        Record::Stream(stream) => fits(stream.name.len()) && fits(stream.gaps.len()),
        Record::Group(group) => fits(group.name.len()),
        _ => true,
    }
}

/// Appends a record that is encodable and whose `encoded_bytes` are below 4 GiB.
#[inline]
pub(crate) fn encode(buffer: &mut Vec<u8>, record: &Record<'_>, salt: Salt, at: Location) {
    let start = buffer.len();
    match record {
        Record::Message(message) => encode_message(buffer, message),
        Record::Stream(stream) => encode_stream(buffer, stream),
        Record::Group(group) => encode_group(buffer, group),
        Record::Acked { group, ranges } => {
            begin(buffer, KIND_ACKED, group.0);
            encode_ranges(buffer, ranges);
        }
        Record::Released { stream, ranges } => {
            begin(buffer, KIND_RELEASED, stream.0);
            encode_ranges(buffer, ranges);
        }
        Record::GroupDeleted { group } => begin(buffer, KIND_GROUP_DELETED, group.0),
        Record::StreamDeleted { stream } => begin(buffer, KIND_STREAM_DELETED, stream.0),
        Record::CarriedOver => begin(buffer, KIND_CARRIED_OVER, 0),
    }
    finish(buffer, start, salt.mark(at));
}

fn begin(buffer: &mut Vec<u8>, kind: u8, number: u32) {
    let mut header = [0; RECORD_HEADER];
    header[8] = kind;
    header[12..16].copy_from_slice(&number.to_le_bytes());
    buffer.extend_from_slice(&header);
}

/// Pads the record that began at `start`, and writes its length, mark and CRC.
#[inline]
fn finish(buffer: &mut Vec<u8>, start: usize, mark: u64) {
    let len = buffer.len() - start;
    let padding = len.next_multiple_of(RECORD_ALIGN as usize) - len;
    buffer.extend_from_slice(&[0; RECORD_ALIGN as usize][..padding]);
    let Some((header, _)) = buffer[start..].split_first_chunk_mut::<RECORD_HEADER>() else { return };
    header[4..8].copy_from_slice(&(len as u32).to_le_bytes());
    header[10..12].copy_from_slice(&(mark as u16).to_le_bytes());
    let crc = crc_of(&buffer[start..], len as u32, mark);
    buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The CRC of a padded record from its kind on. The length goes into the seed instead of under the CRC, so that what is
/// covered begins at a multiple of eight.
#[inline]
fn crc_of(record: &[u8], len: u32, mark: u64) -> u32 {
    let seed = (mark >> 32) as u32 ^ len.wrapping_mul(0x9e37_79b1);
    crc32c::crc32c_append(seed, &record[8..])
}

#[inline]
fn encode_message(buffer: &mut Vec<u8>, message: &MessageRecord<'_>) {
    let mut flags = message.priority.min(3) << PRIORITY_SHIFT;
    if message.encoding == Encoding::MessagePack {
        flags |= FLAG_MESSAGE_PACK;
    }
    if has_times(message) {
        flags |= FLAG_TIMES;
    }
    if message.trace.is_some() {
        flags |= FLAG_TRACE;
    }
    let mut fixed = [0; MESSAGE_FIXED];
    fixed[8] = KIND_MESSAGE;
    fixed[9] = flags;
    fixed[12..16].copy_from_slice(&message.stream.0.to_le_bytes());
    fixed[16..24].copy_from_slice(&message.seq.to_le_bytes());
    fixed[24..32].copy_from_slice(&message.unix_ms.to_le_bytes());
    fixed[32..34].copy_from_slice(&(message.id.len() as u16).to_le_bytes());
    fixed[34..36].copy_from_slice(&(message.dedup_id.len() as u16).to_le_bytes());
    buffer.reserve(message_bytes(message) + RECORD_ALIGN as usize);
    buffer.extend_from_slice(&fixed);
    if has_times(message) {
        buffer.extend_from_slice(&message.not_before_unix_ms.to_le_bytes());
        buffer.extend_from_slice(&message.expires_unix_ms.to_le_bytes());
    }
    if let Some(trace) = &message.trace {
        buffer.extend_from_slice(trace.bytes());
    }
    buffer.extend_from_slice(message.id.as_bytes());
    buffer.extend_from_slice(message.dedup_id.as_bytes());
    buffer.extend_from_slice(message.envelope);
}

fn encode_stream(buffer: &mut Vec<u8>, stream: &StreamRecord<'_>) {
    begin(buffer, KIND_STREAM, stream.stream.0);
    buffer.extend_from_slice(&stream.epoch.to_le_bytes());
    buffer.extend_from_slice(&stream.next_seq.to_le_bytes());
    buffer.extend_from_slice(&stream.tenant.0.to_le_bytes());
    buffer.extend_from_slice(&(stream.name.len() as u16).to_le_bytes());
    buffer.extend_from_slice(&(stream.gaps.len() as u16).to_le_bytes());
    encode_ranges(buffer, stream.gaps);
    buffer.extend_from_slice(stream.name.as_bytes());
    buffer.extend_from_slice(stream.settings);
}

fn encode_group(buffer: &mut Vec<u8>, group: &GroupRecord<'_>) {
    begin(buffer, KIND_GROUP, group.group.0);
    buffer.extend_from_slice(&group.cursor.to_le_bytes());
    buffer.extend_from_slice(&group.stream.0.to_le_bytes());
    buffer.extend_from_slice(&(group.name.len() as u16).to_le_bytes());
    buffer.extend_from_slice(&[0; 2]);
    buffer.extend_from_slice(&(group.outstanding.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&(group.done.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&(group.settings.len() as u32).to_le_bytes());
    buffer.extend_from_slice(&[0; 4]);
    for outstanding in group.outstanding {
        buffer.extend_from_slice(&outstanding.seq.to_le_bytes());
        buffer.extend_from_slice(&outstanding.attempts.to_le_bytes());
    }
    encode_ranges(buffer, group.done);
    buffer.extend_from_slice(group.name.as_bytes());
    buffer.extend_from_slice(group.settings);
}

fn encode_ranges(buffer: &mut Vec<u8>, ranges: &[SeqRange]) {
    for range in ranges {
        buffer.extend_from_slice(&range.from.to_le_bytes());
        buffer.extend_from_slice(&range.to.to_le_bytes());
    }
}

/// Why no record is believed at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// There are zeros: nothing was written.
    Blank,
    /// It begins well and goes on past the end of the bytes: so many are needed from its start.
    Short(usize),
    /// Anything else.
    Bad,
}

/// A record whose CRC is right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checked<'a> {
    /// The record without its padding.
    bytes: &'a [u8],
}

impl<'a> Checked<'a> {
    /// Bytes that it takes, padding included.
    pub(crate) const fn padded_len(&self) -> usize {
        self.bytes.len().next_multiple_of(RECORD_ALIGN as usize)
    }
}

/// Looks for a record at the start of the bytes, which lie at a place with this mark.
#[inline]
pub(crate) fn check(bytes: &[u8], mark: u64) -> Result<Checked<'_>, Flaw> {
    let Some(header) = bytes.first_chunk::<RECORD_HEADER>() else { return Err(Flaw::Short(RECORD_HEADER)) };
    let [c0, c1, c2, c3, l0, l1, l2, l3, _, _, m0, m1, ..] = *header;
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    if u16::from_le_bytes([m0, m1]) != mark as u16 || (len as usize) < RECORD_HEADER {
        return Err(if *header == [0; RECORD_HEADER] { Flaw::Blank } else { Flaw::Bad });
    }
    let padded = (len as usize).next_multiple_of(RECORD_ALIGN as usize);
    let Some(record) = bytes.get(..padded) else { return Err(Flaw::Short(padded)) };
    if crc_of(record, len, mark) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Flaw::Bad);
    }
    Ok(Checked { bytes: &record[..len as usize] })
}

/// As [`check`], for a planted bug: whatever has a length is believed.
pub(crate) fn believe(bytes: &[u8]) -> Result<Checked<'_>, Flaw> {
    let len = u32_at(bytes, 4).ok_or(Flaw::Short(RECORD_HEADER))? as usize;
    if len < RECORD_HEADER {
        return Err(Flaw::Blank);
    }
    bytes.get(..len.next_multiple_of(RECORD_ALIGN as usize)).ok_or(Flaw::Bad)?;
    Ok(Checked { bytes: &bytes[..len] })
}

/// Where lists of a decoded record lie while it is looked at. Used again for the next one.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    outstanding: Vec<Outstanding>,
    ranges: Vec<SeqRange>,
}

/// Says what a checked record says. `None` when it is none that this version writes.
#[inline]
pub(crate) fn decode<'a>(checked: &Checked<'a>, scratch: &'a mut Scratch) -> Option<Record<'a>> {
    let bytes = checked.bytes;
    let kind = *bytes.get(8)?;
    let number = u32_at(bytes, 12)?;
    match kind {
        KIND_MESSAGE => decode_message(bytes, StreamNumber(number)).map(Record::Message),
        KIND_ACKED => {
            decode_ranges(bytes.get(RECORD_HEADER..)?, &mut scratch.ranges)?;
            Some(Record::Acked { group: GroupNumber(number), ranges: &scratch.ranges })
        }
        KIND_RELEASED => {
            decode_ranges(bytes.get(RECORD_HEADER..)?, &mut scratch.ranges)?;
            Some(Record::Released { stream: StreamNumber(number), ranges: &scratch.ranges })
        }
        KIND_STREAM => decode_stream(bytes, StreamNumber(number), scratch).map(Record::Stream),
        KIND_GROUP => decode_group(bytes, GroupNumber(number), scratch).map(Record::Group),
        KIND_GROUP_DELETED => Some(Record::GroupDeleted { group: GroupNumber(number) }),
        KIND_STREAM_DELETED => Some(Record::StreamDeleted { stream: StreamNumber(number) }),
        KIND_CARRIED_OVER => Some(Record::CarriedOver),
        _ => None,
    }
}

#[inline]
fn decode_message(bytes: &[u8], stream: StreamNumber) -> Option<MessageRecord<'_>> {
    let fixed: &[u8; MESSAGE_FIXED] = bytes.first_chunk()?;
    let flags = fixed[9];
    let (times, rest) = if flags & FLAG_TIMES == 0 {
        (&[][..], &bytes[MESSAGE_FIXED..])
    } else {
        bytes[MESSAGE_FIXED..].split_at_checked(MESSAGE_TIMES)?
    };
    let (trace, texts) = if flags & FLAG_TRACE == 0 {
        (None, rest)
    } else {
        let (bytes, texts) = rest.split_first_chunk()?;
        (Some(TraceContext::from_bytes(*bytes)), texts)
    };
    let (id, rest) = texts.split_at_checked(usize::from(u16_at(fixed, 32)?))?;
    let (dedup_id, envelope) = rest.split_at_checked(usize::from(u16_at(fixed, 34)?))?;
    Some(MessageRecord {
        stream,
        seq: u64_at(fixed, 16)?,
        unix_ms: u64_at(fixed, 24)?,
        encoding: if flags & FLAG_MESSAGE_PACK == 0 { Encoding::Json } else { Encoding::MessagePack },
        priority: (flags >> PRIORITY_SHIFT) & 3,
        not_before_unix_ms: u64_at(times, 0).unwrap_or(0),
        expires_unix_ms: u64_at(times, 8).unwrap_or(0),
        trace,
        dedup_id: text(dedup_id)?,
        id: text(id)?,
        envelope,
    })
}

fn decode_stream<'a>(bytes: &'a [u8], stream: StreamNumber, scratch: &'a mut Scratch) -> Option<StreamRecord<'a>> {
    let name_len = usize::from(u16_at(bytes, 36)?);
    let gaps_bytes = usize::from(u16_at(bytes, 38)?) * RANGE_BYTES;
    let (gaps, rest) = bytes.get(STREAM_FIXED..)?.split_at_checked(gaps_bytes)?;
    let (name, settings) = rest.split_at_checked(name_len)?;
    decode_ranges(gaps, &mut scratch.ranges)?;
    Some(StreamRecord {
        stream,
        tenant: TenantId(u32_at(bytes, 32)?),
        name: text(name)?,
        epoch: u64_at(bytes, 16)?,
        next_seq: u64_at(bytes, 24)?,
        settings,
        gaps: &scratch.ranges,
    })
}

fn decode_group<'a>(bytes: &'a [u8], group: GroupNumber, scratch: &'a mut Scratch) -> Option<GroupRecord<'a>> {
    let lists = bytes.get(GROUP_FIXED..)?;
    let outstanding_bytes = (u32_at(bytes, 32)? as usize).checked_mul(OUTSTANDING_BYTES)?;
    let done_bytes = (u32_at(bytes, 36)? as usize).checked_mul(RANGE_BYTES)?;
    let (outstanding, rest) = lists.split_at_checked(outstanding_bytes)?;
    let (done, rest) = rest.split_at_checked(done_bytes)?;
    let (name, settings) = rest.split_at_checked(usize::from(u16_at(bytes, 28)?))?;
    if settings.len() != u32_at(bytes, 40)? as usize {
        return None;
    }
    scratch.outstanding.clear();
    for entry in outstanding.chunks_exact(OUTSTANDING_BYTES) {
        scratch.outstanding.push(Outstanding { seq: u64_at(entry, 0)?, attempts: u32_at(entry, 8)? });
    }
    decode_ranges(done, &mut scratch.ranges)?;
    Some(GroupRecord {
        group,
        stream: StreamNumber(u32_at(bytes, 24)?),
        name: text(name)?,
        cursor: u64_at(bytes, 16)?,
        settings,
        outstanding: &scratch.outstanding,
        done: &scratch.ranges,
    })
}

/// Replaces `ranges` by what the bytes say.
fn decode_ranges(bytes: &[u8], ranges: &mut Vec<SeqRange>) -> Option<()> {
    if !bytes.len().is_multiple_of(RANGE_BYTES) {
        return None;
    }
    ranges.clear();
    for range in bytes.chunks_exact(RANGE_BYTES) {
        let range = SeqRange { from: u64_at(range, 0)?, to: u64_at(range, 8)? };
        if range.to < range.from {
            return None;
        }
        ranges.push(range);
    }
    Some(())
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
