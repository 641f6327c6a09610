//! The wires this harness speaks, as bytes: nothing here touches a socket.

pub mod answer;
pub mod delivery;
pub mod envelope;
pub mod frame;
pub mod http;
pub mod template;

use serde::{Deserialize, Serialize};

/// How operations are encoded on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// Text frames, `application/json`.
    Json,
    /// Binary frames, `application/msgpack`.
    Msgpack,
}

impl Codec {
    /// The value of the `codec=` query parameter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
        }
    }
}

/// What a peer did that this harness cannot go on from; the connection is given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireFault(pub String);

impl WireFault {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
