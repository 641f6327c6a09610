//! The server under trial: a child process on loopback with a data directory of its own, started, watched and ended.

use crate::plan::Target;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a server is started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) binary: PathBuf,
    /// Its data directory; none: it keeps everything in memory.
    pub(crate) data_dir: Option<PathBuf>,
    /// Its shards.
    pub(crate) shards: u64,
    /// More arguments.
    pub(crate) args: Vec<String>,
    /// Where it shall end itself, `name:n`.
    pub(crate) failpoint: Option<String>,
}

/// A log in small pieces, so that a short trial sees many of them begin and go. What `Launch::args` says is not said
/// again. And no access logs: a trial looks at the messages.
const SMALL: [(&str, &str); 6] = [
    ("--segment-bytes", "1048576"),
    ("--log-batch-bytes-max", "262144"),
    ("--max-json-size", "131072"),
    ("--ws-max-message-size", "131072"),
    ("--http-log", "none"),
    ("--ws-log", "none"),
];

/// Bytes kept of what a server says on standard error: the last ones.
const WORDS_BYTES_MAX: usize = 16 * 1024;

/// Why there is no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotUp {
    /// It cannot be started at all.
    #[error("cannot start {0}")]
    Spawn(String),
    /// It ended before it was ready.
    #[error("the server ended before it was ready: {0}\n{1}")]
    Ended(ExitStatus, String),
    /// It takes too long.
    #[error("the server is not ready after {0:?}\n{1}")]
    Slow(Duration, String),
}

/// A child that may be getting ready, running, or ended.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    address: Receiver<Target>,
    words: Arc<Mutex<Vec<u8>>>,
    listening: JoinHandle<()>,
    started: Instant,
}

impl Broker {
    /// Starts it and does not wait.
    pub(crate) fn start(launch: &Launch) -> Result<Self, NotUp> {
        let mut command = Command::new(&launch.binary);
        // Whatever is set for the person who runs the trial must not reach the server.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(launch.failpoint.iter().map(|point| ("CONDUIT_FAILPOINT", point)));
        command.args(["--http-port", "0", "--ws-port", "0", "--shards", &launch.shards.to_string()]);
        if let Some(data_dir) = &launch.data_dir {
            command.arg("--data-dir").arg(data_dir);
        }
        command.args(&launch.args);
        for (flag, value) in SMALL.iter().filter(|(flag, _)| !launch.args.iter().any(|given| given.starts_with(flag))) {
            command.args([flag, value]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let cannot = |what: &str| NotUp::Spawn(format!("{}: {what}", launch.binary.display()));
        let mut child = command.spawn().map_err(|error| cannot(&error.to_string()))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(cannot("it has no pipes"));
        };
        let words = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&words);
        let listening = std::thread::spawn(move || keep_last(stderr, &kept));
        let (tell, address) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let address = line.strip_prefix("Conduit HTTP on").map(str::trim).map(Target::parse);
                if let Some(Ok(target)) = address {
                    // Nobody waits any more when the trial is over.
                    let _ = tell.send(target);
                }
            }
        });
        Ok(Self { child, address, words, listening, started: Instant::now() })
    }

    /// Waits until it says where it listens.
    pub(crate) fn wait_ready(&mut self, patience: Duration) -> Result<Target, NotUp> {
        match self.address.recv_timeout(patience) {
            Ok(target) => Ok(target),
            Err(RecvTimeoutError::Timeout) => Err(NotUp::Slow(patience, self.words())),
            // Its standard output is closed: it has ended, or will in a moment.
            Err(RecvTimeoutError::Disconnected) => {
                let ended = self.child.wait().map_err(|error| NotUp::Spawn(error.to_string()))?;
                self.wait_for_words();
                Err(NotUp::Ended(ended, self.words()))
            }
        }
    }

    /// Time since it was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end, at most for `patience`.
    pub(crate) fn wait_end(&mut self, patience: Duration) -> Option<ExitStatus> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if since.elapsed() >= patience {
                return None;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Ends it as the kernel would: nothing is flushed, closed or said. True when that is what ended it; false when it
    /// was gone before.
    pub(crate) fn kill(&mut self) -> bool {
        if self.ended().is_some() {
            return false;
        }
        // It fails only for a process that is gone.
        let _ = self.child.kill();
        self.child.wait().is_ok_and(|status| status.signal() == Some(Signal::KILL.as_raw()))
    }

    /// Asks it to end in order; how it did, or `None` when it had to be killed.
    pub(crate) fn terminate(&mut self, patience: Duration) -> Option<ExitStatus> {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // A process that is gone needs no signal.
            let _ = kill_process(pid, Signal::TERM);
        }
        let status = self.wait_end(patience);
        if status.is_none() {
            self.kill();
        }
        status
    }

    /// The last of what it said on standard error.
    pub(crate) fn words(&self) -> String {
        String::from_utf8_lossy(&self.words.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Its standard error closes a moment after its end.
    fn wait_for_words(&self) {
        let since = Instant::now();
        while !self.listening.is_finished() && since.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn keep_last(mut from: impl Read, words: &Mutex<Vec<u8>>) {
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut chunk) {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend_from_slice(&chunk[..count]);
        let excess = words.len().saturating_sub(WORDS_BYTES_MAX);
        words.drain(..excess);
    }
}

/// The server to try: the one named, or the `conduit` beside this program.
pub(crate) fn binary(named: Option<&Path>) -> io::Result<PathBuf> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("conduit"),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!("{} is not there: build the server, or say where it is with --server-bin", path.display()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A server that is a shell script.
    fn script(name: &str, text: &str) -> Launch {
        let path = std::env::temp_dir().join(format!("conduit-loadtest-{name}-{}", std::process::id()));
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
        Launch { binary: path, data_dir: None, shards: 1, args: Vec::new(), failpoint: None }
    }

    #[test]
    fn a_server_is_ready_when_it_says_where_it_listens_and_gone_after_a_kill() {
        let launch = script("ready", "echo 'Conduit HTTP on 127.0.0.1:1234'; exec sleep 60");
        let mut broker = Broker::start(&launch).expect("started");
        assert_eq!(broker.wait_ready(Duration::from_secs(10)).map(|target| target.host), Ok("127.0.0.1:1234".into()));
        assert!(broker.kill() && !broker.kill());
        std::fs::remove_file(launch.binary).expect("there");
    }

    #[test]
    fn a_server_that_ends_before_it_is_ready_leaves_its_words() {
        let launch = script("ends", "echo 'no room' >&2; exit 71");
        let mut broker = Broker::start(&launch).expect("started");
        let ended = broker.wait_ready(Duration::from_secs(10));
        assert!(matches!(ended, Err(NotUp::Ended(status, words))
            if status.code() == Some(71) && words.contains("no room")));
        std::fs::remove_file(launch.binary).expect("there");
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        let gone = Path::new("no/such/conduit");
        assert!(binary(Some(gone)).is_err_and(|error| error.to_string().contains("no/such/conduit")));
    }
}
