//! The origins whose pages ask over one connection: a response names the one that asked (the Fetch standard, section 3.2.3).

/// Origins of one connection. A browser's connection has one; a proxy may mix a few.
const ORIGINS_MAX: usize = 8;

/// Bytes of an origin that is kept. Longer ones get no answer that they may read.
pub(super) const ORIGIN_BYTES_MAX: usize = 256;

/// Where the origin of a request is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Responses do not depend on it.
    Off,
    /// There is none, or none that may read the response: but another one might.
    Unnamed,
    /// This one may read it.
    Kept(u8),
}

/// The origins of the requests that wait for their answers, and of some before them.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<Box<str>>);

impl Origins {
    /// Keeps an origin that may read the response. `is_alone`: no earlier request waits for its answer, so none of the
    /// others is needed. `None`: there is no room until earlier requests have been answered.
    pub(super) fn keep(&mut self, origin: &str, is_alone: bool) -> Option<Origin> {
        if let Some(known) = self.0.iter().position(|known| **known == *origin) {
            return Some(Origin::Kept(known as u8));
        }
        if self.0.len() >= ORIGINS_MAX {
            if !is_alone {
                return None;
            }
            self.0.clear();
        }
        self.0.push(origin.into());
        Some(Origin::Kept((self.0.len() - 1) as u8))
    }

    /// The text of an origin.
    pub(super) fn text(&self, origin: Origin) -> Option<&str> {
        match origin {
            Origin::Off | Origin::Unnamed => None,
            Origin::Kept(position) => self.0.get(usize::from(position)).map(|origin| &**origin),
        }
    }
}
