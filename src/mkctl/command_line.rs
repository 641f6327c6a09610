//! What the command line may say.

use crate::address::Server;
use crate::failure::Failure;
use crate::object_commands::{DeadLetters, Groups, Streams};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::time::Duration;

/// Look at, feed and drain a Conduit server from the shell.
///
/// The server is named by the last argument or by --addr; without either it is 127.0.0.1:9087. Either of a server's
/// two ports will do: each serves HTTP and WebSocket.
#[derive(Debug, Parser)]
#[command(name = "mkctl", version, after_help = EXAMPLES, after_long_help = MANUAL)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// What every command takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The server, if no address is the last argument.
    #[arg(long, global = true, value_name = "HOST:PORT", env = "MKCTL_ADDR", default_value = "127.0.0.1:9087")]
    addr: String,
    /// Print for machines: one JSON value a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The token of a server that asks for one. A command line can be read by every user of the machine: prefer the
    /// variable.
    #[arg(long, global = true, value_name = "TOKEN", env = "CONDUIT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The token of the administration: for reload, drain, snapshot, and where --token is not given.
    #[arg(long, global = true, value_name = "TOKEN", env = "CONDUIT_CONTROL_TOKEN", hide_env_values = true)]
    control_token: Option<String>,
    /// Longest wait for a connection or an answer.
    #[arg(long, global = true, value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    timeout_ms: u64,
}

impl Global {
    /// The server that the command means.
    pub(crate) fn server(&self, at: Option<&str>) -> Result<Server, Failure> {
        self.server_with(at, self.token.as_ref().or(self.control_token.as_ref()))
    }

    /// The same for commands of the administration.
    pub(crate) fn administered(&self, at: Option<&str>) -> Result<Server, Failure> {
        self.server_with(at, self.control_token.as_ref().or(self.token.as_ref()))
    }

    fn server_with(&self, at: Option<&str>, token: Option<&String>) -> Result<Server, Failure> {
        let server = Server::parse(at.unwrap_or(&self.addr), Duration::from_millis(self.timeout_ms))?;
        // A variable that is set to nothing is as good as none.
        Ok(Server { token: token.filter(|token| !token.is_empty()).cloned(), ..server })
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Is it up? Exit code 0 when healthy, 1 when draining, 3 when not reachable.
    Health {
        /// The server, host:port.
        at: Option<String>,
    },
    /// Health, traffic and totals on one screen.
    Status {
        /// The server, host:port.
        at: Option<String>,
    },
    /// The versions of this client and of the server.
    Version {
        /// The server, host:port.
        at: Option<String>,
    },
    /// Every figure the server keeps, as JSON or as Prometheus text.
    Metrics {
        /// The server, host:port.
        at: Option<String>,
        /// Prometheus text in place of JSON.
        #[arg(long)]
        prometheus: bool,
    },
    /// Read the configuration again. Exit code 1 when it cannot be used: then the server goes on with what it has.
    Reload {
        /// The server, host:port.
        at: Option<String>,
    },
    /// Let the clients go and end the server.
    Drain {
        /// The server, host:port.
        at: Option<String>,
        /// How long it may take [default: as long as SIGTERM would give it].
        #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
        within_ms: Option<u64>,
        /// Come back when the server has gone.
        #[arg(long)]
        wait: bool,
    },
    /// One table of the server, a row for each thing.
    Snapshot {
        /// Which one.
        #[arg(value_parser = clap::builder::PossibleValuesParser::new(VIEWS))]
        view: String,
        /// The server, host:port.
        at: Option<String>,
    },
    /// Figures of one stream.
    Stats {
        /// The stream.
        stream: String,
        /// The server, host:port.
        at: Option<String>,
    },
    /// Latency histograms, merged and for each shard.
    Histograms {
        /// The server, host:port.
        at: Option<String>,
        /// hgrm: percentile table; hlog: HdrHistogram log; json: percentiles.
        #[arg(long, value_enum, default_value_t = HistogramFormat::Hgrm)]
        format: HistogramFormat,
    },
    /// Publish a message, or one for each line of standard input.
    Pub(Pub),
    /// Consume messages: print each and ack it.
    Sub(Sub),
    /// Show the next messages of a stream and give them back.
    Tail(Tail),
    /// Streams, rates, latencies and consumers, refreshed.
    Top(Top),
    /// Streams as objects: list, show, create, change, delete, empty.
    Streams {
        #[command(subcommand)]
        action: Option<Streams>,
    },
    /// The groups of a stream: list, show, create, change, delete.
    Groups {
        #[command(subcommand)]
        action: Groups,
    },
    /// Dead letters: messages that were given up. List, show, publish again, delete.
    Dlq {
        #[command(subcommand)]
        action: Option<DeadLetters>,
    },
}

/// The views of a snapshot.
const VIEWS: [&str; 6] = ["streams", "consumers", "groups", "tenants", "shards", "limits"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HistogramFormat {
    Hgrm,
    Hlog,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Codec {
    Json,
    Msgpack,
}

#[derive(Debug, Args)]
pub(crate) struct Pub {
    /// The stream.
    pub(crate) stream: String,
    /// The envelope, a JSON object. Without it (or with `-`) every line of standard input is one.
    #[arg(value_name = "JSON")]
    envelope: Option<String>,
    /// The server, host:port.
    at: Option<String>,
    /// Publish the envelope this many times.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// How messages travel. JSON goes in batches; MessagePack one request a message.
    #[arg(long, value_enum, default_value_t = Codec::Json)]
    pub(crate) codec: Codec,
    /// Deliver not before so long from now.
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// Do not deliver after so long from now: the message expires.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    ttl_ms: Option<u64>,
    /// 0 (usual) to 3: more urgent messages of a stream go first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=3))]
    priority: Option<u8>,
    /// A repeat of this id within the stream's window stores nothing and gets the first answer.
    #[arg(long, value_name = "ID")]
    dedup_id: Option<String>,
}

impl Pub {
    /// What is asked for beside the envelope, as members of the request: `,"delayMs":5` or nothing.
    pub(crate) fn options(&self) -> Result<String, Failure> {
        if self.dedup_id.is_some() && (self.count > 1 || self.envelope().is_none()) {
            let words = "--dedup-id names one message: give its envelope on the command line, without --count";
            return Err(Failure::Usage(words.to_owned()));
        }
        let mut options = String::new();
        let mut put = |name: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                options += &format!(",\"{name}\":{value}");
            }
        };
        put("delayMs", self.delay_ms.map(Into::into));
        put("ttlMs", self.ttl_ms.map(Into::into));
        put("priority", self.priority.map(Into::into));
        put("dedupId", self.dedup_id.clone().map(Into::into));
        Ok(options)
    }

    /// The envelope, unless standard input holds the envelopes. An address is not an object, so it cannot be mistaken.
    pub(crate) fn envelope(&self) -> Option<&str> {
        self.envelope.as_deref().filter(|text| *text != "-" && !self.is_address(text))
    }

    /// The address, also where the envelope was left out.
    pub(crate) fn at(&self) -> Option<&str> {
        self.at.as_deref().or_else(|| self.envelope.as_deref().filter(|text| self.is_address(text)))
    }

    fn is_address(&self, text: &str) -> bool {
        let looks_like_json = text.trim_start().starts_with(['{', '[', '"']);
        self.at.is_none()
            && text != "-"
            && !looks_like_json
            && Server::parse(text, Duration::ZERO).is_ok()
            && text.contains(':')
    }
}

#[derive(Debug, Args)]
pub(crate) struct Sub {
    /// The stream.
    pub(crate) stream: String,
    /// The server, host:port.
    pub(crate) at: Option<String>,
    /// Stop after this many messages; not one more is taken.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Messages that may be on their way at once.
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) credit: u64,
    /// Do not ack: the messages go back to the stream when this command ends.
    #[arg(long)]
    pub(crate) no_ack: bool,
    /// How messages travel. They are printed as JSON either way.
    #[arg(long, value_enum, default_value_t = Codec::Json)]
    pub(crate) codec: Codec,
    /// Ack deadline of the subscription.
    #[arg(long, value_name = "MS")]
    pub(crate) ack_wait_ms: Option<u64>,
    /// Stop after this long without a message. Without it, wait for ever.
    #[arg(long, value_name = "MS")]
    pub(crate) idle_ms: Option<u64>,
    /// The group to join; it is created when it does not exist [default: the default group].
    #[arg(long)]
    group: Option<String>,
    /// Where a new group begins: first, new, seq:N, time:RFC3339, last:N.
    #[arg(long)]
    from: Option<String>,
    /// Read for this command alone: nothing is taken from anybody, and no cursor is kept.
    #[arg(long, conflicts_with = "group")]
    ephemeral: bool,
    /// Print first where the stream stands and where the group goes on.
    #[arg(long)]
    hello: bool,
    /// Deliveries of one message before it goes to the dead letters, for a new group; 0: for ever.
    #[arg(long, value_name = "N")]
    max_deliver: Option<u32>,
}

impl Sub {
    /// What is asked for beside stream and codec, as parameters of the path.
    pub(crate) fn parameters(&self) -> String {
        let mut parameters = String::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                parameters += &format!("&{name}={}", crate::address::query_value(&value));
            }
        };
        put("ackWaitMs", self.ack_wait_ms.map(|ms| ms.to_string()));
        put("group", self.group.clone());
        put("from", self.from.clone());
        put("ephemeral", self.ephemeral.then(|| "1".to_owned()));
        put("hello", self.hello.then(|| "1".to_owned()));
        put("maxDeliver", self.max_deliver.map(|count| count.to_string()));
        parameters
    }
}

#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// The stream.
    pub(crate) stream: String,
    /// The server, host:port.
    pub(crate) at: Option<String>,
    /// Messages to show.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) count: u64,
    /// Stop after this long without a message.
    #[arg(long, value_name = "MS", default_value_t = 1_000)]
    pub(crate) idle_ms: u64,
    /// Wait until `--count` messages have come, however long it takes.
    #[arg(long)]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// The server, host:port.
    pub(crate) at: Option<String>,
    /// Time between refreshes.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    pub(crate) interval_ms: u64,
    /// Print one table and end; also what happens when standard output is not a terminal.
    #[arg(long)]
    pub(crate) once: bool,
    /// What the streams are sorted by, largest first.
    #[arg(long, value_enum, default_value_t = Order::Rate)]
    pub(crate) sort: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// Messages published a second.
    Rate,
    /// Backlog.
    Depth,
    /// 99th percentile of publish to deliver.
    Latency,
    /// Name, ascending.
    Name,
}

const EXAMPLES: &str = "\
Examples:
  mkctl status
  mkctl metrics 10.0.0.5:9087
  mkctl pub agents/demo/inbox '{\"text\":\"hello\"}'
  mkctl sub agents/demo/inbox --count 1
  mkctl top

Exit codes: 0 done; 1 the server said no or is not healthy; 2 usage; 3 cannot connect";

const MANUAL: &str = "\
Examples:
  mkctl status                                   one look at a server
  mkctl metrics 10.0.0.5:9087 | jq .streams      every figure, as JSON
  mkctl pub agents/demo/inbox '{\"text\":\"hello\"}' one message
  mkctl pub agents/demo/inbox < messages.ndjson  one message a line
  mkctl sub agents/demo/inbox --count 1 --json   take and ack one message
  mkctl tail agents/demo/inbox                   show ten messages, give them back
  mkctl top --sort depth                         the longest backlogs
  mkctl pub jobs '{\"n\":1}' --delay-ms 60000      not before a minute from now
  mkctl sub jobs --group audit --from first      a group of its own, from the start
  mkctl streams put jobs --durability commit     a stream and its settings
  mkctl dlq show jobs                            what was given up, and why
  mkctl dlq redrive jobs                         once more
  mkctl histograms --format hlog > latency.hlog  for HdrHistogram tools
  mkctl reload                                   read the configuration again
  mkctl snapshot consumers                       who reads what
  mkctl drain --wait                             let the clients go, end the server
  until mkctl health > /dev/null 2>&1; do sleep 1; done

Exit codes:
  0  done; for health: healthy
  1  the server said no, is draining, or a message was refused
  2  the command line could not be understood
  3  there is no server at this address

Environment:
  MKCTL_ADDR             the server, as --addr
  CONDUIT_TOKEN          as --token
  CONDUIT_CONTROL_TOKEN  as --control-token

tail and sub --no-ack take messages from the stream while they show them: other
consumers do not get them meanwhile, and each message's attempt count rises.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_views_are_those_of_the_server() {
        assert_eq!(VIEWS, conduit_protocol::View::ALL.map(conduit_protocol::View::name));
    }

    #[test]
    fn each_command_takes_the_token_that_fits_it_better() {
        let tokens = |line: &[&str]| {
            let line = ["mkctl", "health"].iter().chain(line);
            let global = CommandLine::try_parse_from(line).expect("valid").global;
            let of = |server: Result<Server, Failure>| server.expect("an address").token.unwrap_or_default();
            (of(global.server(None)), of(global.administered(None)))
        };
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(tokens(&["--token", "t"]), pair("t", "t"));
        assert_eq!(tokens(&["--control-token", "c"]), pair("c", "c"));
        assert_eq!(tokens(&["--token", "t", "--control-token", "c"]), pair("t", "c"));
        assert_eq!(tokens(&["--token", "", "--control-token", ""]), pair("", ""));
    }

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    fn publish(line: &[&str]) -> (Option<String>, Option<String>) {
        let line = ["mkctl", "pub", "s"].iter().chain(line);
        let Command::Pub(asked) = CommandLine::try_parse_from(line).expect("valid").command else { panic!("pub") };
        (asked.envelope().map(str::to_owned), asked.at().map(str::to_owned))
    }

    fn parsed(line: &[&str]) -> Command {
        CommandLine::try_parse_from(["mkctl"].iter().chain(line)).expect("valid").command
    }

    #[test]
    fn what_a_message_asks_for_goes_beside_its_envelope() {
        let options = |line: &[&str]| {
            let Command::Pub(asked) = parsed(line) else { panic!("pub") };
            asked.options()
        };
        assert_eq!(options(&["pub", "s", "{}"]), Ok(String::new()));
        let all = ["pub", "s", "{}", "--delay-ms", "5", "--ttl-ms", "6", "--priority", "3", "--dedup-id", "a\"b"];
        assert_eq!(options(&all), Ok(r#","delayMs":5,"ttlMs":6,"priority":3,"dedupId":"a\"b""#.to_owned()));
        for several in [&["pub", "s", "--dedup-id", "a"][..], &["pub", "s", "{}", "--count", "2", "--dedup-id", "a"]] {
            assert!(matches!(options(several), Err(Failure::Usage(_))), "{several:?}");
        }
    }

    #[test]
    fn what_a_subscription_asks_for_goes_into_its_path() {
        let parameters = |line: &[&str]| {
            let Command::Sub(asked) = parsed(line) else { panic!("sub") };
            asked.parameters()
        };
        assert_eq!(parameters(&["sub", "s"]), "");
        let all =
            ["sub", "s", "--group", "a b", "--from", "time:2026-01-01T00:00:00+01:00", "--hello", "--max-deliver", "0"];
        assert_eq!(parameters(&all), "&group=a%20b&from=time%3A2026-01-01T00%3A00%3A00%2B01%3A00&hello=1&maxDeliver=0");
        assert_eq!(parameters(&["sub", "s", "--ephemeral", "--ack-wait-ms", "9"]), "&ackWaitMs=9&ephemeral=1");
        assert!(CommandLine::try_parse_from(["mkctl", "sub", "s", "--ephemeral", "--group", "g"]).is_err());
    }

    #[test]
    fn an_address_without_an_envelope_is_still_an_address() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(publish(&[]), (None, None));
        assert_eq!(publish(&["{}"]), (some("{}"), None));
        assert_eq!(publish(&["{}", "h:1"]), (some("{}"), some("h:1")));
        assert_eq!(publish(&["h:1"]), (None, some("h:1")));
        assert_eq!(publish(&["-", "h:1"]), (None, some("h:1")));
        assert_eq!(publish(&["{\"a\":1}"]), (some("{\"a\":1}"), None));
        assert_eq!(publish(&["not json"]), (some("not json"), None));
    }
}
