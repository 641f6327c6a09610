//! Rare states that a run over many seeds must reach: a test that never meets them proves nothing about them.

/// Every mark, by name. `sometimes!` takes no other.
pub const MARKS: &[&str] = &[
    "a connection breaks",
    "a connection is handed over",
    "a connection waits for room in the mesh",
    "a consumer is told of a gap",
    "a lease is given",
    "a lease is returned",
    "a lease is spent",
    "a link between shards is full",
    "a message becomes a dead letter",
    "a message cannot be read",
    "a message is delivered again",
    "a message is lost with the reader that it was written to",
    "a peer does not take what is written",
    "a peer that does not read is dropped",
    "a publish is refused for want of room",
    "a publish is refused, for the disk is full",
    "a publish is refused, for the log has failed",
    "a publisher is paused",
    "a publisher repeats what it got no answer for",
    "a rate refuses a request",
    "a reader of events gets a message",
    "a repeat is recognised after a restart",
    "a request waits for another shard's account",
    "a segment is full and the next one begun",
    "a segment is removed",
    "a silent peer is given up",
    "a torn end is left behind",
    "a write or a sync of the log fails",
    "acks are logged while publishes find no room",
    "all slots are taken",
    "an operation of recovery fails",
    "backlog is read back",
    "backlog leaves memory",
    "moving streams is ended in the middle",
    "recovery is ended in the middle",
    "seqs that were reserved are given up",
    "streams move to another number of shards",
    "the disk is behind by as much as it may be",
    "the log is full and takes messages again",
    "the power goes after a kill",
    "the reserve is used",
    "the server ends as it should",
];

/// How often each mark was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    counts: [u64; MARKS.len()],
}

impl Default for Marks {
    fn default() -> Self {
        Self { counts: [0; MARKS.len()] }
    }
}

impl Marks {
    /// The mark at this position was reached.
    pub const fn reach(&mut self, index: usize) {
        self.counts[index] += 1;
    }

    /// Adds what another run reached.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// Every mark with its count.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        MARKS.iter().copied().zip(self.counts)
    }

    /// The marks that were never reached.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        self.counts().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

/// The position of a mark.
///
/// # Panics
/// When there is no such mark: `sometimes!` asks while it is compiled.
#[must_use]
pub const fn index_of(name: &str) -> usize {
    let mut index = 0;
    while index < MARKS.len() {
        if is_same(MARKS[index].as_bytes(), name.as_bytes()) {
            return index;
        }
        index += 1;
    }
    panic!("no such mark")
}

const fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Notes that a rare state was reached, when the condition holds. The name is one of [`MARKS`], checked at compile time.
#[macro_export]
macro_rules! sometimes {
    ($marks:expr, $name:literal, $condition:expr) => {{
        const INDEX: usize = $crate::testing::marks::index_of($name);
        if $condition {
            $marks.reach(INDEX);
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_when_its_condition_holds() {
        let mut marks = Marks::default();
        sometimes!(marks, "a publisher is paused", false);
        assert_eq!(marks.missing().len(), MARKS.len());
        sometimes!(marks, "a publisher is paused", true);
        let mut sum = Marks::default();
        sum.merge(&marks);
        sum.merge(&marks);
        assert_eq!(sum.missing().len(), MARKS.len() - 1);
        assert_eq!(sum.counts().map(|(_, count)| count).sum::<u64>(), 2);
    }

    #[test]
    fn every_mark_has_a_name_of_its_own() {
        for (at, name) in MARKS.iter().enumerate() {
            assert_eq!(index_of(name), at);
        }
    }
}
