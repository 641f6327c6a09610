//! The same run again and again while one parameter changes: how an operator picks, say, a shard count.

use crate::cli::{Ending, LoadOptions, print};
use crate::plan::{Plan, Target};
use crate::process::{Running, free_port};
use crate::progress::Display;
use crate::report::Report;
use crate::report::plots::{Axes, Line, document, plot};
use crate::report::text::{count_text, duration_text, rate_text};
use crate::run::{RunFault, run};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What changes from run to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Parameter {
    /// The server's `--shards`; the server is started anew for each value.
    Shards,
    /// Producers' connections.
    Connections,
    /// Streams, with at least one consumer each.
    Streams,
    /// The open loop's rate.
    Rate,
    /// Consumers.
    Consumers,
}

/// Options of `conduit-loadtest sweep`.
#[derive(Debug, Args)]
pub struct SweepOptions {
    /// What changes.
    #[arg(long, value_enum)]
    param: Parameter,
    /// Its values, such as 1,2,4.
    #[arg(long, value_delimiter = ',', required = true)]
    values: Vec<f64>,
    /// Start this server anew for each value (needed for --param shards).
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// Shards of a server started here, when they are not what changes.
    #[arg(long, default_value_t = 1)]
    shards: u32,
    /// CPUs of a server started here.
    #[arg(long, value_delimiter = ',')]
    server_cpus: Vec<usize>,
    /// Where the server is, when none is started here.
    #[arg(long, default_value = "http://127.0.0.1:9087")]
    url: String,
    /// The server's process, when none is started here.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Write sweep.csv, sweep.json and sweep.html into this folder.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Print the rows as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    load: LoadOptions,
}

/// One value's result. Times are nanoseconds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    value: f64,
    passed: bool,
    messages_per_s: f64,
    messages_per_cpu_second: Option<f64>,
    server_core_share: Option<f64>,
    p50_ns: Option<u64>,
    p99_ns: Option<u64>,
    server_rss_bytes: Option<u64>,
    backpressure: u64,
}

/// Runs the command.
///
/// # Errors
/// When a server cannot be started or reached, or a value makes no valid plan.
pub fn execute(options: &SweepOptions) -> anyhow::Result<Ending> {
    if options.param == Parameter::Shards && options.server_bin.is_none() {
        anyhow::bail!("--param shards starts the server itself: say where it is with --server-bin");
    }
    let mut rows = Vec::new();
    for value in &options.values {
        let report = run_value(options, *value)?;
        if !report.verdict.passed {
            print(&crate::report::text::summary(&report));
        }
        rows.push(Row::of(*value, &report));
    }
    let name = options.param.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let table = table(&name, &rows);
    if let Some(folder) = &options.report {
        write_files(folder, &name, &rows, &table)?;
    }
    print(&if options.json { serde_json::to_string_pretty(&rows)? + "\n" } else { table });
    Ok(if rows.iter().all(|row| row.passed) { Ending::Passed } else { Ending::Failed })
}

fn run_value(options: &SweepOptions, value: f64) -> anyhow::Result<Report> {
    let shards = if options.param == Parameter::Shards { value as u32 } else { options.shards };
    let mut server = match &options.server_bin {
        Some(binary) => Some(Server::start(binary, shards, &options.server_cpus)?),
        None => None,
    };
    let target = match &server {
        Some(server) => server.target.clone(),
        None => Target::parse(&options.url).map_err(anyhow::Error::msg)?,
    };
    let pid = server.as_ref().map(Server::pid).or(options.server_pid);
    let mut plan = options.load.plan(target.clone(), target, pid).map_err(anyhow::Error::msg)?;
    apply(&mut plan, options.param, value);
    let report = run(&plan, &mut Display::new())?;
    if let Some(server) = &mut server {
        server.stop();
    }
    Ok(report)
}

fn apply(plan: &mut Plan, parameter: Parameter, value: f64) {
    match parameter {
        Parameter::Shards => {}
        Parameter::Connections => plan.producers = value as u32,
        Parameter::Streams => plan.streams = value as u32,
        Parameter::Consumers => plan.consumers = value as u32,
        Parameter::Rate => (plan.rate, plan.spin) = (Some(value), true),
    }
    if plan.consume != crate::plan::ConsumeWire::None {
        plan.consumers = plan.consumers.max(plan.streams);
    }
}

/// A Conduit server of ours on a free port.
#[derive(Debug)]
pub(crate) struct Server {
    running: Running,
    pub(crate) target: Target,
}

impl Server {
    /// Starts `binary` and waits for its `/health`.
    pub(crate) fn start(binary: &Path, shards: u32, cpus: &[usize]) -> anyhow::Result<Self> {
        Self::start_in(binary, shards, cpus, None)
    }

    /// The same with a data directory: its streams are durable.
    pub(crate) fn start_in(
        binary: &Path,
        shards: u32,
        cpus: &[usize],
        data_dir: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let (http, ws) = (free_port()?, free_port()?);
        let mut command = Command::new(binary);
        command.args(["--shards", &shards.to_string()]);
        command.args(["--http-port", &http.to_string(), "--ws-port", &ws.to_string()]);
        if let Some(data_dir) = data_dir {
            command.arg("--data-dir").arg(data_dir);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Running::start(command, cpus)
            .map_err(|error| anyhow::anyhow!("cannot start {}: {error}", binary.display()))?;
        let target = Target::loopback(http);
        running.wait_for_port(http).map_err(|error| anyhow::anyhow!("{}: {error}", binary.display()))?;
        wait_for_health(&target)?;
        Ok(Self { running, target })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn stop(&mut self) {
        self.running.stop();
    }
}

/// Asks `/health` until it says 200.
fn wait_for_health(target: &Target) -> Result<(), RunFault> {
    use std::io::Write;
    let mut last = String::new();
    for _ in 0..100 {
        let mut socket = crate::engine::connect::open(target)?;
        let request = format!("GET /health HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", target.host);
        socket.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        if crate::engine::connect::read_some(&mut socket, &mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200") {
            return Ok(());
        }
        last = String::from_utf8_lossy(&answer).into_owned();
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    Err(RunFault::Plan(format!("{}: /health never said 200: {last}", target.host)))
}

impl Row {
    fn of(value: f64, report: &Report) -> Self {
        let latency = report.latency.deliver.or(report.latency.accept);
        Self {
            value,
            passed: report.verdict.passed,
            messages_per_s: report.messages_per_s(),
            messages_per_cpu_second: report.messages_per_cpu_second(),
            server_core_share: report.server.map(|server| server.core_share),
            p50_ns: latency.map(|latency| latency.p50),
            p99_ns: latency.map(|latency| latency.p99),
            server_rss_bytes: report.server.map(|server| server.memory.rss_bytes),
            backpressure: report.total().backpressure,
        }
    }
}

fn table(name: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "{name:>12} {:>12} {:>18} {:>8} {:>10} {:>10} {:>8}\n",
        "messages", "per CPU-second", "cores", "p50", "p99", "verdict"
    );
    for row in rows {
        text += &format!(
            "{:>12} {:>12} {:>18} {:>8} {:>10} {:>10} {:>8}\n",
            row.value,
            rate_text(row.messages_per_s),
            row.messages_per_cpu_second.map_or_else(|| "-".into(), count_text),
            row.server_core_share.map_or_else(|| "-".into(), |share| format!("{share:.2}")),
            row.p50_ns.map_or_else(|| "-".into(), duration_text),
            row.p99_ns.map_or_else(|| "-".into(), duration_text),
            if row.passed { "passed" } else { "FAILED" }
        );
    }
    text
}

fn csv(name: &str, rows: &[Row]) -> String {
    let mut text = format!(
        "{name},passed,messagesPerS,messagesPerCpuSecond,serverCoreShare,p50Ns,p99Ns,serverRssBytes,backpressure\n"
    );
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
    for row in rows {
        text += &format!(
            "{},{},{:.1},{},{},{},{},{},{}\n",
            row.value,
            row.passed,
            row.messages_per_s,
            number(row.messages_per_cpu_second),
            number(row.server_core_share),
            row.p50_ns.map_or_else(String::new, |ns| ns.to_string()),
            row.p99_ns.map_or_else(String::new, |ns| ns.to_string()),
            row.server_rss_bytes.map_or_else(String::new, |bytes| bytes.to_string()),
            row.backpressure
        );
    }
    text
}

fn write_files(folder: &Path, name: &str, rows: &[Row], table: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("sweep.csv"), csv(name, rows))?;
    std::fs::write(folder.join("sweep.json"), serde_json::to_vec_pretty(rows)?)?;
    std::fs::write(folder.join("sweep.html"), page(name, rows, table))?;
    Ok(())
}

fn page(name: &str, rows: &[Row], table: &str) -> String {
    type Pick = fn(&Row) -> Option<f64>;
    let line = |title: &str, pick: Pick| Line {
        name: title.into(),
        points: rows.iter().filter_map(|row| Some((row.value, pick(row)?))).collect(),
    };
    let axes = |title: &str, y: &str, y_text: fn(f64) -> String| Axes {
        title: title.into(),
        x: name.into(),
        y: y.into(),
        x_text: count_text,
        y_text,
    };
    let rates = [line("messages/s", |row| Some(row.messages_per_s))];
    let costs = [line("messages per CPU-second", |row| row.messages_per_cpu_second)];
    let latencies = [line("p50", |row| Some(row.p50_ns? as f64)), line("p99", |row| Some(row.p99_ns? as f64))];
    let plots = [
        plot(&axes("Rate", "messages/s", count_text), &rates),
        plot(&axes("Efficiency", "messages per CPU-second", count_text), &costs),
        plot(&axes("Latency", "latency", |ns| duration_text(ns as u64)), &latencies),
    ];
    document(&format!("Sweep over {name}"), table, &plots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: f64) -> Row {
        Row {
            value,
            passed: true,
            messages_per_s: 1_000.0 * value,
            messages_per_cpu_second: Some(5.0),
            server_core_share: None,
            p50_ns: Some(10),
            p99_ns: None,
            server_rss_bytes: None,
            backpressure: 0,
        }
    }

    #[test]
    fn a_row_has_as_many_fields_as_the_head() {
        let text = csv("shards", &[row(1.0), row(2.0)]);
        let counts: Vec<usize> = text.lines().map(|line| line.split(',').count()).collect();
        assert_eq!(counts, [9, 9, 9]);
        assert_eq!(table("shards", &[row(1.0)]).lines().count(), 2);
        assert_eq!(page("shards", &[row(1.0), row(2.0)], "t").matches("<svg").count(), 3);
    }

    #[test]
    fn more_streams_bring_more_consumers() {
        let mut plan = Plan::new(&Target::loopback(1));
        apply(&mut plan, Parameter::Streams, 8.0);
        assert_eq!((plan.streams, plan.consumers, plan.check()), (8, 8, Ok(())));
    }
}
