//! What a data directory says about itself: `conduit.json`.

use std::fmt::Write as _;

/// The version of everything in the directory. One more is refused by this program.
pub(crate) const FORMAT: u64 = 1;

/// The content of `conduit.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Into how many shards the streams are divided.
    pub shards: u16,
    /// Names the directory's logs: a segment of another directory is told from one of ours by it.
    pub log_id: [u8; 16],
    /// When the directory was made, in milliseconds since 1970.
    pub created_unix_ms: u64,
}

impl Layout {
    /// The text of the file.
    pub(crate) fn to_text(self) -> String {
        let mut log_id = String::with_capacity(32);
        for byte in self.log_id {
            // Writing to a String cannot fail.
            let _ = write!(log_id, "{byte:02x}");
        }
        let Self { shards, created_unix_ms, .. } = self;
        format!(
            "{{\n  \"format\": {FORMAT},\n  \"shards\": {shards},\n  \"logId\": \"{log_id}\",\n  \"createdUnixMs\": {created_unix_ms}\n}}\n"
        )
    }

    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence.
    pub(crate) fn from_text(text: &str) -> Result<Self, Unreadable> {
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|error| Unreadable::Broken(format!("it is not JSON: {error}")))?;
        let number = |name: &str| {
            let number = value.get(name).and_then(serde_json::Value::as_u64);
            number.ok_or_else(|| Unreadable::Broken(format!("{name:?} is not a whole number")))
        };
        let format = number("format")?;
        if format != FORMAT {
            return Err(Unreadable::Format(format));
        }
        let shards = u16::try_from(number("shards")?).ok().filter(|shards| *shards > 0);
        let shards = shards.ok_or_else(|| Unreadable::Broken("\"shards\" is out of range".to_owned()))?;
        let log_id = value.get("logId").and_then(serde_json::Value::as_str).and_then(bytes_of_hex);
        let log_id = log_id.ok_or_else(|| Unreadable::Broken("\"logId\" is not 32 hexadecimal digits".to_owned()))?;
        Ok(Self { shards, log_id, created_unix_ms: number("createdUnixMs")? })
    }
}

/// Why a text is not a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is of this other version.
    Format(u64),
    /// It is no layout at all.
    Broken(String),
}

fn bytes_of_hex(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYOUT: Layout =
        Layout { shards: 3, log_id: *b"\x00\x01\xfe\xff56789abcdef0", created_unix_ms: 1_700_000_000_000 };

    #[test]
    fn what_is_written_reads_back() {
        for shards in [1, 3, u16::MAX] {
            let layout = Layout { shards, ..LAYOUT };
            assert_eq!(Layout::from_text(&layout.to_text()), Ok(layout));
        }
    }

    #[test]
    fn another_version_is_told_from_a_broken_file() {
        let text = LAYOUT.to_text();
        assert_eq!(Layout::from_text(&text.replace("\"format\": 1", "\"format\": 2")), Err(Unreadable::Format(2)));
        for (from, to) in [
            ("\"shards\": 3", "\"shards\": 0"),
            ("\"shards\": 3", "\"shards\": 65536"),
            ("\"shards\": 3", "\"shards\": -1"),
            ("0001feff", "0001fef"),
            ("0001feff", "0001fe+f"),
            ("createdUnixMs", "created"),
            ("format", "fromat"),
            ("}", ""),
        ] {
            let broken = text.replace(from, to);
            assert_ne!(broken, text);
            assert!(matches!(Layout::from_text(&broken), Err(Unreadable::Broken(_))), "{broken}");
        }
    }
}
