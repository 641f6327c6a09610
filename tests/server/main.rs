//! The whole server, as its users meet it: the built binaries, real sockets, and clients that other people wrote.
//!
//! Each file holds one property. Nothing sleeps: a test waits for what has to come and fails when it does not.

mod access_log;
mod ack_deadline;
mod backpressure;
mod common;
mod compressed;
mod connection_limit;
mod consumer_killed;
mod curl;
mod descriptors_run_out;
mod documents;
mod drain;
mod durable;
mod garbage;
mod half_closed;
mod histograms;
mod jwks;
mod live;
mod load;
mod metrics;
mod mkctl;
mod mkctl_objects;
mod node_ws;
mod prometheus;
mod python_websockets;
mod reload;
mod rules;
mod rules_command;
mod runbook_metrics;
mod shutdown;
mod slow_reader;
mod slow_writer;
mod snapshot;
mod start;
mod tenants;
mod traces;
mod trials;
mod two_shards;
