//! The way from one shard to another: a bounded queue, and a bell for a shard that sleeps.
//!
//! A busy shard looks at its queues once a round by itself, so a message costs its sender one push. Only a sleeping
//! shard is rung: the bell is an event descriptor among the sockets that it sleeps on.

use crate::mesh::MeshMessage;
use crate::readiness::Readiness;
use crossbeam_queue::ArrayQueue;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Wakes one shard.
#[derive(Debug)]
struct Bell {
    event: OwnedFd,
    /// The shard sleeps, or is about to: it has looked at its queues for the last time.
    sleeping: AtomicBool,
}

/// The sending end of one link.
#[derive(Debug, Clone)]
pub(crate) struct LinkSender {
    queue: Arc<ArrayQueue<MeshMessage>>,
    bell: Arc<Bell>,
}

impl LinkSender {
    /// Sends, or gives the message back when the queue is full.
    pub(crate) fn try_send(&self, message: MeshMessage) -> Result<(), MeshMessage> {
        self.queue.push(message)?;
        // Pairs with the fence in `may_sleep`: either the receiver sees the message before it sleeps, or this sees that
        // it sleeps.
        fence(Ordering::SeqCst);
        if self.bell.sleeping.load(Ordering::Relaxed) && self.bell.sleeping.swap(false, Ordering::Relaxed) {
            // It cannot fail short of 2^64 rings that nobody heard.
            let _ = rustix::io::write(&self.bell.event, &1_u64.to_ne_bytes());
        }
        Ok(())
    }
}

/// The receiving ends of one shard.
#[derive(Debug)]
pub(crate) struct Inbound {
    queues: Vec<Arc<ArrayQueue<MeshMessage>>>,
    bell: Arc<Bell>,
    turn: usize,
}

impl Inbound {
    /// The next message, from each peer in turn.
    pub(crate) fn take(&mut self) -> Option<MeshMessage> {
        for _ in 0..self.queues.len() {
            self.turn = (self.turn + 1) % self.queues.len();
            if let Some(message) = self.queues[self.turn].pop() {
                return Some(message);
            }
        }
        None
    }

    /// One more link, from somebody who is no shard.
    pub(crate) fn open(&mut self, capacity: usize) -> LinkSender {
        let queue = Arc::new(ArrayQueue::new(capacity));
        self.queues.push(queue.clone());
        LinkSender { queue, bell: self.bell.clone() }
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.iter().all(|queue| queue.is_empty())
    }

    /// The shard is awake: it need not be rung.
    pub(crate) fn wake_up(&self) {
        self.bell.sleeping.store(false, Ordering::Relaxed);
    }

    /// Asks to be rung from now on. False when a message has come in the meantime: then the shard must not sleep.
    pub(crate) fn may_sleep(&self) -> bool {
        self.bell.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let is_empty = self.is_empty();
        if !is_empty {
            self.wake_up();
        }
        is_empty
    }

    /// Puts the bell among the sockets that the shard sleeps on.
    pub(crate) fn watch(&self, readiness: &Readiness) -> io::Result<()> {
        readiness.watch_bell(&self.bell.event)
    }
}

/// One peer's ends of all links.
#[derive(Debug)]
pub(crate) struct Links {
    /// By peer; none to oneself.
    pub(crate) senders: Vec<Option<LinkSender>>,
    pub(crate) inbound: Inbound,
}

impl Links {
    /// A link for each ordered pair of peers, with room for `capacity` messages.
    pub(crate) fn between(peers: usize, capacity: usize) -> io::Result<Vec<Self>> {
        let mut all = Vec::with_capacity(peers);
        for _ in 0..peers {
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let bell = Arc::new(Bell { event, sleeping: AtomicBool::new(false) });
            let inbound = Inbound { queues: Vec::with_capacity(peers - 1), bell, turn: 0 };
            all.push(Self { senders: (0..peers).map(|_| None).collect(), inbound });
        }
        for from in 0..peers {
            for to in (0..peers).filter(|to| *to != from) {
                let queue = Arc::new(ArrayQueue::new(capacity));
                all[to].inbound.queues.push(queue.clone());
                let bell = all[to].inbound.bell.clone();
                all[from].senders[to] = Some(LinkSender { queue, bell });
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(ticket: u64) -> MeshMessage {
        MeshMessage::SnapshotWanted { ticket, wants: crate::control::Wants::default() }
    }

    fn two() -> (Links, Links) {
        let mut all = Links::between(2, 2).expect("links");
        let second = all.pop().expect("two");
        (all.pop().expect("two"), second)
    }

    #[test]
    fn a_full_link_gives_the_message_back_and_loses_nothing() {
        let (first, mut second) = two();
        let sender = first.senders[1].as_ref().expect("a link");
        assert!(sender.try_send(MeshMessage::Drain { timeout_ms: 0 }).is_ok());
        assert!(sender.try_send(MeshMessage::Stop).is_ok());
        assert!(matches!(sender.try_send(wanted(3)), Err(MeshMessage::SnapshotWanted { ticket: 3, .. })));
        assert!(matches!(second.inbound.take(), Some(MeshMessage::Drain { .. })));
        assert!(matches!(second.inbound.take(), Some(MeshMessage::Stop)));
        assert!(second.inbound.take().is_none());
    }

    #[test]
    fn a_shard_with_a_message_does_not_sleep_and_a_sleeping_one_is_rung_once() {
        let (first, mut second) = two();
        let sender = first.senders[1].as_ref().expect("a link");
        assert!(second.inbound.may_sleep());
        assert!(sender.try_send(MeshMessage::Drain { timeout_ms: 0 }).is_ok());
        assert!(sender.try_send(MeshMessage::Drain { timeout_ms: 0 }).is_ok());
        let mut rings = [0; 8];
        assert_eq!(rustix::io::read(&second.inbound.bell.event, &mut rings), Ok(8));
        assert_eq!(u64::from_ne_bytes(rings), 1);
        assert!(!second.inbound.may_sleep());
        while second.inbound.take().is_some() {}
        assert!(second.inbound.may_sleep());
    }

    #[test]
    fn messages_of_one_peer_keep_their_order_across_threads_and_none_is_missed_by_a_sleeper() {
        const MESSAGES: u64 = 20_000;
        let (first, mut second) = two();
        let sending = std::thread::spawn(move || {
            let sender = first.senders[1].as_ref().expect("a link");
            for ticket in 0..MESSAGES {
                let mut message = wanted(ticket);
                while let Err(back) = sender.try_send(message) {
                    message = back;
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < MESSAGES {
            while let Some(message) = second.inbound.take() {
                assert!(matches!(message, MeshMessage::SnapshotWanted { ticket, .. } if ticket == expected));
                expected += 1;
            }
            if expected < MESSAGES && second.inbound.may_sleep() {
                // As a shard does, but without a ring: waits until the bell rings. A missed ring would hang the test.
                let mut fds = [rustix::event::PollFd::new(&second.inbound.bell.event, rustix::event::PollFlags::IN)];
                rustix::event::poll(&mut fds, None).expect("poll");
                let _ = rustix::io::read(&second.inbound.bell.event, &mut [0; 8]);
                second.inbound.wake_up();
            }
        }
        sending.join().expect("the sender ends");
    }
}
