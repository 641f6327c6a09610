//! Where diagnostics go: standard error, as lines or as JSON.

use conduit_config::{Config, LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;

/// Starts writing diagnostics of the configured severity. Nothing on the data path is traced, so this costs a
/// running broker nothing.
pub(crate) fn start(config: &Config) {
    let level = match config.log_level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_ansi(false);
    match config.log_format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
