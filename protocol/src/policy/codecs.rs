//! Which encodings are spoken besides JSON.

use crate::codec::Encoding;

/// What is negotiated. The default offers MessagePack everywhere and prefers JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codecs {
    /// HTTP bodies and answers may be MessagePack.
    pub http: bool,
    /// WebSocket messages may be MessagePack.
    pub ws: bool,
    /// What is spoken when a client does not say.
    pub default: Encoding,
}

impl Default for Codecs {
    fn default() -> Self {
        Self { http: true, ws: true, default: Encoding::Json }
    }
}
