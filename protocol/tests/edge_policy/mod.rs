//! Policies for tests of the edge.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use conduit_protocol::TenantId;
use conduit_protocol::limiter::Rate;
use conduit_protocol::policy::{Access, AccessParts, Policy, Rates, Tenant, Tenants};
use conduit_protocol::telemetry::Endpoint;

/// A tenant without limits.
pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant { name: name.to_owned(), requests: None, connections_max: None, uploads_max: None, upload_bytes_max: None }
}

/// So many in a minute, all of them at once.
pub(crate) const fn per_minute(count: u32) -> Rate {
    Rate { per_window: count, window_ms: 60_000, burst: count }
}

/// The same rate for every endpoint.
pub(crate) fn by_ip(rate: Rate) -> Rates {
    Rates { http_by_ip: vec![rate; Endpoint::ALL.len()], ..Rates::default() }
}

/// A server with the tokens `plain` (of nobody), and `NAME-token` of each of these tenants.
pub(crate) fn with_tenants(tenants: Vec<Tenant>) -> Policy {
    let tokens = |tenant: &Tenant| (tenant.name.clone(), vec![format!("{}-token", tenant.name)]);
    let parts = AccessParts {
        tokens: vec!["plain".to_owned()],
        tenant_tokens: tenants.iter().map(tokens).collect(),
        ..AccessParts::default()
    };
    let by_id = tenants.into_iter().map(|tenant| (TenantId::of_name(&tenant.name), tenant)).collect();
    let tenants = Tenants { by_id };
    let access = Access::new(&parts, &tenants).expect("tokens that can be used");
    Policy { access, tenants, ..Policy::default() }
}

/// A server whose only token is `secret`, and `control` for changes.
pub(crate) fn with_token() -> Policy {
    let parts = AccessParts {
        tokens: vec!["secret".to_owned()],
        control_token: Some("control".to_owned()),
        ..AccessParts::default()
    };
    let access = Access::new(&parts, &Tenants::default()).expect("a token that can be used");
    Policy { access, ..Policy::default() }
}

/// The field that shows a token.
pub(crate) fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}
