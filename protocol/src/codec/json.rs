//! JSON (RFC 8259): a strict cursor that checks every byte once and copies none.
//!
//! Stricter than the grammar in one point: an escaped half of a surrogate pair is refused (RFC 8259, section 8.2 leaves
//! it open), because such a text has no UTF-8 form, so not every consumer could be handed the message.

use super::json_text::{escape, known_name, plain_end, unescape};
use super::reader::{Broken, DEPTH_CEILING, Reader};
use super::usual::{self, Form};
use crate::error::{ErrorCode, Violation};
use std::borrow::Cow;

/// So many decimal digits fit into 64 bits whatever they are.
const U64_DIGITS_SAFE: usize = 19;

/// A cursor over JSON text.
#[derive(Debug, Clone)]
pub(crate) struct JsonReader<'a> {
    text: &'a str,
    at: usize,
    depth_left: usize,
}

/// Where a walk over members or elements stands: the first has no comma before it.
#[derive(Debug)]
pub(super) struct JsonItems {
    first: bool,
}

/// The content of a string as it stands in the text: without quotes, with escapes.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawText {
    start: usize,
    end: usize,
    escaped: bool,
}

impl<'a> JsonReader<'a> {
    /// A cursor at the front. `depth_max` above [`DEPTH_CEILING`] counts as that.
    pub(super) fn new(bytes: &'a [u8], depth_max: usize) -> Result<Self, Violation> {
        Self::with_depth(bytes, depth_max.min(DEPTH_CEILING))
    }

    /// A cursor at the front that follows so many levels; [`Reader::skip`] follows [`DEPTH_CEILING`] of them at most.
    pub(super) fn with_depth(bytes: &'a [u8], depth: usize) -> Result<Self, Violation> {
        match simdutf8::basic::from_utf8(bytes) {
            Ok(text) => Ok(Self { text, at: 0, depth_left: depth }),
            Err(_) => Err(Violation::new(ErrorCode::InvalidJson, "JSON text must be UTF-8")),
        }
    }

    /// The byte here; 0, which begins no token, at the end.
    #[inline(always)]
    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn space(&mut self) {
        // Compact JSON has none: one comparison tells.
        while self.byte() <= b' ' && matches!(self.byte(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// The error for the byte here, which fits nowhere.
    #[cold]
    fn unexpected<T>(&self) -> Result<T, Broken> {
        Err(if self.at < self.text.len() { Broken::Unexpected } else { Broken::End })
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Broken> {
        if self.byte() != byte {
            return self.unexpected();
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn enter(&mut self) -> Result<(), Broken> {
        self.depth_left = self.depth_left.checked_sub(1).ok_or(Broken::Depth)?;
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn leave(&mut self) {
        self.depth_left += 1;
        self.at += 1;
    }

    /// Reads a string whose quote is here.
    #[inline(always)]
    fn string(&mut self) -> Result<RawText, Broken> {
        let start = self.at + 1;
        let escaped = self.skip_string()?;
        Ok(RawText { start, end: self.at - 1, escaped })
    }

    /// What a string stands for. Borrows unless it has escapes.
    #[inline(always)]
    pub(super) fn decoded(&self, text: RawText) -> Cow<'a, str> {
        // Quotes are ASCII, so the range lies on character boundaries.
        let raw = self.text.get(text.start..text.end).unwrap_or_default();
        if text.escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) }
    }

    /// Passes over a string whose quote is here; has it escapes?
    #[inline(always)]
    fn skip_string(&mut self) -> Result<bool, Broken> {
        self.expect(b'"')?;
        self.at = plain_end(self.text.as_bytes(), self.at);
        if self.byte() == b'"' {
            self.at += 1;
            return Ok(false);
        }
        self.skip_escapes()?;
        Ok(true)
    }

    /// Passes over the rest of a string from its first byte that is not plain.
    #[cold]
    fn skip_escapes(&mut self) -> Result<(), Broken> {
        let bytes = self.text.as_bytes();
        while self.byte() == b'\\' {
            let (_, length) = escape(&bytes[self.at..]).ok_or(Broken::Escape)?;
            self.at = plain_end(bytes, self.at + length);
        }
        self.expect(b'"')
    }

    /// Passes over the colon between a member's name and its value.
    #[inline]
    fn colon(&mut self) -> Result<(), Broken> {
        self.space();
        self.expect(b':')
    }

    /// The name of the next member, as [`Reader::next_key`], in full.
    #[inline(always)]
    pub(super) fn next_member(&mut self, members: &mut JsonItems) -> Result<Option<RawText>, Broken> {
        match self.peek() {
            b'"' if members.first => {}
            b',' if !members.first => {
                self.at += 1;
                self.space();
            }
            b'}' => {
                self.leave();
                return Ok(None);
            }
            _ => return self.unexpected(),
        }
        members.first = false;
        let name = self.string()?;
        self.colon()?;
        Ok(Some(name))
    }

    fn digits(&mut self) -> Result<(), Broken> {
        if !self.byte().is_ascii_digit() {
            return self.unexpected();
        }
        while self.byte().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// RFC 8259, section 6.
    fn number(&mut self) -> Result<(), Broken> {
        if self.byte() == b'-' {
            self.at += 1;
        }
        if self.byte() == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.byte(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn literal(&mut self, word: &str) -> Result<(), Broken> {
        for byte in word.bytes() {
            self.expect(byte)?;
        }
        Ok(())
    }

    /// The kind of the next value, by its first byte.
    #[inline]
    pub(super) fn peek(&mut self) -> u8 {
        self.space();
        self.byte()
    }
}

impl<'a> Reader<'a> for JsonReader<'a> {
    type Items = JsonItems;

    const FORM: Form = usual::JSON;

    #[inline(always)]
    fn pass_into(&mut self, bytes: &[u8], levels: usize) -> bool {
        let is_here = self.text.as_bytes()[self.at..].starts_with(bytes) && levels <= self.depth_left;
        if is_here {
            self.at += bytes.len();
            self.depth_left -= levels;
        }
        is_here
    }

    #[inline]
    fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    #[inline]
    fn mark(&mut self) -> usize {
        self.space();
        self.at
    }

    #[inline]
    fn since(&self, mark: usize) -> &'a [u8] {
        &self.text.as_bytes()[mark..self.at]
    }

    #[inline]
    fn members(&mut self) -> Result<Option<JsonItems>, Broken> {
        if self.peek() != b'{' {
            return Ok(None);
        }
        self.enter()?;
        Ok(Some(JsonItems { first: true }))
    }

    #[inline(always)]
    fn next_key(&mut self, members: &mut JsonItems) -> Result<Option<&'a [u8]>, Broken> {
        let name = self.next_member(members)?;
        Ok(name.map(|name| {
            let raw = &self.text.as_bytes()[name.start..name.end];
            if name.escaped { known_name(raw) } else { raw }
        }))
    }

    #[inline]
    fn elements(&mut self) -> Result<Option<JsonItems>, Broken> {
        if self.peek() != b'[' {
            return Ok(None);
        }
        self.enter()?;
        Ok(Some(JsonItems { first: true }))
    }

    #[inline]
    fn next_element(&mut self, elements: &mut JsonItems) -> Result<bool, Broken> {
        match self.peek() {
            b']' => {
                self.leave();
                return Ok(false);
            }
            b',' if !elements.first => {
                self.at += 1;
                // `[1,]`: a bracket after a comma must not pass for the end.
                if self.peek() == b']' {
                    return self.unexpected();
                }
            }
            _ if elements.first => {}
            _ => return self.unexpected(),
        }
        elements.first = false;
        Ok(true)
    }

    #[inline(always)]
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, Broken> {
        if self.peek() != b'"' {
            return Ok(None);
        }
        let text = self.string()?;
        Ok(Some(self.decoded(text)))
    }

    #[inline(always)]
    fn plain_text(&mut self) -> Option<&'a [u8]> {
        let text = self.string().ok().filter(|text| !text.escaped)?;
        self.text.as_bytes().get(text.start..text.end)
    }

    #[inline]
    fn unsigned(&mut self) -> Result<Option<u64>, Broken> {
        self.space();
        let start = self.at;
        let mut value = 0_u64;
        while self.byte().is_ascii_digit() {
            value = value.wrapping_mul(10).wrapping_add(u64::from(self.byte() - b'0'));
            self.at += 1;
        }
        let digits = self.at - start;
        let plain = digits == 1 || (digits > 1 && self.text.as_bytes()[start] != b'0');
        if plain && !matches!(self.byte(), b'.' | b'e' | b'E') {
            if digits <= U64_DIGITS_SAFE {
                return Ok(Some(value));
            }
            if let Some(Ok(value)) = self.text.get(start..self.at).map(str::parse) {
                return Ok(Some(value));
            }
        }
        self.at = start;
        Ok(None)
    }

    fn boolean(&mut self) -> Result<Option<bool>, Broken> {
        match self.peek() {
            b't' => self.literal("true").map(|()| Some(true)),
            b'f' => self.literal("false").map(|()| Some(false)),
            _ => Ok(None),
        }
    }

    fn skip(&mut self) -> Result<(), Broken> {
        // One bit for each open container, the innermost lowest: 1 is an object. `depth_left` keeps it within 128.
        let mut objects: u128 = 0;
        let mut open = 0_usize;
        loop {
            match self.peek() {
                b'"' => {
                    self.skip_string()?;
                }
                b'{' => {
                    self.enter()?;
                    if self.peek() == b'}' {
                        self.leave();
                    } else {
                        open += 1;
                        objects = objects << 1 | 1;
                        self.skip_string()?;
                        self.colon()?;
                        continue;
                    }
                }
                b'[' => {
                    self.enter()?;
                    if self.peek() == b']' {
                        self.leave();
                    } else {
                        open += 1;
                        objects <<= 1;
                        continue;
                    }
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => return self.unexpected(),
            }
            // A value has ended: close what ends with it, up to the next comma.
            loop {
                if open == 0 {
                    return Ok(());
                }
                let in_object = objects & 1 == 1;
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        if in_object {
                            self.space();
                            self.skip_string()?;
                            self.colon()?;
                        }
                        break;
                    }
                    b'}' if in_object => {}
                    b']' if !in_object => {}
                    _ => return self.unexpected(),
                }
                self.leave();
                open -= 1;
                objects >>= 1;
            }
        }
    }

    #[inline]
    fn finish(&mut self) -> Result<(), Broken> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(Broken::Trailing) }
    }

    #[cold]
    fn violation(&self, broken: Broken) -> Violation {
        let code = if broken == Broken::Depth { ErrorCode::DepthExceeded } else { ErrorCode::InvalidJson };
        Violation::new(code, format!("{} (byte {})", broken.what(), self.at))
    }
}
