//! Keeps the policy in force: reads the configuration again when told to, and knows the issuer's keys.

use super::watch::Watch;
use super::{News, Reload, keys, tell, thread};
use crate::link::LinkSender;
use conduit_protocol::Policy;
use crossbeam_channel::{Receiver, Sender};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

/// Reads the configuration again and compiles it; a list of what is wrong with it otherwise. It changes nothing but what
/// only it can change, such as the level of the diagnostics, and that only when everything is right.
pub type Reloader = Box<dyn FnMut() -> Result<Reloaded, Vec<String>> + Send>;

/// A configuration that was read again.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// What it allows.
    pub policy: Policy,
    /// Settings and files whose new values come into force with it.
    pub changed: Vec<String>,
    /// Settings whose new values need a restart.
    pub needs_restart: Vec<String>,
    /// What passes but is probably not meant.
    pub warnings: Vec<String>,
    /// Files to watch from now on, if files are watched.
    pub watched: Vec<PathBuf>,
    /// Where the issuer of signed tokens publishes its keys.
    pub jwks_uri: Option<String>,
}

/// Why a reload changed nothing.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) problems: Vec<String>,
}

/// What the keeper is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    Reload,
    /// A key set has come.
    Keys(String),
}

/// The keeper's state.
pub(super) struct Keeper {
    pub(super) policy: Arc<Policy>,
    pub(super) reloader: Option<Reloader>,
    pub(super) keys: Sender<keys::Order>,
    pub(super) watch: Option<Watch>,
    /// The last key set that could be used: a policy that is read again does not have it.
    pub(super) jwks: Option<String>,
    pub(super) control: LinkSender,
}

/// Starts the keeper's thread.
pub(super) fn start(mut keeper: Keeper, jobs: Receiver<Job>) -> std::io::Result<()> {
    thread("config", move || {
        for job in jobs {
            let news = match job {
                Job::Reload => News::Reloaded(keeper.reload()),
                Job::Keys(jwks) => keeper.learn(jwks),
            };
            tell(&keeper.control, news);
        }
    })
}

impl Keeper {
    fn reload(&mut self) -> Result<Reload, Failed> {
        let Some(reloader) = &mut self.reloader else {
            return Err(Failed::of("this server was started without a configuration that can be read again"));
        };
        // Whatever is wrong with a file, or with us, the server goes on with what it has.
        let read = catch_unwind(AssertUnwindSafe(reloader))
            .unwrap_or_else(|_| Err(vec!["reading the configuration panicked: this is a bug".to_owned()]));
        let Reloaded { mut policy, changed, needs_restart, warnings, watched, jwks_uri } =
            read.map_err(|problems| Failed { problems })?;
        if let Some(jwks) = self.jwks.as_deref().filter(|_| jwks_uri.is_some()) {
            policy.access = policy.access.with_jwks(jwks).map_err(|error| Failed::of(&error.to_string()))?;
        }
        policy.generation = self.policy.generation + 1;
        self.policy = Arc::new(policy);
        if let Some(watch) = &mut self.watch {
            watch.follow(watched);
        }
        let _ = self.keys.send(keys::Order::Source(jwks_uri));
        Ok(Reload { policy: self.policy.clone(), changed, needs_restart, warnings })
    }

    /// The policy in force, with other keys.
    fn learn(&mut self, jwks: String) -> News {
        match self.policy.access.with_jwks(&jwks) {
            Ok(access) => {
                let generation = self.policy.generation + 1;
                self.policy = Arc::new(Policy { access, generation, ..(*self.policy).clone() });
                self.jwks = Some(jwks);
                News::Keys(self.policy.clone())
            }
            Err(error) => News::KeysFailed(format!("the key set cannot be used: {error}")),
        }
    }
}

impl Failed {
    fn of(problem: &str) -> Self {
        Self { problems: vec![problem.to_owned()] }
    }
}
