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

/// The size of a buffer, and the class that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    bytes: usize,
    /// `CLASSES` for buffers that are made to measure.
    class: u8,
}

impl Size {
    /// The size of the buffer for so many bytes.
    #[inline(always)]
    pub(crate) const fn of(bytes: usize) -> Self {
        if bytes <= CLASS_BYTES_MIN {
            return Self { bytes: CLASS_BYTES_MIN, class: 0 };
        }
        if bytes > CLASS_BYTES_MAX {
            return Self { bytes, class: CLASSES as u8 };
        }
        // The doubling below the size, and how many parts of it the size reaches into.
        let doubling = (bytes - 1).ilog2();
        let part = doubling - CLASSES_PER_DOUBLING.ilog2();
        let parts = ((bytes - 1 - (1 << doubling)) >> part) + 1;
        let class = (doubling - CLASS_BYTES_MIN.ilog2()) as usize * CLASSES_PER_DOUBLING + parts;
        Self { bytes: (1 << doubling) + (parts << part), class: class as u8 }
    }

    /// Bytes of the buffer.
    pub(crate) const fn bytes(self) -> u64 {
        self.bytes as u64
    }

    /// Its class, to be remembered beside the buffer.
    pub(crate) const fn class(self) -> u8 {
        self.class
    }
}

impl Buffers {
    /// Keeps at most `free_bytes_max` bytes of free buffers.
    pub(crate) fn new(free_bytes_max: u64) -> Self {
        Self { free: (0..CLASSES).map(|_| Vec::new()).collect(), free_bytes: 0, free_bytes_max }
    }

    /// A buffer of a size. What is in it is left over from its last use.
    #[inline(always)]
    pub(crate) fn take(&mut self, size: Size) -> Box<[u8]> {
        if let Some(buffer) = self.free.get_mut(usize::from(size.class)).and_then(Vec::pop) {
            self.free_bytes -= size.bytes();
            return buffer;
        }
        new_buffer(size.bytes)
    }

    /// Takes a buffer of a class back.
    #[inline(always)]
    pub(crate) fn give_back(&mut self, buffer: Box<[u8]>, class: u8) {
        let bytes = buffer.len() as u64;
        if self.free_bytes.saturating_add(bytes) <= self.free_bytes_max
            && let Some(free) = self.free.get_mut(usize::from(class))
        {
            self.free_bytes += bytes;
            free.push(buffer);
        }
    }

    /// Bytes of free buffers.
    #[cfg(test)]
    fn free_bytes(&self) -> u64 {
        self.free_bytes
    }
}

#[inline(never)]
fn new_buffer(bytes: usize) -> Box<[u8]> {
    vec![0; bytes].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_fits_its_class_and_wastes_at_most_a_fifth() {
        let mut last = Size { bytes: CLASS_BYTES_MIN, class: 0 };
        for bytes in 1..=CLASS_BYTES_MAX {
            let size = Size::of(bytes);
            assert!(size.bytes >= bytes && usize::from(size.class) < CLASSES);
            assert!(bytes <= CLASS_BYTES_MIN || size.bytes * 4 <= bytes * 5, "{bytes} in {size:?}");
            assert!(size == last || size.class == last.class + 1 && size.bytes > last.bytes, "classes rise by one");
            assert_eq!(Size::of(size.bytes), size, "a full buffer is of the same class");
            last = size;
        }
        assert_eq!(last, Size { bytes: CLASS_BYTES_MAX, class: CLASSES as u8 - 1 });
        assert_eq!(Size::of(CLASS_BYTES_MAX + 1), Size { bytes: CLASS_BYTES_MAX + 1, class: CLASSES as u8 });
    }

    #[test]
    fn free_bytes_stay_within_their_bound() {
        let mut buffers = Buffers::new(1_000);
        let sizes: Vec<_> = (0..100).map(|n| Size::of(n * 10)).collect();
        let taken: Vec<_> = sizes.iter().map(|size| buffers.take(*size)).collect();
        for (buffer, size) in taken.into_iter().zip(sizes) {
            buffers.give_back(buffer, size.class());
            assert!(buffers.free_bytes() <= 1_000);
        }
        assert!(buffers.free_bytes() > 0);
    }

    #[test]
    fn a_buffer_is_used_again() {
        let mut buffers = Buffers::new(128);
        let mut buffer = buffers.take(Size::of(100));
        buffer[0] = 77;
        buffers.give_back(buffer, Size::of(100).class());
        assert_eq!(buffers.free_bytes(), 112);
        assert_eq!(buffers.take(Size::of(112))[0], 77);
        assert_eq!(buffers.free_bytes(), 0);
    }

    #[test]
    fn a_buffer_beyond_the_classes_is_made_to_measure_and_not_kept() {
        let mut buffers = Buffers::new(u64::MAX);
        let size = Size::of(CLASS_BYTES_MAX + 1);
        let buffer = buffers.take(size);
        assert_eq!(buffer.len(), CLASS_BYTES_MAX + 1);
        buffers.give_back(buffer, size.class());
        assert_eq!(buffers.free_bytes(), 0);
    }
}
