//! What consumers said went wrong: the last error of each message that was given back with one, for its dead letter.
//!
//! Few messages have one, so they are kept beside the messages, for the whole shard, and only so many: the oldest makes
//! room for the newest. Losing one costs a dead letter its `lastError`, nothing more. So nothing needs to be told here when
//! a message is acked; what is left behind is pushed out by and by.

use hashbrown::HashMap;
use std::collections::VecDeque;

/// Errors that one shard keeps. One more, and the oldest is forgotten.
const ERRORS_MAX: usize = 8_192;
/// Bytes of one error. A longer one is cut at a character; the wire cuts at the same length by default.
const ERROR_BYTES_MAX: usize = 1_024;

/// What all of them take at most, in bytes: texts, and the entries of two collections that grow by doubling.
pub(crate) const BYTES_MAX: u64 =
    (ERRORS_MAX * (ERROR_BYTES_MAX + 2 * (size_of::<(Of, Error)>() + size_of::<(Of, u64)>() + 8))) as u64;

/// One message in one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Of {
    /// Key of the stream.
    pub(crate) stream: u32,
    /// Index of the group.
    pub(crate) group: u32,
    /// The message.
    pub(crate) seq: u64,
}

#[derive(Debug)]
struct Error {
    text: Box<str>,
    /// When it was told, in errors told.
    number: u64,
}

/// The last errors of one shard.
#[derive(Debug, Default)]
pub(crate) struct LastErrors {
    errors: HashMap<Of, Error, foldhash::fast::FixedState>,
    /// Oldest first; one that was told again is there twice, and only its later number counts.
    order: VecDeque<(Of, u64)>,
    told: u64,
}

impl LastErrors {
    /// A consumer gives a message back with an error.
    pub(crate) fn tell(&mut self, of: Of, text: &str) {
        self.told += 1;
        let number = self.told;
        self.errors.insert(of, Error { text: cut(text).into(), number });
        self.order.push_back((of, number));
        while self.order.len() > ERRORS_MAX {
            let Some((oldest, number)) = self.order.pop_front() else { return };
            if self.errors.get(&oldest).is_some_and(|error| error.number == number) {
                self.errors.remove(&oldest);
            }
        }
    }

    /// The last error of a message, which is not needed any more.
    pub(crate) fn take(&mut self, of: Of) -> Option<Box<str>> {
        self.errors.remove(&of).map(|error| error.text)
    }

    /// The last error of a message.
    #[cfg(test)]
    fn of(&self, of: Of) -> Option<&str> {
        self.errors.get(&of).map(|error| &*error.text)
    }

    /// A group is gone, and its index will be another's.
    pub(crate) fn forget_group(&mut self, stream: u32, group: u32) {
        self.errors.retain(|of, _| (of.stream, of.group) != (stream, group));
    }
}

/// The text, or as much of it as is kept.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF: Of = Of { stream: 1, group: 2, seq: 3 };

    #[test]
    fn the_last_one_counts_and_is_taken_once() {
        let mut errors = LastErrors::default();
        errors.tell(OF, "first");
        errors.tell(OF, "second");
        assert_eq!(errors.of(OF), Some("second"));
        assert_eq!(errors.take(OF).as_deref(), Some("second"));
        assert_eq!(errors.take(OF), None);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let mut errors = LastErrors::default();
        errors.tell(OF, &"x".repeat(ERROR_BYTES_MAX));
        assert_eq!(errors.of(OF).unwrap().len(), ERROR_BYTES_MAX);
        errors.tell(OF, &"\u{20ac}".repeat(ERROR_BYTES_MAX));
        assert_eq!(errors.of(OF).unwrap(), "\u{20ac}".repeat(ERROR_BYTES_MAX / 3));
    }

    #[test]
    fn one_more_than_may_be_kept_pushes_the_oldest_out() {
        let mut errors = LastErrors::default();
        let of = |seq| Of { seq, ..OF };
        for seq in 0..ERRORS_MAX as u64 {
            errors.tell(of(seq), "e");
        }
        assert_eq!(errors.of(of(0)), Some("e"));
        errors.tell(of(0), "told again");
        assert_eq!(errors.of(of(0)), Some("told again"), "it is the newest now");
        errors.tell(of(1_000_000), "e");
        assert_eq!((errors.of(of(1)), errors.of(of(2))), (None, Some("e")));
        assert!(errors.errors.len() <= ERRORS_MAX && errors.order.len() <= ERRORS_MAX);
    }

    #[test]
    fn what_is_gone_leaves_no_error_to_its_successor() {
        let mut errors = LastErrors::default();
        for (stream, group) in [(1, 2), (1, 3), (2, 2)] {
            errors.tell(Of { stream, group, seq: 3 }, "e");
        }
        errors.forget_group(1, 2);
        assert_eq!((errors.of(OF), errors.of(Of { group: 3, ..OF })), (None, Some("e")));
        assert_eq!(errors.of(Of { stream: 2, ..OF }), Some("e"));
    }
}
