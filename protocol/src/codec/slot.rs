//! A member of a request while the request is walked.

use crate::error::{ErrorCode, Violation};

/// A member that counts, as far as it has been seen.
#[derive(Debug)]
pub(super) enum Slot<T> {
    Absent,
    Is(T),
    /// It was there and was not right; why.
    Wrong(&'static str),
}

impl<T> Slot<T> {
    /// Keeps what was just read: a value, or nothing when it was `wrong`. `twice` is the complaint if there was one
    /// before.
    pub(super) fn put(&mut self, value: Option<T>, wrong: &'static str, twice: &'static str) {
        *self = match (&self, value) {
            (Self::Absent, Some(value)) => Self::Is(value),
            (Self::Absent, None) => Self::Wrong(wrong),
            (Self::Is(_) | Self::Wrong(_), _) => Self::Wrong(twice),
        };
    }

    /// What was found, if it is right; nothing is left here then.
    ///
    /// # Errors
    /// `InvalidField`.
    #[inline]
    pub(super) fn take(&mut self) -> Result<Option<T>, Violation> {
        match std::mem::replace(self, Self::Absent) {
            Self::Absent => Ok(None),
            Self::Is(value) => Ok(Some(value)),
            Self::Wrong(why) => Err(invalid_field(why)),
        }
    }
}

#[cold]
pub(super) fn invalid_field(why: &'static str) -> Violation {
    Violation::new(ErrorCode::InvalidField, why)
}
