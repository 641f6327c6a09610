//! What the roles of one thread share.

use super::shared::Shared;
use super::tally::Tally;
use crate::message::{MessageId, SentAt};
use crate::plan::Plan;
use crate::verify::{Judgement, OrderSeen, StreamLedger};
use crate::wire::delivery::Delivered;
use crate::wire::frame::MaskKeys;
use std::collections::VecDeque;
use std::sync::Arc;

/// One thread's state besides its connections.
pub(crate) struct World {
    pub(crate) plan: Arc<Plan>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) thread: usize,
    pub(crate) tally: Tally,
    pub(crate) ledgers: Vec<StreamLedger>,
    pub(crate) keys: MaskKeys,
    /// Latencies count.
    pub(crate) is_measured: bool,
    /// Nothing new may be sent.
    pub(crate) is_stopping: bool,
    /// Connections (places in the generator's table) that may have something to send.
    pub(crate) runnable: VecDeque<usize>,
    /// When to look at a connection again; times rise, because the delay is always the same.
    pub(crate) later: VecDeque<(u64, usize)>,
    /// The connection whose role is running.
    pub(crate) current: usize,
    /// Where each of this thread's producers is in the table; `usize::MAX` for those of other threads.
    pub(crate) place_of_producer: Vec<usize>,
    /// Threads whose producers got something delivered in this turn.
    pub(crate) released: Vec<bool>,
    /// Deliveries of one producer that follow each other are told to the window in one go.
    run_producer: u32,
    run_length: u64,
}

impl World {
    pub(crate) fn new(plan: Arc<Plan>, shared: Arc<Shared>, thread: usize) -> Self {
        let (producers, threads) = (plan.producers as usize, plan.threads);
        Self {
            plan,
            thread,
            tally: Tally::new(),
            ledgers: Vec::new(),
            keys: MaskKeys::new(shared.now_ns() ^ (thread as u64 + 1) << 32),
            shared,
            is_measured: false,
            is_stopping: false,
            runnable: VecDeque::new(),
            later: VecDeque::new(),
            current: 0,
            place_of_producer: vec![usize::MAX; producers],
            released: vec![false; threads],
            run_producer: u32::MAX,
            run_length: 0,
        }
    }

    /// Judges and counts one delivery that arrived at `now_ns`.
    pub(crate) fn take_delivery(&mut self, ledger: usize, order: &mut OrderSeen, delivered: &Delivered, now_ns: u64) {
        let Some(content) = delivered.content else {
            self.tally.counts.foreign += 1;
            return;
        };
        if !content.is_intact {
            self.tally.counts.corrupted += 1;
            self.shared.note_fault(format!("corrupted: {}", named(content.id)));
        }
        let judgement = self.ledgers[ledger].judge(order, content.id, content.sent, delivered.attempt);
        let counts = &mut self.tally.counts;
        match judgement {
            Judgement::First => counts.delivered += 1,
            Judgement::Reordered => {
                counts.delivered += 1;
                counts.reordered += 1;
                self.shared.note_fault(format!("reordered: {} at seq {}", named(content.id), delivered.seq));
            }
            Judgement::Redelivered => {
                counts.redelivered += 1;
                return;
            }
            Judgement::Duplicate => {
                counts.duplicates += 1;
                self.shared.note_fault(format!("duplicate: {} at seq {}", named(content.id), delivered.seq));
                return;
            }
            Judgement::Foreign => {
                counts.foreign += 1;
                return;
            }
            Judgement::Misrouted => {
                counts.misrouted += 1;
                let stream = self.ledgers[ledger].stream();
                self.shared.note_fault(format!("misrouted: {} came on stream {stream}", named(content.id)));
                return;
            }
        }
        self.note_latency(content.sent, now_ns);
        self.lengthen_run(content.id.producer);
    }

    fn note_latency(&mut self, sent: SentAt, now_ns: u64) {
        if self.is_measured {
            self.tally.latencies.deliver.saturating_record(now_ns.saturating_sub(sent.intended_ns).max(1));
        }
    }

    /// Notes that a publish that should have gone at `intended_ns` was answered.
    pub(crate) fn note_accepted(&mut self, intended_ns: u64, now_ns: u64) {
        self.tally.counts.accepted += 1;
        if self.is_measured {
            self.tally.latencies.accept.saturating_record(now_ns.saturating_sub(intended_ns).max(1));
        }
    }

    /// Notes how late the first message of a batch goes out.
    pub(crate) fn note_send_lag(&mut self, intended_ns: u64, now_ns: u64) {
        if self.is_measured {
            self.tally.latencies.send_lag.saturating_record(now_ns.saturating_sub(intended_ns).max(1));
        }
    }

    fn lengthen_run(&mut self, producer: u32) {
        if producer != self.run_producer {
            self.end_run();
            self.run_producer = producer;
        }
        self.run_length += 1;
    }

    /// Tells the last producer's window about its deliveries. Called when a read has been worked through.
    pub(crate) fn end_run(&mut self) {
        if self.run_length == 0 {
            return;
        }
        let producer = self.run_producer;
        self.shared.note_delivered(producer, self.run_length);
        self.run_length = 0;
        let place = self.place_of_producer[producer as usize];
        if place == usize::MAX {
            self.released[self.plan.thread_of_producer(producer)] = true;
        } else if self.runnable.back() != Some(&place) {
            self.runnable.push_back(place);
        }
    }

    /// Wakes the threads whose producers may go on.
    pub(crate) fn release_others(&mut self) {
        for (thread, released) in self.released.iter_mut().enumerate() {
            if std::mem::take(released) {
                self.shared.threads[thread].release();
            }
        }
    }

    /// Counts a failed request and keeps its text.
    pub(crate) fn note_error(&mut self, text: String) {
        self.tally.counts.errors += 1;
        self.shared.note_fault(text);
    }

    /// Counts a `Backpressure` answer and asks for the connection to be looked at again; returns when.
    pub(crate) fn note_backpressure(&mut self, now_ns: u64) -> u64 {
        self.tally.counts.backpressure += 1;
        // Nothing goes again once the end has begun.
        self.tally.counts.excused += u64::from(self.is_stopping);
        let due_ns = now_ns + self.plan.retry.as_nanos() as u64;
        self.later.push_back((due_ns, self.current));
        due_ns
    }
}

fn named(id: MessageId) -> String {
    format!("message {} of producer {} to stream {}", id.number, id.producer, id.stream)
}
