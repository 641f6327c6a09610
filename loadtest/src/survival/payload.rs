//! What a message of a trial looks like: who made it, its number, and padding that can be checked.

use serde::Deserialize;
use std::borrow::Cow;
use std::fmt::Write;

/// Which message: the producer and its number, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    /// The producer.
    pub producer: u32,
    /// Its how-manieth message in this stream.
    pub number: u64,
}

impl Mark {
    /// What repeats of it are recognised by, and its id.
    #[must_use]
    pub fn dedup_id(self) -> String {
        format!("{}-{}", self.producer, self.number)
    }

    /// Bytes of padding: mostly small, now and then larger than a block of the disk, rarely many blocks.
    fn pad_bytes(self) -> usize {
        let mixed = (u64::from(self.producer) << 40 ^ self.number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let spread = (mixed >> 12) as usize;
        match mixed % 500 {
            0 => 30_000 + spread % 20_000,
            1..=10 => 3_000 + spread % 3_000,
            _ => spread % 300,
        }
    }

    /// The envelope, a JSON object.
    #[must_use]
    pub fn envelope(self) -> String {
        let Self { producer, number } = self;
        let mut text = String::with_capacity(self.pad_bytes() + 80);
        // Writing to a String cannot fail.
        let _ = write!(text, r#"{{"id":"{producer}-{number}","producer":{producer},"number":{number},"pad":""#);
        self.append_pad(&mut text);
        text.push_str("\"}");
        text
    }

    fn append_pad(self, text: &mut String) {
        let end = text.len() + self.pad_bytes();
        let word = format!("{:08x}{:016x}", self.producer, self.number);
        while text.len() < end {
            text.push_str(&word[..word.len().min(end - text.len())]);
        }
    }
}

/// The envelope as a consumer gets it.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    producer: u32,
    number: u64,
    #[serde(borrow)]
    pad: Cow<'a, str>,
}

impl Envelope<'_> {
    /// Which message it is; `None` when a byte of it is not as it was sent.
    pub(crate) fn mark(&self) -> Option<Mark> {
        let mark = Mark { producer: self.producer, number: self.number };
        let mut pad = String::with_capacity(self.pad.len());
        mark.append_pad(&mut pad);
        (self.id == mark.dedup_id() && self.pad == pad).then_some(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Mark> {
        serde_json::from_str::<Envelope<'_>>(text).expect("an envelope").mark()
    }

    #[test]
    fn an_envelope_says_which_message_it_is_and_a_changed_one_does_not() {
        for number in 0..2_000 {
            let mark = Mark { producer: 7, number };
            let text = mark.envelope();
            assert_eq!(read(&text), Some(mark));
            assert_eq!(read(&text.replacen("\"pad\":\"", "\"pad\":\"x", 1)), None);
            assert_eq!(read(&text.replacen("\"id\":\"7-", "\"id\":\"8-", 1)), None);
        }
    }

    #[test]
    fn sizes_cross_the_blocks_of_a_disk() {
        let sizes: Vec<usize> = (0..5_000).map(|number| Mark { producer: 1, number }.pad_bytes()).collect();
        assert!(sizes.iter().any(|bytes| *bytes > 30_000) && sizes.iter().any(|bytes| *bytes < 20));
        assert!(sizes.iter().filter(|bytes| **bytes < 300).count() > 4_500);
    }
}
