//! The command line's side of the table: one clap flag for each setting.

use crate::document::value_text;
use crate::resolve::CONFIG_ENV;
use crate::setting::{Group, Setting, Unit};
use crate::table::SETTINGS;
use clap::{Arg, ArgMatches, Command};
use std::collections::BTreeMap;
use std::fmt;

/// The flag of the configuration file.
const CONFIG_FLAG: &str = "config";

/// The flags that were given, as text. Values are checked by [`crate::resolve()`] together with the environment, so that
/// all mistakes are told at once.
#[derive(Clone, Default)]
pub struct Flags {
    texts: BTreeMap<&'static str, String>,
    /// The configuration file. It is no setting, as it cannot be set in itself.
    config: Option<String>,
}

/// The texts may be secrets.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.texts.keys()).finish()
    }
}

impl Flags {
    /// The configuration file that the command line names.
    #[must_use]
    pub fn config(&self) -> Option<&str> {
        self.config.as_deref()
    }

    /// The same flags with this configuration file.
    #[must_use]
    pub fn with_config(self, path: impl Into<String>) -> Self {
        Self { config: Some(path.into()), ..self }
    }

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
        let help = format!(
            "YAML file with settings, below the environment; docs/config.md shows its form [env: {CONFIG_ENV}]"
        );
        let heading = Group::ALL[0].title();
        command =
            command.arg(Arg::new(CONFIG_FLAG).long(CONFIG_FLAG).value_name("FILE").help(help).help_heading(heading));
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
        if let Ok(Some(path)) = matches.try_get_one::<String>(CONFIG_FLAG) {
            self.config = Some(path.clone());
        }
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
        ("tokens", _) => "TOKENS",
        ("control-token", _) => "TOKEN",
        ("jwt-secret", _) => "KEY",
        ("oidc-issuer" | "oidc-audience" | "jwt-tenant-claim", _) => "TEXT",
        ("oidc-jwks-uri", _) => "URL",
        ("drain-alternates", _) => "URLS",
        ("trusted-proxies", _) => "NETWORKS",
        ("cors-origins", _) => "ORIGINS",
        ("rules-env", _) => "NAMES",
        ("tokens-file" | "rules" | "tenant-config" | "http-log" | "ws-log", _) => "FILE",
        ("default-codec", _) => "CODEC",
        ("log-level", _) => "LEVEL",
        ("log-format", _) => "FORMAT",
        (_, Unit::Bytes) => "BYTES",
        (_, Unit::Ms) => "MS",
        (_, Unit::Us) => "US",
        (_, Unit::None) => "N",
    };
    let default = value_text(setting, &setting.default_text());
    let help = format!("{} [default: {default}] [env: {}]", setting.doc, setting.env);
    let mut arg = Arg::new(setting.flag).long(setting.flag);
    arg = if setting.is_switch() {
        // The bare flag switches on. A hyphen after it begins the next flag.
        arg.value_name("true|false").num_args(0..=1).default_missing_value("true")
    } else {
        arg.value_name(value_name).allow_hyphen_values(true)
    };
    arg.help(help).help_heading(setting.group.title()).hide_short_help(setting.group.is_advanced())
}
