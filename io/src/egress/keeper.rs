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
    /// A key set has come from an issuer.
    Keys(KeySet),
}

/// The keys of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeySet {
    /// Where they come from: they are nobody else's.
    pub(super) uri: String,
    pub(super) jwks: String,
}

/// The keeper's state.
pub(super) struct Keeper {
    pub(super) policy: Arc<Policy>,
    pub(super) reloader: Option<Reloader>,
    pub(super) keys: Sender<keys::Order>,
    pub(super) watch: Option<Watch>,
    /// Where the issuer that is believed publishes its keys.
    pub(super) jwks_uri: Option<String>,
    /// Its last key set that could be used: a policy that is read again does not have it.
    pub(super) known: Option<KeySet>,
    pub(super) control: LinkSender,
}

/// Starts the keeper's thread.
pub(super) fn start(mut keeper: Keeper, jobs: Receiver<Job>) -> std::io::Result<()> {
    thread("config", move || {
        for job in jobs {
            let news = match job {
                Job::Reload => Some(News::Reloaded(keeper.reload())),
                Job::Keys(set) => keeper.learn(set),
            };
            if let Some(news) = news {
                tell(&keeper.control, news);
            }
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
        // Whoever names another issuer means that the old one is not believed from now on, whether or not the new one answers.
        let known = self.known.as_ref().filter(|set| jwks_uri.as_ref() == Some(&set.uri));
        if let Some(set) = known {
            policy.access = policy.access.with_jwks(&set.jwks).map_err(|error| Failed::of(&error.to_string()))?;
        } else {
            self.known = None;
        }
        self.jwks_uri.clone_from(&jwks_uri);
        policy.generation = self.policy.generation + 1;
        self.policy = Arc::new(policy);
        if let Some(watch) = &mut self.watch {
            watch.follow(watched);
        }
        let _ = self.keys.send(keys::Order::Source(jwks_uri));
        Ok(Reload { policy: self.policy.clone(), changed, needs_restart, warnings })
    }

    /// The policy in force, with other keys. `None`: they are those of an issuer that is not believed any more.
    fn learn(&mut self, set: KeySet) -> Option<News> {
        if self.jwks_uri.as_ref() != Some(&set.uri) {
            return None;
        }
        Some(match self.policy.access.with_jwks(&set.jwks) {
            Ok(access) => {
                let generation = self.policy.generation + 1;
                self.policy = Arc::new(Policy { access, generation, ..(*self.policy).clone() });
                self.known = Some(set);
                News::Keys(self.policy.clone())
            }
            Err(error) => News::KeysFailed(format!("the key set cannot be used: {error}")),
        })
    }
}

impl Failed {
    fn of(problem: &str) -> Self {
        Self { problems: vec![problem.to_owned()] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Links;
    use std::collections::VecDeque;

    const JWKS: &str = r#"{"keys":[]}"#;

    fn set(uri: &str) -> KeySet {
        KeySet { uri: uri.to_owned(), jwks: JWKS.to_owned() }
    }

    /// A keeper that begins with the first issuer and reads each of the others at a reload.
    fn keeper(uris: &[Option<&str>]) -> Keeper {
        let mut uris: VecDeque<_> = uris.iter().map(|uri| uri.map(str::to_owned)).collect();
        let jwks_uri = uris.pop_front().flatten();
        let reloader = move || Ok(Reloaded { jwks_uri: uris.pop_front().flatten(), ..Reloaded::default() });
        // Nobody listens: what is sent to the thread that fetches keys is lost.
        let (keys, _) = crossbeam_channel::bounded(1);
        let control = Links::between(1, 1).expect("links").remove(0).inbound.open(1);
        Keeper {
            policy: Arc::default(),
            reloader: Some(Box::new(reloader)),
            keys,
            watch: None,
            jwks_uri,
            known: None,
            control,
        }
    }

    #[test]
    fn keys_go_with_the_issuer_that_they_came_from() {
        let mut keeper = keeper(&[Some("a"), Some("a"), Some("b"), Some("a"), None]);
        assert!(matches!(keeper.learn(set("a")), Some(News::Keys(_))));
        keeper.reload().expect("the same issuer");
        assert_eq!(keeper.known, Some(set("a")));
        keeper.reload().expect("another issuer");
        assert_eq!(keeper.known, None, "and its keys have not come yet");
        // Those that were on their way come too late.
        assert!(keeper.learn(set("a")).is_none());
        assert_eq!(keeper.known, None);
        assert!(matches!(keeper.learn(set("b")), Some(News::Keys(_))));
        keeper.reload().expect("the first issuer again");
        assert_eq!(keeper.known, None, "it may have thrown keys away meanwhile");
        keeper.learn(set("a"));
        keeper.reload().expect("no issuer");
        assert_eq!(keeper.known, None);
        assert!(keeper.learn(set("a")).is_none());
    }
}
