//! `conduit`: the server. This file is the table of contents of a start; the work is in the crates beside it.

mod conduit {
    pub(crate) mod announcement;
    pub(crate) mod command_line;
    pub(crate) mod config_command;
    pub(crate) mod diagnostics;
    pub(crate) mod log_command;
    pub(crate) mod log_text;
    pub(crate) mod machine;
    pub(crate) mod operation;
    pub(crate) mod rules_command;
}

use conduit::command_line::Asked;
use conduit::{
    announcement, command_line, config_command, diagnostics, log_command, machine, operation, rules_command,
};
use std::process::ExitCode;

/// mimalloc: blocks freed by the thread that allocated them cost next to nothing, which is how shards allocate.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let asked = match command_line::read() {
        Asked::Serve(asked) => asked,
        Asked::Log(action) => return log_command::run(&action),
        Asked::Rules(action) => return rules_command::run(&action),
        Asked::Config(action) => return config_command::run(action),
    };
    let (loader, loaded) = match config_command::load(asked.flags) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let config = loaded.resolved.config.clone();
    if asked.check_config {
        return match conduit_io::check(&config) {
            Ok(data_dir) => announcement::listing(&loaded, data_dir.as_deref()),
            Err(error) => announcement::failure(&error, error.exit_code()),
        };
    }
    let diagnostics = diagnostics::start(&config);
    announcement::warnings(&loaded.resolved, machine::memory_bytes());

    let boot = announcement::Boot::of(&loaded);
    let operation = operation::of(loader, loaded, diagnostics);
    match conduit_io::serve(&config, operation, |bound| boot.print(bound.http, bound.ws)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => announcement::failure(&error, error.exit_code()),
    }
}
