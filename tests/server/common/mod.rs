//! What the tests of the whole server share: the server as a process, and clients to ask it with.

pub(crate) mod foreign;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod server;
pub(crate) mod ws;

pub(crate) use http::{Http, request};
pub(crate) use process::{PATIENCE, Process, eventually};
pub(crate) use server::{Server, Start};
pub(crate) use ws::Ws;
