//! What a server allows: one immutable value, compiled from the configuration, lent to every session.
//!
//! A reload makes a new one; sessions see it with their next unit. The default allows everything and limits nothing.

pub mod access;
pub mod codecs;
pub mod cors;
pub mod drain;
pub mod guards;
pub mod proxies;
pub mod rates;
pub mod tenants;

pub use access::{
    Access, AccessError, AccessParts, Basis, Denial, Identity, JwtParts, Need, Principal, Refused, Scope, TokenTag,
};
pub use codecs::Codecs;
pub use cors::Cors;
pub use drain::Drain;
pub use guards::Guards;
pub use proxies::Proxies;
pub use rates::Rates;
pub use tenants::{Tenant, Tenants};

use crate::access_log::LogBudgets;
use crate::rules::Rules;

/// Everything that an operator decides about requests. See the module.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Rises with every reload: what was remembered under another one is forgotten.
    pub generation: u64,
    /// Who may come in.
    pub access: Access,
    /// Whom the streams belong to.
    pub tenants: Tenants,
    /// Which pages of other origins may read answers.
    pub cors: Cors,
    /// How often, and how many at a time.
    pub rates: Rates,
    /// How large, and of what kind.
    pub guards: Guards,
    /// Which encodings are spoken.
    pub codecs: Codecs,
    /// Whose word about a client's address is believed.
    pub proxies: Proxies,
    /// What is answered beside and in place of the built-in endpoints.
    pub rules: Rules,
    /// How many requests and messages have lines in the access logs.
    pub logs: LogBudgets,
    /// How clients are let go when the server ends.
    pub drain: Drain,
}
