//! Tokens that are signed elsewhere: JSON Web Tokens (RFC 7519) in their compact form (RFC 7515, section 3.1).
//!
//! Time is an argument like everywhere else here, so what a token says about its own is compared with that.

use super::digest::{self, Digester};
use super::keys::Keys;
use super::{AccessError, Basis, Denial, Principal, Signature, TokenTag};
use crate::ids::TenantId;
use crate::policy::Tenants;
use crate::time::Now;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// Bytes of a signed token. Longer ones are not looked at.
const JWT_BYTES_MAX: usize = 8 * 1024;

/// What is configured about tokens that are signed elsewhere.
#[derive(Clone)]
pub struct JwtParts {
    /// The secret of HS256 signatures: at least 32 bytes.
    pub hs256_secret: Option<String>,
    /// The text of a key set (RFC 7517). `None`: it has not been fetched yet, and no token signed by it is believed.
    pub jwks: Option<String>,
    /// Who must have issued a token; `None`: anybody.
    pub issuer: Option<String>,
    /// Whom a token must be meant for: one of these. Without any, a token that names somebody is not believed.
    pub audiences: Vec<String>,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// By how much clocks may differ, in milliseconds.
    pub leeway_ms: u64,
}

impl Default for JwtParts {
    fn default() -> Self {
        Self {
            hs256_secret: None,
            jwks: None,
            issuer: None,
            audiences: Vec::new(),
            tenant_claim: "tenant".to_owned(),
            leeway_ms: 60_000,
        }
    }
}

impl std::fmt::Debug for JwtParts {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtParts")
            .field("hs256_secret", &self.hs256_secret.is_some())
            .field("jwks", &self.jwks.is_some())
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .field("tenant_claim", &self.tenant_claim)
            .field("leeway_ms", &self.leeway_ms)
            .finish()
    }
}

/// What signed tokens are held to.
#[derive(Debug, Clone)]
pub(super) struct Jwt {
    keys: Keys,
    terms: Arc<Terms>,
}

#[derive(Debug)]
struct Terms {
    issuer: Option<String>,
    audiences: Vec<String>,
    tenant_claim: String,
    leeway_ms: u64,
    digester: Digester,
}

/// The header of a token, as far as it matters. `crit` names extensions that must be understood (RFC 7515, section
/// 4.1.11): none is.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Jwt {
    pub(super) fn new(parts: &JwtParts) -> Result<Self, AccessError> {
        let keys = Keys::new(parts.hs256_secret.as_deref(), parts.jwks.as_deref())?;
        let terms = Terms {
            issuer: parts.issuer.clone(),
            audiences: parts.audiences.clone(),
            tenant_claim: parts.tenant_claim.clone(),
            leeway_ms: parts.leeway_ms,
            digester: Digester::new()?,
        };
        Ok(Self { keys, terms: Arc::new(terms) })
    }

    pub(super) fn with_jwks(&self, jwks: &str) -> Result<Self, AccessError> {
        Ok(Self { keys: self.keys.with_jwks(jwks)?, terms: Arc::clone(&self.terms) })
    }

    /// Whether it has three parts.
    pub(super) fn resembles(token: &[u8]) -> bool {
        memchr::memchr_iter(b'.', token).count() == 2
    }

    /// Whom a token stands for, if it is believed.
    pub(super) fn verify(&self, token: &[u8], tag: TokenTag, tenants: &Tenants, now: Now) -> Result<Principal, Denial> {
        let text = std::str::from_utf8(token).map_err(|_| Denial::Malformed)?;
        if text.len() > JWT_BYTES_MAX {
            return Err(Denial::Malformed);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(Denial::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Denial::Malformed)?;
        let header: Header = decode(header)?;
        if header.crit.is_some() {
            return Err(Denial::Malformed);
        }
        let claims: Claims = decode(claims)?;
        // What costs nothing comes first. Nothing of it is believed yet: it can only be refused.
        let expires_unix_ms = self.terms.check_time(&claims, now)?;
        let audience = self.terms.check_names(&claims)?;
        let key = self.keys.verify(&header.alg, header.kid.as_deref(), signature, message.as_bytes())?;
        let tenant = self.terms.tenant(&claims, tenants)?;
        let issuer = self.terms.tag(claims.iss.as_deref());
        let basis = Basis::Signed(Signature { key, issuer, audience: self.terms.tag(audience) });
        Ok(Principal { tenant, is_admin: false, token: tag, basis, expires_unix_ms })
    }

    /// Whether a token of this tenant that was believed for this would be believed if its time is right.
    pub(super) fn holds(&self, signature: Signature, tenant: TenantId, tenants: &Tenants) -> bool {
        let is_tenant =
            if tenant == TenantId::DEFAULT { tenants.by_id.is_empty() } else { tenants.get(tenant).is_some() };
        is_tenant && self.keys.holds(signature.key) && self.terms.hold(signature)
    }
}

impl Terms {
    /// When a token ends to be believed. One that does not say is not believed at all.
    fn check_time(&self, claims: &Claims, now: Now) -> Result<u64, Denial> {
        let expires_unix_ms = unix_ms(claims.exp.ok_or(Denial::Endless)?).saturating_add(self.leeway_ms);
        if now.unix_ms >= expires_unix_ms {
            return Err(Denial::Expired);
        }
        match claims.nbf.map(unix_ms) {
            Some(begins_unix_ms) if begins_unix_ms > now.unix_ms.saturating_add(self.leeway_ms) => Err(Denial::NotYet),
            _ => Ok(expires_unix_ms),
        }
    }

    /// The name of ours that a token is meant for, if it names any.
    fn check_names<'c>(&self, claims: &'c Claims) -> Result<Option<&'c str>, Denial> {
        if self.issuer.is_some() && self.issuer != claims.iss {
            return Err(Denial::Issuer);
        }
        let is_ours = |name: &&String| self.audiences.contains(*name);
        let ours = match &claims.aud {
            None if self.audiences.is_empty() => return Ok(None),
            None => None,
            Some(Audience::One(name)) => Some(name).filter(is_ours),
            Some(Audience::Several(names)) => names.iter().find(is_ours),
        };
        ours.map(|name| Some(name.as_str())).ok_or(Denial::Audience)
    }

    /// Whether [`Terms::check_names`] would come to the same again.
    fn hold(&self, signature: Signature) -> bool {
        let is_issuer = self.issuer.is_none() || self.tag(self.issuer.as_deref()) == signature.issuer;
        let is_meant = if signature.audience.is_some() {
            self.audiences.iter().any(|name| self.tag(Some(name)) == signature.audience)
        } else {
            self.audiences.is_empty()
        };
        is_issuer && is_meant
    }

    fn tag(&self, name: Option<&str>) -> TokenTag {
        name.map_or(TokenTag::NONE, |name| digest::tag(&self.digester.digest(name.as_bytes())))
    }

    /// The tenant that a token names: one that is configured. Where none is, nobody needs to name one.
    fn tenant(&self, claims: &Claims, tenants: &Tenants) -> Result<TenantId, Denial> {
        match claims.others.get(&self.tenant_claim) {
            None if tenants.by_id.is_empty() => Ok(TenantId::DEFAULT),
            Some(Value::String(name)) => tenants.id(name).ok_or(Denial::Tenant),
            _ => Err(Denial::Tenant),
        }
    }
}

/// A part of a token: JSON in base64url without padding.
fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Result<T, Denial> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Denial::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Denial::Malformed)
}

/// A `NumericDate` (RFC 7519, section 2) in milliseconds. What does not fit is as far away as can be.
fn unix_ms(seconds: f64) -> u64 {
    // A cast from a float saturates, and makes 0 of what is no number.
    (seconds * 1_000.0) as u64
}
