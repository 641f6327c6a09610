//! What the writer's thread sleeps on: a bell that shards ring, and the signals that ask for new files.

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use signal_hook::consts::{SIGHUP, SIGUSR1};
use signal_hook::low_level::pipe;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes the thread. Ringing costs a system call only while it sleeps.
#[derive(Debug)]
pub(super) struct Bell {
    event: OwnedFd,
    is_asleep: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Self { event, is_asleep: AtomicBool::new(false) })
    }

    /// Something was put where the thread looks. In this order: what was put there before is seen by the thread, or the
    /// thread is woken.
    pub(super) fn ring(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            // A counter that is full has been rung enough.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// Sleeps until the bell or a signal, unless there is something to do after all.
    pub(super) fn sleep(&self, rotation: &Rotation, is_idle: impl FnOnce() -> bool) {
        self.is_asleep.store(true, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        if is_idle() {
            let mut both = [PollFd::new(&self.event, PollFlags::IN), PollFd::new(&rotation.0, PollFlags::IN)];
            // An interrupted sleep is a short one.
            let _ = poll(&mut both, None);
        }
        self.is_asleep.store(false, Ordering::SeqCst);
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }
}

/// The signals that ask for new files: bytes in a pipe.
#[derive(Debug)]
pub(super) struct Rotation(UnixStream);

impl Rotation {
    /// Registers SIGUSR1 and SIGHUP.
    pub(super) fn register() -> io::Result<Self> {
        let (asked, ask) = UnixStream::pair()?;
        asked.set_nonblocking(true)?;
        pipe::register(SIGUSR1, ask.try_clone()?)?;
        pipe::register(SIGHUP, ask)?;
        Ok(Self(asked))
    }

    /// Whether a signal has come since the last time.
    pub(super) fn is_asked_for(&self) -> bool {
        let mut is_asked = false;
        while matches!((&self.0).read(&mut [0; 64]), Ok(1..)) {
            is_asked = true;
        }
        is_asked
    }
}
