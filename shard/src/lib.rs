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
//!
//! Where things are, in the order in which a message meets them: `publish` stores it, `deliver` gives it to a
//! consumer, `settle` takes the consumer's word for it, `release` lets it go, `expire` does what time does; `subscribe` is
//! where consumers come and go, `admin` where streams are made and changed. The state that they work on: `streams` > `stream` > `held`, `groups` > `group` > `flight`;
//! `consumer`, `memory`, `wheel`.
#![forbid(unsafe_code)]

pub mod effect;
pub mod input;
pub mod limiter;
pub mod limits;
pub mod log;
pub mod placement;
pub mod shard;
pub mod snapshot;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

mod admin;
mod agenda;
mod carry;
mod consumer;
mod dead_letter;
mod dedup;
mod deliver;
mod expire;
mod figures;
mod flight;
mod group;
mod groups;
mod hash;
mod held;
mod id_index;
mod journal;
mod lanes;
mod last_error;
mod memory;
mod message;
mod message_id;
mod move_streams;
mod mutant;
mod pause;
mod pool;
mod publish;
mod quiet;
mod recover;
mod redrive;
mod release;
mod ring;
mod settings;
mod settle;
mod shares;
mod sketch;
mod spill;
mod stream;
mod streams;
mod subscribe;
mod timeline;
mod timestamp;
mod ttl;
mod untold;
mod views;
mod wheel;

pub use effect::{AnswerValue, Effect, Effects, StreamKey};
pub use input::Input;
pub use journal::DurabilityOf;
pub use limiter::{Errand, Limiter};
pub use limits::Limits;
pub use move_streams::{MoveError, MovePlan, Moved, move_streams};
pub use mutant::{Mutant, Planted};
pub use placement::shard_of;
pub use recover::{RecoverPlan, Recovered};
pub use shard::Shard;
pub use snapshot::{LogSnapshot, Snapshot, StreamSnapshot, Totals};
pub use views::{ConsumerRow, GroupRow, Rows};
