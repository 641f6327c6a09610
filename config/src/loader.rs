//! Everything that a configuration consists of, read together: at the start, and again at every reload.
//!
//! The command line and the environment are those of the start; the files are read anew each time, through a function that
//! the caller gives, since nothing here touches a disk.

use crate::config::Config;
use crate::file::ConfigFile;
use crate::flags::Flags;
use crate::machine::Machine;
use crate::policy::{self, Files};
use crate::problem::{Problem, Problems};
use crate::resolve::{CONFIG_ENV, Draft, ENV_PREFIX, Resolved};
use crate::rules::{self, CompiledRules};
use crate::secret::{Secret, TOKENS_MAX};
use crate::setting::Setting;
use crate::table::SETTINGS;
use crate::tenants::{self, TenantsFile};
use conduit_protocol::policy::Policy;
use conduit_protocol::rules::selector::EnvLookup;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// Reads a file as text.
pub type ReadFile<'r> = &'r dyn Fn(&Path) -> io::Result<String>;

/// The folder in which the usual files are looked for when no configuration file is named.
const USUAL_FOLDER: &str = "config";

/// What a start was given, kept for every reload.
#[derive(Debug, Clone)]
pub struct Loader {
    flags: Flags,
    environment: Environment,
    machine: Machine,
}

/// Variables and their values, some of which are secrets.
#[derive(Clone)]
struct Environment(Vec<(String, String)>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// A file that a configuration was read from, or would have been if it were there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedFile {
    /// What it is: `config`, `tokens`, `tenants` or `rules`.
    pub kind: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Tells one content from another; `None`: it is not there.
    pub digest: Option<u64>,
}

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The settings, their origins, and warnings about everything.
    pub resolved: Resolved,
    /// What sessions are lent.
    pub policy: Policy,
    /// The rules, for people; `None` without a rules file.
    pub rules: Option<CompiledRules>,
    /// Number of tenants.
    pub tenants: usize,
    /// The files, those that are not there included: whoever watches looks at all of them.
    pub files: Vec<LoadedFile>,
}

/// What a reload changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is in force now: flags of settings, and kinds of files.
    pub reloaded: Vec<&'static str>,
    /// Flags of settings whose new values need a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Loaded {
    /// Takes the place of what was in force: what needs a restart keeps its value, so that the next reload says so again.
    pub fn adopt(&mut self, mut next: Self) {
        for setting in SETTINGS.iter().filter(|setting| !setting.is_live) {
            setting.copy(&self.resolved.config, &mut next.resolved.config);
        }
        *self = next;
    }
}

impl Loader {
    /// Keeps what the start was given. `environment` may hold any variables.
    #[must_use]
    pub fn new(
        flags: Flags,
        environment: impl IntoIterator<Item = (String, String)>,
        machine: impl Into<Machine>,
    ) -> Self {
        Self { flags, environment: Environment(environment.into_iter().collect()), machine: machine.into() }
    }

    /// The configuration file that was named, if any.
    #[must_use]
    pub fn config_path(&self) -> Option<PathBuf> {
        let from_env = || self.variable(CONFIG_ENV).filter(|text| !text.trim().is_empty());
        self.flags.config().or_else(from_env).map(PathBuf::from)
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.environment.0.iter().find(|(other, _)| other == name).map(|(_, text)| text.as_str())
    }

    /// Reads everything. `generation` tells policies apart.
    ///
    /// # Errors
    /// Everything that is wrong, in every file, at once.
    pub fn load(&self, read: ReadFile<'_>, generation: u64) -> Result<Loaded, Problems> {
        self.load_for(read, generation, None)
    }

    /// Reads everything again, for a server that runs: its shards are as many as they are.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn reload(&self, read: ReadFile<'_>, in_force: &Loaded) -> Result<Loaded, Problems> {
        self.load_for(read, in_force.policy.generation + 1, Some(in_force))
    }

    fn load_for(&self, read: ReadFile<'_>, generation: u64, in_force: Option<&Loaded>) -> Result<Loaded, Problems> {
        let known = in_force.map_or(&[][..], |in_force| &in_force.files);
        let mut reading = Reading { read, known, files: Vec::new(), problems: Vec::new() };
        let config_path = self.config_path();
        let file = config_path.as_deref().and_then(|path| {
            let text = reading.text("config", path, true)?;
            Some(ConfigFile::read(&path.display().to_string(), &text))
        });
        let variables = self.environment.0.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX));
        let variables: Vec<_> = variables.cloned().collect();
        let is_whole = reading.problems.is_empty();
        let draft = Draft::of(&self.flags, &variables, file.as_ref(), is_whole, self.machine);
        let folder = match &config_path {
            Some(path) => path.parent().unwrap_or(Path::new("")).to_owned(),
            None => PathBuf::from(USUAL_FOLDER),
        };
        let tokens = reading.tokens(&draft.config);
        let tenants = reading.tenants(&draft.config, &folder);
        let rules = self.rules(&mut reading, &draft.config, &folder);
        let compiled = rules.as_ref().map(|rules| rules.rules.clone()).unwrap_or_default();
        let files = Files { tokens, tenants, rules: compiled };
        let mut problems = draft.problems;
        problems.append(&mut reading.problems);
        // Tokens can only be judged when all of them are there.
        let shards = in_force.map_or(draft.config.shards, |in_force| in_force.resolved.config.shards);
        let policy = match policy::build(&draft.config, &files, generation, shards) {
            Ok(policy) => policy,
            Err(more) => {
                if problems.is_empty() {
                    problems.extend(more);
                }
                Policy::default()
            }
        };
        if problems.is_empty() {
            problems.extend(in_force.and_then(|in_force| opened(in_force, &draft.config, &policy)));
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        let mut warnings = crate::relations::warnings(&draft.config, &policy, self.machine.cores);
        if let Some(rules) = &rules {
            warnings.extend(rules.warnings.0.iter().map(ToString::to_string));
        }
        Ok(Loaded {
            resolved: Resolved { config: draft.config, origins: draft.origins, warnings },
            tenants: policy.tenants.by_id.len(),
            policy,
            rules,
            files: reading.files,
        })
    }

    fn rules(&self, reading: &mut Reading<'_>, config: &Config, folder: &Path) -> Option<CompiledRules> {
        let (path, is_needed) = config.rules_file.path("rules.yaml", folder)?;
        let text = reading.text("rules", &path, is_needed)?;
        let name = path.display().to_string();
        let env = |name: &str| {
            if !config.rules_env.iter().any(|allowed| allowed == name) {
                return EnvLookup::NotAllowed;
            }
            self.variable(name).map_or(EnvLookup::Unset, |text| EnvLookup::Set(text.to_owned()))
        };
        match rules::compile(&text, rules::Surroundings { file: &name, env: &env }) {
            Ok(rules) => Some(rules),
            Err(findings) => {
                reading.problems.extend(findings.into_problems());
                None
            }
        }
    }
}

/// What a reload would open to people who could not have it before. A file that is half written, or was emptied, looks like
/// one that says less: so what guards the server is exchanged by a reload, and not taken away.
fn opened(in_force: &Loaded, config: &Config, policy: &Policy) -> Option<Problem> {
    if !in_force.policy.access.is_open() && policy.access.is_open() {
        return Some(Problem::new(
            "tokens",
            "nobody would need one after this reload, and everybody does now: a file that is half written, or was emptied, looks like that",
            "put the tokens back and reload; to open the server to everybody, start it anew",
        ));
    }
    let has_control_token = |config: &Config| config.access.control_token.is_some();
    if has_control_token(&in_force.resolved.config) && !has_control_token(config) {
        return Some(Problem::new(
            "control-token",
            "there would be none after this reload, and others could change and stop the server: a file that is half written looks like that",
            "put one back and reload; to do without, start the server anew",
        ));
    }
    None
}

/// Files that are being read, and what went wrong.
struct Reading<'r> {
    read: ReadFile<'r>,
    /// Those that are in force, at a reload.
    known: &'r [LoadedFile],
    files: Vec<LoadedFile>,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    /// A file's text. `None`: it is not there and need not be, or it cannot be read, which is a problem.
    fn text(&mut self, kind: &'static str, path: &Path, is_needed: bool) -> Option<String> {
        let text = (self.read)(path);
        let digest = text.as_ref().ok().map(|text| {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            hasher.finish()
        });
        self.files.push(LoadedFile { kind, path: path.to_owned(), digest });
        match text {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_needed => {
                self.check_gone(kind, path);
                None
            }
            Err(error) => {
                let remedy = match error.kind() {
                    io::ErrorKind::NotFound => {
                        "name a file that is there; a relative path begins in the working directory"
                    }
                    io::ErrorKind::PermissionDenied => "let the user that runs the server read it",
                    io::ErrorKind::InvalidData => "write it in UTF-8",
                    _ => "name a file that can be read",
                };
                let key = path.display().to_string();
                self.problems.push(Problem::new(key, format!("the {kind} file cannot be read: {error}"), remedy));
                None
            }
        }
    }

    /// A file that is read because it is there, and was, is not there any more. What it said is not taken back by that: a
    /// tenants file that is lost would let everybody in.
    fn check_gone(&mut self, kind: &'static str, path: &Path) {
        let is_gone = |file: &LoadedFile| file.kind == kind && file.path == path && file.digest.is_some();
        if self.known.iter().any(is_gone) {
            let empty =
                if kind == "rules" { "one with `version: proto-dsl/v0` and `rules: []`" } else { "an empty one" };
            self.problems.push(Problem::new(
                path.display().to_string(),
                format!("the {kind} file is in force and is not there any more"),
                format!("put it back; to mean it, leave {empty} there or set {kind}.file to none, and reload"),
            ));
        }
    }

    /// One token a line; `#` begins a comment line.
    fn tokens(&mut self, config: &Config) -> Vec<Secret> {
        let Some(path) = &config.access.tokens_file else { return Vec::new() };
        let Some(text) = self.text("tokens", path, true) else { return Vec::new() };
        let mut tokens = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match Secret::token(line) {
                Ok(token) => tokens.push(token),
                Err(reason) => self.problems.push(Problem::new(
                    format!("{}:{}", path.display(), at + 1),
                    reason,
                    "write one token of visible ASCII characters on each line",
                )),
            }
        }
        if tokens.is_empty() || tokens.len() > TOKENS_MAX {
            self.problems.push(Problem::new(
                path.display().to_string(),
                format!("the tokens file has {} tokens", tokens.len()),
                format!("write 1 to {TOKENS_MAX} tokens into it, one a line, or set --tokens-file none"),
            ));
        }
        tokens
    }

    fn tenants(&mut self, config: &Config, folder: &Path) -> TenantsFile {
        let Some((path, is_needed)) = config.tenants_file.path("tenants.yaml", folder) else {
            return TenantsFile::default();
        };
        let Some(text) = self.text("tenants", &path, is_needed) else { return TenantsFile::default() };
        tenants::compile(&path.display().to_string(), &text).unwrap_or_else(|problems| {
            self.problems.extend(problems);
            TenantsFile::default()
        })
    }
}

/// What changes from one configuration to the next, and what of it waits for a restart.
#[must_use]
pub fn diff(old: &Loaded, new: &Loaded) -> Changes {
    let mut changes = Changes::default();
    let differs = |setting: &&Setting| !setting.is_same(&old.resolved.config, &new.resolved.config);
    for setting in SETTINGS.iter().filter(differs) {
        if setting.is_live {
            changes.reloaded.push(setting.flag);
        } else {
            changes.needs_restart.push(setting.flag);
        }
    }
    let content = |loaded: &Loaded, kind: &str| -> Vec<Option<u64>> {
        loaded.files.iter().filter(|file| file.kind == kind).map(|file| file.digest).collect()
    };
    // What the configuration file says shows in the settings.
    for kind in ["tokens", "tenants", "rules"] {
        let name = if kind == "tokens" { "tokens-file" } else { kind };
        if content(old, kind) != content(new, kind) && !changes.reloaded.contains(&name) {
            changes.reloaded.push(name);
        }
    }
    changes
}
