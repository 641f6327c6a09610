//! Signals, read as bytes from a pipe by plain threads: an executor that is busy, or stuck, must not keep an operator from
//! ending the process.

use crate::link::LinkSender;
use crate::mesh::MeshMessage;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Exit code of a server that was told twice.
const ABORTED: i32 = 130;

/// How soon a signal is offered again to a control shard that is too busy for it.
const RETRY: Duration = Duration::from_millis(5);

/// What the control shard is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// A first SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The reading ends, made before anything that a signal should end.
#[derive(Debug)]
pub(crate) struct SignalPipes {
    stop: UnixStream,
    hangup: UnixStream,
}

impl SignalPipes {
    /// Registers SIGTERM, SIGINT and SIGHUP.
    pub(crate) fn register() -> io::Result<Self> {
        let (stop, stop_in) = UnixStream::pair()?;
        pipe::register(SIGTERM, stop_in.try_clone()?)?;
        pipe::register(SIGINT, stop_in)?;
        let (hangup, hangup_in) = UnixStream::pair()?;
        pipe::register(SIGHUP, hangup_in)?;
        Ok(Self { stop, hangup })
    }

    /// Starts the threads that read them and tell the control shard. They end with the process.
    pub(crate) fn watch(self, control: LinkSender) -> io::Result<()> {
        let Self { stop, hangup } = self;
        let reloading = control.clone();
        thread("sighup", move || each(&hangup, || offer_until_taken(&reloading, Signal::Reload)))?;
        thread("sigterm", move || {
            if wait_for_two(&stop, &control).is_ok() {
                tracing::error!("told to stop a second time: leaving at once, connections are cut");
                std::process::exit(ABORTED);
            }
        })
    }
}

fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

/// Does something for every byte.
fn each(mut pipe: &UnixStream, mut then: impl FnMut()) {
    let mut byte = [0];
    while pipe.read_exact(&mut byte).is_ok() {
        then();
    }
}

fn offer_until_taken(control: &LinkSender, signal: Signal) {
    while control.try_send(MeshMessage::Signal(signal)).is_err() {
        std::thread::sleep(RETRY);
    }
}

/// Tells the control shard of a first byte and returns with the second, whether or not the first has been taken.
fn wait_for_two(mut pipe: &UnixStream, control: &LinkSender) -> io::Result<()> {
    let mut byte = [0];
    pipe.read_exact(&mut byte)?;
    while control.try_send(MeshMessage::Signal(Signal::Stop)).is_err() {
        pipe.set_read_timeout(Some(RETRY))?;
        match pipe.read(&mut byte) {
            Ok(1) => return Ok(()),
            Ok(_) => return Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
    pipe.set_read_timeout(None)?;
    pipe.read_exact(&mut byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Links;
    use std::io::Write;

    fn control(capacity: usize) -> (LinkSender, crate::link::Inbound) {
        let mut inbound = Links::between(1, 1).expect("links").remove(0).inbound;
        (inbound.open(capacity), inbound)
    }

    #[test]
    fn a_control_shard_that_takes_nothing_cannot_stop_the_second_signal() {
        let (mut signals, pipe) = UnixStream::pair().expect("a pair");
        let (sender, _inbound) = control(1);
        assert!(sender.try_send(MeshMessage::Stop).is_ok(), "the link is full from here on");
        signals.write_all(b"xx").expect("written");
        assert!(wait_for_two(&pipe, &sender).is_ok());
    }

    #[test]
    fn the_first_signal_is_told_and_the_second_is_waited_for() {
        let (mut signals, pipe) = UnixStream::pair().expect("a pair");
        let (sender, mut inbound) = control(2);
        signals.write_all(b"x").expect("written");
        drop(signals);
        assert!(wait_for_two(&pipe, &sender).is_err(), "there is no second one");
        assert!(matches!(inbound.take(), Some(MeshMessage::Signal(Signal::Stop))));
        assert!(inbound.take().is_none());
    }
}
