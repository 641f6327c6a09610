//! Byte buffers by size class: what a message's id and envelope live in.
//!
//! A buffer that is given back is kept for the next message of its class, up to a bound in bytes over all classes, so
//! that steady traffic allocates nothing and a burst's memory goes back to the allocator. What counts against the
//! limits is a buffer's whole size, not the part of it that is used.

/// Smallest buffer.
const CLASS_BYTES_MIN: usize = 64;
/// Buffers above it are made to measure and never kept.
const CLASS_BYTES_MAX: usize = 1 << 20;
/// Four classes to each doubling: at most a fifth of a buffer is unused.
const CLASSES_PER_DOUBLING: usize = 4;
const CLASSES: usize = (CLASS_BYTES_MAX.ilog2() - CLASS_BYTES_MIN.ilog2()) as usize * CLASSES_PER_DOUBLING + 1;

/// The free buffers of one shard.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: Vec<Vec<Box<[u8]>>>,
    free_bytes: u64,
    free_bytes_max: u64,
}

/// The class of a size, and the size of that class. Sizes above the largest class have none.
fn class_of(bytes: usize) -> Option<(usize, usize)> {
    if bytes <= CLASS_BYTES_MIN {
        return Some((0, CLASS_BYTES_MIN));
    }
    if bytes > CLASS_BYTES_MAX {
        return None;
    }
    // The doubling below the size, and how many quarters of it the size reaches into.
    let doubling = (bytes - 1).ilog2() as usize;
    let base = 1usize << doubling;
    let quarter = base / CLASSES_PER_DOUBLING;
    let quarters = (bytes - base).div_ceil(quarter);
    let class = (doubling - CLASS_BYTES_MIN.ilog2() as usize) * CLASSES_PER_DOUBLING + quarters;
    Some((class, base + quarters * quarter))
}

impl Buffers {
    /// Keeps at most `free_bytes_max` bytes of free buffers.
    pub(crate) fn new(free_bytes_max: u64) -> Self {
        Self { free: (0..CLASSES).map(|_| Vec::new()).collect(), free_bytes: 0, free_bytes_max }
    }

    /// The size of the buffer that [`Self::take`] gives for so many bytes.
    pub(crate) fn size_for(bytes: usize) -> usize {
        class_of(bytes).map_or(bytes, |(_, size)| size)
    }

    /// A buffer of at least so many bytes. What is in it is left over from its last use.
    pub(crate) fn take(&mut self, bytes: usize) -> Box<[u8]> {
        let Some((class, size)) = class_of(bytes) else { return vec![0; bytes].into_boxed_slice() };
        if let Some(buffer) = self.free[class].pop() {
            self.free_bytes -= size as u64;
            return buffer;
        }
        vec![0; size].into_boxed_slice()
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&mut self, buffer: Box<[u8]>) {
        let size = buffer.len();
        if let Some((class, class_size)) = class_of(size)
            && class_size == size
            && self.free_bytes + size as u64 <= self.free_bytes_max
        {
            self.free_bytes += size as u64;
            self.free[class].push(buffer);
        }
    }

    /// Bytes of free buffers.
    #[cfg(test)]
    fn free_bytes(&self) -> u64 {
        self.free_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_fits_its_class_and_wastes_at_most_a_fifth() {
        let mut last = (0, CLASS_BYTES_MIN);
        for bytes in 1..=CLASS_BYTES_MAX {
            let (class, size) = class_of(bytes).unwrap();
            assert!(size >= bytes && class < CLASSES);
            assert!(bytes <= CLASS_BYTES_MIN || size * 4 <= bytes * 5, "{bytes} in {size}");
            assert!(class == last.0 && size == last.1 || class == last.0 + 1 && size > last.1, "classes rise by one");
            assert_eq!(class_of(size), Some((class, size)), "a buffer goes back to the class it came from");
            last = (class, size);
        }
        assert_eq!(last, (CLASSES - 1, CLASS_BYTES_MAX));
        assert_eq!(class_of(CLASS_BYTES_MAX + 1), None);
    }

    #[test]
    fn free_bytes_stay_within_their_bound() {
        let mut buffers = Buffers::new(1_000);
        let taken: Vec<_> = (0..100).map(|n| buffers.take(n * 10)).collect();
        for buffer in taken {
            buffers.give_back(buffer);
            assert!(buffers.free_bytes() <= 1_000);
        }
        assert!(buffers.free_bytes() > 0);
    }

    #[test]
    fn a_buffer_is_used_again() {
        let mut buffers = Buffers::new(128);
        let mut buffer = buffers.take(100);
        buffer[0] = 77;
        buffers.give_back(buffer);
        assert_eq!(buffers.free_bytes(), 112);
        assert_eq!(buffers.take(112)[0], 77);
        assert_eq!(buffers.free_bytes(), 0);
    }

    #[test]
    fn a_buffer_beyond_the_classes_is_made_to_measure_and_not_kept() {
        let mut buffers = Buffers::new(u64::MAX);
        let buffer = buffers.take(CLASS_BYTES_MAX + 1);
        assert_eq!(buffer.len(), CLASS_BYTES_MAX + 1);
        buffers.give_back(buffer);
        assert_eq!(buffers.free_bytes(), 0);
    }
}
