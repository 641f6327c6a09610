//! Reference servers: what ours is compared with, started here on a free loopback port, pinned, and driven by the same
//! generator. nginx, nats-server and redis-server must be installed (Debian packages of those names); the relay is ours.

pub mod relay;

use crate::cli::{Ending, ending_of_report, print};
use crate::plan::{AckStyle, ConsumeWire, Plan, PublishWire, Target};
use crate::process::{Running, free_port};
use crate::progress::Display;
use crate::report::text::{count_text, summary};
use crate::run::run;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// What there is to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reference {
    /// nginx, `return 200`, one worker: HTTP publish.
    Nginx,
    /// nats-server over WebSocket, core NATS: publish to delivery without acks.
    Nats,
    /// Redis pub/sub: publish to delivery without acks.
    Redis,
    /// Redis, `RPUSH` with `appendfsync always`: publish answered after its sync.
    RedisAof,
    /// Redis, `XADD` with `appendfsync always`: the same into a stream, which is the nearer relative.
    RedisStream,
    /// The smallest relay with acks that speaks our wire: publish to delivery with an ack each.
    Relay,
}

/// Options of `conduit-loadtest yardstick`.
#[derive(Debug, Args)]
pub struct ReferenceOptions {
    /// Which server.
    #[arg(value_enum)]
    reference: Reference,
    /// CPU of the server.
    #[arg(long)]
    server_cpu: Option<usize>,
    /// CPUs of the generator.
    #[arg(long, value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Seconds measured.
    #[arg(long, default_value_t = 5.0)]
    duration: f64,
    /// Seconds of load before that.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// nginx: connections.
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// nginx: requests of one connection on their way.
    #[arg(long, default_value_t = 1)]
    pipeline: u32,
    /// nats, redis, relay: messages on their way.
    #[arg(long, default_value_t = 2_048)]
    inflight: u32,
    /// nats: messages in one WebSocket frame at most (1: a frame each). Its own clients batch too, and it is faster so.
    #[arg(long, default_value_t = 100)]
    batch: u32,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 128)]
    payload_bytes: usize,
    /// Open loop: messages a second.
    #[arg(long)]
    rate: Option<f64>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the server is not installed or does not start.
pub fn execute(options: &ReferenceOptions) -> anyhow::Result<Ending> {
    let mut server = ReferenceServer::start(options.reference, options.server_cpu.as_slice())?;
    let mut plan = server.plan();
    plan.cpus.clone_from(&options.cpus);
    plan.duration = Some(Duration::try_from_secs_f64(options.duration)?);
    plan.warmup = Duration::try_from_secs_f64(options.warmup)?;
    plan.payload_bytes = options.payload_bytes;
    plan.inflight = options.inflight;
    plan.batch = options.batch;
    (plan.rate, plan.spin) = (options.rate, options.rate.is_some());
    match options.reference {
        Reference::Nginx => (plan.producers, plan.pipeline) = (options.connections, options.pipeline),
        Reference::RedisAof | Reference::RedisStream => (plan.producers, plan.inflight) = (4, 64),
        Reference::Nats | Reference::Redis | Reference::Relay => {}
    }
    let report = run(&plan, &mut Display::new())?;
    server.stop();
    if options.json {
        print(&(serde_json::to_string_pretty(&report)? + "\n"));
    } else {
        let figure = report.messages_per_cpu_second().unwrap_or(0.0);
        print(&summary(&report));
        print(&format!("yardstick  {:?}: {} messages per CPU-second\n", options.reference, count_text(figure)));
    }
    Ok(ending_of_report(&report))
}

/// A running reference server.
pub(crate) struct ReferenceServer {
    reference: Reference,
    running: Running,
    target: Target,
    folder: PathBuf,
}

impl ReferenceServer {
    /// Starts it and waits until it listens. What it writes goes into the temporary directory.
    pub(crate) fn start(reference: Reference, cpus: &[usize]) -> anyhow::Result<Self> {
        Self::start_on(reference, cpus, &std::env::temp_dir())
    }

    /// The same with a place for what it writes.
    pub(crate) fn start_on(reference: Reference, cpus: &[usize], disk: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let folder = disk.join(format!("conduit-loadtest-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let command = match reference {
            Reference::Nginx => nginx(&folder, port)?,
            Reference::Nats => nats(&folder, port)?,
            Reference::Redis => redis(&folder, port, false),
            Reference::RedisAof | Reference::RedisStream => redis(&folder, port, true),
            Reference::Relay => relay_command(port)?,
        };
        let name = command.get_program().to_string_lossy().into_owned();
        let mut running = Running::start(command, cpus).map_err(|error| {
            anyhow::anyhow!("cannot start {name}: {error}; install the Debian package of that name")
        })?;
        running.wait_for_port(port).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
        Ok(Self { reference, running, target: Target::loopback(port), folder })
    }

    /// The default plan for this server: one producer, one consumer where it has such.
    pub(crate) fn plan(&self) -> Plan {
        let fresh = Plan { server_pid: Some(self.running.pid()), ..Plan::new(&self.target) };
        let (publish, consume) = match self.reference {
            Reference::Nginx => (PublishWire::Http, ConsumeWire::None),
            Reference::Nats => (PublishWire::Nats, ConsumeWire::Nats),
            Reference::Redis => (PublishWire::RedisPublish, ConsumeWire::RedisSubscribe),
            Reference::RedisAof => (PublishWire::RedisAppend, ConsumeWire::None),
            Reference::RedisStream => (PublishWire::RedisStream, ConsumeWire::None),
            Reference::Relay => (PublishWire::Ws, ConsumeWire::Ws),
        };
        let consumers = u32::from(consume != ConsumeWire::None);
        Plan { publish, consume, consumers, batch: 100, ack: AckStyle::Each, ..fresh }
    }

    pub(crate) fn stop(&mut self) {
        self.running.stop();
        // A folder that stays behind in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Drop for ReferenceServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn silent(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn nginx(folder: &Path, port: u16) -> std::io::Result<Command> {
    let at = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {at}/{what};\n"))
        .concat();
    let text = format!(
        "daemon off;\nworker_processes 1;\npid {at}/pid;\nerror_log {at}/error.log crit;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\naccess_log off;\nkeepalive_requests 1000000000;\nkeepalive_timeout 600s;\n{temporary}\
         server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ return 200; }} }}\n}}\n"
    );
    std::fs::write(folder.join("nginx.conf"), text)?;
    let mut command = silent("nginx");
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf")).arg("-e").arg(folder.join("start.log"));
    Ok(command)
}

fn nats(folder: &Path, port: u16) -> std::io::Result<Command> {
    let plain = free_port()?;
    let text = format!(
        "host: 127.0.0.1\nport: {plain}\nmax_connections: 100000\nmax_pending: 256MB\n\
         websocket {{ host: 127.0.0.1, port: {port}, no_tls: true }}\n"
    );
    std::fs::write(folder.join("nats.conf"), text)?;
    let mut command = silent("nats-server");
    command.arg("-c").arg(folder.join("nats.conf"));
    Ok(command)
}

fn redis(folder: &Path, port: u16, is_synced: bool) -> Command {
    let mut command = silent("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", if is_synced { "yes" } else { "no" }, "--appendfsync", "always"]);
    command.arg("--dir").arg(folder);
    command
}

fn relay_command(port: u16) -> std::io::Result<Command> {
    let program = std::env::current_exe()?;
    let mut command = silent(&program.to_string_lossy());
    command.args(["relay-server", "--port", &port.to_string()]);
    Ok(command)
}
