//! Chunked bodies (RFC 9112, section 7.1): an incremental decoder that removes the framing in place.
//!
//! Strict: CRLF only, no white space around a size, no empty size. Extensions and trailers are checked for form, counted
//! against a bound, and ignored.

use super::head::{bad, bare_line_feed, is_token_byte};
use super::target::hex_value;
use crate::error::{ErrorCode, Violation};
use crate::limits::Limits;

/// A chunk size that no limit reaches has more digits than this.
const SIZE_DIGITS_MAX: u8 = 15;

/// The decoder of one chunked body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunked {
    state: State,
    /// The size being read, then the bytes left of the chunk.
    chunk_left: u64,
    size_digits: u8,
    /// Bytes of extensions and trailers so far.
    overhead_bytes: u32,
    /// Bytes of the body so far.
    body_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// At the start of a trailer line or of the empty line that ends the body.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// What one call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Bytes of the input that have been looked at.
    pub(super) consumed: usize,
    /// Bytes of the body, moved to the start of the input.
    pub(super) produced: usize,
    /// The body is complete.
    pub(super) is_done: bool,
}

impl Chunked {
    pub(super) const fn new() -> Self {
        Self { state: State::Size, chunk_left: 0, size_digits: 0, overhead_bytes: 0, body_bytes: 0 }
    }

    /// Decodes `bytes`: the parts of the body found in it are moved together at its start. The whole body may have
    /// `body_bytes_max` bytes.
    ///
    /// # Errors
    /// `BadFraming`, `PayloadTooLarge`, `HeadersTooLarge` (trailers).
    pub(super) fn decode(
        &mut self,
        bytes: &mut [u8],
        body_bytes_max: usize,
        limits: &Limits,
    ) -> Result<Progress, Violation> {
        let (mut at, mut produced) = (0, 0);
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let n = usize::try_from(self.chunk_left).unwrap_or(usize::MAX).min(bytes.len() - at);
                // The first chunk of a body that came with its size line needs no second copy of itself.
                bytes.copy_within(at..at + n, produced);
                at += n;
                produced += n;
                self.chunk_left -= n as u64;
                self.body_bytes += n as u64;
                if self.chunk_left == 0 {
                    self.state = State::DataCr;
                }
            } else {
                self.state = self.step(bytes[at], body_bytes_max, limits)?;
                at += 1;
            }
        }
        Ok(Progress { consumed: at, produced, is_done: self.state == State::Done })
    }

    /// Takes one byte outside of the data.
    fn step(&mut self, byte: u8, body_bytes_max: usize, limits: &Limits) -> Result<State, Violation> {
        match self.state {
            State::Size => match (hex_value(byte), byte) {
                (Some(_), _) if self.size_digits == SIZE_DIGITS_MAX => Err(bad("a chunk size has too many digits")),
                (Some(digit), _) => {
                    self.size_digits += 1;
                    self.chunk_left = self.chunk_left << 4 | u64::from(digit);
                    Ok(State::Size)
                }
                (None, b'\r') if self.size_digits > 0 => Ok(State::SizeLf),
                (None, b';') if self.size_digits > 0 => Ok(State::Extension),
                _ => Err(bad("a chunk size is not hexadecimal digits")),
            },
            State::Extension if byte == b'\r' => Ok(State::SizeLf),
            State::Extension => {
                self.count_overhead(limits, || bad("chunk extensions are longer than the limit"))?;
                check_text(byte)?;
                Ok(State::Extension)
            }
            State::SizeLf => {
                expect_line_feed(byte)?;
                if self.chunk_left > (body_bytes_max as u64).saturating_sub(self.body_bytes) {
                    return Err(Violation::new(
                        ErrorCode::PayloadTooLarge,
                        "the chunked body is larger than the limit",
                    ));
                }
                self.size_digits = 0;
                Ok(if self.chunk_left == 0 { State::Trailer } else { State::Data })
            }
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataCr => Err(bad("a chunk is longer than its size")),
            State::DataLf => expect_line_feed(byte).map(|()| State::Size),
            State::Trailer if byte == b'\r' => Ok(State::EndLf),
            State::Trailer | State::TrailerName => {
                self.count_overhead(limits, trailers_too_large)?;
                match byte {
                    b':' if self.state == State::TrailerName => Ok(State::TrailerValue),
                    _ if is_token_byte(byte) => Ok(State::TrailerName),
                    _ => Err(bad("a trailer field is malformed")),
                }
            }
            State::TrailerValue if byte == b'\r' => Ok(State::TrailerLf),
            State::TrailerValue => {
                self.count_overhead(limits, trailers_too_large)?;
                check_text(byte)?;
                Ok(State::TrailerValue)
            }
            State::TrailerLf => expect_line_feed(byte).map(|()| State::Trailer),
            State::EndLf => expect_line_feed(byte).map(|()| State::Done),
            State::Data | State::Done => Ok(self.state),
        }
    }

    fn count_overhead(&mut self, limits: &Limits, violation: impl FnOnce() -> Violation) -> Result<(), Violation> {
        self.overhead_bytes += 1;
        if self.overhead_bytes as usize > limits.head_bytes_max { Err(violation()) } else { Ok(()) }
    }
}

fn trailers_too_large() -> Violation {
    Violation::new(ErrorCode::HeadersTooLarge, "the trailers are larger than the limit")
}

fn expect_line_feed(byte: u8) -> Result<(), Violation> {
    if byte == b'\n' { Ok(()) } else { Err(bad("a CR is not followed by LF")) }
}

/// Refuses control characters, the bare line feed among them.
fn check_text(byte: u8) -> Result<(), Violation> {
    match byte {
        b'\n' => Err(bare_line_feed()),
        b'\t' | b' '..=0x7e | 0x80.. => Ok(()),
        _ => Err(bad("a control character stands between chunks")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes `wire` cut into pieces of `step` bytes.
    fn decode(wire: &[u8], step: usize, limits: &Limits) -> Result<Option<Vec<u8>>, Violation> {
        let (mut decoder, mut body) = (Chunked::new(), Vec::new());
        for piece in wire.chunks(step) {
            let mut piece = piece.to_vec();
            let progress = decoder.decode(&mut piece, limits.body_bytes_max, limits)?;
            body.extend_from_slice(&piece[..progress.produced]);
            if progress.is_done {
                return Ok(Some(body));
            }
        }
        Ok(None)
    }

    #[test]
    fn framing_disappears_at_any_cut() {
        let wire = b"4\r\nWiki\r\n5;name=\"value\"\r\npedia\r\n00A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
        for step in 1..=wire.len() {
            assert_eq!(
                decode(wire, step, &Limits::default()).unwrap().as_deref(),
                Some(&b"Wikipedia0123456789"[..]),
                "{step}"
            );
        }
    }

    #[test]
    fn bad_chunks_are_refused_at_any_cut() {
        let wires: [&[u8]; 18] = [
            b"\r\n",
            b";a\r\n",
            b" 4\r\nWiki\r\n",
            b"4 \r\nWiki\r\n",
            b"0x4\r\nWiki\r\n",
            b"-4\r\n",
            b"4\nWiki\r\n0\r\n\r\n",
            b"4\r\nWiki\n0\r\n\r\n",
            b"4\r\nWikip\r\n",
            b"4\r\nWiki\r\r\n",
            b"4;a\nWiki",
            b"4;\x00\r\n",
            b"1000000000000000\r\n",
            b"0\r\n\n",
            b"0\r\nName : x\r\n\r\n",
            b"0\r\n: x\r\n\r\n",
            b"0\r\nName: x\n\r\n",
            b"0\r\n folded\r\n\r\n",
        ];
        for wire in wires {
            for step in 1..=wire.len() {
                let refused = decode(wire, step, &Limits::default()).expect_err("bad chunks");
                assert_eq!(refused.code, ErrorCode::BadFraming, "{:?} by {step}", String::from_utf8_lossy(wire));
            }
        }
    }

    #[test]
    fn the_body_limit_is_inclusive() {
        let limits = Limits { body_bytes_max: 9, ..Limits::default() };
        assert!(decode(b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n", 64, &limits).unwrap().is_some());
        let refused = decode(b"4\r\nWiki\r\n6\r\n", 64, &limits).unwrap_err();
        assert_eq!(refused.code, ErrorCode::PayloadTooLarge);
        assert_eq!(decode(b"fffffffffffffff\r\n", 64, &limits).unwrap_err().code, ErrorCode::PayloadTooLarge);
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let limits = Limits { head_bytes_max: 10, ..Limits::default() };
        assert!(decode(b"1;12345\r\nx\r\n0;12345\r\n\r\n", 64, &limits).unwrap().is_some());
        assert_eq!(decode(b"1;12345\r\nx\r\n0;123456\r\n\r\n", 64, &limits).unwrap_err().code, ErrorCode::BadFraming);
        assert!(decode(b"0\r\na:34567890\r\n\r\n", 64, &limits).unwrap().is_some());
        assert_eq!(decode(b"0\r\na:345678901\r\n\r\n", 64, &limits).unwrap_err().code, ErrorCode::HeadersTooLarge);
    }
}
