//! Listening sockets: every shard has its own on every address, and the kernel spreads connections over them.

use crate::connection::Connection;
use crate::error::ServeError;
use crate::host::Host;
use crate::shard_main::adopt;
use glommio::net::TcpListener;
use glommio::timer::sleep;
use socket2::{Domain, Protocol, Socket, Type};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

/// Connections the kernel holds for us before they are accepted.
const BACKLOG: i32 = 4096;
/// How long to wait when descriptors have run out.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// Accepts in a row before others have their turn.
const ACCEPTS_PER_TURN: u32 = 16;

/// A socket that listens, not yet tied to an executor.
#[derive(Debug)]
pub(crate) struct BoundSocket(Socket);

impl BoundSocket {
    /// A second descriptor, to stop the accept loop with.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.0.try_clone().map(OwnedFd::from)
    }
}

/// Binds one address once per shard. Port 0 is given a number by the first.
pub(crate) fn bind_all(address: SocketAddr, shards: usize) -> Result<(SocketAddr, Vec<BoundSocket>), ServeError> {
    let fail = |error: io::Error| ServeError::bind(address, &error);
    // SO_REUSEPORT would let a second server of the same user share the port without a word: a socket without it finds
    // out whether the port is free.
    if address.port() != 0 {
        let probe = new_socket(address).map_err(fail)?;
        probe.bind(&address.into()).map_err(fail)?;
    }
    let mut bound = address;
    let mut sockets = Vec::with_capacity(shards);
    for _ in 0..shards {
        let socket = new_socket(bound).map_err(fail)?;
        socket.set_reuse_port(true).map_err(fail)?;
        socket.bind(&bound.into()).map_err(fail)?;
        socket.listen(BACKLOG).map_err(fail)?;
        bound = socket.local_addr().map_err(fail)?.as_socket().unwrap_or(bound);
        sockets.push(BoundSocket(socket));
    }
    Ok((bound, sockets))
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Accepts until the socket is shut. One long-lived task that only awaits `accept`: polling a pending accept again and
/// again would end the executor (glommio keeps a waker for each poll).
pub(crate) async fn accept_loop(host: Rc<RefCell<Host>>, socket: BoundSocket) {
    // SAFETY: the descriptor is ours alone; the listener takes over closing it.
    let listener = unsafe { TcpListener::from_raw_fd(socket.0.into_raw_fd()) };
    let mut in_a_row = 0;
    loop {
        match listener.accept().await {
            Ok(stream) => {
                // Answers are small and already gathered into one write.
                let _ = stream.set_nodelay(true);
                if host.borrow().draining {
                    return;
                }
                adopt(&host, Connection::new(stream, Vec::new()));
            }
            Err(error) => {
                if host.borrow().draining {
                    return;
                }
                let error = io::Error::from(error);
                if is_passing(&error) {
                    continue;
                }
                host.borrow_mut().stats.accept_errors_total += 1;
                tracing::warn!(%error, "cannot accept a connection; raise LimitNOFILE if descriptors have run out");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
        in_a_row += 1;
        if in_a_row == ACCEPTS_PER_TURN {
            in_a_row = 0;
            glommio::executor().yield_now().await;
        }
    }
}

/// The connection is to blame, not the listener: the next one may be fine (accept(2)).
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
