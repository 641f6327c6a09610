//! `conduit-loadtest powercut`: a server under load has its file system ended under it, as when the power goes, and must
//! have kept its word. Only answers that were held before the cut began count.
//!
//! A second server on the same file system is the control: its stream answers before its messages are on the disk. It
//! must lose some of what it answered, or the cuts cut nothing and the trial is void.

use super::audit;
use super::broker::{Launch, binary};
use super::load::{Amount, Course, LONG_WINDOW_MS, Load, lock};
use super::report::{Ticker, TrialReport, median_and_longest_ms};
use super::tally::Rule;
use super::trial::{Over, Trial};
use super::volume::{Volume, VolumeFault, obstacle};
use crate::cli::{Ending, print};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Options of `conduit-loadtest powercut`.
#[derive(Debug, Args)]
pub struct PowercutOptions {
    /// The server [default: the `conduit` beside this program].
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// Power cuts.
    #[arg(long, default_value_t = 50)]
    cuts: u64,
    /// End earlier, after so many seconds, with what there is.
    #[arg(long)]
    seconds: Option<u64>,
    /// Cuts between two rounds of reading everything back.
    #[arg(long, default_value_t = 10)]
    cuts_per_round: u64,
    /// A server lives at most so many milliseconds before the power goes.
    #[arg(long, default_value_t = 300)]
    live_ms_max: u64,
    /// Seed of all decisions [default: by the clock].
    #[arg(long)]
    seed: Option<u64>,
    /// New messages a second, of all producers together.
    #[arg(long, default_value_t = 4_000.0)]
    rate: f64,
    /// Streams.
    #[arg(long, default_value_t = 4)]
    streams: u32,
    /// The server's shards.
    #[arg(long, default_value_t = 2)]
    shards: u64,
    /// Bytes of the file system; its file is sparse.
    #[arg(long, default_value_t = 2 << 30)]
    image_bytes: u64,
    /// One more argument for the server; may be given several times.
    #[arg(long = "server-arg", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the command.
///
/// # Errors
/// When file systems cannot be made and mounted here, or there is no server to try.
pub fn execute(options: &PowercutOptions) -> anyhow::Result<Ending> {
    if let Some(obstacle) = obstacle() {
        anyhow::bail!("powercut ends a file system in a file: {obstacle}");
    }
    let seed = options.seed.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond() as u64);
    let moment = jiff::Timestamp::now().as_microsecond();
    let place = std::env::temp_dir().join(format!("conduit-powercut-{}-{moment}", std::process::id()));
    let binary = binary(options.server_bin.as_deref())?;
    let volume = Volume::in_image(&place.with_extension("img"), options.image_bytes, &place)?;
    let launch = |folder: &str, shards| Launch {
        binary: binary.clone(),
        data_dir: Some(volume.place().join(folder)),
        shards,
        args: options.server_args.clone(),
        failpoint: None,
    };
    let amount = Amount { rate: options.rate, window: 32, may_fail: true };
    let control = Amount { rate: 1_000.0, window: 8, may_fail: true };
    let mut powercut = Powercut {
        trial: Trial::new(launch("trial", options.shards), amount, options.streams.max(1), seed),
        control: Trial::new(launch("control", 1), control, 1, seed ^ 1),
        volume,
        options,
        ticker: Ticker::new(options.quiet || options.json),
        interrupted: crate::run::interruption(),
        cuts: 0,
        cuts_in_recovery: 0,
        control_answered: 0,
        control_lost: 0,
        fault: None,
    };
    // What is wrong has been noted; the report tells it.
    let _ = powercut.run();
    if let Some(fault) = powercut.fault.take() {
        return Err(fault.into());
    }
    let report = powercut.report(seed);
    print(&if options.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.text() });
    Ok(report.ending())
}

struct Powercut<'a> {
    // The servers go before the file system that they are on.
    trial: Trial,
    control: Trial,
    volume: Volume,
    options: &'a PowercutOptions,
    ticker: Ticker,
    interrupted: Arc<AtomicBool>,
    cuts: u64,
    cuts_in_recovery: u64,
    control_answered: u64,
    control_lost: u64,
    /// The machine refused something.
    fault: Option<VolumeFault>,
}

impl Powercut<'_> {
    fn run(&mut self) -> Result<(), Over> {
        self.trial.start_and_wait()?;
        while !self.is_over() {
            self.trial.begin_round()?;
            for _ in 0..self.options.cuts_per_round.max(1) {
                if self.is_over() {
                    break;
                }
                self.one_cut()?;
                self.tick();
            }
            self.trial.end_round()?;
            self.trial.renew_when_large()?;
        }
        self.trial.leave(0)
    }

    fn is_over(&self) -> bool {
        let is_late = self.options.seconds.is_some_and(|seconds| self.ticker.elapsed() >= Duration::from_secs(seconds));
        self.cuts >= self.options.cuts || is_late || self.interrupted.load(Ordering::Relaxed)
    }

    fn one_cut(&mut self) -> Result<(), Over> {
        self.begin_control()?;
        let life = self.trial.dice.time_up_to(Duration::from_millis(self.options.live_ms_max));
        std::thread::sleep(life);
        self.cut(false)?;
        self.cuts += 1;
        if self.trial.dice.chance(1, 5) {
            // The power goes again while the server recovers, or just after.
            let usual = self.trial.ready.last().copied().unwrap_or(Duration::from_millis(20));
            let nap = self.trial.dice.time_up_to(usual.mul_f64(1.1));
            self.trial.start()?;
            std::thread::sleep(nap);
            self.cut(true)?;
            self.cuts_in_recovery += 1;
        }
        self.trial.start_and_wait()?;
        self.end_control()
    }

    /// The power goes and comes back; no server runs afterwards. One that was still getting ready may have given up; one
    /// that was up goes on without its disk until it is told to end.
    fn cut(&mut self, is_recovering: bool) -> Result<(), Over> {
        for trial in [&self.trial, &self.control] {
            if let Some(load) = &trial.load {
                load.gate.end_life();
            }
        }
        self.note(|volume| volume.cut())?;
        // Servers whose disk is gone live on for a moment: nothing that they say now counts, and nothing may come of it.
        let nap = self.trial.dice.time_up_to(Duration::from_millis(10));
        std::thread::sleep(nap);
        self.trial.end(is_recovering)?;
        self.control.end(is_recovering)?;
        self.note(Volume::unmount)?;
        self.note(Volume::mount)
    }

    fn note(&mut self, act: impl FnOnce(&mut Volume) -> Result<(), VolumeFault>) -> Result<(), Over> {
        act(&mut self.volume).map_err(|fault| {
            self.fault = Some(fault);
            Over
        })
    }

    /// A fresh control server, and load on a stream of it that answers early.
    fn begin_control(&mut self) -> Result<(), Over> {
        let target = self.control.start_and_wait()?;
        let course = Course {
            name: format!("control/{}", self.cuts),
            rule: Rule::Control,
            groups: Vec::new(),
            dedup_window_ms: Some(LONG_WINDOW_MS),
        };
        let load = Load::start(&target, vec![course], self.control.amount, &mut self.control.dice);
        self.control.load = Some(load.map_err(|broken| self.control.broke(&broken))?);
        Ok(())
    }

    /// Counts what the control has lost, and throws its data away.
    fn end_control(&mut self) -> Result<(), Over> {
        let Some(mut load) = self.control.load.take() else { return Ok(()) };
        load.stop();
        let target = self.control.start_and_wait()?;
        for tally in &load.tallies {
            // The whole stream may be gone: then it is empty, and nothing of it is read back.
            audit::read_back(&target, tally).map_err(|broken| self.control.broke(&broken))?;
            let mut tally = lock(tally);
            self.control_lost += tally.judge();
            self.control_answered += tally.figures.answered;
        }
        self.control.kill()?;
        if let Some(folder) = &self.control.launch.data_dir {
            // What stays is recovered by the next control, in streams of other names.
            let _ = std::fs::remove_dir_all(folder);
        }
        Ok(())
    }

    fn tick(&mut self) {
        let (cuts, all, lost) = (self.cuts, self.options.cuts, self.control_lost);
        let (figures, rounds) = (self.trial.figures, self.trial.rounds);
        self.ticker.tick(|| {
            format!(
                "power cuts {cuts}/{all}, round {rounds}, answered {}, read back {}; the control lost {lost}",
                figures.answered, figures.read_back
            )
        });
    }

    fn report(&self, seed: u64) -> TrialReport {
        self.ticker.finish();
        let mut wrongs = self.trial.wrongs.clone();
        wrongs.join(&self.control.wrongs);
        let mut void = Vec::new();
        if self.control_lost == 0 {
            void.push(format!("the control answers early, and lost none of {} messages", self.control_answered));
        }
        if self.trial.figures.answered == 0 {
            void.push("no publish was answered".into());
        }
        TrialReport {
            trial: "powercut",
            seed,
            seconds: self.ticker.elapsed().as_secs_f64(),
            deeds: vec![
                ("power cuts".to_owned(), self.cuts),
                ("  more of them during recovery".to_owned(), self.cuts_in_recovery),
                ("repairs of the file system".to_owned(), self.volume.repairs),
                ("rounds".to_owned(), self.trial.rounds),
                ("control: answered early".to_owned(), self.control_answered),
                ("control: of those lost, as it should".to_owned(), self.control_lost),
            ],
            figures: self.trial.figures,
            ready_ms: median_and_longest_ms(&self.trial.ready),
            wrongs,
            void,
        }
    }
}
