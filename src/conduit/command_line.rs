//! What the command line may say.

use super::config_command::ConfigAction;
use super::log_command::LogAction;
use super::rules_command::RulesAction;
use clap::{Args, Parser, Subcommand};
use conduit_config::Flags;

/// What was asked for.
pub(crate) enum Asked {
    /// To run the server, or to check its settings.
    Serve(AskedToServe),
    /// To look at logs.
    Log(LogAction),
    /// To look at rules.
    Rules(RulesAction),
    /// To look at the configuration.
    Config(ConfigAction),
}

/// How the server is to run.
pub(crate) struct AskedToServe {
    /// Print the configuration and stop.
    pub(crate) check_config: bool,
    /// The settings given as flags.
    pub(crate) flags: Flags,
}

/// Reads the command line; on a mistake, `--help` or `--version` it prints and ends the process.
pub(crate) fn read() -> Asked {
    let CommandLine { action, serve } = CommandLine::parse();
    let serve = match action {
        Some(Action::Log { action }) => return Asked::Log(action),
        Some(Action::Rules { action }) => return Asked::Rules(action),
        Some(Action::Config { action }) => return Asked::Config(action),
        Some(Action::Serve(serve)) => serve,
        None => serve,
    };
    Asked::Serve(AskedToServe { check_config: serve.check_config, flags: serve.flags })
}

/// A message broker for one machine, spoken to over plain HTTP and WebSocket.
///
/// Producers POST messages to named streams (/v1/enqueue) or publish them over WebSocket (/v1/publish). Consumers
/// subscribe over WebSocket (/v1/subscribe?stream=NAME), grant credit, get at most that many messages, and ack or nack
/// each; what is not acked in time, or whose consumer is gone, is delivered again. Every CPU core runs a shard of its
/// own with its own sockets and streams.
///
/// Every setting can be given as a flag, as an environment variable, or in a YAML file (--config); a flag wins over a
/// variable, a variable over the file. --help lists all of them, -h the usual ones.
#[derive(Parser)]
#[command(name = "conduit", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES, after_long_help = MANUAL)]
struct CommandLine {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Action {
    /// Run the server. This is also what `conduit` without a subcommand does.
    #[command(after_help = EXAMPLES, after_long_help = MANUAL)]
    Serve(Serve),
    /// Look at the logs of a data directory; changes nothing.
    #[command(after_help = LOG_EXAMPLES)]
    Log {
        #[command(subcommand)]
        action: LogAction,
    },
    /// Look at the settings: their values and where these came from, the form of the file, the variables.
    #[command(after_help = CONFIG_EXAMPLES)]
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Look at a rules file, or try it on cases; needs no server.
    #[command(after_help = RULES_EXAMPLES)]
    Rules {
        #[command(subcommand)]
        action: RulesAction,
    },
}

#[derive(Args)]
struct Serve {
    /// Check every setting, print each with its value and where it came from, and exit: 0 when valid, else 78.
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    flags: Flags,
}

const CONFIG_EXAMPLES: &str = "\
Examples:
  conduit config show --origin             every setting, its value, and where it came from
  conduit config show --config FILE --json the same for machines
  conduit config sample >conduit.yaml      a file to begin with
  conduit config schema >conduit.schema.json
  conduit config env                       every environment variable

Exit codes:
  0   printed
  2   the command line could not be understood
  78  the configuration cannot be used; standard error names every problem";

const LOG_EXAMPLES: &str = "\
Examples:
  conduit log inspect DIR                  segments, records and damage of every shard
  conduit log inspect DIR --shard 0 --records --json | jq .
  conduit log verify DIR                   exit code 0: every record is as it was written

Exit codes:
  0  done; for verify: nothing is damaged
  1  verify found damage
  2  the command line, or the directory, could not be read";

const RULES_EXAMPLES: &str = "\
Examples:
  conduit rules check config/rules.yaml          what its rules are, and everything that is wrong
  conduit rules check config/rules.yaml --json | jq '.rules[] | .id'
  conduit rules test config/rules.yaml           the cases in it, and in config/rules.test.yaml
  conduit rules test rules.yaml --env REGION     rules may use $env.REGION

Exit codes:
  0   the file can be used; for test: every case comes out as it says
  1   a case comes out otherwise
  78  the file cannot be used; every problem is told with its line and a remedy";

const EXAMPLES: &str = "\
Examples:
  conduit                                  127.0.0.1, ports 9087 and 9088, a shard per core
  conduit --shards 4 --bind 0.0.0.0        four shards, reachable from other machines
  conduit --cpus 0,2-4                     four shards, pinned to CPUs 0, 2, 3 and 4
  conduit --data-dir /var/lib/conduit      streams survive restarts, crashes and power cuts
  CONDUIT_HTTP_PORT=8000 conduit           the same settings as environment variables
  conduit --config conduit.yaml            the same settings in a file
  conduit --shards 8 --check-config        show what would run, and why, without running it";

const MANUAL: &str = "\
Examples:
  conduit                                  127.0.0.1, ports 9087 and 9088, a shard per core
  conduit --shards 4 --bind 0.0.0.0        four shards, reachable from other machines
  conduit --cpus 0,2-4                     four shards, pinned to CPUs 0, 2, 3 and 4
  conduit --data-dir /var/lib/conduit      streams survive restarts, crashes and power cuts
  CONDUIT_HTTP_PORT=8000 conduit           the same settings as environment variables
  conduit --config conduit.yaml            the same settings in a file
  conduit --shards 8 --check-config        show what would run, and why, without running it
  conduit log verify /var/lib/conduit      check every record on the disk
  conduit --http-port 0 --ws-port 0        any free ports; the output names them

Output:
  Standard output gets the addresses, the memory bound and three commands to
  try, once, when the server is ready. Diagnostics go to standard error. No
  message is ever logged.

Signals:
  SIGTERM, SIGINT  take no new work, answer /health with 503, tell WebSockets
                   and close them one after the other (1001 when nothing is in
                   flight, else 1012 in the end), exit as soon as nobody is left
                   and at the latest after --shutdown-timeout-ms. A second one
                   ends the server at once.
  SIGHUP           read the configuration files again, as `mkctl reload` does:
                   tokens, tenants, rules, limits and log levels change, no
                   connection is lost; what needs a restart is named. The log
                   files are opened anew.
  SIGUSR1          open the log files anew.

Exit codes:
  0     stopped as asked
  2     the command line could not be understood
  65    the data directory is of another version, or a part of it is missing
  69    a port or an address cannot be bound
  71    the system does not allow it: io_uring, locked memory, threads
  73    the data directory cannot be made or written to
  74    a log cannot be read or written, also one that failed while the server ran
  75    another process uses the data directory
  78    the configuration cannot be used; standard error names every problem
        and its remedy
  130   told to stop a second time
  134   aborted by a bug; standard error has the panic: please report it

Without --data-dir streams live in memory: a restart loses them.

See also: mkctl --help, docs/config.md, docs/operations.md.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn settings_may_stand_with_and_without_the_subcommand() {
        for line in [
            &["conduit", "--shards", "3", "--check-config"][..],
            &["conduit", "serve", "--shards", "3", "--check-config"],
        ] {
            let parsed = CommandLine::try_parse_from(line).expect("valid");
            let serve = match parsed.action {
                Some(Action::Serve(serve)) => serve,
                _ => parsed.serve,
            };
            assert!(serve.check_config);
            let resolved = conduit_config::resolve(&serve.flags, [], 8).expect("valid");
            assert_eq!(resolved.config.shards, 3);
        }
    }

    #[test]
    fn long_help_names_every_setting_and_its_variable() {
        let help = CommandLine::command().render_long_help().to_string();
        for setting in conduit_config::table::SETTINGS {
            assert!(help.contains(&format!("--{} ", setting.flag)), "--{} is not in the help", setting.flag);
            assert!(help.contains(setting.env), "{} is not in the help", setting.env);
        }
    }
}
