//! The tokens that are written in the configuration.
//!
//! None is kept: only its digest. A token that comes is digested
//! the same way, looked for by the first bytes of its digest, and compared whole in constant time. Where a digest lies
//! among the others says nothing about the token to somebody who does not know the digests' key, so looking it up in a sorted table
//! gives nothing away, and ten thousand tokens cost what one does.

use super::digest::{DIGEST_BYTES, Digester, TAG_BIT, front, tag};
use super::{AccessError, AccessParts, Basis, Principal, TokenTag};
use crate::ids::TenantId;
use crate::policy::Tenants;
use aws_lc_rs::constant_time;

/// Tokens that one server has, those of all tenants included. More are refused when the configuration is read.
pub const TOKENS_MAX: usize = 10_000;

/// Bytes of one token. Longer ones are refused when the configuration is read.
pub const TOKEN_BYTES_MAX: usize = 1_024;

/// Bytes of a tenant's name before the `-` of a token that belongs to it by its name.
const PREFIX_BYTES_MIN: usize = 3;

/// Every token that is known by itself.
pub(super) struct Tokens {
    digester: Digester,
    /// In the order of their digests.
    entries: Vec<Entry>,
    /// There are others than the control token.
    lets_in: bool,
}

struct Entry {
    digest: [u8; DIGEST_BYTES],
    tenant: TenantId,
    is_admin: bool,
}

/// What a token was found to be.
pub(super) struct Found {
    /// `None`: it is not among them.
    pub(super) principal: Option<Principal>,
    pub(super) tag: TokenTag,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("len", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Tokens {
    pub(super) fn new(parts: &AccessParts, tenants: &Tenants) -> Result<Self, AccessError> {
        let mut table = Self { digester: Digester::new()?, entries: Vec::new(), lets_in: false };
        for (name, tokens) in &parts.tenant_tokens {
            let tenant = tenants.id(name).ok_or_else(|| AccessError(format!("there is no tenant `{name}`")))?;
            for (position, token) in tokens.iter().enumerate() {
                let place = || format!("token {} of tenant `{name}`", position + 1);
                table.add(token, tenant, false, place)?;
            }
        }
        // A token may be written in both places: then it belongs to its tenant.
        table.sort()?;
        let of_tenants = table.entries.len();
        for (position, token) in parts.tokens.iter().enumerate() {
            let place = || format!("token {} of the list of tokens", position + 1);
            if table.position(&table.digester.digest(token.as_bytes()), of_tenants).is_none() {
                let tenant = tenant_by_prefix(token, tenants);
                let is_admin = parts.control_token.is_none() && tenant == TenantId::DEFAULT;
                table.add(token, tenant, is_admin, place)?;
            }
        }
        table.sort()?;
        table.lets_in = !table.entries.is_empty();
        if let Some(token) = &parts.control_token {
            table.add(token, TenantId::DEFAULT, true, || "the control token".to_owned())?;
            table.sort()?;
        }
        Ok(table)
    }

    /// Some token other than the control token is known.
    pub(super) const fn lets_in(&self) -> bool {
        self.lets_in
    }

    /// Some token may look at the whole server and change it.
    pub(super) fn has_admins(&self) -> bool {
        self.entries.iter().any(|entry| entry.is_admin)
    }

    pub(super) fn find(&self, token: &[u8]) -> Found {
        let digest = self.digester.digest(token);
        let tag = tag(&digest);
        let entry = self.position(&digest, self.entries.len()).map(|position| &self.entries[position]);
        let principal = entry.map(|entry| Principal {
            tenant: entry.tenant,
            is_admin: entry.is_admin,
            token: tag,
            basis: Basis::Listed,
            expires_unix_ms: u64::MAX,
        });
        Found { principal, tag }
    }

    /// Whether the token of this tag is among them, and stands for this tenant.
    pub(super) fn holds(&self, token: TokenTag, tenant: TenantId) -> bool {
        // Tags have the highest bit, fronts may: the same token can be in two places.
        [token.0, token.0 & !TAG_BIT].into_iter().any(|sought| {
            let from = self.entries.partition_point(|entry| front(&entry.digest) < sought);
            self.entries[from..]
                .iter()
                .take_while(|entry| front(&entry.digest) == sought)
                .any(|entry| entry.tenant == tenant)
        })
    }

    /// Where a digest is among the first `sorted` entries.
    fn position(&self, digest: &[u8; DIGEST_BYTES], sorted: usize) -> Option<usize> {
        let entries = &self.entries[..sorted];
        let from = entries.partition_point(|entry| front(&entry.digest) < front(digest));
        // Two digests with the same front are as good as impossible; all that have it are looked at.
        let alike = entries[from..].iter().take_while(|entry| front(&entry.digest) == front(digest));
        let mut found = None;
        for (position, entry) in alike.enumerate() {
            if constant_time::verify_slices_are_equal(&entry.digest, digest).is_ok() {
                found = Some(from + position);
            }
        }
        found
    }

    fn add(
        &mut self,
        token: &str,
        tenant: TenantId,
        is_admin: bool,
        place: impl Fn() -> String,
    ) -> Result<(), AccessError> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            let place = place();
            return Err(AccessError(format!("{place} has {} bytes: it must have 1 to {TOKEN_BYTES_MAX}", token.len())));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let place = place();
            return Err(AccessError(format!("{place} cannot be sent: a token has visible ASCII characters only")));
        }
        if self.entries.len() >= TOKENS_MAX {
            return Err(AccessError(format!(
                "there are more than {TOKENS_MAX} tokens: use signed tokens (JWT) for so many clients"
            )));
        }
        self.entries.push(Entry { digest: self.digester.digest(token.as_bytes()), tenant, is_admin });
        Ok(())
    }

    /// Puts the entries in order; the same token may be written twice for the same purpose only.
    fn sort(&mut self) -> Result<(), AccessError> {
        self.entries.sort_by_key(|entry| entry.digest);
        let differs = |pair: &[Entry]| {
            pair[0].digest == pair[1].digest && (pair[0].tenant, pair[0].is_admin) != (pair[1].tenant, pair[1].is_admin)
        };
        if self.entries.windows(2).any(differs) {
            return Err(AccessError(
                "one token stands for two tenants, or is the control token too: give each its own".to_owned(),
            ));
        }
        self.entries.dedup_by_key(|entry| entry.digest);
        Ok(())
    }
}

/// `acme-1` belongs to the tenant `acme`, if there is one. A name may have a `-` itself: the longest one counts.
fn tenant_by_prefix(token: &str, tenants: &Tenants) -> TenantId {
    token
        .rmatch_indices('-')
        .map(|(end, _)| &token[..end])
        .filter(|name| name.len() >= PREFIX_BYTES_MIN)
        .find_map(|name| tenants.id(name))
        .unwrap_or(TenantId::DEFAULT)
}
