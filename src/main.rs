//! `conduit`: the server. This file is the table of contents of a start; the work is in the crates beside it.

mod conduit {
    pub(crate) mod announcement;
    pub(crate) mod command_line;
    pub(crate) mod diagnostics;
    pub(crate) mod log_command;
    pub(crate) mod log_text;
    pub(crate) mod machine;
    pub(crate) mod rules_command;
}

use conduit::command_line::Asked;
use conduit::{announcement, command_line, diagnostics, log_command, machine, rules_command};
use std::process::ExitCode;

/// mimalloc: blocks freed by the thread that allocated them cost next to nothing, which is how shards allocate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let asked = match command_line::read() {
        Asked::Serve(asked) => asked,
        Asked::Log(action) => return log_command::run(&action),
        Asked::Rules(action) => return rules_command::run(&action),
    };
    let cores = machine::cores();
    let environment = match machine::environment() {
        Ok(environment) => environment,
        Err(problem) => return announcement::failure(&problem, conduit_config::EXIT_CODE),
    };
    let resolved = match conduit_config::resolve(&asked.flags, environment, cores) {
        Ok(resolved) => resolved,
        Err(problems) => return announcement::failure(&problems, conduit_config::EXIT_CODE),
    };
    if asked.check_config {
        return match conduit_io::check_data_dir(&resolved.config) {
            Ok(data_dir) => announcement::listing(&resolved, data_dir.as_deref()),
            Err(error) => announcement::failure(&error, error.exit_code()),
        };
    }
    diagnostics::start(&resolved.config);
    announcement::warnings(&resolved, machine::memory_bytes());

    let boot = announcement::Boot::of(&resolved);
    match conduit_io::serve(&resolved.config, conduit_io::Operation::default(), |bound| boot.print(bound.http, bound.ws)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => announcement::failure(&error, error.exit_code()),
    }
}
