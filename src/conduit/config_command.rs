//! `conduit config`: what there is to set, and what is set. It runs nothing.

use super::{announcement, machine, operation};
use clap::{Args, Subcommand};
use conduit_config::{EXIT_CODE, Flags, Loaded, Loader, document, tree};
use std::process::ExitCode;

/// What can be asked about the configuration.
#[derive(Subcommand)]
pub(crate) enum ConfigAction {
    /// Print every setting with its value, in the form of the file that --config takes.
    Show(Box<Show>),
    /// Print the JSON Schema of that file.
    Schema,
    /// Print such a file with every setting explained, and commented out with its default.
    Sample,
    /// Print every environment variable with its default, in the form of an environment file.
    Env,
}

#[derive(Args)]
pub(crate) struct Show {
    /// Say behind each value where it came from.
    #[arg(long)]
    origin: bool,
    /// One JSON array with value, origin and names of each setting.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Does what was asked for.
pub(crate) fn run(action: ConfigAction) -> ExitCode {
    match action {
        ConfigAction::Show(asked) => show(*asked),
        ConfigAction::Schema => announcement::print(&pretty(&tree::schema())),
        ConfigAction::Sample => announcement::print(&tree::sample()),
        ConfigAction::Env => announcement::print(&document::environment()),
    }
}

/// Reads everything that a configuration consists of. On a mistake everything that is wrong has been told.
///
/// # Errors
/// The exit code.
pub(crate) fn load(flags: Flags) -> Result<(Loader, Loaded), ExitCode> {
    let environment = machine::environment().map_err(|problem| announcement::failure(&problem, EXIT_CODE))?;
    let loader = Loader::new(flags, environment, machine::machine());
    let loaded = loader.load(&operation::read_file, 0);
    loaded.map(|loaded| (loader, loaded)).map_err(|problems| announcement::failure(&problems, EXIT_CODE))
}

fn show(asked: Show) -> ExitCode {
    let loaded = match load(asked.flags) {
        Ok((_, loaded)) => loaded,
        Err(code) => return code,
    };
    if asked.json {
        return announcement::print(&pretty(&tree::json(&loaded.resolved)));
    }
    announcement::print(&tree::yaml(&loaded.resolved, asked.origin))
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
