//! One trial: a server in a data directory, its lives and deaths, and the rounds of load that it goes through.

use super::audit;
use super::broker::{Broker, Launch, NotUp};
use super::dice::Dice;
use super::load::{Amount, Load, courses, lock};
use super::rest::{Rest, path_segment};
use super::socket::Broken;
use super::tally::{Figures, Rule, Wrong, Wrongs};
use crate::plan::Target;
use std::path::Path;
use std::time::Duration;

/// A server that takes longer to get ready has stalled. Recovery of what a round writes takes a fraction of a second.
pub(crate) const READY: Duration = Duration::from_secs(60);

/// A server that is told to end and has not after so long is killed, which is wrong.
pub(crate) const LEAVE: Duration = Duration::from_secs(20);

/// Between two rounds, data larger than this is thrown away: dedup windows keep the segments of rounds that are over, and a
/// long trial would fill its disk and measure how long that takes to read.
const DATA_BYTES_MAX: u64 = 256 << 20;

/// The trial cannot go on; what is wrong has been noted.
#[derive(Debug)]
pub(crate) struct Over;

/// What goes on across rounds.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) launch: Launch,
    pub(crate) amount: Amount,
    pub(crate) streams: u32,
    pub(crate) dice: Dice,
    /// The data goes before each start.
    pub(crate) forgets: bool,
    pub(crate) broker: Option<Broker>,
    /// Where the server listens, while it does.
    pub(crate) target: Option<Target>,
    pub(crate) load: Option<Load>,
    pub(crate) rounds: u64,
    pub(crate) figures: Figures,
    pub(crate) wrongs: Wrongs,
    /// How long each start took until the server was ready.
    pub(crate) ready: Vec<Duration>,
}

impl Trial {
    pub(crate) fn new(launch: Launch, amount: Amount, streams: u32, seed: u64) -> Self {
        Self {
            launch,
            amount,
            streams,
            dice: Dice::new(seed),
            forgets: false,
            broker: None,
            target: None,
            load: None,
            rounds: 0,
            figures: Figures::default(),
            wrongs: Wrongs::default(),
            ready: Vec::new(),
        }
    }

    /// Starts the server and does not wait.
    pub(crate) fn start(&mut self) -> Result<&mut Broker, Over> {
        if let Some(data_dir) = self.launch.data_dir.as_ref().filter(|_| self.forgets) {
            // The server makes it again; what cannot be removed makes the trial pass, which its user notices.
            let _ = std::fs::remove_dir_all(data_dir);
        }
        match Broker::start(&self.launch) {
            Ok(broker) => Ok(self.broker.insert(broker)),
            Err(not_up) => Err(self.died(&not_up)),
        }
    }

    /// Waits until the server that was started is ready, and lets the load have it. `Ok(None)`: it ended itself, as it
    /// was told to by its failpoint.
    pub(crate) fn wait_ready(&mut self) -> Result<Option<Target>, Over> {
        let broker = self.broker.as_mut().ok_or(Over)?;
        match broker.wait_ready(READY) {
            Ok(target) => {
                self.ready.push(broker.age());
                self.target = Some(target.clone());
                if let Some(load) = &self.load {
                    load.gate.open(target.clone());
                }
                Ok(Some(target))
            }
            Err(NotUp::Ended(status, _)) if self.launch.failpoint.is_some() && is_kill(status) => Ok(None),
            Err(not_up) => Err(self.died(&not_up)),
        }
    }

    /// Starts the server and waits until it is ready. For servers without a failpoint.
    pub(crate) fn start_and_wait(&mut self) -> Result<Target, Over> {
        self.launch.failpoint = None;
        self.start()?;
        self.wait_ready()?.ok_or(Over)
    }

    /// The server is about to be ended: no new connections.
    pub(crate) fn close_gate(&mut self) {
        self.target = None;
        if let Some(load) = &self.load {
            load.gate.close();
        }
    }

    /// Ends the server by SIGKILL; false when its failpoint had ended it before. That it was gone for any other reason
    /// is wrong.
    pub(crate) fn kill(&mut self) -> Result<bool, Over> {
        self.close_gate();
        let Some(mut broker) = self.broker.take() else { return Ok(false) };
        if broker.kill() {
            return Ok(true);
        }
        match broker.ended() {
            Some(status) if self.launch.failpoint.is_some() && is_kill(status) => Ok(false),
            status => {
                let words = broker.words();
                self.wrongs.add(Wrong::Died, || format!("it ended by itself: {status:?}\n{words}"));
                Err(Over)
            }
        }
    }

    /// Ends the server by SIGKILL. `may_be_gone`: it may have ended by itself before.
    pub(crate) fn end(&mut self, may_be_gone: bool) -> Result<(), Over> {
        if may_be_gone {
            self.close_gate();
            if let Some(mut broker) = self.broker.take() {
                broker.kill();
            }
            return Ok(());
        }
        self.kill().map(|_| ())
    }

    /// Begins a round: fresh streams, and the load on them.
    pub(crate) fn begin_round(&mut self) -> Result<(), Over> {
        let target = self.target.clone().ok_or(Over)?;
        let courses = courses(&format!("trial/{}", self.rounds), self.streams, self.rounds.is_multiple_of(2));
        self.rounds += 1;
        match Load::start(&target, courses, self.amount, &mut self.dice) {
            Ok(load) => {
                self.load = Some(load);
                Ok(())
            }
            Err(broken) => Err(self.broke(&broken)),
        }
    }

    /// Segments go while messages come: in every other round there are no logs, which would keep them.
    pub(crate) fn is_trimming(&self) -> bool {
        self.load.is_some() && self.rounds.is_multiple_of(2)
    }

    /// Ends a round: everything is answered, read back, judged, and deleted.
    pub(crate) fn end_round(&mut self) -> Result<(), Over> {
        let Some(mut load) = self.load.take() else { return Ok(()) };
        load.settle();
        let audited = self.target.clone().map_or(Ok(()), |target| audit_load(&target, &load));
        for tally in &load.tallies {
            let mut tally = lock(tally);
            if audited.is_ok() {
                tally.judge();
            }
            self.figures.join(&tally.figures);
            self.wrongs.join(&tally.wrongs);
        }
        audited.map_err(|broken| self.broke(&broken))
    }

    /// Between two rounds: begins with an empty data directory when this one has grown large.
    pub(crate) fn renew_when_large(&mut self) -> Result<(), Over> {
        let Some(folder) = self.launch.data_dir.clone() else { return Ok(()) };
        if bytes_below(&folder) < DATA_BYTES_MAX {
            return Ok(());
        }
        self.leave(0)?;
        // What cannot be removed is recovered, and makes the trial no worse.
        let _ = std::fs::remove_dir_all(&folder);
        self.start_and_wait().map(|_| ())
    }

    /// Ends the server in order; anything but `code` is wrong.
    pub(crate) fn leave(&mut self, code: i32) -> Result<(), Over> {
        self.close_gate();
        let Some(mut broker) = self.broker.take() else { return Ok(()) };
        let status = broker.terminate(LEAVE);
        if status.and_then(|status| status.code()) == Some(code) {
            return Ok(());
        }
        let words = broker.words();
        self.wrongs.add(Wrong::ExitCode, || format!("{status:?} in place of {code} after SIGTERM\n{words}"));
        Err(Over)
    }

    fn died(&mut self, not_up: &NotUp) -> Over {
        self.wrongs.add(Wrong::Died, || not_up.to_string());
        Over
    }

    /// A connection broke although nobody ended the server.
    pub(crate) fn broke(&mut self, broken: &Broken) -> Over {
        let words = self.broker.as_ref().map(Broker::words).unwrap_or_default();
        self.wrongs.add(Wrong::Died, || format!("while it was not to be disturbed: {broken}\n{words}"));
        Over
    }
}

/// Bytes of the files in a folder and in its folders. What cannot be looked at counts as nothing.
fn bytes_below(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let bytes_of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        Err(_) => 0,
    };
    entries.flatten().map(bytes_of).sum()
}

fn is_kill(status: std::process::ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(rustix::process::Signal::KILL.as_raw())
}

/// Reads back what must be there, then deletes the streams, so that their segments can go.
fn audit_load(target: &Target, load: &Load) -> Result<(), Broken> {
    for (course, tally) in load.courses.iter().zip(&load.tallies) {
        match course.rule {
            Rule::Log | Rule::Control => audit::read_back(target, tally)?,
            Rule::Work(_) => {
                for (group, name) in course.groups.iter().enumerate() {
                    audit::drain(target, tally, group, name)?;
                }
                audit::read_dead_letters(target, tally)?;
            }
        }
    }
    let mut rest = Rest::open(target)?;
    for course in &load.courses {
        for (name, may_be_absent) in [(course.name.clone(), false), (format!("{}.dlq", course.name), true)] {
            let path = format!("/v1/streams/{}", path_segment(&name));
            let reply = rest.ask("DELETE", &path, "")?;
            if reply.status != 200 && !(may_be_absent && reply.status == 404) {
                return Err(Broken(format!("DELETE {path}: {}", reply.words())));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_as_large_as_all_that_is_in_it() {
        let folder = std::env::temp_dir().join(format!("conduit-trial-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("inner")).expect("made");
        std::fs::write(folder.join("a"), [0; 10]).expect("written");
        std::fs::write(folder.join("inner/b"), [0; 5]).expect("written");
        assert_eq!(bytes_below(&folder), 15);
        std::fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(bytes_below(&folder), 0);
    }
}
