//! Where diagnostics go: standard error, as lines or as JSON.

use conduit_config::{Config, LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

/// The diagnostics of this process: their severity can be changed while it runs.
pub(crate) struct Diagnostics {
    level: reload::Handle<LevelFilter, Registry>,
}

impl Diagnostics {
    /// From now on, what is less severe is not written.
    pub(crate) fn set_level(&self, level: LogLevel) {
        // It fails only when the subscriber is gone, which it never is.
        let _ = self.level.reload(filter(level));
    }
}

/// Starts writing diagnostics of the configured severity. Nothing on the data path is traced, so this costs a
/// running broker nothing.
pub(crate) fn start(config: &Config) -> Diagnostics {
    let (level, handle) = reload::Layer::new(filter(config.log_level));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let registry = tracing_subscriber::registry().with(level);
    match config.log_format {
        LogFormat::Text => registry.with(lines).init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).init(),
    }
    Diagnostics { level: handle }
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
