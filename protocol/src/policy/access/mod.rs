//! Who may come in, and as whom.
//!
//! Each piece of state has its file: `tokens` the tokens that are written in the configuration, `jwt` the keys that sign
//! tokens elsewhere, `digest` what is kept in their place. No secret is kept as it came, and none is ever shown: `Debug` says how many there are.

mod digest;
mod jwt;
mod keys;
mod tokens;

pub use jwt::JwtParts;
pub use tokens::{TOKEN_BYTES_MAX, TOKENS_MAX};

use super::Tenants;
use crate::ids::TenantId;
use crate::time::Now;
use jwt::Jwt;
use std::sync::Arc;
use tokens::{Found, Tokens};

/// Who a request comes from, once its token has been looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Principal {
    /// Whose streams it sees.
    pub tenant: TenantId,
    /// May look at the whole server and change it.
    pub is_admin: bool,
    /// Which token it showed: for rates per token.
    pub token: TokenTag,
    /// Why it is believed.
    pub basis: Basis,
    /// When it stops being believed, in milliseconds since 1970.
    pub expires_unix_ms: u64,
}

impl Principal {
    /// Anybody, on a server without tokens.
    pub const ANYBODY: Self = Self {
        tenant: TenantId::DEFAULT,
        is_admin: true,
        token: TokenTag::NONE,
        basis: Basis::Open,
        expires_unix_ms: u64::MAX,
    };

    /// What its documents may tell.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        if self.is_admin { Scope::Server } else { Scope::Tenant(self.tenant) }
    }
}

/// Why somebody is let in: what may have changed after a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// What it asked for is for everybody.
    Unasked,
    /// Nobody needed a token.
    Open,
    /// Its token is written in the configuration.
    Listed,
    /// Its token is signed.
    Signed(Signature),
}

/// What a signed token is believed for, as long as the configuration says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The key that signed it.
    pub key: TokenTag,
    /// Who issued it; [`TokenTag::NONE`]: it does not say.
    pub issuer: TokenTag,
    /// The name of ours that it is meant for; [`TokenTag::NONE`]: it is meant for nobody in particular.
    pub audience: TokenTag,
}

/// Tells tokens, keys and names apart without telling what they are: part of a keyed hash whose key is made anew with every process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenTag(u64);

impl TokenTag {
    /// No token.
    pub const NONE: Self = Self(0);

    /// A token was shown.
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != Self::NONE.0
    }
}

impl std::fmt::Debug for TokenTag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_some() { "TokenTag(..)" } else { "TokenTag::NONE" })
    }
}

/// How much of the server a document is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Server,
    /// What belongs to one tenant.
    Tenant(TenantId),
}

/// Whom a token turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// No token was shown, or tokens mean nothing here.
    Anonymous,
    /// A token that is believed.
    Known(Principal),
    /// A token that is not.
    Denied(Denial),
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// It is none of ours.
    Unknown,
    /// It has three parts like a JWT, but is none, or one of a kind that is not taken here.
    Malformed,
    /// No key of ours has signed it.
    Forged,
    /// It says that a key has signed it which is not in our set: that may have changed.
    UnknownKey,
    /// Its time is over.
    Expired,
    /// It does not say when its time is over.
    Endless,
    /// Its time has not come.
    NotYet,
    /// Somebody else has issued it.
    Issuer,
    /// It is meant for somebody else.
    Audience,
    /// It is genuine, but names no tenant of this server.
    Tenant,
}

impl Denial {
    /// What is wrong, for the client.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Unknown => "the token is not one of this server's",
            Self::Malformed => "the token is not a JWT of a kind that this server takes",
            Self::Forged | Self::UnknownKey => "the token is not signed by a key that this server knows",
            Self::Expired => "the token has expired: get a new one",
            Self::Endless => "the token does not say when it expires: it needs an `exp`",
            Self::NotYet => "the token is not valid yet",
            Self::Issuer => "the token was issued by somebody else",
            Self::Audience => "the token is meant for another service",
            Self::Tenant => "the token is genuine, but names no tenant of this server",
        }
    }
}

/// What a path asks of those who come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// A token, when there are any.
    Token,
    /// The right to look at the whole server and change it.
    Admin,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A token is needed and none was shown: 401.
    Missing,
    /// The token is not believed: 401.
    Denied(Denial),
    /// It is believed, and is not enough: 403.
    NotAdmin,
    /// It is believed, and leads nowhere: 403.
    NoTenant,
}

/// What [`Access`] is made of. The texts are secrets: `Debug` does not show them.
#[derive(Clone, Default)]
pub struct AccessParts {
    /// Tokens that let in: those that no tenant lists belong to the default tenant, or to the tenant whose name stands
    /// before their first `-`.
    pub tokens: Vec<String>,
    /// Tokens of tenants, by the tenant's name. They let in too.
    pub tenant_tokens: Vec<(String, Vec<String>)>,
    /// The token that may do everything. With it, no other may look at the whole server or change it.
    pub control_token: Option<String>,
    /// Tokens that are signed elsewhere.
    pub jwt: Option<JwtParts>,
    /// The metrics need a token too.
    pub protects_metrics: bool,
}

impl std::fmt::Debug for AccessParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessParts")
            .field("tokens", &self.tokens.len())
            .field("tenant_tokens", &self.tenant_tokens.iter().map(|(_, tokens)| tokens.len()).sum::<usize>())
            .field("control_token", &self.control_token.is_some())
            .field("jwt", &self.jwt)
            .field("protects_metrics", &self.protects_metrics)
            .finish()
    }
}

/// What is wrong with [`AccessParts`]: a sentence that says what, where, and how to fix it, and shows no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AccessError(pub String);

/// Who is let in. The default lets everybody in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    tokens: Option<Arc<Tokens>>,
    jwt: Option<Arc<Jwt>>,
    /// Somebody has the control token: nobody else may do what it may.
    has_control_token: bool,
    /// The metrics need a token too.
    pub protects_metrics: bool,
}

impl Access {
    /// Compiles what is configured.
    ///
    /// # Errors
    /// A token that cannot be told apart, sent, or kept; a tenant that does not exist; a key that cannot be used.
    pub fn new(parts: &AccessParts, tenants: &Tenants) -> Result<Self, AccessError> {
        let has_any = !parts.tokens.is_empty()
            || !parts.tenant_tokens.is_empty()
            || parts.control_token.is_some()
            || parts.jwt.is_some();
        let tokens = if has_any { Some(Arc::new(Tokens::new(parts, tenants)?)) } else { None };
        let jwt = parts.jwt.as_ref().map(Jwt::new).transpose()?.map(Arc::new);
        let has_control_token = parts.control_token.is_some();
        Ok(Self { tokens, jwt, has_control_token, protects_metrics: parts.protects_metrics })
    }

    /// The same with other keys for signed tokens: `jwks` is the text of a key set (RFC 7517).
    ///
    /// # Errors
    /// The text is no key set, or holds no key that can be used.
    pub fn with_jwks(&self, jwks: &str) -> Result<Self, AccessError> {
        let jwt = self.jwt.as_ref().map(|jwt| jwt.with_jwks(jwks)).transpose()?.map(Arc::new);
        Ok(Self { jwt, ..self.clone() })
    }

    /// Nobody needs a token, except to do what the control token is for.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.jwt.is_none() && self.tokens.as_ref().is_none_or(|tokens| !tokens.lets_in())
    }

    /// Somebody may look at the whole server and change it.
    #[must_use]
    pub fn has_admins(&self) -> bool {
        self.is_open() || self.tokens.as_ref().is_some_and(|tokens| tokens.has_admins())
    }

    /// No token means anything here: not even the control token.
    #[inline]
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        self.tokens.is_none()
    }

    /// Looks at a token.
    #[must_use]
    pub fn identify(&self, token: Option<&[u8]>, tenants: &Tenants, now: Now) -> Identity {
        let (Some(tokens), Some(token)) = (&self.tokens, token) else { return Identity::Anonymous };
        let Found { principal, tag } = tokens.find(token);
        if let Some(principal) = principal {
            return Identity::Known(principal);
        }
        match &self.jwt {
            Some(jwt) if Jwt::resembles(token) => match jwt.verify(token, tag, tenants, now) {
                Ok(principal) => Identity::Known(principal),
                Err(denial) => Identity::Denied(denial),
            },
            _ if self.is_open() => Identity::Anonymous,
            _ => Identity::Denied(Denial::Unknown),
        }
    }

    /// Whether `identity` may have what needs `need`, and as whom.
    ///
    /// # Errors
    /// Why not.
    pub fn admit(&self, identity: Identity, need: Need) -> Result<Principal, Refused> {
        // Somebody without a token, where none is needed, sees what everybody sees.
        let passer_by = Principal { is_admin: !self.has_control_token && self.is_open(), ..Principal::ANYBODY };
        match (need, identity) {
            (Need::Nothing, Identity::Known(principal)) => Ok(principal),
            (Need::Nothing, _) => Ok(Principal { basis: Basis::Unasked, ..passer_by }),
            (Need::Token, Identity::Anonymous) if self.is_open() => Ok(passer_by),
            (Need::Admin, Identity::Anonymous) if passer_by.is_admin => Ok(passer_by),
            (_, Identity::Anonymous) => Err(Refused::Missing),
            (_, Identity::Denied(Denial::Tenant)) => Err(Refused::NoTenant),
            (_, Identity::Denied(denial)) => Err(Refused::Denied(denial)),
            (Need::Admin, Identity::Known(principal)) if !principal.is_admin => Err(Refused::NotAdmin),
            (_, Identity::Known(principal)) => Ok(principal),
        }
    }

    /// Whether somebody who was let in before would be let in today, without seeing the token again. One that is meant
    /// for several is known by the first of them that is us.
    #[must_use]
    pub fn keeps(&self, principal: &Principal, tenants: &Tenants) -> bool {
        let is_passer_by = principal.tenant == TenantId::DEFAULT && self.is_open();
        match principal.basis {
            Basis::Unasked => true,
            Basis::Open => self.is_open(),
            Basis::Listed => {
                let tokens = self.tokens.as_ref();
                is_passer_by || tokens.is_some_and(|tokens| tokens.holds(principal.token, principal.tenant))
            }
            Basis::Signed(signature) => {
                let jwt = self.jwt.as_ref();
                is_passer_by || jwt.is_some_and(|jwt| jwt.holds(signature, principal.tenant, tenants))
            }
        }
    }
}
