//! A whole value in memory, for those who look into bodies: rules. It is built by the cursor that the built-in endpoints read
//! with, so that one side never refuses what the other takes, and it may take so many bytes of memory and no more: `[[],[],..]`
//! has 3 bytes for each element on the wire and 72 here.

use super::json::JsonReader;
use super::reader::{Broken, DEPTH_CEILING, Reader as _};
use super::transcode::DEPTH_MAX;
use super::{Encoding, check_value, transcode};
use crate::error::{ErrorCode, Violation};
use crate::limits::Limits;
use serde_json::{Map, Number, Value};

/// Bytes of memory of every value, be it `null`.
pub(crate) const VALUE_BYTES: usize = size_of::<Value>();
/// Bytes of the name of a member beside its text: the text's own, its hash and its place in the table.
pub(crate) const NAME_BYTES: usize = size_of::<String>() + 2 * size_of::<u64>();

/// Builds the value that these bytes are. `bytes_max` bounds what it takes in memory. A number beyond the range of a 64-bit float
/// becomes the largest one: the built-in endpoints pass it on as it was written.
///
/// # Errors
/// Those of [`check_value`]: the built-in endpoints tell the same. And `DecodedSizeExceeded`, which they do not.
pub(crate) fn value(encoding: Encoding, bytes: &[u8], limits: &Limits, bytes_max: usize) -> Result<Value, Violation> {
    match encoding {
        Encoding::Json => build(bytes, limits.depth_max.min(DEPTH_CEILING), bytes_max),
        Encoding::MessagePack => {
            check_value(encoding, bytes, limits)?;
            let mut text = Vec::new();
            transcode(encoding, Encoding::Json, bytes, &mut text);
            build(&text, DEPTH_MAX, bytes_max)
        }
    }
}

fn build(text: &[u8], depth: usize, bytes_max: usize) -> Result<Value, Violation> {
    let mut reader = JsonReader::with_depth(text, depth)?;
    let mut left = Some(bytes_max);
    reader.mark();
    let built = put(&mut reader, &mut left).and_then(|value| reader.finish().map(|()| value));
    built.map_err(|broken| match left {
        Some(_) => reader.violation(broken),
        None => Violation::new(
            ErrorCode::DecodedSizeExceeded,
            format!(
                "rules look into the body, and its values would take more than {bytes_max} bytes of memory: send fewer"
            ),
        ),
    })
}

/// Takes bytes from what is left; `None` stands for nothing any more, whatever the error says.
fn take(left: &mut Option<usize>, bytes: usize) -> Result<(), Broken> {
    *left = left.and_then(|left| left.checked_sub(bytes));
    if left.is_some() { Ok(()) } else { Err(Broken::End) }
}

/// Recursion is bounded by the reader's depth.
fn put(reader: &mut JsonReader<'_>, left: &mut Option<usize>) -> Result<Value, Broken> {
    take(left, VALUE_BYTES)?;
    if let Some(mut members) = reader.members()? {
        let mut map = Map::new();
        while let Some(name) = reader.next_member(&mut members)? {
            let name = reader.decoded(name);
            take(left, NAME_BYTES + name.len())?;
            map.insert(name.into_owned(), put(reader, left)?);
        }
        return Ok(Value::Object(map));
    }
    if let Some(mut elements) = reader.elements()? {
        let mut list = Vec::new();
        while reader.next_element(&mut elements)? {
            list.push(put(reader, left)?);
        }
        return Ok(Value::Array(list));
    }
    if let Some(text) = reader.text()? {
        take(left, text.len())?;
        return Ok(Value::String(text.into_owned()));
    }
    let mark = reader.mark();
    reader.skip()?;
    Ok(scalar(reader.since(mark)))
}

/// A literal or a number, already checked.
fn scalar(token: &[u8]) -> Value {
    let text = std::str::from_utf8(token).unwrap_or_default();
    match text {
        "null" => return Value::Null,
        "true" => return true.into(),
        "false" => return false.into(),
        // An integer has no negative zero; a float does.
        "-0" => return (-0.0).into(),
        _ => {}
    }
    if let Ok(value) = text.parse::<u64>() {
        return value.into();
    }
    if let Ok(value) = text.parse::<i64>() {
        return value.into();
    }
    let value: f64 = text.parse().unwrap_or_default();
    Number::from_f64(value.clamp(f64::MIN, f64::MAX)).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: usize = 1 << 20;

    fn json(text: &str) -> Result<Value, ErrorCode> {
        value(Encoding::Json, text.as_bytes(), &Limits::default(), PLENTY).map_err(|violation| violation.code)
    }

    #[test]
    fn values_are_those_of_other_decoders() {
        for text in [
            "null",
            " [true , false,null] ",
            r#"{"a":1,"b":-2,"c":1.5e3,"d":"gr\u00fcn\n","a":[{}]}"#,
            "18446744073709551615",
            "-9223372036854775808",
            "-0",
            "123456789012345678901234567890",
        ] {
            assert_eq!(json(text), Ok(serde_json::from_str(text).unwrap()), "{text}");
        }
        for text in ["", "{", "[1,]", "01", "1.", r#""\ud800""#, "nul", "1 2"] {
            assert_eq!(json(text), Err(ErrorCode::InvalidJson), "{text}");
        }
    }

    #[test]
    fn numbers_beyond_floats_are_the_largest_ones() {
        assert_eq!(json("1e999"), Ok(f64::MAX.into()));
        assert_eq!(json("-1e999"), Ok(f64::MIN.into()));
        assert_eq!(json("1e-999"), Ok(0.0.into()));
    }

    #[test]
    fn depth_is_that_of_the_limits() {
        let limits = Limits { depth_max: 128, ..Limits::default() };
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let code = |levels| {
            value(Encoding::Json, nested(levels).as_bytes(), &limits, PLENTY).map_err(|violation| violation.code)
        };
        assert!(code(128).is_ok());
        assert_eq!(code(129), Err(ErrorCode::DepthExceeded));
    }

    #[test]
    fn memory_is_bounded_whatever_the_values_are() {
        for (text, bytes) in [
            ("[[],[],null]", 4 * VALUE_BYTES),
            (r#"{"ab":"cde"}"#, 2 * VALUE_BYTES + NAME_BYTES + 5),
            ("{}", VALUE_BYTES),
        ] {
            let packed = rmp_serde::to_vec(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
            for (encoding, wire) in [(Encoding::Json, text.as_bytes()), (Encoding::MessagePack, &packed)] {
                assert!(value(encoding, wire, &Limits::default(), bytes).is_ok(), "{text}");
                let refused = value(encoding, wire, &Limits::default(), bytes - 1).unwrap_err();
                assert_eq!(refused.code, ErrorCode::DecodedSizeExceeded, "{text}");
            }
        }
    }
}
