//! Who may use a rule where tokens are set, and what to say about that.

use super::checker::Checker;
use super::rule::ReadRule;
use conduit_protocol::rules::FrameKind;
use conduit_protocol::rules::builtin;
use conduit_protocol::rules::path::PathPattern;
use conduit_protocol::rules::reply::Phase;
use conduit_protocol::rules::ruleset::{RuleSpec, Send};

/// Who may use a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Everybody.
    Anybody,
    /// Whoever shows a token, where there are any.
    Known,
    /// Whoever got the connection.
    Connected,
}

impl Who {
    /// In a word, for the table of rules.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Anybody => "open",
            Self::Known => "token",
            Self::Connected => "as connected",
        }
    }

    pub(super) fn may_use(spec: &RuleSpec) -> Self {
        // Requests are a tenant's by their token; those without one are the default tenant's.
        if spec.tenant.as_deref().is_some_and(|tenant| !tenant.is_empty()) {
            return Self::Known;
        }
        match (spec.auth_required, spec.phase) {
            (Some(true), _) | (None, Phase::Connect) => Self::Known,
            (Some(false) | None, Phase::Message) => Self::Connected,
            (Some(false), _) => Self::Anybody,
            (None, Phase::Http) if is_protected(spec) => Self::Known,
            (None, Phase::Http) => Self::Anybody,
        }
    }
}

/// All of its paths are built-in ones that want a token anyhow.
fn is_protected(spec: &RuleSpec) -> bool {
    let mut paths: Vec<&PathPattern> = Vec::new();
    spec.when.paths(&mut paths);
    let wants_token = |path: &&PathPattern| {
        builtin::PATHS.iter().any(|known| known.wants_token && !known.is_websocket && known.path == path.text())
    };
    !paths.is_empty() && paths.iter().all(wants_token)
}

impl Checker<'_> {
    /// Tells of rules that give more away than they seem to.
    pub(super) fn tell_of_access(&mut self, rules: &[ReadRule]) {
        let may_anybody_connect =
            rules.iter().any(|rule| rule.spec.phase == Phase::Connect && Who::may_use(&rule.spec) == Who::Anybody);
        for rule in rules.iter().filter(|rule| !rule.is_broken) {
            let spec = &rule.spec;
            let is_open = match Who::may_use(spec) {
                Who::Anybody => true,
                Who::Known => false,
                Who::Connected => may_anybody_connect,
            };
            if !is_open {
                continue;
            }
            let kind = if let Send::Frame(frame, _) = &spec.send { Some(frame.kind) } else { None };
            let publishes =
                kind == Some(FrameKind::Enqueue) || spec.then.iter().any(|frame| frame.kind == FrameKind::Enqueue);
            if publishes && spec.auth_required.is_none() {
                self.warn(
                    rule.id_at,
                    format!("the rule `{}` publishes for everybody, with a token or without", spec.id),
                    "write `authRequired: true`, or `authRequired: false` if everybody may",
                );
            }
            if matches!(kind, Some(FrameKind::Snapshot | FrameKind::Metrics)) {
                self.warn(
                    rule.id_at,
                    format!(
                        "the rule `{}` tells figures of streams to everybody: of the default tenant, or of all where no tokens \
                         are set",
                        spec.id
                    ),
                    "write `authRequired: true`",
                );
            }
        }
    }
}
