//! The requests of one connection that wait for their answer, each with the client's `ref`.

use crate::Token;
use std::collections::VecDeque;

/// Bytes of `ref`s that wait, past which no more requests are taken. One more `ref` may be on top of it.
pub(super) const REF_BYTES_KEPT_MAX: usize = 64 * 1024;

/// Capacity in bytes that is kept when nothing waits.
const IDLE_BYTES_MAX: usize = 1024;

/// The `ref`s that wait, in the order of their tokens. Answers usually come in that order too; one that comes early
/// leaves a hole that is closed when everything before it has been answered.
///
/// The bytes of all `ref`s lie in one buffer that is used again and again, so a steady flow allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    /// One for each token from `first` on.
    waiting: VecDeque<Waiting>,
    /// Token of the front of `waiting`.
    first: u32,
    /// The `ref`s, oldest first; those before the front entry's start are done with.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// Where the `ref` starts in `bytes`.
    start: u32,
    /// Its length; [`HOLE`] when it has been answered.
    length: u32,
}

const HOLE: u32 = u32::MAX;

impl Unanswered {
    /// Another request with a `ref` must wait. `count_max` is `Limits::unanswered_max`.
    #[inline]
    pub(super) fn is_full(&self, count_max: usize) -> bool {
        self.waiting.len() >= count_max || self.bytes.len() >= REF_BYTES_KEPT_MAX
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps a `ref` and gives it a token. The caller has looked at [`Self::is_full`], and has checked the length.
    pub(super) fn push(&mut self, reference: &[u8]) -> Token {
        // Tokens go round after 2^32 - 1 requests; the one that means "no answer" is left out.
        let mut token = self.first.wrapping_add(self.waiting.len() as u32);
        if token == Token::NONE.0 {
            if self.waiting.is_empty() {
                self.first = 0;
            } else {
                self.waiting.push_back(Waiting { start: self.bytes.len() as u32, length: HOLE });
            }
            token = 0;
        }
        self.waiting.push_back(Waiting { start: self.bytes.len() as u32, length: reference.len() as u32 });
        self.bytes.extend_from_slice(reference);
        Token(token)
    }

    /// Calls `answer` with the `ref` that `token` stands for and forgets it. A token that does not wait is ignored.
    pub(super) fn take(&mut self, token: Token, answer: impl FnOnce(&[u8])) {
        let at = token.0.wrapping_sub(self.first) as usize;
        let Some(&Waiting { start, length }) = self.waiting.get(at) else { return };
        if length == HOLE {
            return;
        }
        answer(&self.bytes[start as usize..(start + length) as usize]);
        self.waiting[at].length = HOLE;
        if at == 0 {
            self.forget_answered();
        }
    }

    /// Removes the answered entries at the front, and their bytes once that is cheap.
    fn forget_answered(&mut self) {
        while let Some(front) = self.waiting.front()
            && front.length == HOLE
        {
            self.waiting.pop_front();
            self.first = self.first.wrapping_add(1);
        }
        let Some(front) = self.waiting.front() else {
            self.bytes.clear();
            return;
        };
        // The done part is cut off when it is at least half, so every byte is moved at most once on average.
        let done = front.start as usize;
        if done >= self.bytes.len() - done && done >= IDLE_BYTES_MAX {
            self.bytes.drain(..done);
            for waiting in &mut self.waiting {
                waiting.start -= done as u32;
            }
        }
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn shrink(&mut self) {
        if self.waiting.is_empty() {
            if self.bytes.capacity() > IDLE_BYTES_MAX {
                self.bytes = Vec::new();
            }
            if self.waiting.capacity() * size_of::<Waiting>() > IDLE_BYTES_MAX {
                self.waiting = VecDeque::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(unanswered: &mut Unanswered, token: Token) -> Option<Vec<u8>> {
        let mut reference = None;
        unanswered.take(token, |bytes| reference = Some(bytes.to_vec()));
        reference
    }

    #[test]
    fn each_token_gives_its_ref_once_in_any_order() {
        let mut unanswered = Unanswered::default();
        let refs: Vec<Vec<u8>> = (1..200_u32).map(|n| n.to_string().repeat(n as usize % 7 + 1).into_bytes()).collect();
        let tokens: Vec<Token> = refs.iter().map(|reference| unanswered.push(reference)).collect();
        // 71 and 199 have no common factor, so this walks over all of them once, out of order.
        for n in 0..refs.len() {
            let at = n * 71 % refs.len();
            assert_eq!(taken(&mut unanswered, tokens[at]).as_ref(), Some(&refs[at]));
            assert_eq!(taken(&mut unanswered, tokens[at]), None);
        }
        assert!(unanswered.is_empty());
    }

    #[test]
    fn the_count_is_bounded_and_holes_count_until_they_are_closed() {
        let mut unanswered = Unanswered::default();
        let first = unanswered.push(b"1");
        assert!(!unanswered.is_full(2));
        let second = unanswered.push(b"2");
        assert!(unanswered.is_full(2));
        unanswered.take(second, |_| ());
        assert!(unanswered.is_full(2));
        unanswered.take(first, |_| ());
        assert!(!unanswered.is_full(2));
        assert!(unanswered.is_empty());
    }

    #[test]
    fn the_bytes_are_bounded() {
        let mut unanswered = Unanswered::default();
        let reference = [b'7'; 1024];
        let tokens: Vec<Token> = (0..64)
            .map(|_| {
                assert!(!unanswered.is_full(usize::MAX));
                unanswered.push(&reference)
            })
            .collect();
        assert!(unanswered.is_full(usize::MAX));
        for token in tokens {
            unanswered.take(token, |_| ());
        }
        assert!(!unanswered.is_full(usize::MAX));
    }

    #[test]
    fn a_steady_flow_reuses_its_memory() {
        let mut unanswered = Unanswered::default();
        let mut tokens: VecDeque<(Token, u32)> = VecDeque::new();
        let mut capacities = (0, 0);
        for n in 0..100_000_u32 {
            tokens.push_back((unanswered.push(&n.to_be_bytes()), n));
            if tokens.len() > 300 {
                let (token, n) = tokens.pop_front().expect("just filled");
                assert_eq!(taken(&mut unanswered, token), Some(n.to_be_bytes().to_vec()));
            }
            let now = (unanswered.bytes.capacity(), unanswered.waiting.capacity());
            if n == 10_000 {
                capacities = now;
            }
            assert!(n < 10_000 || now == capacities);
        }
    }

    #[test]
    fn tokens_go_round_and_leave_out_the_one_that_means_none() {
        for waiting_before in [0, 3] {
            let mut unanswered = Unanswered { first: u32::MAX - waiting_before, ..Unanswered::default() };
            let tokens: Vec<Token> = (0..8_u8).map(|n| unanswered.push(&[n])).collect();
            assert!(!tokens.contains(&Token::NONE));
            assert_eq!(taken(&mut unanswered, Token::NONE), None);
            for (n, token) in tokens.into_iter().enumerate() {
                assert_eq!(taken(&mut unanswered, token), Some(vec![n as u8]));
            }
            assert!(unanswered.is_empty());
        }
    }

    #[test]
    fn an_idle_connection_keeps_no_big_buffer() {
        let mut unanswered = Unanswered::default();
        let tokens: Vec<Token> = (0..2_000).map(|_| unanswered.push(b"12345678")).collect();
        for token in tokens {
            unanswered.take(token, |_| ());
        }
        unanswered.shrink();
        assert!(unanswered.bytes.capacity() <= IDLE_BYTES_MAX);
        assert!(unanswered.waiting.capacity() * size_of::<Waiting>() <= IDLE_BYTES_MAX);
    }
}
