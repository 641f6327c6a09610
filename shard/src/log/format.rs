//! The fixed parts of a segment: its header block, the header of a batch, and the marks that bind everything to its
//! place. Numbers are little-endian. `docs/internals/log.md` draws all of it.

use super::{Location, SegmentId};
use conduit_protocol::ShardId;

/// Everything that is written begins at a multiple of this many bytes and is as many times this many bytes long.
pub const BLOCK: u64 = 4_096;

/// The version of the format that this code reads and writes.
pub const FORMAT_VERSION: u32 = 1;

const HEADER_MAGIC: [u8; 8] = *b"CNDTLOG\0";
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"BTCH");

/// The header is in its block twice, far enough apart that no torn or bad sector takes both.
const HEADER_COPIES: [usize; 2] = [0, 2_048];
const HEADER_BYTES: usize = 128;

/// Bytes of a batch's header; its first record follows at once.
pub(crate) const BATCH_HEADER: u64 = 40;

/// The batch ends a run of the server: when it was written, everything before it was durable.
const FLAG_CLEAN_END: u32 = 1;

/// Rounds up to whole blocks.
pub(crate) const fn to_blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK) * BLOCK
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// What makes one log different from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    /// Names the log. All shards of one data directory share it.
    pub log_id: [u8; 16],
    /// A secret drawn at random for each log: who does not know it cannot make a payload look like a batch or a record.
    pub salt: u64,
}

/// The secret of a log, as a function of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt(pub(crate) u64);

impl Salt {
    /// A number that belongs to one place of one log. Its upper half seeds the CRC of what begins there and its lower half
    /// is written beside it, so that bytes are believed only where they were written.
    #[inline]
    pub(crate) const fn mark(self, at: Location) -> u64 {
        let mut mark = self.0 ^ at.to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mark = (mark ^ (mark >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mark = (mark ^ (mark >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mark ^ (mark >> 31)
    }

    /// The mark of a batch. A record may begin at the start of a block too, so it is another number than the record's.
    const fn batch_mark(self, at: Location) -> u64 {
        Self(self.0 ^ 0x6261_7463_6865_7321).mark(at)
    }
}

/// What the first block of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The segment.
    pub segment: SegmentId,
    /// Whose log it is part of.
    pub shard: ShardId,
    /// The file's size in bytes.
    pub bytes: u64,
    /// The log.
    pub identity: LogIdentity,
    /// When it was first written to, in milliseconds since 1970.
    pub created_unix_ms: u64,
    /// The segment that was written before it; 0 when it is the first one of its log. Segments between the two hold nothing.
    pub previous_segment: SegmentId,
    /// How far that one is valid, in bytes. What follows there was torn by a crash and never promised to anyone.
    pub previous_end: u64,
    /// The number of its first batch.
    pub first_batch: u64,
}

/// Why a header block is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderFlaw {
    /// Nothing was ever written there.
    Blank,
    /// Neither copy is whole.
    Unreadable,
    /// It is whole, and of a version that this code does not know.
    Version(u32),
}

/// How much of a block is as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wholeness {
    /// All of it.
    Whole,
    /// Some sectors are still zero: the write was cut off.
    Torn,
    /// It has changed since.
    Bad,
}

/// A device writes as many bytes whole or not at all.
const SECTOR: usize = 512;

impl Wholeness {
    fn of(block: &[u8], written: &[u8]) -> Self {
        if block == written {
            return Self::Whole;
        }
        let mut sectors = block.chunks(SECTOR).zip(written.chunks(SECTOR));
        let is_torn = block.len() == written.len() && sectors.all(|(is, was)| is == was || is_zero(is));
        if is_torn { Self::Torn } else { Self::Bad }
    }
}

impl SegmentHeader {
    /// The whole first block.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut copy = [0; HEADER_BYTES];
        copy[0..8].copy_from_slice(&HEADER_MAGIC);
        copy[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        copy[12..16].copy_from_slice(&self.segment.0.to_le_bytes());
        copy[16..18].copy_from_slice(&self.shard.0.to_le_bytes());
        copy[20..24].copy_from_slice(&self.previous_segment.0.to_le_bytes());
        copy[24..32].copy_from_slice(&self.bytes.to_le_bytes());
        copy[32..48].copy_from_slice(&self.identity.log_id);
        copy[48..56].copy_from_slice(&self.identity.salt.to_le_bytes());
        copy[56..64].copy_from_slice(&self.created_unix_ms.to_le_bytes());
        copy[64..72].copy_from_slice(&self.previous_end.to_le_bytes());
        copy[72..80].copy_from_slice(&self.first_batch.to_le_bytes());
        let crc = crc32c::crc32c(&copy[..HEADER_BYTES - 4]);
        copy[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        let mut block = vec![0; BLOCK as usize];
        for at in HEADER_COPIES {
            block[at..at + HEADER_BYTES].copy_from_slice(&copy);
        }
        block
    }

    /// Reads a first block: what it says, and how much of the block is as it was written.
    pub(crate) fn decode(block: &[u8]) -> Result<(Self, Wholeness), HeaderFlaw> {
        if is_zero(block) {
            return Err(HeaderFlaw::Blank);
        }
        let mut flaw = HeaderFlaw::Unreadable;
        for at in HEADER_COPIES {
            let copy = block.get(at..at + HEADER_BYTES).unwrap_or_default();
            match Self::decode_copy(copy) {
                Ok(header) => return Ok((header, Wholeness::of(block, &header.encode()))),
                Err(HeaderFlaw::Version(version)) => flaw = HeaderFlaw::Version(version),
                Err(_) => {}
            }
        }
        Err(flaw)
    }

    fn decode_copy(copy: &[u8]) -> Result<Self, HeaderFlaw> {
        let version = Self::version_of(copy).ok_or(HeaderFlaw::Unreadable)?;
        if version != FORMAT_VERSION {
            return Err(HeaderFlaw::Version(version));
        }
        Self::fields(copy).ok_or(HeaderFlaw::Unreadable)
    }

    /// Magic, version and CRC keep their places in every version to come.
    fn version_of(copy: &[u8]) -> Option<u32> {
        let crc = u32_at(copy, HEADER_BYTES - 4)?;
        let is_whole = copy.starts_with(&HEADER_MAGIC) && crc32c::crc32c(&copy[..HEADER_BYTES - 4]) == crc;
        if is_whole { u32_at(copy, 8) } else { None }
    }

    fn fields(copy: &[u8]) -> Option<Self> {
        Some(Self {
            segment: SegmentId(u32_at(copy, 12)?),
            shard: ShardId(u16_at(copy, 16)?),
            previous_segment: SegmentId(u32_at(copy, 20)?),
            bytes: u64_at(copy, 24)?,
            identity: LogIdentity { log_id: *copy.get(32..)?.first_chunk()?, salt: u64_at(copy, 48)? },
            created_unix_ms: u64_at(copy, 56)?,
            previous_end: u64_at(copy, 64)?,
            first_batch: u64_at(copy, 72)?,
        })
    }
}

/// What stands before the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// Rises by one from batch to batch of a log; after an unclean end it may skip some.
    pub(crate) number: u64,
    /// Bytes from the start of this header to the end of the last record.
    pub(crate) used: u32,
    /// Records.
    pub(crate) records: u32,
    /// The last batch of a run that ended as it should.
    pub(crate) is_clean_end: bool,
}

impl BatchHeader {
    pub(crate) fn encode(&self, salt: Salt, at: Location) -> [u8; BATCH_HEADER as usize] {
        let mark = salt.batch_mark(at);
        let mut bytes = [0; BATCH_HEADER as usize];
        bytes[4..8].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&mark.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.used.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.records.to_le_bytes());
        let flags = if self.is_clean_end { FLAG_CLEAN_END } else { 0 };
        bytes[32..36].copy_from_slice(&flags.to_le_bytes());
        let crc = crc32c::crc32c_append((mark >> 32) as u32, &bytes[4..]);
        bytes[0..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header that is believed only at this very place.
    pub(crate) fn decode(bytes: &[u8], salt: Salt, at: Location) -> Option<Self> {
        let bytes: &[u8; BATCH_HEADER as usize] = bytes.first_chunk()?;
        if u32_at(bytes, 4)? != BATCH_MAGIC {
            return None;
        }
        let mark = salt.batch_mark(at);
        let crc = crc32c::crc32c_append((mark >> 32) as u32, &bytes[4..]);
        if u64_at(bytes, 8)? != mark || u32_at(bytes, 0)? != crc {
            return None;
        }
        let header = Self {
            number: u64_at(bytes, 16)?,
            used: u32_at(bytes, 24)?,
            records: u32_at(bytes, 28)?,
            is_clean_end: u32_at(bytes, 32)? & FLAG_CLEAN_END != 0,
        };
        let used = u64::from(header.used);
        (used >= BATCH_HEADER && used.is_multiple_of(8)).then_some(header)
    }
}

/// Whether all of it is zero, without stopping at the first that is not: that way it runs at the speed of memory.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<32>();
    let mut all = [0u8; 32];
    for word in words {
        for (seen, byte) in all.iter_mut().zip(word) {
            *seen |= byte;
        }
    }
    all == [0; 32] && rest.iter().all(|&byte| byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            segment: SegmentId(7),
            shard: ShardId(3),
            bytes: 1 << 20,
            identity: LogIdentity { log_id: *b"0123456789abcdef", salt: 0x0102_0304_0506_0708 },
            created_unix_ms: 1_700_000_000_000,
            previous_segment: SegmentId(5),
            previous_end: 12_344,
            first_batch: 99,
        }
    }

    #[test]
    fn a_header_block_comes_back_and_is_whole() {
        assert_eq!(SegmentHeader::decode(&header().encode()), Ok((header(), Wholeness::Whole)));
    }

    #[test]
    fn a_flipped_bit_of_a_header_block_is_seen_and_survived() {
        let block = header().encode();
        for bit in 0..block.len() * 8 {
            let mut flipped = block.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), Ok((header(), Wholeness::Bad)), "bit {bit}");
        }
    }

    #[test]
    fn a_torn_header_block_is_told_from_a_bad_one() {
        let block = header().encode();
        for kept in 1u32..255 {
            let mut torn = block.clone();
            for sector in (0..8).filter(|sector| kept & (1 << sector) == 0) {
                torn[sector * 512..(sector + 1) * 512].fill(0);
            }
            let expected = match kept & 0b0001_0001 {
                0 => Err(HeaderFlaw::Blank),
                0b0001_0001 => Ok((header(), Wholeness::Whole)),
                _ => Ok((header(), Wholeness::Torn)),
            };
            assert_eq!(SegmentHeader::decode(&torn), expected, "kept {kept:b}");
        }
    }

    #[test]
    fn a_header_of_another_version_is_named() {
        let mut block = header().encode();
        for at in HEADER_COPIES {
            block[at + 8] = 2;
            let crc = crc32c::crc32c(&block[at..at + HEADER_BYTES - 4]);
            block[at + HEADER_BYTES - 4..at + HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        }
        assert_eq!(SegmentHeader::decode(&block), Err(HeaderFlaw::Version(2)));
    }

    #[test]
    fn a_block_of_zeros_is_blank_and_half_a_header_is_unreadable() {
        assert_eq!(SegmentHeader::decode(&[0; 4096]), Err(HeaderFlaw::Blank));
        let mut block = header().encode();
        block[0] = 0;
        block[2_048] = 0;
        assert_eq!(SegmentHeader::decode(&block), Err(HeaderFlaw::Unreadable));
        assert_eq!(SegmentHeader::decode(&[]), Err(HeaderFlaw::Blank));
        assert_eq!(SegmentHeader::decode(&[1; 100]), Err(HeaderFlaw::Unreadable));
    }

    #[test]
    fn a_batch_header_is_believed_only_where_it_was_written() {
        let at = |segment, offset| Location::new(SegmentId(segment), offset).unwrap();
        let header = BatchHeader { number: 5, used: 4_104, records: 3, is_clean_end: true };
        let bytes = header.encode(Salt(11), at(1, 8_192));
        assert_eq!(BatchHeader::decode(&bytes, Salt(11), at(1, 8_192)), Some(header));
        assert_eq!(BatchHeader::decode(&bytes, Salt(11), at(1, 4_096)), None);
        assert_eq!(BatchHeader::decode(&bytes, Salt(11), at(2, 8_192)), None);
        assert_eq!(BatchHeader::decode(&bytes, Salt(12), at(1, 8_192)), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BatchHeader::decode(&flipped, Salt(11), at(1, 8_192)), None, "bit {bit}");
        }
    }

    #[test]
    fn zeros_are_told_from_everything_else() {
        for len in 0..100 {
            let mut bytes = vec![0; len];
            assert!(is_zero(&bytes));
            for at in 0..len {
                bytes[at] = 1;
                assert!(!is_zero(&bytes), "{at} of {len}");
                bytes[at] = 0;
            }
        }
    }
}
