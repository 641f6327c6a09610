//! Many idle subscriptions: what each costs the server, and whether all of them are alive.

use crate::cli::{Ending, print};
use crate::engine::connect::{begin_websocket, read_some};
use crate::plan::Target;
use crate::process::{self, Memory};
use crate::report::text::bytes_text;
use crate::run::RunFault;
use crate::wire::frame::{FrameReader, Incoming, MaskKeys, append};
use clap::Args;
use serde::Serialize;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tungstenite::protocol::frame::coding::{Control, OpCode};

/// Options of `conduit-loadtest idle`.
#[derive(Debug, Args)]
pub struct IdleOptions {
    /// Where the server is.
    #[arg(long, default_value = "ws://127.0.0.1:9087")]
    url: String,
    /// Subscriptions.
    #[arg(long, default_value_t = 10_000)]
    connections: u32,
    /// Streams they are spread over.
    #[arg(long, default_value_t = 1)]
    streams: u32,
    /// Connections whose handshakes are on their way at once.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Seconds to wait before measuring.
    #[arg(long, default_value_t = 2.0)]
    settle: f64,
    /// The server's process, for its memory.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdleReport {
    /// Subscriptions opened.
    pub connections: u32,
    /// Handshakes per second, from the first connect to the last answer.
    pub connects_per_s: f64,
    /// The server's CPU for one connect, in nanoseconds.
    pub connect_cpu_ns: Option<f64>,
    /// Connections that answered a ping at the end.
    pub alive: u32,
    /// Memory before the first connection and with all of them.
    pub memory: Option<(Memory, Memory)>,
    /// Growth of the server's anonymous memory for each connection.
    pub anon_bytes_each: Option<f64>,
    /// Growth of its resident memory for each connection.
    pub rss_bytes_each: Option<f64>,
}

/// Runs the command.
///
/// # Errors
/// When a connection cannot be opened.
pub fn execute(options: &IdleOptions) -> anyhow::Result<Ending> {
    let target = Target::parse(&options.url).map_err(anyhow::Error::msg)?;
    let settle = Duration::try_from_secs_f64(options.settle)?;
    let crowd = Crowd { target: &target, path: "/v1/subscribe?stream=idle", connections: options.connections, settle };
    let report = crowd.hold(options.streams, options.batch.max(1), options.server_pid, None)?;
    if options.json {
        print(&(serde_json::to_string_pretty(&report)? + "\n"));
    } else {
        print(&report.text());
    }
    Ok(if report.alive == report.connections { Ending::Passed } else { Ending::Failed })
}

/// Subscriptions to be held.
pub(crate) struct Crowd<'a> {
    pub(crate) target: &'a Target,
    /// The request target; with several streams a slash and a number go behind it.
    pub(crate) path: &'a str,
    pub(crate) connections: u32,
    pub(crate) settle: Duration,
}

impl Crowd<'_> {
    /// Opens them all, measures, checks that all are alive. `greet` is sent on each connection first (as it is).
    pub(crate) fn hold(
        &self,
        streams: u32,
        batch: usize,
        server_pid: Option<u32>,
        greet: Option<&[u8]>,
    ) -> Result<IdleReport, RunFault> {
        let files = process::raise_file_limit();
        if files < u64::from(self.connections) + 64 {
            return Err(RunFault::Plan(format!(
                "--connections {} needs as many open files and the limit is {files}: raise it with ulimit -n",
                self.connections
            )));
        }
        let before = server_pid.map(process::memory).transpose()?;
        let cpu_before = server_pid.map(process::cpu_ns).transpose()?;
        let since = Instant::now();
        let mut sockets = self.connect(streams, batch)?;
        let connect_s = since.elapsed().as_secs_f64();
        let cpu_after = server_pid.map(process::cpu_ns).transpose()?;
        for (socket, _) in sockets.iter_mut().filter(|_| greet.is_some()) {
            socket.write_all(greet.unwrap_or_default())?;
        }
        std::thread::sleep(self.settle);
        let after = server_pid.map(process::memory).transpose()?;
        let each = |pick: fn(&Memory) -> u64| {
            let (before, after) = (before.as_ref()?, after.as_ref()?);
            Some((pick(after) as f64 - pick(before) as f64) / f64::from(self.connections))
        };
        let connect_cpu = cpu_before.zip(cpu_after);
        Ok(IdleReport {
            connections: self.connections,
            connects_per_s: f64::from(self.connections) / connect_s,
            connect_cpu_ns: connect_cpu.map(|(before, after)| (after - before) as f64 / f64::from(self.connections)),
            alive: count_alive(&mut sockets),
            memory: before.zip(after),
            anon_bytes_each: each(|memory| memory.anon_bytes),
            rss_bytes_each: each(|memory| memory.rss_bytes),
        })
    }

    fn connect(&self, streams: u32, batch: usize) -> Result<Vec<(TcpStream, Vec<u8>)>, RunFault> {
        let mut sockets = Vec::with_capacity(self.connections as usize);
        let all: Vec<u32> = (0..self.connections).collect();
        for numbers in all.chunks(batch) {
            let path = |number: u32| match streams {
                0 | 1 => self.path.to_owned(),
                streams => format!("{}/{}", self.path, number % streams),
            };
            let begun: Vec<_> =
                numbers.iter().map(|number| begin_websocket(self.target, &path(*number))).collect::<Result<_, _>>()?;
            for handshake in begun {
                sockets.push(handshake.finish(self.target)?);
            }
        }
        Ok(sockets)
    }
}

/// Pings every connection and counts the pongs. A connection that ends or says nothing in time is not alive.
fn count_alive(sockets: &mut [(TcpStream, Vec<u8>)]) -> u32 {
    let mut keys = MaskKeys::new(11);
    for (socket, _) in sockets.iter_mut() {
        let mut ping = Vec::new();
        append(&mut ping, OpCode::Control(Control::Ping), b"alive?", keys.draw());
        // A dead connection shows itself by its missing pong.
        let _ = socket.write_all(&ping);
    }
    sockets.iter_mut().map(|(socket, rest)| u32::from(has_pong(socket, rest))).sum()
}

fn has_pong(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    let mut reader = FrameReader::default();
    let mut used = 0;
    loop {
        loop {
            match reader.next(&bytes[used..]) {
                Ok(Some((Incoming::Pong, _))) => return true,
                Ok(Some((Incoming::Close(..), _))) | Err(_) => return false,
                Ok(Some((_, length))) => used += length,
                Ok(None) => break,
            }
        }
        if !matches!(read_some(socket, bytes), Ok(1..)) {
            return false;
        }
    }
}

impl IdleReport {
    fn text(&self) -> String {
        let mut text =
            format!("connections {}, {} alive, {:.0} connects/s\n", self.connections, self.alive, self.connects_per_s);
        if let Some(cpu_ns) = self.connect_cpu_ns {
            text += &format!("connect     {:.1} us of server CPU each\n", cpu_ns / 1e3);
        }
        if let (Some(anon), Some(rss)) = (self.anon_bytes_each, self.rss_bytes_each) {
            text += &format!("memory      {} anonymous each, {} resident each\n", bytes_text(anon), bytes_text(rss));
        }
        text
    }
}
