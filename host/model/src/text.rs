//! Text from outside: names that are labels, and beginnings that fit where they are shown.

use std::fmt::Write;

/// Most bytes of a text of a module that an error repeats.
const QUOTED: usize = 100;

/// Whether this is a DNS label (RFC 1123): a-z, 0-9 and -, at most 63 bytes.
pub fn is_dns_label(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty()
        && name.len() <= 63
        && name.chars().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// The longest beginning of whole characters that has at most this many bytes.
pub fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// The text, or its beginning with an ellipsis: at most this many bytes together.
pub fn shortened(text: impl Into<String>, bytes: usize) -> String {
    const ELLIPSIS: &str = "…";
    let mut text = text.into();
    if text.len() > bytes {
        text.truncate(cut(&text, bytes.saturating_sub(ELLIPSIS.len())).len());
        text.push_str(ELLIPSIS);
    }
    text
}

/// What an error repeats of a text that may be of any length.
pub fn quoted(text: &str) -> String {
    shortened(cut(text, QUOTED + 1), QUOTED)
}

/// The text with control characters and line separators escaped as in Rust, so that one line stays one line and a terminal shows
/// what is there: the beginning that fits into this many bytes, and whether that is all of it.
pub fn one_line(text: &str, bytes: usize) -> (String, bool) {
    let mut line = String::new();
    for c in text.chars() {
        let begun = line.len();
        // Writing to a String does not fail.
        let _ = match c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            true => write!(line, "{}", c.escape_default()),
            false => line.write_char(c),
        };
        if line.len() > bytes {
            line.truncate(begun);
            return (line, false);
        }
    }
    (line, true)
}

/// These names joined, the first few of them where they are many, and how many more there are.
pub fn first_few(names: &[String], between: &str) -> String {
    const FEW: usize = 10;
    let few: Vec<String> = names.iter().take(FEW).map(|name| one_line(&quoted(name), 2 * QUOTED).0).collect();
    let mut text = few.join(between);
    if names.len() > FEW {
        let _ = write!(text, "{between}… ({} more)", names.len() - FEW);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut("dü", 2), "d");
        assert_eq!(shortened("short", 8), "short");
        assert_eq!(shortened("too long text", 8), "too l…");
        assert_eq!(shortened("ääääää", 8), "ää…");
        assert_eq!(quoted(&"x".repeat(1 << 20)).len(), QUOTED);
    }

    #[test]
    fn one_line_stays_one_line() {
        assert_eq!(one_line("a\nERROR b\u{1b}[2Jü", 100), ("a\\nERROR b\\u{1b}[2Jü".into(), true));
        assert_eq!(one_line("ab\n", 3), ("ab".into(), false), "half an escape is none");
        assert_eq!(one_line("", 0), (String::new(), true));
    }

    #[test]
    fn many_names_are_not_listed() {
        let names: Vec<String> = (0..1000).map(|n| format!("n{n}")).collect();
        assert_eq!(first_few(&names[..2], " -> "), "n0 -> n1");
        assert!(first_few(&names, ", ").ends_with("n9, … (990 more)"));
    }
}
