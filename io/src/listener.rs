//! Listening sockets: every shard has its own on every address, and the kernel spreads connections over them.

use crate::connection::Connection;
use crate::error::ServeError;
use crate::host::Host;
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, accept_with, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

/// Connections the kernel holds for us before they are accepted.
const BACKLOG: i32 = 4096;
/// Accepts in one round: connections that are already open have their turn in between.
const ACCEPTS_PER_ROUND: usize = 16;

/// Binds one address once per shard. Port 0 is given a number by the first.
pub(crate) fn bind_all(address: SocketAddr, shards: usize) -> Result<(SocketAddr, Vec<OwnedFd>), ServeError> {
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
        socket.set_nonblocking(true).map_err(fail)?;
        bound = socket.local_addr().map_err(fail)?.as_socket().unwrap_or(bound);
        sockets.push(OwnedFd::from(socket));
    }
    Ok((bound, sockets))
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// The listeners of one shard.
#[derive(Debug)]
pub(crate) struct Listeners {
    sockets: Vec<OwnedFd>,
    /// Given up for a moment when descriptors run out, so that waiting peers can be turned away instead of left hanging.
    spare: Option<OwnedFd>,
}

impl Listeners {
    pub(crate) fn new(sockets: Vec<OwnedFd>) -> Self {
        Self { sockets, spare: spare_fd() }
    }

    pub(crate) fn sockets(&self) -> &[OwnedFd] {
        &self.sockets
    }

    /// Turns one waiting peer away with the descriptor kept for it. False when even that fails.
    fn turn_away(&mut self, position: usize) -> bool {
        self.spare = None;
        let turned_away =
            self.sockets.get(position).is_some_and(|socket| accept_with(socket, SocketFlags::CLOEXEC).is_ok());
        self.spare = spare_fd();
        turned_away
    }
}

fn spare_fd() -> Option<OwnedFd> {
    File::open("/dev/null").ok().map(OwnedFd::from)
}

/// The address that a connection comes from. IPv4 addresses in their IPv6 form are what they stand for.
fn peer_of(address: Option<SocketAddrAny>) -> IpAddr {
    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
    address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip().to_canonical())
}

impl Host {
    /// Accepts what waits at a listener, a few at a time.
    pub(crate) fn accept(&mut self, position: usize) {
        for _ in 0..ACCEPTS_PER_ROUND {
            let Some(listener) = self.listeners.sockets().get(position) else { return };
            match acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok((socket, address)) => {
                    // Answers are small and already gathered into one write.
                    let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
                    self.admit(Connection::new(socket, peer_of(address), self.now.mono_ns, Vec::new()));
                }
                Err(Errno::AGAIN) => return,
                // The connection is to blame, not the listener: the next one may be fine (accept(2)).
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => {
                    self.stats.accept_errors_total += 1;
                    // Said at powers of two: a flood must not fill the disk with its own report.
                    if self.stats.accept_errors_total.is_power_of_two() {
                        let times = self.stats.accept_errors_total;
                        tracing::warn!(%error, times, "cannot accept a connection; raise LimitNOFILE if descriptors have run out");
                    }
                    if !self.listeners.turn_away(position) {
                        return;
                    }
                }
            }
        }
    }
}
