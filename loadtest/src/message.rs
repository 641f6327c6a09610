//! What every message carries so that it can be told apart from every other: who made it, for which stream, which
//! number it has there, and when it should have been sent. All of it is fixed-width lower-case hex, so that a message
//! is made by patching a template and read back without a parser.

/// Bytes of an encoded [`MessageId`].
pub const ID_BYTES: usize = 24;

/// Bytes of an encoded [`SentAt`].
pub const SENT_AT_BYTES: usize = 16;

/// The most producers (and the most streams) one run may have: both are 20-bit fields of the identifier.
pub const INDEX_MAX: u32 = (1 << 20) - 1;

/// The highest message number: a 40-bit field of the identifier.
pub const NUMBER_MAX: u64 = (1 << 40) - 1;

/// Names one message: `number` counts from 0 for each pair of producer and stream, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageId {
    /// The run it belongs to, so that leftovers of an earlier run on the same streams are not taken for ours.
    pub run: u16,
    /// The producer, up to [`INDEX_MAX`].
    pub producer: u32,
    /// The stream's number in this run, up to [`INDEX_MAX`].
    pub stream: u32,
    /// The message's number, up to [`NUMBER_MAX`].
    pub number: u64,
}

impl MessageId {
    /// The identifier as hex.
    #[must_use]
    #[inline]
    pub fn encode(self) -> [u8; ID_BYTES] {
        let mut text = [0; ID_BYTES];
        text[..16].copy_from_slice(&hex_of_u64(self.high()));
        text[16..].copy_from_slice(&hex_of_u32(self.number as u32));
        text
    }

    /// Everything but the lower half of the number.
    #[inline]
    const fn high(self) -> u64 {
        (self.run as u64) << 48
            | ((self.producer & INDEX_MAX) as u64) << 28
            | ((self.stream & INDEX_MAX) as u64) << 8
            | (self.number >> 32) & 0xff
    }

    /// Reads an identifier; `None` when `text` is not one.
    #[must_use]
    #[inline]
    pub fn decode(text: &[u8]) -> Option<Self> {
        let text: &[u8; ID_BYTES] = text.try_into().ok()?;
        let high = u64_of_hex(text[..16].try_into().ok()?)?;
        let low = u32_of_hex(text[16..].try_into().ok()?)?;
        Some(Self {
            run: (high >> 48) as u16,
            producer: (high >> 28) as u32 & INDEX_MAX,
            stream: (high >> 8) as u32 & INDEX_MAX,
            number: (high & 0xff) << 32 | u64::from(low),
        })
    }
}

/// When a message should have been sent, in nanoseconds since the run began, and whether this is another try after
/// the server answered `Backpressure` (such a message may rightly arrive behind later ones).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentAt {
    /// The intended time, below 2^63.
    pub intended_ns: u64,
    /// It was refused before.
    pub retried: bool,
}

impl SentAt {
    /// The time as hex; the top bit says `retried`.
    #[must_use]
    #[inline]
    pub fn encode(self) -> [u8; SENT_AT_BYTES] {
        hex_of_u64(self.intended_ns & (u64::MAX >> 1) | u64::from(self.retried) << 63)
    }

    /// Reads a time; `None` when `text` does not begin with one.
    #[must_use]
    #[inline]
    pub fn decode(text: &[u8]) -> Option<Self> {
        let bits = u64_of_hex(text.get(..SENT_AT_BYTES)?.try_into().ok()?)?;
        Some(Self { intended_ns: bits & (u64::MAX >> 1), retried: bits >> 63 == 1 })
    }
}

/// Encodes messages that mostly resemble the one before: what has not changed is not encoded again.
#[derive(Debug)]
pub struct MessageWriter {
    id: MessageId,
    id_text: [u8; ID_BYTES],
    sent: SentAt,
    sent_text: [u8; SENT_AT_BYTES],
}

impl Default for MessageWriter {
    fn default() -> Self {
        let id = MessageId { run: 0, producer: 0, stream: 0, number: 0 };
        let sent = SentAt { intended_ns: 0, retried: false };
        Self { id, id_text: id.encode(), sent, sent_text: sent.encode() }
    }
}

impl MessageWriter {
    /// The texts of an identifier and a time.
    #[inline]
    pub fn write(&mut self, id: MessageId, sent: SentAt) -> (&[u8; ID_BYTES], &[u8; SENT_AT_BYTES]) {
        // The last eight digits are the lower half of the number; the rest is the same from one message to the next.
        if id.high() == self.id.high() {
            self.id_text[16..].copy_from_slice(&hex_of_u32(id.number as u32));
        } else {
            self.id_text = id.encode();
        }
        self.id = id;
        if sent != self.sent {
            (self.sent, self.sent_text) = (sent, sent.encode());
        }
        (&self.id_text, &self.sent_text)
    }
}

/// Decodes messages that mostly resemble the one before.
#[derive(Debug, Default)]
pub struct MessageReader {
    writer: MessageWriter,
}

impl MessageReader {
    /// The identifier and the time that the texts say, or `None` when they say none.
    #[inline]
    pub fn read(&mut self, id_text: &[u8; ID_BYTES], sent_text: &[u8; SENT_AT_BYTES]) -> Option<(MessageId, SentAt)> {
        let known = &mut self.writer;
        let mut id = known.id;
        if id_text[..16] == known.id_text[..16] {
            let low = u32_of_hex(*id_text.last_chunk()?)?;
            id.number = id.number & !u64::from(u32::MAX) | u64::from(low);
        } else {
            id = MessageId::decode(id_text)?;
        }
        (known.id, known.id_text) = (id, *id_text);
        if *sent_text != known.sent_text {
            known.sent = SentAt::decode(sent_text)?;
            known.sent_text = *sent_text;
        }
        Some((id, known.sent))
    }
}

const ONES: u64 = 0x0101_0101_0101_0101;

/// Eight hex digits at a time: every byte of a word works on one digit.
#[inline]
fn hex_of_u32(value: u32) -> [u8; 8] {
    let mut digits = u64::from(value);
    digits = (digits << 16 | digits) & 0x0000_ffff_0000_ffff;
    digits = (digits << 8 | digits) & 0x00ff_00ff_00ff_00ff;
    digits = (digits << 4 | digits) & 0x0f0f_0f0f_0f0f_0f0f;
    // Adding 6 carries into bit 4 for 10 to 15 only; those need the distance from '9' + 1 to 'a' as well.
    let letters = (digits + 6 * ONES) >> 4 & ONES;
    (digits + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

#[inline]
fn hex_of_u64(value: u64) -> [u8; 16] {
    let mut text = [0; 16];
    text[..8].copy_from_slice(&hex_of_u32((value >> 32) as u32));
    text[8..].copy_from_slice(&hex_of_u32(value as u32));
    text
}

#[inline]
fn u32_of_hex(text: [u8; 8]) -> Option<u32> {
    let word = u64::from_be_bytes(text);
    let letters = word >> 6 & ONES;
    let mut digits = (word & 0x0f0f_0f0f_0f0f_0f0f).wrapping_add(letters * 9) & 0x0f0f_0f0f_0f0f_0f0f;
    digits = (digits >> 4 | digits) & 0x00ff_00ff_00ff_00ff;
    digits = (digits >> 8 | digits) & 0x0000_ffff_0000_ffff;
    let value = (digits >> 16 | digits) as u32;
    // Only the lower-case digits survive the way back, so this rejects everything that is not hex.
    (hex_of_u32(value) == text).then_some(value)
}

#[inline]
fn u64_of_hex(text: &[u8; 16]) -> Option<u64> {
    let high = u32_of_hex(text[..8].try_into().ok()?)?;
    let low = u32_of_hex(text[8..].try_into().ok()?)?;
    Some(u64::from(high) << 32 | u64::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_agrees_with_the_formatter() {
        for value in [0, 1, 9, 10, 15, 16, 0x1234_5678_9abc_def0, 0xa0b1_c2d3_e4f5_0617, u64::MAX] {
            assert_eq!(hex_of_u64(value).as_slice(), format!("{value:016x}").as_bytes());
            assert_eq!(u64_of_hex(&hex_of_u64(value)), Some(value));
        }
    }

    #[test]
    fn an_identifier_survives_the_round_trip_at_its_limits() {
        for id in [
            MessageId { run: 0, producer: 0, stream: 0, number: 0 },
            MessageId { run: u16::MAX, producer: INDEX_MAX, stream: INDEX_MAX, number: NUMBER_MAX },
            MessageId { run: 7, producer: 12, stream: 9_999, number: 1 << 32 },
        ] {
            assert_eq!(MessageId::decode(&id.encode()), Some(id));
        }
    }

    #[test]
    fn remembering_the_last_message_changes_nothing() {
        let (mut writer, mut reader) = (MessageWriter::default(), MessageReader::default());
        for (run, stream, number, intended_ns) in [
            (0, 0, 0, 0),
            (0, 0, 1, 0),
            (1, 0, 1, 9),
            (1, 2, (1 << 32) - 1, 9),
            (1, 2, 1 << 32, 9),
            (1, 2, (1 << 32) + 1, 8),
        ] {
            let id = MessageId { run, producer: 3, stream, number };
            let sent = SentAt { intended_ns, retried: number == 1 };
            let (id_text, sent_text) = writer.write(id, sent);
            assert_eq!((*id_text, *sent_text), (id.encode(), sent.encode()));
            assert_eq!(reader.read(id_text, sent_text), Some((id, sent)));
            let mut bad = *id_text;
            bad[23] = b'x';
            assert_eq!(reader.read(&bad, sent_text), None);
        }
    }

    #[test]
    fn a_time_keeps_its_retry_mark() {
        for retried in [false, true] {
            let sent = SentAt { intended_ns: (1 << 62) + 5, retried };
            assert_eq!(SentAt::decode(&sent.encode()), Some(sent));
        }
    }

    #[test]
    fn every_byte_that_is_not_lower_case_hex_is_rejected() {
        let good = MessageId { run: 1, producer: 2, stream: 3, number: 4 }.encode();
        for byte in 0..=255u8 {
            let mut text = good;
            text[20] = byte;
            let is_hex = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert_eq!(MessageId::decode(&text).is_some(), is_hex, "byte {byte}");
        }
        assert_eq!(MessageId::decode(&good[..23]), None);
    }
}
