//! One encoding into the other, once per message and only when a consumer wants what the producer did not send.
//!
//! | JSON | MessagePack |
//! |---|---|
//! | integer within i64 or u64 | the shortest integer form |
//! | any other number | float 64 |
//! | the rest | its counterpart |
//!
//! | MessagePack | JSON |
//! |---|---|
//! | integer | its digits, all of them (above 2^53 too) |
//! | float | the shortest text that reads back as the same float; NaN and infinities: `null` |
//! | binary | base64 text (RFC 4648, section 4, padded) |
//! | extension | `{"ext":type,"data":base64}` |
//! | key that is no text | the text of its JSON form |

use super::json::JsonReader;
use super::json_text;
use super::msgpack::{self, Head, MsgPackReader};
use super::reader::{Broken, DEPTH_CEILING, Reader};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;

/// Levels that are followed here: a document or a dead letter wraps an envelope, which may be as deep as the ceiling, in a
/// few of its own.
pub(super) const DEPTH_MAX: usize = DEPTH_CEILING + 8;

/// Appends the JSON value `value` as MessagePack. What is not valid JSON becomes nil: stored values are valid.
pub(super) fn json_to_msgpack(value: &[u8], out: &mut Vec<u8>) {
    let before = out.len();
    let converted = JsonReader::with_depth(value, DEPTH_MAX)
        .is_ok_and(|mut reader| put_msgpack(&mut reader, out).and_then(|()| reader.finish()).is_ok());
    if !converted {
        out.truncate(before);
        out.push(0xc0);
    }
}

/// Appends the MessagePack value `value` as JSON. What is not valid MessagePack becomes null: stored values are valid.
pub(super) fn msgpack_to_json(value: &[u8], out: &mut Vec<u8>) {
    let before = out.len();
    let mut reader = MsgPackReader::with_depth(value, DEPTH_MAX);
    if put_json(&mut reader, out).and_then(|()| reader.finish()).is_err() {
        out.truncate(before);
        out.extend_from_slice(b"null");
    }
}

/// Recursion is bounded by the reader's depth.
fn put_msgpack(reader: &mut JsonReader<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
    if let Some(mut members) = reader.members()? {
        let mut container = OpenContainer::new(true, out);
        while let Some(name) = reader.next_member(&mut members)? {
            msgpack::put_text(&reader.decoded(name), out);
            put_msgpack(reader, out)?;
            container.items += 1;
        }
        container.close(out);
    } else if let Some(mut elements) = reader.elements()? {
        let mut container = OpenContainer::new(false, out);
        while reader.next_element(&mut elements)? {
            put_msgpack(reader, out)?;
            container.items += 1;
        }
        container.close(out);
    } else if let Some(text) = reader.text()? {
        msgpack::put_text(&text, out);
    } else {
        let mark = reader.mark();
        reader.skip()?;
        put_scalar(reader.since(mark), out);
    }
    Ok(())
}

/// A literal or a number, already checked.
fn put_scalar(token: &[u8], out: &mut Vec<u8>) {
    let text = std::str::from_utf8(token).unwrap_or_default();
    match text {
        "null" => out.push(0xc0),
        "false" => out.push(0xc2),
        "true" => out.push(0xc3),
        // An integer has no negative zero; a float does.
        "-0" => msgpack::put_float(-0.0, out),
        _ => {
            if let Ok(value) = text.parse::<u64>() {
                msgpack::put_unsigned(value, out);
            } else if let Ok(value) = text.parse::<i64>() {
                msgpack::put_signed(value, out);
            } else {
                msgpack::put_float(text.parse().unwrap_or(f64::NAN), out);
            }
        }
    }
}

/// A container whose length is known only at its end: it gets a header of one byte, which is widened then if need be.
struct OpenContainer {
    map: bool,
    head_at: usize,
    items: u32,
}

impl OpenContainer {
    fn new(map: bool, out: &mut Vec<u8>) -> Self {
        let head_at = out.len();
        out.push(0);
        Self { map, head_at, items: 0 }
    }

    fn close(self, out: &mut Vec<u8>) {
        let (head, length) = msgpack::container_head(self.map, self.items);
        out[self.head_at] = head[0];
        if length > 1 {
            let content_at = self.head_at + 1;
            let content_end = out.len();
            out.extend_from_slice(&head[1..length]);
            out[content_at..].rotate_left(content_end - content_at);
        }
    }
}

/// Recursion is bounded by the reader's depth.
fn put_json(reader: &mut MsgPackReader<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
    match reader.head()? {
        Head::Nil => out.extend_from_slice(b"null"),
        Head::Bool(true) => out.extend_from_slice(b"true"),
        Head::Bool(false) => out.extend_from_slice(b"false"),
        Head::Unsigned(value) => json_text::put_integer(value, out),
        Head::Negative(value) => json_text::put_integer(value, out),
        Head::Float32(value) => put_float(value.is_finite(), value, out),
        Head::Float64(value) => put_float(value.is_finite(), value, out),
        Head::Text(text) => json_text::put_text(msgpack::utf8(text)?, out),
        Head::Binary(bytes) => put_base64(bytes, out),
        Head::Extension(kind, data) => {
            out.extend_from_slice(b"{\"ext\":");
            json_text::put_integer(kind, out);
            out.extend_from_slice(b",\"data\":");
            put_base64(data, out);
            out.push(b'}');
        }
        Head::Array(elements) => {
            reader.enter()?;
            out.push(b'[');
            for element in 0..elements {
                if element > 0 {
                    out.push(b',');
                }
                put_json(reader, out)?;
            }
            out.push(b']');
            reader.leave();
        }
        Head::Map(members) => {
            reader.enter()?;
            out.push(b'{');
            for member in 0..members {
                if member > 0 {
                    out.push(b',');
                }
                put_json_key(reader, out)?;
                out.push(b':');
                put_json(reader, out)?;
            }
            out.push(b'}');
            reader.leave();
        }
    }
    Ok(())
}

fn put_json_key(reader: &mut MsgPackReader<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
    if let Some(text) = reader.text()? {
        json_text::put_text(&text, out);
        return Ok(());
    }
    let mut form = Vec::new();
    put_json(reader, &mut form)?;
    if form.first() == Some(&b'"') {
        // Binary: its form is a JSON string as it is.
        out.extend_from_slice(&form);
    } else {
        json_text::put_text(std::str::from_utf8(&form).map_err(|_| Broken::Utf8)?, out);
    }
    Ok(())
}

/// The standard library's debug form is the shortest that reads back, with an exponent where that is shorter, and is
/// always a JSON number when it is finite.
fn put_float(finite: bool, value: impl std::fmt::Debug, out: &mut Vec<u8>) {
    if finite {
        // Appending to memory does not fail.
        let _ = write!(Appender(out), "{value:?}");
    } else {
        out.extend_from_slice(b"null");
    }
}

struct Appender<'v>(&'v mut Vec<u8>);

impl std::fmt::Write for Appender<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

fn put_base64(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
    let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    out.push(b'"');
}
