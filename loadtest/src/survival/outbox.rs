//! What one producer has made and not yet got an answer to.

use std::collections::VecDeque;

/// Numbers of messages on their way. Messages go out in order, and after a reconnect again in order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The number of the next new message.
    next: u64,
    /// Made and not answered, rising.
    unanswered: VecDeque<u64>,
    /// Of those, how many from the front have been sent on this connection.
    sent: usize,
    /// Refused for now, rising; they go again when nothing else is on its way.
    refused: VecDeque<u64>,
}

impl Outbox {
    /// The next message to send, if there is one: a repeat, else a new one when `may_make` and the window allow it.
    pub(crate) fn draw(&mut self, window: usize, may_make: bool) -> Option<u64> {
        if self.unanswered.is_empty() && !self.refused.is_empty() {
            self.unanswered.append(&mut self.refused);
            self.sent = 0;
        }
        if self.sent >= window {
            return None;
        }
        if let Some(number) = self.unanswered.get(self.sent) {
            self.sent += 1;
            return Some(*number);
        }
        // While something was refused, new messages would only run ahead of it.
        if !may_make || !self.refused.is_empty() {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.unanswered.push_back(number);
        self.sent += 1;
        Some(number)
    }

    /// It was accepted; false when no answer was due for it.
    pub(crate) fn accept(&mut self, number: u64) -> bool {
        self.take(number)
    }

    /// It was refused and shall go again later; false when no answer was due for it.
    pub(crate) fn refuse(&mut self, number: u64) -> bool {
        let was_due = self.take(number);
        if was_due {
            let place = self.refused.partition_point(|other| *other < number);
            self.refused.insert(place, number);
        }
        was_due
    }

    /// The connection is gone: everything without an answer goes again, in order.
    pub(crate) fn reconnect(&mut self) {
        self.unanswered.extend(self.refused.drain(..));
        self.unanswered.make_contiguous().sort_unstable();
        self.sent = 0;
    }

    /// How many were sent on this connection and not answered.
    pub(crate) fn on_their_way(&self) -> usize {
        self.sent
    }

    /// Everything made was accepted.
    pub(crate) fn is_settled(&self) -> bool {
        self.unanswered.is_empty() && self.refused.is_empty()
    }

    /// Messages made.
    pub(crate) fn made(&self) -> u64 {
        self.next
    }

    fn take(&mut self, number: u64) -> bool {
        let found = self.unanswered.iter().take(self.sent).position(|other| *other == number);
        if let Some(place) = found {
            self.unanswered.remove(place);
            self.sent -= 1;
        }
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(outbox: &mut Outbox, window: usize, may_make: bool) -> Vec<u64> {
        std::iter::from_fn(|| outbox.draw(window, may_make)).collect()
    }

    #[test]
    fn no_more_than_the_window_is_on_its_way() {
        let mut outbox = Outbox::default();
        assert_eq!(drawn(&mut outbox, 3, true), [0, 1, 2]);
        assert!(outbox.accept(1) && !outbox.accept(1));
        assert_eq!(drawn(&mut outbox, 3, true), [3]);
        assert_eq!(outbox.on_their_way(), 3);
    }

    #[test]
    fn after_a_reconnect_the_unanswered_go_again_in_order_before_anything_new() {
        let mut outbox = Outbox::default();
        drawn(&mut outbox, 5, true);
        assert!(outbox.accept(0) && outbox.refuse(2) && outbox.accept(3));
        outbox.reconnect();
        assert_eq!(drawn(&mut outbox, 5, true), [1, 2, 4, 5, 6]);
        assert_eq!(outbox.made(), 7);
    }

    #[test]
    fn what_was_refused_goes_again_when_nothing_else_is_on_its_way_and_nothing_new_runs_ahead() {
        let mut outbox = Outbox::default();
        drawn(&mut outbox, 4, true);
        assert!(outbox.refuse(3) && outbox.refuse(1) && outbox.accept(0));
        assert_eq!(drawn(&mut outbox, 4, true), [0; 0], "2 is still on its way");
        assert!(outbox.accept(2));
        assert_eq!(drawn(&mut outbox, 4, false), [1, 3]);
        assert!(outbox.accept(1) && !outbox.is_settled() && outbox.accept(3) && outbox.is_settled());
        assert_eq!(drawn(&mut outbox, 4, false), [0; 0]);
    }

    #[test]
    fn an_answer_to_what_was_not_sent_on_this_connection_is_not_taken() {
        let mut outbox = Outbox::default();
        drawn(&mut outbox, 2, true);
        outbox.reconnect();
        assert!(!outbox.accept(0) && !outbox.refuse(1));
        assert_eq!(outbox.draw(2, false), Some(0));
        assert!(outbox.accept(0));
    }
}
