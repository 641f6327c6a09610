//! Signals, read as bytes from a pipe: glommio has no interface for them, and its wakers must not be used from a signal
//! handler.

use glommio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream as StdUnixStream;

/// The reading ends, made before the executor that reads them.
#[derive(Debug)]
pub(crate) struct SignalPipes {
    stop: StdUnixStream,
    hangup: StdUnixStream,
}

impl SignalPipes {
    /// Registers SIGTERM, SIGINT and SIGHUP.
    pub(crate) fn register() -> io::Result<Self> {
        let (stop, stop_in) = StdUnixStream::pair()?;
        pipe::register(SIGTERM, stop_in.try_clone()?)?;
        pipe::register(SIGINT, stop_in)?;
        let (hangup, hangup_in) = StdUnixStream::pair()?;
        pipe::register(SIGHUP, hangup_in)?;
        Ok(Self { stop, hangup })
    }

    /// Ties them to this executor: (stop, hang-up).
    pub(crate) fn attach(self) -> (UnixStream, UnixStream) {
        (attach(self.stop), attach(self.hangup))
    }
}

fn attach(stream: StdUnixStream) -> UnixStream {
    // SAFETY: the descriptor is ours alone; the stream takes over closing it.
    unsafe { UnixStream::from_raw_fd(stream.into_raw_fd()) }
}
