//! `conduit-loadtest diskfault`: what a server does when its disk is full, and when it is gone. It must say so, go on with
//! what needs no disk, lose nothing, and take up service again by itself when that is possible.

use super::audit;
use super::broker::{Launch, binary};
use super::load::{Amount, Course, lock, set_up};
use super::payload::Mark;
use super::report::{Ticker, TrialReport, median_and_longest_ms};
use super::rest::{Reply, Rest};
use super::said::{Accepted, Refused};
use super::socket::{Broken, Socket};
use super::tally::{Rule, StreamTally, Wrong};
use super::trial::{LEAVE, Over, Trial};
use super::volume::{Volume, VolumeFault, fill_up, obstacle};
use crate::cli::{Ending, print};
use crate::plan::Target;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Options of `conduit-loadtest diskfault`.
#[derive(Debug, Args)]
pub struct DiskfaultOptions {
    /// The server [default: the `conduit` beside this program].
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// What happens to the disk [default: all, one after the other].
    #[arg(long, value_enum, value_delimiter = ',')]
    cases: Vec<Case>,
    /// Bytes of the small file systems.
    #[arg(long, default_value_t = 48 << 20)]
    bytes: u64,
    /// One more argument for the server; may be given several times.
    #[arg(long = "server-arg", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// Print the reports as JSON.
    #[arg(long)]
    json: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

/// What happens to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Case {
    /// A small file system in memory runs full (ENOSPC), and is empty again after everything was consumed.
    Full,
    /// The file system is ended under the server: every call fails with EIO.
    Gone,
    /// A sparse image lies on a file system that is full: the disk has blocks that it cannot write.
    Thin,
}

/// The server does what it should within this time, or not at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command.
///
/// # Errors
/// When file systems cannot be made and mounted here, or there is no server to try.
pub fn execute(options: &DiskfaultOptions) -> anyhow::Result<Ending> {
    if let Some(obstacle) = obstacle() {
        anyhow::bail!("diskfault fills and ends file systems: {obstacle}");
    }
    let binary = binary(options.server_bin.as_deref())?;
    let cases = if options.cases.is_empty() { Case::value_variants() } else { &options.cases };
    let mut ending = Ending::Passed;
    for case in cases {
        let report = one_case(options, &binary, *case)?;
        print(&if options.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.text() });
        ending = match (ending, report.ending()) {
            (Ending::Failed, _) | (_, Ending::Failed) => Ending::Failed,
            (Ending::Void, _) | (_, Ending::Void) => Ending::Void,
            _ => Ending::Passed,
        };
    }
    Ok(ending)
}

fn one_case(options: &DiskfaultOptions, binary: &std::path::Path, case: Case) -> anyhow::Result<TrialReport> {
    let moment = jiff::Timestamp::now().as_microsecond();
    let place = std::env::temp_dir().join(format!("conduit-diskfault-{}-{moment}", std::process::id()));
    let (disk, image) = (place.join("disk"), place.join("disk.img"));
    std::fs::create_dir_all(&place)?;
    let below = match case {
        Case::Thin => Some(Volume::in_memory(options.bytes, &place)?),
        Case::Full | Case::Gone => None,
    };
    let volume = match case {
        Case::Full => Volume::in_memory(options.bytes, &disk)?,
        Case::Gone | Case::Thin => Volume::in_image(&image, 1 << 30, &disk)?,
    };
    let launch = Launch {
        binary: binary.to_owned(),
        data_dir: Some(disk.join("data")),
        shards: 1,
        args: options.server_args.clone(),
        failpoint: None,
    };
    let amount = Amount { rate: 0.0, window: 0, may_fail: true };
    let course = Course {
        name: "fault/work".into(),
        rule: Rule::Work(1),
        groups: vec![String::new()],
        dedup_window_ms: Some(2_000),
    };
    let mut fault = Diskfault {
        trial: Trial::new(launch, amount, 0, 0),
        tally: Mutex::new(StreamTally::new(course.name.clone(), course.rule)),
        course,
        volume,
        below,
        bytes: options.bytes,
        next: 0,
        deeds: Vec::new(),
    };
    let ticker = Ticker::new(options.quiet || options.json);
    let done = match case {
        Case::Full => fault.full(),
        Case::Gone => fault.gone(),
        Case::Thin => fault.thin(),
    };
    if let Err(Stop::Machine(machine)) = done {
        return Err(machine.into());
    }
    let report = fault.report(case, &ticker);
    drop(fault);
    // A folder that stays behind in the temporary directory does no harm.
    let _ = std::fs::remove_dir_all(&place);
    Ok(report)
}

/// Why a case does not go on. What is wrong has been noted.
enum Stop {
    /// The server did wrong.
    Server,
    /// The machine refused something.
    Machine(VolumeFault),
}

impl From<Over> for Stop {
    fn from(_: Over) -> Self {
        Self::Server
    }
}

struct Diskfault {
    // The server goes before its disk, and the disk before what it lies on.
    trial: Trial,
    volume: Volume,
    below: Option<Volume>,
    tally: Mutex<StreamTally>,
    course: Course,
    bytes: u64,
    /// The next message's number.
    next: u64,
    deeds: Vec<(String, u64)>,
}

impl Diskfault {
    /// ENOSPC: 507, acks go on, a restart while full loses nothing, and service returns by itself.
    fn full(&mut self) -> Result<(), Stop> {
        let target = self.begin()?;
        let stored = self.publish_until(&target, "storage_full")?;
        self.deeds.push(("messages stored until the disk was full".into(), stored));
        let acked = self.consume(&target, stored / 2)?;
        self.deeds.push(("messages acked while it was full".into(), acked));
        self.trial.kill()?;
        let target = self.trial.start_and_wait()?;
        self.drain(&target)?;
        let since = Instant::now();
        self.publish_until_accepted(&target)?;
        self.deeds.push(("milliseconds until service returned".into(), since.elapsed().as_millis() as u64));
        for _ in 0..100 {
            self.publish_until_accepted(&target)?;
        }
        self.drain(&target)?;
        self.judge();
        // A disk that was full for a while is no failure.
        Ok(self.trial.leave(0)?)
    }

    /// EIO on everything: 503, deliveries go on, exit code not 0, and after a restart everything is there.
    fn gone(&mut self) -> Result<(), Stop> {
        let target = self.begin()?;
        for _ in 0..300 {
            self.publish_until_accepted(&target)?;
        }
        let before = self.consume(&target, 100)?;
        self.volume.cut().map_err(Stop::Machine)?;
        self.fail_and_deliver(&target, before)?;
        self.volume.unmount().and_then(|()| self.volume.mount()).map_err(Stop::Machine)?;
        self.come_back()
    }

    /// Blocks that cannot be written: what was stored stays, publishers are told, nobody lies.
    fn thin(&mut self) -> Result<(), Stop> {
        let target = self.begin()?;
        for _ in 0..100 {
            self.publish_until_accepted(&target)?;
        }
        let below = self.below.as_ref().map(|below| below.place().to_owned()).unwrap_or_default();
        let ballast = fill_up(&below);
        let ballast = ballast.map_err(|error| Stop::Machine(VolumeFault(format!("{}: {error}", below.display()))))?;
        let stored = self.publish_until(&target, "storage_failed")?;
        self.deeds.push(("messages stored on blocks that were there".into(), stored));
        self.fail_and_deliver(&target, 0)?;
        self.volume.unmount().map_err(Stop::Machine)?;
        std::fs::remove_file(&ballast)
            .map_err(|error| Stop::Machine(VolumeFault(format!("{}: {error}", ballast.display()))))?;
        self.volume.mount().map_err(Stop::Machine)?;
        self.come_back()
    }

    fn begin(&mut self) -> Result<Target, Stop> {
        let target = self.trial.start_and_wait()?;
        set_up(&target, std::slice::from_ref(&self.course)).map_err(|broken| self.trial.broke(&broken))?;
        Ok(target)
    }

    /// The disk is gone: publishers are told, deliveries go on, and the end is not called a success.
    fn fail_and_deliver(&mut self, target: &Target, consumed: u64) -> Result<(), Stop> {
        self.publish_until(target, "storage_failed")?;
        let wanted = lock(&self.tally).figures.answered.saturating_sub(consumed).min(200);
        let came = self.consume(target, wanted)?;
        self.deeds.push(("messages delivered after the disk was gone".into(), came));
        self.trial.close_gate();
        let Some(mut broker) = self.trial.broker.take() else { return Err(Stop::Server) };
        let status = broker.terminate(LEAVE);
        let code = status.and_then(|status| status.code());
        if code.is_none_or(|code| code == 0) {
            let words = format!("{status:?} after SIGTERM with a failed disk\n{}", broker.words());
            lock(&self.tally).note_wrong(Wrong::ExitCode, &words);
        }
        self.deeds.push(("exit code".into(), code.unwrap_or_default() as u64));
        Ok(())
    }

    /// The disk is back, and so is everything that was promised.
    fn come_back(&mut self) -> Result<(), Stop> {
        let target = self.trial.start_and_wait()?;
        self.publish_until_accepted(&target)?;
        self.drain(&target)?;
        self.judge();
        Ok(self.trial.leave(0)?)
    }

    /// Publishes until it is refused with this code: how many were stored.
    fn publish_until(&mut self, target: &Target, code: &str) -> Result<u64, Stop> {
        let mut rest = self.rest(target)?;
        let (mut stored, mut bytes, since) = (0, 0, Instant::now());
        loop {
            let mark = self.mark();
            let (reply, sent) =
                publish(&mut rest, &self.course.name, mark).map_err(|broken| self.trial.broke(&broken))?;
            match self.take(mark, &reply) {
                None => {
                    stored += 1;
                    bytes += sent;
                }
                Some(refused) if refused == code => return Ok(stored),
                Some(_) => std::thread::sleep(Duration::from_millis(20)),
            }
            if bytes > 4 * self.bytes || since.elapsed() > 2 * PATIENCE {
                let words = format!("no publish was refused with {code}: {stored} stored, last {}", reply.words());
                lock(&self.tally).note_wrong(Wrong::Stalled, &words);
                return Err(Stop::Server);
            }
        }
    }

    /// Publishes one message, again and again until it is accepted.
    fn publish_until_accepted(&mut self, target: &Target) -> Result<(), Stop> {
        let mut rest = self.rest(target)?;
        let (mark, since) = (self.mark(), Instant::now());
        loop {
            let (reply, _) = publish(&mut rest, &self.course.name, mark).map_err(|broken| self.trial.broke(&broken))?;
            if self.take(mark, &reply).is_none() {
                return Ok(());
            }
            if since.elapsed() > PATIENCE {
                let words = format!("publishing does not work again after {PATIENCE:?}: {}", reply.words());
                lock(&self.tally).note_wrong(Wrong::Stalled, &words);
                return Err(Stop::Server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn rest(&mut self, target: &Target) -> Result<Rest, Stop> {
        Ok(Rest::open(target).map_err(|broken| self.trial.broke(&broken))?)
    }

    fn mark(&mut self) -> Mark {
        let mark = Mark { producer: 0, number: self.next };
        self.next += 1;
        lock(&self.tally).note_made(mark);
        mark
    }

    /// Notes an answer; the code of a refusal.
    fn take(&mut self, mark: Mark, reply: &Reply) -> Option<String> {
        let mut tally = lock(&self.tally);
        if reply.status == 200
            && let Ok(accepted) = serde_json::from_slice::<Accepted>(&reply.body)
        {
            tally.note_answer(mark, accepted);
            return None;
        }
        let code = serde_json::from_slice::<Refused<'_>>(&reply.body).map(|refused| refused.code.into_owned());
        let code = code.unwrap_or_default();
        let expected = [("storage_full", 507), ("storage_failed", 503), ("Backpressure", 429)];
        if !expected.contains(&(&code, reply.status)) {
            tally.note_wrong(Wrong::Refused, &reply.words());
        }
        tally.note_refusal(mark);
        Some(code)
    }

    /// Takes and acks so many messages; fewer when they do not come, which is wrong.
    fn consume(&mut self, target: &Target, wanted: u64) -> Result<u64, Stop> {
        let taken = take_some(target, &self.tally, wanted).map_err(|broken| self.trial.broke(&broken))?;
        if taken < wanted {
            lock(&self.tally).note_wrong(Wrong::Stalled, &format!("{taken} of {wanted} deliveries came"));
            return Err(Stop::Server);
        }
        Ok(taken)
    }

    fn drain(&mut self, target: &Target) -> Result<(), Stop> {
        audit::drain(target, &self.tally, 0, "").map_err(|broken| self.trial.broke(&broken).into())
    }

    fn judge(&self) {
        lock(&self.tally).judge();
    }

    fn report(&mut self, case: Case, ticker: &Ticker) -> TrialReport {
        let tally = lock(&self.tally);
        let mut wrongs = self.trial.wrongs.clone();
        wrongs.join(&tally.wrongs);
        TrialReport {
            trial: match case {
                Case::Full => "disk full",
                Case::Gone => "disk gone",
                Case::Thin => "disk thin",
            },
            seed: 0,
            seconds: ticker.elapsed().as_secs_f64(),
            deeds: std::mem::take(&mut self.deeds),
            figures: tally.figures,
            ready_ms: median_and_longest_ms(&self.trial.ready),
            wrongs,
            void: if tally.figures.refused == 0 { vec!["nothing was refused".into()] } else { Vec::new() },
        }
    }
}

/// Publishes a message; the answer, and how many bytes it was.
fn publish(rest: &mut Rest, stream: &str, mark: Mark) -> Result<(Reply, u64), Broken> {
    let body = format!(r#"{{"to":"{stream}","envelope":{}}}"#, mark.envelope());
    rest.send("POST", "/v1/enqueue", &format!("Idempotency-Key: {}\r\n", mark.dedup_id()), &body)?;
    Ok((rest.receive()?, body.len() as u64))
}

/// Takes and acks at most so many messages of the default group.
fn take_some(target: &Target, tally: &Mutex<StreamTally>, wanted: u64) -> Result<u64, Broken> {
    let name = lock(tally).name.clone();
    let path = super::consumer::subscribe_path(&name, "", &format!("&credit={wanted}"));
    let mut socket = Socket::open(target, &path)?;
    let (mut taken, mut progress) = (0, Instant::now());
    while taken < wanted && progress.elapsed() < PATIENCE {
        let mut acks = Vec::new();
        socket.read(Duration::from_millis(20), |said| {
            let Some(envelope) = &said.deliver else { return };
            let mut tally = lock(tally);
            match envelope.mark() {
                Some(mark) => {
                    tally.note_delivery(mark, said.seq, said.attempt);
                    // The disk may be gone: then an ack is not kept, and the message comes again. It is excused by the
                    // ack as anywhere else.
                    tally.note_ack(0, mark, said.seq);
                }
                None => tally.note_wrong(Wrong::Corrupted, &format!("the message with seq {}", said.seq)),
            }
            acks.push(said.seq);
        })?;
        if !acks.is_empty() {
            progress = Instant::now();
            taken += acks.len() as u64;
            socket.queue(&format!(r#"{{"ack":{acks:?}}}"#));
            socket.flush()?;
        }
    }
    // The server has taken the acks when the connection is closed in order; the next subscription sees what is left.
    Ok(taken)
}
