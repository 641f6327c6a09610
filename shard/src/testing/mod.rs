//! The simulator: a whole server in one thread, on virtual time, from a seed.
//!
//! Sessions, shards, the mesh between them, disks and clients are put together here as the server puts them together, with
//! everything that the operating system would decide decided by a generator: how bytes are cut, how long things take, what
//! breaks and when. Equal seeds give equal runs, to the last byte, so whatever is found can be looked at again.
//!
//! ```text
//! plan ──▶ world ──▶ client (producer, consumer) ──▶ peer ══ network ══ host ──▶ Session, Shard ──▶ drive ──▶ disk
//!            │                  │                                       │  ╲
//!         faults              oracle                                 ledger  mesh
//! ```
//!
//! Three judges watch. The [`oracle`] sees only what goes over the wire and knows what was promised there. The [`ledger`]
//! sees what the core is told and what it decides, and keeps account of credit and deliveries in flight. The [`tolls`] see
//! what the limiter grants. [`marks`] say which rare states a run has met, and [`trace`] is what two runs are compared by.

mod charging;
pub mod client;
mod closing;
pub mod connection;
pub mod consumer;
mod deliveries;
pub mod disk;
pub mod drive;
pub mod host;
pub mod ledger;
pub mod marks;
pub mod mesh;
pub mod network;
pub mod oracle;
mod outgoing;
pub mod peer;
pub mod plan;
pub mod producer;
pub mod pump;
pub mod quotas;
pub mod random;
pub mod recovery_disk;
pub mod server;
pub mod tolls;
pub mod trace;
pub mod world;

use crate::Mutant;
pub use crate::sometimes;
pub use marks::{MARKS, Marks};
pub use world::World;

/// How runs are made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Keep the latest lines of what happened, for a reader.
    pub is_traced: bool,
    /// A bug to plant; without the feature `mutants` there is none.
    pub mutant: Option<Mutant>,
}

/// What came of one seed.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What happened, as one number: equal for equal seeds and equal code.
    pub hash: u64,
    /// Steps taken.
    pub steps: u64,
    /// Virtual milliseconds that passed.
    pub virtual_ms: u64,
    /// Publishes that were acknowledged.
    pub published: u64,
    /// Deliveries that consumers got.
    pub delivered: u64,
    /// Times that the server was started.
    pub starts: u64,
    /// Rare states met.
    pub marks: Marks,
    /// What was wrong; empty when all was well. A run ends at the first.
    pub violations: Vec<String>,
    /// The latest lines of what happened, if they were asked for.
    pub trace: Vec<String>,
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64, options: &Options) -> Outcome {
    World::new(seed, options).run(seed)
}
