//! Room to write: segments that are made ready ahead of need, and old ones that go. One step at a time, each only after
//! the outcome of the one before: prepare, install, sync the directory; remove, sync the directory.

use super::disk::{DiskError, DiskRequest, Ticket};
use super::{LogLimits, SegmentId};
use crate::{Mutant, Planted};
use conduit_protocol::{Now, time::NS_PER_MS};
use std::collections::VecDeque;

/// What is being done to the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Prepare(SegmentId),
    Install(SegmentId),
    SyncInstalled(SegmentId),
    Remove(SegmentId),
    SyncRemoved(SegmentId),
}

/// What an outcome came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stepped {
    /// There is more to do before anything changes.
    Nothing,
    /// A segment is ready to be written.
    Ready,
    /// This segment is gone, durably.
    Removed(SegmentId),
    /// There was no room.
    Full,
    /// The directory cannot be trusted any more.
    Broken,
}

/// The steps under way, and the segments that are ready.
#[derive(Debug)]
pub(crate) struct Room {
    /// Installed, empty, and in the directory durably: to be written next, in this order.
    ready: VecDeque<SegmentId>,
    step: Option<(Step, Ticket)>,
    /// What follows the step that was just done.
    next_step: Option<Step>,
    /// Prepared, but there was no room to install it.
    uninstalled: Option<SegmentId>,
    /// The number of the next segment to prepare. `None` when all numbers are used up.
    next_segment: Option<SegmentId>,
    /// There was no room the last time.
    is_blocked: bool,
    retry_ns: u64,
    /// Nothing is removed before, since that found no room either.
    remove_ns: u64,
    segment_bytes: u64,
    retry_after_ns: u64,
    planted: Planted,
}

impl Room {
    pub(crate) const fn new(limits: &LogLimits, ready: VecDeque<SegmentId>, next_segment: Option<SegmentId>) -> Self {
        Self {
            ready,
            step: None,
            next_step: None,
            uninstalled: None,
            next_segment,
            is_blocked: false,
            retry_ns: 0,
            remove_ns: 0,
            segment_bytes: limits.segment_bytes,
            retry_after_ns: limits.full_retry_ms * NS_PER_MS,
            planted: limits.planted,
        }
    }

    /// Segments that are ready.
    pub(crate) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Segments on the disk that are ready or becoming so.
    pub(crate) fn files(&self) -> usize {
        let becoming = match (self.step.map(|(step, _)| step), self.next_step) {
            (Some(Step::Prepare(_) | Step::Install(_) | Step::SyncInstalled(_)), _) => 1,
            (_, Some(Step::Prepare(_) | Step::Install(_) | Step::SyncInstalled(_))) => 1,
            _ => 0,
        };
        self.ready.len() + becoming + usize::from(self.uninstalled.is_some())
    }

    /// There was no room for another segment when it was last tried.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.is_blocked || self.next_segment.is_none()
    }

    /// The next segment to write.
    pub(crate) fn next(&self) -> Option<SegmentId> {
        self.ready.front().copied()
    }

    /// Takes the next segment to write.
    pub(crate) fn take(&mut self) -> Option<SegmentId> {
        self.ready.pop_front()
    }

    /// When the next step may be tried again after there was no room for it, by the clock that never goes back; `None`
    /// when there is no such step.
    pub(crate) fn retry_ns(&self, has_removable: bool, wants_segment: bool) -> Option<u64> {
        if self.step.is_some() {
            return None;
        }
        let remove_ns = has_removable.then_some(self.remove_ns);
        let is_wanted = self.is_blocked && (wants_segment || self.uninstalled.is_some());
        let retry_ns = is_wanted.then_some(self.retry_ns);
        remove_ns.into_iter().chain(retry_ns).min()
    }

    /// The next request, if none is under way: to remove a segment if there is one to remove, or else to make one ready
    /// if that is wanted.
    pub(crate) fn poll(
        &mut self,
        now: Now,
        ticket: Ticket,
        removable: Option<SegmentId>,
        wants_segment: bool,
    ) -> Option<DiskRequest<'static>> {
        if self.step.is_some() {
            return None;
        }
        let may_try = !self.is_blocked || now.mono_ns >= self.retry_ns;
        let step = match self.next_step.take() {
            Some(step) => step,
            None if let Some(segment) = removable.filter(|_| now.mono_ns >= self.remove_ns) => Step::Remove(segment),
            None if !may_try => return None,
            None if let Some(segment) = self.uninstalled.take() => Step::Install(segment),
            None if wants_segment => Step::Prepare(self.next_segment?),
            None => return None,
        };
        self.step = Some((step, ticket));
        Some(match step {
            Step::Prepare(segment) => DiskRequest::Prepare { ticket, segment, bytes: self.segment_bytes },
            Step::Install(segment) => DiskRequest::Install { ticket, segment },
            Step::Remove(segment) => DiskRequest::Remove { ticket, segment },
            Step::SyncInstalled(_) | Step::SyncRemoved(_) => DiskRequest::SyncDirectory { ticket },
        })
    }

    /// Takes the outcome of a step. `None` when the ticket is not of this.
    pub(crate) fn complete(&mut self, now: Now, ticket: Ticket, outcome: Result<(), DiskError>) -> Option<Stepped> {
        let (step, _) = self.step.take_if(|(_, under_way)| *under_way == ticket)?;
        Some(match (step, outcome) {
            (Step::Prepare(segment), Ok(())) => self.then(Step::Install(segment)),
            (Step::Install(segment), Ok(())) if !self.planted.has(Mutant::SkipDirectorySync) => {
                self.then(Step::SyncInstalled(segment))
            }
            (Step::Install(segment) | Step::SyncInstalled(segment), Ok(())) => {
                self.ready.push_back(segment);
                self.next_segment = segment.0.checked_add(1).map(SegmentId);
                self.is_blocked = false;
                Stepped::Ready
            }
            (Step::Remove(segment), Ok(())) => self.then(Step::SyncRemoved(segment)),
            (Step::SyncRemoved(segment), Ok(())) => {
                self.retry_ns = now.mono_ns;
                Stepped::Removed(segment)
            }
            // Nothing is lost by an operation that found no room: it is tried again when there may be some.
            (Step::Prepare(_), Err(DiskError::Full)) => self.blocked(now),
            (Step::Remove(_), Err(DiskError::Full)) => {
                self.remove_ns = now.mono_ns.saturating_add(self.retry_after_ns);
                Stepped::Nothing
            }
            (Step::Install(segment), Err(DiskError::Full)) => {
                self.uninstalled = Some(segment);
                self.blocked(now)
            }
            // What a failed sync left of the directory, nobody knows.
            (Step::SyncInstalled(_) | Step::SyncRemoved(_), Err(_)) | (_, Err(DiskError::Broken)) => Stepped::Broken,
        })
    }

    const fn then(&mut self, step: Step) -> Stepped {
        self.next_step = Some(step);
        Stepped::Nothing
    }

    const fn blocked(&mut self, now: Now) -> Stepped {
        self.is_blocked = true;
        self.retry_ns = now.mono_ns.saturating_add(self.retry_after_ns);
        Stepped::Full
    }
}
