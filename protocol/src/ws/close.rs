//! The payload of close frames (RFC 6455, sections 5.5.1 and 7.4). Pure functions, no state.

use super::frame::CONTROL_BYTES_MAX;
use crate::{ErrorCode, Violation};
use tungstenite::protocol::frame::coding::CloseCode;

/// Checks the payload of a peer's close frame and returns its code; `None` when it has none.
///
/// # Errors
/// `BadFraming` for a payload of one byte or a code that must not be sent, `DecodeError` for a reason that is not UTF-8.
pub(super) fn parse(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Violation::new(ErrorCode::BadFraming, "a close frame's payload starts with a code of two bytes"))
        };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(Violation::new(ErrorCode::BadFraming, "the close code must not be sent in a close frame"));
    }
    if simdutf8::basic::from_utf8(reason).is_err() {
        return Err(Violation::new(ErrorCode::DecodeError, "the reason of the close frame is not UTF-8"));
    }
    Ok(Some(code))
}

/// Whether a close frame may carry this code: those of RFC 6455 and of the IANA registry, and 3000 to 4999.
fn may_be_sent(code: u16) -> bool {
    // 1014 (bad gateway) was registered after the RFC, and tungstenite does not know it.
    code == 1014 || CloseCode::from(code).is_allowed()
}

/// Appends a close frame's payload. The reason is cut, between characters, to what fits.
pub(super) fn append_payload(code: u16, reason: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&code.to_be_bytes());
    let end = reason.floor_char_boundary(CONTROL_BYTES_MAX - 2);
    out.extend_from_slice(&reason.as_bytes()[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(payload: &[u8]) -> Result<Option<u16>, ErrorCode> {
        parse(payload).map_err(|violation| violation.code)
    }

    #[test]
    fn a_payload_is_empty_or_starts_with_a_code() {
        assert_eq!(code_of(&[]), Ok(None));
        assert_eq!(code_of(&[3]), Err(ErrorCode::BadFraming));
        assert_eq!(code_of(&[3, 232]), Ok(Some(1000)));
    }

    #[test]
    fn only_codes_that_may_be_sent_are_taken() {
        let taken = |code: u16| code_of(&code.to_be_bytes()).is_ok();
        let expected = |code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        for code in 0..=u16::MAX {
            assert_eq!(taken(code), expected(code), "{code}");
        }
    }

    #[test]
    fn the_reason_is_utf_8() {
        assert_eq!(code_of(b"\x03\xe8gr\xc3\xbcn"), Ok(Some(1000)));
        assert_eq!(code_of(b"\x03\xe8gr\xc3"), Err(ErrorCode::DecodeError));
    }

    #[test]
    fn the_reason_is_cut_between_characters() {
        let cut = |reason: &str| {
            let mut out = Vec::new();
            append_payload(1008, reason, &mut out);
            assert_eq!(&out[..2], &1008_u16.to_be_bytes());
            String::from_utf8(out.split_off(2)).expect("UTF-8")
        };
        assert_eq!(cut(&"a".repeat(123)), "a".repeat(123));
        assert_eq!(cut(&"a".repeat(124)), "a".repeat(123));
        let wide = "a".repeat(122) + "\u{fc}";
        assert_eq!(cut(&wide), "a".repeat(122));
    }
}
