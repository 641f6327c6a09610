//! A producer's supply of messages: which comes next, when it should go, and which must go again.

use crate::pace::Timetable;
use std::collections::VecDeque;

/// A message to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) number: u64,
    pub(crate) intended_ns: u64,
    pub(crate) retried: bool,
}

/// One producer's supply.
#[derive(Debug)]
pub(crate) struct Tickets {
    next: u64,
    end: u64,
    timetable: Option<Timetable>,
    retries: VecDeque<(u64, Ticket)>,
}

impl Tickets {
    /// A supply of `end` messages; with a timetable, each at its time.
    pub(crate) const fn new(end: u64, timetable: Option<Timetable>) -> Self {
        Self { next: 0, end, timetable, retries: VecDeque::new() }
    }

    /// How many tickets have been drawn (retries not counted again).
    pub(crate) const fn drawn(&self) -> u64 {
        self.next
    }

    /// How many fresh tickets may be drawn now, given that at most `room` fit into the window.
    pub(crate) fn ready(&self, now_ns: u64, room: u64) -> u64 {
        let due = self.timetable.as_ref().map_or(u64::MAX, |table| table.due(now_ns));
        due.min(self.end).saturating_sub(self.next).min(room)
    }

    /// Draws the next fresh ticket; only as often as [`Self::ready`] said.
    pub(crate) fn draw(&mut self, now_ns: u64) -> Ticket {
        let number = self.next;
        self.next += 1;
        Ticket { number, intended_ns: self.intended_ns(number, now_ns), retried: false }
    }

    fn intended_ns(&self, number: u64, now_ns: u64) -> u64 {
        self.timetable.as_ref().map_or(now_ns, |table| table.intended_ns(number))
    }

    /// Puts a refused message back, to go again at `due_ns`. Calls come with rising `due_ns`.
    pub(crate) fn put_back(&mut self, ticket: Ticket, due_ns: u64) {
        self.retries.push_back((due_ns, Ticket { retried: true, ..ticket }));
    }

    /// A refused message whose time has come.
    pub(crate) fn draw_retry(&mut self, now_ns: u64) -> Option<Ticket> {
        self.retries.pop_front_if(|(due_ns, _)| *due_ns <= now_ns).map(|(_, ticket)| ticket)
    }

    /// The refused messages that never went again.
    pub(crate) fn unsent_retries(&self) -> impl Iterator<Item = u64> + '_ {
        self.retries.iter().map(|(_, ticket)| ticket.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closed_loop_is_bounded_by_room_and_by_the_end() {
        let mut tickets = Tickets::new(3, None);
        assert_eq!(tickets.ready(0, 2), 2);
        assert_eq!(tickets.ready(0, 9), 3);
        assert_eq!(tickets.draw(7), Ticket { number: 0, intended_ns: 7, retried: false });
        tickets.draw(8);
        tickets.draw(9);
        assert_eq!(tickets.ready(0, 9), 0);
    }

    #[test]
    fn the_open_loop_keeps_intended_times_after_a_stall() {
        let mut tickets = Tickets::new(u64::MAX, Some(Timetable::new(0, 1_000.0, 0, 1)));
        assert_eq!(tickets.ready(2_500_000, u64::MAX), 3);
        let times: Vec<_> = (0..3).map(|_| tickets.draw(2_500_000).intended_ns).collect();
        assert_eq!(times, [0, 1_000_000, 2_000_000]);
    }

    #[test]
    fn a_refused_message_goes_again_with_its_first_time_and_says_so() {
        let mut tickets = Tickets::new(1, None);
        let ticket = tickets.draw(5);
        tickets.put_back(ticket, 100);
        assert_eq!(tickets.draw_retry(99), None);
        assert_eq!(tickets.unsent_retries().collect::<Vec<_>>(), [0]);
        assert_eq!(tickets.draw_retry(100), Some(Ticket { number: 0, intended_ns: 5, retried: true }));
        assert_eq!(tickets.draw_retry(u64::MAX), None);
    }
}
