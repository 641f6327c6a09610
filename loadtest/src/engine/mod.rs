//! The generator: threads, each with one event loop over its connections.
//!
//! All consumers of a stream are driven by one thread, so that judging its messages needs no lock. What threads share is
//! in [`shared`]: counters that producers' windows depend on, the phase of the run, and figures for the display.

pub(crate) mod connect;
pub(crate) mod generator;
pub(crate) mod link;
pub(crate) mod role;
pub(crate) mod shared;
pub(crate) mod tally;
pub(crate) mod tickets;
pub(crate) mod world;
