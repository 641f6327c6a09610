//! The roles that connections play, one per wire and direction.

pub(crate) mod http_producer;
pub(crate) mod nats;
pub(crate) mod redis;
pub(crate) mod ws_consumer;
pub(crate) mod ws_producer;
