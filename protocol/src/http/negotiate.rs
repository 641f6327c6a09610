//! Which encoding a request body has and which one its answer gets (RFC 9110, sections 8.3 and 12.5.1).

use super::fields::list;
use crate::Encoding;

/// What a request body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// One JSON value: also the reading of every type that nothing is known about.
    Json,
    /// One MessagePack value.
    MessagePack,
    /// One JSON value a line.
    NdJson,
}

impl Content {
    /// Reads a `Content-Type`.
    pub(super) fn of(value: &[u8]) -> Self {
        if value == b"application/json" {
            return Self::Json;
        }
        let media_type = before(value, b';');
        if media_type.eq_ignore_ascii_case(b"application/x-ndjson") {
            return Self::NdJson;
        }
        match Encoding::of_media_type(media_type) {
            Some(Encoding::MessagePack) => Self::MessagePack,
            _ => Self::Json,
        }
    }

    /// The encoding of each value in it.
    pub(super) const fn encoding(self) -> Encoding {
        match self {
            Self::Json | Self::NdJson => Encoding::Json,
            Self::MessagePack => Encoding::MessagePack,
        }
    }
}

impl Encoding {
    /// The encoding that `X-Codec`, the `codec` parameter or a WebSocket subprotocol names; names are case-sensitive.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"json" => Some(Self::Json),
            b"msgpack" => Some(Self::MessagePack),
            _ => None,
        }
    }

    /// Its name in `X-Codec`, in `codec=` and as a subprotocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::MessagePack => "msgpack",
        }
    }

    /// The `content-type` of an answer.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::MessagePack => "application/msgpack",
        }
    }

    /// The encoding of a media type without its parameters.
    fn of_media_type(media_type: &[u8]) -> Option<Self> {
        const JSON: [&[u8]; 2] = [b"application/json", b"text/json"];
        const MESSAGE_PACK: [&[u8]; 3] = [b"application/msgpack", b"application/vnd.msgpack", b"application/x-msgpack"];
        let suffix = media_type.len().checked_sub(5).map(|at| &media_type[at..]);
        if JSON.iter().any(|known| media_type.eq_ignore_ascii_case(known))
            || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(b"+json"))
        {
            Some(Self::Json)
        } else if MESSAGE_PACK.iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
            Some(Self::MessagePack)
        } else {
            None
        }
    }
}

/// The best of the `Accept` fields so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Accept {
    /// Twice the quality in thousandths, plus one when the type was named rather than covered by a wildcard: a wildcard
    /// never beats an equally good name, and of equals the first wins.
    rank: u32,
    /// `None`: whatever we like.
    encoding: Option<Encoding>,
    takes_problems: bool,
}

impl Accept {
    /// Takes one `Accept` field into account.
    pub(super) fn add(&mut self, value: &[u8]) {
        // The most common one by far.
        if value == b"*/*" {
            if self.rank < 2_000 {
                *self = Self { rank: 2_000, encoding: None, ..*self };
            }
            return;
        }
        for range in list(value) {
            let media_type = before(range, b';');
            let (encoding, named) = match Encoding::of_media_type(media_type) {
                Some(encoding) => (Some(encoding), 1),
                None if media_type == b"*/*" || media_type.eq_ignore_ascii_case(b"application/*") => (None, 0),
                None => continue,
            };
            let quality = if media_type.len() == range.len() { 1_000 } else { quality(range) };
            // Quality 0 is a refusal of that type.
            if quality > 0 && media_type.eq_ignore_ascii_case(b"application/problem+json") {
                self.takes_problems = true;
            }
            if quality > 0 && 2 * quality + named > self.rank {
                *self = Self { rank: 2 * quality + named, encoding, ..*self };
            }
        }
    }

    /// The encoding to answer in; `None`: nothing that we speak was asked for, or anything will do.
    pub(super) const fn choice(self) -> Option<Encoding> {
        self.encoding
    }

    /// Refusals may come as problem details (RFC 9457, section 3).
    pub(super) const fn takes_problems(self) -> bool {
        self.takes_problems
    }
}

/// The quality of one range in thousandths; one that cannot be read counts as none given.
fn quality(range: &[u8]) -> u32 {
    let parameter = range.split(|byte| *byte == b';').skip(1).map(<[u8]>::trim_ascii);
    let text = parameter
        .filter_map(|parameter| parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q=")))
        .next();
    text.and_then(thousandths).unwrap_or(1_000)
}

/// Reads `0`, `0.5`, `1.000`: at most three digits after the point (RFC 9110, section 12.4.2).
fn thousandths(text: &[u8]) -> Option<u32> {
    let (whole, fraction) = match text {
        [whole] | [whole, b'.'] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] => (whole, fraction),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |at: usize| fraction.get(at).map_or(0, |digit| u32::from(digit - b'0'));
    let value = u32::from(whole - b'0') * 1_000 + digit(0) * 100 + digit(1) * 10 + digit(2);
    (value <= 1_000).then_some(value)
}

fn before(value: &[u8], separator: u8) -> &[u8] {
    let end = memchr::memchr(separator, value).unwrap_or(value.len());
    value[..end].trim_ascii_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(accept: &str) -> Encoding {
        let mut best = Accept::default();
        best.add(accept.as_bytes());
        best.choice().unwrap_or_default()
    }

    #[test]
    fn what_is_not_named_is_left_to_the_server() {
        let named = |accept: &str| {
            let mut best = Accept::default();
            best.add(accept.as_bytes());
            (best.choice(), best.takes_problems())
        };
        for open in ["", "*/*", "application/*", "text/html", "text/html, */*;q=0.1", "application/json;q=0, */*"] {
            assert_eq!(named(open), (None, false), "{open}");
        }
        assert_eq!(named("application/json, */*"), (Some(Encoding::Json), false));
        assert_eq!(named("application/problem+json"), (Some(Encoding::Json), true));
        assert_eq!(named("application/msgpack, application/Problem+json;q=0.5"), (Some(Encoding::MessagePack), true));
        assert_eq!(named("application/msgpack, application/problem+json;q=0"), (Some(Encoding::MessagePack), false));
    }

    #[test]
    fn the_best_quality_wins() {
        for json in [
            "",
            "*/*",
            "text/html",
            "application/json",
            "application/msgpack;q=0",
            "application/msgpack;q=0.1, */*",
            "a/b+json",
        ] {
            assert_eq!(choice(json), Encoding::Json, "{json}");
        }
        for msgpack in [
            "application/msgpack",
            "application/vnd.msgpack",
            "Application/X-MsgPack",
            "application/json;q=0.5, application/msgpack;q=0.501",
            "application/msgpack, */*",
            "*/*, application/msgpack",
            "application/msgpack ; q=0.3 , application/json;q=0.2",
        ] {
            assert_eq!(choice(msgpack), Encoding::MessagePack, "{msgpack}");
        }
    }

    #[test]
    fn content_types_choose_the_decoder() {
        for json in [
            "application/json",
            "application/json; charset=utf-8",
            "text/json",
            "application/cloudevents+JSON",
            "x/y",
            "",
        ] {
            assert_eq!(Content::of(json.as_bytes()), Content::Json, "{json}");
        }
        for msgpack in ["application/msgpack", "application/x-msgpack; a=b", "APPLICATION/VND.MSGPACK"] {
            assert_eq!(Content::of(msgpack.as_bytes()), Content::MessagePack, "{msgpack}");
        }
        assert_eq!(Content::of(b"application/x-ndjson;charset=utf-8"), Content::NdJson);
    }

    #[test]
    fn qualities_have_at_most_three_digits() {
        assert_eq!(thousandths(b"0.123"), Some(123));
        assert_eq!(thousandths(b"1."), Some(1_000));
        for bad in ["0.1234", "1.001", "2", "-1", ".5", "", "0,5"] {
            assert_eq!(thousandths(bad.as_bytes()), None, "{bad}");
        }
    }
}
