//! `conduit-loadtest crash`: a server under load is killed again and again, at any moment, and must have kept its word.

use super::broker::{Launch, binary};
use super::load::Amount;
use super::report::{Ticker, TrialReport, median_and_longest_ms};
use super::trial::{Over, Trial};
use crate::cli::{Ending, print};
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Options of `conduit-loadtest crash`.
#[derive(Debug, Args)]
pub struct CrashOptions {
    /// The server [default: the `conduit` beside this program].
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// Kills, those during recovery not counted.
    #[arg(long, default_value_t = 50)]
    kills: u64,
    /// End earlier, after so many seconds, with what there is.
    #[arg(long)]
    seconds: Option<u64>,
    /// Kills between two rounds of reading everything back.
    #[arg(long, default_value_t = 10)]
    kills_per_round: u64,
    /// A server lives at most so many milliseconds before it is killed.
    #[arg(long, default_value_t = 400)]
    live_ms_max: u64,
    /// Kill at the named places too: in turn, each life ends itself at one of them. The server must be built with the
    /// feature `failpoints`.
    #[arg(long)]
    failpoints: bool,
    /// Seed of all decisions [default: by the clock].
    #[arg(long)]
    seed: Option<u64>,
    /// New messages a second, of all producers together.
    #[arg(long, default_value_t = 4_000.0)]
    rate: f64,
    /// Messages of one WebSocket producer on their way.
    #[arg(long, default_value_t = 32)]
    window: usize,
    /// Streams.
    #[arg(long, default_value_t = 4)]
    streams: u32,
    /// The server's shards; restarts change it now and then, to at most this.
    #[arg(long, default_value_t = 3)]
    shards_max: u64,
    /// Where the server keeps its data; must not exist [default: a folder in the temporary directory].
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// One more argument for the server; may be given several times.
    #[arg(long = "server-arg", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// Throw the data away before each restart: the trial must then fail, which shows that it can.
    #[arg(long)]
    forget: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

/// A place where a life can end itself.
#[derive(Debug)]
struct Place {
    name: &'static str,
    /// It is passed at least so often in a life that lasts a while: the passage to end at is at most this.
    passage_max: u64,
    armed: u64,
    reached: u64,
}

impl Place {
    /// How often it had its turn.
    fn turns(&self) -> u64 {
        self.reached.max(self.armed.saturating_sub(MISSES_FORGIVEN))
    }
}

/// How long a life that shall end itself is given to get there.
const ARMED_LIFE: Duration = Duration::from_secs(3);

/// Lives that do not get there cost a place so many turns at most: it is tried again at once.
const MISSES_FORGIVEN: u64 = 5;

/// Runs the command.
///
/// # Errors
/// When there is no server to try, or the data directory exists already.
pub fn execute(options: &CrashOptions) -> anyhow::Result<Ending> {
    let seed = options.seed.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond() as u64);
    let moment = jiff::Timestamp::now().as_microsecond();
    let data_dir = match &options.data_dir {
        Some(path) => path.clone(),
        None => std::env::temp_dir().join(format!("conduit-crash-{}-{moment}", std::process::id())),
    };
    std::fs::create_dir(&data_dir).map_err(|error| anyhow::anyhow!("{}: {error}", data_dir.display()))?;
    let launch = Launch {
        binary: binary(options.server_bin.as_deref())?,
        data_dir: Some(data_dir.clone()),
        shards: options.shards_max.clamp(1, 2),
        args: options.server_args.clone(),
        failpoint: None,
    };
    let amount = Amount { rate: options.rate, window: options.window, may_fail: false };
    let mut crash = Crash {
        trial: Trial { forgets: options.forget, ..Trial::new(launch, amount, options.streams.max(1), seed) },
        options,
        ticker: Ticker::new(options.quiet || options.json),
        interrupted: crate::run::interruption(),
        places: places(),
        kills: 0,
        chains: 0,
        chain_kills: 0,
        reshards: 0,
    };
    // What is wrong has been noted; the report tells it.
    let _ = crash.run();
    let report = crash.report(seed);
    drop(crash);
    if report.ending() == Ending::Failed {
        print(&format!("the data directory is left for inspection: {}\n", data_dir.display()));
    } else {
        // A folder that stays behind in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&data_dir);
    }
    print(&if options.json { serde_json::to_string_pretty(&report)? + "\n" } else { report.text() });
    Ok(report.ending())
}

fn places() -> Vec<Place> {
    let place = |(name, passage_max)| Place { name, passage_max, armed: 0, reached: 0 };
    [
        ("after_append", 200),
        ("before_sync", 200),
        ("after_sync", 200),
        ("mid_rotation", 2),
        ("mid_trim", 2),
        ("in_recovery", 8),
        ("during_reshard", 3),
    ]
    .map(place)
    .into()
}

struct Crash<'a> {
    trial: Trial,
    options: &'a CrashOptions,
    ticker: Ticker,
    interrupted: Arc<AtomicBool>,
    places: Vec<Place>,
    kills: u64,
    chains: u64,
    chain_kills: u64,
    reshards: u64,
}

impl Crash<'_> {
    fn run(&mut self) -> Result<(), Over> {
        self.trial.start_and_wait()?;
        while !self.is_over() {
            self.trial.begin_round()?;
            for _ in 0..self.options.kills_per_round.max(1) {
                if self.is_over() {
                    break;
                }
                self.one_death()?;
                self.tick();
            }
            // The last life of a round is one that nothing ends.
            if self.trial.launch.failpoint.is_some() {
                self.note_place(false);
                self.trial.kill()?;
                self.trial.start_and_wait()?;
            }
            self.trial.end_round()?;
            self.trial.renew_when_large()?;
            if self.trial.dice.chance(1, 3) {
                self.trial.leave(0)?;
                self.trial.start_and_wait()?;
            }
        }
        self.trial.leave(0)
    }

    fn is_over(&self) -> bool {
        let is_late = self.options.seconds.is_some_and(|seconds| self.ticker.elapsed() >= Duration::from_secs(seconds));
        self.kills >= self.options.kills || is_late || self.interrupted.load(Ordering::Relaxed)
    }

    /// The server lives for a while, is killed, perhaps again and again while it recovers, and is up again at the end.
    fn one_death(&mut self) -> Result<(), Over> {
        let is_armed = self.trial.launch.failpoint.is_some();
        let life = Duration::from_millis(self.options.live_ms_max);
        let life = if is_armed { ARMED_LIFE } else { self.trial.dice.time_up_to(life) };
        if let Some(broker) = &mut self.trial.broker {
            broker.wait_end(life);
        }
        let was_killed_by_us = self.trial.kill()?;
        if is_armed {
            self.note_place(!was_killed_by_us);
        }
        self.kills += 1;
        if self.trial.dice.chance(1, 4) {
            self.kill_during_recovery()?;
        }
        self.rise()
    }

    /// A chain: the server is started and killed before it has recovered, once or several times.
    fn kill_during_recovery(&mut self) -> Result<(), Over> {
        self.trial.launch.failpoint = None;
        self.chains += 1;
        for _ in 0..=self.trial.dice.below(4) {
            self.perhaps_reshard(6);
            // A little longer than the last start took: some kills come just after it is ready.
            let usual = self.trial.ready.last().copied().unwrap_or(Duration::from_millis(20));
            let nap = self.trial.dice.time_up_to(usual.mul_f64(1.1));
            self.trial.start()?;
            std::thread::sleep(nap);
            self.trial.kill()?;
            self.chain_kills += 1;
        }
        Ok(())
    }

    /// Starts the server for its next life, with or without a place where it shall end itself.
    fn rise(&mut self) -> Result<(), Over> {
        self.trial.launch.failpoint = None;
        self.perhaps_reshard(6);
        if self.options.failpoints && self.kills % 2 == 1 {
            self.arm();
            self.trial.start()?;
            if self.trial.wait_ready()?.is_some() {
                return Ok(());
            }
            // It ended itself while it recovered.
            self.note_place(true);
            self.trial.kill()?;
            self.chain_kills += 1;
        }
        self.trial.start_and_wait().map(|_| ())
    }

    fn perhaps_reshard(&mut self, one_in: u64) {
        if self.options.shards_max > 1 && self.trial.dice.chance(1, one_in) {
            self.reshard();
        }
    }

    fn reshard(&mut self) {
        let (now, max) = (self.trial.launch.shards, self.options.shards_max);
        // Any other number of shards.
        self.trial.launch.shards = 1 + (now + self.trial.dice.below(max - 1)) % max;
        self.reshards += 1;
    }

    /// Chooses the place that was reached least, and the passage at which to end.
    fn arm(&mut self) {
        let max = self.options.shards_max;
        let is_trimming = self.trial.is_trimming();
        let usable = self.places.iter_mut().filter(|place| match place.name {
            "during_reshard" => max > 1,
            "mid_trim" => is_trimming,
            _ => true,
        });
        let Some(place) = usable.min_by_key(|place| place.turns()) else { return };
        place.armed += 1;
        let passage = 1 + self.trial.dice.below(place.passage_max);
        let name = place.name;
        self.trial.launch.failpoint = Some(format!("{name}:{passage}"));
        if name == "during_reshard" {
            self.reshard();
        }
    }

    /// The life that was armed is over.
    fn note_place(&mut self, was_reached: bool) {
        let armed = self.trial.launch.failpoint.as_deref().unwrap_or_default();
        let name = armed.split(':').next().unwrap_or_default();
        if let Some(place) = self.places.iter_mut().find(|place| place.name == name) {
            place.reached += u64::from(was_reached);
        }
    }

    fn tick(&mut self) {
        let (kills, all, chain_kills) = (self.kills, self.options.kills, self.chain_kills);
        let (figures, rounds) = (self.trial.figures, self.trial.rounds);
        self.ticker.tick(|| {
            format!(
                "kills {kills}/{all}, during recovery {chain_kills}, round {rounds}, answered {}, read back {}",
                figures.answered, figures.read_back
            )
        });
    }

    fn report(&mut self, seed: u64) -> TrialReport {
        self.ticker.finish();
        let mut deeds = vec![
            ("kills".to_owned(), self.kills),
            ("chains of kills during recovery".to_owned(), self.chains),
            ("  kills in them".to_owned(), self.chain_kills),
            ("restarts with another number of shards".to_owned(), self.reshards),
            ("rounds".to_owned(), self.trial.rounds),
        ];
        let mut void = Vec::new();
        if self.options.failpoints {
            for place in &self.places {
                deeds.push((format!("ended itself at {}", place.name), place.reached));
                if place.armed > 0 && place.reached == 0 {
                    void.push(format!("no life reached {} in {} tries", place.name, place.armed));
                }
            }
        }
        if self.trial.figures.answered == 0 {
            void.push("no publish was answered".into());
        }
        TrialReport {
            trial: "crash",
            seed,
            seconds: self.ticker.elapsed().as_secs_f64(),
            deeds,
            figures: self.trial.figures,
            ready_ms: median_and_longest_ms(&self.trial.ready),
            wrongs: self.trial.wrongs.clone(),
            void,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survival::trial::Trial;

    fn crash(options: &CrashOptions) -> Crash<'_> {
        let launch = Launch { binary: "none".into(), data_dir: None, shards: 2, args: vec![], failpoint: None };
        let amount = Amount { rate: 1.0, window: 1, may_fail: false };
        Crash {
            trial: Trial::new(launch, amount, 1, 1),
            options,
            ticker: Ticker::new(true),
            interrupted: Arc::default(),
            places: places(),
            kills: 0,
            chains: 0,
            chain_kills: 0,
            reshards: 0,
        }
    }

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: CrashOptions,
    }

    fn options(words: &[&str]) -> CrashOptions {
        <Line as clap::Parser>::parse_from(["crash"].iter().chain(words)).options
    }

    #[test]
    fn places_take_turns_and_one_that_is_never_reached_makes_the_trial_void() {
        let options = options(&["--failpoints"]);
        let mut crash = crash(&options);
        for _ in 0..5 + 1 + MISSES_FORGIVEN + 6 {
            crash.arm();
            let armed = crash.trial.launch.failpoint.as_deref();
            let is_rotation = armed.is_some_and(|point| point.starts_with("mid_rotation"));
            crash.note_place(!is_rotation);
        }
        // Nothing is trimmed outside of a round.
        let expected = |place: &Place| match place.name {
            "mid_trim" => 0,
            "mid_rotation" => 2 + MISSES_FORGIVEN,
            _ => 2,
        };
        assert!(crash.places.iter().all(|place| place.armed == expected(place)), "{:?}", crash.places);
        crash.trial.figures.answered = 1;
        let report = crash.report(1);
        assert_eq!(report.void, ["no life reached mid_rotation in 7 tries"]);
        assert_eq!(report.ending(), Ending::Void);
    }

    #[test]
    fn a_reshard_changes_the_number_of_shards_and_stays_in_its_bounds() {
        let options = options(&["--shards-max", "3"]);
        let mut crash = crash(&options);
        for _ in 0..100 {
            let before = crash.trial.launch.shards;
            crash.reshard();
            let after = crash.trial.launch.shards;
            assert!(after != before && (1..=3).contains(&after), "{before} became {after}");
        }
    }

    #[test]
    fn a_trial_in_which_nothing_was_answered_proves_nothing() {
        let options = options(&[]);
        assert_eq!(crash(&options).report(1).ending(), Ending::Void);
    }
}
