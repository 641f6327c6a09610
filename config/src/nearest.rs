//! The known name that a misspelt one probably means.

/// The candidate with the smallest edit distance, if it is near enough to be a likely slip: at most a third of the
/// name's letters wrong. Of equally near ones the first.
pub(crate) fn nearest<'n>(name: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    // Longer texts are no slips, and the table below is quadratic.
    if name.len() > 128 {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(name.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(distance, _)| *distance <= name.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions and replacements between two names (Levenshtein), one row at a time.
pub(crate) fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"same", b"same"), 0);
    }

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_finds_none() {
        let names = ["CONDUIT_HTTP_PORT", "CONDUIT_WS_PORT", "CONDUIT_SHARDS"];
        assert_eq!(nearest("CONDUIT_HTTP_PROT", names), Some("CONDUIT_HTTP_PORT"));
        assert_eq!(nearest("CONDUIT_SHARD", names), Some("CONDUIT_SHARDS"));
        assert_eq!(nearest("CONDUIT_COMPLETELY_DIFFERENT", names), None);
    }
}
