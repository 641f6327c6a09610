//! The surfaces: each turns one wire's paths and shapes into commands. Adding one does not touch the shard.

pub(crate) mod http;
pub(crate) mod streams;
