//! What a run's clients may take: one tenant, to which all of them belong, with rates and connections of its own, and rates of
//! the one address that they come from.

use super::plan::{Fault, Plan, Speech};
use super::random::Random;
use conduit_protocol::limiter::Rate;
use conduit_protocol::policy::{Access, AccessParts, Rates, Tenant, Tenants};
use conduit_protocol::time::NS_PER_MS;
use conduit_protocol::{Policy, TenantId};
use std::collections::HashMap;
use std::sync::Arc;

/// Rates that one address has, one for each endpoint.
const ENDPOINTS: usize = 16;
/// How long tokens that were handed out in advance are kept, and how long they and answers of other shards are on their way,
/// at most, where no shard stands still.
const LEASE_NS: u64 = 250 * NS_PER_MS;

/// The limits of a run.
#[derive(Debug, Clone)]
pub struct Quotas {
    /// The tenant: by its name its accounts have their homes.
    tenant: String,
    requests: Option<Rate>,
    by_ip: Option<Rate>,
    connects_by_ip: Option<Rate>,
    /// WebSockets and readers of events at a time, while things go wrong.
    connections_max: Option<u32>,
    /// And after that: enough for everybody, also while the server does not know yet that a connection is gone.
    connections_max_calm: u32,
    slack_ns: u64,
}

impl Quotas {
    /// The limits of the run of a seed.
    #[must_use]
    pub fn new(random: &mut Random, plan: &Plan) -> Self {
        let publishers = plan.producers.iter().filter(|producer| producer.speech == Speech::WebSocket);
        let lasting = (plan.consumers.len() + publishers.count()) as u64;
        let pauses_ns: u64 =
            plan.faults.iter().map(|(_, fault)| if let Fault::Pause { ns, .. } = fault { *ns } else { 0 }).sum();
        let rate = |random: &mut Random| {
            random.chance(700).then(|| Rate {
                per_window: random.magnitude(1, 8) as u32,
                window_ms: random.between(50, 200) as u32,
                // From 64 on, other shards are given some in advance.
                burst: *random.pick(&[1, 5, 63, 64, 130, 300]),
            })
        };
        Self {
            tenant: format!("sim{}", random.below(1_000)),
            requests: rate(random),
            by_ip: rate(random),
            connects_by_ip: rate(random),
            connections_max: random.chance(700).then(|| random.between(1, lasting.max(1)) as u32),
            connections_max_calm: 4 * lasting as u32 + 1,
            slack_ns: LEASE_NS + 50 * plan.link_latency_ns_max + pauses_ns,
        }
    }

    /// How long after a token was taken from its account it is spent, at most.
    #[must_use]
    pub const fn slack_ns(&self) -> u64 {
        self.slack_ns
    }

    /// What every client shows.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}-token", self.tenant)
    }

    /// All of it, as a server holds it.
    ///
    /// # Panics
    /// When the token cannot be used: it can.
    #[must_use]
    pub fn policy(&self, is_calm: bool) -> Arc<Policy> {
        let connections_max =
            if is_calm { self.connections_max.map(|_| self.connections_max_calm) } else { self.connections_max };
        let tenant = Tenant {
            name: self.tenant.clone(),
            requests: self.requests,
            connections_max,
            uploads_max: None,
            upload_bytes_max: None,
        };
        let tenants = Tenants { by_id: HashMap::from([(TenantId::of_name(&self.tenant), tenant)]) };
        let parts =
            AccessParts { tenant_tokens: vec![(self.tenant.clone(), vec![self.token()])], ..AccessParts::default() };
        let access = Access::new(&parts, &tenants).expect("one token of one tenant is a table");
        let rates = Rates {
            http_by_ip: self.by_ip.map_or_else(Vec::new, |rate| vec![rate; ENDPOINTS]),
            ws_connects_by_ip: self.connects_by_ip,
            ..Rates::default()
        };
        Arc::new(Policy { generation: u64::from(is_calm), access, tenants, rates, ..Policy::default() })
    }
}
