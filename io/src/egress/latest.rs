//! A place for one value, between two threads: whoever puts one never waits, whoever takes one gets the newest.

use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{Arc, Mutex, PoisonError};

/// The end that puts.
#[derive(Debug)]
pub(super) struct Putter<T> {
    place: Arc<Mutex<Option<T>>>,
    bell: Sender<()>,
}

/// The end that takes.
#[derive(Debug)]
pub(super) struct Taker<T> {
    place: Arc<Mutex<Option<T>>>,
    /// Rung when something has been put; gone with the other end.
    pub(super) bell: Receiver<()>,
}

/// Both ends of an empty place.
pub(super) fn latest<T>() -> (Putter<T>, Taker<T>) {
    let place = Arc::new(Mutex::new(None));
    let (ring, bell) = bounded(1);
    (Putter { place: place.clone(), bell: ring }, Taker { place, bell })
}

impl<T> Putter<T> {
    /// Puts a value where the last one was, whether or not that has been taken.
    pub(super) fn put(&self, value: T) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        // When it has been rung already, that is enough.
        let _ = self.bell.try_send(());
    }
}

impl<T> Taker<T> {
    /// The newest value, if it has not been taken.
    pub(super) fn take(&self) -> Option<T> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_puts_never_waits_and_whoever_takes_gets_the_newest() {
        let (putter, taker) = latest();
        for value in 0..1_000 {
            putter.put(value);
        }
        assert_eq!(taker.bell.try_recv(), Ok(()));
        assert_eq!((taker.take(), taker.take()), (Some(999), None));
        assert!(taker.bell.is_empty(), "one ring for all of them");
        putter.put(7);
        assert_eq!((taker.bell.try_recv(), taker.take()), (Ok(()), Some(7)));
        drop(putter);
        assert!(taker.bell.recv().is_err());
    }
}
