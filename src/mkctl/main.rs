//! `mkctl`: the operator's client. Everything it does goes over the wire that any other client uses.

mod address;
mod administration;
mod command_line;
mod consume;
mod dashboard;
mod dead_letters;
mod failure;
mod http;
mod object_commands;
mod objects;
mod output;
mod publish;
mod reports;
mod socket;
mod top;

use clap::Parser;
use command_line::{Command, CommandLine};
use failure::Failure;
use object_commands::{DeadLetters, Streams};
use output::Output;
use std::process::ExitCode;

fn main() -> ExitCode {
    let CommandLine { command, global } = CommandLine::parse();
    let mut out = Output::new(global.json);
    let done = run(command, &global, &mut out).and_then(|()| out.flush());
    match done {
        // A reader that has seen enough, such as `head`, is not a failure.
        Ok(()) | Err(Failure::OutputClosed) => ExitCode::SUCCESS,
        Err(failure) => {
            out.complain(&failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command, global: &command_line::Global, out: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Health { at } => reports::health(&global.server(at.as_deref())?, out),
        Command::Status { at } => reports::status(&global.server(at.as_deref())?, out),
        Command::Version { at } => reports::version(&global.server(at.as_deref())?, out),
        Command::Metrics { at, prometheus } => reports::metrics(&global.server(at.as_deref())?, prometheus, out),
        Command::Reload { at } => administration::reload(&global.administered(at.as_deref())?, out),
        Command::Drain { at, within_ms, wait } => {
            administration::drain(&global.administered(at.as_deref())?, within_ms, wait, out)
        }
        Command::Snapshot { view, at } => administration::snapshot(&global.administered(at.as_deref())?, &view, out),
        Command::Stats { stream, at } => reports::stats(&global.server(at.as_deref())?, &stream, out),
        Command::Histograms { at, format } => reports::histograms(&global.server(at.as_deref())?, format, out),
        Command::Pub(asked) => publish::run(&global.server(asked.at())?, &asked, out),
        Command::Sub(asked) => consume::subscribe(&global.server(asked.at.as_deref())?, &asked, out),
        Command::Tail(asked) => consume::tail(&global.server(asked.at.as_deref())?, &asked, out),
        Command::Top(asked) => top::run(&global.server(asked.at.as_deref())?, &asked, out),
        Command::Streams { action } => {
            let action = action.unwrap_or(Streams::Ls { at: None });
            objects::streams(&global.server(action.at())?, &action, out)
        }
        Command::Groups { action } => objects::groups(&global.server(action.at())?, &action, out),
        Command::Dlq { action } => {
            let action = action.unwrap_or(DeadLetters::Ls { at: None });
            dead_letters::run(&global.server(action.at())?, &action, out)
        }
    }
}
