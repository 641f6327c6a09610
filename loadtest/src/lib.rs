//! The load-testing harness: drives a Conduit server over its wire, checks every message, and says what it saw.
//!
//! ```text
//! cli ──▶ Plan ──▶ run: connect, start threads, warm up, measure, drain, judge ──▶ Report ──▶ text, JSON, HTML, .hlog
//!                   │
//!                   └─ engine: threads, each an event loop over links; a link plays a role (producer, consumer)
//! ```
//!
//! Every message carries who made it, its number and its intended send time ([`message`]), so that losses, duplicates
//! and reorderings are found ([`verify`]) and latency counts from the time the message should have been sent ([`pace`]).
// One call has no safe form: the ioctl that cuts a file system off (`survival::volume`).
#![deny(unsafe_code)]

pub mod cli;
mod engine;
pub mod floors;
pub mod idle;
pub mod layout;
pub mod message;
pub mod pace;
pub mod plan;
pub mod process;
pub mod progress;
pub mod reference;
pub mod report;
mod role;
pub mod run;
pub mod simulate;
pub mod survival;
pub mod sweep;
pub mod verify;
pub mod wire;
