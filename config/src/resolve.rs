//! Flags and environment to one configuration, with the origin of every value.

use crate::config::Config;
use crate::file::ConfigFile;
use crate::flags::Flags;
use crate::machine::{Machine, settle_defaults};
use crate::memory::MemoryBound;
use crate::nearest::nearest;
use crate::problem::{Problem, Problems};
use crate::reserved::{RESERVED, RESERVED_FAMILIES};
use crate::setting::{Setting, Unfit};
use crate::table::{ALIASES, SETTINGS, by_env};
use crate::{document, relations};
use conduit_protocol::Policy;
use std::fmt;
use std::sync::Arc;

/// The prefix of every environment variable that means this server.
pub const ENV_PREFIX: &str = "CONDUIT_";

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1, in characters.
    pub column: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The variable that names the configuration file; its flag is `--config`.
pub const CONFIG_ENV: &str = "CONDUIT_CONFIG";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File(Place),
    /// Its environment variable.
    Environment,
    /// Its environment variable, under another name.
    Alias(&'static str),
    /// Its flag.
    Flag,
    /// It follows from the setting of this flag.
    Follows(&'static str),
    /// Nobody set it, and the default was lowered to what fits the memory of the machine.
    Memory,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => place.fmt(f),
            Self::Environment => f.write_str("environment"),
            Self::Alias(name) => write!(f, "environment ({name})"),
            Self::Flag => f.write_str("flag"),
            Self::Follows(flag) => write!(f, "follows --{flag}"),
            Self::Memory => f.write_str("default, lowered to fit the memory"),
        }
    }
}

/// A checked configuration and where its values came from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The values.
    pub config: Config,
    /// One origin for each row of [`SETTINGS`], in its order.
    pub origins: Vec<Origin>,
    /// What is allowed but probably not meant, in sentences.
    pub warnings: Vec<String>,
}

impl Resolved {
    /// Where a setting's value came from.
    #[must_use]
    pub fn origin(&self, setting: &Setting) -> Origin {
        let at = SETTINGS.iter().position(|other| other.flag == setting.flag);
        at.and_then(|at| self.origins.get(at).cloned()).unwrap_or(Origin::Default)
    }

    /// Every setting with its value and origin, and the memory bound: what `--check-config` prints.
    #[must_use]
    pub fn listing(&self) -> String {
        document::listing(self)
    }

    /// What the limits add up to.
    #[must_use]
    pub fn memory_bound(&self) -> MemoryBound {
        MemoryBound::of(&self.config)
    }
}

/// Makes one checked configuration of what was given on the command line and in the environment. `environment` may hold any variables; those without the prefix
/// `CONDUIT_` are skipped. `machine` is what the process may use: the CPUs are the default number of shards, and the
/// memory bounds the defaults of what streams hold.
///
/// # Errors
/// Everything that is wrong, at once: values out of their bounds, values that contradict each other, unknown
/// variables, and variables of parts that are not built.
pub fn resolve(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
    machine: impl Into<Machine>,
) -> Result<Resolved, Problems> {
    resolve_with(flags, environment, None, machine)
}

/// The same with a configuration file below the environment.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_with(
    flags: &Flags,
    environment: impl IntoIterator<Item = (String, String)>,
    file: Option<&ConfigFile>,
    machine: impl Into<Machine>,
) -> Result<Resolved, Problems> {
    let machine = machine.into();
    let environment: Vec<_> = environment.into_iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
    let draft = Draft::of(flags, &environment, file, true, machine);
    if !draft.problems.is_empty() {
        return Err(Problems(draft.problems));
    }
    let warnings = relations::warnings(&draft.config, &Policy::default(), machine.cores);
    Ok(Resolved { config: draft.config, origins: draft.origins, warnings })
}

/// A configuration that may have problems: what has one, has its default.
pub(crate) struct Draft {
    pub(crate) config: Config,
    pub(crate) origins: Vec<Origin>,
    pub(crate) problems: Vec<Problem>,
}

impl Draft {
    /// Makes one of what was given. `is_whole` is false when there is a file that could not be read: what it might say is
    /// then unknown, and values are not compared with each other.
    pub(crate) fn of(
        flags: &Flags,
        environment: &[(String, String)],
        file: Option<&ConfigFile>,
        is_whole: bool,
        machine: Machine,
    ) -> Self {
        let mut problems: Vec<Problem> = file.map_or(&[][..], ConfigFile::problems).to_vec();
        let is_whole = is_whole && problems.is_empty();
        let mut unfit_flags = Vec::new();
        let mut config = Config::new(machine.cores);
        let mut origins = vec![Origin::Default; SETTINGS.len()];
        for (setting, origin) in SETTINGS.iter().zip(&mut origins) {
            let from_env = from_environment(setting, environment, &mut problems);
            let from_file = || file.and_then(|file| file.get(setting));
            let (text, from) = match (flags.text(setting), from_env) {
                (Some(text), _) => (text, Origin::Flag),
                (None, Some(found)) => found,
                (None, None) => match from_file() {
                    Some((text, place)) => (text, Origin::File(place)),
                    None => continue,
                },
            };
            if let Err(unfit) = setting.set(&mut config, text) {
                let is_from_file = matches!(from, Origin::File(_));
                let problem = unfit_problem(setting, &from, text, unfit);
                problems.push(match file.and_then(|file| file.snippet(setting)) {
                    Some(snippet) if is_from_file => problem.with_snippet(snippet),
                    _ => problem,
                });
                unfit_flags.push(setting.flag);
            }
            *origin = from;
        }
        for (name, value) in environment {
            problems.extend(unknown_problem(name, value));
        }
        settle(&mut config, &mut origins, machine);
        if is_whole {
            problems.extend(relations::check(&config, &origins, &unfit_flags));
        }
        Self { config, origins, problems }
    }
}

/// What the environment says about a setting, under its name or another. A variable that is set to nothing counts as
/// not set: that is how service files switch one off.
fn from_environment<'e>(
    setting: &Setting,
    environment: &'e [(String, String)],
    problems: &mut Vec<Problem>,
) -> Option<(&'e str, Origin)> {
    let find = |env: &str| {
        environment.iter().find(|(name, text)| name == env && !text.trim().is_empty()).map(|(_, text)| text.as_str())
    };
    let mut found = find(setting.env).map(|text| (text, Origin::Environment));
    for (alias, _) in ALIASES.iter().filter(|(_, env)| *env == setting.env) {
        match (find(alias), &found) {
            (Some(text), None) => found = Some((text, Origin::Alias(alias))),
            (Some(text), Some((other, _))) if text != *other => problems.push(Problem::new(
                *alias,
                format!("it means the same as {}, and says something else", setting.env),
                format!("keep {} only", setting.env),
            )),
            _ => {}
        }
    }
    found
}

/// Fills in what follows from other values.
fn settle(config: &mut Config, origins: &mut [Origin], machine: Machine) {
    // Two layers keep a credit window for the same consumer; there is one setting for both.
    config.protocol.credit_max = config.shard.credit_max;
    // Any connection may become a consumer, so the core must know as many slots as there can be connections.
    let slots = u32::try_from(config.connections_max).unwrap_or(u32::MAX);
    config.shard.connection_slots_max = config.shard.connection_slots_max.max(slots);
    let shards = SETTINGS.iter().position(|setting| setting.flag == "shards");
    if let (Some(cpus), Some(at)) = (&config.cpus, shards)
        && origins[at] == Origin::Default
        && let Ok(count) = u16::try_from(cpus.len())
    {
        config.shards = count;
        origins[at] = Origin::Follows("cpus");
    }
    settle_defaults(config, origins, machine);
}

/// The name under which a value was given.
pub(crate) fn key(setting: &Setting, origin: &Origin) -> String {
    match origin {
        Origin::File(place) => format!("{place}:{}: {}", place.column, setting.yaml),
        Origin::Environment => setting.env.to_owned(),
        Origin::Alias(name) => (*name).to_owned(),
        Origin::Default | Origin::Flag | Origin::Follows(_) | Origin::Memory => format!("--{}", setting.flag),
    }
}

fn unfit_problem(setting: &Setting, origin: &Origin, text: &str, unfit: Unfit) -> Problem {
    let problem = Problem::new(key(setting, origin), unfit.reason, unfit.remedy);
    if setting.is_secret() || has_password(text) { problem } else { problem.with_value(text) }
}

/// An address with a name or password in it.
pub(crate) fn has_password(text: &str) -> bool {
    text.contains("://") && text.contains('@')
}

/// A variable that this version does not know or has not built. Its value is never shown: it may be a secret.
fn unknown_problem(name: &str, value: &str) -> Option<Problem> {
    if by_env(name).is_some() || name == CONFIG_ENV {
        return None;
    }
    let problem = |reason: String, remedy: String| Some(Problem::new(name, reason, remedy));
    if let Some(reserved) = RESERVED.iter().find(|reserved| reserved.env == name) {
        if reserved.accepts(value) {
            return None;
        }
        return problem(format!("it asks for {}, which this version does not have", reserved.part), reserved.remedy());
    }
    if let Some((_, part)) = RESERVED_FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        if value.trim().is_empty() {
            return None;
        }
        return problem(
            format!("it asks for {part}, which this version does not have"),
            "not built in this version; unset it".to_owned(),
        );
    }
    let known = SETTINGS.iter().map(|setting| setting.env).chain(RESERVED.iter().map(|reserved| reserved.env));
    let known = known.chain([CONFIG_ENV]);
    let remedy = match nearest(name, known) {
        Some(known) => format!("did you mean {known}? Otherwise unset it"),
        None => "unset it; `conduit --help` lists the variables".to_owned(),
    };
    problem("there is no such setting".to_owned(), remedy)
}
