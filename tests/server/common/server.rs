//! The server under test: the built binary, on ports that the kernel chose.

use super::http::{Http, Response};
use super::process::{PATIENCE, Process};
use super::ws::Ws;
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a server is to be started.
#[derive(Debug, Default)]
pub(crate) struct Start {
    flags: Vec<String>,
    variables: Vec<(String, String)>,
    resource_limits: Vec<String>,
    ports_are_given: bool,
    working_directory: Option<PathBuf>,
}

impl Start {
    /// Two shards: what holds for them mostly holds for one, and not the other way round.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds flags, separated by white space.
    pub(crate) fn flags(mut self, flags: &str) -> Self {
        self.flags.extend(flags.split_whitespace().map(str::to_owned));
        self
    }

    pub(crate) fn shards(self, shards: usize) -> Self {
        self.flags(&format!("--shards {shards}"))
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a limit of prlimit(1), such as `--nofile=64:64`.
    pub(crate) fn resource_limit(mut self, limit: &str) -> Self {
        self.resource_limits.push(limit.to_owned());
        self
    }

    /// The caller says which ports to use.
    pub(crate) fn own_ports(mut self) -> Self {
        self.ports_are_given = true;
        self
    }

    /// Starts the server in a directory.
    pub(crate) fn working_directory(mut self, directory: &Path) -> Self {
        self.working_directory = Some(directory.to_owned());
        self
    }

    /// A setting has been given, as a flag or as a variable.
    fn says(&self, flag: &str, variable: &str) -> bool {
        self.flags.iter().any(|given| given == flag) || self.variables.iter().any(|(given, _)| given == variable)
    }

    /// Starts the binary and waits for nothing.
    pub(crate) fn process(&self) -> Process {
        let binary = env!("CARGO_BIN_EXE_conduit");
        let mut command = if self.resource_limits.is_empty() {
            Command::new(binary)
        } else {
            let mut limited = Command::new("prlimit");
            limited.args(&self.resource_limits).arg(binary);
            limited
        };
        // Whatever the person who runs the tests has set must not reach the server.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if !self.ports_are_given {
            command.args(["--http-port", "0", "--ws-port", "0"]);
        }
        // Access logs only where a test is about them: they would lie about in the repository.
        for (flag, variable) in [("--http-log", "CONDUIT_HTTP_LOG"), ("--ws-log", "CONDUIT_WS_LOG")] {
            if !self.says(flag, variable) {
                command.args([flag, "none"]);
            }
        }
        if let Some(directory) = &self.working_directory {
            command.current_dir(directory);
        }
        Process::start(command.args(&self.flags))
    }

    /// Starts the server and waits until it says that it is ready.
    pub(crate) fn serve(&self) -> Server {
        let process = self.process();
        let address = |label: &str| -> SocketAddr {
            let line = process.stdout.line_with(label);
            let text = line.as_deref().and_then(|line| line.strip_prefix(label)).map(str::trim);
            let parsed = text.and_then(|text| text.parse().ok());
            parsed.unwrap_or_else(|| panic!("the server did not start\n{}", process.words()))
        };
        let (http, ws) = (address("Conduit HTTP on"), address("Conduit WS on"));
        Server { http, ws, process }
    }
}

/// A server that is ready.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) http: SocketAddr,
    pub(crate) ws: SocketAddr,
    pub(crate) process: Process,
}

impl Server {
    /// A server with so many shards and nothing else set.
    pub(crate) fn with_shards(shards: usize) -> Self {
        Start::new().shards(shards).serve()
    }

    /// One request on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Response {
        Http::connect(self.http).get(target)
    }

    /// The JSON of a 200 answer.
    pub(crate) fn json(&self, target: &str) -> Value {
        let response = self.get(target);
        assert_eq!(response.status, 200, "{target}: {}", response.text());
        response.json()
    }

    pub(crate) fn stats(&self, stream: &str) -> Value {
        self.json(&format!("/v1/stats?stream={stream}"))
    }

    pub(crate) fn metrics(&self) -> Value {
        self.json("/v1/metrics")
    }

    /// One figure of every shard.
    pub(crate) fn per_shard(&self, pointer: &str) -> Vec<u64> {
        let metrics = self.metrics();
        let shards = metrics["shards"].as_array().expect("shards").iter();
        shards.map(|shard| shard.pointer(pointer).and_then(Value::as_u64).expect(pointer)).collect()
    }

    pub(crate) fn consume(&self, stream: &str, options: &str) -> Ws {
        Ws::connect(self.ws, &format!("/v1/subscribe?stream={stream}&{options}"))
    }

    pub(crate) fn publisher(&self) -> Ws {
        Ws::connect(self.ws, "/v1/publish")
    }

    /// Publishes envelopes `{"n":first}` and so on in one batch.
    pub(crate) fn publish(&self, stream: &str, numbers: std::ops::Range<u64>) {
        let lines: String =
            numbers.clone().map(|n| format!("{}\n", serde_json::json!({"to": stream, "envelope": {"n": n}}))).collect();
        let response = Http::connect(self.http).post("/v1/enqueue", "application/x-ndjson", lines.as_bytes());
        assert_eq!((response.status, &response.json()["failed"]), (200, &Value::from(0)), "{}", response.text());
    }

    /// Asks the server to stop, as service managers do.
    pub(crate) fn terminate(&mut self) {
        self.process.signal(Signal::TERM);
    }

    /// Waits until the server says on standard error that it is stopping.
    pub(crate) fn is_stopping(&self) {
        let line = self.process.stderr.line_with("stopping: no new work");
        assert!(line.is_some(), "the server is not stopping after {PATIENCE:?}\n{}", self.process.words());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Whatever a test was about: no server may panic on the way.
        if !std::thread::panicking() {
            let words = self.process.stderr.text();
            assert!(!words.contains("panicked"), "the server panicked:\n{words}");
        }
    }
}
