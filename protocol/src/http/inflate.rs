//! Bodies that come compressed by gzip (RFC 9110, section 8.4.1.3; RFC 1952), undone in memory once they are complete.

use crate::error::{ErrorCode, Violation};
use crate::limits::Limits;
use flate2::bufread::GzDecoder;
use std::io::{ErrorKind, Read as _};

/// Puts what `compressed` holds into `body`, in place of what that held. It may be `bytes_max` bytes, and no more than the
/// limits allow for so few compressed ones: not more than one byte beyond is ever unpacked.
///
/// # Errors
/// `InvalidGzip` for anything but one whole member (RFC 1952, section 2.2) whose checksum and length are right;
/// `PayloadTooLarge`.
pub(super) fn inflate(
    compressed: &[u8],
    bytes_max: usize,
    limits: &Limits,
    body: &mut Vec<u8>,
) -> Result<(), Violation> {
    let by_ratio = compressed.len().saturating_mul(limits.unpacked_ratio_max).max(limits.unpacked_bytes_free);
    let (bytes_max, too_large) = if by_ratio < bytes_max {
        (by_ratio, "the body is compressed too well to be unpacked here: send it as it is, or in smaller parts")
    } else {
        (bytes_max, "the body is larger than the limit once it is unpacked")
    };
    body.clear();
    // Text shrinks to a third or less. Whoever claims more room has to fill it.
    body.reserve(compressed.len().saturating_mul(2).min(bytes_max));
    let mut decoder = GzDecoder::new(compressed).take(bytes_max as u64 + 1);
    match decoder.read_to_end(body) {
        Ok(bytes) if bytes > bytes_max => Err(Violation::new(ErrorCode::PayloadTooLarge, too_large)),
        Ok(_) if !decoder.into_inner().into_inner().is_empty() => {
            Err(Violation::new(ErrorCode::InvalidGzip, "something follows the end of the gzip data"))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(Violation::new(ErrorCode::InvalidGzip, "the gzip data is cut short"))
        }
        Err(_) => Err(Violation::new(ErrorCode::InvalidGzip, "the body is not gzip, or was damaged on its way")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn inflated(compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, ErrorCode> {
        let mut body = b"left over".to_vec();
        let limits = Limits { unpacked_bytes_free: 1 << 30, ..Limits::default() };
        inflate(compressed, bytes_max, &limits, &mut body).map_err(|violation| violation.code).map(|()| body)
    }

    #[test]
    fn what_was_packed_comes_back() {
        for text in [&b""[..], b"x", b"{\"to\":\"a\",\"envelope\":{}}"] {
            assert_eq!(inflated(&gzip(text), 1_000), Ok(text.to_vec()));
        }
    }

    #[test]
    fn the_limit_is_inclusive() {
        let packed = gzip(&[b' '; 1_000]);
        assert_eq!(inflated(&packed, 1_000).map(|body| body.len()), Ok(1_000));
        assert_eq!(inflated(&packed, 999), Err(ErrorCode::PayloadTooLarge));
    }

    #[test]
    fn a_bomb_is_unpacked_to_one_byte_beyond_the_limit() {
        let bomb = gzip(&vec![0; 4 << 20]);
        assert!(bomb.len() < 8_000, "{} bytes", bomb.len());
        let mut body = Vec::new();
        assert!(inflate(&bomb, 10_000, &Limits::default(), &mut body).is_err());
        assert_eq!(body.len(), 10_001);
        assert!(body.capacity() <= 40_000, "{} bytes", body.capacity());
    }

    #[test]
    fn few_bytes_become_a_bounded_multiple_however_large_a_body_may_be() {
        let few = |bytes: usize| {
            let packed = gzip(&vec![b' '; bytes]);
            let limits = Limits { unpacked_ratio_max: 100, unpacked_bytes_free: 50_000, ..Limits::default() };
            let mut body = Vec::new();
            let result = inflate(&packed, usize::MAX / 2, &limits, &mut body).map_err(|violation| violation.code);
            assert!(body.len() <= (packed.len() * 100).max(50_000) + 1, "{bytes}: {}", body.len());
            result
        };
        // Spaces shrink to a thousandth, so it is the free bytes that count.
        assert_eq!(few(50_000), Ok(()));
        assert_eq!(few(50_001), Err(ErrorCode::PayloadTooLarge));
        assert_eq!(few(4 << 20), Err(ErrorCode::PayloadTooLarge));
        // What shrinks as text does passes, whatever its size.
        let text: Vec<u8> = (0..40_000_u32)
            .flat_map(|n| format!("{{\"n\":{}}}\n", n.wrapping_mul(2_654_435_761)).into_bytes())
            .collect();
        let limits = Limits { unpacked_bytes_free: 0, ..Limits::default() };
        assert!(inflate(&gzip(&text), text.len(), &limits, &mut Vec::new()).is_ok());
    }

    #[test]
    fn anything_but_one_whole_member_is_refused() {
        let packed = gzip(b"{\"to\":\"a\",\"envelope\":{}}");
        for cut in 0..packed.len() {
            assert_eq!(inflated(&packed[..cut], 1_000), Err(ErrorCode::InvalidGzip), "{cut}");
        }
        let after = |more: &[u8]| [&packed[..], more].concat();
        for more in [&b"\0"[..], b"\n", &packed] {
            assert_eq!(inflated(&after(more), 1_000), Err(ErrorCode::InvalidGzip));
        }
        // The checksum and the length stand in the last eight bytes.
        for at in [0, 1, 2, packed.len() - 8, packed.len() - 1] {
            let mut damaged = packed.clone();
            damaged[at] ^= 1;
            assert_eq!(inflated(&damaged, 1_000), Err(ErrorCode::InvalidGzip), "{at}");
        }
        assert_eq!(inflated(b"{}", 1_000), Err(ErrorCode::InvalidGzip));
    }
}
