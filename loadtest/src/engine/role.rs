//! What a connection is for. A role sees bytes and appends bytes; sockets are the generator's business.

use super::world::World;
use crate::verify::Published;
use crate::wire::WireFault;

/// Bytes after which a role stops filling its outbox: one write's worth.
pub(crate) const OUTBOX_BYTES: usize = 64 * 1024;

/// The part a connection plays.
pub(crate) trait Role: Send {
    /// Takes what came: returns how many of `bytes` were used (the rest comes again with more behind it). Answers are
    /// appended to `out`.
    fn receive(&mut self, bytes: &[u8], now_ns: u64, out: &mut Vec<u8>, world: &mut World) -> Result<usize, WireFault>;

    /// Appends what may be sent now, until `out` has [`OUTBOX_BYTES`] or more.
    fn fill(&mut self, _now_ns: u64, _out: &mut Vec<u8>, _world: &mut World) {}

    /// Nothing new is to be sent from now on; what makes sure that everything sent has been taken goes to `out`.
    fn stop(&mut self, _out: &mut Vec<u8>, _world: &mut World) {}

    /// Messages that were sent and wait for their answer.
    fn unanswered(&self) -> u64 {
        0
    }

    /// Nothing that was sent waits for an answer.
    fn is_settled(&self) -> bool {
        self.unanswered() == 0
    }

    /// Appends the goodbye.
    fn farewell(&mut self, _out: &mut Vec<u8>, _world: &mut World) {}

    /// What a producer has published, at the end of the run or when its connection is lost.
    fn published(&self) -> Option<(u32, Published)> {
        None
    }
}
