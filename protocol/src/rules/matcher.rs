//! From a path to the few rules that can apply, without looking at the others.
//!
//! ```text
//! 1 literal    a map from whole paths to their rules
//! 2 fragment   globs, parameters and patterns: each has a text that all its paths contain. One pass over the path (Aho-
//!              Corasick) finds which of these texts are in it; of each rule's texts the one that fewest others have is used
//! 3 rest       rules that any path may concern
//! 4 spread     rules of one list that demand a literal value of one header or parameter: a map from the values to them
//! ```
//!
//! What comes out is a superset of the rules that apply, in the order of the file; the conditions decide.

use super::condition::Condition;
use super::path::PathPattern;
use super::scope::Scope;
use super::selector::{Root, Selector, Step};
use aho_corasick::{AhoCorasick, AhoCorasickKind, StartKind};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

/// Places of rules, in order.
pub(super) type Places = SmallVec<[u32; 8]>;

/// Lists of up to so many rules are looked at one by one.
const SHORT: usize = 8;
/// Texts of up to so many bytes together are searched for in the quickest way, which takes some hundred times as much memory.
const DFA_BYTES_MAX: usize = 16 * 1024;
/// Maps that one list is spread over, at most.
const SPREADS_MAX: usize = 4;

/// An index of the rules of one phase and one tenant.
#[derive(Debug, Default)]
pub(super) struct Matcher {
    literal: HashMap<Box<str>, List>,
    fragments: Option<Fragments>,
    rest: List,
    is_empty: bool,
}

/// Texts to be found in paths.
#[derive(Debug)]
struct Fragments {
    search: AhoCorasick,
    /// By pattern.
    lists: Vec<List>,
}

/// Some rules.
#[derive(Debug, Default)]
struct List {
    plain: Vec<u32>,
    spreads: Vec<Spread>,
}

/// Rules by the value that they demand of one header or parameter.
#[derive(Debug)]
struct Spread {
    field: Field,
    values: HashMap<Box<[u8]>, Vec<u32>>,
}

/// What has a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    Header(Box<str>),
    Query(Box<str>),
}

/// How a rule can be found.
enum Keys<'c> {
    /// By any of these.
    Paths(Vec<&'c PathPattern>),
    /// Any path may concern it.
    Any,
}

impl Matcher {
    /// Indexes rules by their places; `rules` is in order.
    pub(super) fn new<'c>(rules: impl Iterator<Item = (u32, &'c Condition)>) -> Self {
        let rules: Vec<(u32, &Condition)> = rules.collect();
        let conditions: HashMap<u32, &Condition> = rules.iter().copied().collect();
        let mut literal: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        let mut patterned: Vec<(u32, Vec<Vec<u8>>)> = Vec::new();
        let mut rest = Vec::new();
        for (place, condition) in &rules {
            let Keys::Paths(paths) = keys(condition) else {
                rest.push(*place);
                continue;
            };
            for path in paths {
                if let Some(text) = path.literal() {
                    literal.entry(text).or_default().push(*place);
                    continue;
                }
                let mut fragments = path.fragments();
                fragments.retain(|fragment| &**fragment != b"/");
                if fragments.is_empty() {
                    rest.push(*place);
                } else {
                    patterned.push((*place, fragments));
                }
            }
        }
        let list = |places: Vec<u32>| List::new(places, &conditions);
        Self {
            literal: literal.into_iter().map(|(text, places)| (Box::from(text), list(places))).collect(),
            fragments: Fragments::new(&patterned, &mut rest, &conditions),
            rest: list(rest),
            is_empty: rules.is_empty(),
        }
    }

    /// Whether there is no rule.
    pub(super) const fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The rules that may apply, in order. Without these, none does.
    pub(super) fn find(&self, scope: &Scope<'_>) -> Places {
        let mut found = Places::new();
        let path = &*scope.path.text;
        if let Some(list) = self.literal.get(path) {
            list.add_to(&mut found, scope);
        }
        if let Some(fragments) = &self.fragments {
            fragments.find(path, &mut found, scope);
        }
        self.rest.add_to(&mut found, scope);
        if !found.is_sorted_by(|one, other| one < other) {
            found.sort_unstable();
            found.dedup();
        }
        found
    }
}

impl Fragments {
    fn new(
        patterned: &[(u32, Vec<Vec<u8>>)],
        rest: &mut Vec<u32>,
        conditions: &HashMap<u32, &Condition>,
    ) -> Option<Self> {
        let mut common: HashMap<&[u8], usize> = HashMap::new();
        for fragment in patterned.iter().flat_map(|(_, fragments)| fragments) {
            *common.entry(fragment).or_default() += 1;
        }
        let mut chosen: BTreeMap<&[u8], Vec<u32>> = BTreeMap::new();
        for (place, fragments) in patterned {
            let rarest = fragments
                .iter()
                .min_by_key(|fragment| (common.get(&***fragment).copied().unwrap_or(0), usize::MAX - fragment.len()));
            match rarest {
                Some(fragment) => chosen.entry(fragment).or_default().push(*place),
                None => rest.push(*place),
            }
        }
        if chosen.is_empty() {
            return None;
        }
        let bytes: usize = chosen.keys().map(|fragment| fragment.len()).sum();
        let kind = (bytes <= DFA_BYTES_MAX).then_some(AhoCorasickKind::DFA);
        let mut builder = AhoCorasick::builder();
        match builder.kind(kind).start_kind(StartKind::Unanchored).build(chosen.keys()) {
            Ok(search) => {
                let lists = chosen.into_values().map(|places| List::new(places, conditions)).collect();
                Some(Self { search, lists })
            }
            // More text than can be searched for at once: every rule is looked at instead.
            Err(_) => {
                rest.extend(chosen.into_values().flatten());
                rest.sort_unstable();
                None
            }
        }
    }

    fn find(&self, path: &str, found: &mut Places, scope: &Scope<'_>) {
        // Each text counts once, however often the path has it.
        let mut seen: SmallVec<[u64; 16]> = SmallVec::from_elem(0, self.lists.len().div_ceil(64));
        for hit in self.search.find_overlapping_iter(path) {
            let pattern = hit.pattern().as_usize();
            let (word, bit) = (pattern / 64, 1 << (pattern % 64));
            if seen[word] & bit == 0 {
                seen[word] |= bit;
                self.lists[pattern].add_to(found, scope);
            }
        }
    }
}

impl List {
    fn new(mut places: Vec<u32>, conditions: &HashMap<u32, &Condition>) -> Self {
        places.sort_unstable();
        places.dedup();
        let mut spreads = Vec::new();
        while places.len() > SHORT && spreads.len() < SPREADS_MAX {
            // The field of which most of the rules demand a value.
            let mut demanded: BTreeMap<Field, usize> = BTreeMap::new();
            for place in &places {
                for (field, _) in demands(conditions.get(place).copied()) {
                    *demanded.entry(field).or_default() += 1;
                }
            }
            let Some((field, count)) = demanded.into_iter().max_by_key(|(_, count)| *count) else { break };
            if count <= SHORT {
                break;
            }
            let mut values: HashMap<Box<[u8]>, Vec<u32>> = HashMap::new();
            places.retain(|place| {
                let value =
                    demands(conditions.get(place).copied()).into_iter().find(|(demanded, _)| *demanded == field);
                match value {
                    Some((_, value)) => {
                        values.entry(value).or_default().push(*place);
                        false
                    }
                    None => true,
                }
            });
            spreads.push(Spread { field, values });
        }
        Self { plain: places, spreads }
    }

    fn add_to(&self, found: &mut Places, scope: &Scope<'_>) {
        found.extend_from_slice(&self.plain);
        for spread in &self.spreads {
            let value = match &spread.field {
                Field::Header(name) => scope.head.headers.field(name).map(Cow::Borrowed),
                Field::Query(name) => scope.query(name).map(|value| match value {
                    Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                    Cow::Owned(text) => Cow::Owned(text.into_bytes()),
                }),
            };
            if let Some(places) = value.and_then(|value| spread.values.get(&*value)) {
                found.extend_from_slice(places);
            }
        }
    }
}

/// The paths by one of which every request that fulfils the condition comes.
fn keys(condition: &Condition) -> Keys<'_> {
    match condition {
        Condition::Path(path) => Keys::Paths(vec![path]),
        Condition::All(parts) => {
            let best = parts.iter().filter_map(|part| match keys(part) {
                Keys::Paths(paths) => Some(paths),
                Keys::Any => None,
            });
            // Literal paths narrow most; then fewer paths.
            let rank =
                |paths: &Vec<&PathPattern>| (paths.iter().filter(|path| path.literal().is_none()).count(), paths.len());
            best.min_by_key(rank).map_or(Keys::Any, Keys::Paths)
        }
        Condition::Any(parts) => {
            let mut all = Vec::new();
            for part in parts {
                match keys(part) {
                    Keys::Paths(paths) => all.extend(paths),
                    Keys::Any => return Keys::Any,
                }
            }
            Keys::Paths(all)
        }
        _ => Keys::Any,
    }
}

/// The literal values that every request that fulfils the condition has.
fn demands(condition: Option<&Condition>) -> Vec<(Field, Box<[u8]>)> {
    match condition {
        Some(Condition::Header(name, glob)) => {
            glob.literal().map(|value| (Field::Header(name.clone()), value.into())).into_iter().collect()
        }
        Some(Condition::Query(name, glob)) => {
            glob.literal().map(|value| (Field::Query(name.clone()), value.into())).into_iter().collect()
        }
        Some(Condition::Where(expression)) => {
            let demanded = expression.demands().into_iter().filter_map(|(selector, text)| {
                let field = field_of(selector)?;
                Some((field, text.as_bytes().into()))
            });
            demanded.collect()
        }
        Some(Condition::All(parts)) => parts.iter().flat_map(|part| demands(Some(part))).collect(),
        _ => Vec::new(),
    }
}

/// The header or parameter that a selector takes.
fn field_of(selector: &Selector) -> Option<Field> {
    match (selector.root, &*selector.steps) {
        (Root::Headers, [Step::Key(name)]) => Some(Field::Header(name.clone())),
        (Root::Query, [Step::Key(name)]) => Some(Field::Query(name.clone())),
        _ => None,
    }
}

/// How the rules with a condition are found, in a word: for `conduit rules check`.
#[must_use]
pub fn found_by(condition: &Condition) -> &'static str {
    match keys(condition) {
        Keys::Any => "any path",
        Keys::Paths(paths) if paths.iter().all(|path| path.literal().is_some()) => "path",
        Keys::Paths(paths) => {
            let blind =
                |path: &&PathPattern| path.literal().is_none() && path.fragments().iter().all(|text| text == b"/");
            if paths.iter().any(blind) { "any path" } else { "part of the path" }
        }
    }
}
