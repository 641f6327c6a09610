//! The values a server runs with.

use crate::durability::DurabilityRules;
pub use crate::edge::{
    AccessLogSettings, AccessSettings, CODECS, CodecSettings, DrainSettings, FileChoice, GuardSettings, JwtSettings,
    RateSettings,
};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Everything that can be set, checked. Built by [`crate::resolve()`], or by tests from [`Config::new`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Data shards: threads that own streams and sockets. At least 1.
    pub shards: u16,
    /// The CPU of each shard, one each, in shard order. `None`: shard `n` runs on the `n`th CPU the process may use,
    /// or unpinned when there are more shards than CPUs.
    pub cpus: Option<Vec<usize>>,
    /// The address that both listeners bind.
    pub bind: IpAddr,
    /// First port; 0 = any free one. Every port serves HTTP and WebSocket alike.
    pub http_port: u16,
    /// Second port; 0 = any free one.
    pub ws_port: u16,
    /// Connections of the whole server, both ports together, shared out evenly: a shard that has its share answers
    /// 503 `TooManyConnections` and closes, even when another has room.
    pub connections_max: usize,
    /// Microseconds a shard looks for work before it sleeps; 0 = sleeps at once. Spinning trades CPU for about 30 us
    /// of wake-up latency.
    pub spin_us: u64,
    /// Messages that one shard may have on the way to one other shard. Full: the source connections are not read.
    pub mesh_capacity: usize,
    /// Milliseconds a shutdown may take before what is left is cut off; 0 = at once.
    pub shutdown_timeout_ms: u64,
    /// Where streams are kept through a restart; made when it does not exist. `None`: they live in memory.
    pub data_dir: Option<PathBuf>,
    /// What accepted messages survive, by stream; means nothing without a `data_dir`.
    pub durability: DurabilityRules,
    /// Bounds of each shard's log; mean nothing without a `data_dir`.
    pub log: conduit_shard::log::LogLimits,
    /// The least severe diagnostic that is written to standard error.
    pub log_level: LogLevel,
    /// How diagnostics are written.
    pub log_format: LogFormat,
    /// The configuration is read again when one of its files changes.
    pub watch: bool,
    /// How clients are let go.
    pub drain: DrainSettings,
    /// What is written about requests and messages.
    pub access_log: AccessLogSettings,
    /// Who is let in.
    pub access: AccessSettings,
    /// The tenants file.
    pub tenants_file: FileChoice,
    /// The rules file.
    pub rules_file: FileChoice,
    /// Environment variables that rules may read.
    pub rules_env: Vec<String>,
    /// How often, and how many at a time.
    pub rates: RateSettings,
    /// How large.
    pub guards: GuardSettings,
    /// In which encodings.
    pub codecs: CodecSettings,
    /// Bounds of the wire.
    pub protocol: conduit_protocol::Limits,
    /// Bounds of each shard.
    pub shard: conduit_shard::Limits,
}

impl Config {
    /// The defaults on a machine with this many cores: one shard each.
    #[must_use]
    pub fn new(cores: usize) -> Self {
        Self {
            shards: u16::try_from(cores.clamp(1, crate::table::SHARDS_MAX)).unwrap_or(1),
            cpus: None,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            http_port: 9087,
            ws_port: 9088,
            connections_max: 100_000,
            spin_us: 0,
            mesh_capacity: 4_096,
            shutdown_timeout_ms: 30_000,
            data_dir: None,
            durability: DurabilityRules::default(),
            log: conduit_shard::log::LogLimits::default(),
            log_level: LogLevel::Info,
            log_format: LogFormat::Text,
            watch: false,
            drain: DrainSettings::default(),
            access_log: AccessLogSettings::default(),
            access: AccessSettings::default(),
            tenants_file: FileChoice::default(),
            rules_file: FileChoice::default(),
            rules_env: Vec::new(),
            rates: RateSettings::default(),
            guards: GuardSettings::default(),
            codecs: CodecSettings::default(),
            protocol: conduit_protocol::Limits::default(),
            shard: conduit_shard::Limits::default(),
        }
    }
}

macro_rules! choice {
    ($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $variant_doc:literal])* $variant:ident = $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $variant_doc])* $variant,)* }

        impl $name {
            /// The texts that name the choices.
            pub const TEXTS: &'static [&'static str] = &[$($text,)*];

            /// The text of this choice.
            #[must_use]
            pub const fn text(self) -> &'static str { match self { $(Self::$variant => $text,)* } }

            /// The choice that a text names.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> { match text { $($text => Some(Self::$variant),)* _ => None } }
        }
    };
}

choice! {
    /// How severe a diagnostic must be to be written.
    LogLevel {
        /// Nothing is written.
        Off = "off",
        /// Something is broken.
        Error = "error",
        /// Something needs an operator's eye.
        Warn = "warn",
        /// Start, stop, and what changes in between.
        Info = "info",
        /// Connections coming and going.
        Debug = "debug",
        /// Everything that is not on the data path.
        Trace = "trace",
    }
}

choice! {
    /// How diagnostics are written.
    LogFormat {
        /// One line for people.
        Text = "text",
        /// One JSON object a line, for machines.
        Json = "json",
    }
}
