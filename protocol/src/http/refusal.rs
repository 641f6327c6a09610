//! The body of every refusal: what older clients read, the code and sentence of the error table, and what a limit has to
//! tell; as problem details (RFC 9457) for those who ask for them.

use super::response::{Extra, reason};
use crate::Encoding;
use crate::answer::Refusal;
use crate::error::ErrorCode;
use serde::Serialize;

/// The media type of problem details.
pub(super) const PROBLEM: &str = "application/problem+json";

/// What to try instead of sending a file as if it were a message.
const ELSEWHERE: &str = "store large or binary content elsewhere, and send a message that says where";

/// The body could not be decoded, or not within the limits of decoding.
pub(super) const fn is_decode_failure(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::InvalidJson | ErrorCode::DecodeError | ErrorCode::DepthExceeded | ErrorCode::DecodedSizeExceeded
    )
}

/// What a body depends on beside the refusal itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner<'a> {
    /// Of the body.
    pub(super) encoding: Encoding,
    /// Of the body that was refused.
    pub(super) request: Encoding,
    /// As problem details; then `encoding` is JSON.
    pub(super) is_problem: bool,
    /// When to come again, in seconds.
    pub(super) retry_after_s: Option<u32>,
    pub(super) extra: Extra,
    /// The name of the tenant that `extra` is about.
    pub(super) tenant: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    problem: Option<Problem<'a>>,
    error: &'a str,
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    codec: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suggestion: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
}

/// The members of RFC 9457, section 3.1. What kind of problem it is says `code`, so its type is that of the status.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

/// Appends the body of a refusal.
pub(super) fn encode(manner: &Manner<'_>, refusal: &Refusal<'_>, out: &mut Vec<u8>) {
    let message = &*refusal.message;
    let code = refusal.code;
    let is_decode_failure = is_decode_failure(code);
    let details = match code {
        ErrorCode::DepthExceeded => "depth_exceeded",
        ErrorCode::DecodedSizeExceeded => "decoded_size_exceeded",
        _ => message,
    };
    let status = code.http_status();
    let problem = Problem { r#type: "about:blank", title: reason(status), status, detail: message };
    let (size, limit) = match manner.extra {
        Extra::Size { size, limit } | Extra::Large { size, limit } => (Some(size), Some(limit)),
        Extra::Limit(limit) => (None, Some(limit)),
        _ => (None, None),
    };
    let body = Body {
        problem: manner.is_problem.then_some(problem),
        error: title(code, message),
        code: code.code(),
        message,
        details: is_decode_failure.then_some(details),
        codec: is_decode_failure.then_some(manner.request.name()),
        reason: matches!(code, ErrorCode::PayloadTooLarge | ErrorCode::ServerDraining).then_some(message),
        suggestion: matches!(manner.extra, Extra::Upload | Extra::Large { .. }).then_some(ELSEWHERE),
        size,
        limit,
        tenant_id: matches!(manner.extra, Extra::Tenant(_)).then_some(manner.tenant),
        retry_after: manner.retry_after_s,
    };
    // Writing text and numbers to memory does not fail.
    let _ = match manner.encoding {
        Encoding::Json => serde_json::to_writer(out, &body).is_ok(),
        Encoding::MessagePack => rmp_serde::encode::write_named(out, &body).is_ok(),
    };
}

/// The `error` member: the texts that clients of the earlier server compare, else the reason phrase.
const fn title(code: ErrorCode, message: &str) -> &str {
    match code {
        ErrorCode::InvalidJson | ErrorCode::DecodeError | ErrorCode::DepthExceeded | ErrorCode::DecodedSizeExceeded => {
            "Request body decode failed"
        }
        ErrorCode::InvalidGzip => "Invalid gzip encoding",
        ErrorCode::InvalidEnvelope => "Envelope must be an object",
        ErrorCode::InvalidField | ErrorCode::InvalidStream => message,
        ErrorCode::UnknownStream => "UnknownStream",
        ErrorCode::PayloadTooLarge => "Payload Too Large",
        ErrorCode::RateLimitExceeded => "Rate limit exceeded",
        ErrorCode::ServerDraining => "Service draining",
        ErrorCode::OriginNotAllowed => "Origin not allowed",
        _ => reason(code.http_status()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TenantId;
    use std::borrow::Cow;

    fn encoded(code: ErrorCode, message: &'static str, manner: Manner<'_>) -> String {
        let mut out = Vec::new();
        encode(&manner, &Refusal { code, message: Cow::Borrowed(message), retry_after_ms: None }, &mut out);
        String::from_utf8(out).unwrap()
    }

    const PLAIN: Manner<'_> = Manner {
        encoding: Encoding::Json,
        request: Encoding::MessagePack,
        is_problem: false,
        retry_after_s: None,
        extra: Extra::None,
        tenant: "",
    };

    fn refusal_json(code: ErrorCode, message: &'static str) -> String {
        encoded(code, message, PLAIN)
    }

    #[test]
    fn refusals_keep_the_shapes_of_the_earlier_server() {
        assert_eq!(
            refusal_json(ErrorCode::DecodeError, "cut short"),
            r#"{"error":"Request body decode failed","code":"DecodeError","message":"cut short","details":"cut short","codec":"msgpack"}"#
        );
        assert!(refusal_json(ErrorCode::DepthExceeded, "x").contains(r#""details":"depth_exceeded""#));
        assert!(
            refusal_json(ErrorCode::InvalidEnvelope, "x")
                .starts_with(r#"{"error":"Envelope must be an object","code":"InvalidEnvelope""#)
        );
        assert!(
            refusal_json(ErrorCode::InvalidField, "missing stream")
                .starts_with(r#"{"error":"missing stream","code":"InvalidField""#)
        );
        assert!(
            refusal_json(ErrorCode::UnknownStream, "x")
                .starts_with(r#"{"error":"UnknownStream","code":"UnknownStream""#)
        );
        assert!(refusal_json(ErrorCode::BadFraming, "x").starts_with(r#"{"error":"Bad Request","code":"BadFraming""#));
    }

    #[test]
    fn a_limit_tells_its_numbers() {
        let large = Manner { extra: Extra::Upload, ..PLAIN };
        assert_eq!(
            encoded(ErrorCode::PayloadTooLarge, "image/png is a binary type", large),
            format!(
                r#"{{"error":"Payload Too Large","code":"PayloadTooLarge","message":"image/png is a binary type","reason":"image/png is a binary type","suggestion":"{ELSEWHERE}"}}"#
            )
        );
        let cookies = Manner { extra: Extra::Size { size: 5, limit: 4 }, ..PLAIN };
        assert!(encoded(ErrorCode::CookieTooLarge, "x", cookies).ends_with(r#""message":"x","size":5,"limit":4}"#));
        let extra = Extra::Tenant(TenantId::of_name("acme"));
        let rate = Manner { extra, tenant: "acme", retry_after_s: Some(7), ..PLAIN };
        assert_eq!(
            encoded(ErrorCode::TenantRateLimitExceeded, "x", rate),
            r#"{"error":"Too Many Requests","code":"TenantRateLimitExceeded","message":"x","tenantId":"acme","retryAfter":7}"#
        );
    }

    #[test]
    fn problem_details_have_the_members_of_the_rfc_and_ours() {
        let problem = Manner { is_problem: true, ..PLAIN };
        assert_eq!(
            encoded(ErrorCode::NotFound, "there is no such path", problem),
            r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no such path","error":"Not Found","code":"NotFound","message":"there is no such path"}"#
        );
    }
}
