//! Which sockets are ready, and sleeping until one is.
//!
//! A busy shard asks one epoll set for everything that is ready, once per round, and reads and writes with plain system
//! calls. An idle one waits in the same call. Giving every socket to glommio's ring instead costs a poll submission and an
//! interrupt of the shard's core for each request, and sleeping in the ring costs five system calls a wake-up:
//! `docs/adr` has the figures. The control shard, which has glommio's timers and streams to wait for, sleeps in the ring.

use conduit_protocol::ConnectionId;
use futures_lite::AsyncRead;
use glommio::net::TcpStream;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

/// Longest wait: what a caller means by "for ever".
const WAIT_MS_MAX: u64 = 60_000;

/// Events taken in one round: more wait for the next.
const EVENTS_PER_ROUND: usize = 256;

/// What became ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// A listener, by its position.
    Listener(usize),
    /// A connection.
    Connection {
        id: ConnectionId,
        /// There are bytes, the end of the stream, or an error to be read.
        readable: bool,
        /// Behind the bytes is the end of the stream, or an error.
        ended: bool,
        /// The kernel takes bytes again.
        writable: bool,
    },
    /// The log's disk has outcomes to be taken.
    Disk,
}

/// The sockets of one shard.
#[derive(Debug)]
pub(crate) struct Readiness {
    set: OwnedFd,
    events: Vec<MaybeUninit<Event>>,
    parked: Option<TcpStream>,
}

/// Listeners count down from here; connections never get that far (a generation of 2^32-1 would be needed).
const LISTENER_BASE: u64 = u64::MAX - 2;
/// The disk's, above the listeners'.
const DISK: u64 = u64::MAX - 1;
/// The bell's, above the disk's.
const BELL: u64 = u64::MAX;

impl Readiness {
    pub(crate) fn new() -> io::Result<Self> {
        let set = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { set, events: vec![MaybeUninit::uninit(); EVENTS_PER_ROUND], parked: None })
    }

    /// Watches a listening socket: it is told of as long as someone waits to be accepted.
    pub(crate) fn watch_listener(&self, socket: impl AsFd, position: usize) -> io::Result<()> {
        let data = EventData::new_u64(LISTENER_BASE - position as u64);
        Ok(epoll::add(&self.set, socket, data, EventFlags::IN)?)
    }

    /// Watches the bell of a shard: each ring wakes it, and says nothing more.
    pub(crate) fn watch_bell(&self, event: impl AsFd) -> io::Result<()> {
        let data = EventData::new_u64(BELL);
        Ok(epoll::add(&self.set, event, data, EventFlags::IN | EventFlags::ET)?)
    }

    /// Watches the ring of the shard's log: it is told of as long as a completion waits to be taken.
    pub(crate) fn watch_ring(&self, ring: impl AsFd) -> io::Result<()> {
        Ok(epoll::add(&self.set, ring, EventData::new_u64(DISK), EventFlags::IN)?)
    }

    /// Watches the event of the log's thread: each finished job is told of once.
    pub(crate) fn watch_keeper(&self, event: impl AsFd) -> io::Result<()> {
        Ok(epoll::add(&self.set, event, EventData::new_u64(DISK), EventFlags::IN | EventFlags::ET)?)
    }

    /// Watches a connection: it is told of once each time that something arrives or that room appears.
    pub(crate) fn watch(&self, socket: impl AsFd, id: ConnectionId) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.set, socket, EventData::new_u64(id.0), flags)?)
    }

    /// Forgets a socket whose descriptor lives on elsewhere. (Closing the last descriptor forgets it by itself.)
    pub(crate) fn forget(&self, socket: impl AsFd) {
        // It fails only when the socket is not watched, which is what is wanted.
        let _ = epoll::delete(&self.set, socket);
    }

    /// Appends what is ready, after waiting for it at most so long (whole milliseconds, rounded up; 0: not at all). True
    /// when there may be more.
    pub(crate) fn take(&mut self, ready: &mut Vec<Ready>, wait_ns: u64) -> bool {
        let wait_ms = wait_ns.div_ceil(1_000_000).min(WAIT_MS_MAX);
        let timeout =
            rustix::event::Timespec { tv_sec: (wait_ms / 1_000) as i64, tv_nsec: (wait_ms % 1_000 * 1_000_000) as i64 };
        let Ok((events, _)) = epoll::wait(&self.set, self.events.as_mut_slice(), Some(&timeout)) else { return false };
        let full = events.len() == EVENTS_PER_ROUND;
        for event in events.iter() {
            // The structure is packed: its fields are copied, not borrowed.
            let (flags, data) = (event.flags, event.data.u64());
            if data == BELL {
                continue;
            }
            ready.push(if data == DISK {
                Ready::Disk
            } else if data > LISTENER_BASE - 64 {
                Ready::Listener((LISTENER_BASE - data) as usize)
            } else {
                Ready::Connection {
                    id: ConnectionId(data),
                    readable: flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
                    ended: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
                    writable: flags.intersects(EventFlags::OUT | EventFlags::HUP | EventFlags::ERR),
                }
            });
        }
        full
    }

    /// Wakes the task when a socket becomes ready. Ready when one already is.
    ///
    /// glommio has no wait for a plain descriptor, but its streams ask the ring for readiness when they are made, and
    /// look at the socket only once it has come. So a stream around a second descriptor of the set serves as the wait:
    /// that the read then fails (a set is not a socket) is the message.
    pub(crate) fn poll_any(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        let stream = match &mut self.parked {
            Some(stream) => stream,
            None => {
                let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(&self.set, 0) else {
                    // Out of descriptors: look again soon instead of sleeping.
                    task.waker().wake_by_ref();
                    return Poll::Pending;
                };
                // SAFETY: the descriptor is ours alone; the stream takes over closing it.
                self.parked.insert(unsafe { TcpStream::from_raw_fd(copy.into_raw_fd()) })
            }
        };
        match Pin::new(stream).poll_read(task, &mut [0]) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) => {
                self.parked = None;
                Poll::Ready(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use glommio::LocalExecutorBuilder;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_sleeping_shard_is_woken_by_its_sockets_again_and_again() {
        let executor = LocalExecutorBuilder::default().make().expect("io_uring works here");
        executor.run(async {
            let (mut ours, theirs) = UnixStream::pair().expect("a pair");
            let mut readiness = Readiness::new().expect("a set");
            let id = ConnectionId::new(7, 3);
            readiness.watch(&theirs, id).expect("watched");
            let mut ready = Vec::new();
            readiness.take(&mut ready, 0);
            ready.clear();
            for _ in 0..3 {
                let mut writer = ours.try_clone().expect("a clone");
                let woken = std::thread::spawn(move || writer.write_all(b"x"));
                std::future::poll_fn(|task| readiness.poll_any(task)).await;
                woken.join().expect("the writer ends").expect("written");
                readiness.take(&mut ready, 0);
                let told = ready
                    .drain(..)
                    .any(|ready| matches!(ready, Ready::Connection { id: of, readable: true, .. } if of == id));
                assert!(told);
            }
            ours.write_all(b"y").expect("written");
        });
    }
}
