//! Who publishes to which stream, and who reads it.
//!
//! With at least as many producers as streams, producer `p` publishes to stream `p mod streams` only. With more streams
//! than producers, producer `p` takes turns over the streams `p`, `p + producers`, `p + 2 * producers` and so on. Either way
//! every stream has a producer, and the number of (producer, stream) pairs is the larger of the two counts. Consumer
//! `c` reads stream `c mod streams`.
//!
//! A producer's messages are numbered by *tickets* 0, 1, 2 ...; a ticket says the stream and the number there.

/// Counts of one run. Both are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Producers, at least 1.
    pub producers: u32,
    /// Streams, at least 1.
    pub streams: u32,
}

impl Layout {
    /// How many streams `producer` publishes to.
    #[must_use]
    pub const fn streams_of(&self, producer: u32) -> u32 {
        if self.producers >= self.streams { 1 } else { (self.streams - producer).div_ceil(self.producers) }
    }

    /// The `turn`-th stream of `producer`; `turn` is below [`Self::streams_of`].
    #[must_use]
    pub const fn stream_at(&self, producer: u32, turn: u32) -> u32 {
        if self.producers >= self.streams { producer % self.streams } else { producer + turn * self.producers }
    }

    /// How many producers publish to `stream`.
    #[must_use]
    pub const fn producers_of(&self, stream: u32) -> u32 {
        if self.producers >= self.streams { (self.producers - stream).div_ceil(self.streams) } else { 1 }
    }

    /// The place of `producer` among the producers of `stream`, or `None` when it does not publish there.
    #[must_use]
    pub const fn place_of(&self, producer: u32, stream: u32) -> Option<usize> {
        if producer >= self.producers || stream >= self.streams {
            None
        } else if self.producers >= self.streams {
            if producer % self.streams == stream { Some((producer / self.streams) as usize) } else { None }
        } else if stream % self.producers == producer {
            Some(0)
        } else {
            None
        }
    }

    /// The producer at `place` among those of `stream`: the inverse of [`Self::place_of`].
    #[must_use]
    pub const fn producer_at(&self, stream: u32, place: u32) -> u32 {
        if self.producers >= self.streams { stream + place * self.streams } else { stream % self.producers }
    }

    /// The turn (see [`Self::stream_at`]) and the number in that stream of a producer's ticket.
    #[must_use]
    pub const fn place_of_ticket(&self, producer: u32, ticket: u64) -> (u32, u64) {
        let turns = self.streams_of(producer) as u64;
        if turns == 1 { (0, ticket) } else { ((ticket % turns) as u32, ticket / turns) }
    }

    /// How many of a producer's first `tickets` tickets went to `stream`.
    #[must_use]
    pub const fn count_in(&self, producer: u32, stream: u32, tickets: u64) -> u64 {
        let turns = self.streams_of(producer) as u64;
        let turn = if self.producers >= self.streams { 0 } else { (stream / self.producers) as u64 };
        if tickets <= turn { 0 } else { (tickets - turn).div_ceil(turns) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_and_places_agree_for_every_shape() {
        for (producers, streams) in [(1, 1), (1, 7), (3, 7), (7, 3), (4, 4), (2, 9)] {
            let layout = Layout { producers, streams };
            for producer in 0..producers {
                let mut counts = vec![0u64; streams as usize];
                for ticket in 0..50 {
                    let (turn, number) = layout.place_of_ticket(producer, ticket);
                    let stream = layout.stream_at(producer, turn);
                    assert_eq!(counts[stream as usize], number, "numbers of a pair have no gaps");
                    counts[stream as usize] += 1;
                    let place = layout.place_of(producer, stream).expect("a producer knows its streams");
                    assert!(place < layout.producers_of(stream) as usize);
                    assert_eq!(layout.producer_at(stream, place as u32), producer);
                }
                for stream in 0..streams {
                    if layout.place_of(producer, stream).is_some() {
                        assert_eq!(layout.count_in(producer, stream, 50), counts[stream as usize]);
                    } else {
                        assert_eq!(counts[stream as usize], 0);
                    }
                }
            }
            for stream in 0..streams {
                assert!(layout.producers_of(stream) >= 1, "every stream has a producer");
            }
        }
    }
}
