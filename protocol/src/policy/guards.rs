//! How large requests may be and of what kind, beyond what the wire's own limits say.

/// Bounds of heads and bodies. The default is the wire's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guards {
    /// Bytes of all header names and values together. More: 431.
    pub header_bytes_max: usize,
    /// Bytes of the cookies. More: 431.
    pub cookie_bytes_max: usize,
    /// Bytes of a body that is not an upload, by its `Content-Length`. More: 413.
    pub large_bytes: u64,
    /// Bodies of binary media types are refused except as uploads.
    pub refuses_binary: bool,
    /// Bytes of a decoded value. More: 400 / 1007.
    pub decoded_bytes_max: u64,
    /// Bytes of a body that rules look into, unpacked if it came compressed. More: 413.
    pub ruled_body_bytes_max: usize,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            header_bytes_max: usize::MAX,
            cookie_bytes_max: usize::MAX,
            large_bytes: u64::MAX,
            refuses_binary: false,
            decoded_bytes_max: u64::MAX,
            ruled_body_bytes_max: usize::MAX,
        }
    }
}
