//! Clients that other people wrote, run as programs of their own.

use super::process::Process;
use super::server::Server;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs curl; its output is text.
pub(crate) fn curl(arguments: &[&str]) -> Ran {
    let mut command = Command::new("curl");
    // Without the file of the person who runs the tests, without a proxy, and never for ever.
    command.args(["-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]).args(arguments);
    Ran::of(Process::start(&mut command))
}

/// Runs `mkctl`.
pub(crate) fn mkctl(server: &Server, arguments: &[&str]) -> Ran {
    Ran::of(Process::start(mkctl_command(server).args(arguments)))
}

/// `mkctl` with the server's address, to be given arguments.
pub(crate) fn mkctl_command(server: &Server) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkctl"));
    command.env("MKCTL_ADDR", server.http.to_string());
    command
}

/// A script of `tests/foreign` under node, which finds the npm packages.
pub(crate) fn node(script: &str, arguments: &[&str]) -> Process {
    let packages =
        std::env::var_os("FOREIGN_NODE_PATH").map_or_else(|| target().join("foreign/node_modules"), PathBuf::from);
    assert!(
        packages.join("ws").is_dir() && packages.join("@msgpack/msgpack").is_dir(),
        "the npm packages ws and @msgpack/msgpack are not in {}\n  remedy: tests/run.sh installs them",
        packages.display()
    );
    Process::start(Command::new("node").env("FOREIGN_NODE_PATH", packages).arg(foreign(script)).args(arguments))
}

/// A script of `tests/foreign` under node, with the `EventSource` that is built into it.
pub(crate) fn node_with_event_source(script: &str, arguments: &[&str]) -> Process {
    Process::start(Command::new("node").arg("--experimental-eventsource").arg(foreign(script)).args(arguments))
}

/// A script of `tests/foreign` under the system's Python, which has Debian's `websockets`.
pub(crate) fn python(script: &str, arguments: &[&str]) -> Process {
    let python = std::env::var_os("FOREIGN_PYTHON").unwrap_or_else(|| "/usr/bin/python3".into());
    let probe = Ran::of(Process::start(Command::new(&python).args(["-c", "import websockets"])));
    assert!(
        probe.code == 0,
        "{} has no module websockets\n  remedy: tests/run.sh installs python3-websockets",
        Path::new(&python).display()
    );
    Process::start(Command::new(python).arg("-u").arg(foreign(script)).args(arguments))
}

/// The script ends well; it asserts for itself.
pub(crate) fn passes(mut script: Process) {
    let code = script.exit_code();
    script.stderr.whole();
    assert_eq!(code, 0, "the script failed\n{}", script.words());
}

fn foreign(script: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(script)
}

/// The target directory: two levels above the binary.
fn target() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_conduit"));
    binary.ancestors().nth(2).expect("a target directory").to_owned()
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(mut process: Process) -> Self {
        let code = process.exit_code();
        Self { code, stdout: process.stdout.whole(), stderr: process.stderr.whole() }
    }

    /// Standard output as JSON; the program has to have succeeded.
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output as JSON, one value a line; the program has to have succeeded.
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        assert_eq!(self.code, 0, "{self:?}");
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        self.stdout.lines().map(line).collect()
    }
}
