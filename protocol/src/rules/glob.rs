//! Texts with `*`, which stands for any run of bytes, also none.

use memchr::memmem;

/// A text with `*`. Everything else in it is literal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    /// Between the stars. One piece: there is no star.
    pieces: Box<[Box<[u8]>]>,
}

impl Glob {
    /// Reads a glob; every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let pieces = text.as_bytes().split(|byte| *byte == b'*').map(Box::from);
        Self { pieces: pieces.collect() }
    }

    /// A text in which a star is a star.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self { pieces: Box::new([text.as_bytes().into()]) }
    }

    /// The text when it has no star.
    #[must_use]
    pub fn literal(&self) -> Option<&[u8]> {
        match &*self.pieces {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether all of `text` is meant.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let [first, middle @ .., last] = &*self.pieces else {
            return self.literal() == Some(text);
        };
        let Some(mut rest) = text.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last)) else {
            return false;
        };
        // The leftmost place of each piece leaves the most room for those behind it.
        for piece in middle {
            let Some(at) = memmem::find(rest, piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        true
    }

    /// Whether whatever `other` means is meant by this one too. `false` may also mean that it is not known.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match other.literal() {
            Some(text) => self.matches(text),
            // A star of the other may stand for anything, so only a star of ours can take it up: as a byte that no piece
            // of ours has, it is matched by nothing else.
            None => self == other || self.matches(&other.pieces.join(&STAR)),
        }
    }

    /// The pieces between the stars that are not empty.
    pub(super) fn fragments(&self) -> impl Iterator<Item = &[u8]> {
        self.pieces.iter().map(|piece| &**piece).filter(|piece| !piece.is_empty())
    }
}

/// No text has this byte: it is not UTF-8.
const STAR: u8 = 0xff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_bytes() {
        for (glob, yes, no) in [
            ("Bearer *", &["Bearer ", "Bearer x"][..], &["Bearer", "bearer x", ""][..]),
            ("*", &["", "x"], &[]),
            ("a*b*c", &["abc", "axbxc", "abbcc"], &["ab", "acb", "abcd"]),
            ("a.c", &["a.c"], &["abc"]),
            ("ab*ba", &["abba", "abxba"], &["aba"]),
            ("**x", &["x", "yx"], &["xy"]),
        ] {
            for text in yes {
                assert!(Glob::new(glob).matches(text.as_bytes()), "{glob} {text}");
            }
            for text in no {
                assert!(!Glob::new(glob).matches(text.as_bytes()), "{glob} {text}");
            }
        }
    }

    #[test]
    fn a_glob_covers_what_it_surely_includes() {
        for (wide, narrow, covers) in [
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/*/c", true),
            ("/a/*/c", "/a/*", false),
            ("*", "/x*", true),
            ("/x", "/*", false),
            ("a*", "a*", true),
        ] {
            assert_eq!(Glob::new(wide).covers(&Glob::new(narrow)), covers, "{wide} {narrow}");
        }
    }
}
