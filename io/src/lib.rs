//! The only crate that touches the world: executors, sockets, the mesh between shards, the clock, signals, the control
//! shard. It is also the only crate that names glommio.
//!
//! One data shard is one executor on one thread. Its state is one `Host`, and its one task is the pump, which takes the
//! host from step to step (the numbers recur as comments in the code):
//!
//! ```text
//! 1 wait      bytes, a peer message, or the deadline
//! 2 decode    session.next(&mut inbox) -> Command | Close
//! 3 decide    shard.handle(now, input, &mut effects)
//! 4 drain     every effect is executed before the next input
//! 5 coalesce  one write per dirty connection, one batch per peer shard
//! 6 deadline  the timer is moved to shard.next_deadline()
//! ```

mod answer;
mod check;
mod clock;
mod connection;
mod control;
mod data;
mod deadline;
mod disk;
mod drain;
mod egress;
mod ending;
mod error;
pub mod failpoint;
mod host;
mod inbound;
mod link;
mod listener;
mod log_writer;
mod mesh;
mod placement;
mod preflight;
mod pump;
mod readiness;
mod recovery;
mod serve;
mod signals;
mod storage;

pub use check::check;
pub use disk::Files;
pub use disk::directory::{DirectoryError, DirectoryView};
pub use disk::layout::Layout;
pub use egress::{Operation, Reloaded, Reloader};
pub use error::ServeError;
pub use serve::{Bound, serve};
