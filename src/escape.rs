//! Escapes text from inputs, so that it is safe to show in messages, summaries and reports.

use std::{borrow::Cow, fmt::Write};

/// Replaces characters that could control a terminal or fake a line with their JSON escapes, such as `\u001b`: control
/// characters, line and paragraph separators, characters that change the direction of writing, and invisible ones. All
/// other characters are kept, including those that join emoji.
///
/// Valid JSON text remains valid if it is passed line by line: outside of strings, it contains none of these characters
/// except white space.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            // All of them are below U+10000, so four digits are enough.
            _ if is_unsafe(character) => {
                let _ = write!(safe, "\\u{:04x}", u32::from(character));
            }
            _ => safe.push(character),
        }
    }
    Cow::Owned(safe)
}

/// Returns whether a terminal or an editor would interpret a character instead of showing it.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        for (text, expected) in [
            ("\u{1b}[2J", "\\u001b[2J"),
            ("a\r\n\tb", "a\\r\\n\\tb"),
            ("\u{7f}\u{9b}31m", "\\u007f\\u009b31m"),
            ("\u{202e}txt.exe\u{2066}\u{200f}", "\\u202etxt.exe\\u2066\\u200f"),
            ("\u{2028}error: fake", "\\u2028error: fake"),
            ("\u{feff}a\u{200b}b\u{ad}", "\\ufeffa\\u200bb\\u00ad"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn other_text_is_borrowed() {
        for text in ["", "plain `x` \\n \"q\"", "Caf\u{e9} \u{5e9} \u{1f469}\u{200d}\u{1f680}"] {
            assert!(matches!(escaped(text), Cow::Borrowed(same) if same == text));
        }
    }
}
