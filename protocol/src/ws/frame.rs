//! Frame headers, masking, and frames appended to an outbox (RFC 6455, section 5). Pure functions, no state.

use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The longest header a client can send: two bytes, a 64-bit length, a mask.
pub(super) const HEADER_BYTES_MAX: usize = 14;

/// Payload bytes that a control frame may have (RFC 6455, section 5.5).
pub(super) const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RSV: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The header of a frame that a client sent, checked on its own: whether it fits the frames before it is the
/// session's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The last frame of its message.
    pub(super) is_final: bool,
    /// Never a reserved one.
    pub(super) opcode: OpCode,
    /// The key that the payload was masked with.
    pub(super) mask: [u8; 4],
    /// Bytes of the header itself, 6 to [`HEADER_BYTES_MAX`].
    pub(super) header_bytes: usize,
    /// Bytes of the payload, at most 2^63 - 1.
    pub(super) payload_bytes: u64,
}

/// Reads the header at the start of `bytes`; `None` while it is not all there.
///
/// # Errors
/// A sentence for the peer when no valid frame of a client starts like this (RFC 6455, sections 5.1, 5.2 and 5.5). The
/// first two bytes are judged as soon as they are there.
#[inline]
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, &'static str> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & RSV != 0 {
        return Err("a reserved bit is set, but no extension was negotiated");
    }
    if second & MASKED == 0 {
        return Err("frames from a client must be masked");
    }
    let opcode = OpCode::from(first & 0x0F);
    let is_final = first & FIN != 0;
    let length = second & 0x7F;
    match opcode {
        OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => {
            return Err("the opcode is not one of RFC 6455");
        }
        OpCode::Control(_) if !is_final => return Err("control frames must not be fragmented"),
        OpCode::Control(_) if usize::from(length) > CONTROL_BYTES_MAX => {
            return Err("control frames carry at most 125 bytes");
        }
        OpCode::Data(_) | OpCode::Control(_) => {}
    }
    let (length_bytes, payload_bytes) = match length {
        126 => {
            let Some(extended) = rest.first_chunk::<2>() else { return Ok(None) };
            let length = u64::from(u16::from_be_bytes(*extended));
            if length < 126 {
                return Err("the payload length is not in its shortest form");
            }
            (2, length)
        }
        127 => {
            let Some(extended) = rest.first_chunk::<8>() else { return Ok(None) };
            let length = u64::from_be_bytes(*extended);
            if length >> 63 != 0 {
                return Err("the highest bit of a 64-bit payload length must be 0");
            }
            if length <= u64::from(u16::MAX) {
                return Err("the payload length is not in its shortest form");
            }
            (8, length)
        }
        short => (0, u64::from(short)),
    };
    let Some(&mask) = rest[length_bytes..].first_chunk::<4>() else { return Ok(None) };
    Ok(Some(Header { is_final, opcode, mask, header_bytes: 2 + length_bytes + 4, payload_bytes }))
}

/// A message that is one data frame, all of it here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    /// Text; binary otherwise.
    pub(super) is_text: bool,
    /// Bytes of the header, the mask at its end.
    pub(super) header_bytes: usize,
    /// Bytes of header and payload.
    pub(super) frame_bytes: usize,
}

/// Recognises at the start of `bytes` what nearly all of them are: a whole message in one valid frame with a payload of
/// less than 64 KiB. `None` says nothing: [`parse`] tells.
#[inline(always)]
pub(super) fn whole(bytes: &[u8]) -> Option<Whole> {
    let &[first @ (0x81 | 0x82), second, a, b, ..] = bytes else { return None };
    let (header_bytes, payload_bytes) = match second {
        0x80..=0xFD => (6, usize::from(second & 0x7F)),
        0xFE => (8, usize::from(u16::from_be_bytes([a, b]))),
        _ => return None,
    };
    let is_shortest = header_bytes == 6 || payload_bytes > CONTROL_BYTES_MAX;
    let frame_bytes = header_bytes + payload_bytes;
    if !is_shortest || bytes.len() < frame_bytes {
        return None;
    }
    Some(Whole { is_text: first == 0x81, header_bytes, frame_bytes })
}

/// Unmasks (or masks) `payload` in place, in as large pieces as the processor has (RFC 6455, section 5.3).
#[inline]
pub(super) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let narrow = u32::from_ne_bytes(mask);
    let wide = u64::from(narrow) << 32 | u64::from(narrow);
    // Taken as a whole, a block becomes two wide registers.
    let (blocks, rest) = payload.as_chunks_mut::<32>();
    for block in blocks {
        let [a, b, c, d] = block.as_chunks::<8>().0 else { continue };
        let words = [a, b, c, d].map(|word| (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes());
        block.copy_from_slice(words.as_flattened());
    }
    let (words, rest) = rest.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    let (half, tail) = rest.as_chunks_mut::<4>();
    if let [half] = half {
        *half = (u32::from_ne_bytes(*half) ^ narrow).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// The key for the bytes that follow the first `bytes` of a payload: the mask, turned.
pub(super) fn turned(mut mask: [u8; 4], bytes: usize) -> [u8; 4] {
    mask.rotate_left(bytes % 4);
    mask
}

/// Appends one unfragmented, unmasked frame whose payload `encode` appends, and returns the payload's length in bytes.
///
/// `expected_bytes` is a guess of that length. The header goes in front of a payload whose length is known only after
/// encoding, so room for it is kept by the guess; a guess in the wrong length class costs moving the payload once.
#[inline]
pub(super) fn append(
    out: &mut Vec<u8>,
    opcode: OpCode,
    expected_bytes: usize,
    encode: impl FnOnce(&mut Vec<u8>),
) -> usize {
    let start = out.len();
    let kept = header_bytes(expected_bytes);
    // One growth for the whole frame, if any.
    out.reserve(kept + expected_bytes);
    match kept {
        2 => out.extend_from_slice(&[0; 2]),
        4 => out.extend_from_slice(&[0; 4]),
        _ => out.extend_from_slice(&[0; 10]),
    }
    encode(out);
    let payload_bytes = out.len() - start - kept;
    let needed = header_bytes(payload_bytes);
    if needed != kept {
        move_payload(out, start + kept, start + needed);
    }
    let header = &mut out[start..start + needed];
    header[0] = FIN | u8::from(opcode);
    match needed {
        2 => header[1] = payload_bytes as u8,
        4 => {
            header[1] = 126;
            header[2..].copy_from_slice(&(payload_bytes as u16).to_be_bytes());
        }
        _ => {
            header[1] = 127;
            header[2..].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
    payload_bytes
}

/// Bytes of the header that a server writes before a payload: 2, 4 or 10.
const fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => 10,
    }
}

/// Moves everything from position `from` to the end so that it starts at `to`.
#[cold]
fn move_payload(out: &mut Vec<u8>, from: usize, to: usize) {
    let end = out.len();
    if to > from {
        out.resize(end + (to - from), 0);
    }
    out.copy_within(from..end, to);
    out.truncate(end - from + to);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: OpCode = OpCode::Data(Data::Text);

    fn parsed(bytes: &[u8]) -> Header {
        parse(bytes).expect("valid").expect("complete")
    }

    #[test]
    fn every_length_class_is_read() {
        let header = parsed(&[0x81, 0xFD, 1, 2, 3, 4]);
        assert_eq!((header.header_bytes, header.payload_bytes, header.mask), (6, 125, [1, 2, 3, 4]));
        assert!(header.is_final);
        let header = parsed(&[0x01, 0xFE, 0, 126, 1, 2, 3, 4]);
        assert_eq!((header.header_bytes, header.payload_bytes), (8, 126));
        assert!(!header.is_final);
        assert_eq!(parsed(&[0x81, 0xFE, 255, 255, 1, 2, 3, 4]).payload_bytes, 65_535);
        let header = parsed(&[0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4]);
        assert_eq!((header.header_bytes, header.payload_bytes), (HEADER_BYTES_MAX, 65_536));
        let longest = [0x82, 0xFF, 127, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4];
        assert_eq!(parsed(&longest).payload_bytes, i64::MAX as u64);
    }

    #[test]
    fn a_header_is_awaited_to_its_last_byte() {
        for whole in [
            &[0x81, 0x85, 1, 2, 3, 4][..],
            &[0x81, 0xFE, 1, 0, 1, 2, 3, 4],
            &[0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4],
        ] {
            for cut in 0..whole.len() {
                assert_eq!(parse(&whole[..cut]), Ok(None), "{cut} bytes of {whole:?}");
            }
            assert!(parse(whole).unwrap().is_some());
        }
    }

    #[test]
    fn lengths_not_in_their_shortest_form_are_refused() {
        assert!(parse(&[0x82, 0xFE, 0, 125]).is_err());
        assert!(parse(&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 255, 255]).is_err());
        assert!(parse(&[0x82, 0xFF, 128, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn reserved_bits_opcodes_and_unmasked_frames_are_refused_at_two_bytes() {
        for first in [0xC1, 0xA1, 0x91, 0x83, 0x87, 0x8B, 0x8F] {
            assert!(parse(&[first, 0x80]).is_err(), "{first:#x}");
        }
        assert!(parse(&[0x81, 0x05]).is_err());
        assert!(parse(&[0x09, 0x80]).is_err());
        assert!(parse(&[0x89, 0xFE]).is_err());
        assert!(parse(&[0x89, 0xFD]).is_ok());
    }

    #[test]
    fn a_whole_frame_is_what_the_header_says() {
        let payloads = [0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536];
        for (length, first) in payloads.into_iter().flat_map(|length| (0..=255).map(move |first| (length, first))) {
            let mut frame = Vec::new();
            append(&mut frame, TEXT, length, |out| out.resize(out.len() + length, 7));
            frame[0] = first;
            frame[1] |= MASKED;
            let header_bytes = header_bytes(length) + 4;
            frame.splice(header_bytes - 4..header_bytes - 4, [1, 2, 3, 4]);
            let found = whole(&frame);
            let is_usual = matches!(first, 0x81 | 0x82) && length < 65_536;
            assert_eq!(found.is_some(), is_usual, "{first:#x}, {length}");
            let Some(found) = found else { continue };
            let header = parsed(&frame);
            assert_eq!(found.is_text, header.opcode == TEXT);
            assert_eq!((found.header_bytes, found.frame_bytes), (header.header_bytes, frame.len()));
            assert_eq!(whole(&frame[..frame.len() - 1]), None, "the last byte is missing");
        }
        assert_eq!(whole(&[0x82, 0xFE, 0, 125].repeat(100)), None, "not the shortest form");
        assert_eq!(whole(&[0x82, 0x05].repeat(100)), None, "not masked");
        assert_eq!(whole(&[0x82, 0x80]), None);
    }

    #[test]
    fn unmasking_is_bytewise_xor_at_every_length_and_turn() {
        let mask = [0x12, 0x34, 0x56, 0x78];
        for length in 0..70 {
            for cut in 0..=length {
                let plain: Vec<u8> = (0..length as u8).collect();
                let mut bytes: Vec<u8> = plain.iter().enumerate().map(|(at, byte)| byte ^ mask[at % 4]).collect();
                let (head, tail) = bytes.split_at_mut(cut);
                unmask(head, mask);
                unmask(tail, turned(mask, cut));
                assert_eq!(bytes, plain, "length {length}, cut at {cut}");
            }
        }
    }

    #[test]
    fn a_wrong_guess_gives_the_same_bytes() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut expected = None;
            for guess in [0, length, 125, 126, 65_535, 65_536] {
                let mut out = b"before".to_vec();
                let written = append(&mut out, TEXT, guess, |out| out.extend_from_slice(&payload));
                assert_eq!(written, length);
                assert!(out.ends_with(&payload));
                assert_eq!(&out[..7], b"before\x81");
                assert_eq!(*expected.get_or_insert_with(|| out.clone()), out, "length {length}, guess {guess}");
            }
        }
    }

    #[test]
    fn the_header_says_the_length_in_its_shortest_form() {
        let header = |length: usize| {
            let mut out = Vec::new();
            append(&mut out, TEXT, length, |out| out.resize(out.len() + length, 0));
            out.truncate(out.len() - length);
            out
        };
        assert_eq!(header(125), [0x81, 125]);
        assert_eq!(header(126), [0x81, 126, 0, 126]);
        assert_eq!(header(65_535), [0x81, 126, 255, 255]);
        assert_eq!(header(65_536), [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
