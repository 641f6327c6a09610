//! WebSocket frames as a client sees them (RFC 6455, section 5): masked out, unmasked in. Headers are written and, off
//! the short path, read by tungstenite's frame codec.

use super::WireFault;
use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The largest message taken from a server, all fragments together.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A source of masking keys (RFC 6455, section 5.3). A load test needs keys that differ, not keys that nobody can guess.
#[derive(Debug, Clone)]
pub struct MaskKeys(u64);

impl MaskKeys {
    /// A source that starts anywhere.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// The next key (xorshift).
    #[inline]
    pub const fn draw(&mut self) -> [u8; 4] {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 32) as u32).to_ne_bytes()
    }
}

/// Masks or unmasks `bytes` in place, eight at a time.
#[inline]
pub fn mask(bytes: &mut [u8], key: [u8; 4]) {
    let word = u64::from_ne_bytes([key[0], key[1], key[2], key[3], key[0], key[1], key[2], key[3]]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// Appends the header of a final, masked frame; the key is the last four bytes.
pub fn append_head(out: &mut Vec<u8>, opcode: OpCode, payload_bytes: usize, key: [u8; 4]) {
    let header = FrameHeader { opcode, mask: Some(key), ..FrameHeader::default() };
    // A vector takes every write, which is all that could fail.
    let _ = header.format(payload_bytes as u64, out);
}

/// Appends one masked frame.
pub fn append(out: &mut Vec<u8>, opcode: OpCode, payload: &[u8], key: [u8; 4]) {
    append_head(out, opcode, payload.len(), key);
    let start = out.len();
    out.extend_from_slice(payload);
    mask(&mut out[start..], key);
}

/// The longest payload of [`append_small`]: the length then fits the short form.
pub const SMALL_BYTES_MAX: usize = 58;

/// Appends one masked frame of `head`, `number` and `tail`, together at most [`SMALL_BYTES_MAX`]. Acks are made here, one
/// for each delivery, so the frame is put together in registers and one small array.
#[inline]
pub fn append_small(out: &mut Vec<u8>, opcode: OpCode, key: [u8; 4], head: &[u8], number: &[u8], tail: &[u8]) {
    let mut frame = [0; SMALL_BYTES_MAX + 6];
    let mut end = 6;
    for part in [head, number, tail] {
        frame[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    frame[0] = 0x80 | u8::from(opcode);
    frame[1] = 0x80 | (end - 6) as u8;
    frame[2..6].copy_from_slice(&key);
    mask(&mut frame[6..end], key);
    out.extend_from_slice(&frame[..end]);
}

/// One thing a server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A whole text or binary message.
    Message(&'a [u8]),
    /// A ping, to be answered with the same bytes.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The server closes: code (1005 for none) and reason.
    Close(u16, String),
    /// A fragment was taken in; its message is not whole yet.
    Fragment,
}

/// Cuts the bytes of a connection into [`Incoming`]; keeps fragments.
#[derive(Debug, Default)]
pub struct FrameReader {
    assembled: Vec<u8>,
    is_assembling: bool,
    is_assembled: bool,
}

impl FrameReader {
    /// The first whole frame of `bytes` and its length in bytes, or `None` when there is none yet.
    ///
    /// # Errors
    /// A [`WireFault`] when the bytes are not what a server may send.
    #[inline]
    pub fn next<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Option<(Incoming<'a>, usize)>, WireFault> {
        // The short path: a final, unmasked, whole data message of up to 65,535 bytes.
        if let [0x81 | 0x82, length, rest @ ..] = bytes
            && !self.is_assembling
        {
            if *length < 126 {
                let bytes = usize::from(*length);
                return Ok(rest.get(..bytes).map(|payload| (Incoming::Message(payload), bytes + 2)));
            }
            if *length == 126 {
                let [high, low, rest @ ..] = rest else { return Ok(None) };
                let bytes = usize::from(u16::from_be_bytes([*high, *low]));
                return Ok(rest.get(..bytes).map(|payload| (Incoming::Message(payload), bytes + 4)));
            }
        }
        self.next_of_any_form(bytes)
    }

    fn next_of_any_form<'a>(&'a mut self, bytes: &'a [u8]) -> Result<Option<(Incoming<'a>, usize)>, WireFault> {
        if self.is_assembled {
            self.assembled.clear();
            self.is_assembled = false;
        }
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|error| WireFault::new(format!("bad frame: {error}")))?;
        let Some((header, payload_bytes)) = parsed else { return Ok(None) };
        if header.mask.is_some() {
            return Err(WireFault::new("the server masked a frame (RFC 6455, section 5.1, forbids it)"));
        }
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(WireFault::new("the server set a reserved bit without an extension (RFC 6455, section 5.2)"));
        }
        if payload_bytes > MESSAGE_BYTES_MAX as u64 {
            return Err(WireFault::new(format!("a frame of {payload_bytes} bytes is beyond {MESSAGE_BYTES_MAX}")));
        }
        let start = cursor.position() as usize;
        let end = start + payload_bytes as usize;
        let Some(payload) = bytes.get(start..end) else { return Ok(None) };
        let incoming = match header.opcode {
            OpCode::Control(Control::Ping) => Incoming::Ping(payload),
            OpCode::Control(Control::Close) => close_of(payload),
            OpCode::Control(_) => Incoming::Pong,
            OpCode::Data(Data::Continue) if !self.is_assembling => {
                return Err(WireFault::new("a continuation without a beginning (RFC 6455, section 5.4)"));
            }
            OpCode::Data(Data::Text | Data::Binary) if self.is_assembling => {
                return Err(WireFault::new("a new message inside a fragmented one (RFC 6455, section 5.4)"));
            }
            OpCode::Data(_) if header.is_final && !self.is_assembling => Incoming::Message(payload),
            OpCode::Data(_) => self.assemble(payload, header.is_final)?,
        };
        Ok(Some((incoming, end)))
    }

    fn assemble(&mut self, payload: &[u8], is_final: bool) -> Result<Incoming<'_>, WireFault> {
        if self.assembled.len() + payload.len() > MESSAGE_BYTES_MAX {
            return Err(WireFault::new(format!("a message beyond {MESSAGE_BYTES_MAX} bytes")));
        }
        self.assembled.extend_from_slice(payload);
        self.is_assembling = !is_final;
        self.is_assembled = is_final;
        Ok(if is_final { Incoming::Message(&self.assembled) } else { Incoming::Fragment })
    }
}

fn close_of(payload: &[u8]) -> Incoming<'static> {
    match payload {
        [high, low, reason @ ..] => {
            Incoming::Close(u16::from_be_bytes([*high, *low]), String::from_utf8_lossy(reason).into_owned())
        }
        _ => Incoming::Close(1005, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unmasked(frame: &[u8], head: usize) -> Vec<u8> {
        let key = frame[head - 4..head].try_into().expect("four bytes");
        let mut payload = frame[head..].to_vec();
        mask(&mut payload, key);
        payload
    }

    #[test]
    fn a_frame_made_in_place_equals_one_made_by_the_library() {
        let mut keys = MaskKeys::new(3);
        for length in [0, 1, 7, 8, 9, SMALL_BYTES_MAX] {
            let payload = vec![b'x'; length];
            let key = keys.draw();
            let (mut one, mut other) = (Vec::new(), Vec::new());
            append(&mut one, OpCode::Data(Data::Text), &payload, key);
            let (head, rest) = payload.split_at(length / 3);
            let (number, tail) = rest.split_at(length / 3);
            append_small(&mut other, OpCode::Data(Data::Text), key, head, number, tail);
            assert_eq!(one, other);
            assert_eq!(unmasked(&one, 6), payload);
        }
    }

    #[test]
    fn every_length_form_is_read_and_never_before_it_is_whole() {
        for length in [0usize, 125, 126, 65_535, 65_536] {
            let mut bytes = Vec::new();
            let header = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
            header.format(length as u64, &mut bytes).expect("a vector takes every write");
            bytes.extend(std::iter::repeat_n(7, length));
            for cut in [0, 1, 2, 3, 5, bytes.len().saturating_sub(1)] {
                if cut < bytes.len() {
                    assert_eq!(FrameReader::default().next(&bytes[..cut]), Ok(None), "{length} cut at {cut}");
                }
            }
            let mut reader = FrameReader::default();
            let whole = reader.next(&bytes);
            assert!(matches!(whole, Ok(Some((Incoming::Message(payload), used)))
                if payload.len() == length && used == bytes.len()));
        }
    }

    #[test]
    fn fragments_are_joined_around_a_ping() {
        let mut reader = FrameReader::default();
        assert_eq!(reader.next(&[0x01, 2, b'a', b'b']), Ok(Some((Incoming::Fragment, 4))));
        assert_eq!(reader.next(&[0x89, 1, b'p']), Ok(Some((Incoming::Ping(b"p"), 3))));
        assert_eq!(reader.next(&[0x80, 1, b'c']), Ok(Some((Incoming::Message(b"abc"), 3))));
        assert_eq!(reader.next(&[0x81, 1, b'd']), Ok(Some((Incoming::Message(b"d"), 3))));
        assert_eq!(reader.next(&[0x88, 3, 3, 233, b'x']), Ok(Some((Incoming::Close(1001, "x".into()), 5))));
    }

    #[test]
    fn what_a_server_may_not_send_is_refused() {
        for bytes in [&[0x81, 0x81, 0, 0, 0, 0, 0][..], &[0xc1, 0], &[0x80, 0], &[0x83, 0]] {
            assert!(FrameReader::default().next(bytes).is_err(), "{bytes:?}");
        }
    }
}
