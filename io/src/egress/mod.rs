//! What blocks runs here: plain threads, each behind a bounded channel, that bring their news to the control shard by a
//! link of its own kind. No executor ever waits for them.
//!
//! `keeper` reads the configuration again and holds the policy in force; `keys` fetches the signing keys of an issuer;
//! `watch` sees files change. They hold on to nothing that would keep the process alive.

mod fetch;
mod keeper;
mod keys;
mod latest;
mod watch;

pub use keeper::{Reloaded, Reloader};

pub(crate) use keeper::Failed;

use crate::link::LinkSender;
use crate::mesh::MeshMessage;
use conduit_protocol::Policy;
use crossbeam_channel::{Sender, bounded};
use keeper::{Job, Keeper};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Jobs that wait for the keeper: a reload, a set of keys, and one more of each.
const JOBS_MAX: usize = 4;

/// How soon news is offered again to a control shard that is too busy for it.
const RETRY: Duration = Duration::from_millis(5);

/// What the threads tell the control shard.
#[derive(Debug)]
pub(crate) enum News {
    /// A file of the configuration has changed.
    FilesChanged,
    /// A reload is over.
    Reloaded(Result<Reload, Failed>),
    /// Keys of the issuer have come: the policy that knows them.
    Keys(Arc<Policy>),
    /// The issuer's keys could not be fetched, or not be used.
    KeysFailed(String),
}

/// A reload that worked.
#[derive(Debug)]
pub(crate) struct Reload {
    pub(crate) policy: Arc<Policy>,
    /// Settings and files whose new values are in force.
    pub(crate) changed: Vec<String>,
    /// Settings whose new values wait for a restart.
    pub(crate) needs_restart: Vec<String>,
    pub(crate) warnings: Vec<String>,
}

/// What a server needs to be changed while it runs. The default changes nothing and allows everything.
#[derive(Default)]
pub struct Operation {
    /// What is allowed to begin with.
    pub policy: Policy,
    /// Reads the configuration again. Without it nothing can be reloaded.
    pub reloader: Option<Reloader>,
    /// Files that are watched: a change of one is a reload.
    pub watched: Vec<PathBuf>,
    /// Where the issuer of signed tokens publishes its keys.
    pub jwks_uri: Option<String>,
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { policy, reloader, watched, jwks_uri } = self;
        f.debug_struct("Operation")
            .field("policy", policy)
            .field("reloader", &reloader.is_some())
            .field("watched", watched)
            .field("jwks_uri", jwks_uri)
            .finish()
    }
}

/// The control shard's ends of the threads.
#[derive(Debug)]
pub(crate) struct Egress {
    /// Nobody keeps it when nothing can be reloaded and no keys are fetched.
    keeper: Sender<Job>,
    keys: Sender<keys::Order>,
    pub(crate) can_reload: bool,
}

impl Egress {
    /// Starts the threads. The policy to begin with is held by the keeper, and returned for the shards.
    pub(crate) fn start(operation: Operation, control: LinkSender) -> std::io::Result<(Self, Arc<Policy>)> {
        let Operation { policy, reloader, watched, jwks_uri } = operation;
        let policy = Arc::new(policy);
        let can_reload = reloader.is_some();
        let (keeper, jobs) = bounded(JOBS_MAX);
        let (keys, orders) = bounded(JOBS_MAX);
        keys::start(jwks_uri.clone(), orders, keeper.clone(), control.clone())?;
        let watch = if watched.is_empty() { None } else { Some(watch::start(watched, control.clone())?) };
        let kept =
            Keeper { policy: policy.clone(), reloader, keys: keys.clone(), watch, jwks_uri, known: None, control };
        keeper::start(kept, jobs)?;
        Ok((Self { keeper, keys, can_reload }, policy))
    }

    /// Begins a reload. False when the keeper has too much to do: it never happens, since one reload waits for the other.
    pub(crate) fn reload(&self) -> bool {
        self.keeper.try_send(Job::Reload).is_ok()
    }

    /// A token was signed with a key that is not known: there may be new ones.
    pub(crate) fn refresh_keys(&self) {
        // One that waits is enough, and the keeper finds room for what it has to say.
        if self.keys.is_empty() {
            let _ = self.keys.try_send(keys::Order::Refresh);
        }
    }
}

/// Brings news to the control shard, however busy it is: these threads may wait.
fn tell(control: &LinkSender, news: News) {
    let mut message = MeshMessage::News(Box::new(news));
    while let Err(back) = control.try_send(message) {
        message = back;
        std::thread::sleep(RETRY);
    }
}

/// A thread of a name that ends with the process.
fn thread(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}
