//! What the two encodings have in common: a cursor that walks one value, so that the meaning of a request is written
//! once, in `request.rs`.

use super::usual::Form;
use crate::error::Violation;
use std::borrow::Cow;

/// Levels of nesting that a decoder follows whatever `Limits::depth_max` says: a larger limit counts as this one.
pub const DEPTH_CEILING: usize = 128;

/// Why the bytes are not one value of their encoding. Where, the reader knows. Small, so that it travels in a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The bytes end within the value.
    End,
    /// This byte cannot stand here.
    Unexpected,
    /// An escape that does not exist, or half of a surrogate pair.
    Escape,
    /// Text that is not UTF-8.
    Utf8,
    /// Bytes follow the value.
    Trailing,
    /// More levels than the limit.
    Depth,
}

impl Broken {
    /// For people: what is wrong at the reader's position.
    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::End => "the input ends too early",
            Self::Unexpected => "unexpected byte",
            Self::Escape => "invalid escape",
            Self::Utf8 => "text is not UTF-8",
            Self::Trailing => "bytes after the value",
            Self::Depth => "nested deeper than the limit",
        }
    }
}

/// The names of all members that mean something, for a name that is spelt with escapes.
pub(super) const NAMES: [&[u8]; 28] = [
    b"to",
    b"envelope",
    b"id",
    b"credit",
    b"ack",
    b"ackUpTo",
    b"nack",
    b"delayMs",
    b"enqueue",
    b"ref",
    b"dead",
    b"error",
    b"deliverAt",
    b"ttlMs",
    b"priority",
    b"dedupId",
    b"retention",
    b"durability",
    b"maxMessages",
    b"maxBytes",
    b"maxDeliver",
    b"deadLetterExpired",
    b"dedupWindowMs",
    b"policy",
    b"maxAgeMs",
    b"interval",
    b"from",
    b"ackWaitMs",
];

/// A cursor over one value. Every method leaves it where it was when it answers `None` ("not one of these").
///
/// Spaces between JSON tokens are passed over before a value is looked at, so `mark` is the first byte of a value.
pub(super) trait Reader<'a> {
    /// What must be remembered while walking the members of an object or the elements of an array.
    type Items;

    /// How requests usually look in this encoding.
    const FORM: Form;

    /// Passes over exactly these bytes, which enter so many objects; `false` when something else is here, or when that
    /// is deeper than the limit.
    fn pass_into(&mut self, bytes: &[u8], levels: usize) -> bool;

    /// Nothing follows, not even spaces.
    fn is_at_end(&self) -> bool;

    /// Moves to the first byte of the next value and returns its position.
    fn mark(&mut self) -> usize;

    /// The bytes from `mark` up to here.
    fn since(&self, mark: usize) -> &'a [u8];

    /// Enters an object (a map).
    fn members(&mut self) -> Result<Option<Self::Items>, Broken>;

    /// The name of the next member, whose value must be read next; `None` leaves the object. A name that is none of
    /// [`NAMES`] may come out as any other that is none of them.
    fn next_key(&mut self, members: &mut Self::Items) -> Result<Option<&'a [u8]>, Broken>;

    /// Enters an array.
    fn elements(&mut self) -> Result<Option<Self::Items>, Broken>;

    /// Another element follows and must be read next; `false` leaves the array.
    fn next_element(&mut self, elements: &mut Self::Items) -> Result<bool, Broken>;

    /// Reads a text. Borrows unless it has escapes.
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, Broken>;

    /// Reads a text as its bytes, which are UTF-8. Borrows unless it has escapes.
    fn text_bytes(&mut self) -> Result<Option<Cow<'a, [u8]>>, Broken>;

    /// Reads a text as the bytes that it is, which may not be UTF-8 yet. `None` (and somewhere within the text) when it has
    /// escapes or is of an unusual length.
    fn plain_text(&mut self) -> Option<&'a [u8]>;

    /// Reads an integer of 0 to 2^64 - 1.
    fn unsigned(&mut self) -> Result<Option<u64>, Broken>;

    /// Reads `true` or `false`.
    fn boolean(&mut self) -> Result<Option<bool>, Broken>;

    /// Reads and checks any value.
    fn skip(&mut self) -> Result<(), Broken>;

    /// Checks that nothing follows.
    fn finish(&mut self) -> Result<(), Broken>;

    /// What to tell the peer about `broken`, which happened at the present position.
    fn violation(&self, broken: Broken) -> Violation;
}
