//! How large a request may be, and of what kind. Functions of the head and the policy, no state.

use super::edge::Halt;
use super::fields::{Coding, Framing};
use super::head::RequestHead;
use super::response::Extra;
use crate::error::ErrorCode;
use crate::policy::Policy;
use crate::rules::Headers as _;

/// Bytes of header fields, names and values, and of cookies.
pub(super) fn check_head_bytes(head: &RequestHead<'_, '_>, policy: &Policy) -> Result<(), Halt> {
    let guards = &policy.guards;
    // The head is longer than all of its fields together.
    if head.len <= guards.header_bytes_max && head.len <= guards.cookie_bytes_max {
        return Ok(());
    }
    let (mut all, mut cookies) = (0, 0);
    for header in head.headers {
        all += header.name.len() + header.value.len();
        if header.name.eq_ignore_ascii_case("cookie") {
            cookies += header.value.len();
        }
    }
    let refuse = |code, what: &str, size: usize, limit: usize| {
        let message = format!("the {what} have {size} bytes, and may have {limit}: send fewer");
        Err(Halt::because(code, message, Extra::Size { size: size as u64, limit: limit as u64 }))
    };
    if all > guards.header_bytes_max {
        return refuse(ErrorCode::HeadersTooLarge, "header fields", all, guards.header_bytes_max);
    }
    if cookies > guards.cookie_bytes_max {
        return refuse(ErrorCode::CookieTooLarge, "cookies", cookies, guards.cookie_bytes_max);
    }
    Ok(())
}

const MB: u64 = 1 << 20;

/// Media types of files: they are no messages.
const BINARY_TYPES: [&str; 13] = [
    "application/octet-stream",
    "application/pdf",
    "application/zip",
    "application/x-tar",
    "application/gzip",
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "video/mp4",
    "video/mpeg",
    "audio/mpeg",
    "audio/wav",
];

/// Coding, size and kind of a body; the last two of one that is no upload.
pub(super) fn check_body(head: &RequestHead<'_, '_>, policy: &Policy) -> Result<(), Halt> {
    let guards = &policy.guards;
    if head.fields.coding == Coding::Unknown && head.fields.framing != Framing::None {
        let message = "the body may be compressed once, by gzip, or not at all (identity)";
        return Err(Halt::because(ErrorCode::UnsupportedContentCoding, message, Extra::Codings));
    }
    let may_have_body = matches!(head.method_text, "POST" | "PUT") && head.target.path != "/v1/upload";
    if !may_have_body {
        return Ok(());
    }
    if guards.refuses_binary {
        let media_type = head.headers.field("content-type").unwrap_or_default();
        let end = memchr::memchr(b';', media_type).unwrap_or(media_type.len());
        let media_type = media_type[..end].trim_ascii();
        if let Some(binary) = BINARY_TYPES.iter().find(|binary| media_type.eq_ignore_ascii_case(binary.as_bytes())) {
            return Err(Halt::because(ErrorCode::PayloadTooLarge, format!("{binary} is a binary type"), Extra::Upload));
        }
    }
    match head.fields.framing {
        Framing::Length(bytes) if bytes > guards.large_bytes => {
            let limit = guards.large_bytes;
            let extra = Extra::Large { size: bytes, limit };
            // The words of the earlier implementation, where they say what they mean.
            let message = if limit > 0 && limit.is_multiple_of(MB) {
                format!("{:.2}MB exceeds {}MB threshold", bytes as f64 / MB as f64, limit / MB)
            } else {
                format!("the body has {bytes} bytes, and may have {limit}")
            };
            Err(Halt::because(ErrorCode::PayloadTooLarge, message, extra))
        }
        _ => Ok(()),
    }
}
