//! `conduit log`: looks at the logs of a data directory. It changes nothing, and may be used beside a running server.

use super::log_text::{as_json, as_text, record_json, record_text};
use clap::{Args, Subcommand};
use conduit_io::{DirectoryView, Files};
use conduit_protocol::ShardId;
use conduit_shard::log::{Found, LogIdentity, LogLimits, ScanPlan, Scanned, scan};
use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Something in a log is not as it was written.
const EXIT_DAMAGE: u8 = 1;
/// The directory cannot be read, or is none.
const EXIT_FAILED: u8 = 2;
/// How often progress is shown to a person.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What can be done with a log.
#[derive(Subcommand)]
pub(crate) enum LogAction {
    /// Tell what is in the logs: segments, records, damage.
    Inspect(Inspect),
    /// Read everything and check it: exit code 0 when every record is as it was written, 1 when something is not.
    Verify(Verify),
}

#[derive(Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    of: Of,
    /// One JSON value a line: the records, if asked for, then a value for each shard.
    #[arg(long)]
    json: bool,
    /// Tell every record, in the order of the log; of messages what is known about them, never their content.
    #[arg(long)]
    records: bool,
}

#[derive(Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    of: Of,
}

#[derive(Args)]
struct Of {
    /// The data directory of a server.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only this shard.
    #[arg(long, value_name = "K")]
    shard: Option<u16>,
}

/// Does what was asked for.
pub(crate) fn run(action: &LogAction) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = match action {
        LogAction::Inspect(asked) => inspect(asked, &mut out),
        LogAction::Verify(asked) => verify(asked, &mut out),
    };
    match done.and_then(|code| out.flush().map(|()| code).map_err(Failure::Output)) {
        Ok(code) => code,
        // Whoever reads the output has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => super::announcement::failure(&error, EXIT_FAILED),
        Err(Failure::Input(text)) => super::announcement::failure(&text, EXIT_FAILED),
    }
}

/// Why a look came to nothing.
#[derive(Debug)]
enum Failure {
    /// The directory or a log cannot be read.
    Input(String),
    /// The output cannot be written.
    Output(io::Error),
}

fn input(error: impl Display) -> Failure {
    Failure::Input(error.to_string())
}

fn inspect(asked: &Inspect, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let (view, shards) = view(&asked.of)?;
    for shard in shards {
        let folder = view.shard(shard);
        let mut written = Ok(());
        let mut each = |found: Found<'_>| {
            if let (Found::Record(at, record), true, Ok(())) = (found, asked.records, &written) {
                let line = if asked.json { record_json(shard, at, &record) } else { record_text(at, &record) };
                written = writeln!(out, "{line}");
            }
        };
        let scanned = read(&folder, shard, &mut each)?;
        written.map_err(Failure::Output)?;
        let text = if asked.json { as_json(shard, &scanned).to_string() } else { as_text(shard, &folder, &scanned) };
        writeln!(out, "{text}").map_err(Failure::Output)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(asked: &Verify, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let (view, shards) = view(&asked.of)?;
    let (mut damaged, mut records) = (0, 0);
    let mut told = String::new();
    for shard in shards {
        let scanned = read(&view.shard(shard), shard, &mut |_| {})?;
        records += scanned.records;
        damaged += scanned.damage_count;
        told.extend(super::log_text::damage_lines(shard, &scanned));
    }
    let verdict = match damaged {
        0 => format!("clean: {records} records are as they were written"),
        count => format!("damaged: {count} places; {records} records are as they were written"),
    };
    writeln!(out, "{told}{verdict}").map_err(Failure::Output)?;
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_DAMAGE) })
}

/// The directory and the shards that were asked for.
fn view(of: &Of) -> Result<(DirectoryView, Vec<u16>), Failure> {
    let view =
        DirectoryView::open(&of.directory).map_err(|error| input(format!("{error}\n  remedy: {}", error.remedy())))?;
    let shards = match of.shard {
        None => (0..view.layout.shards).collect(),
        Some(shard) if shard < view.layout.shards => vec![shard],
        Some(shard) => {
            let last = view.layout.shards - 1;
            return Err(input(format!("there is no shard {shard} in {}: give 0 to {last}", of.directory.display())));
        }
    };
    if view.is_in_use {
        remark("a server is using the directory: what it writes meanwhile is missing here, or looks torn\n");
    }
    Ok((view, shards))
}

/// Reads a whole log, with progress for a person.
fn read(folder: &Path, shard: u16, each: &mut dyn FnMut(Found<'_>)) -> Result<Scanned, Failure> {
    let about = |error: &dyn Display| Failure::Input(format!("{}: {error}", folder.display()));
    let mut files = Files::open_read_only(folder).map_err(|error| about(&error))?;
    let limits = LogLimits::default();
    // An empty log has no identity of its own, and none is given to it here.
    let fresh = LogIdentity { log_id: [0; 16], salt: 0 };
    let plan = ScanPlan { limits: &limits, shard: ShardId(shard), fresh, is_recovery: false };
    let is_watched = io::stderr().is_terminal();
    let mut shown = Instant::now();
    let mut progress = |done: u64, total: u64| {
        if is_watched && shown.elapsed() >= PROGRESS_EVERY {
            shown = Instant::now();
            let percent = (done * 100).checked_div(total).unwrap_or(100);
            remark(&format!("\rshard {shard}: {percent:3} % of {} MiB", total >> 20));
        }
    };
    let scanned = scan(&mut files, &plan, each, &mut progress).map_err(|error| about(&error));
    if is_watched {
        remark("\r\x1b[K");
    }
    scanned
}

/// Tells standard error something that is not a result.
fn remark(text: &str) {
    // Without standard error there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
}
