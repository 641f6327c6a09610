//! What stands between a request and what it asks for: who comes, from where, how often, and with how much.
//!
//! The order of the checks is part of the protocol (`docs/protocol.md`): 1 the client's address and token, 2 a draining server,
//! 3 requests in progress, 4 the tenant's rate, 5 bytes of the head, 6 preflights, 7 the token where one is needed, and the
//! page's origin where none is, 8 the address's rate, 9 the body's size and kind. What passes goes to the endpoints.
//!
//! Where an account of the limiter is kept by another shard, the request stays where it is until that has answered. What it
//! has passed by then is noted, so it never pays twice; neither does one that moves to another shard with its socket.

use super::credentials::permit;
use super::guards::{check_body, check_head_bytes};
use super::head::RequestHead;
use super::origins::{check_origin, is_for_friends};
use super::response::Extra;
use crate::answer::{Answer, Refusal};
use crate::context::Context;
use crate::error::ErrorCode;
use crate::ids::{TenantId, Token};
use crate::limiter::{Allowance, Category, Charge, Gate, Rate, Subject, Verdict};
use crate::policy::{Identity, Need, Policy, Principal, Scope};
use crate::rules::{RateBy, RuleRate};
use crate::surface::http::Route;
use crate::telemetry::Endpoint;
use crate::time::{NS_PER_MS, Now};
use core::net::IpAddr;
use std::borrow::Cow;

/// Names a charge: no request and no line of a batch has this token. A connection has one at a time.
pub(super) const CHARGE_TOKEN: Token = Token(super::answers::TOKENS);

/// What a request in front has passed: each costs once, however often its head is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage(u8);

impl Stage {
    const TENANT_RATE: Self = Self(1);
    const ADDRESS_RATE: Self = Self(2);
    const CONNECT: Self = Self(4);
    const CONNECTION: Self = Self(8);
    const RULE: Self = Self(16);
}

/// What one connection has passed and holds.
#[derive(Debug, Default)]
pub(super) struct Edge {
    /// The stages that the request in front has passed.
    passed: u8,
    /// Exists from the first slot, or the first account that another shard keeps.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    /// Another shard has been asked.
    asked: Option<(Stage, Charge)>,
    /// It has refused.
    refused: Option<(Stage, Refusal<'static>)>,
    /// To be given back when the connection ends.
    slots: Vec<Charge>,
    /// Who gets a response that lasts.
    principal: Option<Principal>,
}

/// What goes with a connection that moves to another shard, so that it neither pays nor is counted twice.
#[derive(Debug, Default)]
pub struct Carried {
    passed: u8,
    slots: Vec<Charge>,
}

impl Carried {
    /// Gives back what it holds: the connection is gone.
    pub fn release(&mut self, gate: &mut dyn Gate) {
        for charge in self.slots.drain(..) {
            gate.release(&charge);
        }
    }
}

/// Who has sent a request, and from where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) address: IpAddr,
    pub(crate) identity: Identity,
}

impl Caller {
    /// Whose allowance the request uses, whether or not it may have what it asks for.
    pub(super) const fn tenant(&self) -> TenantId {
        match self.identity {
            Identity::Known(principal) => principal.tenant,
            Identity::Anonymous | Identity::Denied(_) => TenantId::DEFAULT,
        }
    }
}

impl Caller {
    /// What one request to a rule, or one message, costs, and who shares that.
    pub(crate) fn charge_of_rule(&self, rule: u32, rate: &RuleRate) -> Charge {
        let subject = match (rate.by, self.identity) {
            (RateBy::Ip, _) | (RateBy::Token, Identity::Anonymous | Identity::Denied(_)) => Subject::ip(self.address),
            (RateBy::Token, Identity::Known(principal)) => Subject::Token(principal.token),
            (RateBy::Tenant, _) => Subject::Tenant(self.tenant()),
            (RateBy::All, _) => Subject::Server,
        };
        let per_minute = Rate { per_window: rate.per_minute, window_ms: 60_000, burst: rate.burst };
        Charge { subject, category: Category::Rule(rule), allowance: Allowance::Rate(per_minute) }
    }

    /// What is remembered of somebody who repeats a head.
    pub(super) const fn known(&self, generation: u64) -> Known {
        let expires_unix_ms = match self.identity {
            Identity::Known(principal) => principal.expires_unix_ms,
            Identity::Anonymous | Identity::Denied(_) => u64::MAX,
        };
        Known { generation, expires_unix_ms, tenant: self.tenant(), address: self.address }
    }
}

/// A request may have what it asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Permit {
    pub(super) principal: Principal,
    /// What its documents may tell.
    pub(super) scope: Scope,
}

impl Permit {
    /// Whoever is told over a WebSocket why it may have nothing.
    pub(super) const ANYBODY: Self = Self { principal: Principal::ANYBODY, scope: Scope::Tenant(TenantId::DEFAULT) };
}

/// A request goes no further, for now or at all.
#[derive(Debug)]
pub(super) enum Halt {
    /// Another shard has to be asked.
    Ask(Charge),
    /// It is refused.
    Refuse(Refusal<'static>, Extra),
    /// It is a preflight of an origin that may ask.
    Preflight,
}

impl Halt {
    pub(super) fn because(code: ErrorCode, message: impl Into<Cow<'static, str>>, extra: Extra) -> Self {
        Self::Refuse(Refusal { code, message: message.into(), retry_after_ms: None }, extra)
    }
}

impl Edge {
    /// The edge of a connection that has come from another shard.
    pub(super) fn carried(carried: Carried) -> Self {
        let rare = (!carried.slots.is_empty()).then(|| Box::new(Rare { slots: carried.slots, ..Rare::default() }));
        Self { passed: carried.passed, rare }
    }

    /// What goes with the connection to another shard.
    pub(super) fn carry(&mut self) -> Carried {
        let slots = self.rare.as_mut().map(|rare| std::mem::take(&mut rare.slots)).unwrap_or_default();
        Carried { passed: std::mem::take(&mut self.passed), slots }
    }

    /// The request in front has been taken: the next one has passed nothing.
    #[inline]
    pub(super) const fn begin_next(&mut self) {
        self.passed = 0;
    }

    /// Another shard has been asked and has not answered.
    #[inline]
    pub(super) fn is_asking(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.asked.is_some())
    }

    /// Another shard has refused what the request in front asks for.
    #[inline]
    pub(super) fn is_refused(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.refused.is_some())
    }

    /// Nobody is asked after all: the head is read again first.
    pub(super) fn forget_question(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.asked = None;
        }
    }

    /// The answer of the shard that was asked. A slot that comes after the connection's end is held, and so given back.
    pub(super) fn answer(&mut self, answer: &Answer<'_>) {
        let Some(rare) = &mut self.rare else { return };
        let Some((stage, charge)) = rare.asked.take() else { return };
        match answer {
            Answer::Granted => {
                self.passed |= stage.0;
                if charge.is_slot() {
                    rare.slots.push(charge);
                }
            }
            Answer::Refused(refusal) => {
                let Refusal { code, retry_after_ms, .. } = *refusal;
                let message = Cow::Owned(refusal.message.clone().into_owned());
                rare.refused = Some((stage, Refusal { code, message, retry_after_ms }));
            }
            _ => rare.refused = Some((stage, charge.refusal(None))),
        }
    }

    /// Gives the slots back: the connection is gone, or does not become what they were taken for.
    pub(super) fn release(&mut self, gate: &mut dyn Gate) {
        self.passed = 0;
        self.carry().release(gate);
    }

    /// The response to come lasts, as long as this one may have it.
    pub(super) fn note_principal(&mut self, principal: &Principal) {
        if *principal != Principal::ANYBODY {
            self.rare.get_or_insert_default().principal = Some(*principal);
        }
    }

    /// The one that was noted.
    pub(super) fn principal(&self) -> Principal {
        self.rare.as_ref().and_then(|rare| rare.principal).unwrap_or(Principal::ANYBODY)
    }

    /// When its token stops being believed, in `Now::mono_ns`; `u64::MAX`: never.
    pub(super) fn expires_ns(&self, now: Now) -> u64 {
        let left_ms = self.principal().expires_unix_ms.saturating_sub(now.unix_ms);
        now.mono_ns.saturating_add(left_ms.saturating_mul(NS_PER_MS))
    }

    /// The slots go to what the connection has become.
    pub(super) fn take_slots(&mut self) -> Vec<Charge> {
        self.carry().slots
    }

    /// Takes something from an account, unless the request has done so.
    ///
    /// # Errors
    /// There is none left, or another shard has to be asked.
    fn take(&mut self, stage: Stage, charge: Charge, context: &mut Context<'_>) -> Result<(), Halt> {
        if self.passed & stage.0 != 0 {
            return Ok(());
        }
        if let Some(rare) = &mut self.rare
            && let Some((_, refusal)) = rare.refused.take_if(|(refused, _)| *refused == stage)
        {
            return Err(Halt::Refuse(refusal, extra_of(&charge)));
        }
        match context.gate.charge(context.now, &charge) {
            Verdict::Granted => {
                self.passed |= stage.0;
                if charge.is_slot() {
                    self.rare.get_or_insert_default().slots.push(charge);
                }
                Ok(())
            }
            Verdict::Refused(refusal) => Err(Halt::Refuse(refusal, extra_of(&charge))),
            Verdict::Away => {
                self.rare.get_or_insert_default().asked = Some((stage, charge));
                Err(Halt::Ask(charge))
            }
        }
    }

    /// Takes what one request costs. A repeated head comes here without any of the other checks.
    ///
    /// # Errors
    /// As [`Self::take`], or too many requests are in progress.
    pub(super) fn admit_to_tenant(&mut self, tenant: TenantId, context: &mut Context<'_>) -> Result<(), Halt> {
        let policy = context.policy;
        if let Some(max) = policy.rates.in_progress_per_shard_max
            && context.telemetry.http_in_progress >= max
        {
            let message = format!("the shard has its maximum of {max} requests in progress: try again");
            return Err(Halt::because(ErrorCode::TooManyConnections, message, Extra::Limit(max.into())));
        }
        match policy.tenants.get(tenant).and_then(|tenant| tenant.requests) {
            Some(rate) => self.take(Stage::TENANT_RATE, tenant_charge(tenant, rate), context),
            None => Ok(()),
        }
    }

    /// Takes what one request of an address costs.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) fn admit_to_endpoint(
        &mut self,
        address: IpAddr,
        endpoint: Endpoint,
        context: &mut Context<'_>,
    ) -> Result<(), Halt> {
        match context.policy.rates.by_ip(endpoint) {
            Some(rate) if endpoint != Endpoint::Health => {
                let category = Category::Requests(endpoint);
                let charge = Charge { subject: Subject::ip(address), category, allowance: Allowance::Rate(rate) };
                self.take(Stage::ADDRESS_RATE, charge, context)
            }
            _ => Ok(()),
        }
    }

    /// Takes what one request to a rule costs, from whoever shares it.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) fn admit_to_rule(
        &mut self,
        caller: &Caller,
        rule: u32,
        rate: &RuleRate,
        context: &mut Context<'_>,
    ) -> Result<(), Halt> {
        self.take(Stage::RULE, caller.charge_of_rule(rule, rate), context)
    }

    /// A repeated head: everything but what every request costs has been looked at before.
    #[inline]
    pub(super) fn admit_again(
        &mut self,
        known: &Known,
        endpoint: Endpoint,
        context: &mut Context<'_>,
    ) -> Result<(), Halt> {
        self.admit_to_tenant(known.tenant, context)?;
        self.admit_to_endpoint(known.address, endpoint, context)
    }

    /// All checks of an HTTP request.
    ///
    /// # Errors
    /// It goes no further.
    pub(super) fn examine(
        &mut self,
        head: &RequestHead<'_, '_>,
        route: Option<Route>,
        caller: &Caller,
        origin_is_allowed: bool,
        need: Need,
        context: &mut Context<'_>,
    ) -> Result<Permit, Halt> {
        let policy = context.policy;
        let endpoint = route.map_or(Endpoint::Other, Route::endpoint);
        if context.draining && is_refused_when_draining(head, route, policy) {
            return Err(Halt::because(ErrorCode::ServerDraining, why_draining(context), Extra::None));
        }
        self.admit_to_tenant(caller.tenant(), context)?;
        check_head_bytes(head, policy)?;
        if head.method_text == "OPTIONS" {
            return Err(if origin_is_allowed {
                Halt::Preflight
            } else {
                let message =
                    "no page of this origin may ask this server: add it to the allowed origins, or ask from elsewhere";
                Halt::because(ErrorCode::OriginNotAllowed, message, Extra::None)
            });
        }
        let permit = permit(caller.identity, need, policy)?;
        if is_for_friends(head, route) {
            check_origin(head, caller.identity, policy)?;
        }
        self.admit_to_endpoint(caller.address, endpoint, context)?;
        check_body(head, policy)?;
        Ok(permit)
    }

    /// The checks of a handshake, as far as they do not depend on what it asks for.
    ///
    /// # Errors
    /// It goes no further: over the WebSocket, unless another shard has to be asked.
    pub(super) fn admit_connect(&mut self, address: IpAddr, context: &mut Context<'_>) -> Result<(), Halt> {
        match context.policy.rates.ws_connects_by_ip {
            Some(rate) => {
                let (subject, category) = (Subject::ip(address), Category::Connects);
                self.take(Stage::CONNECT, Charge { subject, category, allowance: Allowance::Rate(rate) }, context)
            }
            None => Ok(()),
        }
    }

    /// A connection that lasts: a WebSocket, or a response of events.
    ///
    /// # Errors
    /// The tenant has as many as it may.
    pub(super) fn admit_connection(&mut self, tenant: TenantId, context: &mut Context<'_>) -> Result<(), Halt> {
        match context.policy.tenants.get(tenant).and_then(|tenant| tenant.connections_max) {
            Some(slots) => {
                let (subject, category) = (Subject::Tenant(tenant), Category::Connections);
                self.take(Stage::CONNECTION, Charge { subject, category, allowance: Allowance::Slots(slots) }, context)
            }
            None => Ok(()),
        }
    }
}

/// What is remembered of whoever sends a repeated head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Of the policy that it was looked at under.
    pub(super) generation: u64,
    pub(super) expires_unix_ms: u64,
    pub(super) tenant: TenantId,
    pub(super) address: IpAddr,
}

const fn tenant_charge(tenant: TenantId, rate: Rate) -> Charge {
    Charge { subject: Subject::Tenant(tenant), category: Category::AllRequests, allowance: Allowance::Rate(rate) }
}

/// What a refusal tells beside its code and sentence.
const fn extra_of(charge: &Charge) -> Extra {
    match (charge.subject, charge.allowance) {
        (Subject::Tenant(tenant), _) if tenant.0 != TenantId::DEFAULT.0 => Extra::Tenant(tenant),
        (_, Allowance::Slots(slots)) => Extra::Limit(slots as u64),
        _ => Extra::None,
    }
}

/// Why nothing new is taken on.
pub(super) const fn why_draining(context: &Context<'_>) -> &'static str {
    if context.resting {
        "the server has read its configuration again and takes nothing on for a moment: come back, or use another one"
    } else {
        "the server is shutting down: use another one"
    }
}

fn is_refused_when_draining(head: &RequestHead<'_, '_>, route: Option<Route>, policy: &Policy) -> bool {
    match route {
        Some(route) if route.endpoint() == Endpoint::Health => false,
        Some(route) => policy.drain.rejects_all || route.is_refused_when_draining(head.method),
        None => policy.drain.rejects_all,
    }
}
