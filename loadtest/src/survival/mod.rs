//! Does an acknowledged message survive? A real server is loaded, ended in the worst ways, started again, and asked for
//! everything that it had promised.
//!
//! ```text
//!            ┌── producers ──┐   numbers, dedup ids, answers ──▶┐
//!  gate ─────┤               ├─▶ broker (child) ─▶             tally ──▶ violations ──▶ report
//!  (address, └── consumers ──┘   deliveries, acks ────────────▶┘
//!   phase)                          ▲ SIGKILL, power cut, full disk
//! ```
//!
//! The load outlives the server: its threads reconnect, repeat what was not answered under the same dedup id, and note
//! every answer, delivery and ack in one [`tally::StreamTally`] per stream. When a round ends, everything that must
//! still be there is read back, and the tally says what is missing, doubled, reordered or renumbered.

pub(crate) mod audit;
pub(crate) mod broker;
pub(crate) mod consumer;
pub mod crash;
pub(crate) mod dice;
pub mod diskfault;
pub(crate) mod gate;
pub(crate) mod load;
pub(crate) mod outbox;
pub(crate) mod payload;
pub mod powercut;
pub(crate) mod producer;
pub(crate) mod report;
pub(crate) mod rest;
pub(crate) mod said;
pub(crate) mod socket;
pub mod tally;
pub(crate) mod trial;
pub mod volume;
