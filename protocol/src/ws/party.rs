//! Whom one WebSocket acts for, and what that party may do.

use super::Role;
use crate::error::{ErrorCode, Violation};
use crate::ids::TenantId;
use crate::limiter::{Bucket, Charge, Gate, Rate};
use crate::policy::{Basis, Policy, Principal};
use crate::time::{NS_PER_MS, Now};

/// The other side of one connection.
#[derive(Debug)]
pub(super) struct Party {
    pub(super) role: Role,
    /// Whose streams it sees.
    pub(super) tenant: TenantId,
    /// Exists from the first limit.
    terms: Option<Box<Terms>>,
}

#[derive(Debug)]
struct Terms {
    /// Messages that it may still send, while their rate is limited.
    messages: Option<Bucket>,
    /// To be given back when the connection ends.
    slots: Vec<Charge>,
    /// Whom it acts for.
    principal: Principal,
    /// When its token stops being believed, in `Now::mono_ns`.
    expires_ns: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self { messages: None, slots: Vec::new(), principal: Principal::ANYBODY, expires_ns: u64::MAX }
    }
}

impl Party {
    /// Anybody.
    pub(super) const fn new(role: Role) -> Self {
        Self { role, tenant: TenantId::DEFAULT, terms: None }
    }

    /// Acts for somebody from here on, and holds their slots.
    pub(super) fn act_for(&mut self, principal: &Principal, slots: Vec<Charge>, now: Now) {
        self.tenant = principal.tenant;
        let is_anybody = principal.basis == Basis::Open && principal.expires_unix_ms == u64::MAX;
        if slots.is_empty() && is_anybody {
            return;
        }
        let left_ms = principal.expires_unix_ms.saturating_sub(now.unix_ms);
        let terms = self.terms.get_or_insert_default();
        terms.slots = slots;
        terms.principal = *principal;
        terms.expires_ns = now.mono_ns.saturating_add(left_ms.saturating_mul(NS_PER_MS));
    }

    /// It would be let in today, too.
    pub(super) fn is_welcome(&self, policy: &Policy) -> bool {
        let principal = self.terms.as_ref().map_or(&Principal::ANYBODY, |terms| &terms.principal);
        policy.access.keeps(principal, &policy.tenants)
    }

    /// One more message.
    ///
    /// # Errors
    /// There were too many: the milliseconds until there may be another one.
    pub(super) fn take_message(&mut self, now: Now, rate: Rate) -> Result<(), u32> {
        let terms = self.terms.get_or_insert_default();
        terms.messages.get_or_insert_with(|| Bucket::full(now, rate)).take(now, rate)
    }

    /// When its token stops being believed, in `Now::mono_ns`.
    pub(super) fn expires_ns(&self) -> Option<u64> {
        self.terms.as_ref().map(|terms| terms.expires_ns).filter(|expires_ns| *expires_ns != u64::MAX)
    }

    /// Its token has expired, which is said once.
    pub(super) fn note_expired(&mut self) {
        if let Some(terms) = &mut self.terms {
            terms.expires_ns = u64::MAX;
        }
    }

    /// The connection is gone.
    pub(super) fn release(&mut self, gate: &mut dyn Gate) {
        if let Some(terms) = &mut self.terms {
            for charge in terms.slots.drain(..) {
                gate.release(&charge);
            }
        }
    }
}

/// Why a connection ends whose token, or lack of one, is not taken any more.
#[cold]
pub(crate) fn unwelcome() -> Violation {
    let sentence = "the configuration has changed, and what this connection came with is not taken any more: connect again \
                    with a valid token";
    Violation::new(ErrorCode::Unauthorized, sentence)
}
