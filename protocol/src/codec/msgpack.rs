//! MessagePack: a strict cursor that checks every length before it uses it and copies nothing, and the writing of
//! headers and integers in their shortest form. Section names are those of the MessagePack specification.

use super::reader::{Broken, DEPTH_CEILING, Reader};
use super::usual::{self, Form};
use crate::error::{ErrorCode, Violation};
use std::borrow::Cow;

/// A cursor over MessagePack bytes.
#[derive(Debug, Clone)]
pub(crate) struct MsgPackReader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth_left: usize,
}

/// How many members or elements are still to come.
#[derive(Debug)]
pub(super) struct MsgPackItems {
    left: u32,
}

/// One value; of a container its length, of what comes after a header the content, already checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Head<'a> {
    Nil,
    Bool(bool),
    /// Any integer that is not negative, whatever form it came in.
    Unsigned(u64),
    /// Below zero.
    Negative(i64),
    Float32(f32),
    Float64(f64),
    /// Not yet seen to be UTF-8: [`utf8`] and [`check_utf8`] do that.
    Text(&'a [u8]),
    Binary(&'a [u8]),
    Extension(i8, &'a [u8]),
    /// Elements follow.
    Array(u32),
    /// Members follow: a key and a value each.
    Map(u32),
}

impl<'a> MsgPackReader<'a> {
    /// A cursor at the front. `depth_max` above [`DEPTH_CEILING`] counts as that.
    pub(super) fn new(bytes: &'a [u8], depth_max: usize) -> Self {
        Self::with_depth(bytes, depth_max.min(DEPTH_CEILING))
    }

    /// A cursor at the front that follows so many levels.
    pub(super) fn with_depth(bytes: &'a [u8], depth: usize) -> Self {
        Self { bytes, at: 0, depth_left: depth }
    }

    fn marker(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let taken = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<N>).ok_or(Broken::End)?;
        self.at += N;
        Ok(*taken)
    }

    #[inline]
    fn take_u8(&mut self) -> Result<u32, Broken> {
        self.take::<1>().map(|[byte]| u32::from(byte))
    }

    #[inline]
    fn take_u16(&mut self) -> Result<u32, Broken> {
        self.take().map(u16::from_be_bytes).map(u32::from)
    }

    #[inline]
    fn take_u32(&mut self) -> Result<u32, Broken> {
        self.take().map(u32::from_be_bytes)
    }

    #[inline(always)]
    fn take_slice(&mut self, length: u32) -> Result<&'a [u8], Broken> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..length as usize)).ok_or(Broken::End)?;
        self.at += length as usize;
        Ok(taken)
    }

    /// Reads a text of less than 32 bytes: nearly all names and most ids are of that form.
    #[inline(always)]
    fn short_text(&mut self) -> Result<Option<&'a [u8]>, Broken> {
        let Some(marker @ 0xa0..=0xbf) = self.marker() else { return Ok(None) };
        self.at += 1;
        self.take_slice(u32::from(marker & 0x1f)).map(Some)
    }

    /// The bytes at `start` are at most eight and ASCII, as nearly all names are: one look at a word tells. (Not when
    /// the input ends within that word: then `false`.)
    #[inline(always)]
    fn is_short_ascii(&self, start: usize, length: usize) -> bool {
        const TOPS: u64 = 0x8080_8080_8080_8080;
        let Some(word) = self.bytes.get(start..).and_then(<[u8]>::first_chunk) else { return false };
        (1..=8).contains(&length) && (u64::from_le_bytes(*word) & TOPS) << (64 - 8 * length) == 0
    }

    fn take_extension(&mut self, length: u32) -> Result<Head<'a>, Broken> {
        let [kind] = self.take::<1>()?;
        Ok(Head::Extension(i8::from_be_bytes([kind]), self.take_slice(length)?))
    }

    /// A container of `items` values, each of which takes at least a byte.
    fn container(&self, items: u64, head: Head<'a>) -> Result<Head<'a>, Broken> {
        if items > (self.bytes.len() - self.at) as u64 { Err(Broken::End) } else { Ok(head) }
    }

    fn map_head(&self, members: u32) -> Result<Head<'a>, Broken> {
        self.container(u64::from(members) * 2, Head::Map(members))
    }

    fn array_head(&self, elements: u32) -> Result<Head<'a>, Broken> {
        self.container(u64::from(elements), Head::Array(elements))
    }

    /// Reads a scalar, or the header of a container whose items then follow.
    #[inline]
    pub(super) fn head(&mut self) -> Result<Head<'a>, Broken> {
        let [marker] = self.take::<1>()?;
        Ok(match marker {
            0x00..=0x7f => Head::Unsigned(u64::from(marker)),
            0x80..=0x8f => self.map_head(u32::from(marker & 0x0f))?,
            0x90..=0x9f => self.array_head(u32::from(marker & 0x0f))?,
            0xa0..=0xbf => Head::Text(self.take_slice(u32::from(marker & 0x1f))?),
            0xc0 => Head::Nil,
            0xc1 => {
                // "Never used": the error is at this byte.
                self.at -= 1;
                return Err(Broken::Unexpected);
            }
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xc4 => {
                let length = self.take_u8()?;
                Head::Binary(self.take_slice(length)?)
            }
            0xc5 => {
                let length = self.take_u16()?;
                Head::Binary(self.take_slice(length)?)
            }
            0xc6 => {
                let length = self.take_u32()?;
                Head::Binary(self.take_slice(length)?)
            }
            0xc7 => {
                let length = self.take_u8()?;
                self.take_extension(length)?
            }
            0xc8 => {
                let length = self.take_u16()?;
                self.take_extension(length)?
            }
            0xc9 => {
                let length = self.take_u32()?;
                self.take_extension(length)?
            }
            0xca => Head::Float32(f32::from_be_bytes(self.take()?)),
            0xcb => Head::Float64(f64::from_be_bytes(self.take()?)),
            0xcc => Head::Unsigned(u64::from(self.take_u8()?)),
            0xcd => Head::Unsigned(u64::from(self.take_u16()?)),
            0xce => Head::Unsigned(u64::from(self.take_u32()?)),
            0xcf => Head::Unsigned(u64::from_be_bytes(self.take()?)),
            0xd0 => signed(i64::from(i8::from_be_bytes(self.take()?))),
            0xd1 => signed(i64::from(i16::from_be_bytes(self.take()?))),
            0xd2 => signed(i64::from(i32::from_be_bytes(self.take()?))),
            0xd3 => signed(i64::from_be_bytes(self.take()?)),
            0xd4..=0xd8 => self.take_extension(1 << (marker - 0xd4))?,
            0xd9 => {
                let length = self.take_u8()?;
                Head::Text(self.take_slice(length)?)
            }
            0xda => {
                let length = self.take_u16()?;
                Head::Text(self.take_slice(length)?)
            }
            0xdb => {
                let length = self.take_u32()?;
                Head::Text(self.take_slice(length)?)
            }
            0xdc => {
                let elements = self.take_u16()?;
                self.array_head(elements)?
            }
            0xdd => {
                let elements = self.take_u32()?;
                self.array_head(elements)?
            }
            0xde => {
                let members = self.take_u16()?;
                self.map_head(members)?
            }
            0xdf => {
                let members = self.take_u32()?;
                self.map_head(members)?
            }
            0xe0..=0xff => Head::Negative(i64::from(i8::from_be_bytes([marker]))),
        })
    }

    pub(super) fn enter(&mut self) -> Result<(), Broken> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(Broken::Depth)?;
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth_left += 1;
    }

    /// A key of 32 bytes or more, or one that is no text and so names nothing that we know.
    #[inline(never)]
    fn unusual_key(&mut self) -> Result<&'a [u8], Broken> {
        let start = self.at;
        match self.head()? {
            Head::Text(name) => check_utf8(name).map(|()| name),
            Head::Map(_) | Head::Array(_) => {
                self.at = start;
                self.skip().map(|()| &b""[..])
            }
            _ => Ok(b""),
        }
    }

    /// Reads and checks any value.
    #[inline(never)]
    fn skip_other(&mut self) -> Result<(), Broken> {
        match self.head()? {
            Head::Map(members) => self.skip_items(u64::from(members) * 2),
            Head::Array(elements) => self.skip_items(u64::from(elements)),
            Head::Text(text) => check_utf8(text),
            _ => Ok(()),
        }
    }

    fn skip_items(&mut self, items: u64) -> Result<(), Broken> {
        self.enter()?;
        for _ in 0..items {
            self.skip()?;
        }
        self.leave();
        Ok(())
    }
}

/// The text of bytes that must be UTF-8 ("str format family").
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, Broken> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| Broken::Utf8)
}

/// The same without the text: most is ASCII, which is seen in a fraction of the time.
#[inline]
fn check_utf8(bytes: &[u8]) -> Result<(), Broken> {
    if bytes.is_ascii() { Ok(()) } else { utf8(bytes).map(drop) }
}

const fn signed(value: i64) -> Head<'static> {
    if value < 0 { Head::Negative(value) } else { Head::Unsigned(value.unsigned_abs()) }
}

impl<'a> Reader<'a> for MsgPackReader<'a> {
    type Items = MsgPackItems;

    const FORM: Form = usual::MSGPACK;

    #[inline(always)]
    fn pass_into(&mut self, bytes: &[u8], levels: usize) -> bool {
        let is_here = self.bytes[self.at..].starts_with(bytes) && levels <= self.depth_left;
        if is_here {
            self.at += bytes.len();
            self.depth_left -= levels;
        }
        is_here
    }

    #[inline]
    fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn mark(&mut self) -> usize {
        self.at
    }

    fn since(&self, mark: usize) -> &'a [u8] {
        &self.bytes[mark..self.at]
    }

    #[inline]
    fn members(&mut self) -> Result<Option<MsgPackItems>, Broken> {
        let left = match self.marker() {
            Some(marker @ 0x80..=0x8f) => {
                self.at += 1;
                u32::from(marker & 0x0f)
            }
            Some(0xde | 0xdf) => {
                let Head::Map(left) = self.head()? else { return Ok(None) };
                left
            }
            _ => return Ok(None),
        };
        self.enter()?;
        Ok(Some(MsgPackItems { left }))
    }

    #[inline(always)]
    fn next_key(&mut self, members: &mut MsgPackItems) -> Result<Option<&'a [u8]>, Broken> {
        if members.left == 0 {
            self.leave();
            return Ok(None);
        }
        members.left -= 1;
        let start = self.at + 1;
        match self.short_text()? {
            Some(name) if self.is_short_ascii(start, name.len()) => Ok(Some(name)),
            Some(name) => check_utf8(name).map(|()| Some(name)),
            None => self.unusual_key().map(Some),
        }
    }

    fn elements(&mut self) -> Result<Option<MsgPackItems>, Broken> {
        if !matches!(self.marker(), Some(0x90..=0x9f | 0xdc | 0xdd)) {
            return Ok(None);
        }
        let Head::Array(left) = self.head()? else { return Ok(None) };
        self.enter()?;
        Ok(Some(MsgPackItems { left }))
    }

    fn next_element(&mut self, elements: &mut MsgPackItems) -> Result<bool, Broken> {
        if elements.left == 0 {
            self.leave();
            return Ok(false);
        }
        elements.left -= 1;
        Ok(true)
    }

    #[inline]
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, Broken> {
        let text = match self.short_text()? {
            Some(text) => text,
            None if !matches!(self.marker(), Some(0xd9..=0xdb)) => return Ok(None),
            None => match self.head()? {
                Head::Text(text) => text,
                _ => return Ok(None),
            },
        };
        utf8(text).map(|text| Some(Cow::Borrowed(text)))
    }

    #[inline(always)]
    fn plain_text(&mut self) -> Option<&'a [u8]> {
        self.short_text().ok()?
    }

    /// A float that is a whole number up to 2^53 counts too: some JavaScript encoders write every number above 2^32 so.
    #[inline]
    fn unsigned(&mut self) -> Result<Option<u64>, Broken> {
        let start = self.at;
        let Some(marker @ (0x00..=0x7f | 0xca..=0xd3)) = self.marker() else { return Ok(None) };
        self.at += 1;
        let value = match marker {
            0xcc => Some(u64::from(self.take_u8()?)),
            0xcd => Some(u64::from(self.take_u16()?)),
            0xce => Some(u64::from(self.take_u32()?)),
            0xcf => Some(u64::from_be_bytes(self.take()?)),
            0xca..=0xd3 => {
                self.at = start;
                match self.head()? {
                    Head::Unsigned(value) => Some(value),
                    Head::Float32(value) => whole(f64::from(value)),
                    Head::Float64(value) => whole(value),
                    _ => None,
                }
            }
            _ => Some(u64::from(marker)),
        };
        if value.is_none() {
            self.at = start;
        }
        Ok(value)
    }

    fn boolean(&mut self) -> Result<Option<bool>, Broken> {
        let value = match self.marker() {
            Some(0xc2) => false,
            Some(0xc3) => true,
            _ => return Ok(None),
        };
        self.at += 1;
        Ok(Some(value))
    }

    #[inline]
    fn skip(&mut self) -> Result<(), Broken> {
        // Texts of less than 256 bytes are most of what there is.
        let start = self.at;
        if let Some(text) = self.short_text()? {
            return if self.is_short_ascii(start + 1, text.len()) { Ok(()) } else { check_utf8(text) };
        }
        if self.marker() == Some(0xd9) {
            self.at += 1;
            let length = self.take_u8()?;
            return self.take_slice(length).and_then(check_utf8);
        }
        self.skip_other()
    }

    fn finish(&mut self) -> Result<(), Broken> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(Broken::Trailing) }
    }

    #[cold]
    fn violation(&self, broken: Broken) -> Violation {
        let code = if broken == Broken::Depth { ErrorCode::DepthExceeded } else { ErrorCode::DecodeError };
        Violation::new(code, format!("{} (byte {})", broken.what(), self.at))
    }
}

fn whole(value: f64) -> Option<u64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    ((0.0..=EXACT_MAX).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

/// Appends an integer in its shortest form.
pub(super) fn put_unsigned(value: u64, out: &mut Vec<u8>) {
    if value < 0x80 {
        out.push(value as u8);
    } else if let Ok(value) = u8::try_from(value) {
        out.extend_from_slice(&[0xcc, value]);
    } else if let Ok(value) = u16::try_from(value) {
        put(0xcd, value.to_be_bytes(), out);
    } else if let Ok(value) = u32::try_from(value) {
        put(0xce, value.to_be_bytes(), out);
    } else {
        put(0xcf, value.to_be_bytes(), out);
    }
}

/// Appends an integer in its shortest form.
pub(super) fn put_signed(value: i64, out: &mut Vec<u8>) {
    if value >= 0 {
        put_unsigned(value.unsigned_abs(), out);
    } else if value >= -32 {
        out.push(value as u8);
    } else if let Ok(value) = i8::try_from(value) {
        put(0xd0, value.to_be_bytes(), out);
    } else if let Ok(value) = i16::try_from(value) {
        put(0xd1, value.to_be_bytes(), out);
    } else if let Ok(value) = i32::try_from(value) {
        put(0xd2, value.to_be_bytes(), out);
    } else {
        put(0xd3, value.to_be_bytes(), out);
    }
}

/// Appends `true` or `false`.
pub(super) fn put_boolean(value: bool, out: &mut Vec<u8>) {
    out.push(if value { 0xc3 } else { 0xc2 });
}

/// Appends a float.
pub(super) fn put_float(value: f64, out: &mut Vec<u8>) {
    put(0xcb, value.to_be_bytes(), out);
}

/// Appends a text.
pub(super) fn put_text(text: &str, out: &mut Vec<u8>) {
    put_text_bytes(text.as_bytes(), out);
}

/// Appends a text that is known to be UTF-8. Texts here are shorter than 4 GiB: they were part of a request.
#[inline]
pub(super) fn put_text_bytes(text: &[u8], out: &mut Vec<u8>) {
    let length = text.len();
    if length < 32 {
        out.push(0xa0 | length as u8);
    } else if let Ok(length) = u8::try_from(length) {
        out.extend_from_slice(&[0xd9, length]);
    } else if let Ok(length) = u16::try_from(length) {
        put(0xda, length.to_be_bytes(), out);
    } else {
        put(0xdb, (length as u32).to_be_bytes(), out);
    }
    out.extend_from_slice(text);
}

/// The header of a container in its shortest form, and how many bytes of it count.
pub(super) fn container_head(map: bool, items: u32) -> ([u8; 5], usize) {
    let (fix, short, long) = if map { (0x80, 0xde, 0xdf) } else { (0x90, 0xdc, 0xdd) };
    let [a, b, c, d] = items.to_be_bytes();
    if items < 16 {
        ([fix | d, 0, 0, 0, 0], 1)
    } else if items <= 0xffff {
        ([short, c, d, 0, 0], 3)
    } else {
        ([long, a, b, c, d], 5)
    }
}

/// Appends a map's header.
pub(super) fn put_map(members: u32, out: &mut Vec<u8>) {
    let (head, length) = container_head(true, members);
    out.extend_from_slice(&head[..length]);
}

/// Bytes that [`put_unsigned`] appends.
pub(super) const fn unsigned_len(value: u64) -> usize {
    match value {
        0..0x80 => 1,
        0x80..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// Bytes that [`put_text`] appends for a text of so many.
pub(super) const fn text_len(length: usize) -> usize {
    length
        + match length {
            0..32 => 1,
            32..=0xff => 2,
            0x100..=0xffff => 3,
            _ => 5,
        }
}

fn put<const N: usize>(marker: u8, bytes: [u8; N], out: &mut Vec<u8>) {
    out.push(marker);
    out.extend_from_slice(&bytes);
}

/// The number of members of the map `bytes`, and what follows its header. Nothing of either if it is no map.
pub(super) fn split_map(bytes: &[u8]) -> (u32, &[u8]) {
    let mut reader = MsgPackReader::new(bytes, 1);
    match reader.head() {
        Ok(Head::Map(members)) => (members, &bytes[reader.at..]),
        _ => (0, &[]),
    }
}
