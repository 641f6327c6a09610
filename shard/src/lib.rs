//! The broker of one CPU core as a pure state machine: streams, groups, consumers, credit, in-flight, timers.
//!
//! Contract:
//!
//! 1. every [`Shard::handle`] is followed by a full drain of the effects before the next `handle`; seqs and stream keys
//!    named by an effect are valid until then;
//! 2. `handle` never blocks, never awaits, never reads a clock, and never holds more than its [`Limits`] allow;
//! 3. time is an argument and never goes back within one shard;
//! 4. the work of one call is bounded by `Limits::work_max`; when more is left, [`Shard::next_deadline`] is due at once;
//! 5. equal inputs give equal effects: the only randomness is a generator seeded at construction.
#![forbid(unsafe_code)]

pub mod effect;
pub mod input;
pub mod limits;
pub mod placement;
pub mod shard;

pub use effect::{AnswerValue, Effect, Effects, StreamKey};
pub use input::Input;
pub use limits::Limits;
pub use placement::shard_of;
pub use shard::{Shard, Snapshot};
