//! A running hash of everything that a run did, so that two runs can be compared, and on request the lines themselves,
//! so that one can be read.

use std::collections::VecDeque;
use xxhash_rust::xxh3::xxh3_64;

/// Lines kept for reading: the latest.
const LINES_MAX: usize = 100_000;

/// What happened, as one number.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// An empty trace; with `is_read`, one that keeps its latest lines.
    #[must_use]
    pub fn new(is_read: bool) -> Self {
        Self { hash: 0, events: 0, lines: is_read.then(VecDeque::new) }
    }

    /// Something happened: when, what, and the numbers that tell it from others of its kind.
    pub fn event(&mut self, now_ns: u64, what: &'static str, numbers: &[u64]) {
        self.events += 1;
        self.mix(now_ns);
        self.mix(xxh3_64(what.as_bytes()));
        for number in numbers {
            self.mix(*number);
        }
        if self.lines.is_some() {
            self.line(format!("{:>14.6} {what} {numbers:?}", now_ns as f64 / 1e6));
        }
    }

    /// Bytes went from one to another.
    pub fn bytes(&mut self, now_ns: u64, what: &'static str, whose: u64, bytes: &[u8]) {
        self.events += 1;
        self.mix(now_ns);
        self.mix(whose);
        self.mix(xxh3_64(bytes));
        if self.lines.is_some() {
            let text: String = bytes.escape_ascii().take(300).map(char::from).collect();
            self.line(format!("{:>14.6} {what} {whose} {text}", now_ns as f64 / 1e6));
        }
    }

    /// A remark for readers only: it does not change the hash.
    pub fn remark(&mut self, remark: impl FnOnce() -> String) {
        if self.lines.is_some() {
            let remark = remark();
            self.line(format!("{:>14} {remark}", ""));
        }
    }

    /// The hash of everything so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The latest lines, oldest first; none unless they were asked for.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.lines.map_or_else(Vec::new, Vec::from)
    }

    fn mix(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(23) ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25);
    }

    fn line(&mut self, line: String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_event_changes_the_hash() {
        let of = |now_ns, what, numbers: &[u64], bytes: &[u8]| {
            let mut trace = Trace::new(false);
            trace.event(now_ns, what, numbers);
            trace.bytes(now_ns, what, 1, bytes);
            trace.hash()
        };
        let hashes = [
            of(1, "a", &[1, 2], b"x"),
            of(2, "a", &[1, 2], b"x"),
            of(1, "b", &[1, 2], b"x"),
            of(1, "a", &[2, 1], b"x"),
            of(1, "a", &[1, 2], b"y"),
        ];
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash));
        }
        assert_eq!(hashes[0], of(1, "a", &[1, 2], b"x"));
    }

    #[test]
    fn lines_are_kept_only_when_asked_for_and_only_the_latest() {
        let mut trace = Trace::new(true);
        for number in 0..LINES_MAX as u64 + 1 {
            trace.event(number, "tick", &[number]);
        }
        let hash = trace.hash();
        trace.remark(|| "a remark".to_owned());
        assert_eq!(trace.hash(), hash);
        let lines = trace.into_lines();
        assert_eq!(lines.len(), LINES_MAX);
        assert!(lines.last().unwrap().ends_with("a remark") && lines[0].ends_with("tick [2]"));
        let mut quiet = Trace::new(false);
        quiet.event(0, "tick", &[]);
        assert!(quiet.into_lines().is_empty());
    }
}
