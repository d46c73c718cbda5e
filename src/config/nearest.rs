//! Suggestions for mistyped keys.

/// The candidate with the smallest edit distance, if that is small.
pub(super) fn nearest<'a>(typed: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase();
    let budget = (typed.chars().count() / 3).clamp(1, 3);
    candidates
        .iter()
        .map(|candidate| (edits(&typed, candidate), *candidate))
        .filter(|(edits, _)| *edits <= budget)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// The number of insertions, deletions, replacements and swaps of neighbours
/// between two words (optimal string alignment distance). Only the first 64
/// letters of `left` count.
fn edits(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut least = (rows[i][j] + usize::from(l != r)).min(rows[i][j + 1] + 1);
            least = least.min(row[j] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_recognised() {
        let keys = ["bitrate", "gop", "profile", "url"];
        for (typed, meant) in
            [("bitrte", "bitrate"), ("bit_rate", "bitrate"), ("ulr", "url"), ("GOP", "gop")]
        {
            assert_eq!(nearest(typed, &keys), Some(meant), "{typed}");
        }
    }

    #[test]
    fn another_word_is_not_a_typing_error() {
        for typed in ["", "rtsp", "resurrect", "xyz", &"bitrate".repeat(5000)] {
            assert_eq!(nearest(typed, &["bitrate", "gop", "profile", "url"]), None);
        }
    }
}
