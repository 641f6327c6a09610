//! Regular expressions, bounded: linear in the text by their nature, and in memory by [`limits`].

use super::limits;
use super::syntax::SyntaxError;
use regex::{Regex, RegexBuilder};

/// A compiled regular expression. Two are equal when they are written alike.
#[derive(Debug, Clone)]
pub struct Pattern {
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.regex.as_str() == other.regex.as_str()
    }
}

impl Pattern {
    /// Compiles one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if text.len() > limits::REGEX_BYTES_MAX {
            return Err(SyntaxError::new(0, format!("a pattern has at most {} bytes", limits::REGEX_BYTES_MAX)));
        }
        let built = RegexBuilder::new(text)
            .size_limit(limits::REGEX_COMPILED_BYTES_MAX)
            .dfa_size_limit(limits::REGEX_COMPILED_BYTES_MAX)
            .nest_limit(limits::NESTING_MAX as u32 * 4)
            .build();
        match built {
            Ok(regex) => Ok(Self { regex }),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(SyntaxError::new(0, "the pattern is too large when compiled: count less with `{n,m}`"))
            }
            // The last line of the message says what; those before it draw where.
            Err(error) => {
                let text = error.to_string();
                let what = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Err(SyntaxError::new(0, format!("the pattern cannot be read: {what}")))
            }
        }
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        self.regex.as_str()
    }

    /// Whether it is somewhere in `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The names of its groups.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }

    /// The number of its groups, the whole match not counted.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.regex.captures_len() - 1
    }

    /// The index of a named group.
    #[must_use]
    pub fn group_named(&self, name: &str) -> Option<usize> {
        self.regex.capture_names().position(|known| known == Some(name))
    }

    /// What a named group matched.
    pub(super) fn named<'t>(&self, name: &str, text: &'t str) -> Option<&'t str> {
        Some(self.regex.captures(text)?.name(name)?.as_str())
    }

    /// What a group matched.
    pub(super) fn group<'t>(&self, group: usize, text: &'t str) -> Option<&'t str> {
        if group == 0 {
            return Some(self.regex.find(text)?.as_str());
        }
        Some(self.regex.captures(text)?.get(group)?.as_str())
    }

    /// Texts of which every text that it matches has all: runs of plain characters outside brackets. Patterns with
    /// alternatives or flags have none, since that is more than a glance tells.
    pub(super) fn fragments(&self) -> Vec<Vec<u8>> {
        let text = self.text();
        let flagged = text.matches("(?").count() != text.matches("(?P<").count();
        if flagged || text.contains('|') {
            return Vec::new();
        }
        let mut found: Vec<Vec<u8>> = vec![Vec::new()];
        let mut depth = 0_usize;
        let mut chars = text.chars();
        let end = |found: &mut Vec<Vec<u8>>| {
            if found.last().is_some_and(|run| !run.is_empty()) {
                found.push(Vec::new());
            }
        };
        while let Some(next) = chars.next() {
            let plain = match next {
                '[' => {
                    // A class ends at the first `]` that is not its first character; what nests is given up on.
                    let class: String = chars.by_ref().take_while(|c| *c != ']').collect();
                    if class.contains(['[', '\\', '&', '~']) || class.is_empty() || class == "^" {
                        return Vec::new();
                    }
                    None
                }
                '(' => {
                    depth += 1;
                    None
                }
                ')' => {
                    depth = depth.saturating_sub(1);
                    None
                }
                '\\' => match chars.next() {
                    Some(escaped) if escaped.is_ascii_punctuation() => Some(escaped),
                    Some('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B' | 'A' | 'z') => None,
                    // What else is escaped goes on behind its letter.
                    _ => return Vec::new(),
                },
                '^' | '$' | '.' => None,
                '*' | '?' | '{' => {
                    // The last character may be missing.
                    if depth == 0
                        && let Some(run) = found.last_mut()
                    {
                        while run.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
                    }
                    if next == '{' {
                        chars.by_ref().find(|c| *c == '}');
                    }
                    None
                }
                '+' => None,
                plain if plain.is_whitespace() || plain == '#' => return Vec::new(),
                plain => Some(plain),
            };
            match plain {
                Some(plain) if depth == 0 => {
                    if let Some(run) = found.last_mut() {
                        run.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                }
                _ => end(&mut found),
            }
        }
        found.retain(|run| !run.is_empty());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragments(text: &str) -> Vec<String> {
        let found = Pattern::parse(text).unwrap().fragments();
        found.into_iter().map(|run| String::from_utf8(run).unwrap()).collect()
    }

    #[test]
    fn only_what_every_match_has_is_a_fragment() {
        assert_eq!(fragments("^\\/hooks\\/[a-z]+\\/x$"), ["/hooks/", "/x"]);
        assert_eq!(fragments("^/ab?c"), ["/a", "c"]);
        assert_eq!(fragments("^/ab+c"), ["/ab", "c"]);
        assert_eq!(fragments("^/ab{2}c"), ["/a", "c"]);
        assert_eq!(fragments("^/é*x"), ["/", "x"]);
        assert_eq!(fragments("^/x(?P<n>[0-9]+)/y"), ["/x", "/y"]);
        assert_eq!(fragments("/(abc)?d"), ["/", "d"]);
        for none in ["a|b", "(?i)abc", "(?x)a b", "\\d+", "[[:alpha:]]x", "[]a]b", "\\x41b", "\\pLx", "(?P<a>x)(?si)b"]
        {
            assert!(fragments(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn a_pattern_is_bounded() {
        let at = "a".repeat(limits::REGEX_BYTES_MAX);
        assert!(Pattern::parse(&at).is_ok());
        assert!(Pattern::parse(&format!("{at}a")).is_err());
        assert!(Pattern::parse("(a{1000}){1000}").is_err());
        assert!(Pattern::parse(&"(".repeat(200)).is_err());
    }
}
