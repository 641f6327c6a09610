//! Reloads: whoever wants one, it is the same. One is under way at a time; those who ask meanwhile share the next one, and
//! every asker gets an answer.

use super::Control;
use super::documents::{JSON, timestamp};
use crate::egress::{Failed, News, Reload};
use crate::mesh::{Document, MeshMessage};
use conduit_protocol::{Origin, Policy};
use glommio::timer::sleep;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Askers who may wait for a reload. More are answered at once, by what is in force.
const ASKERS_MAX: usize = 1_000;

/// Where reloading stands, as `/health` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// The last one worked, or there was none.
    #[default]
    Idle,
    /// One is under way.
    Reloading,
    /// The last one found something wrong, and changed nothing.
    Error,
}

/// What every shard knows about reloading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ReloadStatus {
    pub(crate) phase: Phase,
    /// When a reload last worked.
    pub(crate) last_unix_ms: Option<u64>,
    /// The configuration can be read again at all.
    pub(crate) is_supported: bool,
    /// `/health` says that the server drains, so that load balancers leave it alone for a moment.
    pub(crate) is_resting: bool,
}

impl Phase {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Reloading => "reloading",
            Self::Error => "error",
        }
    }
}

/// The state of reloading.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    pub(crate) status: ReloadStatus,
    is_under_way: bool,
    /// Somebody wants another one after it.
    is_wanted: bool,
    askers_now: Vec<Origin>,
    askers_next: Vec<Origin>,
    /// Reloads that worked.
    pub(crate) succeeded: u64,
    /// Reloads that found something wrong.
    pub(crate) failed: u64,
    /// Key sets taken.
    pub(crate) keys_taken: u64,
    /// Key sets that could not be fetched or used.
    pub(crate) keys_failed: u64,
    /// Numbers the rests, so that an earlier one does not end a later one.
    rest: u64,
}

impl Control {
    /// Somebody wants a reload; `origin` waits for the answer.
    pub(super) fn want_reload(&mut self, origin: Option<Origin>) {
        let reloads = &mut self.reloads;
        if let Some(origin) = origin {
            if reloads.askers_next.len() < ASKERS_MAX {
                reloads.askers_next.push(origin);
            } else {
                let failed = Failed { problems: vec!["too many have asked for a reload: ask again".to_owned()] };
                let document = self.failed_document(&failed);
                self.answer(origin, document);
                return;
            }
        }
        self.reloads.is_wanted = true;
        self.begin_reload();
    }

    fn begin_reload(&mut self) {
        if self.reloads.is_under_way || !std::mem::take(&mut self.reloads.is_wanted) {
            return;
        }
        self.reloads.askers_now = std::mem::take(&mut self.reloads.askers_next);
        if self.egress.reload() {
            self.reloads.is_under_way = true;
            self.reloads.status.phase = Phase::Reloading;
            self.tell_reload_status();
        } else {
            self.end_reload(Err(Failed {
                problems: vec!["the server is reading its configuration already".to_owned()],
            }));
        }
    }

    /// The threads that may block have something to say.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::FilesChanged => {
                tracing::info!("a file of the configuration has changed: reloading");
                self.want_reload(None);
            }
            News::Reloaded(result) => self.end_reload(result),
            News::Keys(policy) => {
                tracing::info!("the issuer's keys have come");
                self.reloads.keys_taken += 1;
                self.put_in_force(&policy);
            }
            News::KeysFailed(error) => {
                self.reloads.keys_failed += 1;
                tracing::warn!("the issuer's keys could not be fetched; tokens that need them are refused: {error}");
            }
        }
    }

    fn end_reload(&mut self, result: Result<Reload, Failed>) {
        self.reloads.is_under_way = false;
        let document = match result {
            Ok(reload) => self.reloaded(&reload),
            Err(failed) => {
                self.reloads.failed += 1;
                self.reloads.status.phase = Phase::Error;
                for problem in &failed.problems {
                    tracing::error!("reload: {problem}");
                }
                tracing::error!("the configuration cannot be used: nothing was changed, what was in force stays so");
                self.failed_document(&failed)
            }
        };
        self.tell_reload_status();
        for origin in std::mem::take(&mut self.reloads.askers_now) {
            self.answer(origin, document.clone());
        }
        self.begin_reload();
    }

    fn reloaded(&mut self, reload: &Reload) -> Document {
        let Reload { policy, changed, needs_restart, warnings } = reload;
        self.reloads.succeeded += 1;
        self.reloads.status.phase = Phase::Idle;
        self.reloads.status.last_unix_ms = Some(self.clock.now().unix_ms);
        self.put_in_force(policy);
        for warning in warnings {
            tracing::warn!("reload: {warning}");
        }
        if !needs_restart.is_empty() {
            tracing::warn!(settings = needs_restart.join(", "), "these have changed and need a restart");
        }
        tracing::info!(
            generation = policy.generation,
            rules = policy.rules.len(),
            tenants = policy.tenants.by_id.len(),
            changed = changed.join(", "),
            "the configuration was reloaded"
        );
        self.rest(policy.drain.after_reload_ms);
        let mut body = self.reload_body("reloaded");
        body["changed"] = json!(changed);
        body["needsRestart"] = json!(needs_restart);
        body["warnings"] = json!(warnings);
        Document { status: 200, content_type: JSON, body: body.to_string().into_bytes() }
    }

    /// 207, as clients of the earlier server expect: that the request was understood, and what it did not do.
    fn failed_document(&mut self, failed: &Failed) -> Document {
        let mut body = self.reload_body("partial");
        body["message"] = json!("the configuration cannot be used: nothing was changed");
        body["errors"] = json!(failed.problems);
        Document { status: 207, content_type: JSON, body: body.to_string().into_bytes() }
    }

    fn reload_body(&mut self, status: &str) -> Value {
        json!({
            "status": status,
            "timestamp": timestamp(self.clock.now().unix_ms),
            "generation": self.policy.generation,
            "rulesCount": self.policy.rules.len(),
            "tenantsCount": self.policy.tenants.by_id.len(),
            "guardrails": {
                "maxDecodedSize": self.policy.guards.decoded_bytes_max,
                "maxDepth": self.limits.depth_max,
            },
        })
    }

    /// From now on this is allowed, and nothing else.
    fn put_in_force(&mut self, policy: &Arc<Policy>) {
        self.policy = policy.clone();
        self.broadcast(|| MeshMessage::Policy(policy.clone()));
    }

    /// Lets `/health` say for a while that the server drains, if that is wanted.
    fn rest(&mut self, ms: u64) {
        self.reloads.rest += 1;
        self.reloads.status.is_resting = ms > 0;
        if ms == 0 {
            return;
        }
        let (rest, me) = (self.reloads.rest, self.me.clone());
        glommio::spawn_local(async move {
            sleep(Duration::from_millis(ms)).await;
            let Some(control) = me.upgrade() else { return };
            let mut this = control.borrow_mut();
            if this.reloads.rest == rest {
                this.reloads.status.is_resting = false;
                this.tell_reload_status();
            }
        })
        .detach();
    }

    pub(super) fn tell_reload_status(&mut self) {
        let status = self.reloads.status;
        self.broadcast(|| MeshMessage::ReloadStatus(status));
    }
}
