//! A child process that cannot outlive its test, and everything that it says.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing that a test waits for takes longer than this on a machine that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One output of a child, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Output {
    state: Mutex<OutputState>,
    grew: Condvar,
}

#[derive(Debug, Default)]
struct OutputState {
    text: String,
    ended: bool,
}

impl Output {
    fn collect(from: impl Read + Send + 'static) -> Arc<Self> {
        let output = Arc::new(Self::default());
        let filled = output.clone();
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            while matches!(from.read_until(b'\n', &mut line), Ok(1..)) {
                filled.change(|state| state.text.push_str(&String::from_utf8_lossy(&line)));
                line.clear();
            }
            filled.change(|state| state.ended = true);
        });
        output
    }

    fn change(&self, change: impl FnOnce(&mut OutputState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.grew.notify_all();
    }

    /// What has come so far.
    pub(crate) fn text(&self) -> String {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).text.clone()
    }

    /// Waits for the first line that contains `needle`; `None` when the output ends without one.
    pub(crate) fn line_with(&self, needle: &str) -> Option<String> {
        self.lines_with(needle, 1).pop()
    }

    /// Waits for `count` lines that contain `needle`; fewer when the output ends without them.
    pub(crate) fn lines_with(&self, needle: &str, count: usize) -> Vec<String> {
        let found = |state: &OutputState| -> Vec<String> {
            // The last piece is a line only when its end has come.
            let whole = state.text.split_inclusive('\n').filter(|line| line.ends_with('\n') || state.ended);
            whole.filter(|line| line.contains(needle)).take(count).map(|line| line.trim_end().to_owned()).collect()
        };
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.grew.wait_timeout_while(state, PATIENCE, |state| found(state).len() < count && !state.ended);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        found(&state)
    }

    /// Everything, once the child has closed it.
    pub(crate) fn whole(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.grew.wait_timeout_while(state, PATIENCE, |state| !state.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.text.clone()
    }
}

/// A running (or ended) child. Dropping it asks it to end, then makes it.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    pid: Pid,
    exited: mpsc::Receiver<ExitStatus>,
    status: Option<ExitStatus>,
    pub(crate) stdout: Arc<Output>,
    pub(crate) stderr: Arc<Output>,
}

impl Process {
    /// Starts a command with nothing on its standard input.
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| {
            panic!("{name} cannot be run: {error}\n  remedy: tests/run.sh installs what the tests need")
        });
        let stdout = Output::collect(child.stdout.take().expect("a pipe"));
        let stderr = Output::collect(child.stderr.take().expect("a pipe"));
        let pid = Pid::from_child(&child);
        let (exit, exited) = mpsc::channel();
        thread::spawn(move || {
            if let Ok(status) = child.wait() {
                let _ = exit.send(status);
            }
        });
        Self { name, pid, exited, status: None, stdout, stderr }
    }

    /// Sends a signal, unless the child has ended.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.poll_exit(Duration::ZERO);
        if self.status.is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// The most memory that it has had so far.
    pub(crate) fn peak_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("its status");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
        peak.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1_024
    }

    /// Waits for the end of the child.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        self.poll_exit(PATIENCE);
        self.status.unwrap_or_else(|| panic!("{} is still running\n{}", self.name, self.words()))
    }

    /// Waits for the end of the child: its exit code, -1 when a signal ended it.
    pub(crate) fn exit_code(&mut self) -> i32 {
        self.exit().code().unwrap_or(-1)
    }

    fn poll_exit(&mut self, patience: Duration) {
        if self.status.is_none() {
            self.status = self.exited.recv_timeout(patience).ok();
        }
    }

    /// What it said, for the text of a failure.
    pub(crate) fn words(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}---", self.stdout.text(), self.stderr.text())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        self.poll_exit(Duration::from_secs(2));
        self.signal(Signal::KILL);
        self.poll_exit(PATIENCE);
        if thread::panicking() {
            eprintln!("{} said:\n{}", self.name, self.words());
        }
    }
}

/// Asks until there is an answer. For what a server does soon, but not in the answer to a request.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let patience_ends = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < patience_ends, "never came: {what}");
        thread::yield_now();
    }
}
