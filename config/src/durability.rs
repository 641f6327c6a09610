//! What accepted messages survive, by the names of their streams: `orders/*=commit,metrics*=interval(50),*=memory`.

use conduit_protocol::streams::Durability;
use std::fmt;

/// Longest interval, in milliseconds: the same as a stream may be given by itself.
pub const INTERVAL_MS_MAX: u64 = 60_000;

/// Most rules: they are tried one after the other whenever a stream begins.
pub const RULES_MAX: usize = 256;

/// The ending of a stream of dead letters.
const DEAD_LETTERS: &str = ".dlq";

/// Rules from stream names to durabilities. The first whose pattern matches counts; a name that none matches is
/// [`Durability::Commit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurabilityRules {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// `*` stands for any characters, none included.
    pattern: String,
    durability: Durability,
}

impl Default for DurabilityRules {
    fn default() -> Self {
        Self::all(Durability::Commit)
    }
}

impl DurabilityRules {
    /// The same for every stream.
    #[must_use]
    pub fn all(durability: Durability) -> Self {
        Self { rules: vec![Rule { pattern: "*".to_owned(), durability }] }
    }

    /// Reads one durability for all streams, or rules `PATTERN=DURABILITY` separated by commas.
    ///
    /// # Errors
    /// A sentence that says what is wrong: an empty rule or pattern, not a durability, an interval out of its bounds, too
    /// many rules, or a rule that can never count because an earlier one is `*`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('=') {
            return parse_durability(text).map(Self::all);
        }
        let mut rules: Vec<Rule> = Vec::new();
        for rule in text.split(',').map(str::trim) {
            let (pattern, durability) =
                rule.rsplit_once('=').ok_or_else(|| format!("`{rule}` is not PATTERN=DURABILITY"))?;
            let pattern = pattern.trim();
            if pattern.is_empty() {
                return Err(format!("`{rule}` has no pattern; `*` matches every name"));
            }
            if rules.iter().any(|earlier| earlier.pattern == "*") {
                return Err(format!("`{rule}` can never count: an earlier `*` matches every name"));
            }
            if rules.len() == RULES_MAX {
                return Err(format!("there are more than {RULES_MAX} rules"));
            }
            rules.push(Rule { pattern: pattern.to_owned(), durability: parse_durability(durability)? });
        }
        Ok(Self { rules })
    }

    /// What the accepted messages of a stream survive, unless the stream was told otherwise by itself. Dead letters survive
    /// what their stream's messages do.
    #[must_use]
    pub fn of(&self, mut name: &str) -> Durability {
        while let Some(stream) = name.strip_suffix(DEAD_LETTERS) {
            name = stream;
        }
        let rule = self.rules.iter().find(|rule| matches(rule.pattern.as_bytes(), name.as_bytes()));
        rule.map_or(Durability::Commit, |rule| rule.durability)
    }

    /// Some stream may be kept on a disk.
    #[must_use]
    pub fn uses_a_disk(&self) -> bool {
        self.rules.last().is_none_or(|rule| rule.pattern != "*")
            || self.rules.iter().any(|rule| rule.durability != Durability::Memory)
    }
}

impl fmt::Display for DurabilityRules {
    /// In the form that `parse` reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [Rule { pattern, durability }] = &*self.rules
            && pattern == "*"
        {
            return f.write_str(&durability_text(*durability));
        }
        for (at, Rule { pattern, durability }) in self.rules.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{pattern}={}", durability_text(*durability))?;
        }
        Ok(())
    }
}

fn parse_durability(text: &str) -> Result<Durability, String> {
    let text = text.trim();
    match text {
        "commit" => return Ok(Durability::Commit),
        "memory" => return Ok(Durability::Memory),
        _ => {}
    }
    let interval = text.strip_prefix("interval(").and_then(|rest| rest.strip_suffix(')'));
    let digits = interval.ok_or_else(|| format!("`{text}` is not commit, interval(MS) or memory"))?.trim();
    match digits.parse() {
        Ok(ms @ 1..=INTERVAL_MS_MAX) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Durability::Interval(ms))
        }
        _ => Err(format!("`{text}` needs a whole number of milliseconds from 1 to {INTERVAL_MS_MAX}")),
    }
}

fn durability_text(durability: Durability) -> String {
    match durability {
        Durability::Commit => "commit".to_owned(),
        Durability::Interval(ms) => format!("interval({ms})"),
        Durability::Memory => "memory".to_owned(),
    }
}

/// Whether a name matches a pattern, in time proportional to both at worst: on a mismatch only the last `*` takes one byte
/// more.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut retry = None;
    loop {
        match (pattern.get(p), name.get(n)) {
            (Some(b'*'), _) => {
                retry = Some((p, n));
                p += 1;
            }
            (Some(wanted), Some(found)) if wanted == found => {
                p += 1;
                n += 1;
            }
            (None, None) => return true,
            _ => {
                let Some((star, taken)) = retry.filter(|(_, taken)| *taken < name.len()) else { return false };
                retry = Some((star, taken + 1));
                p = star + 1;
                n = taken + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_matching_rule_counts_and_none_is_commit() {
        let rules =
            DurabilityRules::parse("orders/*=commit, metrics*=interval(50) ,logs/*/debug=memory").expect("valid");
        for (name, durability) in [
            ("orders/1", Durability::Commit),
            ("orders/", Durability::Commit),
            ("metrics", Durability::Interval(50)),
            ("metrics/cpu", Durability::Interval(50)),
            ("logs/a/b/debug", Durability::Memory),
            ("logs/debug", Durability::Commit),
            ("anything", Durability::Commit),
        ] {
            assert_eq!(rules.of(name), durability, "{name}");
        }
        assert_eq!(DurabilityRules::parse("a=memory,*=commit").expect("valid").of("a"), Durability::Memory);
        assert_eq!(DurabilityRules::default().of("a"), Durability::Commit);
    }

    #[test]
    fn dead_letters_survive_what_their_streams_messages_do() {
        let rules = DurabilityRules::parse("orders=commit,*.dlq=commit,*=memory").expect("valid");
        assert_eq!(rules.of("orders.dlq"), Durability::Commit);
        assert_eq!(rules.of("orders.dlq.dlq"), Durability::Commit);
        assert_eq!(rules.of("other.dlq"), Durability::Memory);
    }

    #[test]
    fn one_word_is_for_all_streams() {
        for (text, durability) in [
            ("commit", Durability::Commit),
            (" memory ", Durability::Memory),
            ("interval(1)", Durability::Interval(1)),
            ("interval(60000)", Durability::Interval(60_000)),
        ] {
            assert_eq!(DurabilityRules::parse(text).map(|rules| rules.of("x")), Ok(durability));
        }
    }

    #[test]
    fn what_is_not_a_rule_is_refused_with_a_reason() {
        for text in [
            "",
            "always",
            "interval",
            "interval()",
            "interval(0)",
            "interval(60001)",
            "interval(+5)",
            "interval(5",
            "a=",
            "=commit",
            "a=b",
            "a=commit,",
            "a=commit,,b=commit",
            "*=memory,a=commit",
            "a,b=commit",
        ] {
            assert!(DurabilityRules::parse(text).is_err(), "{text:?} was accepted");
        }
        let many = |count: usize| vec!["a=memory"; count].join(",");
        assert!(DurabilityRules::parse(&many(RULES_MAX)).is_ok());
        assert!(DurabilityRules::parse(&many(RULES_MAX + 1)).is_err());
    }

    #[test]
    fn rules_that_keep_everything_in_memory_need_no_disk() {
        for (text, uses) in [
            ("memory", false),
            ("commit", true),
            ("a=memory,*=memory", false),
            ("a=memory", true),
            ("a=interval(5),*=memory", true),
        ] {
            assert_eq!(DurabilityRules::parse(text).expect("valid").uses_a_disk(), uses, "{text}");
        }
    }

    /// The plain meaning of a pattern.
    fn plainly_matches(pattern: &[u8], name: &[u8]) -> bool {
        match pattern.split_first() {
            None => name.is_empty(),
            Some((b'*', rest)) => (0..=name.len()).any(|at| plainly_matches(rest, &name[at..])),
            Some((wanted, rest)) => name.first() == Some(wanted) && plainly_matches(rest, &name[1..]),
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_it_plainly_means(pattern in "[ab*]{0,8}", name in "[ab]{0,10}") {
            prop_assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), plainly_matches(pattern.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn shown_rules_read_back(texts in prop::collection::vec(("[a-c/*]{1,6}", 0_u64..4), 1..6)) {
            let word = |which: u64| match which { 0 => "commit".to_owned(), 1 => "memory".to_owned(), ms => format!("interval({ms})") };
            let text: Vec<_> = texts.iter().map(|(pattern, which)| format!("{pattern}={}", word(*which))).collect();
            if let Ok(rules) = DurabilityRules::parse(&text.join(",")) {
                prop_assert_eq!(DurabilityRules::parse(&rules.to_string()), Ok(rules));
            }
        }
    }
}
