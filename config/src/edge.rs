//! The settings of the edge: who may come in, how often, and what is written about it.

use crate::networks::Networks;
use crate::origins::Origins;
use crate::secret::Secret;
use conduit_protocol::Encoding;
use conduit_protocol::access_log::LogBudgets;
use std::path::{Path, PathBuf};

/// Who is let in.
#[derive(Debug, Clone, Default)]
pub struct AccessSettings {
    /// Tokens that are let in.
    pub tokens: Vec<Secret>,
    /// A file of further tokens, one a line.
    pub tokens_file: Option<PathBuf>,
    /// The token of the administration.
    pub control_token: Option<Secret>,
    /// The metrics want a token too.
    pub protect_metrics: bool,
    /// What is asked of JSON Web Tokens.
    pub jwt: JwtSettings,
    /// Proxies whose word about a client's address is believed.
    pub trusted_proxies: Networks,
    /// Origins whose pages may read answers.
    pub cors_origins: Origins,
}

/// What is asked of JSON Web Tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSettings {
    /// Key of tokens signed with HS256.
    pub secret: Option<Secret>,
    /// Tokens signed with a key of the issuer's set are let in.
    pub oidc: bool,
    /// Where the issuer publishes its keys.
    pub jwks_uri: Option<String>,
    /// Their `iss`.
    pub issuer: Option<String>,
    /// Their `aud`: one of these.
    pub audiences: Vec<String>,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// Milliseconds by which clocks may differ.
    pub leeway_ms: u64,
}

impl Default for JwtSettings {
    fn default() -> Self {
        Self {
            secret: None,
            oidc: false,
            jwks_uri: None,
            issuer: None,
            audiences: Vec::new(),
            tenant_claim: "tenant".to_owned(),
            leeway_ms: 60_000,
        }
    }
}

/// How often, and how many at a time. A rate of 0 is none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is a row of the table, and explained there")]
pub struct RateSettings {
    pub http_enabled: bool,
    pub http_per_ip: u32,
    pub http_window_ms: u32,
    pub http_enqueue: u32,
    pub http_stats: u32,
    pub http_burst_enqueue: u32,
    pub http_burst_stats: u32,
    pub http_inflight_max: u32,
    pub ws_messages: u32,
    pub ws_messages_window_ms: u32,
    pub ws_connections: u32,
    pub ws_connections_window_ms: u32,
}

impl Default for RateSettings {
    fn default() -> Self {
        Self {
            http_enabled: false,
            http_per_ip: 100,
            http_window_ms: 60_000,
            http_enqueue: 50,
            http_stats: 100,
            http_burst_enqueue: 100,
            http_burst_stats: 200,
            http_inflight_max: 0,
            ws_messages: 0,
            ws_messages_window_ms: 60_000,
            ws_connections: 0,
            ws_connections_window_ms: 60_000,
        }
    }
}

/// How large requests may be, beyond the bounds of the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSettings {
    /// Bytes of the cookies.
    pub cookie_bytes_max: usize,
    /// Bytes of a body that is no upload.
    pub large_bytes: u64,
    /// Bytes of a decoded value.
    pub decoded_bytes_max: u64,
    /// Bytes of a body that rules look into.
    pub ruled_body_bytes_max: usize,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            cookie_bytes_max: 4_096,
            large_bytes: 5 << 20,
            decoded_bytes_max: 10 << 20,
            ruled_body_bytes_max: 1_000_000,
        }
    }
}

/// Which encodings are spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecSettings {
    /// HTTP bodies and answers may be MessagePack.
    pub http: bool,
    /// WebSocket messages may be MessagePack.
    pub ws: bool,
    /// What is spoken when the client does not say.
    pub default: Encoding,
}

impl Default for CodecSettings {
    fn default() -> Self {
        Self { http: true, ws: true, default: Encoding::Json }
    }
}

/// The texts that name the encodings.
pub const CODECS: &[&str] = &["json", "msgpack"];

/// What the access logs say, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Where lines about HTTP requests go. `None`: none are written.
    pub http: Option<PathBuf>,
    /// Where lines about WebSocket connections and their messages go. `None`: none are written.
    pub ws: Option<PathBuf>,
    /// How many requests and messages have lines.
    pub budgets: LogBudgets,
    /// Bytes of lines that wait for the disk, all shards together. More are dropped and counted.
    pub queue_bytes_max: usize,
}

impl Default for AccessLogSettings {
    fn default() -> Self {
        Self {
            http: Some(PathBuf::from("reports/gateway-http.log.jsonl")),
            ws: Some(PathBuf::from("reports/gateway-ws.log.jsonl")),
            budgets: LogBudgets::default(),
            queue_bytes_max: 16 << 20,
        }
    }
}

/// How a server lets its clients go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainSettings {
    /// Milliseconds after a reload in which `/health` says that the server drains.
    pub after_reload_ms: u64,
    /// Requests that only read are refused too.
    pub reject_new: bool,
    /// Milliseconds after which clients are told to connect again.
    pub retry_after_ms: u32,
    /// Where clients are told to go.
    pub alternates: Vec<String>,
}

impl Default for DrainSettings {
    fn default() -> Self {
        Self { after_reload_ms: 0, reject_new: false, retry_after_ms: 1_000, alternates: Vec::new() }
    }
}

/// Which file is read, if any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum FileChoice {
    /// The one at the usual place, if it is there.
    #[default]
    Usual,
    /// None.
    None,
    /// This one, and it has to be there.
    Path(PathBuf),
}

impl FileChoice {
    /// What may be written for it.
    pub(crate) const FORM: &str = "a file, auto, or none";

    /// The file to read and whether it has to be there. `usual` is its usual name, `beside` the folder of the
    /// configuration file.
    #[must_use]
    pub fn path(&self, usual: &str, beside: &Path) -> Option<(PathBuf, bool)> {
        match self {
            Self::Usual => Some((beside.join(usual), false)),
            Self::None => None,
            Self::Path(path) => Some((path.clone(), true)),
        }
    }
}
