//! HTTP/1.1 (RFC 9112), sans-io.
//!
//! A request goes through these steps: `head` (and in it `target`, `fields`, `negotiate`) says what it is, `plan` and
//! `surface::http` where it goes, `body` (and `chunked` and `inflate`) brings the body together, `answers` keeps the order of the
//! responses, `response` writes them. `recent` skips the first two for a head that repeats the one before. `handshake`
//! is the way out to WebSocket, `live` the one to events, `batch` is many publishes in one request, `idempotency` is a name for one of them, and
//! `pace` is how long the client has taken.

mod answers;
mod batch;
mod body;
mod chunked;
mod credentials;
mod date;
mod edge;
mod fields;
mod guards;
mod handshake;
mod head;
mod idempotency;
mod inflate;
mod intake;
mod judge;
mod live;
mod negotiate;
mod origins;
mod pace;
mod plan;
mod recent;
mod refusal;
mod response;
mod ruled;
mod session;
mod target;
mod turn;

pub use date::HttpDate;
pub use edge::Carried;
pub use live::LiveSession;
pub use session::HttpSession;

pub(crate) use edge::Caller;
pub(crate) use head::Method;
pub(crate) use judge::decode as decode_body;
pub(crate) use live::read_last_id;
pub(crate) use ruled::{count_failure, hello, result_of};
pub(crate) use target::{parameter, percent_decode};
