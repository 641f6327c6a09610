//! `$body.a.b[0]`: what a rule takes from a request, and the names that it may take.

use super::limits;
use super::syntax::SyntaxError;
use serde_json::Value;

/// Where a selector begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// `$body`.
    Body,
    /// `$query`.
    Query,
    /// `$headers`.
    Headers,
    /// `$params`.
    Params,
    /// `$method`.
    Method,
    /// `$path`.
    Path,
    /// `$message`.
    Message,
    /// `$result`.
    Result,
    /// `$error`.
    Error,
    /// `$tenant`.
    Tenant,
    /// `$now`.
    Now,
    /// A variable of `map`, by its place.
    Variable(u16),
}

/// The roots by name, for messages and documentation.
pub const ROOTS: &[(&str, Root)] = &[
    ("body", Root::Body),
    ("query", Root::Query),
    ("headers", Root::Headers),
    ("params", Root::Params),
    ("method", Root::Method),
    ("path", Root::Path),
    ("message", Root::Message),
    ("result", Root::Result),
    ("error", Root::Error),
    ("tenant", Root::Tenant),
    ("now", Root::Now),
];

/// A set of things that a piece of a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Uses(u8);

impl Uses {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// `$body`.
    pub const BODY: Self = Self(1);
    /// What stands in the head: `$query`, `$headers`, `$params`, `$method`, `$path`, `$tenant`.
    pub const HEAD: Self = Self(2);
    /// `$message`.
    pub const MESSAGE: Self = Self(4);
    /// `$result`.
    pub const RESULT: Self = Self(8);
    /// `$error`.
    pub const ERROR: Self = Self(16);
    /// `$now` and variables, which are there from the beginning.
    pub const ALWAYS: Self = Self(32);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Root {
    /// What a selector with this root looks at.
    #[must_use]
    pub const fn uses(self) -> Uses {
        match self {
            Self::Body => Uses::BODY,
            Self::Query | Self::Headers | Self::Params | Self::Method | Self::Path | Self::Tenant => Uses::HEAD,
            Self::Message => Uses::MESSAGE,
            Self::Result => Uses::RESULT,
            Self::Error => Uses::ERROR,
            Self::Now | Self::Variable(_) => Uses::ALWAYS,
        }
    }
}

/// A step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `.name` or `["any name"]`.
    Key(Box<str>),
    /// `[3]`.
    Index(usize),
}

/// A root and the way from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Where it begins.
    pub root: Root,
    /// How it goes on.
    pub steps: Box<[Step]>,
}

/// What a `$` in a rule came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// To be looked up for every request.
    Select(Selector),
    /// `$env.NAME`, looked up already; `None` when the variable is not set.
    Known(Option<String>),
}

/// An environment variable, as far as rules may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvLookup {
    /// Allowed and set.
    Set(String),
    /// Allowed and not set: undefined.
    Unset,
    /// Not in the list of those that rules may use.
    NotAllowed,
}

/// The names that a piece of a rule may use.
#[derive(Clone, Copy)]
pub struct Names<'n> {
    /// The variables that are there, by place.
    pub variables: &'n [String],
    /// Variables that come later, for a better message.
    pub later: &'n [String],
    /// What exists where the piece stands.
    pub available: Uses,
    /// Names of the parameters in the rule's paths.
    pub params: &'n [String],
    /// Looks up an environment variable.
    pub env: &'n dyn Fn(&str) -> EnvLookup,
}

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("variables", &self.variables).finish_non_exhaustive()
    }
}

/// Reads the reference at the start of `text`, which begins with `$` and a name or `{`. Returns it and its length.
///
/// # Errors
/// What cannot be read, and where.
pub fn reference(text: &str, names: &Names<'_>) -> Result<(Reference, usize), SyntaxError> {
    let braced = text.starts_with("${");
    let name_at = if braced { 2 } else { 1 };
    let name = word(&text[name_at..], |byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
        return Err(SyntaxError::new(0, NO_NAME));
    }
    let mut at = name_at + name.len();
    let mut steps = Vec::new();
    while let Some((step, length)) = step(&text[at..], braced).map_err(|error| error.behind(at))? {
        steps.push(step);
        at += length;
        if steps.len() > limits::NESTING_MAX {
            return Err(SyntaxError::new(at, format!("a selector has at most {} steps", limits::NESTING_MAX)));
        }
    }
    if braced {
        if !text[at..].starts_with('}') {
            return Err(SyntaxError::new(at, "`${` needs its `}`: `${body.to}`"));
        }
        at += 1;
    }
    Ok((resolve(name, steps, names)?, at))
}

const NO_NAME: &str = "`$` begins a selector such as `$body.id`; write `$$` for a dollar sign";

/// Reads a step; `None` when there is none.
fn step(text: &str, braced: bool) -> Result<Option<(Step, usize)>, SyntaxError> {
    if let Some(rest) = text.strip_prefix('.') {
        let key = word(rest, |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' || byte >= 0x80);
        // A dot that ends a sentence is no step.
        return match key {
            "" if braced => Err(SyntaxError::new(0, "a name follows the dot")),
            "" => Ok(None),
            key => Ok(Some((Step::Key(key.into()), 1 + key.len()))),
        };
    }
    let Some(rest) = text.strip_prefix('[') else { return Ok(None) };
    const WRONG: &str = "in brackets stands an index, `[0]`, or a quoted name, `[\"a b\"]`; \
        for a bracket that is text, end the selector with braces: `${body}[`";
    let wrong = || SyntaxError::new(0, WRONG);
    for quote in ['"', '\''] {
        if let Some(quoted) = rest.strip_prefix(quote) {
            let (key, behind) = quoted.split_once(quote).ok_or_else(wrong)?;
            if !behind.starts_with(']') {
                return Err(wrong());
            }
            return Ok(Some((Step::Key(key.into()), key.len() + 4)));
        }
    }
    let digits = word(rest, |byte| byte.is_ascii_digit());
    let index = digits.parse().map_err(|_| wrong())?;
    if !rest[digits.len()..].starts_with(']') {
        return Err(wrong());
    }
    Ok(Some((Step::Index(index), digits.len() + 2)))
}

fn word(text: &str, belongs: impl Fn(u8) -> bool) -> &str {
    &text[..text.bytes().take_while(|byte| belongs(*byte)).count()]
}

fn resolve(name: &str, steps: Vec<Step>, names: &Names<'_>) -> Result<Reference, SyntaxError> {
    let error = |message: String| Err(SyntaxError::new(0, message));
    if name == "env" {
        let [Step::Key(variable)] = &*steps else {
            return error("`$env` is followed by the name of a variable: `$env.REGION`".to_owned());
        };
        return match (names.env)(variable) {
            EnvLookup::Set(value) => Ok(Reference::Known(Some(value))),
            EnvLookup::Unset => Ok(Reference::Known(None)),
            EnvLookup::NotAllowed => error(format!(
                "rules may not see the environment variable `{variable}`: name it with --rules-env or in CONDUIT_RULES_ENV, or for \
                 `conduit rules` with --env"
            )),
        };
    }
    if let Some(place) = names.variables.iter().position(|known| known == name) {
        let place = u16::try_from(place).unwrap_or(u16::MAX);
        return Ok(Reference::Select(Selector { root: Root::Variable(place), steps: steps.into() }));
    }
    let Some((_, root)) = ROOTS.iter().find(|(known, _)| *known == name) else {
        if names.later.iter().any(|later| later == name) {
            return error(format!("`${name}` is made further down: in `map`, a variable uses those above it"));
        }
        let known: Vec<String> = ROOTS
            .iter()
            .filter(|(_, root)| names.available.has(root.uses()))
            .map(|(known, _)| format!("${known}"))
            .chain(names.variables.iter().map(|variable| format!("${variable}")))
            .collect();
        return error(format!("there is no `${name}` here: there are {}, $env; `map` makes more", known.join(", ")));
    };
    if !names.available.has(root.uses()) {
        return error(format!("`${name}` is not there yet, or never: {}", root.explain()));
    }
    match (root, &*steps) {
        (Root::Method | Root::Path | Root::Tenant, [_, ..]) => error(format!("`${name}` is a text: nothing is inside")),
        (Root::Now, [Step::Key(key)]) if &**key == "unixMs" => {
            Ok(Reference::Select(Selector { root: *root, steps: steps.into() }))
        }
        (Root::Now, [_, ..]) => error("`$now` is a text; `$now.unixMs` is a number".to_owned()),
        (Root::Error, [Step::Key(key), ..]) if !ERROR_KEYS.contains(&&**key) => {
            error(format!("`$error` has {}", ERROR_KEYS.join(", ")))
        }
        (Root::Params, [Step::Key(key)]) if names.params.iter().all(|known| known != &**key) => error(format!(
            "no path of this rule has the parameter `{key}`: write `{{{key}}}` in the path, or `(?P<{key}>..)` in a pattern"
        )),
        (Root::Headers, [Step::Key(key), rest @ ..]) => {
            // Fields are found by their names in lower case, whatever the rule or the client writes.
            let mut lower = vec![Step::Key(key.to_ascii_lowercase().into())];
            lower.extend_from_slice(rest);
            Ok(Reference::Select(Selector { root: *root, steps: lower.into() }))
        }
        _ => Ok(Reference::Select(Selector { root: *root, steps: steps.into() })),
    }
}

/// The members of `$error`.
pub const ERROR_KEYS: &[&str] = &["code", "message", "detail", "status"];

impl Root {
    const fn explain(self) -> &'static str {
        match self {
            Self::Body => "a WebSocket has messages, `$message`, and no body",
            Self::Message => "only a rule with `when.ws.message` sees messages",
            Self::Result => "it is the broker's answer to `send.frame`, for `respond` and `onComplete`",
            Self::Error => "it is for `onError`",
            _ => "it belongs to a request",
        }
    }
}

/// Follows steps into a value.
pub(super) fn walk<'v>(mut value: &'v Value, steps: &[Step]) -> Option<&'v Value> {
    for step in steps {
        value = match (step, value) {
            (Step::Key(key), Value::Object(members)) => members.get(&**key)?,
            (Step::Key(key), Value::Array(elements)) => elements.get(key.parse::<usize>().ok()?)?,
            (Step::Index(index), Value::Array(elements)) => elements.get(*index)?,
            _ => return None,
        };
    }
    Some(value)
}

/// Reads `a.b[0]`: a way into a value, without a root.
///
/// # Errors
/// What cannot be read, and where.
pub fn steps(text: &str) -> Result<Box<[Step]>, SyntaxError> {
    let dotted = if text.starts_with('[') { text.to_owned() } else { format!(".{text}") };
    let shift = dotted.len() - text.len();
    let (mut at, mut found) = (0, Vec::new());
    while let Some((next, length)) = step(&dotted[at..], true)
        .map_err(|error| SyntaxError::new((at + error.at).saturating_sub(shift), error.message))?
    {
        found.push(next);
        at += length;
        if found.len() > limits::NESTING_MAX {
            return Err(SyntaxError::new(0, format!("a member lies at most {} deep", limits::NESTING_MAX)));
        }
    }
    if at < dotted.len() || found.is_empty() {
        return Err(SyntaxError::new(at.saturating_sub(shift), "a member is named like `id` or `a.b[0]`"));
    }
    Ok(found.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<(Reference, usize), SyntaxError> {
        let everything =
            [Uses::BODY, Uses::HEAD, Uses::RESULT, Uses::ERROR, Uses::ALWAYS].into_iter().fold(Uses::NONE, Uses::and);
        let names = Names {
            variables: &["s".to_owned()],
            later: &["t".to_owned()],
            available: everything,
            params: &["id".to_owned()],
            env: &|name| match name {
                "REGION" => EnvLookup::Set("eu".to_owned()),
                "NONE" => EnvLookup::Unset,
                _ => EnvLookup::NotAllowed,
            },
        };
        reference(text, &names)
    }

    #[test]
    fn a_selector_ends_where_its_text_does() {
        for (text, length) in [
            ("$body", 5),
            ("$body.a.b[0]", 12),
            ("$body.a.", 7),
            ("$body.a. b", 7),
            ("$tenant-jobs", 7),
            ("${body.to}-inbox", 10),
            ("$body.to-inbox", 14),
            ("$body[\"a b\"].c", 14),
            ("$headers.X-Source", 17),
            ("$s.x", 4),
            ("$env.REGION/x", 11),
            ("$now.unixMs", 11),
            ("$params.id", 10),
            ("$error.code", 11),
        ] {
            assert_eq!(read(text).map(|found| found.1), Ok(length), "{text}");
        }
    }

    #[test]
    fn a_bad_selector_is_told() {
        for bad in [
            "$",
            "$.x",
            "$5",
            "$bod",
            "$t",
            "$message",
            "$env",
            "$env.A.B",
            "$env.SECRET",
            "$body[",
            "$body[x]",
            "$body[\"a]",
            "${body",
            "${body.}",
            "$now.x",
            "$method.x",
            "$params.other",
            "$error.other",
            "$body[99999999999999999999]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn steps_lead_into_values() {
        let value = json!({"a": {"b": [1, {"c d": 2}]}});
        let at = |text: &str| walk(&value, &steps(text).unwrap()).cloned();
        assert_eq!(at("a.b[0]"), Some(json!(1)));
        assert_eq!(at("a.b.1"), Some(json!({"c d": 2})));
        assert_eq!(at("a.b[1][\"c d\"]"), Some(json!(2)));
        assert_eq!(at("a.b[2]"), None);
        assert_eq!(at("a.x"), None);
        assert_eq!(at("a.b.c"), None);
        for bad in ["", ".", "a.", "a b", "a[", "a]"] {
            assert!(steps(bad).is_err(), "{bad}");
        }
    }
}
