//! The host and its disk: what the core's log asks for is begun at the end of a round, and what came of it is told at the
//! beginning of one.

use crate::host::Host;
use conduit_shard::Input;

/// Nanoseconds that a stopping shard waits for its last commit before it leaves without it.
const LAST_COMMIT_NS_MAX: u64 = 10_000_000_000;

impl Host {
    /// Step 1 for the disk: tells the core what has finished.
    pub(crate) fn take_from_disk(&mut self) {
        let Some(mut disk) = self.disk.take() else { return };
        disk.take(|ticket, outcome| self.input(Input::Disk { ticket, outcome }));
        self.disk = Some(disk);
    }

    /// Step 5 for the disk: begins what the core's log wants done. One batch of the log leaves here, with everything that
    /// this round has put into it.
    pub(crate) fn ask_of_disk(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        self.in_core = true;
        while disk.has_room()
            && let Some(request) = self.shard.poll_disk(self.now)
        {
            disk.submit(request);
        }
        self.in_core = false;
    }

    /// The executor was told to stop: it does when the log has nothing left to write, or has tried for long enough.
    pub(crate) fn begin_stop(&mut self) {
        self.stop_by_ns = Some(self.now.mono_ns.saturating_add(LAST_COMMIT_NS_MAX));
        self.shard.close_log(self.now);
    }

    /// It is time to leave the executor.
    pub(crate) fn may_stop(&self) -> bool {
        let Some(stop_by_ns) = self.stop_by_ns else { return false };
        let is_idle = self.shard.is_log_idle() && self.disk.as_ref().is_none_or(|disk| disk.in_flight() == 0);
        if !is_idle && stop_by_ns <= self.now.mono_ns {
            tracing::error!(shard = self.id.0, "the disk did not finish the last commit in time; leaving without it");
        }
        is_idle || stop_by_ns <= self.now.mono_ns
    }
}
