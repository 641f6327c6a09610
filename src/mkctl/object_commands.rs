//! What the command line may say about streams, groups and dead letters as objects.

use crate::failure::Failure;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub(crate) enum Streams {
    /// Every stream with its figures. This is also what `mkctl streams` alone does.
    Ls {
        /// The server, host:port.
        at: Option<String>,
    },
    /// One stream: what it holds, its settings, its groups.
    Show {
        /// The stream.
        stream: String,
        /// The server, host:port.
        at: Option<String>,
    },
    /// Create a stream or change its settings; what is not named stays as it is.
    Put(Box<PutStream>),
    /// Delete a stream with its messages, groups and settings. Its consumers are closed.
    Delete {
        /// The stream.
        stream: String,
        /// The server, host:port.
        at: Option<String>,
    },
    /// Delete every message of a stream, delivered or not. Its groups and settings stay.
    Purge {
        /// The stream.
        stream: String,
        /// The server, host:port.
        at: Option<String>,
    },
}

impl Streams {
    /// The server, if it is the last argument.
    pub(crate) fn at(&self) -> Option<&str> {
        match self {
            Self::Put(put) => put.at.as_deref(),
            Self::Ls { at } | Self::Show { at, .. } | Self::Delete { at, .. } | Self::Purge { at, .. } => at.as_deref(),
        }
    }
}

/// When a stream's messages go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// When every group has acked them.
    Work,
    /// By age, bytes or number.
    Log,
}

#[derive(Debug, Args)]
pub(crate) struct PutStream {
    /// The stream.
    pub(crate) stream: String,
    /// The server, host:port.
    pub(crate) at: Option<String>,
    /// work: messages go when every group has acked them; log: by the three --log limits.
    #[arg(long, value_enum)]
    retention: Option<Policy>,
    /// A log's messages go when they are older; 0: age does not matter.
    #[arg(long, value_name = "MS")]
    log_age_ms: Option<u64>,
    /// A log's oldest messages go when it holds more bytes; 0: bytes do not matter.
    #[arg(long, value_name = "N")]
    log_bytes: Option<u64>,
    /// A log's oldest messages go when it holds more; 0: their number does not matter.
    #[arg(long, value_name = "N")]
    log_messages: Option<u64>,
    /// What an accepted message survives: commit, memory, or interval:MS.
    #[arg(long)]
    durability: Option<String>,
    /// Messages that it may hold.
    #[arg(long, value_name = "N")]
    max_messages: Option<u64>,
    /// Bytes that it may hold.
    #[arg(long, value_name = "N")]
    max_bytes: Option<u64>,
    /// Deliveries of one message before it goes to the dead letters; 0: for ever.
    #[arg(long, value_name = "N")]
    max_deliver: Option<u32>,
    /// Whether expired messages go to the dead letters.
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    dead_letter_expired: Option<bool>,
    /// Time in which a repeated dedup id is recognised.
    #[arg(long, value_name = "MS")]
    dedup_window_ms: Option<u64>,
}

impl PutStream {
    /// The document that asks for it.
    pub(crate) fn settings(&self) -> Result<Value, Failure> {
        let mut settings = Map::new();
        let limits = [("maxAgeMs", self.log_age_ms), ("maxBytes", self.log_bytes), ("maxMessages", self.log_messages)];
        let has_limits = limits.iter().any(|(_, limit)| limit.is_some());
        match (self.retention, has_limits) {
            (None, false) => {}
            (Some(Policy::Work), false) => drop(settings.insert("retention".into(), json!({ "policy": "work" }))),
            (Some(Policy::Log), _) => {
                let mut retention = Map::from_iter([("policy".to_owned(), json!("log"))]);
                retention
                    .extend(limits.iter().filter_map(|(name, limit)| Some(((*name).to_owned(), json!((*limit)?)))));
                settings.insert("retention".into(), retention.into());
            }
            (_, true) => {
                let words = "--log-age-ms, --log-bytes and --log-messages go with --retention log";
                return Err(Failure::Usage(words.to_owned()));
            }
        }
        if let Some(text) = &self.durability {
            settings.insert("durability".into(), durability(text)?);
        }
        let mut put = |name: &str, value: Option<Value>| value.map(|value| settings.insert(name.to_owned(), value));
        put("maxMessages", self.max_messages.map(Value::from));
        put("maxBytes", self.max_bytes.map(Value::from));
        put("maxDeliver", self.max_deliver.map(Value::from));
        put("deadLetterExpired", self.dead_letter_expired.map(Value::from));
        put("dedupWindowMs", self.dedup_window_ms.map(Value::from));
        Ok(settings.into())
    }
}

fn durability(text: &str) -> Result<Value, Failure> {
    match text.split_once(':') {
        None if matches!(text, "commit" | "memory") => Ok(json!(text)),
        Some(("interval", ms)) if ms.parse::<u64>().is_ok() => Ok(json!({ "interval": ms.parse::<u64>().ok() })),
        _ => Err(Failure::Usage(format!("--durability {text:?}: write commit, memory, or interval:MS"))),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Groups {
    /// The groups of a stream with their figures.
    Ls {
        /// The stream.
        stream: String,
        /// The server, host:port.
        at: Option<String>,
    },
    /// One group.
    Show {
        /// The stream.
        stream: String,
        /// The group; "" for the default group.
        group: String,
        /// The server, host:port.
        at: Option<String>,
    },
    /// Create a group or change its settings.
    Put(PutGroup),
    /// Delete a group: its cursor is gone, its consumers are closed.
    Delete {
        /// The stream.
        stream: String,
        /// The group; "" for the default group.
        group: String,
        /// The server, host:port.
        at: Option<String>,
    },
}

impl Groups {
    /// The server, if it is the last argument.
    pub(crate) fn at(&self) -> Option<&str> {
        match self {
            Self::Put(put) => put.at.as_deref(),
            Self::Ls { at, .. } | Self::Show { at, .. } | Self::Delete { at, .. } => at.as_deref(),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PutGroup {
    /// The stream.
    pub(crate) stream: String,
    /// The group; "" for the default group.
    pub(crate) group: String,
    /// The server, host:port.
    pub(crate) at: Option<String>,
    /// Where a new group begins: first, new, seq:N, time:RFC3339, last:N.
    #[arg(long)]
    from: Option<String>,
    /// Time until an unacked delivery is redelivered, for consumers that say nothing else.
    #[arg(long, value_name = "MS")]
    ack_wait_ms: Option<u64>,
    /// Deliveries of one message before it goes to the dead letters; 0: for ever.
    #[arg(long, value_name = "N")]
    max_deliver: Option<u32>,
}

impl PutGroup {
    /// The document that asks for it.
    pub(crate) fn settings(&self) -> Value {
        let mut settings = Map::new();
        let mut put = |name: &str, value: Option<Value>| value.map(|value| settings.insert(name.to_owned(), value));
        put("from", self.from.clone().map(Value::from));
        put("ackWaitMs", self.ack_wait_ms.map(Value::from));
        put("maxDeliver", self.max_deliver.map(Value::from));
        settings.into()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// Every stream that has dead letters. This is also what `mkctl dlq` alone does.
    Ls {
        /// The server, host:port.
        at: Option<String>,
    },
    /// Look at dead letters, oldest first: why each was given up, and after how many deliveries.
    Show {
        /// The stream that they came from.
        stream: String,
        /// The server, host:port.
        at: Option<String>,
        /// Letters to show.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
        limit: u64,
        /// The first seq of the dead letters' own stream to show.
        #[arg(long, value_name = "SEQ", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
        from: u64,
    },
    /// Publish dead letters to the stream they came from again, oldest first.
    Redrive {
        /// The stream that they came from.
        stream: String,
        /// The server, host:port.
        at: Option<String>,
        /// At most so many; without it all.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Delete all dead letters of a stream.
    Purge {
        /// The stream that they came from.
        stream: String,
        /// The server, host:port.
        at: Option<String>,
    },
}

impl DeadLetters {
    /// The server, if it is the last argument.
    pub(crate) fn at(&self) -> Option<&str> {
        match self {
            Self::Ls { at } | Self::Show { at, .. } | Self::Redrive { at, .. } | Self::Purge { at, .. } => {
                at.as_deref()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        put: PutStream,
    }

    fn settings(line: &[&str]) -> Result<Value, Failure> {
        Line::try_parse_from(["put", "s"].iter().chain(line)).expect("valid").put.settings()
    }

    #[test]
    fn only_what_is_named_is_asked_for() {
        assert_eq!(settings(&[]), Ok(json!({})));
        assert_eq!(settings(&["--retention", "work"]), Ok(json!({"retention": {"policy": "work"}})));
        assert_eq!(
            settings(&["--retention", "log", "--log-age-ms", "5", "--durability", "interval:20", "--max-deliver", "0"]),
            Ok(json!({
                "retention": {"policy": "log", "maxAgeMs": 5}, "durability": {"interval": 20}, "maxDeliver": 0
            }))
        );
        assert_eq!(
            settings(&["--durability", "memory", "--dead-letter-expired", "false", "--dedup-window-ms", "9"]),
            Ok(json!({"durability": "memory", "deadLetterExpired": false, "dedupWindowMs": 9}))
        );
    }

    #[test]
    fn contradictions_and_unknown_durabilities_are_refused() {
        for line in [
            &["--log-bytes", "5"][..],
            &["--retention", "work", "--log-messages", "5"],
            &["--durability", "always"],
            &["--durability", "interval"],
            &["--durability", "interval:x"],
            &["--durability", "commit:5"],
        ] {
            assert!(matches!(settings(line), Err(Failure::Usage(_))), "{line:?}");
        }
    }
}
