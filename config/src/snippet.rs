//! The line of a file that a problem is about, as people see it: with its number, and a mark below the place.

use crate::yaml::At;
use std::collections::HashSet;
use std::fmt::Write as _;

/// Characters of a line that are shown.
const WIDTH: usize = 100;

/// What takes the place of a hidden character.
const HIDDEN: char = '*';

/// Two lines: the one at `at`, and a mark below the column. Characters within the `hidden` ranges of bytes are starred out.
#[must_use]
pub fn snippet(text: &str, at: At, hidden: &[(usize, usize)]) -> String {
    let Some((start, line)) = line_at(text, at.line) else { return String::new() };
    let shown: Vec<char> = line
        .char_indices()
        .map(|(offset, c)| match c {
            _ if hidden.iter().any(|(from, to)| (*from..*to).contains(&(start + offset))) => HIDDEN,
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    let column = usize::try_from(at.column.saturating_sub(1)).unwrap_or(0).min(shown.len());
    let first = column.saturating_sub(WIDTH / 2).min(shown.len().saturating_sub(WIDTH));
    let part: String = shown.iter().skip(first).take(WIDTH).collect();
    let number = at.line.to_string();
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{number:>6} | {}", part.trim_end());
    let _ = write!(out, "{:>6} | {:>width$}", "", "^", width = column - first + 1);
    out
}

/// The byte at which a line begins, and the line.
fn line_at(text: &str, number: u64) -> Option<(usize, &str)> {
    let mut start = 0;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if at as u64 + 1 == number {
            return Some((start, line.trim_end_matches(['\n', '\r'])));
        }
        start += line.len();
    }
    None
}

/// The parts of a text that may be secret where its structure is not known, because it could not be read: every word
/// that is none of the `known` ones, on every line.
pub(crate) fn unknown_words<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> Vec<(usize, usize)> {
    let is_word = |c: char| !c.is_whitespace() && !":,[]{}\"'#&*!|>%@`?".contains(c);
    let known: HashSet<&str> = known.collect();
    let mut hidden = Vec::new();
    let mut begun = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (begun, is_word(c)) {
            (None, true) => begun = Some(at),
            (Some(from), false) => {
                let word = &text[from..at];
                if word != "-" && !known.contains(word) {
                    hidden.push((from, at));
                }
                begun = None;
            }
            _ => {}
        }
    }
    hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u64, column: u64) -> At {
        At { line, column, bytes: (0, 0) }
    }

    #[test]
    fn the_mark_stands_below_the_place() {
        assert_eq!(snippet("a: 1\nbü: 2\n", at(2, 5), &[]), "     2 | bü: 2\n       |     ^");
        assert_eq!(snippet("a", at(1, 9), &[]), "     1 | a\n       |  ^");
        assert_eq!(snippet("a", at(3, 1), &[]), "");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let cut = snippet(&text, at(1, 501), &[]);
        let (line, mark) = cut.split_once('\n').expect("two lines");
        assert_eq!(line.len(), 9 + WIDTH);
        assert_eq!(line.find('X'), mark.find('^'));
    }

    #[test]
    fn hidden_characters_are_starred_out() {
        assert_eq!(snippet("t: äbc\n", at(1, 4), &[(3, 7)]), "     1 | t: ***\n       |    ^");
        let text = "access:\n  tokens: [hush, 'x-y']\n";
        let hidden = unknown_words(text, ["access", "tokens"].into_iter());
        assert_eq!(snippet(text, at(2, 3), &hidden), "     2 |   tokens: [****, '***']\n       |   ^");
    }
}
