//! Digests of secrets, under a key that nobody knows.
//!
//! The key is made once for the life of the process: so a connection that keeps no token can be asked after a reload whether
//! the one that it showed is still taken, by its digest.

use super::{AccessError, TokenTag};
use aws_lc_rs::hmac;
use std::sync::OnceLock;

pub(super) const DIGEST_BYTES: usize = 32;

/// What makes digests (HMAC-SHA-256).
#[derive(Clone)]
pub(super) struct Digester(hmac::Key);

impl std::fmt::Debug for Digester {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Digester(..)")
    }
}

impl Digester {
    pub(super) fn new() -> Result<Self, AccessError> {
        static KEY: OnceLock<hmac::Key> = OnceLock::new();
        if let Some(key) = KEY.get() {
            return Ok(Self(key.clone()));
        }
        let mut key = [0; DIGEST_BYTES];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| AccessError("the system gives no random bytes".to_owned()))?;
        Ok(Self(KEY.get_or_init(|| hmac::Key::new(hmac::HMAC_SHA256, &key)).clone()))
    }

    pub(super) fn digest(&self, secret: &[u8]) -> [u8; DIGEST_BYTES] {
        let mut digest = [0; DIGEST_BYTES];
        digest.copy_from_slice(hmac::sign(&self.0, secret).as_ref());
        digest
    }
}

/// The start of a digest, by which it is found.
pub(super) fn front(digest: &[u8; DIGEST_BYTES]) -> u64 {
    digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// What is remembered of a digest.
pub(super) fn tag(digest: &[u8; DIGEST_BYTES]) -> TokenTag {
    // The highest bit keeps a tag from meaning that there is none.
    TokenTag(front(digest) | TAG_BIT)
}

/// Set in every tag.
pub(super) const TAG_BIT: u64 = 1 << 63;
