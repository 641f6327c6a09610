//! Other processes: their CPU time, their memory, and starting and stopping them on chosen cores.

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::TcpStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// CPU time of a process and its children (user and system together), in nanoseconds.
///
/// # Errors
/// When the process is gone or its figures cannot be read.
pub fn cpu_ns_with_children(pid: u32) -> io::Result<u64> {
    // A child that ended meanwhile has no figures to give.
    let below: u64 = children(pid).into_iter().map(|child| cpu_ns_with_children(child).unwrap_or(0)).sum();
    Ok(cpu_ns(pid)? + below)
}

/// CPU time of a process alone (user and system together), in nanoseconds.
///
/// The sum over `/proc/PID/task/*/schedstat`, which counts nanoseconds; threads that have ended are not in it, so it is
/// meant for windows in which none ends. Where the kernel has no schedstat, the ticks of `/proc/PID/stat` are used.
///
/// # Errors
/// When the process is gone or its figures cannot be read.
pub fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    let mut has_schedstat = true;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else {
            has_schedstat = false;
            continue;
        };
        sum += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    if !has_schedstat && sum == 0 {
        sum = cpu_ns_by_ticks(pid)?;
    }
    Ok(sum)
}

fn cpu_ns_by_ticks(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; fields 14 and 15 (user and system ticks) are counted from behind it.
    let fields: Vec<u64> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let ticks = fields.get(11).copied().unwrap_or(0) + fields.get(12).copied().unwrap_or(0);
    // What the kernel shows to user space always ticks 100 times a second on Linux.
    Ok(ticks * 10_000_000)
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Everything resident (`VmRSS`).
    pub rss_bytes: u64,
    /// The anonymous part (`RssAnon`): heaps and stacks, what the process itself asked for.
    pub anon_bytes: u64,
    /// The highest `VmRSS` so far.
    pub rss_peak_bytes: u64,
}

/// Memory of a process (without its children).
///
/// # Errors
/// When the process is gone.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<u64>().ok());
        number.unwrap_or(0) * 1024
    };
    Ok(Memory { rss_bytes: bytes("VmRSS:"), anon_bytes: bytes("RssAnon:"), rss_peak_bytes: bytes("VmHWM:") })
}

/// How long the process and its children have had to wait for a core while they could run, in nanoseconds: a sign of
/// busy neighbours.
///
/// # Errors
/// When the process is gone.
pub fn wait_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').nth(1).and_then(|second| second.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum + children(pid).into_iter().map(|child| wait_ns(child).unwrap_or(0)).sum::<u64>())
}

/// Pins the calling thread (and the processes it starts) to `cpus`. Nothing happens when there are none.
///
/// # Errors
/// When the system refuses, for instance because a CPU does not exist.
pub fn pin(cpus: &[usize]) -> io::Result<()> {
    if cpus.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Lets this process open as many files as it is allowed to; the number.
#[must_use]
pub fn raise_file_limit() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If it cannot be raised, the old one holds, which is what is returned.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// A process of ours that is stopped when this value goes.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

impl Running {
    /// Starts `command` on `cpus` (empty: anywhere).
    ///
    /// # Errors
    /// When it cannot be started or pinned.
    pub fn start(mut command: Command, cpus: &[usize]) -> io::Result<Self> {
        let cpus = cpus.to_vec();
        // A child inherits the affinity of the thread that starts it, so a thread is pinned for just that.
        let starter = std::thread::spawn(move || {
            pin(&cpus)?;
            command.spawn()
        });
        let child = starter.join().map_err(|_| io::Error::other("the starting thread panicked"))??;
        Ok(Self { child })
    }

    /// Its process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `port` on loopback takes connections.
    ///
    /// # Errors
    /// When the process ends first, or nothing listens in ten seconds.
    pub fn wait_for_port(&mut self, port: u16) -> io::Result<()> {
        let patience = Instant::now();
        while patience.elapsed() < Duration::from_secs(10) {
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("it ended at once: {status}")));
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other(format!("nothing listens on port {port} after 10 s")))
    }

    /// Asks it to end, and ends it after five seconds.
    pub fn stop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // A process that has ended already needs no signal.
            let _ = kill_process(pid, Signal::TERM);
        }
        let patience = Instant::now();
        while patience.elapsed() < Duration::from_secs(5) {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Both fail only for a process that is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A loopback port that was free a moment ago.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_figures_can_be_read_and_grow() {
        let pid = std::process::id();
        let before = cpu_ns(pid).expect("we run");
        let mut sum = 0u64;
        for number in 0..20_000_000u64 {
            sum = std::hint::black_box(sum ^ number);
        }
        assert!(cpu_ns(pid).expect("we run") > before);
        assert!(memory(pid).expect("we run").anon_bytes > 0);
    }

    #[test]
    fn a_started_process_is_gone_after_stop() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let mut running = Running::start(command, &[]).expect("sleep exists");
        let pid = running.pid();
        running.stop();
        assert!(cpu_ns(pid).is_err());
    }
}
