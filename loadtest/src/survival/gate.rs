//! What the threads of the load are told: where the server is now, and how far the round has come.

use crate::plan::Target;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How far a round has come. Phases only move forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Messages are made, consumed and acked.
    Load = 0,
    /// No new message is made; what was not answered is repeated until it is.
    Settle = 1,
    /// Everybody stops.
    End = 2,
}

/// One life of the server, numbered from 1.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// Its number.
    pub(crate) number: u64,
    /// Where it listens.
    pub(crate) target: Target,
}

/// Shared by the runner and all threads of the load.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    life: Mutex<Option<Life>>,
    changed: Condvar,
    lives: AtomicU64,
    /// Answers of lives up to this number no longer count.
    ended: AtomicU64,
    phase: AtomicU8,
}

impl Gate {
    /// A server is up.
    pub(crate) fn open(&self, target: Target) {
        let number = self.lives.fetch_add(1, Ordering::SeqCst) + 1;
        *self.lock() = Some(Life { number, target });
        self.changed.notify_all();
    }

    /// The server is about to go: connections break by themselves, and new ones wait for the next life.
    pub(crate) fn close(&self) {
        *self.lock() = None;
    }

    /// From here on no answer of this life counts. Called before the power goes: whoever has read an answer and sees
    /// [`Self::counts`] still true had it before.
    pub(crate) fn end_life(&self) {
        self.ended.store(self.lives.load(Ordering::SeqCst), Ordering::SeqCst);
        self.close();
    }

    /// An answer of that life, read before this call, may be relied on.
    pub(crate) fn counts(&self, life: u64) -> bool {
        self.ended.load(Ordering::SeqCst) < life
    }

    /// Waits for a server, at most for `patience`.
    pub(crate) fn wait(&self, patience: Duration) -> Option<Life> {
        let waited = self.changed.wait_timeout_while(self.lock(), patience, |life| life.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Goes on to a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// The phase now.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Load,
            1 => Phase::Settle,
            _ => Phase::End,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Life>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_an_ended_life_does_not_count_and_one_of_the_next_does() {
        let gate = Gate::default();
        assert!(gate.wait(Duration::ZERO).is_none());
        gate.open(Target::loopback(1));
        let first = gate.wait(Duration::ZERO).expect("open").number;
        assert!(gate.counts(first));
        gate.end_life();
        assert!(!gate.counts(first) && gate.wait(Duration::ZERO).is_none());
        gate.open(Target::loopback(2));
        let second = gate.wait(Duration::ZERO).expect("open").number;
        assert!(gate.counts(second) && !gate.counts(first));
    }
}
