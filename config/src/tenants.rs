//! The tenants file: who the tenants are, which tokens are theirs, and how much each may use.
//!
//! ```yaml
//! tenants:
//!   acme:
//!     tokens: [acme-1f0c, acme-77ab]
//!     limits: {rateLimit: 6000, burst: 200, maxConnections: 50}
//! ```
//!
//! It says who may do what, so nothing in it is guessed: unknown keys, a name or token that stands twice, and numbers
//! that are no limit are errors, all told at once. Tokens are never quoted.

use crate::file::{hide, problem};
use crate::nearest::nearest;
use crate::problem::Problem;
use crate::secret::{Secret, TOKENS_MAX};
use crate::setting::{Unit, parse_number};
use crate::snippet::unknown_words;
use crate::yaml::{self, At, Flaw, Key, Node, Value};
use conduit_protocol::TenantId;
use conduit_protocol::limiter::Rate;
use conduit_protocol::policy::{Tenant, Tenants};
use std::collections::HashMap;

/// Most tenants of a file.
pub const TENANTS_MAX: usize = 10_000;

/// Longest name of a tenant, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// No tenant has this name: whoever has none is called so.
const RESERVED: &str = "default";

/// The window of `rateLimit`, which counts requests a minute.
const RATE_WINDOW_MS: u32 = 60_000;

/// Most of anything that is counted.
const COUNT_MAX: u64 = 1_000_000_000;

/// Most bytes of one upload: 64 TiB.
const UPLOAD_BYTES_MAX: u64 = 1 << 46;

const TENANT_KEYS: &[&str] = &["tokens", "limits"];
const LIMIT_KEYS: &[&str] = &["rateLimit", "burst", "maxConnections", "maxConcurrentUploads", "maxUploadSize"];

/// What a tenants file says.
#[derive(Debug, Clone, Default)]
pub struct TenantsFile {
    /// The tenants and their limits.
    pub tenants: Tenants,
    /// Their tokens, by name, in the order of the file.
    pub tokens: Vec<(String, Vec<Secret>)>,
}

/// Reads a tenants file. `name` is how messages name it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn compile(name: &str, text: &str) -> Result<TenantsFile, Vec<Problem>> {
    let document = match yaml::parse(text) {
        Ok(document) => document,
        Err(flaw) => {
            let words = TENANT_KEYS.iter().chain(LIMIT_KEYS).chain(&["tenants"]).copied();
            return Err(vec![problem(name, text, &unknown_words(text, words), &flaw)]);
        }
    };
    let mut reader = Reader { flaws: document.flaws, ..Reader::default() };
    reader.file(&document.root);
    if reader.flaws.is_empty() {
        return Ok(reader.out);
    }
    reader.flaws.sort_by_key(|flaw| (flaw.at.line, flaw.at.column));
    Err(reader.flaws.iter().map(|flaw| problem(name, text, &reader.hidden, flaw)).collect())
}

#[derive(Default)]
struct Reader {
    out: TenantsFile,
    hidden: Vec<(usize, usize)>,
    flaws: Vec<Flaw>,
    /// The line and tenant of each token.
    tokens: HashMap<String, (u64, String)>,
}

impl Reader {
    fn file(&mut self, root: &Node) {
        for (key, node) in self.mapping(root, "the file", &["tenants"]) {
            if key.text != "tenants" {
                self.unknown(key, node, &["tenants"]);
                continue;
            }
            let Some(entries) = node.entries() else {
                self.wrong_kind(node, "`tenants`", "a mapping of tenants");
                continue;
            };
            for (key, node) in entries {
                self.tenant(key, node);
            }
            if entries.len() > TENANTS_MAX {
                self.flaw(key.at, format!("there are more than {TENANTS_MAX} tenants"), "use fewer");
            }
        }
    }

    fn tenant(&mut self, key: &Key, node: &Node) {
        let name = key.text.as_str();
        let is_fit = !name.is_empty()
            && name.len() <= NAME_BYTES_MAX
            && !name.chars().any(|c| c.is_control() || c.is_whitespace());
        if !is_fit {
            self.flaw(
                key.at,
                format!("a tenant's name has 1 to {NAME_BYTES_MAX} bytes and neither blanks nor control characters"),
                "give it such a name",
            );
        }
        if name == RESERVED {
            self.flaw(
                key.at,
                format!("`{RESERVED}` is what figures and logs call those who have no tenant"),
                "give the tenant another name",
            );
        }
        let id = TenantId::of_name(name);
        let mut tenant = Tenant {
            name: name.to_owned(),
            requests: None,
            connections_max: None,
            uploads_max: None,
            upload_bytes_max: None,
        };
        let mut tokens = Vec::new();
        for (key, node) in self.mapping(node, &format!("tenant `{name}`"), TENANT_KEYS) {
            match key.text.as_str() {
                "tokens" => tokens = self.tokens(name, node),
                "limits" => self.limits(&mut tenant, node),
                _ => self.unknown(key, node, TENANT_KEYS),
            }
        }
        match self.out.tenants.by_id.get(&id) {
            Some(other) if other.name != name => {
                let reason = format!("`{name}` and `{}` cannot be told apart by their number", other.name);
                self.flaw(key.at, reason, "rename one of them; this happens once in four thousand million pairs");
            }
            // The same name twice is a flaw of the document already.
            Some(_) => {}
            None => {
                self.out.tenants.by_id.insert(id, tenant);
                self.out.tokens.push((name.to_owned(), tokens));
            }
        }
    }

    fn tokens(&mut self, tenant: &str, node: &Node) -> Vec<Secret> {
        hide(node, &mut self.hidden);
        let nodes = match &node.value {
            Value::Null => return Vec::new(),
            Value::List(nodes) => nodes,
            _ => {
                self.wrong_kind(node, "`tokens`", "a list");
                return Vec::new();
            }
        };
        nodes.iter().filter_map(|node| self.token(tenant, node)).collect()
    }

    fn token(&mut self, tenant: &str, node: &Node) -> Option<Secret> {
        let Value::Text(text) = &node.value else {
            let reason = format!("a token is a text, and this is {}", node.value.kind());
            self.flaw(node.at, reason, "put it into quotation marks");
            return None;
        };
        let token = match Secret::token(text) {
            Ok(token) => token,
            Err(reason) => {
                self.flaw(node.at, reason, "give a token of visible ASCII characters without commas");
                return None;
            }
        };
        if let Some((line, other)) = self.tokens.insert(text.clone(), (node.at.line, tenant.to_owned())) {
            let whose = if other == tenant { "this tenant's".to_owned() } else { format!("that of `{other}`") };
            let reason = format!("this token is {whose} on line {line} already");
            self.flaw(node.at, reason, "give every tenant tokens of its own");
            return None;
        }
        if self.tokens.len() == TOKENS_MAX + 1 {
            self.flaw(
                node.at,
                format!("there are more than {TOKENS_MAX} tokens"),
                "use signed tokens (JWT) for so many",
            );
        }
        Some(token)
    }

    fn limits(&mut self, tenant: &mut Tenant, node: &Node) {
        let (mut per_window, mut burst) = (None, None);
        for (key, node) in self.mapping(node, "`limits`", LIMIT_KEYS) {
            match key.text.as_str() {
                "rateLimit" => per_window = self.count(key, node),
                "burst" => burst = self.count(key, node).map(|burst| (key.at, burst)),
                "maxConnections" => tenant.connections_max = self.count(key, node),
                "maxConcurrentUploads" => tenant.uploads_max = self.count(key, node),
                "maxUploadSize" => {
                    tenant.upload_bytes_max = self.number(key, node, Unit::Bytes, UPLOAD_BYTES_MAX);
                }
                _ => self.unknown(key, node, LIMIT_KEYS),
            }
        }
        tenant.requests = per_window.map(|per_window| {
            let burst = burst.map_or(per_window, |(_, burst)| burst);
            Rate { per_window, window_ms: RATE_WINDOW_MS, burst }
        });
        if let (None, Some((at, _))) = (per_window, burst) {
            self.flaw(at, "`burst` means nothing without `rateLimit`", "set `rateLimit`, or remove it");
        }
    }

    fn count(&mut self, key: &Key, node: &Node) -> Option<u32> {
        self.number(key, node, Unit::None, COUNT_MAX).and_then(|number| u32::try_from(number).ok())
    }

    fn number(&mut self, key: &Key, node: &Node, unit: Unit, max: u64) -> Option<u64> {
        let number = match &node.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) => parse_number(text, unit),
            _ => None,
        };
        if let Some(number) = number.filter(|number| (1..=max).contains(number)) {
            return Some(number);
        }
        self.flaw(
            node.at,
            format!("`{}` is not a whole number from 1 to {max}", key.text),
            "give such a number, or leave it out for no limit",
        );
        None
    }

    /// The entries of a mapping, or a flaw and none.
    fn mapping<'n>(&mut self, node: &'n Node, what: &str, keys: &[&str]) -> &'n [(Key, Node)] {
        node.entries().unwrap_or_else(|| {
            self.wrong_kind(node, what, &format!("a mapping of {}", keys.join(", ")));
            &[]
        })
    }

    fn wrong_kind(&mut self, node: &Node, what: &str, wanted: &str) {
        hide(node, &mut self.hidden);
        self.flaw(node.at, format!("{what} is {}", node.value.kind()), &format!("make it {wanted}"));
    }

    fn unknown(&mut self, key: &Key, node: &Node, keys: &[&str]) {
        hide(node, &mut self.hidden);
        let remedy = match nearest(&key.text, keys.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`? Otherwise remove it"),
            None => format!("remove it; keys here are {}", keys.join(", ")),
        };
        self.flaw(key.at, format!("there is no key `{}` here", key.text), &remedy);
    }

    fn flaw(&mut self, at: At, reason: impl Into<String>, remedy: &str) {
        self.flaws.push(Flaw { at, reason: reason.into(), remedy: remedy.to_owned() });
    }
}
