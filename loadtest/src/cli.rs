//! The command line: options, and which command they go to.

use crate::floors::{self, FloorOptions};
use crate::idle::{self, IdleOptions};
use crate::plan::{AckStyle, ConsumeWire, Plan, PublishWire, Refill, Target};
use crate::progress::Display;
use crate::reference::{self, ReferenceOptions};
use crate::report::{Report, files, text};
use crate::run::{RunFault, run};
use crate::simulate::{self, SimulateOptions};
use crate::survival::crash::{self, CrashOptions};
use crate::survival::diskfault::{self, DiskfaultOptions};
use crate::survival::powercut::{self, PowercutOptions};
use crate::sweep::{self, SweepOptions};
use crate::wire::Codec;
use clap::{Args, Parser, Subcommand};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How a command ended, as an exit code that scripts can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything was as it should be: 0.
    Passed,
    /// Messages were lost, doubled or reordered, requests failed, or a floor was missed under `--strict`: 1.
    Failed,
    /// The options contradict each other, or the system refused something: 2.
    Usage,
    /// No connection: 3.
    NoConnection,
    /// Nothing was wrong, and nothing follows from it: a trial did not do what it was to do. 3 too.
    Void,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Passed => 0,
            Ending::Failed => 1,
            Ending::Usage => 2,
            Ending::NoConnection | Ending::Void => 3,
        })
    }
}

/// Loads a Conduit server, checks every message, and reports what it saw.
///
/// Exit codes: 0 all is well, 1 messages were lost, doubled or reordered or requests failed, 2 wrong usage, 3 no connection,
/// or a trial that proves nothing.
#[derive(Debug, Parser)]
#[command(name = "conduit-loadtest", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Publish and consume at full speed (closed loop) or at a set rate (open loop).
    Run(Box<RunCommand>),
    /// Open many idle subscriptions, see what each costs the server, and check that all are alive.
    Idle(IdleOptions),
    /// Repeat a run while one parameter takes one value after another; print, write and plot the results.
    Sweep(Box<SweepOptions>),
    /// Measure a reference server in the same way: messages per second of its CPU.
    Yardstick(ReferenceOptions),
    /// Measure every floor against its reference, in interleaved rounds, and print the ratios.
    Floors(FloorOptions),
    /// Kill a server under load again and again, and check that it has kept everything that it acknowledged.
    Crash(CrashOptions),
    /// End the file system under a loaded server again and again, as a power cut would, and check the same. Needs root.
    Powercut(PowercutOptions),
    /// Fill and end the disk of a server, and check what it says, does and keeps. Needs root.
    Diskfault(DiskfaultOptions),
    /// Run whole servers in one thread each, on virtual time, from seeds, with everything going wrong that can.
    Simulate(SimulateOptions),
    /// The smallest possible relay that speaks enough of the wire to be measured. Started by `yardstick relay`.
    #[command(hide = true)]
    RelayServer {
        /// Loopback port to listen on.
        #[arg(long)]
        port: u16,
    },
}

#[derive(Debug, Args)]
struct RunCommand {
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    output: OutputOptions,
    /// Where HTTP goes.
    #[arg(long, default_value = "http://127.0.0.1:9087")]
    url: String,
    /// Where WebSocket goes [default: the same as --url].
    #[arg(long)]
    ws_url: Option<String>,
    /// The token that lets in, where the server asks for one.
    #[arg(long, env = "CONDUIT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The server's process: adds its CPU per message and its memory to the report.
    #[arg(long)]
    server_pid: Option<u32>,
}

/// What a run does; shared by `run` and `sweep`.
#[derive(Debug, Clone, Args)]
pub struct LoadOptions {
    /// How messages are published.
    #[arg(long, value_enum, default_value = "ws")]
    publish: PublishWire,
    /// How messages are consumed.
    #[arg(long, value_enum, default_value = "ws")]
    consume: ConsumeWire,
    /// Producers, each with its own connection.
    #[arg(long, default_value_t = 1)]
    producers: u32,
    /// Consumers, each with its own connection [default: one per stream].
    #[arg(long)]
    consumers: Option<u32>,
    /// Streams. More producers than streams share them; fewer take turns over them.
    #[arg(long, default_value_t = 1)]
    streams: u32,
    /// Stream names are this, a slash and a number [default: loadtest/ and a number that differs from run to run].
    #[arg(long)]
    stream_prefix: Option<String>,
    /// Bytes of each message's payload string (the envelope around it adds about 55).
    #[arg(long, default_value_t = 128)]
    payload_bytes: usize,
    /// How producers and consumers encode.
    #[arg(long, value_enum, default_value = "json")]
    codec: Codec,
    /// How consumers encode, when it differs [default: as --codec].
    #[arg(long, value_enum)]
    consume_codec: Option<Codec>,
    /// Each consumer's credit window, in messages.
    #[arg(long, default_value_t = 4_096)]
    credit: u32,
    /// How spent credit comes back.
    #[arg(long, value_enum, default_value = "ack")]
    refill: Refill,
    /// How deliveries are acked.
    #[arg(long, value_enum, default_value = "each")]
    ack: AckStyle,
    /// Closed loop: messages of one producer on their way, from publish to delivery (to answer, with --confirm).
    #[arg(long, default_value_t = 2_048)]
    inflight: u32,
    /// Requests of one HTTP connection on their way.
    #[arg(long, default_value_t = 1)]
    pipeline: u32,
    /// Messages of one request, with --publish http-batch.
    #[arg(long, default_value_t = 100)]
    batch: u32,
    /// WebSocket producers ask for an answer to each message.
    #[arg(long)]
    confirm: bool,
    /// Answers must promise that the message is on the disk; WebSocket producers then ask for answers (--confirm).
    #[arg(long)]
    durable: bool,
    /// The group that consumers join; it is created when it does not exist [default: the default group].
    #[arg(long)]
    group: Option<String>,
    /// Open loop: messages a second, all producers together. Latency counts from the intended send time.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds measured [default: 10, or until --messages are done].
    #[arg(long)]
    duration: Option<f64>,
    /// Stop after so many messages, all producers and the warm-up together.
    #[arg(long)]
    messages: Option<u64>,
    /// Seconds of load before the measured window.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Seconds without progress after which what has not come counts as lost.
    #[arg(long, default_value_t = 5.0)]
    drain: f64,
    /// Milliseconds before a message goes again after Backpressure.
    #[arg(long, default_value_t = 10)]
    retry_ms: u64,
    /// Generator threads. All consumers of a stream share one.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// CPUs that the threads are pinned to, such as 1 or 2,3.
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Never sleep, in the closed loop too.
    #[arg(long, conflicts_with = "sleep")]
    spin: bool,
    /// Sleep between messages in the open loop too; adds up to a millisecond to latencies.
    #[arg(long)]
    sleep: bool,
}

#[derive(Debug, Args)]
struct OutputOptions {
    /// Write report.json, report.html and the histograms (.hlog, .hgrm) into this folder.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

impl LoadOptions {
    /// The plan of these options against a server.
    ///
    /// # Errors
    /// A sentence naming the option that is wrong.
    pub fn plan(&self, http: Target, ws: Target, server_pid: Option<u32>) -> Result<Plan, String> {
        let seconds = |name: &str, seconds: f64| {
            Duration::try_from_secs_f64(seconds).map_err(|error| format!("--{name} {seconds}: {error}"))
        };
        let fresh = Plan::new(&http);
        let consumers = match self.consume {
            ConsumeWire::None => 0,
            _ => self.consumers.unwrap_or(self.streams),
        };
        let duration = match (self.duration, self.messages) {
            (Some(duration), _) => Some(seconds("duration", duration)?),
            (None, Some(_)) => None,
            (None, None) => fresh.duration,
        };
        let plan = Plan {
            http,
            ws,
            publish: self.publish,
            consume: self.consume,
            producers: self.producers,
            consumers,
            streams: self.streams,
            stream_prefix: self.stream_prefix.clone().unwrap_or(fresh.stream_prefix),
            payload_bytes: self.payload_bytes,
            codec: self.codec,
            consume_codec: self.consume_codec.unwrap_or(self.codec),
            credit: self.credit,
            refill: self.refill,
            ack: self.ack,
            inflight: self.inflight,
            pipeline: self.pipeline,
            batch: self.batch,
            confirm: self.confirm || self.durable,
            durable: self.durable,
            group: self.group.clone(),
            rate: self.rate,
            duration,
            messages: self.messages,
            // With a set number of messages nothing is held back for a warm-up unless it was asked for.
            warmup: seconds("warmup", self.warmup)?,
            drain: seconds("drain", self.drain)?,
            retry: Duration::from_millis(self.retry_ms),
            threads: self.threads,
            cpus: self.cpus.clone(),
            spin: self.spin || (self.rate.is_some() && !self.sleep),
            server_pid,
            run: fresh.run,
        };
        plan.check().map(|()| plan)
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli.command) {
        Ok(ending) => ending.into(),
        Err(error) => {
            // Nobody reads standard error when this fails.
            let _ = writeln!(std::io::stderr(), "conduit-loadtest: {error:#}");
            ending_of(&error).into()
        }
    }
}

fn ending_of(error: &anyhow::Error) -> Ending {
    match error.downcast_ref::<RunFault>() {
        Some(RunFault::Connect(_)) => Ending::NoConnection,
        _ => Ending::Usage,
    }
}

/// Runs one command given as words, such as `crash --kills 20`, and says how it ended. Its results go to standard output.
///
/// # Errors
/// When the words are no command, and whatever keeps the command from beginning.
pub fn execute_words(words: &[&str]) -> anyhow::Result<Ending> {
    let cli = Cli::try_parse_from(std::iter::once(&"conduit-loadtest").chain(words))?;
    execute_task(cli.command)
}

fn execute(task: Task) -> anyhow::Result<Ending> {
    crate::run::end_early_on_signal()?;
    execute_task(task)
}

fn execute_task(task: Task) -> anyhow::Result<Ending> {
    match task {
        Task::Run(command) => run_once(&command),
        Task::Idle(options) => idle::execute(&options),
        Task::Sweep(options) => sweep::execute(&options),
        Task::Yardstick(options) => reference::execute(&options),
        Task::Floors(options) => floors::execute(&options),
        Task::Crash(options) => crash::execute(&options),
        Task::Powercut(options) => powercut::execute(&options),
        Task::Diskfault(options) => diskfault::execute(&options),
        Task::Simulate(options) => simulate::execute(&options),
        Task::RelayServer { port } => {
            reference::relay::serve(port, &crate::run::interruption())?;
            Ok(Ending::Passed)
        }
    }
}

fn run_once(command: &RunCommand) -> anyhow::Result<Ending> {
    let http = Target::parse(&command.url).map_err(anyhow::Error::msg)?;
    let ws = match &command.ws_url {
        Some(url) => Target::parse(url).map_err(anyhow::Error::msg)?,
        None => http.clone(),
    };
    let (http, ws) = (http.with_token(command.token.clone()), ws.with_token(command.token.clone()));
    let plan = command.load.plan(http, ws, command.server_pid).map_err(anyhow::Error::msg)?;
    let mut display = if command.output.quiet { Display::quiet() } else { Display::new() };
    let report = run(&plan, &mut display)?;
    display.finish();
    if let Some(folder) = &command.output.report {
        files::write_all(&report, folder)?;
    }
    if command.output.json {
        print(&(serde_json::to_string_pretty(&report)? + "\n"));
    } else {
        print(&text::summary(&report));
    }
    Ok(ending_of_report(&report))
}

/// Passed or failed, by the report's verdict.
pub(crate) const fn ending_of_report(report: &Report) -> Ending {
    if report.verdict.passed { Ending::Passed } else { Ending::Failed }
}

/// Writes to standard output.
pub(crate) fn print(text: &str) {
    // A reader that has gone away (a closed pipe) needs no text.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_options_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_plain_command_is_a_valid_plan() {
        let cli = Cli::try_parse_from(["conduit-loadtest", "run"]).expect("it parses");
        let Task::Run(command) = cli.command else { panic!("run is run") };
        let target = Target::loopback(9087);
        let plan = command.load.plan(target.clone(), target, None).expect("it is valid");
        assert_eq!((plan.consumers, plan.spin), (1, false));
    }

    #[test]
    fn contradictions_are_refused() {
        for words in [
            vec!["--streams", "3", "--consumers", "2"],
            vec!["--publish", "http-batch", "--codec", "msgpack"],
            vec!["--ack", "upto", "--consumers", "2"],
            vec!["--warmup", "-1"],
        ] {
            let all = ["conduit-loadtest", "run"].into_iter().chain(words.clone());
            let Ok(cli) = Cli::try_parse_from(all) else { continue };
            let Task::Run(command) = cli.command else { panic!("run is run") };
            let target = Target::loopback(9087);
            assert!(command.load.plan(target.clone(), target, None).is_err(), "{words:?}");
        }
    }
}
