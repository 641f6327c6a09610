//! What the server tells the person who started it.

use conduit_config::memory::bytes_text;
use conduit_config::{Config, Loaded, MemoryBound, Resolved};
use std::fmt::{Display, Write as _};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

/// What is known before the ports are.
pub(crate) struct Boot {
    durability: String,
    access: String,
    is_open: bool,
    shards: u16,
    cores: usize,
    bound: MemoryBound,
}

impl Boot {
    /// Takes what the announcement needs.
    pub(crate) fn of(loaded: &Loaded) -> Self {
        let resolved = &loaded.resolved;
        Self {
            durability: durability_text(&resolved.config),
            access: access_text(loaded),
            is_open: loaded.policy.access.is_open(),
            shards: resolved.config.shards,
            cores: super::machine::cores(),
            bound: resolved.memory_bound(),
        }
    }

    /// Tells standard output that the server is ready, where, and what to try.
    pub(crate) fn print(&self, http: SocketAddr, ws: SocketAddr) {
        write_stdout(&self.text(http, ws));
    }

    fn text(&self, http: SocketAddr, ws: SocketAddr) -> String {
        let here = reachable(http);
        let token = if self.is_open { "" } else { " -H \"authorization: Bearer $TOKEN\"" };
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "Conduit {version}: {shards} on {cores}
  addresses  http://{here} and ws://{there} (each serves HTTP and WebSocket)
  memory     messages take at most {messages}; an idle connection about {idle}
  durability {durability}
  access     {access}
  try        curl -s http://{here}/v1/enqueue{token} -d '{{\"to\":\"agents/demo/inbox\",\"envelope\":{{\"text\":\"hello\"}}}}'
             curl -s 'http://{here}/v1/stats?stream=agents/demo/inbox'{token}
             curl -s http://{here}/health
Conduit HTTP on {http}
Conduit WS on   {ws}
",
            version = env!("CARGO_PKG_VERSION"),
            durability = self.durability,
            access = self.access,
            shards = counted(self.shards.into(), "shard"),
            cores = counted(self.cores, "core"),
            there = reachable(ws),
            messages = bytes_text(self.bound.messages_bytes),
            idle = bytes_text(self.bound.connection_idle_bytes),
        );
        text
    }
}

/// What a stored message survives, in a line.
fn durability_text(config: &Config) -> String {
    match &config.data_dir {
        None => "none: streams live in memory, and a restart loses them".to_owned(),
        Some(data_dir) => format!("{}; streams are kept in {}", config.durability, data_dir.display()),
    }
}

/// Who is let in, and which files say so, in a line.
fn access_text(loaded: &Loaded) -> String {
    let mut text = if loaded.policy.access.is_open() { "open to everyone" } else { "with a token" }.to_owned();
    if loaded.tenants > 0 {
        text += &format!("; {}", counted(loaded.tenants, "tenant"));
    }
    if let Some(rules) = &loaded.rules {
        text += &format!("; {}", counted(rules.table.len(), "rule"));
    }
    let files: Vec<String> =
        loaded.files.iter().filter(|file| file.digest.is_some()).map(|file| file.path.display().to_string()).collect();
    if !files.is_empty() {
        text += &format!(" (from {})", files.join(", "));
    }
    text
}

/// Prints a text that was asked for.
pub(crate) fn print(text: &str) -> ExitCode {
    write_stdout(text);
    ExitCode::SUCCESS
}

/// Prints every setting: the answer to `--check-config`.
pub(crate) fn listing(loaded: &Loaded, data_dir: Option<&str>) -> ExitCode {
    let resolved = &loaded.resolved;
    let mut text = resolved.listing();
    for file in &loaded.files {
        let state = if file.digest.is_some() { "read" } else { "not there, and not needed" };
        let _ = writeln!(text, "{} file: {}: {state}", file.kind, file.path.display());
    }
    let _ = writeln!(text, "access: {}", access_text(loaded));
    if let Some(data_dir) = data_dir {
        let _ = writeln!(text, "{data_dir}");
    }
    for warning in &resolved.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text.push_str("the configuration is valid\n");
    write_stdout(&text);
    ExitCode::SUCCESS
}

/// Tells standard error what passes but is probably not meant.
pub(crate) fn warnings(resolved: &Resolved, memory_bytes: Option<u64>) {
    for warning in &resolved.warnings {
        tracing::warn!("{warning}");
    }
    let bound = resolved.memory_bound().messages_bytes;
    if let Some(memory) = memory_bytes.filter(|memory| bound > *memory) {
        tracing::warn!(
            "messages may take {}, but this machine has {}: lower --shard-bytes-max and --shard-messages-max, \
             or the system may end the process when streams fill up",
            bytes_text(bound),
            bytes_text(memory)
        );
    }
}

/// Tells standard error why the server is not running.
pub(crate) fn failure(error: &dyn Display, exit_code: u8) -> ExitCode {
    let text = format!("conduit: {error}\n");
    // When even standard error is gone, the exit code still speaks.
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(exit_code)
}

/// Writes and flushes. A reader that has gone away is no reason to stop serving.
fn write_stdout(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// An address that works from this machine: nobody can connect to 0.0.0.0 on purpose.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use conduit_config::{Flags, Loader};
    use std::io;

    /// What these flags mean on a machine without any file.
    fn loaded(flags: Flags) -> Loaded {
        Loader::new(flags, [], 2).load(&|_| Err(io::ErrorKind::NotFound.into()), 0).expect("valid")
    }

    fn text(http: &str, ws: &str) -> String {
        Boot::of(&loaded(Flags::default())).text(http.parse().expect("an address"), ws.parse().expect("an address"))
    }

    #[test]
    fn the_last_two_lines_name_the_bound_ports() {
        let text = text("127.0.0.1:41234", "127.0.0.1:41235");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[lines.len() - 2], "Conduit HTTP on 127.0.0.1:41234");
        assert_eq!(lines[lines.len() - 1], "Conduit WS on   127.0.0.1:41235");
        assert_eq!(text.matches("curl -s").count(), 3);
        assert!(text.contains("streams live in memory") && text.contains("  access     open to everyone\n"));
    }

    #[test]
    fn a_data_directory_is_named_with_what_it_promises() {
        let flags = Flags::default().with("data-dir", "/some/where").with("durability", "a=memory,*=interval(5)");
        let address = "127.0.0.1:1".parse().expect("an address");
        let text = Boot::of(&loaded(flags)).text(address, address);
        assert!(text.contains("  durability a=memory,*=interval(5); streams are kept in /some/where\n"), "{text}");
        assert!(!text.contains("live in memory"));
    }

    #[test]
    fn commands_to_try_show_a_token_where_one_is_needed() {
        let address = "127.0.0.1:1".parse().expect("an address");
        let text = Boot::of(&loaded(Flags::default().with("tokens", "secret"))).text(address, address);
        assert_eq!(text.matches("-H \"authorization: Bearer $TOKEN\"").count(), 2, "{text}");
        assert!(!text.contains("secret"));
    }

    #[test]
    fn commands_to_try_never_name_the_unspecified_address() {
        let text = text("0.0.0.0:9087", "[::]:9088");
        assert!(text.contains("http://127.0.0.1:9087/health") && text.contains("ws://[::1]:9088"));
        assert!(text.contains("Conduit HTTP on 0.0.0.0:9087"));
    }
}
