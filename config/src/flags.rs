//! The command line's side of the table: one clap flag for each setting.

use crate::document::value_text;
use crate::setting::{Setting, Unit};
use crate::table::SETTINGS;
use clap::{Arg, ArgMatches, Command};
use std::collections::BTreeMap;

/// The flags that were given, as text. Values are checked by [`crate::resolve()`] together with the environment, so that
/// all mistakes are told at once.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    texts: BTreeMap<&'static str, String>,
}

impl Flags {
    /// The text of a setting's flag, if it was given.
    pub(crate) fn text(&self, setting: &Setting) -> Option<&str> {
        self.texts.get(setting.flag).map(String::as_str)
    }

    /// The same flags with one more, as if it stood on the command line: for tests and embedders. An unknown flag is
    /// ignored.
    #[must_use]
    pub fn with(mut self, flag: &str, text: &str) -> Self {
        if let Some(setting) = crate::table::by_flag(flag) {
            self.texts.insert(setting.flag, text.to_owned());
        }
        self
    }
}

impl clap::Args for Flags {
    fn augment_args(mut command: Command) -> Command {
        for setting in SETTINGS {
            command = command.arg(flag(setting));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for setting in SETTINGS {
            if let Ok(Some(text)) = matches.try_get_one::<String>(setting.flag) {
                self.texts.insert(setting.flag, text.clone());
            }
        }
        Ok(())
    }
}

fn flag(setting: &Setting) -> Arg {
    let value_name = match (setting.flag, setting.unit) {
        ("bind", _) => "ADDRESS",
        ("cpus", _) => "LIST",
        ("data-dir", _) => "DIR",
        ("durability", _) => "RULES",
        ("log-level", _) => "LEVEL",
        ("log-format", _) => "FORMAT",
        (_, Unit::Bytes) => "BYTES",
        (_, Unit::Ms) => "MS",
        (_, Unit::Us) => "US",
        (_, Unit::None) => "N",
    };
    let default = value_text(setting, &setting.default_text());
    let help = format!("{} [default: {default}] [env: {}]", setting.doc, setting.env);
    Arg::new(setting.flag)
        .long(setting.flag)
        .value_name(value_name)
        .help(help)
        .help_heading(setting.group.title())
        .hide_short_help(setting.group.is_advanced())
        .allow_hyphen_values(true)
}
