//! How large a value is once it has been decoded: texts and names by their bytes in UTF-8, numbers 8, true and false 1,
//! null nothing. What is short on the wire can be large in memory: MessagePack has numbers of one byte.

use super::Encoding;
use crate::error::{ErrorCode, Violation};
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// How much larger than its bytes a decoded value can be: a number of one byte counts 8.
const GROWTH_MAX: u64 = 8;

/// Refuses what would be larger than `bytes_max`. Bytes that cannot be decoded are left to the decoder. Nothing that comes
/// within the usual limits is even looked at.
///
/// # Errors
/// `DecodedSizeExceeded`.
#[inline]
pub(crate) fn check(encoding: Encoding, bytes: &[u8], bytes_max: u64) -> Result<(), Violation> {
    if bytes.len() as u64 <= bytes_max / GROWTH_MAX {
        return Ok(());
    }
    measure_and_check(encoding, bytes, bytes_max)
}

#[cold]
fn measure_and_check(encoding: Encoding, bytes: &[u8], bytes_max: u64) -> Result<(), Violation> {
    let mut total = 0;
    let measure = Measure { total: &mut total };
    // Both decoders bound the depth, and an error of theirs is for the decoder that follows to tell.
    let _ = match encoding {
        Encoding::Json => serde_json::Deserializer::from_slice(bytes).deserialize_any(measure).is_ok(),
        Encoding::MessagePack => rmp_serde::Deserializer::from_read_ref(bytes).deserialize_any(measure).is_ok(),
    };
    if total <= bytes_max {
        return Ok(());
    }
    let message = format!("Decoded payload decoded_size_exceeded: limit={bytes_max}, actual={total}");
    Err(Violation::new(ErrorCode::DecodedSizeExceeded, message))
}

/// Adds up what it visits.
struct Measure<'t> {
    total: &'t mut u64,
}

impl Measure<'_> {
    fn add(&mut self, bytes: usize) {
        *self.total = self.total.saturating_add(bytes as u64);
    }

    const fn again(&mut self) -> Measure<'_> {
        Measure { total: self.total }
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Measure<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Measure<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(mut self, _: bool) -> Result<(), E> {
        self.add(1);
        Ok(())
    }

    fn visit_i64<E>(mut self, _: i64) -> Result<(), E> {
        self.add(8);
        Ok(())
    }

    fn visit_u64<E>(mut self, _: u64) -> Result<(), E> {
        self.add(8);
        Ok(())
    }

    fn visit_f64<E>(mut self, _: f64) -> Result<(), E> {
        self.add(8);
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.add(text.len());
        Ok(())
    }

    fn visit_bytes<E>(mut self, bytes: &[u8]) -> Result<(), E> {
        self.add(bytes.len());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(self.again())?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while map.next_key_seed(self.again())?.is_some() {
            map.next_value_seed(self.again())?;
        }
        Ok(())
    }

    fn visit_enum<A: serde::de::EnumAccess<'de>>(self, data: A) -> Result<(), A::Error> {
        let (IgnoredAny, _) = data.variant()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of(encoding: Encoding, bytes: &[u8]) -> u64 {
        match measure_and_check(encoding, bytes, 0) {
            Ok(()) => 0,
            Err(violation) => violation.message.rsplit_once('=').unwrap().1.parse().unwrap(),
        }
    }

    #[test]
    fn each_kind_of_value_counts_as_documented() {
        for (json, bytes) in [
            ("null", 0),
            ("true", 1),
            ("1", 8),
            ("-1.5", 8),
            (r#""gr\u00fcn""#, 5),
            ("[]", 0),
            ("[null,false,7]", 9),
            (r#"{"ab":"cde","f":[1,{"g":null}]}"#, 2 + 3 + 1 + 8 + 1),
        ] {
            assert_eq!(size_of(Encoding::Json, json.as_bytes()), bytes, "{json}");
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            let packed = rmp_serde::to_vec(&value).unwrap();
            assert_eq!(size_of(Encoding::MessagePack, &packed), bytes, "{json}");
        }
    }

    #[test]
    fn the_limit_is_inclusive_and_short_bytes_are_not_looked_at() {
        let numbers = rmp_serde::to_vec(&[1_u8; 15]).unwrap();
        assert_eq!(numbers.len(), 16);
        assert!(check(Encoding::MessagePack, &numbers, 15 * 8).is_ok());
        assert_eq!(
            check(Encoding::MessagePack, &numbers, 15 * 8 - 1).unwrap_err().code,
            ErrorCode::DecodedSizeExceeded
        );
        assert!(check(Encoding::Json, b"not JSON", 64).is_ok());
        assert!(check(Encoding::Json, b"not JSON", 1).is_ok());
    }

    #[test]
    fn nesting_ends_at_the_decoders_bound() {
        let deep = "[".repeat(100_000);
        assert!(check(Encoding::Json, deep.as_bytes(), 1).is_ok());
        assert!(check(Encoding::MessagePack, &[0x91; 100_000], 1).is_ok());
    }
}
