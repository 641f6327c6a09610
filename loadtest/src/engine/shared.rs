//! What the generator threads and the conductor share. Nothing here is locked on the hot path.

use super::tally::{Counts, Interval};
use crate::plan::Plan;
use mio::Waker;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Where a run stands. Phases only move forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Load flows, nothing counts.
    Warmup = 0,
    /// Load flows and counts.
    Measure = 1,
    /// Nothing new is published; what is on its way may arrive.
    Drain = 2,
    /// Connections say goodbye.
    Quit = 3,
}

/// Error texts that are kept; more are only counted.
const FAULTS_LISTED_MAX: usize = 20;

/// One run's common ground.
#[derive(Debug)]
pub(crate) struct Shared {
    phase: AtomicU8,
    started: Instant,
    producers: Box<[ProducerFlow]>,
    pub(crate) threads: Box<[ThreadFlow]>,
    intervals: Mutex<Vec<Interval>>,
    faults: Mutex<Vec<String>>,
}

/// How many messages of a producer have been delivered. On its own cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct ProducerFlow {
    delivered: AtomicU64,
}

/// One thread as the others see it. On its own cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct ThreadFlow {
    waker: Waker,
    /// It sleeps, or is about to.
    parked: AtomicBool,
    /// Rises whenever another thread has delivered something of its producers.
    released: AtomicU64,
    /// Its counters, copied once per turn.
    figures: [AtomicU64; Counts::FIELDS],
    /// Nothing of its own is on its way: no unanswered request, nothing unwritten.
    settled: AtomicBool,
}

impl Shared {
    pub(crate) fn new(plan: &Plan, wakers: Vec<Waker>) -> Self {
        let threads = wakers.into_iter().map(|waker| ThreadFlow {
            waker,
            parked: AtomicBool::new(false),
            released: AtomicU64::new(0),
            figures: std::array::from_fn(|_| AtomicU64::new(0)),
            settled: AtomicBool::new(false),
        });
        Self {
            phase: AtomicU8::new(Phase::Warmup as u8),
            started: Instant::now(),
            producers: (0..plan.producers).map(|_| ProducerFlow::default()).collect(),
            threads: threads.collect(),
            intervals: Mutex::new(Vec::new()),
            faults: Mutex::new(Vec::new()),
        }
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Warmup,
            1 => Phase::Measure,
            2 => Phase::Drain,
            _ => Phase::Quit,
        }
    }

    /// Moves every thread to `phase`.
    pub(crate) fn enter(&self, phase: Phase) {
        for thread in &self.threads {
            thread.settled.store(false, Ordering::Release);
        }
        self.phase.store(phase as u8, Ordering::Release);
        for thread in &self.threads {
            thread.wake();
        }
    }

    /// Messages of `producer` that consumers have got.
    pub(crate) fn delivered(&self, producer: u32) -> u64 {
        self.producers[producer as usize].delivered.load(Ordering::Acquire)
    }

    /// Notes that consumers got `count` more messages of `producer`.
    pub(crate) fn note_delivered(&self, producer: u32, count: u64) {
        self.producers[producer as usize].delivered.fetch_add(count, Ordering::AcqRel);
    }

    /// All threads' counters, as of their last turn.
    pub(crate) fn figures(&self) -> Counts {
        let mut sum = [0; Counts::FIELDS];
        for thread in &self.threads {
            for (sum, figure) in sum.iter_mut().zip(&thread.figures) {
                *sum += figure.load(Ordering::Relaxed);
            }
        }
        Counts::from_fields(sum)
    }

    /// Every thread has nothing on its way.
    pub(crate) fn is_settled(&self) -> bool {
        self.threads.iter().all(|thread| thread.settled.load(Ordering::Acquire))
    }

    pub(crate) fn push_interval(&self, interval: Interval) {
        lock(&self.intervals).push(interval);
    }

    /// The intervals that were pushed since the last call.
    pub(crate) fn take_intervals(&self) -> Vec<Interval> {
        std::mem::take(&mut *lock(&self.intervals))
    }

    /// Keeps the text of a fault, up to a bound.
    pub(crate) fn note_fault(&self, text: String) {
        let mut faults = lock(&self.faults);
        if faults.len() < FAULTS_LISTED_MAX && !faults.contains(&text) {
            faults.push(text);
        }
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        lock(&self.faults).clone()
    }
}

impl ThreadFlow {
    /// Tells the thread that windows of its producers may have opened.
    pub(crate) fn release(&self) {
        self.released.fetch_add(1, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    pub(crate) fn released(&self) -> u64 {
        self.released.load(Ordering::SeqCst)
    }

    /// Says whether the thread sleeps. After saying yes it must look at [`Self::released`] once more.
    pub(crate) fn park(&self, is_parked: bool) {
        self.parked.store(is_parked, Ordering::SeqCst);
    }

    fn wake(&self) {
        // A waker fails only when its poll is gone, and then there is nobody to wake.
        let _ = self.waker.wake();
    }

    pub(crate) fn publish(&self, counts: &Counts, is_settled: bool) {
        for (figure, count) in self.figures.iter().zip(counts.fields()) {
            figure.store(count, Ordering::Relaxed);
        }
        self.settled.store(is_settled, Ordering::Release);
    }
}

/// A thread that panicked in the middle of a push leaves a whole list behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
