//! The keys that sign tokens elsewhere: each with the one algorithm that it may be used with.
//!
//! What a token says about its own algorithm is only compared with what its key is for, never followed: so `none` is no
//! algorithm, and the public key of RSA is never taken for the secret of an HMAC.

use super::digest::{Digester, tag};
use super::{AccessError, Denial, TokenTag};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};

/// Keys of one set. More are refused: nobody rolls over so many.
const KEYS_MAX: usize = 64;

/// Bytes of a key set. More are refused.
pub(super) const JWKS_BYTES_MAX: usize = 256 * 1024;

/// Bytes of the secret of an HS256 signature (RFC 7518, section 3.2). Fewer can be guessed.
const SECRET_BYTES_MIN: usize = 32;

/// One key.
#[derive(Clone)]
pub(super) struct Key {
    /// Its name in the key set.
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    /// Tells it apart from others, also from those of another set.
    tag: TokenTag,
}

/// All keys that sign tokens.
#[derive(Clone, Default)]
pub(super) struct Keys {
    secret: Option<Key>,
    set: Vec<Key>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").field("secret", &self.secret.is_some()).field("set", &self.set.len()).finish()
    }
}

impl Keys {
    pub(super) fn new(secret: Option<&str>, jwks: Option<&str>) -> Result<Self, AccessError> {
        let secret = secret.map(hs256).transpose()?;
        let set = jwks.map_or(Ok(Vec::new()), read_set)?;
        Ok(Self { secret, set })
    }

    /// The same secret with other keys beside it.
    pub(super) fn with_jwks(&self, jwks: &str) -> Result<Self, AccessError> {
        Ok(Self { secret: self.secret.clone(), set: read_set(jwks)? })
    }

    /// Whether one of the keys that a token may be signed with has made `signature`. `id` is the key that it names; one
    /// that names none is tried with every key of its algorithm. Says which one it was.
    ///
    /// # Errors
    /// `UnknownKey` when it names one that is not in the set: the set may be old. `Forged` when none has made it.
    pub(super) fn verify(
        &self,
        algorithm: &str,
        id: Option<&str>,
        signature: &str,
        message: &[u8],
    ) -> Result<TokenTag, Denial> {
        let from_set = self.set.iter().filter(|key| id.is_none() || key.id.as_deref() == id);
        // The secret has no name in any set, so a token may call it what it likes.
        let mut candidates = self
            .secret
            .iter()
            .chain(from_set)
            .filter(|key| !algorithm.is_empty() && name(key.algorithm) == algorithm)
            .take(KEYS_MAX);
        let is_signed = |key: &&Key| {
            jsonwebtoken::crypto::verify(signature, message, &key.key, key.algorithm).is_ok_and(|is_valid| is_valid)
        };
        let is_named = id.is_some_and(|id| !self.set.iter().any(|key| key.id.as_deref() == Some(id)));
        match candidates.find(is_signed) {
            Some(key) => Ok(key.tag),
            None if is_named && algorithm != name(Algorithm::HS256) => Err(Denial::UnknownKey),
            None => Err(Denial::Forged),
        }
    }

    /// Whether the key of this tag is among them.
    pub(super) fn holds(&self, key: TokenTag) -> bool {
        self.secret.iter().chain(&self.set).any(|known| known.tag == key)
    }
}

fn hs256(secret: &str) -> Result<Key, AccessError> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(AccessError(format!(
            "the secret of signed tokens has {} bytes: give it at least {SECRET_BYTES_MIN} random ones (RFC 7518, section 3.2)",
            secret.len()
        )));
    }
    let tag = tag(&Digester::new()?.digest(secret.as_bytes()));
    Ok(Key { id: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret.as_bytes()), tag })
}

/// The keys of a set that can be used to check signatures; others are passed over, as RFC 7517, section 5, wants it.
fn read_set(text: &str) -> Result<Vec<Key>, AccessError> {
    if text.len() > JWKS_BYTES_MAX {
        return Err(AccessError(format!("the key set has more than {JWKS_BYTES_MAX} bytes")));
    }
    let set: JwkSet = serde_json::from_str(text)
        .map_err(|error| AccessError(format!("the key set is not one of RFC 7517: {error}")))?;
    if set.keys.len() > KEYS_MAX {
        return Err(AccessError(format!("the key set has {} keys: {KEYS_MAX} are taken at most", set.keys.len())));
    }
    let digester = Digester::new()?;
    let keys: Vec<Key> = set.keys.iter().filter_map(|jwk| usable(jwk, &digester)).collect();
    if keys.is_empty() {
        return Err(AccessError(
            "the key set has no key that signs tokens: RSA, EC (P-256, P-384) and Ed25519 keys are taken".to_owned(),
        ));
    }
    Ok(keys)
}

/// A key with its algorithm. `None`: it is no public key for signatures, or of a kind that is not known here.
fn usable(jwk: &Jwk, digester: &Digester) -> Option<Key> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let usual = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Algorithm::ES384,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        // A secret does not belong in a set that anybody can fetch.
        _ => return None,
    };
    let algorithm = match (jwk.common.key_algorithm, usual) {
        (None, usual) => usual,
        (Some(KeyAlgorithm::RS384), Algorithm::RS256) => Algorithm::RS384,
        (Some(KeyAlgorithm::RS512), Algorithm::RS256) => Algorithm::RS512,
        (Some(KeyAlgorithm::PS256), Algorithm::RS256) => Algorithm::PS256,
        (Some(KeyAlgorithm::PS384), Algorithm::RS256) => Algorithm::PS384,
        (Some(KeyAlgorithm::PS512), Algorithm::RS256) => Algorithm::PS512,
        (Some(named), usual) if Algorithm::try_from(named).is_ok_and(|named| named == usual) => usual,
        _ => return None,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    // The key itself: sets are written anew, and list their keys under other names.
    let material = serde_json::to_vec(&jwk.algorithm).ok()?;
    Some(Key { id: jwk.common.key_id.clone(), algorithm, key, tag: tag(&digester.digest(&material)) })
}

/// What a token calls an algorithm (RFC 7518, section 3.1).
const fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HS256 => "HS256",
        Algorithm::RS256 => "RS256",
        Algorithm::RS384 => "RS384",
        Algorithm::RS512 => "RS512",
        Algorithm::PS256 => "PS256",
        Algorithm::PS384 => "PS384",
        Algorithm::PS512 => "PS512",
        Algorithm::ES256 => "ES256",
        Algorithm::ES384 => "ES384",
        Algorithm::EdDSA => "EdDSA",
        // No key has another one, and no token one without a name.
        _ => "",
    }
}
