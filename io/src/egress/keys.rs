//! The signing keys of an issuer: fetched at the start, now and then, and when a token names a key that is not known.
//!
//! The server does not wait for them: until they have come, tokens that they would have signed are refused. An issuer that
//! does not answer is asked again, less and less often.

use super::keeper::{Job, KeySet};
use super::{News, fetch, tell, thread};
use crate::link::LinkSender;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// How often keys are looked at that nobody complains about.
const EVERY: Duration = Duration::from_secs(300);
/// How soon at the earliest they are fetched again, whoever wants it: an unknown key may be a stranger's invention.
const APART: Duration = Duration::from_secs(10);
/// The first wait after a failure; it doubles up to [`EVERY`].
const RETRY: Duration = Duration::from_secs(1);

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Order {
    /// Where the keys are, from now on.
    Source(Option<String>),
    /// Fetch them soon.
    Refresh,
}

/// When to fetch.
#[derive(Debug)]
struct Schedule {
    due: Instant,
    last: Option<Instant>,
    retry: Duration,
}

impl Schedule {
    fn at_once(now: Instant) -> Self {
        Self { due: now, last: None, retry: RETRY }
    }

    /// Somebody wants them.
    fn hasten(&mut self, now: Instant) {
        let earliest = self.last.map_or(now, |last| last + APART);
        self.due = self.due.min(earliest.max(now));
    }

    fn fetched(&mut self, now: Instant) {
        *self = Self { due: now + EVERY, last: Some(now), retry: RETRY };
    }

    fn failed(&mut self, now: Instant) {
        let retry = (self.retry * 2).min(EVERY);
        *self = Self { due: now + self.retry, last: Some(now), retry };
    }
}

/// Starts the thread.
pub(super) fn start(
    source: Option<String>,
    orders: Receiver<Order>,
    keeper: Sender<Job>,
    control: LinkSender,
) -> std::io::Result<()> {
    thread("keys", move || run(source, &orders, &keeper, &control))
}

fn run(mut source: Option<String>, orders: &Receiver<Order>, keeper: &Sender<Job>, control: &LinkSender) {
    let mut schedule = Schedule::at_once(Instant::now());
    // Made when it is needed: it reads the system's certificates.
    let mut client = None;
    let mut known = String::new();
    loop {
        let order = match &source {
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => orders.recv_deadline(schedule.due),
        };
        match (order, &source) {
            (Ok(Order::Source(new)), _) => {
                if new != source {
                    known.clear();
                    schedule = Schedule::at_once(Instant::now());
                    source = new;
                }
            }
            (Ok(Order::Refresh), _) => schedule.hasten(Instant::now()),
            (Err(RecvTimeoutError::Disconnected), _) => return,
            (Err(RecvTimeoutError::Timeout), None) => {}
            (Err(RecvTimeoutError::Timeout), Some(uri)) => {
                match fetch::text(client.get_or_insert_with(fetch::client), uri) {
                    Ok(text) => {
                        schedule.fetched(Instant::now());
                        if text != known {
                            known.clone_from(&text);
                            if keeper.send(Job::Keys(KeySet { uri: uri.clone(), jwks: text })).is_err() {
                                return;
                            }
                        }
                    }
                    Err(error) => {
                        schedule.failed(Instant::now());
                        tell(control, News::KeysFailed(error));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_make_us_fetch_often() {
        let start = Instant::now();
        let mut schedule = Schedule::at_once(start);
        schedule.hasten(start);
        assert_eq!(schedule.due, start);
        schedule.fetched(start);
        assert_eq!(schedule.due, start + EVERY);
        schedule.hasten(start + Duration::from_secs(1));
        schedule.hasten(start + Duration::from_secs(2));
        assert_eq!(schedule.due, start + APART);
        schedule.fetched(start + APART);
        schedule.hasten(start + APART * 5);
        assert_eq!(schedule.due, start + APART * 5);
    }

    #[test]
    fn an_issuer_that_does_not_answer_is_asked_less_and_less_often() {
        let now = Instant::now();
        let mut schedule = Schedule::at_once(now);
        let mut waits = Vec::new();
        for _ in 0..12 {
            schedule.failed(now);
            waits.push((schedule.due - now).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    }
}
