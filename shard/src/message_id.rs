//! Ids of messages whose publisher gave none: UUID version 7 (RFC 9562, section 5.7), so that they sort by time.

use uuid::{Builder, fmt::Hyphenated};

/// Makes ids from the time it is told and a seeded generator: no clock, no randomness of its own.
#[derive(Debug)]
pub(crate) struct MessageIds {
    state: u64,
}

/// The text of an id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MadeId([u8; Hyphenated::LENGTH]);

impl MadeId {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        // The formatter wrote ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl MessageIds {
    /// A generator; equal seeds make equal ids.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next id.
    pub(crate) fn next(&mut self, unix_ms: u64) -> MadeId {
        let mut random = [0; 10];
        random[..8].copy_from_slice(&self.draw().to_le_bytes());
        random[8..].copy_from_slice(&self.draw().to_le_bytes()[..2]);
        let mut text = [0; Hyphenated::LENGTH];
        Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid().hyphenated().encode_lower(&mut text);
        MadeId(text)
    }

    /// SplitMix64 (Steele, Lea and Flood, 2014): a counter and two multiplications, each 64-bit value once per period.
    const fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_version_7_differ_and_follow_from_the_seed() {
        let mut ids = MessageIds::new(5);
        let first = ids.next(0x0123_4567_89ab);
        let second = ids.next(0x0123_4567_89ab);
        assert!(first.as_str().starts_with("01234567-89ab-7"), "{}", first.as_str());
        assert_ne!(first.as_str(), second.as_str());
        let mut same = MessageIds::new(5);
        assert_eq!(same.next(0x0123_4567_89ab).as_str(), first.as_str());
        assert_eq!(uuid::Uuid::parse_str(second.as_str()).unwrap().get_version_num(), 7);
    }
}
