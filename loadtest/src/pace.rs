//! The open loop's timetable: when each message should be sent, whatever the server does meanwhile.
//!
//! Latency is counted from these times, not from when the bytes could be written: a server that stalls for a second is
//! then charged for every message that should have been sent in that second (no coordinated omission).

/// One producer's timetable. Producers take turns, so that together they send one message every `1 / rate` seconds.
#[derive(Debug, Clone, Copy)]
pub struct Timetable {
    offset_ns: u64,
    /// Messages of this producer in [`Timetable::SPAN_NS`] are `span_messages`; whole numbers, so that nothing drifts.
    messages: u128,
    span_ns: u128,
}

impl Timetable {
    /// The timetable of `producer` (of `producers`) when all together send `rate` messages a second (above 0), the first
    /// at `start_ns`.
    #[must_use]
    pub fn new(start_ns: u64, rate: f64, producer: u32, producers: u32) -> Self {
        // A thousandth of a message per second is the finest rate; the numbers stay exact for years.
        let messages = ((rate * 1_000.0).round() as u128).max(1);
        let span_ns = 1_000_000_000_000u128 * u128::from(producers);
        let offset_ns = start_ns + (1_000_000_000_000u128 * u128::from(producer) / messages) as u64;
        Self { offset_ns, messages, span_ns }
    }

    /// When the message with this ticket should be sent, in nanoseconds.
    #[must_use]
    pub fn intended_ns(&self, ticket: u64) -> u64 {
        self.offset_ns + (u128::from(ticket) * self.span_ns / self.messages) as u64
    }

    /// How many messages should have been sent by `now_ns`: tickets below this number are due.
    #[must_use]
    pub fn due(&self, now_ns: u64) -> u64 {
        if now_ns < self.offset_ns {
            return 0;
        }
        // The largest k with k * span / messages <= elapsed, rounded down, is found from the real bound.
        let elapsed = u128::from(now_ns - self.offset_ns);
        (((elapsed + 1) * self.messages - 1) / self.span_ns) as u64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_evenly_spaced_and_do_not_drift() {
        let table = Timetable::new(5, 3.0, 0, 1);
        assert_eq!(table.intended_ns(0), 5);
        assert_eq!(table.intended_ns(1), 5 + 333_333_333);
        assert_eq!(table.intended_ns(3), 5 + 1_000_000_000);
        assert_eq!(
            table.intended_ns(3_000_000),
            5 + 1_000_000_000_000_000,
            "a million seconds later, to the nanosecond"
        );
    }

    #[test]
    fn producers_share_the_rate_in_turn() {
        let tables: Vec<_> = (0..4).map(|p| Timetable::new(0, 1_000.0, p, 4)).collect();
        for k in 0..100u64 {
            let table = &tables[(k % 4) as usize];
            assert_eq!(table.intended_ns(k / 4), k * 1_000_000);
        }
    }

    #[test]
    fn a_ticket_is_due_at_its_time_and_not_a_nanosecond_before() {
        for (rate, producer, producers) in
            [(3.0, 0, 1), (7.0, 2, 3), (1_000_000.0, 0, 1), (0.5, 1, 2), (333_333.3, 4, 9)]
        {
            let table = Timetable::new(1_000, rate, producer, producers);
            for ticket in [0, 1, 2, 3, 10, 999, 123_456] {
                let time = table.intended_ns(ticket);
                assert_eq!(table.due(time), ticket + 1, "rate {rate}, ticket {ticket}");
                assert_eq!(table.due(time - 1), ticket, "rate {rate}, ticket {ticket}");
            }
        }
    }

    #[test]
    fn a_stall_does_not_move_later_times() {
        // Nothing is sent for ten seconds: the timetable still wants every message of those seconds at its own time.
        let table = Timetable::new(0, 100.0, 0, 1);
        assert_eq!(table.due(10_000_000_000), 1_001);
        assert_eq!(table.intended_ns(1), 10_000_000);
    }
}
