//! The lines of one file that wait to be taken.

use crate::time::Now;

/// Bytes that may wait. They are taken long before; when they are not, since the writer is behind, lines are dropped.
const WAITING_BYTES_MAX: usize = 256 * 1024;

/// Lines of one file, taken by the owner of the shard.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Batch {
    /// The lines, each with its end.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub lines: u32,
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) is_on: bool,
    waiting: Batch,
    since_ns: u64,
    pub(super) written: u64,
    pub(super) dropped: u64,
}

impl Lines {
    /// Appends what `write` writes as one line, or counts it when there is no room.
    #[inline]
    pub(super) fn append(&mut self, now: Now, write: impl FnOnce(&mut Vec<u8>)) {
        if self.waiting.bytes.len() >= WAITING_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        if self.waiting.bytes.is_empty() {
            self.since_ns = now.mono_ns;
        }
        write(&mut self.waiting.bytes);
        self.waiting.lines += 1;
        self.written += 1;
    }

    pub(super) const fn len(&self) -> usize {
        self.waiting.bytes.len()
    }

    pub(super) const fn since_ns(&self) -> u64 {
        if self.waiting.bytes.is_empty() { u64::MAX } else { self.since_ns }
    }

    pub(super) fn take(&mut self, spare: impl FnOnce() -> Vec<u8>) -> Option<Batch> {
        if self.waiting.bytes.is_empty() {
            return None;
        }
        let mut bytes = spare();
        bytes.clear();
        Some(std::mem::replace(&mut self.waiting, Batch { bytes, lines: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_room_are_dropped_and_counted() {
        let mut lines = Lines::default();
        let now = Now { mono_ns: 5, unix_ms: 0 };
        // The last one that is let in may stand across the bound; the next one may not begin.
        lines.append(now, |out| out.resize(WAITING_BYTES_MAX - 1, b'x'));
        lines.append(now, |out| out.extend_from_slice(b"yz"));
        lines.append(now, |out| out.push(b'!'));
        lines.append(now, |out| out.push(b'!'));
        assert_eq!((lines.written, lines.dropped, lines.len()), (2, 2, WAITING_BYTES_MAX + 1));
        let batch = lines.take(|| b"left over".to_vec()).unwrap();
        assert_eq!((batch.lines, batch.bytes.len()), (2, WAITING_BYTES_MAX + 1));
        assert_eq!((lines.len(), lines.since_ns()), (0, u64::MAX));
        lines.append(now, |out| out.push(b'!'));
        assert_eq!((lines.written, lines.dropped, lines.since_ns()), (3, 2, 5));
    }
}
